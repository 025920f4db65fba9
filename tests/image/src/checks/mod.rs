//! `cargo xtask image test`: the image is built, booted, scanned and attacked.

mod address;
mod bench;
mod boot;
mod cuts;
mod endpoint;
mod extension;
mod fallback;
mod full;
mod inside;
mod install;
mod member;
mod reset;
mod tamper;
mod time;
mod token;
mod twice;
mod volume;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;

use crate::build::{self, Options};
use crate::checks::bench::Bench;
use crate::place::value;
use crate::tree::{self, Tree};
use crate::vm;
use xtask::command;

/// When a check runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Always: one build and one boot.
    Smoke,
    /// Unless only the smoke lane is wanted.
    Usual,
    /// When it is named, or with `--all`: it takes long.
    Long,
}

struct Check {
    name: &'static str,
    does: &'static str,
    lane: Lane,
    run: fn(&Bench) -> anyhow::Result<()>,
}

/// In the order of their running: `boot` leaves the machine that others copy.
const CHECKS: &[Check] = &[
    Check {
        name: "inside",
        does: "no shell, no setuid file, units' scores, settings, bill of materials",
        lane: Lane::Smoke,
        run: inside::look,
    },
    Check {
        name: "boot",
        does: "boots to Unprovisioned; only the setup port answers",
        lane: Lane::Smoke,
        run: boot::unprovisioned,
    },
    Check {
        name: "member",
        does: "set up over the network, it validates, records, reports; updated under load",
        lane: Lane::Usual,
        run: member::works_and_is_updated,
    },
    Check {
        name: "address",
        does: "an address is typed at the console; it boots again with it; off by its button",
        lane: Lane::Long,
        run: address::typed,
    },
    Check {
        name: "alone",
        does: "without network and with the clock years off: comes up, and says so",
        lane: Lane::Usual,
        run: boot::alone,
    },
    Check {
        name: "slow-tpm",
        does: "a slow TPM: it comes up, later; slower than the kernel waits: Locked, for a while",
        lane: Lane::Long,
        run: boot::patient,
    },
    Check {
        name: "uki",
        does: "a byte of the kernel image is changed: it does not start",
        lane: Lane::Usual,
        run: tamper::kernel_image,
    },
    Check {
        name: "root",
        does: "the root slot is overwritten: it restarts, and never runs",
        lane: Lane::Usual,
        run: tamper::root_slot,
    },
    Check {
        name: "tpm",
        does: "the disk in another machine: Locked",
        lane: Lane::Usual,
        run: tamper::other_tpm,
    },
    Check {
        name: "secure-boot",
        does: "Secure Boot is off: Locked",
        lane: Lane::Usual,
        run: tamper::secure_boot_off,
    },
    Check {
        name: "reset",
        does: "the header of /var is changed: Locked; a reset at the console makes a new /var",
        lane: Lane::Long,
        run: reset::at_the_console,
    },
    Check {
        name: "fallback",
        does: "another version in the second slot starts; spoilt, the first one is back",
        lane: Lane::Long,
        run: fallback::second_slot,
    },
    Check {
        name: "install",
        does: "written to another disk over the network: that disk starts",
        lane: Lane::Long,
        run: install::onto_another_disk,
    },
    Check {
        name: "volume",
        does: "set up from a volume that is plugged in: it gets the join request",
        lane: Lane::Long,
        run: volume::plugged_in,
    },
    Check {
        name: "extension",
        does: "a PKCS#11 module in a signed extension holds the ceremony; another's is refused",
        lane: Lane::Long,
        run: extension::module,
    },
    Check {
        name: "trial",
        does: "an update that starts but never gets ready: the version before is back",
        lane: Lane::Usual,
        run: fallback::never_ready,
    },
    Check {
        name: "metal",
        does: "the image for servers, with firmware and microcode: it starts",
        lane: Lane::Long,
        run: boot::metal,
    },
    Check {
        name: "full",
        does: "reset and restored by its administrator; its disk is full, then a larger one",
        lane: Lane::Long,
        run: full::fills_up,
    },
    Check {
        name: "cuts",
        does: "the power fails at twenty random moments of an update: it starts each time",
        lane: Lane::Long,
        run: cuts::any_moment,
    },
    Check {
        name: "token",
        does: "built with all keys in a PKCS#11 token",
        lane: Lane::Long,
        run: token::signs,
    },
    Check {
        name: "twice",
        does: "built again, the root hash is the same",
        lane: Lane::Long,
        run: twice::same_root_hash,
    },
];

/// The smoke lane, with a `hufu` that is built already.
pub fn smoke(program: PathBuf) -> anyhow::Result<()> {
    let chosen: Vec<&Check> = CHECKS.iter().filter(|check| check.lane == Lane::Smoke).collect();
    if perform(&chosen, Some(program))? {
        Ok(())
    } else {
        bail!("the image does not do what it should")
    }
}

/// Runs the chosen checks.
pub fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut chosen: Vec<&Check> = CHECKS.iter().filter(|check| check.lane != Lane::Long).collect();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--list" => {
                for check in CHECKS {
                    println!("{:<12} {}", check.name, check.does);
                }
                return Ok(ExitCode::SUCCESS);
            }
            "--smoke" => chosen.retain(|check| check.lane == Lane::Smoke),
            "--all" => chosen = CHECKS.iter().collect(),
            "--only" => {
                let names: Vec<&str> = value(argument, &mut rest)?.split(',').collect();
                for name in &names {
                    let known = CHECKS.iter().any(|check| check.name == *name);
                    anyhow::ensure!(known, "there is no check `{name}`; see --list");
                }
                chosen = CHECKS.iter().filter(|check| names.contains(&check.name)).collect();
            }
            other => bail!("image test does not know `{other}`; see `cargo xtask image help`"),
        }
    }
    Ok(if perform(&chosen, None)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs checks, also after one has failed; whether all passed.
fn perform(chosen: &[&Check], program: Option<PathBuf>) -> anyhow::Result<bool> {
    // They share machines.
    let _turn = crate::place::turn("test")?;
    let started = Instant::now();
    let program = program.map_or_else(build::tested_program, Ok)?;
    let options = Options { cloud: true, program: Some(program.clone()), ..Options::default() };
    let image = build::image(&options)?;
    let mut times = vec![("build", started.elapsed(), true)];
    let bench = Bench { tree: Tree::ready()?, image, options, program };
    for check in chosen {
        println!("\n--- {}: {}", check.name, check.does);
        let started = Instant::now();
        let outcome = (check.run)(&bench);
        let took = started.elapsed();
        match &outcome {
            Ok(()) => {
                println!("--- {}: ok, {}", check.name, command::seconds(took));
                // One that failed is kept to be looked at.
                tree::remove(&vm::directory(check.name)?)?;
            }
            Err(error) => {
                println!("--- {}: FAILED, {}: {error:#}", check.name, command::seconds(took));
            }
        }
        times.push((check.name, took, outcome.is_ok()));
    }
    println!("\nimage {}, root hash {}:", bench.image.version, bench.image.root_hash);
    for (name, took, passed) in &times {
        let verdict = if *passed { "ok" } else { "FAILED" };
        println!("  {name:<12} {:>9}  {verdict}", command::seconds(*took));
    }
    println!("  {:<12} {:>9}", "all", command::seconds(started.elapsed()));
    Ok(times.iter().all(|(_, _, passed)| *passed))
}
