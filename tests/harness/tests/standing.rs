//! A member is suspended by the others, comes back, and is dismissed by a smaller
//! number after the constitution was changed; what was recorded is proved all along.

mod common;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use common::settings;
use hufu_harness::Consortium;
use hufu_harness::job::proof;
use hufu_harness::member::Member;
use hufu_harness::process::{self, wait_for};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);

fn text(value: &Value) -> anyhow::Result<&str> {
    value.as_str().with_context(|| value.to_string())
}

fn ledger(member: &Member, what: &str) -> anyhow::Result<u64> {
    let status = member.json(&["status"])?;
    status["ledger"][what].as_u64().with_context(|| status.to_string())
}

fn wait_for_epoch(members: &[&Member], epoch: u64) -> anyhow::Result<()> {
    for member in members {
        wait_for(&format!("epoch {epoch} at {}", member.name()), PATIENCE, || {
            let found = ledger(member, "epoch")?;
            ensure!(found == epoch, "epoch {found}");
            Ok(())
        })?;
    }
    Ok(())
}

fn grows(member: &Member) -> anyhow::Result<u64> {
    let reached = ledger(member, "height")?;
    wait_for("the ledger to go on", PATIENCE, || {
        let now = ledger(member, "height")?;
        ensure!(now > reached + 3, "height {now}");
        Ok(now)
    })
}

/// The first proposes, the others see the same and approve: what was proposed.
fn decide(by: &[&Member], proposal: &[&str]) -> anyhow::Result<Value> {
    let [proposer, approvers @ ..] = by else { anyhow::bail!("nobody decides") };
    let answer = proposer.json(proposal)?;
    let digest = text(&answer["proposal"])?;
    for approver in approvers {
        let shown =
            wait_for("the proposal", PATIENCE, || approver.json(&["org", "review", digest]))?;
        ensure!(shown["proposed"] == answer["proposed"], "{shown} instead of {answer}");
        wait_for("the approval", PATIENCE, || approver.run(&["org", "approve", digest]))?;
    }
    Ok(answer)
}

/// What a command says that does not succeed.
fn refusal(command: &mut Command) -> anyhow::Result<String> {
    let answer = process::run(command)?;
    ensure!(!answer.status.success(), "it succeeded: {}", answer.stdout);
    Ok(answer.stderr)
}

/// Something that changes what all share, and may be repeated.
fn grant(member: &str) -> [&str; 8] {
    ["policy", "grant", "--contract", "device-registry", "--role", "operator", "--member", member]
}

fn standing<'a>(members: &'a Value, of: &str) -> Option<&'a Value> {
    let members = members.as_array()?;
    Some(&members.iter().find(|member| member["name"] == of)?["standing"])
}

