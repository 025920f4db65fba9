//! `cargo xtask test`: every check, in steps.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use xtask::command;
use xtask::packages::{self, Purpose};

use crate::{fuzz, image, structure, tools};

struct Step {
    name: &'static str,
    does: &'static str,
    run: fn(&mut Tests) -> Result<(), String>,
}

/// In the order in which they run: what fails fastest comes first, the tests
/// last, so that their closing lines are the last ones seen.
const STEPS: &[Step] = &[
    Step { name: "fmt", does: "formatting", run: |_| format_check() },
    Step {
        name: "structure",
        does: "crates and files import each other as docs/architecture.md draws them",
        run: |_| structure::check(),
    },
    Step {
        name: "clippy",
        does: "lints, warnings are errors, in tests and benches too",
        run: |_| clippy(),
    },
    Step {
        name: "deny",
        does: "licences, sources and duplicates of dependencies",
        run: |_| deny(),
    },
    Step { name: "doc", does: "documentation builds without a warning", run: |_| documentation() },
    Step { name: "fuzz", does: "each fuzz target for a few seconds", run: fuzz_targets },
    Step {
        name: "simulation",
        does: "validators and whole nodes in simulated time, with faults",
        run: simulation,
    },
    Step {
        name: "image",
        does: "the appliance's image is built and booted",
        run: |tests| {
            // The one that the tests run: an optimised one takes minutes more.
            tests.skipped = image::smoke(debug_hufu)?;
            Ok(())
        },
    },
    Step { name: "test", does: "all tests, whole-system tests among them", run: cargo_test },
];

/// What the test runners counted.
#[derive(Default)]
struct Tests {
    passed: usize,
    failed: usize,
    /// Why the step that runs is not run here.
    skipped: Option<String>,
}

struct Outcome {
    name: &'static str,
    duration: Duration,
    error: Option<String>,
    skipped: bool,
}

/// Runs the chosen steps, all of them also after one has failed.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let Some(chosen) = choose(arguments)? else {
        for step in STEPS {
            println!("{:<10} {}", step.name, step.does);
        }
        return Ok(ExitCode::SUCCESS);
    };
    packages::install(Purpose::Test)?;
    let mut tests = Tests::default();
    let mut outcomes = Vec::new();
    for step in STEPS.iter().filter(|step| chosen.contains(&step.name)) {
        println!("\n=== {}: {}", step.name, step.does);
        let started = Instant::now();
        let error = (step.run)(&mut tests).err();
        let duration = started.elapsed();
        let skipped = tests.skipped.take();
        match (&error, &skipped) {
            (None, Some(reason)) => println!("=== {}: skipped: {reason}", step.name),
            (None, None) => println!("=== {}: ok, {}", step.name, command::seconds(duration)),
            (Some(message), _) => {
                println!("=== {}: FAILED, {}: {message}", step.name, command::seconds(duration));
            }
        }
        outcomes.push(Outcome { name: step.name, duration, error, skipped: skipped.is_some() });
    }
    Ok(summary(&tests, &outcomes))
}

fn summary(tests: &Tests, outcomes: &[Outcome]) -> ExitCode {
    println!("\nsteps:");
    for Outcome { name, duration, error, skipped } in outcomes {
        let verdict = match error {
            None if *skipped => "skipped",
            None => "ok",
            Some(_) => "FAILED",
        };
        println!("  {name:<10} {:>9}  {verdict}", command::seconds(*duration));
    }
    // A step is one check, apart from those whose tests are counted one by one.
    let (mut passed, mut failed) = (tests.passed, tests.failed);
    for outcome in outcomes {
        match (&outcome.error, outcome.name) {
            (None, "test" | "simulation" | "fuzz") => {}
            (None, _) if outcome.skipped => {}
            (None, _) => passed += 1,
            // A test step that failed without a failed test did not build.
            (Some(_), "test" | "simulation" | "fuzz") if tests.failed > 0 => {}
            (Some(_), _) => failed += 1,
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The names of the steps to run; `None` when only their list is wanted.
fn choose(arguments: &[String]) -> Result<Option<Vec<&'static str>>, String> {
    let known = |list: &str| -> Result<Vec<&'static str>, String> {
        list.split(',')
            .map(|wanted| {
                STEPS.iter().map(|step| step.name).find(|name| *name == wanted).ok_or_else(|| {
                    let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
                    format!("there is no step `{wanted}`; the steps are {}", names.join(", "))
                })
            })
            .collect()
    };
    let mut chosen: Vec<&'static str> = STEPS.iter().map(|step| step.name).collect();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut list = || arguments.next().ok_or(format!("{argument} takes names of steps"));
        match argument.as_str() {
            "--list" => return Ok(None),
            "--only" => chosen = known(list()?)?,
            "--skip" => {
                let skipped = known(list()?)?;
                chosen.retain(|name| !skipped.contains(name));
            }
            other => return Err(format!("test takes --only, --skip and --list, not `{other}`")),
        }
    }
    Ok(Some(chosen))
}

