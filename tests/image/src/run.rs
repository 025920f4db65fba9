//! `cargo xtask image run`: the appliance in a window.

use anyhow::{Context as _, bail};

use crate::build::{self, Options};
use crate::place::value;
use crate::tree::Tree;
use crate::vm::hardware::Hardware;
use crate::vm::{self, Settings, Vm};

/// The port of the setup endpoint.
const SETUP: u16 = 8440;

/// Builds what is missing and boots it with the console in this terminal.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let mut options = Options::default();
    let mut ports = vec![SETUP];
    let mut fresh = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--fresh" => fresh = true,
            "--ports" => {
                let list = value(argument, &mut rest)?;
                ports = list
                    .split(',')
                    .map(|port| port.parse().with_context(|| format!("`{port}` is no port")))
                    .collect::<anyhow::Result<_>>()?;
            }
            _ if options.take(argument, &mut rest)? => {}
            _ => bail!("image run does not know `{argument}`; see `cargo xtask image help`"),
        }
    }
    options.cloud = true;
    let _turn = crate::place::turn("run")?;
    let tree = Tree::ready()?;
    let directory = vm::directory("run")?;
    let mut hardware = Hardware { directory: directory.clone() };
    if fresh || !hardware.disk_path().exists() {
        let image = build::image(&options)?;
        hardware = Hardware::with_image(&tree, &directory, &image.disk)?;
    } else {
        println!("the machine of last time starts; --fresh makes a new one");
    }
    let mut vm = Vm::start(
        &tree,
        &hardware,
        &Settings { ports: ports.clone(), interactive: true, ..Settings::default() },
    )?;
    for port in ports {
        println!("port {port} of the machine is at {}", vm.address(port)?);
    }
    println!("the console follows; Ctrl-A X switches the machine off\n");
    vm.wait()
}
