//! Step 4: devices sign readings, the ledger records them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hufu_proof::transaction::Payload;
use hufu_proof::{Digest, Value};

use super::Fleet;
use crate::consortium::{Consortium, in_parallel};
use crate::device::Device;
use crate::gateway::{Gateway, Submitted};
use crate::process::wait_for;
use crate::readings::{self, Reading};

/// Readings in a batch of a simulated device.
pub const BATCH: usize = 20;

/// Simulated devices that the regulator watches.
pub const WATCHED: usize = 20;

/// What it watches, and the upper limits.
const LIMITS: [(&str, &str); 2] = [("temperature", "85"), ("vibration", "7.1")];

/// The longest that a device may be silent, and one that is over before the report.
const HOUR_MS: u64 = 3_600_000;
const SHORT_GAP_MS: u64 = 2_000;

/// How far a clock is ahead that supervision finds: more than its five minutes.
const AHEAD_MS: u64 = 6 * 60_000;

/// Transactions that are under way at the same time.
const LANES: usize = 16;

/// What was recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Rows accepted.
    pub rows: usize,
    /// Batches accepted.
    pub batches: usize,
    /// One of the transactions.
    pub sample: Digest,
    /// The height of the last one.
    pub height: u64,
}

/// A batch that was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What was wrong with it.
    pub what: &'static str,
    /// The code it must be refused with.
    pub expected: &'static str,
    /// The code it was refused with.
    pub outcome: String,
    /// Its rows.
    pub rows: usize,
}

/// Enters every device in the registry that is not in it, on the command line
/// of the maker: identifier, and the identity that its certificate proves.
///
/// # Errors
/// The first refusal.
pub fn register(
    consortium: &Consortium,
    fleet: &Fleet,
    seen: impl Fn(usize) + Sync,
) -> anyhow::Result<()> {
    let mut devices = Vec::new();
    for device in &fleet.simulated {
        let certificate = device.certificate.as_ref().context("a device is not enrolled")?;
        devices.push((device.id.clone(), certificate.identity()?));
    }
    for device in &fleet.tpm {
        devices.push((device.id.clone(), device.enrolled()?.identity()?));
    }
    let registered = registered(consortium)?;
    devices.retain(|(id, _)| !registered.contains(id));
    in_lanes(&devices, seen, |(id, identity)| {
        consortium.maker().run(&[
            "ledger",
            "invoke",
            "--contract",
            "device-registry",
            "--action",
            "register",
            "--asset",
            id,
            "--param",
            &format!("identity={identity}"),
            "--param",
            "owner=operator",
            "--param",
            "model=pump-7",
        ])?;
        Ok(())
    })
}

/// The regulator watches temperature and vibration of the TPM devices and of
/// some simulated ones, where it does not yet.
///
/// # Errors
/// The first refusal.
pub fn watch(
    consortium: &Consortium,
    fleet: &Fleet,
    seen: impl Fn(usize) + Sync,
) -> anyhow::Result<usize> {
    let devices = fleet.tpm.iter().map(|device| &device.id);
    // The last one sends nothing before it is revoked.
    let (silent, others) = match fleet.simulated.split_last() {
        Some((last, others)) => (Some(last), others),
        None => (None, &[][..]),
    };
    let devices = devices.chain(others.iter().take(WATCHED).map(|device| &device.id));
    let present = keys(consortium, "SELECT watch_id FROM operation_supervision.watch")?;
    let mut watches: Vec<Watch<'_>> = devices
        .flat_map(|device| {
            LIMITS.map(|(metric, high)| Watch { device, metric, high, max_gap_ms: HOUR_MS })
        })
        .collect();
    if let Some(device) = silent {
        let [(metric, high), _] = LIMITS;
        watches.push(Watch { device: &device.id, metric, high, max_gap_ms: SHORT_GAP_MS });
    }
    watches.retain(|watch| !present.contains(&watch.id()));
    in_lanes(&watches, seen, |watch| {
        let Watch { device, metric, high, max_gap_ms } = watch;
        consortium.regulator().run(&[
            "ledger",
            "invoke",
            "--contract",
            "operation-supervision",
            "--action",
            "watch",
            "--asset",
            &watch.id(),
            "--param",
            &format!("device={device}"),
            "--param",
            &format!("metric={metric}"),
            "--param",
            &format!("high={high}"),
            "--param",
            &format!("max_gap={max_gap_ms}"),
        ])?;
        Ok(())
    })?;
    Ok(watches.len())
}

/// What the regulator watches of a device.
struct Watch<'a> {
    device: &'a str,
    metric: &'a str,
    high: &'a str,
    /// The longest that the device may be silent.
    max_gap_ms: u64,
}

