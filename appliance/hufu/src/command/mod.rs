//! One module a command.

pub mod archive;
pub mod backup;
pub mod bench;
pub mod bench_ledger;
pub mod cert;
pub mod configuration;
pub mod device;
pub mod init;
pub mod install;
pub mod member;
pub mod node;
pub mod org;
pub mod part;
pub mod policy;
pub mod prove;
pub mod report;
pub mod reset;
pub mod restore;
pub mod setup;
pub mod store;
pub mod upgrade;
pub mod verify;
