//! Setup from a volume labelled HUFU-SETUP.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::checks::bench::{BOOT, Bench, SOFT_MODULE, configuration, says};
use crate::tree;
use crate::vm::{Settings, Vm};

const LABEL: &str = "HUFU-SETUP";

/// Its size in KiB.
const SIZE: &str = "32768";

/// A machine holds its ceremony with what is on the volume, and writes its join
/// request to it.
pub fn plugged_in(bench: &Bench) -> anyhow::Result<()> {
    let hardware = bench.victim("volume")?;
    let directory = &hardware.directory;
    let volume = directory.join("volume.raw");
    let mut make = bench.tree.command(&[directory], "mkfs.vfat");
    tree::output(make.args(["-C", "-n", LABEL]).arg(&volume).arg(SIZE))?;
    for (name, content) in [
        ("hufu.toml", configuration(SOFT_MODULE)),
        ("witnesses.txt", "Li Wei\nAna Silva\n".to_owned()),
    ] {
        let file = directory.join(name);
        fs::write(&file, content)?;
        copy(bench, directory, &volume, &file.display().to_string(), &format!("::{name}"))?;
    }
    let settings = Settings { second_disk: Some(volume.clone()), ..Settings::default() };
    let mut vm = Vm::start(&bench.tree, &hardware, &settings)?;
    let console = vm.console()?;
    console.wait_for(&[&says("Unprovisioned")], BOOT)?;
    println!("{}", console.wait_for(&["missing: genesis file, TLS certificate"], BOOT)?);
    drop(vm);
    for name in ["join.json", "tls.csr", "transcript.txt"] {
        let file = directory.join(name);
        copy(bench, directory, &volume, &format!("::{name}"), &file.display().to_string())?;
    }
    let join = fs::read_to_string(directory.join("join.json")).context("join.json")?;
    ensure!(join.contains("\"maker\""), "the join request: {join}");
    let transcript = fs::read_to_string(directory.join("transcript.txt"))?;
    ensure!(transcript.contains("Li Wei, Ana Silva"), "the transcript: {transcript}");
    Ok(())
}

fn copy(
    bench: &Bench,
    directory: &Path,
    volume: &Path,
    from: &str,
    to: &str,
) -> anyhow::Result<()> {
    let mut copy = bench.tree.command(&[directory], "mcopy");
    tree::output(copy.arg("-i").arg(volume).args(["-o", from, to])).map(drop)
}
