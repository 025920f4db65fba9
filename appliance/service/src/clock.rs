//! What the node says of its clock and of those of the other members.

use hufu_node::OrderingStatus;
use hufu_node::clock::Clocks;
use serde_json::{Value, json};

/// What to do about a clock that is wrong.
const REMEDY: &str = "set it by NTP (chrony or systemd-timesyncd; `timedatectl status` says whether \
                      it is synchronized)";

/// What is wrong with clocks: what keeps this node from its part, and what
/// people are to be warned of.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Why this node does not do all it should.
    pub reasons: Vec<String>,
    /// What will become a reason.
    pub warnings: Vec<String>,
}

/// Says what is wrong with clocks.
pub fn said(clocks: &Clocks) -> Said {
    let mut said = Said::default();
    if clocks.is_own_astray() {
        let own = format!(
            "clock: this node's clock is {} the other members'; {REMEDY}",
            differs(clocks.own_ahead_ms)
        );
        if clocks.does_harm() {
            let harm = "its part in the votes comes too late meanwhile";
            said.reasons.push(format!("{own}; {harm}"));
        } else {
            said.warnings.push(own);
        }
    }
    for (member, ahead_ms) in &clocks.astray {
        said.warnings.push(format!(
            "clock: that of member `{member}` is {} the others'; tell them to {REMEDY}",
            differs(*ahead_ms)
        ));
    }
    said
}

/// `12.0 s ahead of`, or behind.
fn differs(ahead_ms: i64) -> String {
    let tenths = ahead_ms.unsigned_abs().saturating_add(50) / 100;
    let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
    format!("{}.{} s {side}", tenths / 10, tenths % 10)
}

/// What `hufu status` shows: by how many milliseconds this node's clock is ahead
/// of the median of all, and how each other member's differs from this node's.
pub fn shown(status: &OrderingStatus) -> Value {
    let members: serde_json::Map<String, Value> = status
        .members
        .iter()
        .filter_map(|member| Some((member.member.clone(), json!(member.clock?.ahead_ms))))
        .collect();
    json!({ "ahead_ms": status.clocks().own_ahead_ms, "members_ahead_of_this_ms": members })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(own_ahead_ms: i64, astray: &[(&str, i64)]) -> Clocks {
        let astray = astray.iter().map(|(name, ahead)| ((*name).to_owned(), *ahead)).collect();
        Clocks { own_ahead_ms, astray }
    }

    #[test]
    fn a_wrong_clock_is_said_with_its_difference_and_the_remedy() {
        assert_eq!(said(&clocks(300, &[])), Said::default());
        let own = said(&clocks(-12_004, &[]));
        assert!(own.warnings.is_empty());
        assert!(own.reasons[0].contains("this node's clock is 12.0 s behind the other members'"));
        assert!(own.reasons[0].contains("NTP"));
        let near = said(&clocks(1_249, &[]));
        assert!(near.reasons.is_empty());
        assert!(near.warnings[0].contains("1.2 s ahead of the other members'"), "{near:?}");
        let other = said(&clocks(0, &[("maker", 12_000)]));
        assert!(other.reasons.is_empty(), "this node does all it should");
        assert!(other.warnings[0].contains("member `maker` is 12.0 s ahead of the others'"));
    }
}
