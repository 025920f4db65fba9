//! Running and supervising other programs.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Lines of a log that an error quotes.
const QUOTED_LINES: usize = 25;

/// What a finished program said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// What was run, for error messages.
    pub shown: String,
}

impl Answer {
    /// The answer of a program that must succeed.
    ///
    /// # Errors
    /// What was run and what it said, when it did not.
    pub fn success(self) -> anyhow::Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        bail!("`{}` ended with {}:\n{}{}", self.shown, self.status, self.stdout, self.stderr)
    }

    /// Standard output as JSON.
    ///
    /// # Errors
    /// What was printed instead.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("`{}` did not print JSON:\n{}", self.shown, self.stdout))
    }
}

/// Runs `command` to its end, without standard input.
///
/// # Errors
/// Only when it does not start; see [`Answer::success`].
pub fn run(command: &mut Command) -> anyhow::Result<Answer> {
    let shown = shown(command);
    let output = command
        .stdin(Stdio::null())
        // Its own group: Ctrl-C at our terminal is for us to act on.
        .process_group(0)
        .output()
        .with_context(|| format!("`{shown}` did not start"))?;
    Ok(Answer {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        shown,
    })
}

/// The command as a person would type it.
pub fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Kills what was started and did not end, when this process ends, however it
/// ends: the watching shell sees its standard input close.
///
/// `static` values are not dropped and `kill -9` runs no destructor; a test
/// that hangs or a demonstration that is killed must still leave nothing
/// behind.
#[derive(Debug)]
pub struct Watchdog {
    directory: PathBuf,
    /// Its standard input is the lifeline; none where another process watches.
    watcher: Option<Child>,
}

impl Watchdog {
    /// Watches over processes whose identifiers are noted in `directory`; when
    /// all is over, removes `remove` as well, and what is mounted in it.
    ///
    /// Processes that an earlier watch left there are killed first.
    ///
    /// # Errors
    /// When the directory cannot be made or the shell does not start.
    pub fn start(directory: &Path, remove: Option<&Path>) -> anyhow::Result<Self> {
        const SCRIPT: &str = "\
            cat >/dev/null; \
            for note in \"$0\"/*.pid; do [ -f \"$note\" ] && kill -9 \"$(cat \"$note\")\"; rm -f \"$note\"; done; \
            [ -n \"$1\" ] || exit 0; \
            sleep 0.2; \
            while read -r _ at _; do case \"$at\" in \"$1\"/*) umount -l \"$at\";; esac; done </proc/mounts; \
            rm -rf \"$1\"; \
            exit 0";
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let watcher = Command::new("sh")
            .arg("-c")
            .arg(SCRIPT)
            .arg(directory)
            .arg(remove.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start sh, which watches over the processes")?;
        Ok(Self { directory: directory.to_owned(), watcher: Some(watcher) })
    }

    /// The watch that another process keeps in `directory`: what is noted here ends
    /// with that process, not with this one.
    pub fn of_another(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), watcher: None }
    }

    /// Whether it is another process's.
    pub fn is_of_another(&self) -> bool {
        self.watcher.is_none()
    }

    /// Notes a process to be killed at the end.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub fn note(&self, name: &str, process: u32) -> anyhow::Result<()> {
        let path = self.path(name);
        fs::write(&path, process.to_string())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.pid"))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Closes its standard input first. It leaves nothing behind, itself neither.
        if let Some(watcher) = &mut self.watcher {
            let _ = watcher.wait();
        }
    }
}

/// A program that keeps running, with its output in a file. Dropping it kills
/// it, unless another process watches over it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    note: PathBuf,
    /// Whether it goes on without us: another process watches over it.
    stays: bool,
}

impl Process {
    /// Starts `command` as `name`, with its output appended to `log`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        name: &str,
        command: &mut Command,
        log: &Path,
        watchdog: &Watchdog,
    ) -> anyhow::Result<Self> {
        command.stdin(Stdio::null());
        Self::start_with(name, command, log, log, watchdog)
    }

    /// Starts `command` as `name`, with its standard output appended to
    /// `console`, its standard error to `log`, and somebody at its keyboard.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_at_console(
        name: &str,
        command: &mut Command,
        console: &Path,
        log: &Path,
        watchdog: &Watchdog,
    ) -> anyhow::Result<(Self, ChildStdin)> {
        command.stdin(Stdio::piped());
        let mut process = Self::start_with(name, command, console, log, watchdog)?;
        let keyboard = process.child.stdin.take().context("the process has no input")?;
        Ok((process, keyboard))
    }

    fn start_with(
        name: &str,
        command: &mut Command,
        output: &Path,
        log: &Path,
        watchdog: &Watchdog,
    ) -> anyhow::Result<Self> {
        let open = |path: &Path| -> anyhow::Result<File> {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.with_context(|| format!("cannot write the log {}", path.display()))
        };
        let child = command
            .stdout(open(output)?)
            .stderr(open(log)?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("`{}` did not start", shown(command)))?;
        watchdog.note(name, child.id())?;
        let (note, stays) = (watchdog.path(name), watchdog.is_of_another());
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), note, stays })
    }

    /// Its process identifier.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// An error with the end of the log, when it does not run any more.
    ///
    /// # Errors
    /// That it ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended with {status}; its log ends:\n{}", self.name, self.log_end())
            }
        }
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait()?;
        // Ignored: a note about a process that is gone does no harm.
        let _ = fs::remove_file(&self.note);
        Ok(())
    }

    /// SIGTERM, then waits. Gives how it ended.
    ///
    /// # Errors
    /// When it has not ended after `patience`.
    pub fn terminate(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                // Ignored, as in `kill`.
                let _ = fs::remove_file(&self.note);
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} did not end within {} s of SIGTERM; its log ends:\n{}",
                    self.name,
                    patience.as_secs(),
                    self.log_end()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When there is no such process any more.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("cannot signal {}", self.name))
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.stays && self.is_running() {
            // Ignored: the watchdog tries again.
            let _ = self.kill();
        }
    }
}

/// Tries until `attempt` gives a value, or gives up with its last reason.
///
/// # Errors
/// The last reason, after `patience`.
pub fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut attempt: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(10);
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("waited {} s for {what}", patience.as_secs())));
            }
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_ends_with_us() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let scratch = directory.path().join("scratch");
        fs::create_dir(&scratch)?;
        let watchdog = Watchdog::start(&directory.path().join("run"), Some(&scratch))?;
        let process = Process::start(
            "sleeper",
            Command::new("sleep").arg("600"),
            &directory.path().join("log"),
            &watchdog,
        )?;
        let alive = PathBuf::from(format!("/proc/{}/stat", process.id()));
        assert!(alive.exists());
        // As after `kill -9` of this process: no destructor of the process
        // runs, the watchdog's pipe closes.
        let mut process = std::mem::ManuallyDrop::new(process);
        drop(watchdog);
        wait_for("the process to end", Duration::from_secs(10), || {
            anyhow::ensure!(!process.is_running());
            Ok(())
        })?;
        wait_for("the directory to go", Duration::from_secs(10), || {
            anyhow::ensure!(!scratch.exists());
            Ok(())
        })
    }

    #[test]
    fn a_failed_program_is_quoted() -> anyhow::Result<()> {
        let answer = run(Command::new("sh").args(["-c", "echo because >&2; exit 3"]))?;
        let error = answer.success().expect_err("status 3").to_string();
        assert!(error.contains("because") && error.contains('3'), "{error}");
        Ok(())
    }
}
