//! What a process may use up of the machine.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// What a process may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Time by the clock for all that it is asked; then it is killed.
    pub time: Duration,
    /// Bytes of memory that it may write to. Over it, allocations fail.
    pub memory: u64,
    /// Descriptors open at once.
    pub files: u64,
    /// Size of a file that it writes. A reader of the read model extends the
    /// index of its write-ahead log, and writes nothing else.
    pub file: u64,
    /// Bytes of one answer.
    pub answer: usize,
}

impl Bounds {
    /// For a question that a person asks.
    pub const QUERY: Self = Self {
        time: Duration::from_secs(10),
        memory: 512 << 20,
        files: 32,
        file: 8 << 20,
        answer: 64 << 20,
    };

    /// For all controls of a report and of the run that it is compared with. A
    /// client of ours waits for two minutes.
    pub const REPORT: Self = Self { time: Duration::from_secs(90), ..Self::QUERY };

    /// Puts this process within them, for ever.
    ///
    /// # Errors
    /// When the system does not do it.
    pub fn apply(&self) -> io::Result<()> {
        // Where memory is short, the query goes before the validator. Memory is
        // limited where there is no such file, too.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        // The node kills it at the end of its time; this is for a node that is
        // stopped itself. It computes in one thread.
        let processor = self.time.as_secs() + 2;
        let both = |most| Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(Resource::Data, both(self.memory))?;
        setrlimit(Resource::Nofile, both(self.files))?;
        setrlimit(Resource::Fsize, both(self.file))?;
        setrlimit(Resource::Core, both(0))?;
        // A signal that tells what it is, and a second later one that cannot fail.
        let maximum = Some(processor + 1);
        setrlimit(Resource::Cpu, Rlimit { current: Some(processor), maximum })?;
        Ok(())
    }
}
