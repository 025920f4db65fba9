//! What the README promises, and what the demonstration tells people to try.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hufu_harness::binaries;
use hufu_harness::process::{self, wait_for};
use serde_json::Value;

#[test]
fn the_readme_gives_two_commands_and_ci_runs_one_of_them() -> anyhow::Result<()> {
    let root = binaries::workspace();
    let readme = fs::read_to_string(root.join("README.md"))?;
    let mut commands = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            commands.push(line.trim());
        }
    }
    assert_eq!(commands, ["cargo xtask demo", "cargo xtask test"]);
    let ci = fs::read_to_string(root.join(".ci/run"))?;
    assert!(ci.lines().any(|line| line.starts_with("exec cargo xtask test")), "{ci}");
    // Links lead somewhere.
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        if !link.starts_with("http") {
            assert!(root.join(link).exists(), "the README links to {link}");
        }
    }
    Ok(())
}

/// The demonstration as a newcomer starts it, small enough for a test.
fn demo(directory: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hufu-demo"));
    command
        .arg("--hufu")
        .arg(binaries::hufu()?)
        .arg("--dir")
        .arg(directory)
        .args(["--devices", "6", "--tpm-devices", "1"])
        .stdin(Stdio::null());
    Ok(command)
}

#[test]
fn the_demonstration_runs_shows_what_to_try_and_continues() -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("hufu-readme-").tempdir()?;

    // First without --exit: it runs, says what to try, and stops on Ctrl-C.
    let log = directory.path().join("demo.log");
    let mut running =
        demo(directory.path())?.stdout(Stdio::piped()).stderr(fs::File::create(&log)?).spawn()?;
    let lines =
        what_to_try(&mut running).with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    let tried = try_all(&lines, directory.path());
    let stopped = interrupt(&mut running);
    tried?;
    stopped?;
    let left = processes_of(directory.path())?;
    assert!(left.is_empty(), "processes were left behind: {left:#?}");

    // Then with --exit on the same directory: it goes on from there.
    let answer = process::run(demo(directory.path())?.arg("--exit"))?.success()?;
    let summary: Value = serde_json::from_str(answer.stdout.lines().last().context("a line")?)?;
    check_summary(&summary)
}

/// Command lines of the processes that name `directory`.
fn processes_of(directory: &Path) -> anyhow::Result<Vec<String>> {
    let directory = directory.to_str().context("UTF-8")?;
    let processes = fs::read_dir("/proc")?.filter_map(Result::ok);
    Ok(processes
        // One that has ended meanwhile has no command line.
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(directory))
        .collect())
}

/// Lines that are to be pasted, once the demonstration shows them.
fn what_to_try(running: &mut Child) -> anyhow::Result<Vec<String>> {
    let output = BufReader::new(running.stdout.take().context("standard output")?);
    let mut output = output.lines();
    let mut lines = Vec::new();
    while let Some(line) = output.next() {
        let line = line?;
        let command = line.trim();
        let is_command =
            ["SOFTHSM2_CONF=", "curl ", "/"].iter().any(|one| command.starts_with(one));
        if line.starts_with("  ") && is_command {
            lines.push(command.to_owned());
        }
        // The last thing it names is the page to read.
        if command.ends_with(".html") && !command.contains(' ') {
            lines.pop();
            ensure!(Path::new(command).exists(), "{command} is not there");
            // Whoever shows it goes on showing; a closed pipe would end the show.
            std::thread::spawn(move || output.for_each(drop));
            return Ok(lines);
        }
    }
    anyhow::bail!("the demonstration ended before it said what to try")
}

fn try_all(lines: &[String], directory: &Path) -> anyhow::Result<()> {
    ensure!(lines.len() >= 9, "only these are to be tried: {lines:#?}");
    for line in lines {
        let pasted = format!("set -o pipefail; {line}");
        process::run(Command::new("bash").args(["-c", &pasted]).current_dir(directory))?
            .success()
            .with_context(|| format!("pasted: {line}"))?;
    }
    Ok(())
}

fn interrupt(running: &mut Child) -> anyhow::Result<()> {
    process::run(Command::new("kill").args(["-INT", &running.id().to_string()]))?.success()?;
    let status = wait_for("the demonstration to end", Duration::from_secs(60), || {
        running.try_wait()?.context("it still runs")
    })?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

fn check_summary(summary: &Value) -> anyhow::Result<()> {
    assert_eq!(summary["ok"], true, "{summary}");
    let path = |pointer: &str| -> anyhow::Result<PathBuf> {
        let text = summary.pointer(pointer).and_then(Value::as_str);
        Ok(PathBuf::from(text.with_context(|| format!("{pointer} in {summary}"))?))
    };
    let genesis = path("/genesis")?;
    for file in ["/report/html", "/report/json", "/receipt", "/certificate"] {
        process::run(
            Command::new(binaries::hufu()?)
                .arg("verify")
                .arg("--genesis")
                .arg(&genesis)
                .arg(path(file)?),
        )?
        .success()?;
    }
    assert!(path("/dir")?.is_dir());
    for (pointer, least) in [
        ("/height", 1),
        ("/validators", 4),
        ("/devices/enrolled", 7),
        ("/devices/tpm_attested", 1),
        ("/devices/revoked", 1),
        ("/readings/accepted", 100),
        ("/readings/refused", 3),
        ("/findings", 1),
    ] {
        let number = summary.pointer(pointer).and_then(Value::as_u64);
        assert!(number.is_some_and(|number| number >= least), "{pointer} in {summary}");
    }
    for pointer in ["build", "ceremony", "enrol", "record", "report", "total"] {
        assert!(summary["seconds"][pointer].is_number(), "seconds.{pointer} in {summary}");
    }
    for pointer in ["est", "ocsp", "crl", "gateway", "metrics"] {
        assert!(summary["urls"][pointer].is_string(), "urls.{pointer} in {summary}");
    }
    assert_eq!(summary["state_root"].as_str().map(str::len), Some(64));
    Ok(())
}
