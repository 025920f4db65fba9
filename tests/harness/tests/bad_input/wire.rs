//! What is not even HTTP, at every port.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use hufu_harness::http::Http;
use hufu_harness::job::record;
use hufu_harness::process;

use crate::common::{World, world};
use crate::harmless;

/// Sends `bytes`, hangs up, and gives what was said until then.
fn send(address: SocketAddr, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    // Ignored: the other side may have hung up before all was sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    Ok(said)
}

#[test]
fn nonsense_at_any_port_does_no_harm() -> anyhow::Result<()> {
    let mut world = world()?;
    let noise: Vec<u8> =
        (0..64 * 1024_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let hello = [&[0x16, 3, 1, 0xff, 0xff, 1][..], &noise[..2000]].concat();
    let cut = b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Type: application/ocsp-request\r\n\
        Content-Length: 100\r\n\r\nabc";
    let long = [b"GET /".as_slice(), &vec![b'a'; 512 * 1024], b" HTTP/1.1\r\n\r\n"].concat();
    harmless(&world, |consortium| {
        for member in &consortium.members {
            let addresses = &member.addresses;
            let mut ports = vec![addresses.network, addresses.gateway, addresses.metrics];
            if member.is_authority() {
                ports.extend([addresses.est, addresses.status]);
            }
            for port in ports {
                for bytes in [b"".as_slice(), b"\r\n\r\n", &noise, &hello, cut, &long] {
                    let said = send(port, bytes)?;
                    let said = String::from_utf8_lossy(&said);
                    assert!(!said.contains(" 500 "), "{port}: {said}");
                }
            }
            let mut socket = UnixStream::connect(member.data("admin.sock"))?;
            let _ = socket.write_all(&noise);
            let _ = socket.shutdown(std::net::Shutdown::Write);
            let mut said = Vec::new();
            let _ = socket.read_to_end(&mut said);
            let health = format!("{}/healthz", member.metrics_url());
            Http::plain().get(&health)?.success()?;
        }
        Ok(())
    })?;
    // They still do their work.
    let World { consortium, gateway, fleet, readings, .. } = &mut *world;
    let rows = record::piece(readings, 6);
    let submitted = record::append(gateway, &mut fleet.simulated[4], &rows, gateway.expiry()?)?;
    assert!(submitted.is_accepted(), "{}", submitted.answer);
    for name in ["authority", "regulator", "maker", "operator"] {
        consortium.node(name)?.check()?;
        consortium.wait_until_ready(name)?;
    }
    Ok(())
}

/// A client that announces a body and does not send it has its place taken away
/// (20 s after the head). The consortium serves the other tests meanwhile.
#[test]
fn a_body_that_does_not_come_is_not_waited_for() -> anyhow::Result<()> {
    let status = {
        let world = world()?;
        world
            .consortium
            .members
            .iter()
            .find(|one| one.is_authority())
            .map(|one| one.addresses.status)
    };
    let mut stream = TcpStream::connect(status.expect("one member is the authority"))?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    stream.write_all(
        b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Type: application/ocsp-request\r\n\
        Content-Length: 100\r\n\r\nabc",
    )?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    let said = String::from_utf8_lossy(&said);
    assert!(!said.is_empty() && !said.starts_with("HTTP/1.1 5"), "{said}");
    Ok(())
}

/// Neither an open connection nor the preface of HTTP/2 is kept, at any port.
#[test]
fn silence_is_not_kept() -> anyhow::Result<()> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let addresses = {
        let world = world()?;
        let members = &world.consortium.members;
        let authority = members.iter().find(|one| one.is_authority());
        let addresses = authority.expect("one member is the authority").addresses.clone();
        [addresses.gateway, addresses.est, addresses.status, addresses.metrics]
    };
    let mut waiting = Vec::new();
    for address in addresses {
        for said in [&b""[..], b"P", PREFACE, &[22, 3, 1, 2, 0]] {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            stream.write_all(said)?;
            waiting.push((address, said, stream));
        }
    }
    let since = std::time::Instant::now();
    for (address, said, mut stream) in waiting {
        let mut answer = Vec::new();
        // Reset or closed: gone.
        let gone = match stream.read_to_end(&mut answer) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        assert!(gone, "{address} keeps {said:?}");
    }
    assert!(since.elapsed() < Duration::from_secs(45), "{:?}", since.elapsed());
    Ok(())
}

/// A node has one certificate, whatever name is asked for. A name that is none,
/// such as one in brackets, is refused by the TLS library with an alert, and
/// harms nobody (docs/decisions/0017).
#[test]
fn any_server_name_is_served() -> anyhow::Result<()> {
    let world = world()?;
    let address = world.consortium.operator().addresses.gateway.to_string();
    let said = |name: &[&str]| -> anyhow::Result<String> {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &address, "-tls1_3"]).args(name);
        let answer = process::run(openssl.stdin(Stdio::null()))?;
        Ok(format!("{}{}", answer.stdout, answer.stderr))
    };
    for name in [&["-noservername"][..], &["-servername", "else.example"], &["-servername", "::1"]]
    {
        let said = said(name)?;
        assert!(said.contains("New, TLSv1.3"), "{name:?}: {said}");
    }
    let refused = said(&["-servername", "[node.maker.example]"])?;
    assert!(refused.contains("alert illegal parameter"), "{refused}");
    assert!(said(&[])?.contains("New, TLSv1.3"));
    Ok(())
}
