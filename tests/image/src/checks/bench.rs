//! What the checks share: the image, and machines that have booted it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::build::{Image, Options};
use crate::tree::Tree;
use crate::vm::hardware::Hardware;
use crate::vm::{self, Settings, Vm};

/// How long a boot may take under emulation on a busy machine.
pub const BOOT: Duration = Duration::from_secs(300);

/// What the console says in a state.
pub fn says(state: &str) -> String {
    // As `hufu appliance run` writes it: a column of names, then values.
    format!("{:<12} {state}", "State:")
}

/// The line that begins what the console shows of a version that runs; the boot
/// menu has more behind the name.
pub fn runs(version: &str) -> String {
    format!("Hufu {version}\n")
}

/// SoftHSM2's module, in the image and on this machine; it also stands for an HSM
/// maker's, under another name.
pub const SOFT_MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// A node's configuration, as docs/appliance.md has it.
pub fn configuration(module: &str) -> String {
    format!(
        "[member]\nname = \"maker\"\nkinds = [\"maker\"]\n\
         title = {{ en = \"Pump works\", zh = \"水泵厂\" }}\n\
         [paths]\ndata = \"/var/lib/hufu/data\"\ngenesis = \"/var/lib/hufu/genesis.json\"\n\
         [token]\nmodule = \"{module}\"\nlabel = \"maker\"\n\
         [network]\nlisten = \"0.0.0.0:7000\"\npeers = {{ maker = \"192.0.2.3:7000\" }}\n\
         [services]\nnames = [\"node.maker.example\"]\ngateway = \"0.0.0.0:8444\"\n"
    )
}

/// What the tests share.
pub struct Bench {
    /// Where the tools are.
    pub tree: Tree,
    /// What is tested.
    pub image: Image,
    /// What the image was built with.
    pub options: Options,
    /// The `hufu` in it, and beside it the tests' own programs.
    pub program: PathBuf,
}

impl Bench {
    /// A machine that has booted once, was seen to be Unprovisioned, and is off;
    /// made where it is missing.
    pub fn booted(&self) -> anyhow::Result<Hardware> {
        let hardware = Hardware { directory: vm::directory("booted")? };
        let note = hardware.directory.join("image");
        if std::fs::read_to_string(&note).is_ok_and(|hash| hash == self.image.root_hash) {
            return Ok(hardware);
        }
        let hardware = Hardware::with_image(&self.tree, &hardware.directory, &self.image.disk)?;
        let mut vm = Vm::start(&self.tree, &hardware, &Settings::default())?;
        vm.console()?.wait_for(&[&says("Unprovisioned")], BOOT)?;
        self.switch_off(vm, &hardware)?;
        Ok(hardware)
    }

    /// Pulls a machine's plug and notes which image it has booted.
    pub fn switch_off(&self, vm: Vm, hardware: &Hardware) -> anyhow::Result<()> {
        drop(vm);
        std::fs::write(hardware.directory.join("image"), &self.image.root_hash)
            .context("cannot note what the machine has booted")
    }

    /// A copy of that machine to be spoilt.
    pub fn victim(&self, name: &str) -> anyhow::Result<Hardware> {
        self.booted()?.copy_to(&vm::directory(name)?)
    }
}
