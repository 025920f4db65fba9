//! A snapshot: all that a node needs to go on from a height without the blocks
//! before it, taken from other members a part at a time.
//!
//! # What it is made of
//!
//! | part | verified by |
//! |---|---|
//! | headers from genesis to the snapshot's | each is the parent of the next; the last one has a certificate |
//! | a certificate of finality in every 64 heights | the votes of its epoch's members |
//! | how epochs ended | the votes of the epochs before, from the genesis file on |
//! | the log | the log roots of the headers |
//! | the leaves of the state tree | the state root, subtree by subtree |
//! | the state | the leaf of each key |
//! | contract packages and proposals | their digests, which are in the state |
//! | the snapshot's own block | its header |
//! | where each transaction is, and what became of it | [so many](Snapshot::vouchers) members say the same |
//! | what accounts have used today | likewise |
//!
//! The last two are under no root: an index of identifiers, the outcome beside a leaf
//! of the log, and counters that change with every transaction. So many members as there must be an honest one
//! among have to say the same of each part, which is what consensus rests on, too.
//! A node that has all of it executes what comes after as one that has executed
//! everything; from its snapshot on it keeps everything
//! ([`Reader::kept_from`](crate::Reader::kept_from)), and of what is before it has
//! what a member has that let it go ([`crate::Pruner`]).
//!
//! What is not in it: bodies and events of blocks before, versions of the state
//! that were replaced, and what headers did not commit to.
//!
//! # Which height
//!
//! One that has a certificate of its own, that a later final header commits to, and
//! at which no change of members waits for its epoch: [`Offer`]. Whoever answers
//! questions about a height keeps it for a while ([`HELD`]).

mod leaves;
mod offer;
mod serve;
mod taking;
mod wire;

pub use crate::kept::{HELD, HELD_AT_MOST};
pub use offer::{NoOffer, Offer, Snapshot};
pub use taking::{Asked, Intake, Refusal, Taken};
pub use wire::{Answer, MAX_ANSWER, MAX_QUESTION, Of, Question};
