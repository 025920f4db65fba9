//! Two members move to other addresses at once; they say so on the ledger, and the
//! others find them with the configurations that they had.

mod common;

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use common::settings;
use hufu_harness::member::Member;
use hufu_harness::process::wait_for;
use hufu_harness::{Consortium, ports};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);

fn height(member: &Member) -> anyhow::Result<u64> {
    let status = member.json(&["status"])?;
    status["ledger"]["height"].as_u64().with_context(|| status.to_string())
}

fn grows(member: &Member) -> anyhow::Result<()> {
    let reached = height(member)?;
    wait_for("the ledger to go on", PATIENCE, || {
        let now = height(member)?;
        ensure!(now > reached + 3, "height {now}");
        Ok(())
    })
}

/// Where the ledger says that a member is.
fn announced(at: &Member, of: &str) -> anyhow::Result<Value> {
    let members = at.json(&["org", "members"])?;
    let members = members.as_array().context("a list")?;
    let member = members.iter().find(|member| member["name"] == of).context("a member")?;
    Ok(member["address"].clone())
}

#[test]
fn members_that_move_are_found_by_what_they_announce() -> anyhow::Result<()> {
    let mut consortium = Consortium::ready(settings(1)?)?;
    let moving = ["maker", "operator"];
    for name in moving {
        consortium.kill(name)?;
    }
    let mut places = Vec::new();
    for (name, place) in moving.into_iter().zip(ports::free(moving.len())?) {
        let member = consortium.member(name)?;
        let (config, old) = (member.config(), member.addresses.network);
        let text = fs::read_to_string(&config)?;
        let listen = |at| format!("listen = \"{at}\"");
        ensure!(text.contains(&listen(old)), "{text}");
        // Its own configuration alone, and of that where it listens.
        fs::write(&config, text.replace(&listen(old), &listen(place)))?;
        places.push((name, place.to_string()));
    }
    // They reach the two that have not moved, and not each other.
    for (name, place) in &places {
        consortium.start(name)?;
        consortium.wait_until_up(name)?;
        let member = consortium.member(name)?.clone();
        wait_for("the announcement", PATIENCE, || member.run(&["member", "announce", place]))?;
    }
    let authority = consortium.authority().clone();
    for (name, place) in &places {
        wait_for("the announcement", PATIENCE, || {
            let found = announced(&authority, name)?;
            ensure!(found == place.as_str(), "{name} is at {found}");
            Ok(())
        })?;
    }
    // Without the authority the other three have to hear each other.
    consortium.kill("authority")?;
    let regulator = consortium.regulator().clone();
    grows(&regulator)?;

    // A node that starts anew finds them as well, by what is on its disk.
    consortium.kill("regulator")?;
    consortium.start("authority")?;
    consortium.wait_until_up("authority")?;
    grows(&authority)?;
    consortium.start("regulator")?;
    consortium.wait_until_up("regulator")?;

    // What is another's, nobody announces; what was announced can be taken back.
    let maker = consortium.maker().clone();
    let refused = maker.run(&["member", "announce", "node.operator.example:7000"]);
    let refused = format!("{:#}", refused.err().context("at another member's host")?);
    ensure!(refused.contains("foreign-name"), "{refused}");
    maker.run(&["member", "announce", "--withdraw"])?;
    wait_for("the withdrawal", PATIENCE, || {
        ensure!(announced(&regulator, "maker")?.is_null());
        Ok(())
    })?;
    Ok(())
}
