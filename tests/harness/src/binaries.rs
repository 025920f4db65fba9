//! Where the programs under test are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Context as _;

/// The `hufu` program for tests: the one that `HUFU_BIN` names, else that of
/// this tree, built now where it is not up to date.
///
/// # Errors
/// When it cannot be built.
pub fn hufu() -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(path) = std::env::var_os("HUFU_BIN") {
        return Ok(PathBuf::from(path));
    }
    BUILT
        .get_or_init(|| build().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("HUFU_ROOT"))
}

/// A program that was built with us: beside a binary, or one directory above
/// a test.
///
/// # Errors
/// When our own path is not known.
pub fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let ourselves = std::env::current_exe().context("our own path is not known")?;
    let mut directory = ourselves.parent().context("our path has no directory")?;
    if directory.file_name().is_some_and(|name| name == "deps") {
        directory = directory.parent().context("deps has no directory")?;
    }
    Ok(directory.join(name))
}

fn build() -> anyhow::Result<PathBuf> {
    let program = beside("hufu")?;
    let profile = program.parent().and_then(Path::file_name).context("no profile directory")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "-p", "hufu"]).current_dir(workspace());
    // What cargo calls `dev` it keeps in `debug`.
    if profile != "debug" {
        cargo.arg("--profile").arg(profile);
    }
    let target = program.ancestors().nth(2).context("no target directory")?;
    cargo.arg("--target-dir").arg(target);
    crate::process::run(&mut cargo)?.success()?;
    Ok(program)
}
