//! A consortium of four members on one machine, from the real binaries.
//!
//! * [`consortium`] writes configurations, holds the ceremonies, founds,
//!   starts, kills and restarts nodes;
//! * [`process`] supervises what was started: nothing outlives us, whatever
//!   ends us;
//! * [`appliance`] is a machine that `hufu appliance run` owns, with a console;
//! * [`device`], [`est`], [`gateway`] are a production line and its devices in
//!   software: their keys belong to the simulation, not to the product;
//! * [`tpm_device`] is a device with a TPM of its own and the `hufu` agent;
//! * [`job`] is the main job in steps;
//! * [`story`] plays one row of industry each, with [`company`]s as members;
//! * [`inspect`] looks at the outcome with `openssl` and the ledger.
//!
//! It is a library of tests and the demonstration and contains no part of the
//! product: whatever it knows of Hufu beside the command line and the network
//! is the verifying crate, `hufu-proof`, and what a device must know that signs an
//! action by itself: how a contract writes its parameters, `hufu-contract`.

pub mod appliance;
pub mod binaries;
pub mod company;
pub mod consortium;
pub mod device;
pub mod est;
pub mod far;
pub mod gateway;
pub mod http;
pub mod inspect;
pub mod job;
pub mod member;
pub mod operators;
pub mod ports;
pub mod process;
pub mod readings;
pub mod story;
pub mod tpm_device;

pub use consortium::{Consortium, Settings};
pub use device::Device;
pub use gateway::Gateway;
pub use member::Member;
