//! `[retention]`: how much of the past a node keeps.

use serde::Deserialize;

/// The fewest heights that may be kept: what validators that restart or were cut
/// off for a while still ask for.
pub const FEWEST: u64 = 256;

/// How much of the past a node keeps. Without it, everything.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// How many of the last heights keep their transactions, and as of how many
    /// the state can be read and proved; at least [`FEWEST`]. What is older
    /// leaves this node.
    pub heights: u64,
}

impl Retention {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.heights >= FEWEST,
            "retention.heights: keep at least {FEWEST}, for validators that lag behind; they ask \
             nobody else"
        );
        Ok(())
    }
}
