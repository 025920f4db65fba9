//! A machine goes back to its factory state.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::checks::bench::{BOOT, Bench, says};
use crate::checks::tamper;
use crate::vm::hardware::Hardware;
use crate::vm::{Settings, Vm};
use xtask::command;

/// Where the JSON of a LUKS2 header begins, and how long it is in the first
/// copy.
const JSON: (u64, usize) = (4096, 12 * 1024);

/// Two words at the console make a new `/var`: on a machine that runs, and on one
/// that is Locked, because the header of its `/var` was changed.
pub fn at_the_console(bench: &Bench) -> anyhow::Result<()> {
    let hardware = bench.victim("reset")?;
    let first = identity(&hardware)?;
    let mut vm = Vm::start(&bench.tree, &hardware, &Settings::default())?;
    vm.console()?.wait_for(&[&says("Unprovisioned")], BOOT)?;
    reset(&mut vm)?;
    drop(vm);
    let second = identity(&hardware)?;
    println!("/var had the key {first}, and has {second}");
    ensure!(first != second, "/var is the one before");

    let disk = hardware.disk()?;
    // Both copies of the header, behind their first sectors; key slots too.
    disk.spoil(&disk.partition("hufu_var")?, 4096, 1024 * 1024)?;
    let mut vm = tamper::locked(bench, &hardware)?;
    reset(&mut vm)?;
    drop(vm);
    let third = identity(&hardware)?;
    println!("and then {third}");
    ensure!(second != third, "/var is the one before");
    // What was made anew opens again.
    let mut vm = Vm::start(&bench.tree, &hardware, &Settings::default())?;
    vm.console()?.wait_for(&[&says("Unprovisioned")], BOOT)?;
    ensure!(identity(&hardware)? == third, "/var was made once more");
    Ok(())
}

/// Types the words, and waits until the machine is back.
fn reset(vm: &mut Vm) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    let console = vm.console()?;
    console.type_line("factory reset")?;
    console.wait_for(&["is reset and boots again"], Duration::from_secs(60))?;
    console.wait_for(&["Secure Boot is enabled"], BOOT)?;
    console.wait_for(&[&says("Unprovisioned")], BOOT)?;
    println!("Unprovisioned again after {}", command::seconds(started.elapsed()));
    Ok(())
}

/// What tells one volume key from another. The identity does not: it is made of
/// the partition's type, and comes out the same again.
fn identity(hardware: &Hardware) -> anyhow::Result<String> {
    let var = hardware.disk()?.partition("hufu_var")?;
    let mut header = vec![0; JSON.1];
    File::open(hardware.disk_path())?.read_exact_at(&mut header, var.start + JSON.0)?;
    let json = header.split(|byte| *byte == 0).next().unwrap_or_default();
    let json: serde_json::Value = serde_json::from_slice(json).context("the header of /var")?;
    let digest = json["digests"]["0"]["digest"].as_str();
    Ok(digest.context("the header of /var has no digest of its key")?.to_owned())
}
