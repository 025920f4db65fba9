//! Readings that a device's agent sends from a file: each once, whatever happens
//! on the way, and none that means something else than it says.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use common::{World, world};
use hufu_harness::Consortium;
use hufu_harness::process::{Answer, wait_for};
use hufu_harness::tpm_device::TpmDevice;

/// Rows of the file.
const ROWS: usize = 8_000;

/// A wire to a gateway that can go dead: what the gateway answers no longer
/// arrives, what is sent to it does.
struct Wire {
    address: SocketAddr,
    dead: Arc<AtomicBool>,
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    fn to(gateway: &str) -> anyhow::Result<Self> {
        let gateway = gateway.strip_prefix("https://").context("https")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let wire = Self {
            address: listener.local_addr()?,
            dead: Arc::default(),
            cut: Arc::default(),
            open: Arc::default(),
        };
        let (dead, cut, open) = (wire.dead.clone(), wire.cut.clone(), wire.open.clone());
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                // Whoever connects to a wire that was cut is told so.
                let Ok(server) = TcpStream::connect(&gateway) else { continue };
                if cut.load(Ordering::SeqCst) {
                    continue;
                }
                let both = [(&client, &server), (&server, &client)];
                for (index, (from, to)) in both.into_iter().enumerate() {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    let dead = dead.clone();
                    let answers = index == 1;
                    std::thread::spawn(move || {
                        pass(from, to, &|| answers && dead.load(Ordering::SeqCst))
                    });
                }
                let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                open.extend([client, server]);
            }
        });
        Ok(wire)
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Ends every connection, and takes no more.
    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // Ignored: it may have ended by itself.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, dropped: &dyn Fn() -> bool) {
    let mut piece = [0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        if !dropped() && to.write_all(&piece[..length]).is_err() {
            return;
        }
    }
}

fn now_ms() -> anyhow::Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// Rows that the ledger has of a device's metric: all of them, and different
/// ones.
fn recorded(consortium: &Consortium, device: &str, metric: &str) -> anyhow::Result<[u64; 2]> {
    let sql = format!(
        "SELECT COUNT(*), COUNT(DISTINCT measured_at) FROM operation_supervision.reading \
         WHERE device = '{device}' AND metric = '{metric}'"
    );
    let answer = consortium.regulator().json(&["query", &sql])?;
    let cell = |index: usize| -> anyhow::Result<u64> {
        let cell = &answer["rows"][0][index];
        let number = cell.as_u64().or_else(|| cell.as_str()?.parse().ok());
        number.with_context(|| format!("no number in {answer}"))
    };
    Ok([cell(0)?, cell(1)?])
}

fn send(
    consortium: &Consortium,
    device: &TpmDevice,
    gateway: &str,
    file: &Path,
) -> anyhow::Result<Answer> {
    device.send(
        &consortium.settings.hufu,
        gateway,
        &consortium.root_path(),
        &consortium.genesis_path(),
        file,
        None,
    )
}

