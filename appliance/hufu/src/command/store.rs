//! `hufu store`: moves a record between the engines.

use std::path::Path;
use std::time::{Duration, Instant};

use hufu_configuration::Config;
use hufu_service::copying::{Moved, Work, move_record};
use serde_json::{Value, json};

use crate::cli::Store;
use crate::command::node;
use crate::output;

/// How often progress is told.
const TELL: Duration = Duration::from_secs(2);

/// `hufu store copy`.
///
/// # Errors
/// What keeps the record from being copied, with what to do.
pub fn run(command: Store, config: &Path, json: bool) -> anyhow::Result<()> {
    let Store::Copy { to } = command;
    let (from, target) = (Config::load(config)?, Config::load(&to)?);
    let began = Instant::now();
    let mut progress = Progress { told: began, before: None };
    let moved = move_record(&from, &target, &mut |work, rows, bytes| {
        if !json {
            progress.tell(work, rows, bytes);
        }
    })?;
    output::print(json, &answer(&moved, began.elapsed()), |answer| {
        let head = if moved.copied.was_there {
            "The copy was there; it is the same as its source."
        } else {
            "Copied and verified."
        };
        let start = format!("start the node with {}", to.display());
        format!("{head}\n{}next: {start}", node::members(answer))
    })
}

fn answer(moved: &Moved, took: Duration) -> Value {
    let Moved { from, to, commitment, copied } = moved;
    json!({
        "from": from,
        "to": to,
        "height": commitment.height,
        "state_root": commitment.state_root,
        "log_size": commitment.log_size,
        "log_root": commitment.log_root,
        "rows": copied.rows,
        "bytes": copied.bytes,
        "was_there": copied.was_there,
        "seconds": took.as_secs(),
    })
}

struct Progress {
    told: Instant,
    before: Option<Work>,
}

impl Progress {
    /// Tells what is done, when it is something else than before or some time has
    /// gone by.
    fn tell(&mut self, work: Work, rows: u64, bytes: u64) {
        let same = |before: Work| std::mem::discriminant(&before) == std::mem::discriminant(&work);
        if self.before.is_some_and(same) && self.told.elapsed() < TELL {
            return;
        }
        let so_far = format!("{rows} rows, {}", node::bytes(bytes));
        output::note(&match work {
            Work::Resumed => format!("goes on with an earlier copy: {so_far} are there"),
            Work::Copying(space) => format!("copying, at `{space}`: {so_far}"),
            Work::Comparing(space) => format!("comparing, at `{space}`: {so_far}"),
        });
        (self.told, self.before) = (Instant::now(), Some(work));
    }
}
