//! SQL from outside, in a process of its own.
//!
//! SQLite checks its own limits between steps, and a step can be long, and can
//! take what memory there is. So what somebody outside wrote runs in a process
//! that has limits of the operating system, opens the read model read-only, has
//! no key, no network connection and no descriptor of the node, and is killed
//! when its time is over or nobody waits for it any more.
//!
//! Rules it keeps:
//! - At most so many at once ([`Workers`]); a place is held until the process has
//!   *ended*, whoever waits.
//! - What is over a limit of the machine is refused
//!   ([`hufu_readmodel::Problem::is_of_this_machine`]) and never answered in
//!   another way: a report is the same on every node or is not there.
//! - Nothing that comes from the process is believed beyond its form: its messages
//!   are bounded and parsed like any others.
//!
//! It does *not* decide what a query may do: that is `hufu-readmodel`, on both
//! sides.
//!
//! Where to start reading: [`workers`] is the node's side, [`child`] the process,
//! [`session`] what they say to each other.

pub mod bounds;
mod channel;
pub mod child;
pub mod session;
pub mod workers;

pub use bounds::Bounds;
pub use session::{AsOf, Session};
pub use workers::{Hold, Leash, Place, Program, Worker, Workers, leash};
