//! One user's traffic, clock or disk does not become everybody's problem.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use common::{World, world};
use hufu_harness::device::Device;
use hufu_harness::http::{Answer, Http};
use hufu_harness::job::{life, record};
use hufu_harness::process::{self, wait_for};
use hufu_harness::{Consortium, Gateway};
use hufu_proof::transaction::Batch;
use hufu_proof::{Algorithm, Budget, Name, Payload, Sequence, Transaction, Value, codec};

const MEMBERS: [&str; 4] = ["authority", "regulator", "maker", "operator"];

/// Where Debian's package `libfaketime` puts it.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// What a consortium agrees on for these tests: the least that is allowed.
const BUDGET: Budget =
    Budget { identity_bytes: Budget::LEAST_IDENTITY, member_bytes: 4 * Budget::LEAST_MEMBER };

fn status(consortium: &Consortium, name: &str) -> anyhow::Result<serde_json::Value> {
    consortium.member(name)?.json(&["status"])
}

/// A batch that no stream takes, of about this many bytes, signed by `device`.
fn large(gateway: &Gateway, device: &Device, bytes: usize) -> anyhow::Result<Transaction> {
    let batch = Batch {
        contract: Name::new("operation-supervision")?,
        stream: Name::new("reading")?,
        sequence: Sequence(1),
        rows: vec![vec![Value::Text("x".repeat(bytes))]],
    };
    device.sign_payload(gateway.chain, gateway.expiry()?, Payload::Append(batch))
}

/// Has something proposed and approved.
fn decide(consortium: &Consortium, arguments: &[&str]) -> anyhow::Result<()> {
    let proposed = consortium.authority().json(arguments)?;
    let proposal = proposed["proposal"].as_str().context("a proposal")?.to_owned();
    for member in [consortium.maker(), consortium.regulator()] {
        wait_for("the approval", Duration::from_secs(30), || {
            member.run(&["org", "approve", &proposal])
        })?;
    }
    Ok(())
}

