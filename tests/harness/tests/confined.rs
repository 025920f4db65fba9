//! What somebody asks in SQL costs who asks, and nobody else.

mod common;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use common::{World, world};
use hufu_harness::binaries::workspace;
use hufu_harness::inspect::text;
use hufu_harness::job::record;
use hufu_harness::process::wait_for;
use hufu_harness::{Consortium, process};

/// A million characters, made by one expression.
const BIG: &str = "replace(replace(replace(replace(replace('xxxxxxxxxx','x','yyyyyyyyyy'),'y','zzzzzzzzzz'),'z','xxxxxxxxxx'),'x','yyyyyyyyyy'),'y','zzzzzzzzzz')";

const PAIRS: &str = "FROM ledger.transactions a, ledger.transactions b";

/// How much a node's memory may change in these tests, in MiB. What it does for
/// the ledger meanwhile is in it; one of these queries alone took 6,000.
const MOST: u64 = 200;

/// Seconds in each of its steps, also where the machine is fast, and more steps
/// than there is time for.
fn slow() -> String {
    let step = |i| format!("instr({BIG}, substr({BIG}, 1, 500000) || '{i}')");
    let steps = (0..24).map(step).collect::<Vec<_>>().join(" + ");
    format!("SELECT {steps} + a.height {PAIRS}")
}

/// A line of `/proc/PID/status`, in MiB.
fn memory(process: u32, line: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let found = status.lines().find_map(|one| one.strip_prefix(line)).context("no such line")?;
    let kib: u64 = found.split_whitespace().next().context("no number")?.parse()?;
    Ok(kib / 1024)
}

/// The processes that `parent` started and that run.
fn children(parent: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // `PID (NAME) STATE PARENT …`
        let Some((begins, rest)) = stat.rsplit_once(')') else { continue };
        let rest: Vec<&str> = rest.split_whitespace().take(2).collect();
        if rest.len() == 2 && rest[0] != "Z" && rest[1] == parent.to_string() {
            found.push(begins.split_whitespace().next().context("no number")?.parse()?);
        }
    }
    Ok(found)
}

