//! `hufu prove`: what others can verify with the genesis file alone.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hufu_proof::{Digest, Name};

use super::examples;

/// `hufu prove`.
#[derive(Debug, Subcommand)]
pub enum Prove {
    /// Write an asset's state as of a height, or that there was no such asset, with
    /// the proof, for `hufu verify`. Who may read the asset may have it proved.
    #[command(after_help = examples::PROVE_STATE)]
    State(ProveState),
    /// Write a transaction's receipt, for `hufu verify`; or with --cose for verifiers
    /// that are not ours (RFC 9942): it says less, that this member vouches for the
    /// transaction's place in the log. Who may read the transaction may have it.
    #[command(after_help = examples::PROVE_RECEIPT)]
    Receipt(ProveReceipt),
    /// Print the keys with which other programs verify the founders' checkpoints of the
    /// log (c2sp.org/signed-note), from the genesis file. The log is at
    /// /v1/log of every member's gateway.
    #[command(after_help = examples::PROVE_LOG_KEYS)]
    LogKeys {
        /// The genesis file.
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
    },
}

/// `hufu prove receipt`.
#[derive(Debug, Args)]
pub struct ProveReceipt {
    /// The transaction's identifier.
    pub transaction: Digest,
    /// As a COSE receipt, signed with this member's statement key.
    #[arg(long)]
    pub cose: bool,
    /// With --cose: write the log entry there, which is what such a receipt is of; its
    /// verifier needs it.
    #[arg(long, value_name = "FILE", requires = "cose")]
    pub entry: Option<PathBuf>,
    /// Where to write it (PEM, or CBOR with --cose).
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `hufu prove state`.
#[derive(Debug, Args)]
pub struct ProveState {
    /// The contract.
    #[arg(long)]
    pub contract: Name,
    /// The type of the asset.
    #[arg(long, value_name = "TYPE")]
    pub asset_type: Name,
    /// The asset's key.
    #[arg(long)]
    pub asset: String,
    /// As of which height: the first at or after it that a final header commits to.
    /// Default: the newest that can be proved.
    #[arg(long, value_name = "HEIGHT")]
    pub as_of: Option<u64>,
    /// Where to write it (PEM).
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}
