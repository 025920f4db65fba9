//! An update on trial that does not start, and one that does: what boot loader
//! and image do of themselves, with the slot written from outside.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::build::{self, Image, Options, Order};
use crate::checks::bench::{BOOT, Bench, runs, says};
use crate::release::uuid_of;
use crate::tree;
use crate::vm::hardware::Hardware;
use crate::vm::{Settings, Vm};
use xtask::command;

/// The version that is installed over the first.
const NEXT: &str = "99";

/// The version that never gets ready.
const BROKEN: &str = "97";

/// Attempts that the boot loader gives an update.
const ATTEMPTS: usize = 3;

/// A version that starts, but whose appliance never answers, is given up when its
/// trial is over.
pub fn never_ready(bench: &Bench) -> anyhow::Result<()> {
    let unit = |name: &str, lines: &str| {
        let path = match name {
            "hufu-trial" => "usr/lib/systemd/system/hufu-trial.service.d/99-short.conf",
            _ => "usr/lib/systemd/system/hufu-appliance.service.d/99-broken.conf",
        };
        (path, format!("[Service]\n{lines}\n"))
    };
    let order = Order { sequence: bench.image.order.sequence + 1, ..bench.image.order };
    let broken = build::image(&Options {
        version: Some(BROKEN.to_owned()),
        order: Some(order),
        overlay: vec![
            unit("hufu-appliance", "Type=simple\nExecStart=\nExecStart=/usr/bin/sleep infinity"),
            unit("hufu-trial", "ExecStart=\nExecStart=/usr/bin/hufu appliance trial --within 20"),
        ],
        ..bench.options.clone()
    })?;
    let hardware = bench.victim("trial")?;
    // The last of its attempts.
    install(bench, &hardware, &broken, 1)?;
    let mut vm = Vm::start(&bench.tree, &hardware, &Settings::default())?;
    let started = vm.started;
    let console = vm.console()?;
    let line = console.wait_for(&["the update did not get ready"], BOOT)?;
    println!("after {}: {line}", command::seconds(started.elapsed()));
    console.wait_for(&["BdsDxe: starting"], BOOT)?;
    console.wait_for(&[&runs(&bench.image.version)], BOOT)?;
    console.wait_for(&[&says("Unprovisioned")], BOOT)?;
    println!("the version before is back after {}", command::seconds(started.elapsed()));
    Ok(())
}

/// A second version starts from the second slot and opens what the first one
/// sealed; spoilt, it is given up after three attempts.
pub fn second_slot(bench: &Bench) -> anyhow::Result<()> {
    let order = Order { sequence: bench.image.order.sequence + 1, ..bench.image.order };
    let next = build::image(&Options {
        version: Some(NEXT.to_owned()),
        order: Some(order),
        ..bench.options.clone()
    })?;
    let hardware = bench.victim("fallback")?;
    install(bench, &hardware, &next, ATTEMPTS)?;
    let good = hardware.copy_to(&hardware.directory.join("second-slot"))?;
    let mut vm = Vm::start(&bench.tree, &good, &Settings::default())?;
    let started = vm.started;
    vm.console()?.wait_for(&[&runs(NEXT)], BOOT)?;
    let line = vm.console()?.wait_for(&[says("").trim_end()], BOOT)?;
    println!("{NEXT} says after {}: {line}", command::seconds(started.elapsed()));
    ensure!(line == says("Unprovisioned"), "the second version does not open /var: {line}");
    drop(vm);

    let disk = hardware.disk()?;
    let root = disk.partition(&format!("hufu_{NEXT}"))?;
    let size = usize::try_from(fs::metadata(&next.root)?.len())?;
    disk.spoil(&root, 4096, size - 4096)?;
    let mut vm = Vm::start(&bench.tree, &hardware, &Settings::default())?;
    let started = vm.started;
    let console = vm.console()?;
    for attempt in 1..=ATTEMPTS {
        console.wait_for(&["is corrupted"], BOOT)?;
        console.wait_for(&["BdsDxe: starting"], BOOT)?;
        println!("attempt {attempt} failed after {}", command::seconds(started.elapsed()));
    }
    console.wait_for(&[&says("Unprovisioned")], BOOT)?;
    println!("the first version runs after {}", command::seconds(started.elapsed()));
    Ok(())
}

/// Writes `image` into the second slot, on trial with so many attempts.
fn install(
    bench: &Bench,
    hardware: &Hardware,
    image: &Image,
    attempts: usize,
) -> anyhow::Result<()> {
    let disk = hardware.disk()?;
    let empty = disk.partitions()?;
    let slots: Vec<_> =
        empty.iter().enumerate().filter(|(_, partition)| partition.label == "_empty").collect();
    ensure!(slots.len() == 2, "the machine has {} empty partitions", slots.len());
    let verity = image.root.with_extension("root-verity");
    let hash = &image.root_hash;
    for (index, partition) in slots {
        // The root file system's is the large one.
        let is_root = partition.size > 64 * 1024 * 1024;
        let (from, label, half) = if is_root {
            (&image.root, format!("hufu_{}", image.version), &hash[..32])
        } else {
            (&verity, format!("hufu_{}_verity", image.version), &hash[32..])
        };
        disk.write(partition, &fs::read(from)?)?;
        for (option, value) in [("--part-label", label), ("--part-uuid", uuid_of(half))] {
            let mut name = bench.tree.command(&[&hardware.directory], "sfdisk");
            name.args(["--quiet", option]).arg(hardware.disk_path());
            name.args([(index + 1).to_string(), value]);
            tree::output(&mut name).context("naming a partition")?;
        }
    }
    let system = disk.partition("esp")?;
    let volume = format!("{}@@{}", hardware.disk_path().display(), system.start);
    let from = image.uki.parent().unwrap_or(Path::new("/"));
    let mut copy = bench.tree.command(&[&hardware.directory, from], "mcopy");
    copy.args(["-i", &volume]).arg(&image.uki);
    copy.arg(format!("::/EFI/Linux/hufu_{}+{attempts}.efi", image.version));
    tree::output(&mut copy).context("the kernel image onto the boot partition")?;
    Ok(())
}
