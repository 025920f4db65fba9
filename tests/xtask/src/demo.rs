//! `cargo xtask demo`: install, build, run.

use std::process::ExitCode;
use std::time::Instant;

use xtask::command;
use xtask::packages::{self, Purpose};

/// The profile of `Cargo.toml` that is built soonest (docs/building.md).
const PROFILE: &str = "demo";

/// Stack of threads that say nothing of it, in bytes: Cedar, which this profile
/// does not optimise, needs more than the usual 2 MiB for what nests deeply.
const STACK: &str = "16777216";

/// Installs what is missing, builds, and runs `hufu-demo` with `arguments`.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    packages::install(Purpose::Demo)?;
    let started = Instant::now();
    command::run(
        command::cargo()
            .args(["build", "--profile", PROFILE, "--locked", "--bins"])
            .args(["-p", "hufu", "-p", "hufu-harness"])
            .current_dir(command::root()?),
    )?;
    let build = started.elapsed();
    println!("built in {}", command::seconds(build));

    let programs = command::target_directory()?.join(PROFILE);
    let mut demo = std::process::Command::new(programs.join("hufu-demo"));
    demo.env("RUST_MIN_STACK", STACK);
    demo.arg("--hufu").arg(programs.join("hufu"));
    demo.arg("--build-seconds").arg(format!("{:.1}", build.as_secs_f64()));
    demo.args(arguments);
    // The demo is in our process group and handles Ctrl-C itself; it ends by
    // its own status, which is ours.
    replace_by(&mut demo)
}

/// Becomes `program`, so that signals reach it and its status is ours.
fn replace_by(program: &mut std::process::Command) -> Result<ExitCode, String> {
    use std::os::unix::process::CommandExt as _;
    let error = program.exec();
    Err(format!("`{}` did not start: {error}", command::shown(program)))
}
