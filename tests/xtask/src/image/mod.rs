//! `cargo xtask image`: builds the appliance's image, boots it, attacks it.
//!
//! Everything but `mmdebstrap` runs inside a tree of Debian's next release that
//! is made once ([`tree`]), so that nothing of it has to be installed. What is
//! built is described in `image/README.md`.

mod build;
mod checks;
mod extension;
mod keys;
mod mirror;
mod release;
mod run;
mod sbom;
mod tree;
mod vm;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::command;
use crate::packages::{self, Purpose};

const USAGE: &str = "\
cargo xtask image <command>

  build [options]      make the image, its parts for update, manifest and SBOM
  extension --name NAME --file FILE... [keys]
                       a signed extension with an HSM maker's PKCS#11 module
  run [options] [--ports PORT,PORT...] [--fresh]
                       boot it in QEMU with the console here; the ports are forwarded
                       to free ports of the loopback interface (default: 8440)
  test [--smoke] [--all] [--only NAME,NAME...] [--list]
                       build it, boot it, attack it; --all with what takes long

Options of build, and of run where nothing is built yet:
  --cloud              the kernel for virtual machines (run and test always take it)
  --version V          numbers with dots between (default: that of the workspace)
  --order N/FLOOR      the release's number, and the least that may run once it is there
                       to stay (default: image/release.json)
  --secure-boot-key K --secure-boot-certificate C
  --pcr-key K --pcr-certificate C
  --release-key K --release-public P
                       a PEM file, or a `pkcs11:` URI for a key
                       (default: keys for tests, made once)
  --env NAME=VALUE     for the tools: PKCS11_PROVIDER_MODULE=... and what the module needs
  --share DIR          show DIR to the tools, at its path; below /run, signers see it too

Environment: HUFU_BIN names a `hufu` to put into the image in place of this tree's.
";

/// Runs `cargo xtask image`.
pub fn run(arguments: &[String]) -> Result<ExitCode, String> {
    dispatch(arguments).map_err(|error| format!("{error:#}"))
}

/// The lane of `cargo xtask test`: one build, one boot, with `program` in the
/// image. `Some` says why it is skipped.
pub fn smoke(program: impl FnOnce() -> Result<PathBuf, String>) -> Result<Option<String>, String> {
    if let Some(reason) = tree::obstacle() {
        return Ok(Some(reason));
    }
    checks::smoke(program()?).map_err(|error| format!("{error:#}"))?;
    Ok(None)
}

fn dispatch(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some((name, rest)) = arguments.split_first() else {
        print!("{USAGE}");
        return Ok(ExitCode::from(2));
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    if !matches!(name.as_str(), "build" | "extension" | "run" | "test") {
        bail!("there is no `image {name}`\n\n{USAGE}");
    }
    packages::install(Purpose::Image).map_err(anyhow::Error::msg)?;
    if let Some(obstacle) = tree::obstacle() {
        bail!("the image cannot be made here: {obstacle}");
    }
    match name.as_str() {
        "build" => {
            build::image(&build::Options::parse(rest)?)?;
        }
        "extension" => {
            extension::build(&extension::Extension::parse(rest)?)?;
        }
        "run" => run::run(rest)?,
        _ => return checks::run(rest),
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the tree of tools, keys, caches and machines are kept.
fn cache() -> anyhow::Result<PathBuf> {
    Ok(command::cache_directory().map_err(anyhow::Error::msg)?.join("image"))
}

/// Where what is built goes.
fn output() -> anyhow::Result<PathBuf> {
    Ok(command::target_directory().map_err(anyhow::Error::msg)?.join("image"))
}

/// The source tree.
fn source() -> anyhow::Result<PathBuf> {
    command::root().map_err(anyhow::Error::msg)
}

/// Runs a command that is shown as it was typed.
fn shown(command: &mut std::process::Command) -> anyhow::Result<()> {
    command::run(command).map_err(anyhow::Error::msg)
}

/// Waits until nobody else does `what` in the cache; ends when it is dropped.
fn turn(what: &str) -> anyhow::Result<File> {
    let cache = cache()?;
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let path = cache.join(format!("{what}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if file.try_lock().is_err() {
        println!("waiting for another `cargo xtask image` ({})", path.display());
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// The value after an option.
fn value<'a>(
    option: &str,
    rest: &mut impl Iterator<Item = &'a String>,
) -> anyhow::Result<&'a String> {
    rest.next().with_context(|| format!("{option} takes a value; see `cargo xtask image help`"))
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
