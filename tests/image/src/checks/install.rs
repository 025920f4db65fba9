//! A machine that was started from a medium gets the image onto its own disk.

use std::fs::File;

use anyhow::{Context as _, ensure};

use crate::checks::bench::{BOOT, Bench, says};
use crate::checks::endpoint::{self, Endpoint};
use crate::tree;
use crate::vm::hardware::Hardware;
use crate::vm::{Settings, Vm};
use xtask::command;

/// The disk that the machine runs from, and the other one.
const MEDIUM: &str = "vda";
const DISK: &str = "vdb";

/// From one disk to the other, which then starts by itself.
pub fn onto_another_disk(bench: &Bench) -> anyhow::Result<()> {
    let medium = bench.victim("install")?;
    let empty = medium.directory.join("empty.raw");
    File::create(&empty)?.set_len(Hardware::DISK_SIZE)?;
    let settings = Settings {
        ports: vec![endpoint::PORT],
        second_disk: Some(empty.clone()),
        ..Settings::default()
    };
    let mut vm = Vm::start(&bench.tree, &medium, &settings)?;
    let endpoint = Endpoint::of(bench, &mut vm)?;
    let install = |more: &[&str]| {
        let mut install = endpoint.hufu("install");
        install.args(more);
        install
    };
    let list = String::from_utf8(tree::output(&mut install(&[]))?)?;
    print!("{list}");
    ensure!(list.contains(MEDIUM) && list.contains(DISK), "disks are missing in the list");
    let refused = install(&["--to", MEDIUM, "--erase"]).output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    let right = refused.status.code() == Some(1) && said.contains("runs from");
    ensure!(right, "it was to refuse its own disk: {said}");
    print!("{}", String::from_utf8(tree::output(&mut install(&["--to", DISK]))?)?);
    drop(vm);

    // The disk in a machine that has never started.
    let directory = medium.directory.join("installed");
    let installed = Hardware::with_image(&bench.tree, &directory, &empty)?;
    let mut vm = Vm::start(&bench.tree, &installed, &Settings::default())?;
    let started = vm.started;
    let console = vm.console()?;
    console.wait_for(&["Secure Boot is enabled"], BOOT)?;
    console.wait_for(&[&says("Unprovisioned")], BOOT).context("the installed disk")?;
    println!("the installed disk is Unprovisioned after {}", command::seconds(started.elapsed()));
    Ok(())
}
