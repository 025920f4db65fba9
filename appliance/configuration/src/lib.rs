//! What every part of the `hufu` program stands on: the one configuration file,
//! files, PINs, the token's keys by what they are for, and how the program ends.
//!
//! What is in: what reads or writes a file of an operator or a member, once.
//! What is not: anything that speaks to somebody else or runs. Begin at
//! [`config`].

pub mod archive;
pub mod bundle;
pub mod certificates;
pub mod config;
pub mod csr;
pub mod ending;
pub mod files;
pub mod join;
pub mod keyring;
pub mod pin;
pub mod retention;
pub mod store;
pub mod time;

pub use self::config::Config;
pub use self::ending::{Ending, Exit, locked, no, sentence, unavailable};
