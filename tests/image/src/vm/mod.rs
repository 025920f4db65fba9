//! A virtual machine that is the appliance: QEMU without acceleration, OVMF with
//! Secure Boot, a software TPM, and a serial console.

pub mod console;
pub mod disk;
pub mod hardware;
pub mod segment;
pub mod slow;
pub mod writes;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::tree::Tree;
use crate::vm::console::Console;
use crate::vm::hardware::Hardware;
use crate::vm::segment::Segment;
use crate::vm::slow::{Pace, Slow};

const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";

/// How long QEMU and the TPM may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is connected to the machine besides disk and TPM.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Ports of the machine that can be reached from here.
    pub ports: Vec<u16>,
    /// Where they are reached; at free ports where it is empty.
    pub at: BTreeMap<u16, SocketAddr>,
    /// A second network card, whose cable ends in a [`Segment`].
    pub segment: bool,
    /// The console is the terminal, not ours to read.
    pub interactive: bool,
    /// No cable is plugged in.
    pub unplugged: bool,
    /// The clock says this, instead of the time: `2030-01-31T12:00:00`.
    pub clock: Option<String>,
    /// Every write to the disk is recorded here.
    pub writes: Option<PathBuf>,
    /// The TPM is held up.
    pub slow_tpm: Option<Pace>,
    /// Ports are forwarded to this address, instead of the one that it is given.
    pub own_address: Option<Ipv4Addr>,
    /// A second disk.
    pub second_disk: Option<PathBuf>,
    /// It switches itself off instead of starting again.
    pub no_reboot: bool,
}

/// A machine that is on. Dropping it pulls the plug.
pub struct Vm {
    process: Child,
    tpm: Child,
    monitor: Option<Monitor>,
    /// What it says, unless the terminal shows it.
    console: Option<Console>,
    forwarded: BTreeMap<u16, SocketAddr>,
    segment: Option<Segment>,
    slow: Option<Slow>,
    /// When it was switched on.
    pub started: Instant,
}

impl Vm {
    /// Switches `hardware` on.
    pub fn start(tree: &Tree, hardware: &Hardware, settings: &Settings) -> anyhow::Result<Self> {
        let directory = &hardware.directory;
        let path = |name: &str| directory.join(name);
        for stale in ["tpm.sock", "console.sock", "monitor.sock", "segment.sock"] {
            // It may be from a machine that was killed; a missing one is no news.
            let _ = std::fs::remove_file(path(stale));
        }
        let mut swtpm = tree.command(&[directory], "swtpm");
        swtpm.args(["socket", "--tpm2", "--tpmstate"]);
        swtpm.arg(format!("dir={}", hardware.tpm_path().display()));
        swtpm.arg("--ctrl").arg(format!("type=unixio,path={}", path("tpm.sock").display()));
        let tpm = Killed(Some(start(&mut swtpm, &path("swtpm.log"))?));
        once_there(&path("tpm.sock"), |socket| socket.metadata())?;
        let number = tpm.0.as_ref().map(Child::id);
        let slow = number.zip(settings.slow_tpm).map(|(number, pace)| Slow::down(number, pace));

        // Listens before QEMU connects.
        let listener = settings.segment.then(|| UnixListener::bind(path("segment.sock")));
        let listener = listener.transpose().context("the network segment")?;
        let forwarded = match &settings.at {
            at if at.is_empty() => free_ports(&settings.ports)?,
            at => at.clone(),
        };
        if let Some(writes) = &settings.writes {
            // QEMU does not make it.
            std::fs::File::create(writes)
                .with_context(|| format!("cannot write {}", writes.display()))?;
        }
        let mut qemu = tree.command(&[directory], "qemu-system-x86_64");
        arguments(&mut qemu, hardware, settings, &forwarded);
        let started = Instant::now();
        let process = if settings.interactive {
            qemu.stdin(Stdio::inherit());
            qemu.spawn().context("QEMU did not start")?
        } else {
            start(&mut qemu, &path("qemu.log"))?
        };
        let mut process = Killed(Some(process));
        let opened = || -> anyhow::Result<_> {
            if settings.interactive {
                return Ok((None, None));
            }
            let connected = |name| once_there(&path(name), |socket| UnixStream::connect(socket));
            let console = Console::open(connected("console.sock")?, &path("console.log"))?;
            Ok((Some(console), Some(Monitor::open(connected("monitor.sock")?)?)))
        };
        let (console, monitor) = opened().with_context(|| {
            let log = std::fs::read_to_string(path("qemu.log")).unwrap_or_default();
            format!("QEMU is not there; it said:\n{}", log.trim())
        })?;
        let mut monitor = monitor;
        if settings.unplugged
            && let Some(monitor) = &mut monitor
        {
            monitor.command(&json!({
                "execute": "set_link", "arguments": { "name": "card0", "up": false },
            }))?;
        }
        let segment = listener.map(|listener| Segment::accept(&listener)).transpose()?;
        let mut tpm = tpm;
        Ok(Self {
            process: process.take()?,
            tpm: tpm.take()?,
            monitor,
            console,
            forwarded,
            segment,
            slow,
            started,
        })
    }