#[test]
fn a_second_run_sends_nothing_twice() -> anyhow::Result<()> {
    let world = world()?;
    let World { consortium, fleet, .. } = &*world;
    let device = fleet.tpm.first().context("a device with a TPM")?;
    let file = consortium.path("eight-thousand.csv");
    let begin = now_ms()?;
    let row = |number: usize| format!("{},resumed,{number}.125\n", begin + number as u64);
    let text: String = (0..ROWS).map(row).collect();
    let header = "measured_at,metric,value\n";
    std::fs::write(&file, format!("{header}{text}"))?;

    let gateway = consortium.operator().gateway_url();
    let wire = Wire::to(&gateway)?;
    let first = std::thread::scope(|scope| -> anyhow::Result<Answer> {
        let run = scope.spawn(|| send(consortium, device, &wire.url(), &file));
        let two_batches = wait_for("two batches", Duration::from_secs(120), || {
            let [count, _] = recorded(consortium, &device.id, "resumed")?;
            ensure!(count >= 2_000 || run.is_finished(), "{count} rows");
            Ok(())
        });
        wire.dead.store(true, Ordering::SeqCst);
        // What is under way is recorded, and nobody hears of it.
        std::thread::sleep(Duration::from_secs(5));
        wire.cut();
        let answer = run.join().map_err(|_| anyhow::anyhow!("the run panicked"))??;
        two_batches?;
        Ok(answer)
    })?;
    assert_eq!(first.status.code(), Some(3), "{}", first.stderr);
    assert!(first.stderr.contains("the same command goes on from there"), "{}", first.stderr);
    let [count, _] = recorded(consortium, &device.id, "resumed")?;
    ensure!((2_000..8_000).contains(&count), "{count} rows after the first run");
    // One batch more than the run heard of, unless it asked for the height when
    // the wire went dead.
    let heard = first.stderr.contains(&format!("rows 1 to {count} of {ROWS} are recorded"));

    let second = send(consortium, device, &gateway, &file)?.success()?;
    let said = format!("rows 1 to {count} of {ROWS} were recorded by an earlier run");
    assert!(second.stderr.contains(&said), "{}", second.stderr);
    assert_eq!(second.stderr.contains("without getting an answer"), !heard, "{}", second.stderr);
    assert!(second.stderr.contains(&format!("going on with row {}", count + 1)));
    let all = [ROWS as u64; 2];
    wait_for("all rows", Duration::from_secs(30), || {
        let found = recorded(consortium, &device.id, "resumed")?;
        ensure!(found == all, "{found:?}");
        Ok(())
    })?;

    // Once more: nothing. With rows added: these alone.
    let third = send(consortium, device, &gateway, &file)?.success()?;
    assert_eq!(third.json()?, serde_json::json!([]));
    std::fs::write(&file, format!("{header}{text}{}", row(ROWS)))?;
    let fourth = send(consortium, device, &gateway, &file)?.success()?;
    assert_eq!(fourth.json()?[0]["rows"], 1);
    wait_for("one row more", Duration::from_secs(30), || {
        let found = recorded(consortium, &device.id, "resumed")?;
        ensure!(found == [ROWS as u64 + 1; 2], "{found:?}");
        Ok(())
    })
}

#[test]
fn what_means_something_else_than_it_says_is_not_sent() -> anyhow::Result<()> {
    let world = world()?;
    let World { consortium, fleet, .. } = &*world;
    let device = fleet.tpm.last().context("a device with a TPM")?;
    let gateway = consortium.operator().gateway_url();
    let file = consortium.path("ambiguous.csv");
    let (now, metric) = (now_ms()?, "ambiguous");
    let seconds = now / 1000;
    for (text, words) in [
        (format!("measured_at,metric,value,value\n{now},{metric},20.5,999\n"), "`value` twice"),
        (
            format!("measured_at,metric,value\n{seconds},{metric},20.5\n"),
            "in seconds it would be 20",
        ),
        (format!("measured_at,metric,value\n9999999999999,{metric},20.5\n"), "s ahead of"),
        (format!("measured_at;metric;value\r\n{now};{metric};20,5\r\n"), "semicolons"),
        (
            format!("measured_at,metric,value\n2024-03-01T08:00:00Z,{metric},1\n"),
            "certificate began",
        ),
    ] {
        std::fs::write(&file, &text)?;
        let answer = send(consortium, device, &gateway, &file)?;
        assert_eq!(answer.status.code(), Some(2), "{text}{}", answer.stderr);
        assert!(answer.stderr.contains(words), "{text}{}", answer.stderr);
    }
    assert_eq!(recorded(consortium, &device.id, metric)?, [0, 0]);

    let text = format!(
        "measured_at,metric,value\n{now},{metric},1.2000\n{},{metric},+20.5\n\
         {},{metric},2.05e+01\n{},{metric},.5\n",
        now + 1,
        now + 2,
        now + 3
    );
    std::fs::write(&file, &text)?;
    send(consortium, device, &gateway, &file)?.success()?;
    wait_for("exact numbers", Duration::from_secs(30), || {
        let found = recorded(consortium, &device.id, metric)?;
        ensure!(found == [4, 4], "{found:?}");
        Ok(())
    })
}