/// `hufu query` at the regulator's node, not waited for.
fn ask(consortium: &Consortium, sql: &str) -> anyhow::Result<Child> {
    let mut query = consortium.regulator().hufu(&["query", sql]);
    Ok(query.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

/// Asks four times what takes long, and waits until all four run.
fn four(consortium: &Consortium, node: u32) -> anyhow::Result<Vec<Child>> {
    let running = (0..4).map(|_| ask(consortium, &slow())).collect::<anyhow::Result<Vec<_>>>()?;
    wait_for("four processes", Duration::from_secs(30), || {
        let count = children(node)?.len();
        ensure!(count == 4, "{count} processes");
        Ok(())
    })?;
    Ok(running)
}

fn nothing_runs(node: u32) -> anyhow::Result<()> {
    wait_for("the processes to end", Duration::from_secs(30), || {
        let left = children(node)?;
        ensure!(left.is_empty(), "{left:?} run");
        Ok(())
    })
}

#[test]
fn the_worst_queries_cost_the_validator_nothing() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { consortium, gateway, fleet, readings, .. } = &mut *world;
    let node = consortium.node("regulator")?.id();
    let height = |consortium: &Consortium| -> anyhow::Result<u64> {
        let status = consortium.regulator().json(&["status"])?;
        status["ledger"]["height"].as_u64().context("no height")
    };
    let key = format!("{BIG}||a.id||b.id");
    let worst = [
        format!("SELECT 1 {PAIRS} ORDER BY {key}"),
        format!("SELECT count(*) {PAIRS} GROUP BY {key}"),
        format!(
            "SELECT max(length(x)) FROM (SELECT first_value({key}) OVER (PARTITION BY a.height \
             ORDER BY b.id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) x {PAIRS})"
        ),
        slow(),
    ];
    let (began, before) = (height(consortium)?, memory(node, "VmRSS:")?);
    let mut running =
        worst.iter().map(|sql| ask(consortium, sql)).collect::<Result<Vec<_>, _>>()?;
    let mut recorded = 0;
    while running.iter_mut().any(|child| matches!(child.try_wait(), Ok(None))) {
        let expires = gateway.expiry()?;
        let device = &mut fleet.simulated[recorded % 4];
        let rows = record::piece(readings, recorded % 4);
        let submitted = record::append(gateway, device, &rows, expires)?;
        ensure!(submitted.is_accepted(), "refused: {}", submitted.answer);
        recorded += 1;
        let now = memory(node, "VmRSS:")?;
        ensure!(now < before + MOST, "the node grew from {before} to {now} MiB");
    }
    for (child, sql) in running.into_iter().zip(&worst) {
        let answer = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(answer.status.code() == Some(1), "{sql}: {} {said}", answer.status);
        ensure!(said.contains("narrow it down"), "{sql}: {said}");
    }
    ensure!(recorded >= 3, "{recorded} readings were recorded meanwhile");
    let reached = height(consortium)?;
    ensure!(reached >= began + 3, "from height {began} to {reached}");
    let status = consortium.regulator().json(&["status"])?;
    ensure!(status["state"] == "operational", "{status}");
    ensure!(status["validators"].to_string().contains("regulator votes"), "{status}");
    nothing_runs(node)
}

#[test]
fn a_process_goes_with_who_asked_and_with_the_node() -> anyhow::Result<()> {
    let mut world = world()?;
    let consortium = &mut world.consortium;
    let node = consortium.node("regulator")?.id();
    // As many as there may be; a fifth is told to come back.
    let running = four(consortium, node)?;
    let fifth = process::run(&mut consortium.regulator().hufu(&["query", "SELECT 1 AS n"]))?;
    ensure!(fifth.status.code() == Some(3), "{}", fifth.stderr);
    ensure!(fifth.stderr.contains("as many queries as may run at once"), "{}", fifth.stderr);
    for mut client in running {
        client.kill()?;
        client.wait()?;
    }
    nothing_runs(node)?;
    consortium.regulator().run(&["query", "SELECT 1 AS n"])?;

    let mut running = four(consortium, node)?;
    let started = children(node)?;
    consortium.node("regulator")?.kill()?;
    wait_for("the processes to end", Duration::from_secs(10), || {
        for one in &started {
            let shown =
                Command::new("ps").args(["-o", "stat=", "-p", &one.to_string()]).output()?;
            let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
            ensure!(shown.trim().is_empty() || shown.starts_with('Z'), "{one}: {shown}");
        }
        Ok(())
    })?;
    for client in &mut running {
        client.wait()?;
    }
    consortium.start("regulator")?;
    consortium.wait_until_up("regulator")?;
    consortium.wait_until_ready("regulator")
}

/// Controls of a package that is proposed are somebody's SQL, too: they run when
/// the package's cases do.
#[test]
fn a_proposed_package_that_asks_for_too_much_is_refused() -> anyhow::Result<()> {
    let mut world = world()?;
    let consortium = &mut world.consortium;
    let package = consortium.path("greedy").join("operation-supervision");
    for one in hufu_harness::consortium::PACKAGES {
        let source = workspace().join("policies").join(one);
        let target = consortium.path("greedy").join(one);
        std::fs::create_dir_all(consortium.path("greedy"))?;
        process::run(Command::new("cp").arg("-r").arg(source).arg(target))?.success()?;
    }
    let control = package.join("controls/over-limit.sql");
    let shipped = std::fs::read_to_string(&control)?;
    let ten = (0..10).map(|i| format!("({i})")).collect::<Vec<_>>().join(",");
    let greedy = format!(
        "WHERE (WITH ten(i) AS (VALUES {ten}) SELECT max(length(x)) FROM (SELECT {BIG} || a.i || \
         b.i || c.i || d.i AS x FROM ten a, ten b, ten c, ten d ORDER BY x)) > 0 AND"
    );
    std::fs::write(&control, shipped.replacen("WHERE", &greedy, 1))?;
    let manifest = package.join("contract.toml");
    let version = std::fs::read_to_string(&manifest)?.replacen("\"1.0.0\"", "\"1.1.0\"", 1);
    std::fs::write(&manifest, version)?;
    let node = consortium.node("authority")?.id();
    let before = memory(node, "VmHWM:")?;
    let deploy = ["policy", "deploy", text(&package)?];
    let refused = process::run(&mut consortium.authority().hufu(&deploy))?;
    let said = format!("{}{}", refused.stdout, refused.stderr);
    ensure!(refused.status.code() == Some(1), "{} {said}", refused.status);
    ensure!(said.contains("over-limit: the query needs more memory"), "{said}");
    let most = memory(node, "VmHWM:")?;
    ensure!(most < before + MOST, "the node grew from {before} to {most} MiB");
    nothing_runs(node)
}
