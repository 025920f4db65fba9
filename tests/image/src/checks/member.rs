//! The main job with the image as one of four validators, and an update of it
//! while readings come in: `hufu-image-job` does what operators and devices do.

use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::build::{self, Image, Options, Order};
use crate::checks::bench::{BOOT, Bench, runs, says};
use crate::checks::endpoint;
use crate::checks::time::TimeServer;
use crate::release;
use crate::vm::hardware::Hardware;
use crate::vm::{Settings, Vm};
use xtask::command;

/// Ports of the image: setup endpoint, validator, gateway.
pub const PORTS: [u16; 3] = [endpoint::PORT, 7100, 8444];

/// The version that it is updated to.
pub const NEXT: &str = "98";

/// The version after the image's, which does not run any more once that one is
/// there to stay.
pub fn next(bench: &Bench) -> anyhow::Result<Image> {
    let sequence = bench.image.order.sequence + 1;
    build::image(&Options {
        version: Some(NEXT.to_owned()),
        order: Some(Order { sequence, floor: sequence }),
        ..bench.options.clone()
    })
}

/// What does the operators' and devices' part with a machine that is on and has
/// said its code.
pub fn job(bench: &Bench, hardware: &Hardware, vm: &Vm) -> anyhow::Result<Command> {
    let program = &bench.program;
    let directory = hardware.directory.join("consortium");
    crate::tree::remove(&directory)?;
    let mut job = Command::new(program.with_file_name("hufu-image-job"));
    job.arg("--dir").arg(&directory).arg("--hufu").arg(program);
    job.arg("--console").arg(hardware.directory.join("console.log"));
    for (name, port) in ["--setup", "--network", "--gateway"].into_iter().zip(PORTS) {
        job.args([name, &vm.address(port)?.to_string()]);
    }
    Ok(job)
}

/// A machine is set up over the network, works, and is updated under load.
pub fn works_and_is_updated(bench: &Bench) -> anyhow::Result<()> {
    let next = next(bench)?;
    let hardware = bench.victim("member")?;
    let time = TimeServer::start(&bench.tree, &hardware.directory.join("time"))?;
    let settings = Settings { ports: PORTS.to_vec(), ..Settings::default() };
    let mut vm = Vm::start(&bench.tree, &hardware, &settings)?;
    let started = vm.started;
    let console = vm.console()?;
    console.wait_for(&[&says("Unprovisioned")], BOOT)?;
    console.wait_for(&["Code:"], BOOT)?;
    println!("Unprovisioned after {}", command::seconds(started.elapsed()));

    let mut job = job(bench, &hardware, &vm)?;
    job.arg("--time").arg(time.name()).arg(time.certificate());
    job.arg("--update").arg(release::update_path(&next)).arg(NEXT);
    job.arg("--refused").arg(release::update_path(&bench.image));
    let status = job.status().context("hufu-image-job does not start")?;
    ensure!(status.success(), "the main job with the image failed: {status}");
    let console = vm.console()?;
    ensure!(console.has_said("the update is good and stays"), "the update was not on trial");

    // Somebody at the console chooses what is below the floor, and is refused
    // by it; left alone, the machine runs what it should.
    vm.reset()?;
    let console = vm.console()?;
    console.wait_for(&["BdsDxe: starting"], BOOT)?;
    console.choose_second_entry()?;
    let line = console.wait_for(&["is below the floor of this machine"], BOOT)?;
    println!("chosen at the boot menu: {line}");
    console.wait_for(&["BdsDxe: starting"], BOOT)?;
    let line = console.wait_for(&[&runs(NEXT), &runs(&bench.image.version)], BOOT)?;
    ensure!(line == runs(NEXT).trim_end(), "after that it runs {line}");
    Ok(())
}
