//! One module a command.

pub mod init;
pub mod org;
