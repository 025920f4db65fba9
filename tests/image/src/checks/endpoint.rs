//! A machine's setup endpoint, as its console shows it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::checks::bench::{BOOT, Bench, says};
use crate::vm::Vm;

/// The port of the setup endpoint.
pub const PORT: u16 = 8440;

/// What somebody at the console reads, and the program of a workstation.
pub struct Endpoint {
    program: PathBuf,
    address: String,
    fingerprint: String,
    code: String,
}

impl Endpoint {
    /// That of a machine that starts with [`PORT`] forwarded, once it is there.
    pub fn of(bench: &Bench, vm: &mut Vm) -> anyhow::Result<Self> {
        let patience = Duration::from_secs(60);
        let address = vm.address(PORT)?.to_string();
        let console = vm.console()?;
        console.wait_for(&[&says("Unprovisioned")], BOOT)?;
        let shown = |line: String| line.split_whitespace().last().unwrap_or_default().to_owned();
        let fingerprint = shown(console.wait_for(&["Fingerprint:"], patience)?);
        let code = shown(console.wait_for(&["Code:"], patience)?);
        Ok(Self { program: bench.program.clone(), address, fingerprint, code })
    }

    /// `hufu NAME`, for this machine.
    pub fn hufu(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([name, "--appliance", &self.address, "--fingerprint", &self.fingerprint]);
        command.args(["--code", &self.code]);
        command
    }
}
