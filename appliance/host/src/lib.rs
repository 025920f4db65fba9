//! The process that owns a machine, `hufu appliance run` (docs/decisions/0009).
//!
//! What is in: setup, sealed PINs, firewall, addresses, updates, backup, restore
//! and reset of a machine, and the watch over the node that runs on it. What is
//! not: the node; this process holds no key of the member and never reads what
//! the industry sends. Begin at `machine`, which decides the machine's state.

mod addresses;
pub mod backup;
mod button;
mod code;
mod conditions;
mod configuration;
mod console;
mod disk;
mod endpoint;
mod extension;
mod firewall;
mod install;
mod keeper;
mod machine;
mod network;
mod options;
mod problem;
mod provision;
mod reset;
mod setup;
mod site;
mod socket;
mod spawn;
mod state;
mod time;
mod unit;
mod upgrade;
mod vault;
mod volume;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::site::Site;

pub use self::machine::run;
pub use self::options::{NodeManager, Options};
pub use self::vault::Seal;

/// Where the machine's state is under `root`.
pub fn state_file(root: &Path) -> PathBuf {
    Site::new(root, None).state_file()
}

/// Where the machine answers its node under `root`.
pub fn socket_path(root: &Path) -> PathBuf {
    Site::new(root, None).socket()
}

/// Waits until the release on trial is good.
///
/// # Errors
/// When it is not, `within` this time.
pub fn trial(root: &Path, within: Duration, steady: Duration) -> anyhow::Result<()> {
    let site = Site::new(root, None);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(upgrade::trial::run(&site, within, steady))
}

/// Checks or raises the floor.
///
/// # Errors
/// When the running release is below it, or the TPM does not answer.
pub fn floor(root: &Path, raise: bool) -> anyhow::Result<()> {
    let site = Site::new(root, None);
    if raise {
        upgrade::trial::bless(&site)?;
        let floor = upgrade::floor::raise(&site)?;
        tracing::info!(floor, "the floor");
        return Ok(());
    }
    upgrade::floor::check(&site)
}
