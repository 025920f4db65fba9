//! What it takes to speak to a node as a client: connections, TLS with a key in a
//! token or TPM, EST, transactions.
//!
//! What is in: what the command line, the device agent and tests share, the
//! journal of what a device sent among it. What is
//! not: anything that answers, or that prints. Begin at [`Client`].

pub mod device_key;
pub mod download;
pub mod est;
pub mod exchange;
pub mod member;
pub mod sent;
pub mod submission;
pub mod tls;

pub use self::exchange::{Answer, Client};