/// Has a budget proposed and approved, and waits until every node has it.
fn agree_on(consortium: &Consortium, budget: Budget) -> anyhow::Result<()> {
    let (identity, member) = (budget.identity_bytes.to_string(), budget.member_bytes.to_string());
    let arguments = ["org", "budget", "--identity-bytes", &identity, "--member-bytes", &member];
    decide(consortium, &arguments)?;
    for name in MEMBERS {
        wait_for("the budget", Duration::from_secs(30), || {
            let today = &status(consortium, name)?["recorded_today"];
            ensure!(today["most_of_an_identity"] == budget.identity_bytes, "{name}: {today}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Bytes of a node's data.
fn on_disk(path: &Path) -> anyhow::Result<u64> {
    let answer = process::run(Command::new("du").args(["-s", "-B1"]).arg(path))?.success()?;
    let bytes = answer.stdout.split_whitespace().next().context("du")?;
    Ok(bytes.parse()?)
}

fn problem(answer: &Answer) -> anyhow::Result<serde_json::Value> {
    answer.json().with_context(|| answer.text())
}

#[test]
fn what_nobody_is_charged_for_is_refused_and_a_flood_ends() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { consortium, gateway, fleet, readings, .. } = &mut *world;
    agree_on(consortium, BUDGET)?;
    let issuer = fs::read_to_string(consortium.issuing_path())?;
    let flooder = &fleet.simulated[4];
    let http = Http::tls(&consortium.root_pem()?, Some(&flooder.identity(&issuer)?))?;
    let url = consortium.operator().gateway_url();
    let own = Gateway::new(http, &url, &consortium.genesis()?);
    let log_size = || -> anyhow::Result<u64> {
        status(consortium, "operator")?["ledger"]["log_size"].as_u64().context("log_size")
    };
    let disk = |name: &str| on_disk(&consortium.member(name)?.data("state"));
    let mut before = Vec::new();
    for name in MEMBERS {
        before.push(disk(name)?);
    }

    // Signed by keys that nobody knows: not a byte of it is recorded.
    let (logged, mut refused) = (log_size()?, 0);
    for _ in 0..20 {
        let stranger = Device::new("STRANGER", Algorithm::Ed25519)?;
        let answer = own.submit_raw(&codec::encode(&large(&own, &stranger, 400_000)?))?;
        ensure!(answer.status == 422, "{} {}", answer.status, answer.text());
        ensure!(problem(&answer)?["outcome"] == "unknown-signer", "{}", answer.text());
        refused += 1;
    }
    ensure!(log_size()? == logged, "{refused} strangers' transactions are on the ledger");

    // Signed by another device than the one that asks.
    let answer = own.submit_raw(&codec::encode(&large(&own, &fleet.simulated[5], 100)?))?;
    ensure!(answer.status == 403, "{} {}", answer.status, answer.text());

    // Its own: until the day's budget is used up.
    let mut sent = 0;
    let over = loop {
        let transaction = codec::encode(&large(&own, flooder, 60_000)?);
        let answer = own.submit_raw(&transaction)?;
        if answer.status == 429 {
            break answer;
        }
        // It is of no stream's form, and is recorded as refused.
        ensure!(answer.status == 422, "{} {}", answer.status, answer.text());
        sent += transaction.len() as u64;
        ensure!(sent <= BUDGET.identity_bytes, "{sent} bytes were taken");
    };
    ensure!(sent > BUDGET.identity_bytes / 2, "only {sent} bytes were taken");
    let said = problem(&over)?;
    ensure!(said["code"] == "over-budget", "{said}");
    let seconds = over.retry_after.context("no Retry-After")?;
    ensure!((1..=86_400).contains(&seconds), "{seconds}");
    let ends = said["ends_ms"].as_u64().context("no time when it ends")?;
    ensure!(ends.is_multiple_of(86_400_000), "{ends}");
    // It goes on all the same, and nothing of it is kept.
    for _ in 0..100 {
        let bundle = codec::encode(&vec![large(&own, flooder, 450_000)?]);
        let bundle = own.submit_bundle_raw(&bundle)?;
        ensure!(bundle.status == 429 && bundle.retry_after.is_some(), "{}", bundle.text());
    }

    // Another device of the same member, and another member, go on.
    let expires = gateway.expiry()?;
    let device = &mut fleet.simulated[5];
    let submitted = record::append(gateway, device, &record::piece(readings, 5), expires)?;
    ensure!(submitted.is_accepted(), "refused: {}", submitted.answer);
    let watch = format!("device={}", device.id);
    consortium.regulator().run(&[
        "ledger",
        "invoke",
        "--contract",
        "operation-supervision",
        "--action",
        "watch",
        "--asset",
        "FLOOD-WATCH",
        "--param",
        &watch,
        "--param",
        "metric=humidity",
        "--param",
        "high=85",
    ])?;

    // What it cost is bounded, and is shown.
    for (name, before) in MEMBERS.into_iter().zip(before) {
        let grown = disk(name)?.saturating_sub(before);
        // 53 MB came in. The store writes a journal ahead of its tables.
        let most = 8 * BUDGET.identity_bytes + 16 * 1024 * 1024;
        ensure!(grown < most, "{name} has grown by {grown} bytes");
    }
    let shown = status(consortium, "operator")?;
    let used = shown["recorded_today"]["bytes"]["maker"].as_u64().context("no use shown")?;
    ensure!(used >= sent, "{shown}");
    let metrics = format!("{}/metrics", consortium.operator().metrics_url());
    let metrics = Http::plain().get(&metrics)?.success()?.text();
    ensure!(metrics.contains("hufu_member_recorded_bytes{member=\"maker\"}"), "{metrics}");
    agree_on(consortium, Budget::default())?;
    life::agree(consortium)?;
    Ok(())
}

/// How long a regulator's own transactions take, each until it is final; the longest.
fn longest(consortium: &Consortium, round: &str, device: &str) -> anyhow::Result<Duration> {
    let watch = format!("device={device}");
    let mut longest = Duration::ZERO;
    for number in 0..12 {
        let begun = Instant::now();
        consortium.regulator().run(&[
            "ledger",
            "invoke",
            "--contract",
            "operation-supervision",
            "--action",
            "watch",
            "--asset",
            &format!("{round}-{number}"),
            "--param",
            &watch,
            "--param",
            "metric=humidity",
            "--param",
            "high=85",
        ])?;
        longest = longest.max(begun.elapsed());
    }
    Ok(longest)
}

/// What it costs another is printed: how fast this machine is decides nothing here.
#[test]
fn a_flood_of_one_member_does_not_delay_another() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { consortium, gateway, fleet, .. } = &mut *world;
    let issuer = fs::read_to_string(consortium.issuing_path())?;
    let flooder = &fleet.simulated[7];
    let http = Http::tls(&consortium.root_pem()?, Some(&flooder.identity(&issuer)?))?;
    let own = Gateway::new(http, &consortium.operator().gateway_url(), &consortium.genesis()?);
    let quiet = longest(consortium, "QUIET", &flooder.id)?;

    decide(consortium, &["org", "quotas", "--identity-a-second", "20", "--member-a-second", "40"])?;
    for name in MEMBERS {
        wait_for("the quotas", Duration::from_secs(30), || {
            let quotas = &status(consortium, name)?["recorded_today"]["quotas"];
            ensure!(quotas["identity"]["transactions_a_second"] == 20, "{name}: {quotas}");
            Ok(())
        })?;
    }
    let began = gateway.height()?;
    let over = AtomicBool::new(false);
    let (refused, loud) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| -> anyhow::Result<usize> {
            let mut refused = 0;
            while !over.load(Ordering::Relaxed) || refused == 0 {
                let batch: anyhow::Result<Vec<_>> =
                    (0..200).map(|_| large(&own, flooder, 100)).collect();
                let answer = own.submit_bundle_raw(&codec::encode(&batch?))?;
                if answer.status == 429 {
                    ensure!(answer.retry_after == Some(1), "{:?}", answer.retry_after);
                }
                refused += answer.text().matches("over-budget").count();
            }
            Ok(refused)
        });
        let loud = longest(consortium, "LOUD", &flooder.id);
        over.store(true, Ordering::Relaxed);
        (flood.join(), loud)
    });
    let refused = refused.map_err(|_| anyhow::anyhow!("the flood panicked"))??;
    let loud = loud?;
    println!(
        "longest of another: {quiet:?} without a flood, {loud:?} beside it; {refused} refused"
    );
    // No more than that is on the ledger, and no leader put there what was refused.
    let seconds = format!(
        "SELECT MAX(n) FROM (SELECT COUNT(*) AS n FROM ledger.transactions WHERE height > {began} \
         AND member = 'maker' AND kind = 'append' GROUP BY signer, time / 1000)"
    );
    let most = consortium.regulator().json(&["query", &seconds])?;
    let most = most["rows"][0][0].as_u64().with_context(|| most.to_string())?;
    ensure!((1..=20).contains(&most), "{most} in a second");
    let over = "SELECT COUNT(*) FROM ledger.transactions WHERE outcome = 'over-budget'";
    let over = consortium.regulator().json(&["query", over])?;
    ensure!(over["rows"][0][0] == 0, "{over}");
    decide(consortium, &["org", "quotas"])?;
    life::agree(consortium)?;
    Ok(())
}

