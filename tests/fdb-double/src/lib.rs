//! A test double of FoundationDB: [`Cluster`] is what a test starts and
//! disturbs, and this crate's shared library is what the code under test opens
//! instead of `libfdb_c.so`. `README.md` says what is as in the real one and
//! what is not.

mod abi;
mod client;
mod cluster;
mod code;
mod engine;
mod wire;

pub use cluster::{Cluster, Counts, Fault, On, What};

/// The file name of this crate's shared library. Cargo puts it beside the test
/// programs of a crate that has this one among its dependencies.
pub const LIBRARY: &str = "libhufu_fdb_double.so";
