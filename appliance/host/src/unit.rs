//! Whoever runs the node: the system's service manager on the appliance, this
//! process itself where there is none.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hufu_configuration::Exit;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Child;

use crate::site::Site;
use crate::spawn;
use crate::vault::{self, Vault};

/// The node's unit.
const UNIT: &str = "hufu.service";

/// What systemd gives for a credential that does not open (systemd.exec(5)).
const EXIT_CREDENTIALS: i32 = 243;

/// How long a node may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(60);

/// Longest line of the node's that is kept for the console, in characters.
const MAX_SAID: usize = 1000;

/// How the node's process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// It was not started, or was told to end.
    Stopped,
    /// It runs.
    Running,
    /// It ended by itself.
    Ended(Ending),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Its exit status; none where a signal ended it.
    pub status: Option<i32>,
    /// What it said last.
    pub said: String,
}

impl Ending {
    /// Whether its token or PIN did not open, so that trying again does harm.
    pub fn is_locked(&self) -> bool {
        [Some(Exit::Locked as i32), Some(EXIT_CREDENTIALS)].contains(&self.status)
    }

    /// Whether its token did not answer, so that trying again is all there is
    /// to do.
    pub fn is_unavailable(&self) -> bool {
        self.status == Some(Exit::Unavailable as i32)
    }

    /// For people.
    pub fn describe(&self) -> String {
        let how = match self.status {
            Some(status) => format!("exit status {status}"),
            None => "killed by a signal".to_owned(),
        };
        match self.said.as_str() {
            "" => how,
            said => format!("{how}: {said}"),
        }
    }
}

/// Starts, watches and stops the node.
pub trait NodeUnit: Send {
    /// Starts it.
    fn start(&mut self) -> BoxFuture<'_, anyhow::Result<()>>;
    /// How it is.
    fn look(&mut self) -> BoxFuture<'_, anyhow::Result<UnitState>>;
    /// Ends it, and waits until it has.
    fn stop(&mut self) -> BoxFuture<'_, anyhow::Result<()>>;
    /// This process ends. What cannot live without it is stopped.
    fn leave(&mut self) -> BoxFuture<'_, anyhow::Result<()>>;
}

/// The node as `hufu.service`, which takes its PIN as a credential
/// (`LoadCredentialEncrypted=`) and does not restart by itself (`Restart=no`).
pub struct Systemd;

impl NodeUnit for Systemd {
    fn start(&mut self) -> BoxFuture<'_, anyhow::Result<()>> {
        async {
            systemctl(&["reset-failed", UNIT]).await.ok();
            // How it starts is seen by looking.
            systemctl(&["start", "--no-block", UNIT]).await.map(drop)
        }
        .boxed()
    }

    fn look(&mut self) -> BoxFuture<'_, anyhow::Result<UnitState>> {
        async {
            let properties = "--property=ActiveState,Result,ExecMainCode,ExecMainStatus,StatusText";
            Ok(unit_state(&systemctl(&["show", UNIT, properties]).await?))
        }
        .boxed()
    }

    fn stop(&mut self) -> BoxFuture<'_, anyhow::Result<()>> {
        async { systemctl(&["stop", UNIT]).await.map(drop) }.boxed()
    }

    fn leave(&mut self) -> BoxFuture<'_, anyhow::Result<()>> {
        async { Ok(()) }.boxed()
    }
}

