//! A node whose data came from a backup.

use std::path::Path;

use hufu_proof::UnixMillis;

use crate::error::Error;

/// Keeps the validator whose consensus is in `directory`
/// ([`crate::Config::directory`]) from voting until the ledger has moved on from
/// `restored_ms`: what it signed before is not known any more. To be called before the node is started.
///
/// # Errors
/// When it cannot be recorded.
pub fn hold_votes(directory: &Path, restored_ms: UnixMillis) -> Result<(), Error> {
    hufu_consensus::guard::hold(&directory.join("guard"), restored_ms)
        .map_err(|error| Error::from(hufu_consensus::Error::from(error)))
}
