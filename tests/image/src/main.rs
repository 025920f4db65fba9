//! `cargo xtask image`: builds the appliance's image, boots it, attacks it.
//!
//! A program of its own, so that `xtask` stays small.
//!
//! Everything but `mmdebstrap` runs inside a tree of Debian's next release that
//! is made once ([`tree`]), so that nothing of it has to be installed. What is
//! built is described in `image/README.md`.

mod build;
mod checks;
mod extension;
mod keys;
mod mirror;
mod place;
mod release;
mod run;
mod sbom;
mod tree;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use xtask::packages::{self, Purpose};

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

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("image: {error:#}");
            ExitCode::FAILURE
        }
    }
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
    match (name.as_str(), rest) {
        // For the lane of `cargo xtask test`: why it is skipped here, if it is;
        // then one build and one boot, with a `hufu` that is built already.
        ("obstacle", []) => {
            print!("{}", tree::obstacle().unwrap_or_default());
            return Ok(ExitCode::SUCCESS);
        }
        ("smoke", [program]) => {
            checks::smoke(PathBuf::from(program))?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
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