#[test]
fn every_node_of_a_healthy_consortium_says_that_all_vote() -> anyhow::Result<()> {
    let world = world()?;
    // Longer than a node may be silent.
    std::thread::sleep(Duration::from_secs(10));
    for name in MEMBERS {
        let status = status(&world.consortium, name)?;
        let validators = status["validators"].as_array().context("validators")?;
        let mut votes: Vec<&str> = validators.iter().filter_map(|one| one.as_str()).collect();
        votes.sort_unstable();
        let all = ["authority votes", "maker votes", "operator votes", "regulator votes"];
        ensure!(votes == all, "{name}: {votes:?}");
        ensure!(status["state"] == "operational", "{status}");
        ensure!(status["warnings"] == serde_json::json!([]), "{status}");
    }
    Ok(())
}

/// Starts the maker's node with a clock that is this many seconds ahead.
fn with_clock(consortium: &mut Consortium, seconds: i64) -> anyhow::Result<()> {
    let ahead = format!("{seconds:+}s");
    consortium.node("maker")?.terminate(Duration::from_secs(60))?;
    let environment = [
        ("LD_PRELOAD", FAKETIME),
        ("FAKETIME", &ahead),
        // Only what is compared with others' clocks: waits stay as they are.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_DONT_RESET", "1"),
    ];
    let environment = if seconds == 0 { &[][..] } else { &environment[..] };
    consortium.start_with("maker", environment)?;
    consortium.wait_until_up("maker")
}

