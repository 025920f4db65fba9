//! Tools that are not Debian packages: installed once, into the cache.

use std::path::PathBuf;
use std::process::Command;

use xtask::command;

/// The linter that judges our certificates. The tests look for it in the same
/// directory when `HUFU_PKILINT` names none.
const PKILINT: &str = "pkilint==0.13.3";
const PKILINT_DIRECTORY: &str = "pkilint-0.13.3";

/// Installs pkilint into a Python environment of its own and gives the
/// directory of its programs.
pub fn pkilint() -> Result<PathBuf, String> {
    let environment = command::cache_directory()?.join(PKILINT_DIRECTORY);
    let programs = environment.join("bin");
    if programs.join("lint_pkix_cert").is_file() {
        return Ok(programs);
    }
    println!("{PKILINT} is missing and is installed into {}", environment.display());
    // Debian's own interpreter: python3-venv belongs to that one.
    let debian = PathBuf::from("/usr/bin/python3");
    let python = if debian.is_file() { debian } else { PathBuf::from("python3") };
    command::run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&environment))?;
    command::run(Command::new(programs.join("pip")).args(["install", "--quiet", PKILINT]))?;
    Ok(programs)
}

/// Gives the path of cargo-deny, installing it first where it is missing. It
/// is built without optimisation: that halves the build, and it runs for
/// seconds only.
pub fn cargo_deny() -> Result<PathBuf, String> {
    if command::is_in_path("cargo-deny") {
        return Ok(PathBuf::from("cargo-deny"));
    }
    let tools = command::cache_directory()?.join("tools");
    let program = tools.join("bin").join("cargo-deny");
    if !program.is_file() {
        println!("cargo-deny is missing and is installed once into {}", tools.display());
        command::run(
            command::cargo()
                .args(["install", "--locked", "--debug", "--quiet", "cargo-deny", "--root"])
                .arg(&tools)
                .arg("--target-dir")
                .arg(command::target_directory()?.join("tools"))
                // Outside the tree, so that its compiler flags stay here.
                .current_dir("/"),
        )?;
    }
    Ok(program)
}
