//! The ledger's deterministic state machine.
//!
//! Finalized blocks go in, one after another ([`Machine::execute`]); out come a
//! state root, the entries of a Merkle log that say what became of every
//! transaction, and events for read models; all of it is durable in a
//! [`hufu_store::Store`] before it is answered. Everything can then be read and
//! proved ([`Reader`]): state as of a height, receipts, state proofs.
//!
//! It is *not* consensus (blocks come finalized), not admission (what is worth
//! proposing is the node's to say), and knows nothing of X.509, HTTP or tokens.
//!
//! # Rules it keeps
//!
//! - The result is a function of the genesis file and the blocks. There is no
//!   clock but the block's time, no randomness, no float, no locale, and nothing
//!   depends on the order of a hash map or on threads.
//! - Every node computes the same bytes: what is staged in the store for a
//!   height follows from the block alone.
//! - A refused transaction changes nothing but the log.
//! - What is recorded is charged to a known identity and to its member
//!   ([`accounts`]).
//! - Which epoch a block is in follows from the headers and the state they
//!   commit to ([`epoch`]).
//! - What a member no longer keeps ([`Pruner`]) changes nothing of what it
//!   computes, and is not answered otherwise than before, but refused.
//! - Who begins with a snapshot ([`snapshot`]) computes what one does that began
//!   with the first block.
//! - What is wrong with a transaction is an [`hufu_proof::Outcome`]; what is
//!   wrong with the machine is a [`MachineError`], and stops it. A header that
//!   commits to another result than this machine's stops it too.
//!
//! # Where to start reading
//!
//! [`Machine`] executes a block; the `execute` module has the order of checks
//! and what a duplicate is; [`certificates`], [`proposals`], [`members`] and
//! [`standing`] have what no contract decides; [`key`] and [`record`] are the state; `tree` and `log` are what roots and paths are
//! made of.

pub mod accounts;
#[doc(hidden)]
pub mod bench;
pub mod certificates;
mod chain;
mod contracts;
mod declare;
mod encoded;
pub mod epoch;
mod error;
pub mod event;
mod execute;
mod follow;
mod form;
mod index;
mod intake;
mod kept;
pub mod key;
mod log;
mod machine;
pub mod members;
mod prefetch;
pub mod proposals;
mod prune;
mod reader;
pub mod record;
mod revoked;
mod rights;
mod seen;
pub mod signatures;
pub mod snapshot;
mod stale;
pub mod standing;
mod state;
mod told;
mod tree;

pub use accounts::{Account, Load, Over, Period, Tally, Whose};
pub use epoch::Epoch;
pub use error::MachineError;
pub use event::Event;
pub use execute::MAX_WRITTEN;
pub use follow::Follower;
pub use machine::{Executed, Machine, check_child};
pub use prune::{ALWAYS_KEPT, Pruner};
pub use reader::{Found, Reader, Replay};
pub use rights::Approved;
pub use state::View;
