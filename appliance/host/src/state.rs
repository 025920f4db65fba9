//! The machine's state: what the console shows, `state.json` holds and
//! `hufu status` tells.

use std::fmt;

use hufu_configuration::time::utc;
use hufu_proof::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::site::Stage;

/// How the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Configuration or genesis file are missing: the setup endpoint is open.
    Unprovisioned,
    /// It is set up, but its disk, PIN or token is not open.
    Locked,
    /// The node runs; where it has reasons, it is degraded.
    Operational,
    /// The node ended and does not come back, or the machine cannot go on.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unprovisioned => "Unprovisioned",
            Self::Locked => "Locked",
            Self::Operational => "Operational",
            Self::Failed => "Failed",
        })
    }
}

/// A state, why, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// The state.
    pub state: State,
    /// Why; empty when all is well.
    pub reasons: Vec<String>,
    /// What to do; empty when there is nothing.
    pub remedy: String,
}

impl Condition {
    /// A condition with one reason.
    pub fn because(state: State, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state, reasons: vec![reason.into()], remedy: remedy.into() }
    }
}

/// The open setup endpoint, as everybody may know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetupEndpoint {
    /// Addresses with port; none while the machine has no network.
    pub addresses: Vec<String>,
    /// SHA-256 of its certificate, as `openssl x509 -fingerprint` writes it.
    pub fingerprint: String,
    /// Whether it is closed after wrong codes, until somebody presses a key.
    pub closed: bool,
}

/// All that is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Version of the image, or of this program where it runs without one.
    pub software: String,
    /// State, reasons, remedy.
    #[serde(flatten)]
    pub condition: Condition,
    /// Since when it has been in this state.
    pub since_ms: UnixMillis,
    /// What the machine has not been given yet.
    pub missing: Vec<Stage>,
    /// The setup endpoint, while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup: Option<SetupEndpoint>,
}

impl Report {
    /// The first report of a machine.
    pub fn new(software: String, condition: Condition, now_ms: UnixMillis) -> Self {
        Self { software, condition, since_ms: now_ms, missing: Vec::new(), setup: None }
    }

    /// The first report of a process that found the report of another, which is
    /// gone, in `left`: a state that stays keeps its time.
    pub fn resumed(
        software: String,
        condition: Condition,
        left: &[u8],
        now_ms: UnixMillis,
    ) -> Self {
        #[derive(Deserialize)]
        struct Left {
            state: State,
            since_ms: UnixMillis,
        }
        let first = Self::new(software, condition, now_ms);
        match serde_json::from_slice::<Left>(left) {
            Ok(left) if left.since_ms <= now_ms => Self {
                since_ms: left.since_ms,
                condition: Condition { state: left.state, ..first.condition },
                ..first
            },
            _ => first,
        }
    }

    /// The same machine later. A state that stays keeps its time.
    #[must_use]
    pub fn next(
        &self,
        condition: Condition,
        missing: Vec<Stage>,
        setup: Option<SetupEndpoint>,
        now_ms: UnixMillis,
    ) -> Self {
        let stays = condition.state == self.condition.state;
        let since_ms = if stays { self.since_ms } else { now_ms };
        Self { software: self.software.clone(), condition, since_ms, missing, setup }
    }