    /// What it says.
    pub fn console(&mut self) -> anyhow::Result<&mut Console> {
        self.console.as_mut().context("the terminal has the console")
    }

    /// Where a forwarded port of the machine is reached.
    pub fn address(&self, port: u16) -> anyhow::Result<SocketAddr> {
        self.forwarded.get(&port).copied().with_context(|| format!("{port} is not forwarded"))
    }

    /// Where all forwarded ports are reached.
    pub fn addresses(&self) -> &BTreeMap<u16, SocketAddr> {
        &self.forwarded
    }

    /// The network segment that the second card is connected to.
    pub fn segment(&mut self) -> anyhow::Result<&mut Segment> {
        self.segment.as_mut().context("the machine has no second card")
    }

    /// Presses the reset button.
    pub fn reset(&mut self) -> anyhow::Result<()> {
        self.monitor.as_mut().context("no monitor")?.execute("system_reset")
    }

    /// Presses the power button; how long it took to be off.
    pub fn power_button(&mut self, patience: Duration) -> anyhow::Result<Duration> {
        self.monitor.as_mut().context("no monitor")?.execute("system_powerdown")?;
        let pressed = Instant::now();
        while self.process.try_wait()?.is_none() {
            if pressed.elapsed() > patience {
                bail!("the machine is still on {} s after the power button", patience.as_secs());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(pressed.elapsed())
    }

    /// From now on the TPM is held up like this, or no more.
    pub fn slow_down_tpm(&mut self, pace: Option<Pace>) {
        // The one before ends first.
        self.slow = None;
        self.slow = pace.map(|pace| Slow::down(self.tpm.id(), pace));
    }

    /// Waits until QEMU ends.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        self.process.wait()?;
        Ok(())
    }

    /// Pulls the plug.
    pub fn kill(&mut self) {
        for process in [&mut self.process, &mut self.tpm] {
            // Whoever ended before is ended.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A process that is killed unless it is taken.
struct Killed(Option<Child>);

impl Killed {
    fn take(&mut self) -> anyhow::Result<Child> {
        self.0.take().context("a process is taken once")
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(mut process) = self.0.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn start(command: &mut Command, log: &Path) -> anyhow::Result<Child> {
    let file =
        std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdout(file.try_clone()?).stderr(file);
    command.spawn().with_context(|| format!("cannot start what writes {}", log.display()))
}

/// What `open` makes of `path` once it can: a process that was started makes its
/// files and listens on them a little later.
fn once_there<T>(path: &Path, open: impl Fn(&Path) -> io::Result<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match open(path) {
            Ok(opened) => return Ok(opened),
            Err(error) if Instant::now() > deadline => {
                let seconds = PATIENCE.as_secs();
                return Err(error).with_context(|| {
                    format!("{} was not there after {seconds} s", path.display())
                });
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn arguments(
    qemu: &mut Command,
    hardware: &Hardware,
    settings: &Settings,
    forwarded: &BTreeMap<u16, SocketAddr>,
) {
    let path = |name: &str| hardware.directory.join(name).display().to_string();
    let mut network = "user,id=net0".to_owned();
    let to = settings.own_address.map(|ip| ip.to_string()).unwrap_or_default();
    for (inside, outside) in forwarded {
        network += &format!(",hostfwd=tcp:{outside}-{to}:{inside}");
    }
    let variables = hardware.variables_path();
    qemu.args(["-machine", "q35,smm=on", "-accel", "tcg,thread=multi", "-cpu", "max"])
        .args(["-smp", "2", "-m", "2048", "-nodefaults", "-display", "none"])
        // So that only firmware in SMM writes the variables.
        .args(["-global", "driver=cfi.pflash01,property=secure,value=on"])
        .args(["-drive", &format!("if=pflash,format=raw,unit=0,readonly=on,file={FIRMWARE}")])
        .args(["-drive", &format!("if=pflash,format=raw,unit=1,file={}", variables.display())])
        // Places are fixed: the firmware remembers from where it started.
        .args(["-blockdev", &format!("file,node-name=file,filename={}", path("disk.raw"))])
        .args(["-device", "virtio-blk-pci,drive=disk,bootindex=0,addr=4"])
        .args(["-chardev", &format!("socket,id=tpm,path={}", path("tpm.sock"))])
        .args(["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"])
        .args(["-device", "virtio-rng-pci,addr=5"])
        // The machine's identity comes from it.
        .args(["-uuid", "6f1c7a2e-0d62-4a9b-8a63-b6f0a6b6f001"])
        .args(["-netdev", &network, "-device", "virtio-net-pci,id=card0,netdev=net0,addr=6"]);
    if let Some(writes) = &settings.writes {
        let record = writes.display();
        qemu.args(["-blockdev", "raw,node-name=raw,file=file"])
            .args(["-blockdev", &format!("file,node-name=record,filename={record}")])
            .args(["-blockdev", "blklogwrites,node-name=disk,file=raw,log=record"]);
    } else {
        qemu.args(["-blockdev", "raw,node-name=disk,file=file"]);
    }
    if let Some(disk) = &settings.second_disk {
        qemu.args(["-blockdev", &format!("file,node-name=file2,filename={}", disk.display())])
            .args(["-blockdev", "raw,node-name=disk2,file=file2"])
            .args(["-device", "virtio-blk-pci,drive=disk2,addr=8"]);
    }
    if settings.no_reboot {
        qemu.arg("-no-reboot");
    }
    if let Some(clock) = &settings.clock {
        qemu.args(["-rtc", &format!("base={clock}")]);
    }
    if settings.segment {
        qemu.args([
            "-netdev",
            &format!("stream,id=net1,server=off,addr.type=unix,addr.path={}", path("segment.sock")),
            "-device",
            "virtio-net-pci,netdev=net1,mac=52:54:00:12:34:02,addr=7",
        ]);
    }
    if settings.interactive {
        qemu.args(["-serial", "mon:stdio"]);
    } else {
        qemu.args([
            "-chardev",
            &format!("socket,id=console,path={},server=on,wait=on", path("console.sock")),
            "-serial",
            "chardev:console",
            "-qmp",
            &format!("unix:{},server=on,wait=off", path("monitor.sock")),
        ]);
    }
}

/// A free port of the loopback interface for each of `ports`.
fn free_ports(ports: &[u16]) -> anyhow::Result<BTreeMap<u16, SocketAddr>> {
    // Held together, so that they differ.
    let held: Vec<TcpListener> = ports
        .iter()
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()
        .context("no free port on the loopback interface")?;
    ports.iter().zip(&held).map(|(port, listener)| Ok((*port, listener.local_addr()?))).collect()
}

/// QEMU's monitor.
struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    fn open(stream: UnixStream) -> anyhow::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        monitor.line().context("QEMU's greeting")?;
        monitor.execute("qmp_capabilities")?;
        Ok(monitor)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).context("QEMU's monitor")?;
        anyhow::ensure!(read > 0, "QEMU closed its monitor");
        Ok(line)
    }

    /// Runs a command without arguments.
    fn execute(&mut self, command: &str) -> anyhow::Result<()> {
        self.command(&json!({ "execute": command }))
    }

    fn command(&mut self, command: &Value) -> anyhow::Result<()> {
        writeln!(self.stream.get_mut(), "{command}")?;
        loop {
            let line = self.line()?;
            // Events come in between.
            if line.contains("\"return\"") {
                return Ok(());
            }
            anyhow::ensure!(!line.contains("\"error\""), "QEMU on {command}: {}", line.trim());
        }
    }
}

/// Where machines are kept.
pub fn directory(name: &str) -> anyhow::Result<PathBuf> {
    Ok(crate::place::cache()?.join("machines").join(name))
}
