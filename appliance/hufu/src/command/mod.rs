//! One module a command.

pub mod bench;
pub mod bench_ledger;
pub mod cert;
pub mod configuration;
pub mod device;
pub mod init;
pub mod install;
pub mod node;
pub mod org;
pub mod policy;
pub mod report;
pub mod setup;
pub mod upgrade;
pub mod verify;
