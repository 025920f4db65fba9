//! What happens to whoever changes the machine.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::checks::bench::{BOOT, Bench, says};
use crate::tree;
use crate::vm::hardware::Hardware;
use crate::vm::{Settings, Vm};

/// How long a machine that must not start is watched.
const WATCHED: Duration = Duration::from_secs(40);

/// The firmware loads no kernel image that is not as it was signed.
pub fn kernel_image(bench: &Bench) -> anyhow::Result<()> {
    let hardware = bench.victim("uki")?;
    let uki = fs::read(&bench.image.uki).context("the kernel image")?;
    let disk = hardware.disk()?;
    let system = disk.partition("esp")?;
    let middle = uki.len() / 2;
    let at = disk.find(&system, &uki[middle..middle + 512])?;
    disk.spoil(&system, at, 1)?;
    let mut vm = Vm::start(&bench.tree, &hardware, &Settings::default())?;
    let console = vm.console()?;
    let line = console.wait_for(&["Access denied", "Access Denied", "Security Violation"], BOOT)?;
    // The boot menu is on the same line.
    println!("{}", line.get(line.find("Error").unwrap_or(0)..).unwrap_or(&line));
    let started = console.wait_for(&["Linux version", says("").trim_end()], WATCHED);
    ensure!(started.is_err(), "it started: {}", started.unwrap_or_default());
    Ok(())
}

/// A root slot that is not as it was hashed ends in a restart.
pub fn root_slot(bench: &Bench) -> anyhow::Result<()> {
    let hardware = bench.victim("root")?;
    let disk = hardware.disk()?;
    let root = disk.partition(&format!("hufu_{}", bench.image.version))?;
    let size = usize::try_from(fs::metadata(&bench.image.root)?.len())?;
    // All but the first block, so that it is found out late, if at all.
    disk.spoil(&root, 4096, size - 4096)?;
    let mut vm = Vm::start(&bench.tree, &hardware, &Settings::default())?;
    let console = vm.console()?;
    let line = console.wait_for(&["is corrupted"], BOOT)?;
    println!("{line}");
    // The firmware again, not a shell.
    let line = console.wait_for(&["BdsDxe: starting"], BOOT)?;
    println!("{line}");
    ensure!(!console.has_said(says("").trim_end()), "the appliance ran");
    Ok(())
}

/// What is sealed to one TPM does not open with another.
pub fn other_tpm(bench: &Bench) -> anyhow::Result<()> {
    let hardware = bench.victim("tpm")?;
    hardware.replace_tpm(&bench.tree)?;
    locked(bench, &hardware).map(drop)
}

/// Without Secure Boot nobody knows what was started: PCR 7 differs.
pub fn secure_boot_off(bench: &Bench) -> anyhow::Result<()> {
    let hardware = bench.victim("secure-boot")?;
    hardware.forget_keys(&bench.tree)?;
    // Or the boot loader would enrol them again.
    let system = hardware.disk()?.partition("esp")?;
    let volume = format!("{}@@{}", hardware.disk_path().display(), system.start);
    let mut delete = bench.tree.command(&[&hardware.directory], "mdel");
    delete.args(["-i", &volume]);
    delete.args(["PK", "KEK", "db"].map(|name| format!("::/loader/keys/auto/{name}.auth")));
    tree::output(&mut delete).context("taking the keys off the boot partition")?;
    locked(bench, &hardware).map(drop)
}

/// The machine comes up, says that it is locked, and why.
pub fn locked(bench: &Bench, hardware: &Hardware) -> anyhow::Result<Vm> {
    let mut vm = Vm::start(&bench.tree, hardware, &Settings::default())?;
    let console = vm.console()?;
    console.wait_for(&[&says("Locked")], BOOT)?;
    let line = console.wait_for(&["Why:"], Duration::from_secs(30))?;
    println!("{line}");
    ensure!(line.contains("/var"), "it does not name what is locked: {line}");
    ensure!(!console.has_said(&says("Unprovisioned")), "it can be set up anew");
    Ok(vm)
}
