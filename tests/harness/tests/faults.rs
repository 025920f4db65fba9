//! What breaks at a real site: processes that die, tokens that go away.

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use common::{World, world};
use hufu_harness::device::Device;
use hufu_harness::http::Http;
use hufu_harness::job::{life, record};
use hufu_harness::process::{self, wait_for};
use hufu_harness::{Consortium, Gateway};
use hufu_proof::{Algorithm, Digest};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::fs::FallocateFlags;
use rustix::process::Signal;

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
            // The owner's, whose the device is, asked of every node.
            consortium.gateway(name, "operator", "operator")?.receipt(*transaction, &receipt)?;
            consortium.verify(&receipt)?.success()?;
        }
        let rows = count_rows(consortium, name, &fleet.simulated[0].id)?;
        let expected = fleet.simulated[0].sequence.get() * record::BATCH as u64;
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
    // Every member's node answers the regulator, who sees all.
    let answer = consortium.gateway(name, "regulator", "regulator")?.query(&sql, None)?;
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
    // A TLS handshake needs the token, too: this connection is open before.
    let regulator = consortium.client("regulator", "regulator")?;
    let regulator = Http::tls(&consortium.root_pem()?, Some(&regulator))?;
    let query = format!("{}/v1/query", consortium.authority().gateway_url());
    let look = || regulator.post(&query, "application/json", b"{\"sql\":\"SELECT 1\"}");
    look()?.success()?;

    rename(&tokens, &away)?;
    let outcome = (|| {
        // Enrolment is refused for now, and says when to come back.
        let refused = wait_for("enrolment to be refused", Duration::from_secs(40), || {
            let device = Device::new("FAULT-DURING", Algorithm::EcdsaP256)?;
            match est.enrol("idevid", &device.request()?)? {
                Ok(_) => bail!("still enrolled"),
                Err(refused) => Ok(refused),
            }
        })?;
        ensure!(refused.status == 503 && refused.retry_after.is_some(), "{refused:?}");
        // So is what the node must sign at its gateway.
        let refused = look()?;
        ensure!(refused.status == 503 && refused.retry_after.is_some(), "{}", refused.text());
        ensure!(refused.json()?["code"] == "unavailable", "{}", refused.text());
        // Its operator is told.
        wait_for("the status to say so", Duration::from_secs(20), || {
            says(consortium, "authority", "degraded", &["token `authority`", "recovers by itself"])
        })?;
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
    look()?.success()?;
    consortium.wait_until_ready("authority")?;
    assert_eq!(consortium.node("authority")?.id(), process, "it was not restarted");
    consortium.node("authority")?.check()?;
    life::agree(consortium)?;
    Ok(())
}

/// Checks what `hufu status` says of a node: its state, and words among the
/// reasons.
fn says(consortium: &Consortium, name: &str, state: &str, words: &[&str]) -> anyhow::Result<()> {
    let status = consortium.member(name)?.json(&["status"])?;
    ensure!(status["state"] == state, "{name} is not {state}: {status}");
    let reasons = status["reasons"].to_string();
    for word in words {
        ensure!(reasons.contains(word), "{name} does not say `{word}`: {reasons}");
    }
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
    let answer = process::run(
        Command::new("sh")
            .args(["-c", "printf 000000000000 | exec \"$@\"", "sh"])
            .arg(&world.consortium.settings.hufu)
            .arg("--config")
            .arg(member.config())
            .args(["--pin-fd", "0", "report", "run", "--gateway"])
            .arg(member.gateway_url())
            .arg("--ca")
            .arg(world.consortium.root_path())
            .args(["--control-set", "operation-baseline", "--format", "html"])
            .args(["--out", "/dev/null"])
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
    // Those that are left name those that are missing, and none else.
    for name in ["authority", "operator"] {
        wait_for("the status to name the missing", Duration::from_secs(30), || {
            let missing = "validators missing: maker, regulator; no progress";
            says(consortium, name, "degraded", &[missing])
        })?;
    }
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
    wait_for("the status to say that all is well again", Duration::from_secs(60), || {
        says(consortium, "operator", "operational", &[])
    })
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

#[test]
fn a_validator_that_stands_still_is_named_and_catches_up() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { consortium, gateway, fleet, readings, .. } = &mut *world;
    // Its connections stay open: it is only silent.
    consortium.node("regulator")?.signal(Signal::STOP)?;
    let outcome = (|| {
        wait_for("the status to name it", Duration::from_secs(60), || {
            let missing = "validators missing: regulator; the ledger goes on without them";
            says(consortium, "operator", "degraded", &[missing])
        })?;
        resume(gateway, fleet, readings)?;
        // A certificate that it cannot know of yet.
        consortium.gateway("regulator", "operator", "registration-authority")
    })();
    consortium.node("regulator")?.signal(Signal::CONT)?;
    // It looks at the ledger once more before it refuses anybody.
    outcome?.status()?;
    for name in ["regulator", "operator"] {
        consortium.wait_until_ready(name)?;
    }
    life::agree(consortium)?;
    Ok(())
}

/// Room for a node's data in the test of a full disk, in MiB.
const DISK: u64 = 192;

/// Leaves `free` MiB on the disk of `data`, to which a node writes meanwhile.
fn fill(data: &Path, free: u64) -> anyhow::Result<()> {
    let ballast = File::create(data.join(format!("ballast-{free}")))?;
    loop {
        let found = rustix::fs::statvfs(data)?;
        let most = (found.f_bavail * found.f_frsize).saturating_sub(free * 1024 * 1024);
        if most == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&ballast, FallocateFlags::empty(), 0, most) {
            // The node was faster.
            Err(rustix::io::Errno::NOSPC) => {}
            other => return Ok(other?),
        }
    }
}

/// Moves what is in `from` to `to`.
fn move_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    let script = "cp -a \"$0\"/. \"$1\" && find \"$0\" -mindepth 1 -delete";
    process::run(Command::new("sh").args(["-c", script]).args([from, to]))?.success()?;
    Ok(())
}

