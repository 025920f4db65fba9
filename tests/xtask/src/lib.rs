//! What `cargo xtask` and the programs that it runs share: commands that are
//! shown before they run, and the Debian packages that they need.

pub mod command;
pub mod packages;
