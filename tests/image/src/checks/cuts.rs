//! The power fails in the middle of an update.
//!
//! One update is installed while every write to the disk is recorded. Then, for
//! twenty random moments, the disk is made as the power failure would have left
//! it, and the machine is switched on.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};

use crate::checks::bench::{BOOT, Bench, runs, says};
use crate::checks::member;
use crate::release;
use crate::tree;
use crate::vm::hardware::Hardware;
use crate::vm::writes::Writes;
use crate::vm::{Settings, Vm};
use xtask::command;

/// How often the power fails.
const CUTS: usize = 20;

/// Machines that start at a time.
const AT_ONCE: usize = 2;

/// Names the seed of another run, to have its moments again.
const SEED: &str = "HUFU_SEED";

/// Whenever the power fails during an update, the machine starts.
pub fn any_moment(bench: &Bench) -> anyhow::Result<()> {
    let next = member::next(bench)?;
    let hardware = bench.victim("cuts")?;
    let before = hardware.copy_to(&hardware.directory.join("before"))?;
    let record = hardware.directory.join("writes");
    let settings = Settings {
        ports: member::PORTS.to_vec(),
        writes: Some(record.clone()),
        no_reboot: true,
        ..Settings::default()
    };
    let mut vm = Vm::start(&bench.tree, &hardware, &settings)?;
    vm.console()?.wait_for(&["Code:"], BOOT)?;
    // The job makes this file when it begins.
    let begins = hardware.directory.join("begins");
    let mut job = member::job(bench, &hardware, &vm)?;
    job.arg("--install").arg(release::update_path(&next)).arg(&begins);
    let mut job = job.spawn().context("hufu-image-job does not start")?;
    let mut length = None;
    let status = loop {
        if length.is_none() && begins.exists() {
            length = Some(fs::metadata(&record)?.len());
        }
        if let Some(status) = job.try_wait()? {
            break status;
        }
        thread::sleep(Duration::from_millis(100));
    };
    ensure!(status.success(), "the update was not installed: {status}");
    // It would boot the update.
    vm.wait()?;
    drop(vm);

    let writes = Writes::open(&record)?;
    let first = writes.after(length.context("the update did not begin")?);
    ensure!(first < writes.count(), "the update wrote nothing");
    let mut random = Random::seeded()?;
    let cuts: Vec<(usize, usize, u64)> =
        (1..=CUTS).map(|cut| (cut, random.between(first, writes.count()), random.next())).collect();
    println!("{} writes, of which {} are the update's", writes.count(), writes.count() - first);
    let (queue, failed) = (Mutex::new(cuts.into_iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((cut, count, seed)) = take(&queue) {
                    let directory = hardware.directory.join(format!("cut-{cut}"));
                    let machine = Machine { bench, before: &before, after: &hardware };
                    let survived = machine.survives(&directory, &writes, count, seed);
                    let told = format!("cut {cut}, after write {} of the update", count - first);
                    match survived {
                        Ok(told_by) => println!("{told}: {told_by}"),
                        Err(error) => {
                            println!("{told}: FAILED: {error:#}");
                            push(&failed, cut);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    ensure!(failed.is_empty(), "the machine did not start after the cuts {failed:?}");
    Ok(())
}

fn take<T>(queue: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    queue.lock().ok()?.next()
}

fn push(list: &Mutex<Vec<usize>>, one: usize) {
    if let Ok(mut list) = list.lock() {
        list.push(one);
    }
}

struct Machine<'a> {
    bench: &'a Bench,
    /// With the disk that was written to.
    before: &'a Hardware,
    /// With TPM and variables as they were when the update was there.
    after: &'a Hardware,
}

impl Machine<'_> {
    /// Which version runs after the power failed behind `count` writes.
    fn survives(
        &self,
        directory: &Path,
        writes: &Writes,
        count: usize,
        seed: u64,
    ) -> anyhow::Result<String> {
        let hardware = self.before.copy_to(directory)?;
        let mut random = Random(seed);
        writes.replay(&hardware.disk_path(), count, || random.next() & 1 == 0)?;
        hardware.take_secrets_of(self.after)?;
        let settings = Settings { unplugged: true, ..Settings::default() };
        let mut vm = Vm::start(&self.bench.tree, &hardware, &settings)?;
        let started = vm.started;
        let console = vm.console()?;
        let versions = [self.bench.image.version.as_str(), member::NEXT].map(runs);
        let version = console.wait_for(&[&versions[0], &versions[1]], BOOT)?;
        console.wait_for(&[&says("Operational")], BOOT)?;
        console.wait_for(&["no time server has set the clock"], BOOT)?;
        let told = format!("{version} after {}", command::seconds(started.elapsed()));
        drop(vm);
        // One that failed is kept to be looked at.
        tree::remove(directory)?;
        Ok(told)
    }
}

/// Numbers that look random (xorshift64*), the same for the same seed.
struct Random(u64);

impl Random {
    /// By the seed in the environment, or by the time.
    fn seeded() -> anyhow::Result<Self> {
        let seed = match std::env::var(SEED) {
            Ok(text) => text.parse().with_context(|| format!("{SEED} is not a number: {text}"))?,
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        };
        println!("{SEED}={seed} chooses these moments again");
        // None of its numbers is 0.
        Ok(Self(seed.max(1)))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// At least `low`, less than `high`.
    fn between(&mut self, low: usize, high: usize) -> usize {
        let span = (high - low).max(1) as u64;
        low + (self.next() % span) as usize
    }
}
