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
use hufu_harness::process::{Answer, wait_for};
use hufu_harness::readings::{self, Reading};
use hufu_harness::tpm_device::TpmDevice;
use hufu_harness::{Consortium, binaries};
use hufu_proof::{Payload, Sequence};

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

/// A contract that listens to readings, and waits for a date.
#[test]
fn a_device_raises_an_alarm_by_itself_while_its_owners_mandate_stands() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { consortium, gateway, fleet, .. } = &mut *world;
    consortium.deploy_contract(&binaries::workspace().join("tests/harness/data/alarms"))?;
    let device = &fleet.simulated[3];
    let id = device.id.clone();
    let rows = |sql: &str| -> anyhow::Result<Vec<serde_json::Value>> {
        let answer = consortium.operator().json(&["query", sql])?;
        answer["rows"].as_array().cloned().with_context(|| answer.to_string())
    };
    let number = |sql: &str| -> anyhow::Result<u64> {
        rows(sql)?[0][0].as_u64().with_context(|| sql.to_owned())
    };
    let send = |watts: &[i64]| -> anyhow::Result<()> {
        let last = number(&format!(
            "SELECT max(sequence) FROM operation_supervision.reading WHERE device = '{id}'"
        ))?;
        let now = now_ms()?;
        let reading =
            |watts: &i64| Reading { metric: "power".to_owned(), value: *watts, measured_at: now };
        let readings: Vec<Reading> = watts.iter().map(reading).collect();
        let batch = readings::batch(&readings, Sequence(last + 1))?;
        let signed =
            device.sign_payload(gateway.chain, gateway.expiry()?, Payload::Append(batch))?;
        let submitted = gateway.submit(&signed)?;
        ensure!(submitted.is_accepted(), "{}", submitted.answer);
        Ok(())
    };
    let mandate = format!("mandate-{id}");
    let order = [
        "ledger",
        "invoke",
        "--contract",
        "alarms",
        "--action",
        "give",
        "--asset",
        &mandate,
        "--param",
        &format!("device={id}"),
        "--param",
        "most=100",
        "--param",
        "milliseconds=30000",
    ];
    let by_another = consortium.maker().json(&order);
    ensure!(by_another.is_err(), "the maker ordered the operator's device about");
    consortium.operator().run(&order)?;

    send(&[90_000, 150_000, 250_000])?;
    let alarms = rows("SELECT alarm_id, device FROM alarms.alarm")?;
    ensure!(alarms.len() == 1 && alarms[0][1] == id.as_str(), "{alarms:?}");
    // The last is over what an alarm can be: it stands as a reading, and it is told.
    let told = rows(
        "SELECT name, key, outcome FROM ledger.triggered WHERE trigger_contract = 'alarms' \
         ORDER BY outcome",
    )?;
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    let expected = ["accepted", "parameter"];
    let expected = expected.map(|outcome| format!("[\"too-much\",\"{id}\",\"{outcome}\"]"));
    ensure!(told == expected, "{told:?}");
    // Nobody raises one by hand.
    let by_hand = [
        "ledger",
        "invoke",
        "--contract",
        "alarms",
        "--action",
        "raise",
        "--asset",
        "A1",
        "--param",
        &format!("device={id}"),
        "--param",
        "value=1",
    ];
    ensure!(consortium.operator().json(&by_hand).is_err(), "an alarm was raised by hand");

    // The date comes, and the nodes point at it.
    let early =
        ["ledger", "fire", "--contract", "alarms", "--trigger", "over", "--asset", &mandate];
    let refused = consortium.regulator().hufu(&early).output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("not-due"), "{said}");
    wait_for("the mandate to end", Duration::from_secs(90), || {
        let state = rows("SELECT state FROM alarms.mandate")?;
        ensure!(state[0][0] == "ended", "{state:?}");
        Ok(())
    })?;
    // Whoever of them did, once; a member sees its own transactions only.
    let pointed = "SELECT count(*) FROM ledger.transactions WHERE kind = 'fire' AND outcome = \
                   'accepted'";
    let pointed = consortium.regulator().json(&["query", pointed])?;
    ensure!(pointed["rows"][0][0] == 1, "{pointed}");
    send(&[150_000])?;
    ensure!(number("SELECT count(*) FROM alarms.alarm")? == 1, "the mandate had ended");
    Ok(())
}