/// What `hufu status` says to people, reasons and warnings.
fn said(consortium: &Consortium, name: &str) -> anyhow::Result<String> {
    let status = status(consortium, name)?;
    Ok(format!("{} {}", status["reasons"], status["warnings"]))
}

#[test]
fn a_clock_that_is_wrong_is_said_by_its_node_and_by_the_others() -> anyhow::Result<()> {
    ensure!(Path::new(FAKETIME).exists(), "install the Debian package `libfaketime`");
    let mut world = world()?;
    let consortium = &mut world.consortium;
    let outcome = (|| {
        for (seconds, side) in [(12, "ahead of"), (-12, "behind"), (4, "ahead of")] {
            with_clock(consortium, seconds)?;
            wait_for("the node to say so of itself", Duration::from_secs(60), || {
                let said = said(consortium, "maker")?;
                let own = format!("this node's clock is {}.", seconds.abs());
                ensure!(said.contains(&own) && said.contains(side), "{said}");
                ensure!(said.contains("NTP"), "{said}");
                ensure!(!said.contains("validators missing"), "it blames others: {said}");
                Ok(())
            })?;
            for name in ["authority", "regulator", "operator"] {
                wait_for("the others to say it of it", Duration::from_secs(60), || {
                    let said = said(consortium, name)?;
                    let named = format!("member `maker` is {}.", seconds.abs());
                    ensure!(said.contains(&named) && said.contains(side), "{name}: {said}");
                    Ok(())
                })?;
            }
            let log = fs::read_to_string(consortium.maker().log())?;
            ensure!(log.contains("this node's clock is"), "not in the log");
            let metrics = format!("{}/metrics", consortium.maker().metrics_url());
            let metrics = Http::plain().get(&metrics)?.success()?.text();
            let ahead =
                metrics.lines().find_map(|line| line.strip_prefix("hufu_clock_ahead_seconds "));
            let ahead: f64 = ahead.context("no metric")?.parse()?;
            ensure!((ahead - seconds as f64).abs() < 0.5, "{ahead}");
        }
        anyhow::Ok(())
    })();
    with_clock(consortium, 0)?;
    outcome?;
    consortium.wait_until_ready("maker")?;
    wait_for("all to be well again", Duration::from_secs(60), || {
        for name in MEMBERS {
            let said = said(consortium, name)?;
            ensure!(said == "[] []", "{name}: {said}");
        }
        Ok(())
    })?;
    life::agree(consortium)?;
    Ok(())
}

#[test]
fn a_data_directory_put_back_by_hand_is_said() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { consortium, gateway, fleet, readings, .. } = &mut *world;
    let (data, older) = (consortium.maker().directory.join("data"), consortium.path("maker-older"));
    let copy = |from: &Path, to: &Path| -> anyhow::Result<()> {
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
        process::run(Command::new("cp").arg("-a").args([from, to]))?.success()?;
        Ok(())
    };
    let restart = |consortium: &mut Consortium, between: &dyn Fn() -> anyhow::Result<()>| {
        consortium.node("maker")?.terminate(Duration::from_secs(60))?;
        between()?;
        consortium.start("maker")?;
        consortium.wait_until_up("maker")?;
        consortium.wait_until_ready("maker")
    };
    restart(consortium, &|| copy(&data, &older))?;
    // The ledger moves on, with this validator's votes.
    let began = gateway.height()?;
    while gateway.height()? < began + 30 {
        let expires = gateway.expiry()?;
        let device = &mut fleet.simulated[6];
        let submitted = record::append(gateway, device, &record::piece(readings, 6), expires)?;
        ensure!(submitted.is_accepted(), "refused: {}", submitted.answer);
    }
    restart(consortium, &|| copy(&older, &data))?;
    wait_for("the status to say so", Duration::from_secs(60), || {
        let said = said(consortium, "maker")?;
        ensure!(said.contains("put back from an older copy"), "{said}");
        Ok(())
    })?;
    let log = fs::read_to_string(consortium.maker().log())?;
    if !log.contains("older than what its validator has voted on") {
        bail!("not in the log of the maker");
    }
    life::agree(consortium)?;
    restart(consortium, &|| Ok(()))?;
    let said = said(consortium, "maker")?;
    ensure!(!said.contains("older copy"), "it is over with the next start: {said}");
    Ok(())
}
