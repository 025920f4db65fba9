//! An update on trial that does not start, and one that does: what boot loader
//! and image do of themselves, with the slot written from outside.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::command;
use crate::image::build::{self, Image, Options, Order};
use crate::image::checks::{BOOT, Bench, says};
use crate::image::release::uuid_of;
use crate::image::tree;
use crate::image::vm::hardware::Hardware;
use crate::image::vm::{Settings, Vm};

/// The version that is installed over the first.
const NEXT: &str = "99";

/// Attempts that the boot loader gives an update.
const ATTEMPTS: usize = 3;

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
    install(bench, &hardware, &next)?;
    let good = hardware.copy_to(&hardware.directory.join("second-slot"))?;
    let mut vm = Vm::start(&bench.tree, &good, &Settings::default())?;
    let started = vm.started;
    vm.console()?.wait_for(&[&format!("Hufu {NEXT}")], BOOT)?;
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

/// Writes `image` into the second slot, on trial.
fn install(bench: &Bench, hardware: &Hardware, image: &Image) -> anyhow::Result<()> {
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
    copy.arg(format!("::/EFI/Linux/hufu_{}+{ATTEMPTS}.efi", image.version));
    tree::output(&mut copy).context("the kernel image onto the boot partition")?;
    Ok(())
}
