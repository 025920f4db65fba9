//! Other programs, and secrets on their way to them.
//!
//! A secret goes to a child through a file in memory that the child inherits
//! under its number. For that moment the file is not marked to be closed in
//! children, so that everything that this process starts is started here, one
//! at a time, and inherits only what is meant for it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use hufu_configuration::no;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(120);

static SPAWNING: Mutex<()> = Mutex::new(());

/// A command that knows nothing of our service manager and our credentials.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .env_remove("CREDENTIALS_DIRECTORY")
        .kill_on_drop(true);
    command
}

/// Starts what `build` gives, told the descriptors under which the child finds
/// the secrets.
///
/// # Errors
/// When it does not start.
pub fn spawn(
    secrets: &[&Zeroizing<String>],
    build: impl FnOnce(&[String]) -> Command,
) -> anyhow::Result<Child> {
    // Nothing is changed while it is held.
    let _turn = SPAWNING.lock().unwrap_or_else(PoisonError::into_inner);
    let handed: Vec<OwnedFd> =
        secrets.iter().map(|secret| in_memory(secret)).collect::<Result<_, _>>()?;
    let numbers: Vec<String> = handed.iter().map(|file| file.as_raw_fd().to_string()).collect();
    let mut command = build(&numbers);
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    command.spawn().with_context(|| format!("cannot start {name}"))
}

fn in_memory(secret: &str) -> anyhow::Result<OwnedFd> {
    let file = memfd_create("hufu", MemfdFlags::empty()).context("a file in memory")?;
    let mut file = File::from(file);
    file.write_all(secret.as_bytes()).context("a file in memory")?;
    Ok(file.into())
}

/// Runs a command to its end with `input`; what it printed.
///
/// # Errors
/// When it does not start or takes too long; [`hufu_configuration::Exit::No`] with
/// what it said when it does not succeed.
pub async fn run(command: Command, input: &[u8]) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    run_within(PATIENCE, command, input).await
}

/// As [`run`], of a command that may take that long.
///
/// # Errors
/// As [`run`].
pub async fn run_within(
    patience: Duration,
    command: Command,
    input: &[u8],
) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    finish(spawn(&[], |_| pipes(command))?, input, patience).await
}

/// As [`run`], with secrets as [`spawn`] hands them over.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    secrets: &[&Zeroizing<String>],
    build: impl FnOnce(&[String]) -> Command,
) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let child = spawn(secrets, |numbers| pipes(build(numbers)))?;
    finish(child, b"", PATIENCE).await
}

fn pipes(mut command: Command) -> Command {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn finish(
    mut child: Child,
    input: &[u8],
    patience: Duration,
) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let stdin = child.stdin.take();
    let exchange = async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input says so by how it ends.
                let _ = stdin.write_all(input).await;
            }
        };
        let ((), output) = tokio::join!(write, child.wait_with_output());
        output
    };
    let output = tokio::time::timeout(patience, exchange)
        .await
        .with_context(|| format!("it took more than {} s", patience.as_secs()))??;
    let printed = Zeroizing::new(output.stdout);
    if output.status.success() {
        return Ok(printed);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().trim_start_matches("hufu: ");
    Err(no(match said {
        "" => output.status.to_string(),
        said => said.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = command("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_secret_arrives_and_only_where_it_is_meant_to() {
        let secret = Zeroizing::new("s3cret".to_owned());
        let script = |numbers: &[String]| shell(&format!("cat /proc/self/fd/{}", numbers[0]));
        assert_eq!(**run_with(&[&secret], script).await.unwrap(), *b"s3cret");
        // The next child has not inherited it.
        let left = run(shell("ls -l /proc/self/fd"), b"").await.unwrap();
        assert!(!String::from_utf8_lossy(&left).contains("memfd"));
    }

    #[tokio::test]
    async fn a_failure_is_told_in_the_programs_words() {
        let error = run(shell("cat >&2; exit 3"), b"because").await.unwrap_err();
        assert_eq!(error.to_string(), "because");
        let error = run(shell("exit 3"), b"").await.unwrap_err();
        assert!(error.to_string().contains('3'), "{error}");
        assert!(run(command("/nonexistent/program"), b"").await.is_err());
    }
}
