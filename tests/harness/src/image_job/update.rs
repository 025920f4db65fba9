//! The image is updated while readings come in.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hufu_harness::job::{Fleet, record};
use hufu_harness::process::{self, wait_for};
use hufu_harness::{Gateway, readings};
use hufu_proof::Digest;
use serde_json::Value;

use super::steps::{PATIENCE, Site, agrees};

/// How long an update may take until the image runs it for good, under
/// emulation.
const UPDATE: Duration = Duration::from_secs(1500);

/// Readings that were acknowledged before the update begins.
const BEFORE: Duration = Duration::from_secs(3);

fn upgrade_status(site: &Site) -> anyhow::Result<Value> {
    site.administrator.json(&["upgrade", "status"])
}

/// Installs `file` while readings are recorded through the maker's node, and
/// waits until the image runs `version` for good.
pub fn under_load(
    site: &mut Site,
    fleet: &mut Fleet,
    file: &Path,
    version: &str,
) -> anyhow::Result<()> {
    let before = upgrade_status(site)?;
    println!("before the update: {before}");
    let gateway = site.consortium.gateway("maker", "maker", "operator")?;
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    let acknowledged = std::thread::scope(|scope| {
        let flow = scope.spawn(|| flow(&gateway, fleet, &stop));
        let updated = update(site, file, version);
        stop.store(true, Ordering::Relaxed);
        let flow = flow.join().map_err(|_| anyhow::anyhow!("the flow of readings panicked"))?;
        updated?;
        flow
    })?;
    println!(
        "the image runs {version} for good after {} s; {} batches were acknowledged meanwhile",
        begun.elapsed().as_secs(),
        acknowledged.len()
    );
    ensure!(!acknowledged.is_empty(), "nothing was recorded during the update");
    let height = agrees(site)?;
    println!("the state roots are equal at height {height}");
    let receipt = site.consortium.path("update-receipt.pem");
    for id in [acknowledged.first(), acknowledged.last()].into_iter().flatten() {
        wait_for("the image's receipt", PATIENCE, || {
            let out = receipt.to_str().context("UTF-8")?;
            let id = id.to_string();
            site.administrator.run(&["ledger", "receipt", &id, "--out", out])
        })?;
        site.consortium.verify(&receipt)?.success()?;
    }
    Ok(())
}

/// Readings, one batch after another, until told to stop; what was acknowledged.
fn flow(gateway: &Gateway, fleet: &mut Fleet, stop: &AtomicBool) -> anyhow::Result<Vec<Digest>> {
    let rows = record::piece(&readings::recent()?, 1);
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let expires = gateway.expiry()?;
        let device = fleet.simulated.first_mut().context("a device")?;
        let submitted = record::append(gateway, device, &rows, expires)?;
        ensure!(submitted.is_accepted(), "refused: {}", submitted.answer);
        acknowledged.push(submitted.id);
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(acknowledged)
}

fn update(site: &Site, file: &Path, version: &str) -> anyhow::Result<()> {
    std::thread::sleep(BEFORE);
    // An altered release is refused before anything is written.
    let altered = site.consortium.path("altered.update");
    let mut bytes = std::fs::read(file)?;
    let at = bytes.windows(9).position(|window| window == b"\"version\"");
    let at = at.context("the manifest has a version")?;
    bytes[at + 1] ^= 1;
    std::fs::write(&altered, &bytes)?;
    refusal(site, &altered, "the signature is not by the release key")?;
    let last = bytes.len() - 1;
    bytes[at + 1] ^= 1;
    bytes[last] ^= 1;
    std::fs::write(&altered, &bytes)?;
    refusal(site, &altered, "was altered or damaged")?;
    std::fs::remove_file(&altered)?;

    install(site, file)?;
    wait_for("the update to run for good", UPDATE, || {
        let status = upgrade_status(site)?;
        ensure!(status["version"] == version, "it runs {status}");
        ensure!(status["trial"] == false, "on trial: {status}");
        Ok(())
    })
}

/// Has the image take `file`.
pub fn install(site: &Site, file: &Path) -> anyhow::Result<()> {
    let name = file.to_str().context("UTF-8")?;
    let answer = site.administrator.json(&["upgrade", "apply", name])?;
    println!("the image took the update: {answer}");
    Ok(())
}

/// The image refuses `file`, with these words.
fn refusal(site: &Site, file: &Path, words: &str) -> anyhow::Result<()> {
    let name = file.to_str().context("UTF-8")?;
    let answer = process::run(&mut site.administrator.hufu(&["upgrade", "apply", name]))?;
    ensure!(
        answer.status.code() == Some(1) && answer.stderr.contains(words),
        "{} was to be refused with `{words}`: {}{}",
        file.display(),
        answer.stdout,
        answer.stderr
    );
    println!("refused: {}", answer.stderr.trim());
    Ok(())
}

/// What lies below the floor is refused.
pub fn refused(site: &Site, file: &Path) -> anyhow::Result<()> {
    wait_for("the floor to rise", PATIENCE, || {
        let status = upgrade_status(site)?;
        ensure!(status["floor"] == status["sequence"], "{status}");
        Ok(())
    })?;
    refusal(site, file, "runs on this machine any more")
}
