//! Whether a new release is good enough to stay.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hufu_client::Client;
use hufu_configuration::{files, no};
use serde_json::Value;

use super::Pending;
use crate::site::Site;
use crate::state::State;

/// The boot loader sets this variable while it counts attempts (Boot Loader
/// Interface).
const COUNTED: &str =
    "/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Tells the boot loader that a boot was good, by `systemd-bless-boot.service`;
/// knows what it holds of this one.
const BLESS: &str = "/usr/lib/systemd/systemd-bless-boot";

/// How often is looked.
const LOOK: Duration = Duration::from_secs(2);

/// Heights that a node must have followed meanwhile.
const HEIGHTS: u64 = 5;

/// Whether the release that runs is on trial.
pub fn is_on_trial(site: &Site) -> bool {
    Path::new(COUNTED).exists() && !site.blessed().exists()
}

/// Notes, until the next boot, that the release is there to stay.
///
/// # Errors
/// When the boot loader would still count this boot as an attempt.
pub fn bless(site: &Site) -> anyhow::Result<()> {
    let said = std::process::Command::new(BLESS)
        .arg("status")
        .output()
        .with_context(|| format!("cannot run {BLESS}"))?;
    let status = String::from_utf8_lossy(&said.stdout);
    let status = status.trim();
    anyhow::ensure!(
        matches!(status, "good" | "clean"),
        "the boot loader holds this boot for `{status}`: {}",
        String::from_utf8_lossy(&said.stderr).trim()
    );
    files::write(&site.blessed(), b"")
}

/// How the machine is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sight {
    state: Option<State>,
    final_height: Option<u64>,
}

/// What was seen since the boot.
struct Trial {
    /// An operational machine must become one again; whatever else it was
    /// before an update, it may be after.
    operational: bool,
    /// How long all must have been well.
    steady: Duration,
    /// Since when all was well, and the height then.
    since: Option<(Instant, u64)>,
}

impl Trial {
    /// Whether the release has done enough.
    fn is_passed(&mut self, now: Instant, sight: &Sight) -> bool {
        let operational = sight.state == Some(State::Operational);
        let well = if self.operational { operational } else { sight.state.is_some() };
        if !well || (operational && sight.final_height.is_none()) {
            self.since = None;
            return false;
        }
        let height = sight.final_height.unwrap_or_default();
        let (since, begin) = *self.since.get_or_insert((now, height));
        let followed = !operational || height >= begin + HEIGHTS;
        now.duration_since(since) >= self.steady && followed
    }
}

/// Waits until the release on trial has shown that it is good: the machine is
/// what it was before the update, for as long as `steady`, and an operational one
/// has followed the ledger meanwhile.
///
/// # Errors
/// [`hufu_configuration::Exit::No`] when it has not done so `within` this time; the
/// machine is then to go back.
pub async fn run(site: &Site, within: Duration, steady: Duration) -> anyhow::Result<()> {
    let pending = Pending::read(site)?;
    let operational = pending.is_none_or(|pending| pending.state == State::Operational);
    let mut trial = Trial { operational, steady, since: None };
    let begin = Instant::now();
    let mut sight = Sight { state: None, final_height: None };
    while begin.elapsed() < within {
        sight = look(site).await;
        if trial.is_passed(Instant::now(), &sight) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(no(format!(
        "the update did not get ready in {} minutes ({}); the machine goes back to the version \
         before",
        within.as_secs().div_ceil(60),
        sight.state.map_or("it does not answer".to_owned(), |state| format!("it is {state}"))
    )))
}

async fn look(site: &Site) -> Sight {
    let state = ask(&site.socket(), "/v1/state").await.ok();
    let node = ask(&site.data("admin.sock"), "/status").await.ok();
    let state = state.and_then(|state| serde_json::from_value(state["state"].clone()).ok());
    let final_height = node.and_then(|node| node["ledger"]["final_height"].as_u64());
    Sight { state, final_height }
}

async fn ask(socket: &Path, path: &str) -> anyhow::Result<Value> {
    tokio::time::timeout(LOOK, Client::admin(socket).get(path)).await.context("no answer")?
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEADY: Duration = Duration::from_secs(30);

    fn see(trial: &mut Trial, at: u64, state: State, height: Option<u64>) -> bool {
        thread_local!(static BEGIN: Instant = Instant::now());
        let now = BEGIN.with(|begin| *begin) + Duration::from_secs(at);
        trial.is_passed(now, &Sight { state: Some(state), final_height: height })
    }

    #[test]
    fn an_operational_machine_must_follow_the_ledger_again() {
        let mut trial = Trial { operational: true, steady: STEADY, since: None };
        assert!(!see(&mut trial, 0, State::Locked, None));
        assert!(!see(&mut trial, 5, State::Operational, Some(10)));
        // A ledger that stands still is not followed.
        assert!(!see(&mut trial, 60, State::Operational, Some(10)));
        assert!(!see(&mut trial, 61, State::Operational, Some(14)));
        assert!(see(&mut trial, 62, State::Operational, Some(15)));
    }

    #[test]
    fn who_stumbles_begins_again() {
        let mut trial = Trial { operational: true, steady: STEADY, since: None };
        assert!(!see(&mut trial, 0, State::Operational, Some(10)));
        assert!(!see(&mut trial, 29, State::Operational, Some(100)));
        assert!(!see(&mut trial, 30, State::Failed, Some(100)));
        assert!(!see(&mut trial, 31, State::Operational, Some(100)));
        assert!(!see(&mut trial, 60, State::Operational, Some(200)));
        assert!(see(&mut trial, 61, State::Operational, Some(200)));
    }

    #[test]
    fn a_new_machine_need_only_say_how_it_is() {
        let mut trial = Trial { operational: false, steady: STEADY, since: None };
        assert!(!see(&mut trial, 0, State::Unprovisioned, None));
        assert!(see(&mut trial, 30, State::Unprovisioned, None));
        // Silence is no answer.
        let mut trial = Trial { operational: false, steady: STEADY, since: None };
        let silent = Sight { state: None, final_height: None };
        let now = Instant::now();
        assert!(!trial.is_passed(now, &silent));
        assert!(!trial.is_passed(now + Duration::from_secs(99), &silent));
    }
}