#[test]
fn a_full_disk_stops_taking_in_and_keeps_what_is_there() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("NOT RUN: a small disk is mounted for this test, which needs root");
        return Ok(());
    }
    let mut world = world()?;
    let World { consortium, gateway, fleet, readings, recorded } = &mut *world;
    let data = consortium.maker().data("");
    let elsewhere = consortium.path("maker-data");
    fs::create_dir_all(&elsewhere)?;

    // The maker's data move to a small disk.
    stop(consortium)?;
    move_all(&data, &elsewhere)?;
    let size = format!("size={DISK}m");
    let mount = ["-t", "tmpfs", "-o", &size, "hufu-test"];
    process::run(Command::new("mount").args(mount).arg(&data))?.success()?;
    move_all(&elsewhere, &data)?;
    start(consortium)?;
    let outcome = (|| -> anyhow::Result<()> {
        let maker = consortium.gateway("maker", "maker", "operator")?;
        // Certified while the maker's node still hears of it.
        let owner = consortium.gateway("maker", "operator", "operator")?;
        let device = &mut fleet.simulated[3];
        let mut send = |to: &Gateway| -> anyhow::Result<(u16, Option<u64>)> {
            let batch =
                hufu_harness::readings::batch(&record::piece(readings, 3), device.sequence.next())?;
            let payload = hufu_proof::Payload::Append(batch);
            let transaction = device.sign_payload(gateway.chain, gateway.expiry()?, payload)?;
            let answer = to.submit_raw(&hufu_proof::codec::encode(&transaction))?;
            if answer.status == 200 {
                device.sequence = device.sequence.next();
            }
            Ok((answer.status, answer.retry_after))
        };
        ensure!(send(&maker)?.0 == 200, "the maker's node takes nothing in on its new disk");

        // With little room left it takes nothing in, says so, and goes on with the
        // others.
        fill(&data, 32)?;
        wait_for("the status to say so", Duration::from_secs(20), || {
            says(
                consortium,
                "maker",
                "degraded",
                &["disk: ", "nothing is taken in until 64 MiB are"],
            )
        })?;
        let (status, retry_after) = send(&maker)?;
        ensure!(status == 503 && retry_after.is_some(), "{status}, {retry_after:?}");
        ensure!(send(gateway)?.0 == 200, "the others do not go on");

        // With none left it cannot even keep blocks. It stops voting, and is still
        // there to be asked.
        fill(&data, 0)?;
        wait_for("the node to stop voting", Duration::from_secs(60), || {
            ensure!(send(gateway)?.0 == 200, "the others do not go on");
            says(consortium, "maker", "failed", &["consensus ended by itself", "disk: 0 MiB"])
        })?;
        consortium.node("maker")?.check()?;
        let (status, retry_after) = send(&maker)?;
        ensure!(status == 503 && retry_after.is_some(), "{status}, {retry_after:?}");
        owner.receipt(recorded.sample, &consortium.path("full-disk-receipt.pem"))?;
        consortium.verify(&consortium.path("full-disk-receipt.pem"))?.success()?;
        let status = consortium.member("maker")?.json(&["status"])?;
        let height = status["read_model"]["height"].to_string();
        let sql = "SELECT count(*) FROM operation_supervision.reading";
        let answer = consortium.member("maker")?.json(&["query", "--as-of", &height, sql])?;
        assert_eq!(answer["as_of"], status["read_model"]["height"]);

        // With room again it goes on from where it was.
        for free in [0, 32] {
            fs::remove_file(data.join(format!("ballast-{free}")))?;
        }
        stop(consortium)?;
        start(consortium)?;
        life::agree(consortium)?;
        let rows = count_rows(consortium, "maker", &fleet.simulated[3].id)?;
        assert_eq!(rows, fleet.simulated[3].sequence.get() * record::BATCH as u64);
        Ok(())
    })();

    // The data move back, for the other tests, also when this one has failed.
    for free in [0, 32] {
        let _ = fs::remove_file(data.join(format!("ballast-{free}")));
    }
    stop(consortium)?;
    move_all(&data, &elsewhere)?;
    process::run(Command::new("umount").arg(&data))?.success()?;
    move_all(&elsewhere, &data)?;
    start(consortium)?;
    outcome?;
    life::agree(consortium)?;
    Ok(())
}

/// Ends the maker's node; how it ends is not asked, since it may have failed.
fn stop(consortium: &mut Consortium) -> anyhow::Result<()> {
    consortium.node("maker")?.terminate(Duration::from_secs(60))?;
    Ok(())
}

fn start(consortium: &mut Consortium) -> anyhow::Result<()> {
    consortium.start("maker")?;
    consortium.wait_until_up("maker")?;
    consortium.wait_until_ready("maker")
}
