//! A member's ledger: takes transactions in, makes and judges blocks, executes
//! the final ones, answers with receipts.
//!
//! ```text
//! submit ─► admission ─► mempool ─► propose ─► votes ─► final ─► execute ─► answer
//!               ▲  │                  ▲                              │
//!     gossip ───┘  └──► gossip        └── verify (other leaders)     └─► commitment in
//!                                                                        a later header
//! ```
//!
//! It is *not* consensus (`hufu-consensus`) and not the rules
//! (`hufu-machine`): it joins the two. [`start`] runs a node over TCP;
//! [`Ledger`] is how everything else uses it.
//!
//! Rules it keeps:
//! - A sender is answered only when its transaction is final, executed and on
//!   this node's disk.
//! - A signature is verified once: at admission, or with the block that brings
//!   it.
//! - What is in a block is charged to somebody known: what is signed by a key
//!   that the ledger does not know, or that may not sign, is not taken in, and a
//!   block with it is not voted for ([`hufu_machine::accounts`]).
//! - What waits is bounded ([`mempool`]); a full node says `Busy`.

mod builder;
mod early;
mod error;
mod follow;
mod ledger;
pub mod mempool;
mod restored;
mod run;
mod shared;
#[cfg(all(test, hufu_simulation))]
mod simulation;
mod verified;

pub use builder::{Builder, Limits};
pub use error::{Error, Spent};
pub use follow::{Following, follow};
pub use hufu_consensus::{Participation, PeerAddress, Status as OrderingStatus, clock};
pub use ledger::{Followed, Ledger, NodeStatus, Today};
pub use restored::hold_votes;
pub use run::{Config, Running, start};
pub use shared::{Admission, Committed, Shared};