impl Watch<'_> {
    fn id(&self) -> String {
        format!("{}-{}", self.device, self.metric)
    }
}

/// Sends one reading of a device whose clock is ahead, so that supervision has a
/// clock to find.
///
/// # Errors
/// When it is refused.
pub fn clock_ahead(gateway: &Gateway, fleet: &mut Fleet) -> anyhow::Result<()> {
    let expires = gateway.expiry()?;
    let device = fleet.simulated.get_mut(1).context("there are no two devices")?;
    let reading = Reading {
        metric: "temperature".into(),
        value: 61_250,
        measured_at: readings::now_ms()? + AHEAD_MS,
    };
    let submitted = append(gateway, device, &[reading], expires)?;
    ensure!(submitted.is_accepted(), "a reading of {}: {}", device.id, submitted.answer);
    let device = &fleet.simulated[1];
    fleet.save(device)
}

/// Waits until the device that sends nothing has been silent for longer than its
/// watch allows: with few devices, the rest is done before.
///
/// # Errors
/// When it takes more than a minute.
pub fn until_silent(consortium: &Consortium) -> anyhow::Result<()> {
    let sql = format!(
        "SELECT watch.watch_id FROM operation_supervision.watch AS watch \
         WHERE watch.max_gap = {SHORT_GAP_MS} AND watch.set_at + watch.max_gap < \
         (SELECT MAX(block.time) FROM ledger.blocks AS block)"
    );
    wait_for("the silent device", Duration::from_secs(60), || {
        let silent = keys(consortium, &sql)?;
        ensure!(!silent.is_empty(), "it has not been silent for long");
        Ok(())
    })
}

/// Identifiers of the devices in the registry.
///
/// # Errors
/// When the query is refused.
pub fn registered(consortium: &Consortium) -> anyhow::Result<BTreeSet<String>> {
    keys(consortium, "SELECT device_id FROM device_registry.device")
}

/// The first column of what `sql` gives on the regulator's node, which sees
/// everything.
fn keys(consortium: &Consortium, sql: &str) -> anyhow::Result<BTreeSet<String>> {
    let answer = consortium.regulator().json(&["query", sql])?;
    let rows = answer["rows"].as_array().with_context(|| format!("no rows in {answer}"))?;
    Ok(rows.iter().filter_map(|row| row[0].as_str().map(str::to_owned)).collect())
}

