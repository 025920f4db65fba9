//! Ordering: the members agree on one sequence of blocks.
//!
//! The protocol is simplex from [commonware](https://commonware.xyz), with its
//! marshal for delivery and its authenticated peer-to-peer network; only parts
//! whose wire and storage formats are promised to be stable are compiled. No
//! type of theirs appears to the rest of the system but the runtime's context:
//! the ledger implements [`Application`], the appliance gives a
//! [`hufu_proof::Signer`], and [`start`] joins them.
//!
//! What is promised, with up to `f = (n - 1) / 3` of `n` validators faulty in
//! any way:
//! - **No fork.** No two honest nodes apply different blocks at one height.
//! - **Progress** while messages arrive within [`Timing`]; with more than `f`
//!   away the chain stands still, and goes on by itself when they return.
//! - **Durability.** A block is final only when a quorum has it on disk.
//! - **Evidence.** A validator that contradicts itself is named ([`Evidence`]).
//!   Its own node does not let it happen by accident ([`guard`]).
//! - **Proof.** Every final block can be proved to a stranger who has only the
//!   genesis ([`hufu_proof::FinalityCertificate`]).
//!
//! It is *not* a mempool, a state machine or a clock, and does not look into
//! blocks beyond their links.
//!
//! The validators change with the epoch; each has an engine of its own
//! (`epochs.rs`).
//!
//! Where to start reading: [`Application`], then `engine.rs`, then `driver.rs`.

mod application;
mod archives;
mod block;
pub mod clock;
mod config;
mod delivery;
mod driver;
mod engine;
mod environment;
mod epochs;
mod error;
mod evidence;
mod gossip;
pub mod guard;
mod keys;
mod listening;
mod network;
mod node;
mod scheme;
#[cfg(any(test, feature = "testing"))]
mod simulation;
mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use application::{
    Application, ApplicationFault, Evidence, Finalized, Offence, Proposal, Round,
};
pub use block::OrderedBlock;
pub use config::{Config, PastEpoch, Timing, Validator};
pub use engine::{Links, start};
pub use environment::Environment;
pub use error::Error;
pub use gossip::{Gossip, GossipReceiver, Recipient};
pub use keys::{Identity, PublicKey, Signature};
pub use network::{NetworkConfig, Peer, PeerAddress, start_tcp};
pub use node::{Node, Ordering};
pub use status::{Participation, Status, WentBack};

fn sha256(bytes: &[u8]) -> [u8; 32] {
    hufu_proof::Digest::of(bytes).0
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
