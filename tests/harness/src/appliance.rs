//! A machine that `hufu appliance run` owns: a directory in place of `/`, a
//! console to read and a keyboard.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::inspect::text;
use crate::ports;
use crate::process::{self, Answer, Process, Watchdog, wait_for};

/// How long a machine may take to come to a state.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a machine is like.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// More arguments of `hufu appliance run`.
    pub arguments: Vec<String>,
}

/// A machine.
#[derive(Debug)]
pub struct Appliance {
    hufu: PathBuf,
    directory: PathBuf,
    /// Where its setup endpoint listens.
    pub setup: SocketAddr,
    process: Process,
    keyboard: ChildStdin,
}

/// What the console shows of the setup endpoint.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Where it is.
    pub address: String,
    /// Its certificate's.
    pub fingerprint: String,
    /// The one-time code.
    pub code: String,
}

impl Appliance {
    /// Switches a machine on whose disk is in `directory`; makes it where it is
    /// not there.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        name: &str,
        hufu: &Path,
        directory: PathBuf,
        settings: &Machine,
        watchdog: &Watchdog,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(directory.join("root"))?;
        // What a firewall would be told.
        let nft = directory.join("nft");
        fs::write(&nft, "#!/bin/sh\n[ \"$1\" = -f ] && cp \"$2\" \"$0.rules\"\n")?;
        fs::set_permissions(&nft, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        // A new console for each time that it is switched on.
        let console = directory.join("console");
        fs::write(&console, "")?;
        // In memory on a real machine.
        let _ = fs::remove_dir_all(directory.join("root/run"));
        let setup = ports::free(1)?[0];
        let mut command = Command::new(hufu);
        command
            .arg("--root")
            .arg(directory.join("root"))
            .args(["appliance", "run", "--listen", &setup.to_string()])
            .args(["--seal", "null", "--node", "child", "--nft"])
            .arg(&nft)
            .args(&settings.arguments);
        let log = directory.join("log");
        let (process, keyboard) =
            Process::start_at_console(name, &mut command, &console, &log, watchdog)?;
        Ok(Self { hufu: hufu.to_owned(), directory, setup, process, keyboard })
    }

    /// A path on its disk.
    pub fn root(&self, name: &str) -> PathBuf {
        self.directory.join("root").join(name)
    }

    /// A path in the node's data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.root("var/lib/hufu/data").join(name)
    }

    /// The firewall's rules, as they were applied last.
    ///
    /// # Errors
    /// When none were.
    pub fn rules(&self) -> anyhow::Result<String> {
        fs::read_to_string(self.directory.join("nft.rules")).context("no rules were applied")
    }

    /// All that the console showed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn console(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.directory.join("console"))?)
    }

    /// Its log, of all times that it was on.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.directory.join("log"))?)
    }

    /// The last block of the console.
    ///
    /// # Errors
    /// When there is none.
    pub fn block(&self) -> anyhow::Result<Vec<String>> {
        let console = self.console()?;
        let block = console.trim_end().rsplit("\n\n").next().unwrap_or_default();
        ensure!(block.starts_with("Hufu "), "the console shows nothing yet: {console}");
        Ok(block.lines().map(str::to_owned).collect())
    }

    /// What the console shows of the open setup endpoint.
    ///
    /// # Errors
    /// When it does not, for a while.
    pub fn shown(&mut self) -> anyhow::Result<Shown> {
        wait_for("the console to show the setup endpoint", PATIENCE, || {
            self.process.check()?;
            let block = self.block()?;
            let line = |name: &str| -> anyhow::Result<String> {
                let found = block.iter().find_map(|line| line.strip_prefix(name));
                let found = found.with_context(|| format!("no {name} in {block:?}"))?;
                Ok(found.trim().to_owned())
            };
            Ok(Shown {
                address: line("Address:")?,
                fingerprint: line("Fingerprint:")?,
                code: line("Code:")?,
            })
        })
    }

    /// Waits until the machine is in `state`, for a reason with `words`; the
    /// last block of the console.
    ///
    /// # Errors
    /// When it is in another.
    pub fn wait_for(&mut self, state: &str, words: &str) -> anyhow::Result<String> {
        wait_for(&format!("{state}: {words}"), PATIENCE, || {
            self.process.check()?;
            let block = self.block()?.join("\n");
            let is = block.lines().any(|line| line == format!("State:       {state}"));
            ensure!(is && block.contains(words), "the console shows {block}");
            let said: serde_json::Value =
                serde_json::from_slice(&fs::read(self.root("run/hufu/state.json"))?)?;
            ensure!(said["state"] == state.to_lowercase(), "{said}");
            Ok(block)
        })
    }

    /// `hufu setup` with what the console shows.
    ///
    /// # Errors
    /// When it does not start.
    pub fn set_up(&self, shown: &Shown, more: &[&str]) -> anyhow::Result<Answer> {
        self.hufu_setup(Command::new(&self.hufu), shown, more)
    }

    /// The same, with the PIN of a token that has one.
    ///
    /// # Errors
    /// When it does not start.
    pub fn set_up_with_pin(
        &self,
        shown: &Shown,
        pin: &str,
        more: &[&str],
    ) -> anyhow::Result<Answer> {
        let mut command = Command::new("sh");
        command.args(["-c", "pin=$1; shift; printf %s \"$pin\" | exec \"$@\"", "sh", pin]);
        command.arg(&self.hufu).args(["--pin-fd", "0"]);
        self.hufu_setup(command, shown, more)
    }

    fn hufu_setup(
        &self,
        mut command: Command,
        shown: &Shown,
        more: &[&str],
    ) -> anyhow::Result<Answer> {
        command.args(["--json", "setup", "--appliance", &shown.address]);
        command.args(["--fingerprint", &shown.fingerprint, "--code", &shown.code]);
        command.args(["--out", text(&self.directory.join("out"))?]).args(more);
        process::run(&mut command)
    }

    /// A file that `hufu setup` wrote.
    pub fn out(&self, name: &str) -> PathBuf {
        self.directory.join("out").join(name)
    }

    /// `hufu` on this machine.
    pub fn hufu(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        let mut command = Command::new(&self.hufu);
        command.arg("--root").arg(self.root("")).arg("--config");
        process::run(command.arg(self.root("var/lib/hufu/hufu.toml")).args(arguments))
    }

    /// Presses Enter at the console.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn press_enter(&mut self) -> anyhow::Result<()> {
        self.type_line("")
    }

    /// Types a line at the console.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn type_line(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(self.keyboard.write_all(format!("{line}\n").as_bytes())?)
    }

    /// The process that owns the machine.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Switches it off: SIGTERM, and waits.
    ///
    /// # Errors
    /// When it does not end, or ends badly.
    pub fn switch_off(mut self) -> anyhow::Result<()> {
        let status = self.process.terminate(PATIENCE)?;
        ensure!(status.success(), "it ended with {status}: {}", self.process.log_end());
        Ok(())
    }
}
