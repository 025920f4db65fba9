//! `[archive]`: where what is old goes before it leaves.

use std::path::PathBuf;

use serde::Deserialize;

/// The fewest heights in a partition: each is declared on the ledger.
pub const FEWEST: u64 = 256;

/// The most heights in a partition.
pub const MOST: u64 = 1_000_000;

/// Where partitions of the archive are, and how large they are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The folder of partitions. The node makes it.
    pub directory: PathBuf,
    /// How many heights are in a partition, [`FEWEST`] to [`MOST`]; a partition ends
    /// earlier when there is much in it.
    #[serde(default = "usual")]
    pub heights: u64,
}

fn usual() -> u64 {
    10_000
}

impl Archive {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.directory.is_absolute(),
            "archive.directory: write the whole path, from / on"
        );
        anyhow::ensure!(
            (FEWEST..=MOST).contains(&self.heights),
            "archive.heights: a partition has {FEWEST} to {MOST}"
        );
        Ok(())
    }
}
