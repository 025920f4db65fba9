//! An address that is typed at the console.

use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use crate::checks::bench::{BOOT, Bench, says};
use crate::checks::endpoint;
use crate::vm::{Settings, Vm};
use xtask::command;

/// In the network that QEMU makes, and not what its DHCP gives.
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);

/// Its router.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// How long the network may take for what was typed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine has the address that somebody typed, and again after its reset button
/// was pressed; with `dhcp` it asks for one. The power button shuts it down.
pub fn typed(bench: &Bench) -> anyhow::Result<()> {
    let hardware = bench.victim("address")?;
    let settings =
        Settings { ports: vec![endpoint::PORT], own_address: Some(OURS), ..Settings::default() };
    let mut vm = Vm::start(&bench.tree, &hardware, &settings)?;
    let console = vm.console()?;
    console.wait_for(&[&says("Unprovisioned")], BOOT)?;
    let given = console.wait_for(&["Address:"], PATIENCE)?;
    ensure!(!given.contains(&OURS.to_string()), "it has it already: {given}");
    console.type_line("address")?;
    let card = console.wait_for(&["Card:"], PATIENCE)?;
    println!("{card}");
    let name = card.split([' ', ',']).filter(|word| !word.is_empty()).nth(1).unwrap_or_default();
    console.type_line(&format!("address {name} {OURS}/24 via 192.0.2.1"))?;
    println!("refused: {}", console.wait_for(&["in no network of"], PATIENCE)?);
    console.type_line(&format!("address {name} {OURS}/24 via {ROUTER}"))?;
    console.wait_for(&["addresses from this console"], PATIENCE)?;
    has(&mut vm, "typed")?;
    vm.reset()?;
    vm.console()?.wait_for(&[&says("Unprovisioned")], BOOT)?;
    has(&mut vm, "after a restart")?;
    let console = vm.console()?;
    console.type_line(&format!("address {name} dhcp"))?;
    console.wait_for(&["addresses from DHCP"], PATIENCE)?;
    console.wait_for(&[given.trim_end()], PATIENCE)?;
    ensure!(!console.has_said(&says("Locked")), "it was locked in between");
    let took = vm.power_button(PATIENCE)?;
    println!("off {} after the power button was pressed", command::seconds(took));
    Ok(())
}

/// The console shows the address, and the machine answers there.
fn has(vm: &mut Vm, when: &str) -> anyhow::Result<()> {
    let line = format!("{:<12} {OURS}:", "Address:");
    println!("{when}: {}", vm.console()?.wait_for(&[&line], PATIENCE)?);
    answers(vm)
}

/// Whether the setup endpoint speaks at that address: QEMU accepts connections
/// before the machine has, and ends those that it does not take.
fn answers(vm: &Vm) -> anyhow::Result<()> {
    use std::io::{Read as _, Write as _};

    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut stream = TcpStream::connect(vm.address(endpoint::PORT)?)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        // It speaks TLS, and answers this with an alert.
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = [0; 1];
        if matches!(stream.read(&mut answer), Ok(1)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the setup endpoint does not answer at {OURS}");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
