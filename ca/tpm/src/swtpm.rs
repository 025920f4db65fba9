//! Software TPMs for tests and demonstrations: a manufacturer with a root of
//! its own, and TPMs it makes, each a `swtpm` process with an EK certificate.
//!
//! Needs the programs `swtpm`, `swtpm_setup` and `swtpm_localca` (Debian:
//! `swtpm`, `swtpm-tools`). Never trust such a manufacturer outside tests: its
//! key lies in a file.
//!
//! ```no_run
//! # fn main() -> Result<(), hufu_tpm::swtpm::SwtpmError> {
//! use hufu_tpm::swtpm::{Manufacturer, Swtpm};
//!
//! let manufacturer = Manufacturer::open("/tmp/demo/manufacturer".as_ref())?;
//! manufacturer.make("/tmp/demo/device-1/tpm".as_ref())?;
//! let tpm = Swtpm::start("/tmp/demo/device-1/tpm".as_ref())?;
//! let tcti = tpm.tcti(); // for hufu_tpm::device::DeviceTpm::open
//! let roots = manufacturer.roots_pem()?; // for ManufacturerRoots::from_pem
//! # Ok(()) }
//! ```

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a pair of ports is tried before giving up: another process may
/// take one between our look and swtpm's.
const PORT_ATTEMPTS: usize = 20;
/// How long a started swtpm may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a software TPM is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwtpmError {
    /// A file or directory is in the way.
    #[error("cannot use {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program cannot be started.
    #[error("cannot start {program}; install the Debian packages swtpm and swtpm-tools")]
    Program {
        /// Which one.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `swtpm_setup` failed.
    #[error("swtpm_setup failed ({status}): {log}")]
    Setup {
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The end of what it said.
        log: String,
    },
    /// swtpm ended or did not listen in time.
    #[error("swtpm did not start on ports {port} and {control_port}: {log}")]
    Start {
        /// The port of the last attempt.
        port: u16,
        /// The control port of the last attempt.
        control_port: u16,
        /// The end of its log.
        log: String,
    },
    /// No two neighbouring ports are free.
    #[error("no two neighbouring loopback ports are free")]
    Ports,
}

/// A maker of software TPMs, whose root and intermediate lie in a directory.
#[derive(Clone, Debug)]
pub struct Manufacturer {
    directory: PathBuf,
}

impl Manufacturer {
    /// Opens the manufacturer in `directory`, which is made if need be. Its
    /// keys come into being with its first TPM.
    ///
    /// # Errors
    /// [`SwtpmError::File`].
    pub fn open(directory: &Path) -> Result<Self, SwtpmError> {
        let manufacturer = Self { directory: make_directory(directory)? };
        let directory = manufacturer.directory.display();
        manufacturer.write(
            "swtpm_setup.conf",
            &format!(
                "create_certs_tool = /usr/bin/swtpm_localca\n\
                 create_certs_tool_config = {directory}/swtpm-localca.conf\n\
                 create_certs_tool_options = {directory}/swtpm-localca.options\n\
                 active_pcr_banks = sha256\n"
            ),
        )?;
        manufacturer.write(
            "swtpm-localca.conf",
            &format!(
                "statedir = {directory}/ca\n\
                 signingkey = {directory}/ca/signkey.pem\n\
                 issuercert = {directory}/ca/issuercert.pem\n\
                 certserial = {directory}/ca/certserial\n"
            ),
        )?;
        manufacturer.write(
            "swtpm-localca.options",
            "--platform-manufacturer Hufu\n--platform-version 1.0\n--platform-model Test\n",
        )?;
        make_directory(&manufacturer.directory.join("ca"))?;
        Ok(manufacturer)
    }

