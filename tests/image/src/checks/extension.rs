//! An HSM maker's module in a signed extension.

use std::fs;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::checks::bench::{BOOT, Bench, SOFT_MODULE, configuration, says};
use crate::checks::endpoint::{self, Endpoint};
use crate::extension::{self, Extension};
use crate::keys::{Given, Key};
use crate::vm::{Settings, Vm};

/// What is signed by another key is refused; with a module that is signed by the
/// image's, a ceremony is held, and the machine starts with it again.
pub fn module(bench: &Bench) -> anyhow::Result<()> {
    let keys = crate::place::cache()?.join("keys");
    let build = |given| {
        let (name, files) = ("maker".to_owned(), vec![SOFT_MODULE.into()]);
        extension::build(&Extension { name, files, given })
    };
    let hardware = bench.victim("extension")?;
    let place = |name: &str| hardware.directory.join(name).join("maker.raw");
    for (name, given) in [
        (
            "foreign",
            Given {
                secure_boot_key: Some(Key::File(keys.join("pcr.key"))),
                secure_boot_certificate: Some(keys.join("pcr.crt")),
                ..Given::default()
            },
        ),
        ("good", Given::default()),
    ] {
        let path = place(name);
        fs::create_dir_all(path.parent().context("it has a directory")?)?;
        fs::copy(build(given)?, &path)?;
    }
    let settings = Settings { ports: vec![endpoint::PORT], ..Settings::default() };
    let mut vm = Vm::start(&bench.tree, &hardware, &settings)?;
    let endpoint = Endpoint::of(bench, &mut vm)?;
    let setup = |more: &[&str]| -> anyhow::Result<Output> {
        let mut setup = endpoint.hufu("setup");
        setup.arg("--json").arg("--out").arg(hardware.directory.join("out"));
        Ok(setup.args(more).output()?)
    };
    let extend = |name: &str| setup(&["--extension", &place(name).display().to_string()]);
    let refused = extend("foreign")?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let right = refused.status.code() == Some(1) && said.contains("not signed by the maker");
    ensure!(right, "it was to be refused: {said}");
    println!("refused: {}", said.trim());
    let taken = extend("good")?;
    let said = String::from_utf8_lossy(&taken.stdout).into_owned();
    let module = "/usr/lib/hufu/modules/maker/libsofthsm2.so";
    let why = String::from_utf8_lossy(&taken.stderr);
    ensure!(taken.status.success() && said.contains(module), "not taken: {said}{why}");
    println!("taken: {module}");

    let config = hardware.directory.join("hufu.toml");
    fs::write(&config, configuration(module))?;
    let config = config.display().to_string();
    let witnesses = ["--witness", "Li Wei", "--witness", "Ana Silva"];
    let held = setup(&[&["--config", &config], &witnesses[..]].concat())?;
    let why = String::from_utf8_lossy(&held.stderr);
    ensure!(held.status.success(), "the ceremony with this module: {why}");
    vm.reset()?;
    let console = vm.console()?;
    console.wait_for(&["Secure Boot is enabled"], BOOT)?;
    console.wait_for(&[&says("Unprovisioned")], BOOT)?;
    let line = console.wait_for(&["Why:"], Duration::from_secs(60))?;
    ensure!(line.ends_with("missing: genesis file, TLS certificate"), "after a restart: {line}");
    Ok(())
}