/// Does `work` for every item, [`LANES`] at a time; `seen` is told how many are
/// done.
fn in_lanes<T: Sync>(
    items: &[T],
    seen: impl Fn(usize) + Sync,
    work: impl Fn(&T) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let lanes: Vec<usize> = (0..LANES.min(items.len())).collect();
    in_parallel(&lanes, |_| {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(item)?;
            seen(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
        Ok(())
    })
}

/// Sends one batch of every simulated device but the condemned one (which has
/// its say in [`condemned`]), each another piece of `readings`.
///
/// # Errors
/// The first refusal.
pub fn simulated(
    gateway: &Gateway,
    fleet: &mut Fleet,
    readings: &[Reading],
    seen: impl Fn(usize) + Sync,
) -> anyhow::Result<Recorded> {
    let expires = gateway.expiry()?;
    let directory = &fleet.directory;
    let honest = fleet.simulated.len().saturating_sub(1);
    let devices: Vec<(usize, Mutex<&mut Device>)> = fleet
        .simulated
        .iter_mut()
        .take(honest)
        .enumerate()
        .map(|(index, device)| (index, Mutex::new(device)))
        .collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let accepted: Mutex<Vec<Submitted>> = Mutex::default();
    let lanes: Vec<usize> = (0..LANES.min(devices.len())).collect();
    in_parallel(&lanes, |_| {
        while let Some((index, device)) = devices.get(next.fetch_add(1, Ordering::Relaxed)) {
            let panicked = |_| anyhow::anyhow!("another lane panicked");
            let mut device = device.lock().map_err(panicked)?;
            let rows = piece(readings, *index);
            let submitted = append(gateway, &mut device, &rows, expires)?;
            ensure!(
                submitted.is_accepted(),
                "the batch of {} was refused: {}",
                device.id,
                submitted.answer
            );
            device.save(&directory.join(format!("{}.json", device.id)))?;
            accepted.lock().map_err(|_| anyhow::anyhow!("another lane panicked"))?.push(submitted);
            seen(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
        Ok(())
    })?;
    let accepted = accepted.into_inner().map_err(|_| anyhow::anyhow!("a lane panicked"))?;
    Ok(Recorded {
        rows: accepted.len() * readings.len().min(BATCH),
        batches: accepted.len(),
        sample: accepted.first().context("no batch was sent")?.id,
        height: accepted.iter().filter_map(|one| one.height).max().unwrap_or_default(),
    })
}

/// Sends the file `readings` from every TPM device through the agent; gives
/// the rows.
///
/// # Errors
/// The first refusal.
pub fn attested(consortium: &Consortium, fleet: &Fleet, file: &Path) -> anyhow::Result<usize> {
    let rows = readings::load(file)?.len();
    for device in &fleet.tpm {
        device
            .send(
                &consortium.settings.hufu,
                &consortium.operator().gateway_url(),
                &consortium.root_path(),
                &consortium.genesis_path(),
                file,
                // They tell of what was before the devices came to be.
                Some("2024-01-01T00:00:00Z"),
            )?
            .success()
            .with_context(|| format!("readings of {}", device.id))?;
    }
    Ok(rows * fleet.tpm.len())
}

/// Signs and sends `rows` as the next batch of `device`, which remembers it
/// when it is accepted.
///
/// # Errors
/// When there is no answer.
pub fn append(
    gateway: &Gateway,
    device: &mut Device,
    rows: &[Reading],
    expires: u64,
) -> anyhow::Result<Submitted> {
    let batch = readings::batch(rows, device.sequence.next())?;
    let transaction = device.sign_payload(gateway.chain, expires, Payload::Append(batch))?;
    let submitted = gateway.submit(&transaction)?;
    if submitted.is_accepted() {
        device.sequence = device.sequence.next();
    }
    Ok(submitted)
}

/// Sends a batch that was recorded before, under a new signature: refused, and
/// the same bytes again: the first answer again, recorded once.
///
/// # Errors
/// When it was accepted.
pub fn replayed(
    gateway: &Gateway,
    fleet: &mut Fleet,
    readings: &[Reading],
) -> anyhow::Result<Refusal> {
    let expires = gateway.expiry()?;
    let device = fleet.simulated.first_mut().context("there are no devices")?;
    let rows = piece(readings, 0);
    let batch = readings::batch(&rows, device.sequence)?;
    let transaction = device.sign_payload(gateway.chain, expires, Payload::Append(batch))?;
    refused("a replayed batch", "sequence", &gateway.submit(&transaction)?, rows.len())
}

/// Sends a batch of which one row was altered after it was signed.
///
/// # Errors
/// When it was accepted.
pub fn altered(
    gateway: &Gateway,
    fleet: &mut Fleet,
    readings: &[Reading],
) -> anyhow::Result<Refusal> {
    let expires = gateway.expiry()?;
    let device = fleet.simulated.first_mut().context("there are no devices")?;
    let rows = piece(readings, 1);
    let batch = readings::batch(&rows, device.sequence.next())?;
    let mut transaction = device.sign_payload(gateway.chain, expires, Payload::Append(batch))?;
    let Payload::Append(batch) = &mut transaction.body.payload else {
        bail!("the transaction is a batch");
    };
    let cell = batch.rows.iter_mut().flatten().find_map(|cell| match cell {
        Value::Decimal(value) => Some(value),
        _ => None,
    });
    *cell.context("the rows have a decimal")? -= 1;
    refused("a batch with one altered row", "signature", &gateway.submit(&transaction)?, rows.len())
}

/// Sends a reading of the device whose certificate was revoked.
///
/// # Errors
/// When it was accepted.
pub fn condemned(
    gateway: &Gateway,
    fleet: &mut Fleet,
    readings: &[Reading],
) -> anyhow::Result<Refusal> {
    let expires = gateway.expiry()?;
    let rows = piece(readings, 2);
    let submitted = append(gateway, fleet.condemned()?, &rows, expires)?;
    refused("a batch of a revoked device", "inactive-signer", &submitted, rows.len())
}

/// The piece of `readings` that the device with this number measured.
pub fn piece(readings: &[Reading], number: usize) -> Vec<Reading> {
    readings
        .iter()
        .cycle()
        .skip(number * BATCH % readings.len())
        .take(readings.len().min(BATCH))
        .cloned()
        .collect()
}

fn refused(
    what: &'static str,
    expected: &'static str,
    submitted: &Submitted,
    rows: usize,
) -> anyhow::Result<Refusal> {
    ensure!(!submitted.is_accepted(), "{what} was accepted: {}", submitted.answer);
    ensure!(
        submitted.outcome == expected,
        "{what} was refused as `{}` instead of `{expected}`: {}",
        submitted.outcome,
        submitted.answer
    );
    Ok(Refusal { what, expected, outcome: submitted.outcome.clone(), rows })
}
