//! A process that is held up: a TPM whose answers take their time.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// For how long a process stands still, and then runs, again and again.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Stands still.
    pub still: Duration,
    /// Runs.
    pub runs: Duration,
}

/// Holds a process up until it is dropped.
pub struct Slow {
    ends: Arc<AtomicBool>,
}

impl Slow {
    /// Holds up what the process with this number has started, or itself.
    pub fn down(process: u32, pace: Pace) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let told = ends.clone();
        thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let process = last_child(process);
                // One that has ended is not there to be held up.
                signal("STOP", process);
                thread::sleep(pace.still);
                signal("CONT", process);
                thread::sleep(pace.runs);
            }
        });
        Self { ends }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// The tools' tree puts processes of its own before a tool.
fn last_child(process: u32) -> u32 {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    match children.split_whitespace().next().and_then(|child| child.parse().ok()) {
        Some(child) => last_child(child),
        None => process,
    }
}

fn signal(name: &str, process: u32) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_of_a_child_is_held_up_and_goes_on() {
        let mut child = Command::new("sh").args(["-c", "sleep 60; true"]).spawn().unwrap();
        let state = || {
            let process = last_child(child.id());
            let status = std::fs::read_to_string(format!("/proc/{process}/status"));
            status.unwrap_or_default().lines().nth(2).unwrap_or_default().to_owned()
        };
        let seen = |letter: &str| {
            (0..200).any(|_| {
                thread::sleep(Duration::from_millis(20));
                state().contains(letter)
            })
        };
        let pace = Pace { still: Duration::from_millis(400), runs: Duration::from_millis(20) };
        let slow = Slow::down(child.id(), pace);
        assert!(seen("T (stopped)"));
        drop(slow);
        assert!(seen("S (sleeping)"));
        thread::sleep(pace.still + pace.runs);
        assert!(seen("S (sleeping)"));
        signal("KILL", last_child(child.id()));
        let _ = child.wait();
    }
}
