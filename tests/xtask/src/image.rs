//! `cargo xtask image`: a program of its own (`tests/image`), built when it is
//! wanted.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use xtask::command;

fn program(arguments: &[&str]) -> Result<Command, String> {
    let mut cargo = command::cargo();
    // Where the command was typed: files are named from there.
    let manifest = command::root()?.join("Cargo.toml");
    cargo.args(["run", "--quiet", "--locked", "--package", "hufu-image", "--manifest-path"]);
    cargo.arg(manifest).arg("--").args(arguments);
    Ok(cargo)
}

/// Runs `cargo xtask image`.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let status = program(&arguments)?.status().map_err(|error| format!("tests/image: {error}"))?;
    Ok(u8::try_from(status.code().unwrap_or(1)).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The lane of `cargo xtask test`: one build, one boot, with the `hufu` that
/// `build` makes. `Some` says why it is skipped.
pub fn smoke(build: impl FnOnce() -> Result<PathBuf, String>) -> Result<Option<String>, String> {
    let obstacle = command::output_of(&mut program(&["obstacle"])?)
        .ok_or("`cargo xtask image obstacle` failed")?;
    if !obstacle.is_empty() {
        return Ok(Some(obstacle));
    }
    let hufu = build()?;
    let hufu = hufu.to_str().ok_or("the path of `hufu` is not UTF-8")?;
    command::run(&mut program(&["smoke", hufu])?)?;
    Ok(None)
}
