//! A member's machine is lost and restored; its disk is full, and then a larger one.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::checks::bench::{BOOT, Bench, says};
use crate::checks::member;
use crate::vm;
use crate::vm::hardware::Hardware;
use crate::vm::{Settings, Vm};
use xtask::command;

/// The smallest disk that an image takes, in bytes.
const SMALL: u64 = 2616 * 1024 * 1024;

/// Between two looks at what the job does.
const LOOK: Duration = Duration::from_millis(500);

/// A member that is reset by its administrator is itself again with its backup.
/// One whose disk is full says so and takes nothing in; with a larger disk
/// it goes on.
pub fn fills_up(bench: &Bench) -> anyhow::Result<()> {
    let directory = vm::directory("full")?;
    let hardware = Hardware::with_image(&bench.tree, &directory, &bench.image.disk)?;
    hardware.resize(SMALL)?;
    let settings = Settings { ports: member::PORTS.to_vec(), ..Settings::default() };
    let mut vm = Vm::start(&bench.tree, &hardware, &settings)?;
    vm.console()?.wait_for(&["Code:"], BOOT)?;
    let full = directory.join("full");
    let mut job = member::job(bench, &hardware, &vm)?;
    let mut job = job
        .arg("--restore")
        .arg("--fill")
        .arg(&full)
        .spawn()
        .context("hufu-image-job does not start")?;
    while !full.exists() {
        if let Some(status) = job.try_wait()? {
            anyhow::bail!("the disk was not filled: {status}");
        }
        std::thread::sleep(LOOK);
    }
    // Its clients know it by these addresses.
    let settings = Settings { at: vm.addresses().clone(), ..settings };
    drop(vm);
    hardware.resize(Hardware::DISK_SIZE)?;
    let mut vm = Vm::start(&bench.tree, &hardware, &settings)?;
    let started = vm.started;
    vm.console()?.wait_for(&[&says("Operational")], BOOT)?;
    println!("Operational with the larger disk after {}", command::seconds(started.elapsed()));
    let status = job.wait()?;
    ensure!(status.success(), "the image did not go on: {status}");
    Ok(())
}

impl Hardware {
    /// Another size of its disk; what is on it stays.
    fn resize(&self, bytes: u64) -> anyhow::Result<()> {
        Ok(File::options().write(true).open(self.disk_path())?.set_len(bytes)?)
    }
}