/// Asks the service manager; what it said.
///
/// # Errors
/// What it said instead.
pub async fn systemctl(arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = spawn::command("systemctl");
    command.args(["--no-ask-password", "--no-pager"]).args(arguments);
    let said = spawn::run(command, b"").await.context("systemctl")?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// What `systemctl show` said.
fn unit_state(shown: &str) -> UnitState {
    let value = |name: &str| {
        shown
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
    };
    match value("ActiveState") {
        "failed" => {
            // 1 is CLD_EXITED (waitid(2)); others are signals.
            let exited = value("ExecMainCode") == "1";
            let status = value("ExecMainStatus").parse().ok().filter(|_| exited);
            let said = match (value("StatusText"), value("Result")) {
                _ if status == Some(EXIT_CREDENTIALS) => {
                    "the credential with its PIN does not open".to_owned()
                }
                ("", result) => format!("the service manager says `{result}`"),
                (said, _) => said.to_owned(),
            };
            UnitState::Ended(Ending { status, said })
        }
        "inactive" => UnitState::Stopped,
        _ => UnitState::Running,
    }
}

/// The node as a child of this process.
pub struct Own {
    site: Site,
    vault: Vault,
    child: Option<Child>,
    said: Arc<Mutex<String>>,
    ended: Option<Ending>,
}

impl Own {
    /// Will run the node of `site`, with the PIN in `vault`.
    pub fn new(site: Site, vault: Vault) -> Self {
        Self { site, vault, child: None, said: Arc::default(), ended: None }
    }
}

impl NodeUnit for Own {
    fn start(&mut self) -> BoxFuture<'_, anyhow::Result<()>> {
        async {
            self.ended = None;
            let pin = match self.vault.open(vault::PIN).await {
                Ok(pin) => pin,
                Err(error) => {
                    // As systemd ends a unit whose credential does not open.
                    let said = format!("{error:#}");
                    self.ended = Some(Ending { status: Some(EXIT_CREDENTIALS), said });
                    return Ok(());
                }
            };
            let program = std::env::current_exe().context("our own path is not known")?;
            let mut child = spawn::spawn(&[&pin], |numbers| {
                let mut command = as_node(&self.site, program);
                command.args(["--pin-fd", &numbers[0], "serve", "--with-parent"]);
                command.stderr(Stdio::piped());
                command
            })?;
            self.said = Arc::default();
            if let Some(errors) = child.stderr.take() {
                tokio::spawn(pass_on(errors, self.said.clone()));
            }
            self.child = Some(child);
            Ok(())
        }
        .boxed()
    }

    fn look(&mut self) -> BoxFuture<'_, anyhow::Result<UnitState>> {
        async {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                // Its last words may still be on their way.
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.child = None;
                self.ended = Some(self.ending(status));
            }
            Ok(match (&self.child, &self.ended) {
                (Some(_), _) => UnitState::Running,
                (None, Some(ending)) => UnitState::Ended(ending.clone()),
                (None, None) => UnitState::Stopped,
            })
        }
        .boxed()
    }

    fn stop(&mut self) -> BoxFuture<'_, anyhow::Result<()>> {
        async {
            self.ended = None;
            let Some(mut child) = self.child.take() else { return Ok(()) };
            let number = child.id().and_then(|id| i32::try_from(id).ok());
            if let Some(process) = number.and_then(Pid::from_raw) {
                // One that has just ended is waited for below.
                let _ = kill_process(process, Signal::TERM);
            }
            if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                tracing::warn!("the node did not end in time and is killed");
                child.kill().await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn leave(&mut self) -> BoxFuture<'_, anyhow::Result<()>> {
        self.stop()
    }
}

impl Own {
    fn ending(&self, status: ExitStatus) -> Ending {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ending { status: status.code(), said }
    }
}

/// `hufu` as the node's user, with the node's configuration and token.
pub fn as_node(site: &Site, program: PathBuf) -> tokio::process::Command {
    let mut command = spawn::command(program);
    command
        .arg("--root")
        .arg(site.root())
        .arg("--config")
        .arg(site.config())
        .env("SOFTHSM2_CONF", site.softhsm());
    if let Some(account) = site.account {
        command.uid(account.user).gid(account.group);
    }
    command
}

/// Passes the node's log on to ours, and keeps what it says last of itself.
async fn pass_on(errors: tokio::process::ChildStderr, said: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(errors).lines();
    let mut out = tokio::io::stderr();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(last) = line.strip_prefix("hufu: ") {
            *said.lock().unwrap_or_else(PoisonError::into_inner) =
                last.chars().take(MAX_SAID).collect();
        }
        let _ = out.write_all(format!("{line}\n").as_bytes()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_manager_says_is_understood() {
        let running =
            "ActiveState=active\nResult=success\nExecMainCode=0\nExecMainStatus=0\nStatusText=\n";
        assert_eq!(unit_state(running), UnitState::Running);
        assert_eq!(unit_state("ActiveState=activating\n"), UnitState::Running);
        assert_eq!(unit_state("ActiveState=inactive\n"), UnitState::Stopped);
        for (shown, status, locked, words) in [
            (
                "ActiveState=failed\nResult=exit-code\nExecMainCode=1\nExecMainStatus=4\nStatusText=token `a` refused the PIN\n",
                Some(4),
                true,
                "refused",
            ),
            (
                "ActiveState=failed\nResult=exit-code\nExecMainCode=1\nExecMainStatus=243\nStatusText=\n",
                Some(243),
                true,
                "the credential",
            ),
            (
                "ActiveState=failed\nResult=signal\nExecMainCode=2\nExecMainStatus=9\nStatusText=\n",
                None,
                false,
                "signal",
            ),
        ] {
            let UnitState::Ended(ending) = unit_state(shown) else { panic!("{shown}") };
            assert_eq!(ending.status, status);
            assert_eq!(ending.is_locked(), locked);
            assert!(ending.describe().contains(words), "{}", ending.describe());
        }
    }

    #[test]
    fn a_token_that_does_not_answer_is_not_locked() {
        let ending = Ending { status: Some(3), said: String::new() };
        assert!(ending.is_unavailable() && !ending.is_locked());
        assert_eq!(ending.describe(), "exit status 3");
    }
}
