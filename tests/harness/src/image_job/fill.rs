//! The image's disk is filled, and later replaced by a larger one.

use std::path::Path;

use anyhow::{Context as _, ensure};
use hufu_harness::job::Fleet;
use hufu_harness::process::wait_for;
use hufu_proof::transaction::{Payload, Proposal};
use hufu_proof::{Transaction, codec};
use serde_json::Value;

use super::steps::{PATIENCE, Site, agrees};

/// Bytes in a transaction: near the largest that are taken.
const SIZE: usize = 500_000;

/// What becomes of them: no package is so large.
const REFUSED: &str = "oversized";

/// Most transactions that are sent.
const MOST: usize = 4000;

/// How often the image is asked.
const ROUND: usize = 8;

/// Fills the image's disk through another member's node, and says so in the file
/// `full`; then waits for the image to have room.
pub fn until_room(site: &Site, fleet: &Fleet, full: &Path) -> anyhow::Result<()> {
    let elsewhere = site.consortium.gateway("maker", "maker", "operator")?;
    let image = site.gateway("maker", "operator")?;
    // It is refused, and kept in a block all the same.
    let device = fleet.simulated.first().context("a device")?;
    let transaction = |filler: usize| -> anyhow::Result<Transaction> {
        let package = filler.to_le_bytes().repeat(SIZE / 8);
        let payload = Payload::Propose(Proposal::Deploy { package });
        device.sign_payload(elsewhere.chain, elsewhere.expiry()?, payload)
    };
    let mut sent = 0;
    let said = loop {
        ensure!(sent < MOST, "the disk is not full after {sent} transactions of {SIZE} bytes");
        for _ in 0..ROUND {
            let submitted = elsewhere.submit(&transaction(sent)?)?;
            ensure!(submitted.outcome == REFUSED, "it was taken: {}", submitted.answer);
            sent += 1;
        }
        let status = site.status()?;
        if let Some(said) = shortage(&status) {
            ensure!(status["machine"]["state"] == "operational", "{status}");
            break said;
        }
    };
    println!("after {sent} transactions of {SIZE} bytes the image says: {said}");
    let refused = image.submit_raw(&codec::encode(&transaction(sent)?))?;
    ensure!(
        refused.status == 503 && refused.retry_after.is_some(),
        "the image takes in what it has no room for: {}",
        refused.status
    );
    ensure!(elsewhere.submit(&transaction(sent)?)?.outcome == REFUSED, "the others stand still");
    agrees(site)?;
    std::fs::write(full, said)?;

    wait_for("the image to have room", PATIENCE, || {
        let status = site.status()?;
        ensure!(shortage(&status).is_none(), "{status}");
        let submitted = image.submit(&transaction(sent + 1)?)?;
        ensure!(submitted.outcome == REFUSED, "{}", submitted.answer);
        Ok(())
    })?;
    agrees(site)?;
    println!("with a larger disk the image takes in again, and its state is the others'");
    Ok(())
}

/// What the image's node says of its disk, if it lacks room.
fn shortage(status: &Value) -> Option<String> {
    let reasons = status["reasons"].as_array()?;
    let said = reasons.iter().filter_map(Value::as_str);
    said.into_iter().find(|reason| reason.starts_with("disk:")).map(str::to_owned)
}