    /// Makes a TPM whose state lies in `state`, with EK certificates (RSA-2048
    /// and P-384) and a platform certificate. If there is one already, it stays.
    ///
    /// # Errors
    /// [`SwtpmError`].
    pub fn make(&self, state: &Path) -> Result<(), SwtpmError> {
        let state = make_directory(state)?;
        let output = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--create-platform-cert"])
            .args(["--lock-nvram", "--not-overwrite", "--tpm-state"])
            .arg(&state)
            .arg("--config")
            .arg(self.directory.join("swtpm_setup.conf"))
            .stdin(Stdio::null())
            .output()
            .map_err(|source| SwtpmError::Program { program: "swtpm_setup", source })?;
        if output.status.success() {
            return Ok(());
        }
        let log = [output.stdout, output.stderr].concat();
        Err(SwtpmError::Setup { status: output.status, log: tail(&String::from_utf8_lossy(&log)) })
    }

    /// The root and the intermediate, as PEM. There are none before the first
    /// TPM is made.
    ///
    /// # Errors
    /// [`SwtpmError::File`].
    pub fn roots_pem(&self) -> Result<String, SwtpmError> {
        let mut pem = String::new();
        for name in ["swtpm-localca-rootca-cert.pem", "issuercert.pem"] {
            let path = self.directory.join("ca").join(name);
            pem +=
                &fs::read_to_string(&path).map_err(|source| SwtpmError::File { path, source })?;
        }
        Ok(pem)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), SwtpmError> {
        let path = self.directory.join(name);
        fs::write(&path, text).map_err(|source| SwtpmError::File { path, source })
    }
}

/// A running software TPM on loopback. Dropping it kills the process; the
/// state stays, as when the power goes.
#[derive(Debug)]
pub struct Swtpm {
    process: Child,
    port: u16,
    state: PathBuf,
}

impl Swtpm {
    /// Starts the TPM whose state lies in `state`, on free ports.
    ///
    /// # Errors
    /// [`SwtpmError`].
    pub fn start(state: &Path) -> Result<Self, SwtpmError> {
        // swtpm gets absolute paths: relative ones put it into failure mode.
        let state = make_directory(state)?;
        let mut last = SwtpmError::Ports;
        for _ in 0..PORT_ATTEMPTS {
            let Some(port) = free_port_pair() else {
                continue;
            };
            match Self::start_on(&state, port) {
                Ok(tpm) => return Ok(tpm),
                Err(error @ SwtpmError::Start { .. }) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn start_on(state: &Path, port: u16) -> Result<Self, SwtpmError> {
        // tss2's swtpm TCTI looks for the control channel on the next port.
        let control_port = port + 1;
        let log = state.join("swtpm.log");
        let _ = fs::remove_file(&log);
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate"])
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=tcp,port={port},bindaddr=127.0.0.1,disconnect"))
            .arg("--ctrl")
            .arg(format!("type=tcp,port={control_port},bindaddr=127.0.0.1"))
            .args(["--flags", "not-need-init,startup-clear", "--log"])
            .arg(format!("file={},level=1", log.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| SwtpmError::Program { program: "swtpm", source })?;
        let mut tpm = Self { process, port, state: state.to_path_buf() };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, control_port));
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            let ended = !matches!(tpm.process.try_wait(), Ok(None));
            if ended {
                break;
            }
            if TcpStream::connect(address).is_ok() {
                return Ok(tpm);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(SwtpmError::Start {
            port,
            control_port,
            log: tail(&fs::read_to_string(&log).unwrap_or_default()),
        })
    }

    /// How tss2 reaches it: `swtpm:host=127.0.0.1,port=…`.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Where its state lies.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Process identifier.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Cuts the power, waits until it is gone, and switches it on again on
    /// other ports.
    ///
    /// # Errors
    /// [`SwtpmError`].
    pub fn restart(mut self) -> Result<Self, SwtpmError> {
        self.kill();
        Self::start(&self.state)
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Two neighbouring ports that are free at this moment.
fn free_port_pair() -> Option<u16> {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    let port = first.local_addr().ok()?.port();
    let _second = TcpListener::bind((Ipv4Addr::LOCALHOST, port.checked_add(1)?)).ok()?;
    Some(port)
}

fn make_directory(path: &Path) -> Result<PathBuf, SwtpmError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::canonicalize(path))
        .map_err(|source| SwtpmError::File { path: path.to_path_buf(), source })
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
