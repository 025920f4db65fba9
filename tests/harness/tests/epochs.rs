//! A member's token dies, for good. The other members give it new keys, and with
//! a new machine, which knows nothing but the genesis file, it votes again. What
//! was signed and proved before and after verifies with that file.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use common::{World, world};
use hufu_harness::Consortium;
use hufu_harness::job::{proof, report};
use hufu_harness::member::Member;
use hufu_harness::process::wait_for;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path is UTF-8")
}

fn status(member: &Member) -> anyhow::Result<Value> {
    member.json(&["status"])
}

fn wait_for_epoch(member: &Member, epoch: u64) -> anyhow::Result<()> {
    wait_for(&format!("epoch {epoch} at {}", member.name()), PATIENCE, || {
        let found = status(member)?["ledger"]["epoch"].clone();
        ensure!(found == epoch, "epoch {found}");
        Ok(())
    })
}

fn height(member: &Member) -> anyhow::Result<u64> {
    let status = status(member)?;
    status["ledger"]["height"].as_u64().with_context(|| format!("{status}"))
}

/// The receipt of a transaction, from a member's node, in a file of its own.
fn receipt(consortium: &Consortium, of: &Member, id: &str) -> anyhow::Result<PathBuf> {
    let path = consortium.path(&format!("epochs-{}-{}.pem", of.name(), &id[..8]));
    wait_for("the receipt", PATIENCE, || {
        of.run(&["ledger", "receipt", id, "--out", text(&path)?]).map(drop)
    })?;
    Ok(path)
}

fn id_of(answer: &Value) -> anyhow::Result<String> {
    Ok(answer["id"].as_str().with_context(|| format!("no id in {answer}"))?.to_owned())
}

#[test]
fn a_member_whose_token_died_votes_again_with_a_new_one() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { consortium, gateway, recorded, .. } = &mut *world;

    let before = report::pull(consortium, gateway.height()?)?;
    report::same_elsewhere(consortium, &before, consortium.maker())?;
    let old_report = consortium.path("epochs-before.json");
    fs::copy(consortium.path("report.maker.json"), &old_report)?;
    let old_receipt = consortium.path("epochs-before.pem");
    consortium.owner()?.receipt(recorded.sample, &old_receipt)?;

    // The machine and its token are gone; another takes their addresses.
    consortium.kill("maker")?;
    let lost = consortium.path("maker.lost");
    let old = consortium.maker().clone();
    fs::rename(&old.directory, &lost)?;
    let hufu = hufu_harness::binaries::hufu()?;
    let new = Member::create(old.role, old.addresses.clone(), old.directory.clone(), &hufu)?;
    fs::copy(lost.join("hufu.toml"), new.config())?;
    new.run(&["init", "--so-pin-fd", "4", "--witness", "the test"])?;
    let join = new.data("join.json");
    let place = consortium.members.iter_mut().find(|member| member.name() == "maker");
    *place.context("there is a maker")? = new;

    // The others see whose keys change to which, and approve.
    let answer = consortium.authority().json(&["org", "admit", text(&join)?])?;
    let proposal = answer["proposal"].as_str().with_context(|| format!("{answer}"))?.to_owned();
    let admission = id_of(&answer)?;
    let change = &answer["proposed"]["change_member"];
    ensure!(change["name"] == "maker", "{answer}");
    ensure!(change["vote_key"] != change["replaces"]["vote_key"], "{answer}");
    for approver in [consortium.regulator(), consortium.operator()] {
        let shown =
            wait_for("the proposal", PATIENCE, || approver.json(&["org", "review", &proposal]))?;
        ensure!(shown["proposed"]["change_member"] == *change, "{shown}");
        wait_for("the approval", PATIENCE, || approver.run(&["org", "approve", &proposal]))?;
    }
    for name in ["authority", "regulator", "operator"] {
        wait_for_epoch(consortium.member(name)?, 1)?;
    }

    // It begins with nothing, and finds its way over the end of the epoch.
    consortium.start("maker")?;
    consortium.wait_until_up("maker")?;
    wait_for_epoch(consortium.maker(), 1)?;
    let (csr, out) = (consortium.maker().data("tls.csr"), consortium.path("maker/tls.pem"));
    consortium.certify("maker", &csr, &out)?;
    consortium.maker().run(&["cert", "install", "--chain", text(&out)?])?;
    consortium.wait_until_ready("maker")?;

    // With the operator away, three of four are left: no block without its vote.
    consortium.kill("operator")?;
    let reached = height(consortium.authority())?;
    wait_for("the ledger to go on", PATIENCE, || {
        let now = height(consortium.authority())?;
        ensure!(now > reached + 3, "height {now}");
        Ok(())
    })?;
    consortium.start("operator")?;
    consortium.wait_until_up("operator")?;
    wait_for_epoch(consortium.operator(), 1)?;
    consortium.wait_until_ready("operator")?;

    // Its statements count, too.
    let after = consortium.maker().json(&[
        "policy",
        "grant",
        "--contract",
        "device-registry",
        "--role",
        "operator",
        "--member",
        "maker",
    ])?;
    let reports = report::pull(consortium, gateway.height()?)?;
    report::same_elsewhere(consortium, &reports, consortium.maker())?;
    let new_report = consortium.path("report.maker.json");
    // Of the time when it had its old key, signed with the new one.
    let past_report = consortium.path("epochs-past.json");
    consortium.regulator().run(&[
        "report",
        "run",
        "--gateway",
        &consortium.maker().gateway_url(),
        "--member",
        "maker",
        "--ca",
        text(&consortium.root_path())?,
        "--control-set",
        report::CONTROL_SET,
        "--as-of",
        &before.height.to_string(),
        "--format",
        "json",
        "--out",
        text(&past_report)?,
    ])?;
    let mut files = vec![old_report, old_receipt, new_report, past_report];
    for name in ["authority", "maker"] {
        files.push(receipt(consortium, consortium.member(name)?, &admission)?);
    }
    files.push(receipt(consortium, consortium.maker(), &id_of(&after)?)?);
    for file in &files {
        proof::holds(consortium, file).with_context(|| file.display().to_string())?;
    }
    Ok(())
}
