//! The first start.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;

use crate::build::{self, Options};
use crate::checks::bench::{BOOT, Bench, says};
use crate::checks::endpoint;
use crate::vm::hardware::Hardware;
use crate::vm::slow::Pace;
use crate::vm::{self, Settings, Vm};
use xtask::command;

/// The version of the image for servers, so that the other one stays.
const METAL: &str = "96";

/// A TPM that is slow, and one that may take longer for an answer than the kernel
/// waits.
const SLOW: Pace = Pace { still: Duration::from_millis(200), runs: Duration::from_millis(20) };
const TOO_SLOW: Pace = Pace { still: Duration::from_millis(400), runs: Duration::from_millis(5) };

/// A machine from the factory comes up sealed, says how to set it up, and
/// answers at one port.
pub fn unprovisioned(bench: &Bench) -> anyhow::Result<()> {
    let directory = vm::directory("booted")?;
    let hardware = Hardware::with_image(&bench.tree, &directory, &bench.image.disk)?;
    let settings = Settings { segment: true, ..Settings::default() };
    let mut vm = Vm::start(&bench.tree, &hardware, &settings)?;
    let started = vm.started;
    let console = vm.console()?;
    console.wait_for(&["Secure Boot is enabled"], BOOT)?;
    println!("the kernel starts after {}", command::seconds(started.elapsed()));
    console.wait_for(&[&says("Unprovisioned")], BOOT)?;
    println!("Unprovisioned after {}", command::seconds(started.elapsed()));
    for name in ["Fingerprint:", "Code:"] {
        let line = console.wait_for(&[name], Duration::from_secs(60))?;
        println!("{line}");
    }
    let answers = vm.segment()?.scan(Duration::from_secs(120))?;
    println!(
        "of 65535 TCP and UDP ports: open {:?}, refusing {:?}, answering UDP {:?}",
        answers.open, answers.refused, answers.talking
    );
    ensure!(
        answers.open == BTreeSet::from([endpoint::PORT]),
        "the open ports are {:?}",
        answers.open
    );
    ensure!(answers.talking.is_empty(), "UDP ports answer: {:?}", answers.talking);
    ensure!(answers.refused.is_empty(), "ports refuse audibly: {:?}", answers.refused);
    // Whoever is at the console presses a key to read it.
    vm.console()?.type_line("")?;
    vm.console()?.wait_for(&[&says("Unprovisioned")], Duration::from_secs(60))?;
    bench.switch_off(vm, &hardware)
}

/// The image for servers has more drivers and firmware, and starts as well.
pub fn metal(bench: &Bench) -> anyhow::Result<()> {
    let options =
        Options { cloud: false, version: Some(METAL.to_owned()), ..bench.options.clone() };
    let image = build::image(&options)?;
    let size = std::fs::metadata(&image.root)?.len() / 1_000_000;
    println!(
        "root {size} MB, boot program {} MB",
        std::fs::metadata(&image.uki)?.len() / 1_000_000
    );
    let hardware = Hardware::with_image(&bench.tree, &vm::directory("metal")?, &image.disk)?;
    let mut vm = Vm::start(&bench.tree, &hardware, &Settings::default())?;
    let started = vm.started;
    vm.console()?.wait_for(&[&says("Unprovisioned")], BOOT)?;
    println!("Unprovisioned after {}", command::seconds(started.elapsed()));
    Ok(())
}

/// A TPM that takes its time costs time and nothing else. When the kernel does not
/// wait for it the machine is Locked and says so, and is as before once the TPM is.
pub fn patient(bench: &Bench) -> anyhow::Result<()> {
    let hardware = bench.victim("slow-tpm")?;
    let settings = Settings { slow_tpm: Some(SLOW), ..Settings::default() };
    let mut vm = Vm::start(&bench.tree, &hardware, &settings)?;
    let started = vm.started;
    let console = vm.console()?;
    console.wait_for(&[&says("Unprovisioned")], 2 * BOOT)?;
    println!("with a slow one Unprovisioned after {}", command::seconds(started.elapsed()));
    ensure!(!console.has_said(&says("Locked")), "it was locked in between");

    vm.slow_down_tpm(Some(TOO_SLOW));
    vm.reset()?;
    let (locked, open) = (says("Locked"), says("Unprovisioned"));
    let line = vm.console()?.wait_for(&[&locked, &open], 2 * BOOT)?;
    println!("with one that is slower: {line}");
    if line == locked {
        let line = vm.console()?.wait_for(&["To do:"], Duration::from_secs(60))?;
        ensure!(line.contains("start the machine again"), "it does not say so: {line}");
    }

    vm.slow_down_tpm(None);
    vm.reset()?;
    vm.console()?.wait_for(&["Secure Boot is enabled"], BOOT)?;
    vm.console()?.wait_for(&[&open], BOOT)?;
    ensure!(!vm.console()?.has_said(&says("Failed")), "it failed in between");
    Ok(())
}

/// A machine whose clock is years off and that nobody has connected comes up and
/// says so.
pub fn alone(bench: &Bench) -> anyhow::Result<()> {
    let hardware = bench.victim("alone")?;
    let clock = Some("2031-01-31T12:00:00".to_owned());
    let settings = Settings { unplugged: true, clock, ..Settings::default() };
    let mut vm = Vm::start(&bench.tree, &hardware, &settings)?;
    let console = vm.console()?;
    console.wait_for(&[&says("Unprovisioned")], BOOT)?;
    let line = console.wait_for(&["Address:"], Duration::from_secs(30))?;
    println!("{line}");
    ensure!(line.contains("connect the network"), "it has an address without a cable: {line}");
    ensure!(console.has_said("2031-01-31"), "it is set to another time");
    Ok(())
}
