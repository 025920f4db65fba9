//! Stories: each plays a row of industry on a consortium that runs, through the
//! members' own doors, with one thing that goes wrong and the report that shows it.
//!
//! A story is data, `stories/NAME.toml` ([`mod@file`]); its name is that of the package
//! whose row it plays. Companies act at their own nodes' gateways over mTLS, with an
//! administrator's certificate of their own; devices sign with their own keys; the
//! regulator reports with its own certificate ([`stage`], [`play`](mod@play)). What
//! is said of the outcome, of what others see and of findings is held to be so.

pub mod file;
pub mod names;
pub mod packages;
pub mod play;
pub mod report;
pub mod stage;
pub mod tell;

pub use file::{Language, Story};
pub use play::{Played, play};
pub use stage::Stage;
pub use tell::Teller;
