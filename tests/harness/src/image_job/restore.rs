//! The image is backed up, goes back to its factory state, and is restored.

use std::time::Instant;

use anyhow::ensure;
use hufu_harness::inspect::text;
use hufu_harness::operators;
use hufu_harness::process::wait_for;

use super::steps::{PATIENCE, Site, agrees, setup};
use super::{Arguments, console};

/// An administrator backs the image up and resets it; with the backup it is the
/// member's validator again.
pub fn from_backup(site: &Site, arguments: &Arguments) -> anyhow::Result<()> {
    let operator = operators::make(&site.consortium.path("backup-operator.txt"))?;
    let backup = site.consortium.path("image.backup");
    let backup = text(&backup)?;
    let administrator = &site.administrator;
    let threshold = ["--threshold", "1", "--recipient", &operator.recipient];
    administrator.run(&[&["backup", "--out", backup], &threshold[..]].concat())?;
    let before = agrees(site)?;

    let code = console::last(&arguments.console, "Code:")?;
    let begun = Instant::now();
    administrator.run(&["reset", "--confirm", "operator"])?;
    wait_for("the image to be as it came", PATIENCE, || {
        ensure!(console::last(&arguments.console, "Code:")? != code, "it shows the code before");
        Ok(())
    })?;
    println!("reset by its administrator; {} s later it is as it came", begun.elapsed().as_secs());

    let begun = Instant::now();
    let key = text(&operator.identity)?;
    let answer = setup(&site.hufu, arguments, &["--restore", backup, "--identity", key])?.json()?;
    ensure!(answer["restored"] == true, "{answer}");
    wait_for("the restored image to be operational and to vote", PATIENCE, || {
        let status = site.status()?;
        ensure!(status["machine"]["state"] == "operational", "it says {status}");
        let others = site.consortium.authority().json(&["status"])?;
        ensure!(others["validators"].to_string().contains("operator votes"), "{others}");
        Ok(())
    })?;
    let height = agrees(site)?;
    ensure!(height > before, "the ledger is at {height}, and was at {before}");
    println!("restored from its backup, it votes again {} s later", begun.elapsed().as_secs());
    Ok(())
}
