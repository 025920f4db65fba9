//! A time server on this machine, for a machine that asks it by name and
//! certificate (NTS, RFC 8915).

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::Context as _;

use crate::tree::{self, Tree};

/// Where the virtual machine finds this one.
const HOST: &str = "10.0.2.2";

/// chronyd with a certificate of its own. Dropping it ends it.
pub struct TimeServer {
    process: Child,
    port: u16,
    certificate: PathBuf,
}

impl TimeServer {
    /// Starts one that keeps what it needs in `directory`.
    pub fn start(tree: &Tree, directory: &Path) -> anyhow::Result<Self> {
        tree::remove(directory)?;
        fs::create_dir_all(directory)?;
        let path = |name: &str| directory.join(name).display().to_string();
        let mut certify = tree.command(&[directory], "openssl");
        certify.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        certify.args(["-nodes", "-days", "30", "-subj", "/CN=time"]);
        certify.args(["-addext", &format!("subjectAltName=IP:{HOST}")]);
        certify.args(["-keyout", &path("key.pem"), "-out", &path("certificate.pem")]);
        tree::output(&mut certify)?;

        // Held until both are known, so that they differ.
        let time = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no free UDP port")?;
        let keys = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free TCP port")?;
        let (time_port, port) = (time.local_addr()?.port(), keys.local_addr()?.port());
        drop((time, keys));
        // It tells this machine's time and leaves it alone (-x).
        let settings = format!(
            "port {time_port}\nntsport {port}\nbindaddress 127.0.0.1\ncmdport 0\nallow 127.0.0.1\n\
             local stratum 1\nntsserverkey {}\nntsservercert {}\npidfile {}\n\
             bindcmdaddress /\n",
            path("key.pem"),
            path("certificate.pem"),
            path("chronyd.pid"),
        );
        fs::write(path("chrony.conf"), settings)?;
        let log = fs::File::create(path("chronyd.log"))?;
        let mut serve = tree.command(&[directory], "chronyd");
        serve.args(["-x", "-d", "-u", "root", "-f", &path("chrony.conf")]);
        serve.stdout(log.try_clone()?).stderr(Stdio::from(log));
        let process = serve.spawn().context("chronyd did not start")?;
        Ok(Self { process, port, certificate: directory.join("certificate.pem") })
    }

    /// Its name for the virtual machine, as `time.servers` has it.
    pub fn name(&self) -> String {
        format!("{HOST}:{}", self.port)
    }

    /// Who certifies it: itself.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        // Whoever ended before is ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
