//! Runs every fuzz target for a few seconds.
//!
//! The targets use libFuzzer through `libfuzzer-sys`, which is all C++ and a
//! macro: the coverage instrumentation it wants can be asked of the stable
//! compiler, so no nightly is needed. The address sanitizer, which does need
//! one, has little to find where unsafe code is forbidden.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use xtask::command;

/// What the compiler adds for libFuzzer, as cargo-fuzz does it.
const COVERAGE: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Ccodegen-units=1",
];

/// The flag of `.cargo/config.toml`, which ours replace.
const ALWAYS: &str = "--cfg=commonware_stability_BETA";

/// Seconds for each target.
const SECONDS: u32 = 3;

/// The workspace of the `*/*/fuzz` packages: one, so that what they share is
/// compiled once, with one lock file.
const WORKSPACE: &str = "tests/fuzz";

/// Builds and runs all targets of all `*/*/fuzz` packages; gives their number.
pub fn smoke() -> Result<usize, String> {
    let host = host()?;
    let target = command::target_directory()?.join("fuzz");
    let mut flags = vec![ALWAYS];
    flags.extend(COVERAGE);
    command::run(
        command::cargo_with_flags(&flags)
            .args(["build", "--quiet", "--locked", "--release", "--workspace", "--bins"])
            .args(["--target", &host])
            .arg("--target-dir")
            .arg(&target)
            .current_dir(command::root()?.join(WORKSPACE)),
    )?;
    let programs = target.join(&host).join("release");
    let (mut count, mut failed) = (0, Vec::new());
    for package in packages()? {
        for name in targets(&package)? {
            count += 1;
            if let Err(message) = run_target(&package, &name, &programs.join(&name)) {
                eprintln!("{message}");
                failed.push(name);
            }
        }
    }
    if failed.is_empty() {
        Ok(count)
    } else {
        Err(format!("fuzz targets that failed: {}", failed.join(", ")))
    }
}

/// Runs one target on its seeds. New inputs go to a directory under the build
/// output, so that the committed seeds stay what they are.
fn run_target(package: &Path, name: &str, program: &Path) -> Result<(), String> {
    let found = command::target_directory()?.join("fuzz-corpus").join(name);
    std::fs::create_dir_all(&found)
        .map_err(|error| format!("{} cannot be made: {error}", found.display()))?;
    let seeds: Vec<PathBuf> = ["corpus", "seeds"]
        .iter()
        .map(|directory| package.join(directory).join(name))
        .filter(|directory| directory.is_dir())
        .collect();
    if seeds.is_empty() {
        return Err(format!(
            "the fuzz target `{name}` has no seeds; put some into {}",
            package.join("corpus").join(name).display()
        ));
    }
    let log = found.with_extension("log");
    let file = std::fs::File::create(&log)
        .map_err(|error| format!("{} cannot be written: {error}", log.display()))?;
    let mut run = Command::new(program);
    run.arg(format!("-max_total_time={SECONDS}"))
        .args(["-rss_limit_mb=4096", "-timeout=10", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(&found)
        .args(&seeds)
        .stdin(Stdio::null())
        .stderr(file);
    println!("$ {}", command::shown(&run));
    let status = run.status().map_err(|error| format!("`{name}` did not start: {error}"))?;
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    if status.success() {
        let executed = text.lines().find(|line| line.contains("number_of_executed_units"));
        println!("  {}", executed.unwrap_or("ran"));
        Ok(())
    } else {
        let end: Vec<&str> = text.lines().rev().take(30).collect();
        let end: Vec<&str> = end.into_iter().rev().collect();
        Err(format!("the fuzz target `{name}` ended with {status}:\n{}", end.join("\n")))
    }
}

/// All `*/*/fuzz` directories with a manifest, in order.
fn packages() -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for top in directories(&command::root()?)? {
        for crate_directory in directories(&top)? {
            let fuzz = crate_directory.join("fuzz");
            if fuzz.join("Cargo.toml").is_file() {
                found.push(fuzz);
            }
        }
    }
    Ok(found)
}

fn directories(parent: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(parent)
        .map_err(|error| format!("{} cannot be read: {error}", parent.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .filter(|path| path.file_name().is_some_and(|name| name != "target"))
        .collect();
    found.sort();
    Ok(found)
}

/// The names of the binaries in a fuzz package's manifest.
fn targets(package: &Path) -> Result<Vec<String>, String> {
    let manifest = package.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest)
        .map_err(|error| format!("{} cannot be read: {error}", manifest.display()))?;
    let names = binary_names(&text);
    if names.is_empty() {
        Err(format!("{} names no [[bin]]", manifest.display()))
    } else {
        Ok(names)
    }
}

/// The `name` of every `[[bin]]` table. Enough of TOML for manifests that
/// cargo has already accepted.
fn binary_names(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut in_binary = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            in_binary = line == "[[bin]]";
        } else if in_binary
            && let Some(value) = line.strip_prefix("name").map(str::trim_start)
            && let Some(value) = value.strip_prefix('=')
        {
            names.push(value.trim().trim_matches('"').to_owned());
        }
    }
    names
}

fn host() -> Result<String, String> {
    let version =
        command::output_of(Command::new("rustc").arg("-vV")).ok_or("`rustc -vV` does not run")?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "`rustc -vV` names no host".to_owned())
}

#[cfg(test)]
mod tests {
    use super::binary_names;

    #[test]
    fn only_binaries_are_named() {
        let manifest = "[package]\nname = \"x-fuzz\"\n[[bin]]\nname = \"receipt\"\npath = \"a.rs\"\n\
                        [lib]\nname = \"no\"\n[[bin]]\npath = \"b.rs\"\nname=\"block\"\n";
        assert_eq!(binary_names(manifest), ["receipt", "block"]);
    }
}