    /// What the console shows: one block of lines, ended by an empty one. The
    /// one-time code stands here and nowhere else.
    pub fn console(&self, code: Option<&str>) -> String {
        let mut lines = vec![format!("Hufu {}", self.software)];
        let mut line = |name: &str, said: &str| lines.push(format!("{name:<12} {said}"));
        line("State:", &self.condition.state.to_string());
        line("Since:", &utc(self.since_ms));
        for reason in &self.condition.reasons {
            line("Why:", reason);
        }
        if !self.condition.remedy.is_empty() {
            line("To do:", &self.condition.remedy);
        }
        if let Some(setup) = &self.setup {
            if setup.closed {
                line("Setup:", "closed after three wrong codes; press Enter here for a new code");
            } else {
                for address in &setup.addresses {
                    line("Address:", address);
                }
                if setup.addresses.is_empty() {
                    line("Address:", "none yet; connect the network");
                }
                line("Fingerprint:", &setup.fingerprint);
                if let Some(code) = code {
                    line("Code:", code);
                }
            }
        }
        // What others said may have more lines, or worse.
        let clean = |text: &String| -> String {
            text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect()
        };
        lines.iter().map(|line| clean(line) + "\n").collect::<String>() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use std::time::Duration;

    const VERSION: &str = "1.2";

    fn unprovisioned() -> Report {
        let condition = Condition::because(
            State::Unprovisioned,
            "missing: genesis file",
            "run `hufu setup` on the operator's workstation",
        );
        let setup = SetupEndpoint {
            addresses: vec!["192.0.2.2:8440".to_owned()],
            fingerprint: "AB:CD".to_owned(),
            closed: false,
        };
        let report = Report::new(VERSION.to_owned(), condition, UnixMillis(1_795_183_509_123));
        Report { missing: vec![Stage::Genesis], setup: Some(setup), ..report }
    }

    #[test]
    fn the_console_is_plain_lines() {
        let text = unprovisioned().console(Some("ABCD-EFGH"));
        assert_eq!(
            text,
            format!(
                "Hufu {VERSION}\n\
                 State:       Unprovisioned\n\
                 Since:       2026-11-20 14:05:09 UTC\n\
                 Why:         missing: genesis file\n\
                 To do:       run `hufu setup` on the operator's workstation\n\
                 Address:     192.0.2.2:8440\n\
                 Fingerprint: AB:CD\n\
                 Code:        ABCD-EFGH\n\n"
            )
        );
    }

    #[test]
    fn a_closed_endpoint_shows_no_code_and_a_reason_stays_on_its_line() {
        let mut report = unprovisioned();
        report.condition.reasons = vec!["one\ntwo\u{1b}[2J".to_owned()];
        if let Some(setup) = &mut report.setup {
            setup.closed = true;
        }
        let text = report.console(Some("ABCD-EFGH"));
        assert!(!text.contains("ABCD-EFGH") && text.contains("press Enter"), "{text}");
        assert!(text.contains("Why:         one two [2J\n"), "{text}");
    }

    #[test]
    fn the_file_has_the_promised_members_and_no_code() {
        let value = serde_json::to_value(unprovisioned()).unwrap();
        assert_eq!(value["state"], "unprovisioned");
        assert_eq!(value["since_ms"], 1_795_183_509_123_u64);
        assert_eq!(value["missing"][0], "genesis");
        assert!(value["reasons"].is_array() && value["remedy"].is_string());
        assert!(value["setup"].get("code").is_none());
    }

    #[test]
    fn a_state_that_another_process_left_keeps_its_time() {
        let starting = || Condition::because(State::Locked, "the machine is starting", "");
        let left = serde_json::to_vec(&unprovisioned()).unwrap();
        let since = unprovisioned().since_ms;
        let after = |milliseconds| since.plus(Duration::from_millis(milliseconds));
        let resumed = Report::resumed(VERSION.to_owned(), starting(), &left, after(5));
        assert_eq!((resumed.condition.state, resumed.since_ms), (State::Unprovisioned, since));
        let same = Condition::because(State::Unprovisioned, "again", "");
        assert_eq!(resumed.next(same, Vec::new(), None, after(9)).since_ms, since);
        // What is not of this boot, or no report.
        for (left, now) in [
            (left.as_slice(), since.minus(Duration::from_millis(1))),
            (b"{}", UnixMillis(7)),
            (b"", UnixMillis(7)),
        ] {
            let first = Report::resumed(VERSION.to_owned(), starting(), left, now);
            assert_eq!((first.condition.state, first.since_ms), (State::Locked, now));
        }
    }

    #[test]
    fn a_state_that_stays_keeps_its_time() {
        let report = unprovisioned();
        let same = Condition::because(State::Unprovisioned, "another", "");
        assert_eq!(report.next(same, Vec::new(), None, UnixMillis(9)).since_ms, report.since_ms);
        let other = Condition::because(State::Locked, "now", "");
        assert_eq!(report.next(other, Vec::new(), None, UnixMillis(9)).since_ms, UnixMillis(9));
    }

    proptest! {
        #[test]
        fn whatever_is_said_a_block_stays_one(
            reasons in proptest::collection::vec(any::<String>(), 0..4),
            remedy in any::<String>(),
            address in any::<String>(),
        ) {
            let mut report = unprovisioned();
            let lines = 7 + reasons.len() + usize::from(!remedy.is_empty()) - 1;
            report.condition = Condition { state: State::Failed, reasons, remedy };
            if let Some(setup) = &mut report.setup {
                setup.addresses = vec![address];
            }
            let text = report.console(Some("ABCD-EFGH"));
            prop_assert!(text.ends_with("\n\n"));
            prop_assert_eq!(text.trim_end_matches('\n').split('\n').count(), lines);
            prop_assert!(!text.trim_end_matches('\n').contains("\n\n"));
            prop_assert!(!text.chars().any(|one| one.is_control() && one != '\n'));
        }
    }
}