fn cargo(arguments: &[&str]) -> Result<Command, String> {
    let mut cargo = command::cargo();
    cargo.args(arguments).current_dir(command::root()?);
    Ok(cargo)
}

fn format_check() -> Result<(), String> {
    command::run(&mut cargo(&["fmt", "--all", "--check"])?)
}

fn clippy() -> Result<(), String> {
    command::run(&mut cargo(&[
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])?)
}

/// Advisories need a database from the network, which a data centre's builder
/// may not have; CI that has one adds `cargo deny check advisories`.
fn deny() -> Result<(), String> {
    let program = tools::cargo_deny()?;
    command::run(
        Command::new(program)
            .args(["--locked", "check", "licenses", "bans", "sources"])
            .current_dir(command::root()?),
    )
}

fn documentation() -> Result<(), String> {
    command::run(
        cargo(&["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"])?
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn fuzz_targets(tests: &mut Tests) -> Result<(), String> {
    tests.passed += fuzz::smoke()?;
    Ok(())
}

/// What these tests need of commonware compiles only without the flag of
/// `.cargo/config.toml` (ledger/consensus/README.md), so everything below is
/// compiled once more, to a directory of its own.
fn simulation(tests: &mut Tests) -> Result<(), String> {
    let mut test = command::cargo_with_flags(&["--cfg hufu_simulation"]);
    test.args(["test", "--locked", "--no-fail-fast", "--target-dir"])
        .arg(command::target_directory()?.join("simulation"))
        .args(["-p", "hufu-consensus", "--test", "faults", "-p", "hufu-node", "--lib"])
        .current_dir(command::root()?);
    count(&mut test, tests)
}

/// The `hufu` that the whole-system tests run, built where it is not up to date.
fn debug_hufu() -> Result<PathBuf, String> {
    command::run(&mut cargo(&["build", "--locked", "--workspace", "--bins"])?)?;
    Ok(command::target_directory()?.join("debug").join("hufu"))
}

fn cargo_test(tests: &mut Tests) -> Result<(), String> {
    let pkilint = tools::pkilint()?;
    let hufu = debug_hufu()?;
    let mut test = cargo(&["test", "--locked", "--workspace", "--no-fail-fast"])?;
    test.env("HUFU_BIN", hufu).env("HUFU_PKILINT", pkilint);
    count(&mut test, tests)
}

/// Runs `cargo test`, shows its output, and counts what it says.
fn count(command: &mut Command, tests: &mut Tests) -> Result<(), String> {
    println!("$ {}", command::shown(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`{}` did not start: {error}", command::shown(command)))?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|error| format!("the tests' output: {error}"))?;
            if let Some((passed, failed)) = counts(&line) {
                tests.passed += passed;
                tests.failed += failed;
            }
            println!("{line}");
            // Ignored: without a reader there is nobody to tell.
            let _ = std::io::stdout().flush();
        }
    }
    let status = child.wait().map_err(|error| format!("the tests: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`cargo test` ended with {status}")) }
}

/// The numbers in `test result: ok. 3 passed; 0 failed; ...`.
fn counts(line: &str) -> Option<(usize, usize)> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut parts = rest.split("; ");
    let passed = parts.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = parts.next()?.strip_suffix(" failed")?.parse().ok()?;
    Some((passed, failed))
}

#[cfg(test)]
mod tests {
    use super::{STEPS, choose, counts};

    #[test]
    fn result_lines_are_counted() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(counts(line), Some((12, 3)));
        assert_eq!(counts("test result: ok"), None);
        assert_eq!(counts("running 3 tests"), None);
    }

    #[test]
    fn steps_are_chosen_by_name() {
        let arguments =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(choose(&arguments(&["--only", "fmt,deny"])), Ok(Some(vec!["fmt", "deny"])));
        assert_eq!(choose(&arguments(&["--list"])), Ok(None));
        assert_eq!(choose(&[]).map(|steps| steps.map(|steps| steps.len())), Ok(Some(STEPS.len())));
        assert!(choose(&arguments(&["--only", "format"])).is_err());
        assert!(choose(&arguments(&["--skip"])).is_err());
    }
}
