//! What breaks at a real site: processes that die, tokens that go away.

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use common::{World, world};
use hufu_harness::device::Device;
use hufu_harness::job::{life, record};
use hufu_harness::process::wait_for;
use hufu_harness::{Consortium, Gateway};
use hufu_proof::{Algorithm, Digest};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// How often a validator is killed in one run.
const KILLS: usize = 4;

#[test]
fn nothing_acknowledged_is_lost_when_validators_are_killed() -> anyhow::Result<()> {
    let mut world = world()?;
    let seed = std::env::var("HUFU_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random::<u64>);
    println!("HUFU_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let World { consortium, gateway, fleet, readings, .. } = &mut *world;

    let stop = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| -> anyhow::Result<Vec<Digest>> {
        // The operator's node, to which readings flow, is not killed: what is
        // asked of the consortium is that the others may die.
        let flow = scope.spawn(|| -> anyhow::Result<Vec<Digest>> {
            let mut acknowledged = Vec::new();
            let rows = record::piece(readings, 0);
            while !stop.load(Ordering::Relaxed) {
                let expires = gateway.expiry()?;
                let device = &mut fleet.simulated[0];
                let submitted = record::append(gateway, device, &rows, expires)?;
                ensure!(submitted.is_accepted(), "refused: {}", submitted.answer);
                acknowledged.push(submitted.id);
            }
            Ok(acknowledged)
        });
        let kills = kill_at_random(consortium, &mut random, || flow.is_finished());
        stop.store(true, Ordering::Relaxed);
        let acknowledged =
            flow.join().map_err(|_| anyhow::anyhow!("the flow of readings panicked"))?;
        kills?;
        acknowledged
    })?;
    ensure!(acknowledged.len() > KILLS, "only {} batches were recorded", acknowledged.len());
    fleet.save(&fleet.simulated[0])?;

    life::agree(consortium)?;
    // Every node, those that were killed too, proves every batch.
    let members: Vec<_> = consortium.members.iter().map(|member| member.name()).collect();
    let receipt = consortium.path("fault-receipt.pem");
    for name in members {
        for transaction in [acknowledged.first(), acknowledged.last()].into_iter().flatten() {
            wait_for("the receipt", Duration::from_secs(30), || {
                let id = transaction.to_string();
                consortium.member(name)?.run(&[
                    "ledger",
                    "receipt",
                    &id,
                    "--out",
                    receipt.to_str().context("UTF-8")?,
                ])
            })?;
            consortium.verify(&receipt)?.success()?;
        }
        let rows = count_rows(consortium, name, &fleet.simulated[0].id)?;
        let expected = fleet.simulated[0].sequence * record::BATCH as u64;
        assert_eq!(rows, expected, "{name} with seed {seed}");
    }
    Ok(())
}

fn kill_at_random(
    consortium: &mut Consortium,
    random: &mut StdRng,
    ended: impl Fn() -> bool,
) -> anyhow::Result<()> {
    for _ in 0..KILLS {
        let victim = ["authority", "regulator", "maker"][random.random_range(0..3)];
        std::thread::sleep(Duration::from_millis(random.random_range(0..1500)));
        consortium.kill(victim)?;
        std::thread::sleep(Duration::from_millis(random.random_range(0..1500)));
        ensure!(!ended(), "the flow of readings ended with {victim} down");
        consortium.start(victim)?;
        consortium.wait_until_up(victim)?;
        consortium.wait_until_ready(victim)?;
    }
    Ok(())
}

fn count_rows(consortium: &Consortium, name: &str, device: &str) -> anyhow::Result<u64> {
    let sql =
        format!("SELECT count(*) FROM operation_supervision.reading WHERE device = '{device}'");
    let answer = consortium.member(name)?.json(&["query", &sql])?;
    answer["rows"][0][0].as_u64().with_context(|| format!("{answer}"))
}

#[test]
fn a_token_that_goes_away_and_comes_back_needs_no_restart() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { consortium, gateway, fleet, readings, .. } = &mut *world;
    let est = consortium.est()?;
    let (tokens, away) = {
        let tokens = consortium.authority().tokens();
        let away = tokens.with_extension("away");
        (tokens, away)
    };
    let process = consortium.node("authority")?.id();
    let before = Device::new("FAULT-BEFORE", Algorithm::EcdsaP256)?;
    ensure!(est.enrol("idevid", &before.request()?)?.is_ok(), "enrolment does not work at all");

    rename(&tokens, &away)?;
    let outcome = (|| {
        // Enrolment is refused for now, and says when to come back.
        let url =
            format!("{}/.well-known/est/idevid/simpleenroll", consortium.authority().est_url());
        let refused = wait_for("enrolment to be refused", Duration::from_secs(40), || {
            let device = Device::new("FAULT-DURING", Algorithm::EcdsaP256)?;
            match est.enrol("idevid", &device.request()?)? {
                Ok(_) => bail!("still enrolled"),
                Err(refused) => Ok(refused),
            }
        })?;
        ensure!(refused.status == 503, "{url}: {refused:?}");
        // The others, whose tokens are there, go on.
        let expires = gateway.expiry()?;
        let device = &mut fleet.simulated[1];
        let rows = record::piece(readings, 1);
        let submitted = record::append(gateway, device, &rows, expires)?;
        ensure!(submitted.is_accepted(), "refused: {}", submitted.answer);
        Ok(())
    })();
    rename(&away, &tokens)?;
    outcome?;

    wait_for("enrolment to work again", Duration::from_secs(60), || {
        let device = Device::new("FAULT-AFTER", Algorithm::EcdsaP256)?;
        match est.enrol("idevid", &device.request()?)? {
            Ok(_) => Ok(()),
            Err(refused) => bail!("{refused:?}"),
        }
    })?;
    assert_eq!(consortium.node("authority")?.id(), process, "it was not restarted");
    consortium.node("authority")?.check()?;
    life::agree(consortium)?;
    Ok(())
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

#[test]
fn a_wrong_pin_is_tried_once() -> anyhow::Result<()> {
    let world = world()?;
    let member = world.consortium.maker();
    let answer = hufu_harness::process::run(
        std::process::Command::new("sh")
            .args(["-c", "printf 000000000000 | exec \"$@\"", "sh"])
            .arg(&world.consortium.settings.hufu)
            .arg("--config")
            .arg(member.config())
            .args(["--pin-fd", "0", "report", "run", "--gateway"])
            .arg(member.gateway_url())
            .arg("--ca")
            .arg(world.consortium.root_path())
            .args(["--control-set", "operation-baseline", "--out", "/dev/null"])
            .env("SOFTHSM2_CONF", member.softhsm()),
    )?;
    assert!(!answer.status.success());
    assert!(answer.stderr.to_lowercase().contains("pin"), "{}", answer.stderr);
    // The token is not locked: its own node still signs.
    world.consortium.maker().run(&["status"])?;
    life::agree(&world.consortium)?;
    Ok(())
}

#[test]
fn with_two_of_four_gone_nothing_forks_and_work_resumes() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { consortium, gateway, fleet, readings, .. } = &mut *world;
    consortium.kill("maker")?;
    consortium.kill("regulator")?;
    // Blocks that were under way may still become final.
    std::thread::sleep(Duration::from_secs(2));
    let stopped = gateway.height()?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(gateway.height()? == stopped, "two of four validators went on");
    for name in ["maker", "regulator"] {
        consortium.start(name)?;
    }
    for name in ["maker", "regulator"] {
        consortium.wait_until_up(name)?;
        consortium.wait_until_ready(name)?;
    }
    let resumed = resume(gateway, fleet, readings)?;
    ensure!(resumed > stopped, "the height stayed at {resumed}");
    life::agree(consortium)?;
    Ok(())
}

fn resume(
    gateway: &Gateway,
    fleet: &mut hufu_harness::job::Fleet,
    readings: &[hufu_harness::readings::Reading],
) -> anyhow::Result<u64> {
    let expires = gateway.expiry()?;
    let device = &mut fleet.simulated[2];
    let submitted = record::append(gateway, device, &record::piece(readings, 2), expires)?;
    ensure!(submitted.is_accepted(), "refused: {}", submitted.answer);
    submitted.height.context("no height")
}