#[test]
fn a_member_is_suspended_readmitted_and_dismissed() -> anyhow::Result<()> {
    let mut consortium = Consortium::ready(settings(1)?)?;
    let client = consortium.client("maker", "operator")?;
    let all = |consortium: &Consortium| consortium.members.clone();
    let members = all(&consortium);
    let named = |name: &str| members.iter().find(|one| one.name() == name).context("a member");
    let (authority, regulator) = (named("authority")?, named("regulator")?);
    let (maker, operator) = (named("maker")?, named("operator")?);
    let others = [authority, regulator, operator];

    // It has no say in it, and the authority is needed.
    let own = refusal(&mut maker.hufu(&["org", "suspend", "maker", "--reason", "a pause"]))?;
    ensure!(own.contains("no say"), "{own}");
    let needed = ["org", "dismiss", "authority", "--reason", "it is dear"];
    let needed = refusal(&mut maker.hufu(&needed))?;
    ensure!(needed.contains("certification authority"), "{needed}");

    decide(&others, &["org", "suspend", "maker", "--reason", "its gateway floods us"])?;
    wait_for_epoch(&others, 1)?;
    // Its node follows, says how it is, and is not needed.
    wait_for_epoch(&[maker], 1)?;
    grows(maker)?;
    let status = maker.json(&["status"])?;
    let reasons = status["reasons"].to_string();
    ensure!(reasons.contains("is suspended since height"), "{status}");
    ensure!(text(&status["standings"]["maker"])?.starts_with("suspended"), "{status}");
    let listed = operator.json(&["org", "members"])?;
    ensure!(standing(&listed, "maker") == Some(&"suspended".into()), "{listed}");
    let refused = refusal(&mut maker.hufu(&grant("maker")))?;
    ensure!(refused.contains("member-suspended"), "{refused}");
    let (csr, out) = (consortium.path("clients/maker-operator.csr"), consortium.path("no.pem"));
    let renew = ["--role", "operator", "--renew"];
    let certified = consortium.issue("operator-client", "maker", &renew, &csr, &out);
    let said = format!("{:#}", certified.err().context("a suspended member is certified")?);
    ensure!(said.contains("suspended"), "{said}");
    consortium.kill("maker")?;
    grows(authority)?;
    consortium.start("maker")?;
    consortium.wait_until_up("maker")?;
    wait_for_epoch(&[maker], 1)?;

    decide(&others, &["org", "readmit", "maker", "--reason", "it has mended its gateway"])?;
    wait_for_epoch(&[authority, regulator, operator, maker], 2)?;
    wait_for("the maker to be heard", PATIENCE, || maker.run(&grant("maker")))?;
    // Its vote is needed again for three of four.
    consortium.kill("operator")?;
    grows(authority)?;
    consortium.start("operator")?;
    consortium.wait_until_up("operator")?;
    consortium.wait_until_ready("operator")?;
    wait_for_epoch(&[operator], 2)?;

    // Two approvals are enough once the constitution says so, by three.
    let from = ledger(authority, "height")? + 20;
    decide(&others, &["org", "amend", "--approvals", "2", "--from", &from.to_string()])?;
    wait_for("the constitution", PATIENCE, || {
        let shown = authority.json(&["org", "constitution"])?;
        ensure!(shown["in_force"]["approvals"] == 2, "{shown}");
        ensure!(shown["founded_with"]["approvals"] == 3, "{shown}");
        ensure!(shown["amendments"][0]["from"] == from, "{shown}");
        Ok(())
    })?;
    let dismissed = ["org", "dismiss", "maker", "--reason", "it has left the industry"];
    let proposed = decide(&[regulator, operator], &dismissed)?;
    wait_for_epoch(&others, 3)?;
    let listed = operator.json(&["org", "members"])?;
    ensure!(standing(&listed, "maker") == Some(&"dismissed".into()), "{listed}");
    let found = operator.json(&["query", "SELECT member, standing FROM ledger.standings"])?;
    ensure!(found["rows"] == serde_json::json!([["maker", "dismissed"]]), "{found}");
    // Its clients are strangers, and its node hears nothing new.
    let http = hufu_harness::http::Http::tls(&consortium.root_pem()?, Some(&client))?;
    let url = format!("{}/v1/status", operator.gateway_url());
    let answer = http.get(&url)?;
    ensure!(answer.status == 403 && answer.text().contains("dismissed"), "{}", answer.text());
    let left_at = ledger(maker, "height")?;
    grows(authority)?;
    let now = ledger(maker, "height")?;
    ensure!(now <= left_at + 1, "a dismissed member's node follows: {left_at}, {now}");
    let said = refusal(&mut maker.hufu(&grant("operator")))?;
    ensure!(said.contains("member-dismissed"), "{said}");

    let receipt = consortium.path("dismissal.pem");
    let path = receipt.to_str().context("a path")?;
    let id = text(&proposed["id"])?;
    wait_for("the receipt", PATIENCE, || {
        operator.run(&["prove", "receipt", id, "--out", path]).map(drop)
    })?;
    proof::holds(&consortium, &receipt)?;
    Ok(())
}
