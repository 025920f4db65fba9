//! `hufu store`: where a member keeps its record.

use std::path::PathBuf;

use clap::Subcommand;

use super::examples;

/// `hufu store`.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Copy the record from the store of this configuration into the store of another
    /// one, and verify the copy. The node must be stopped. A copy that was interrupted
    /// goes on where it was; one that is there already is compared.
    #[command(after_help = examples::STORE_COPY)]
    Copy {
        /// The configuration to move to: this one with another `[store]`.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}
