//! What every door to the network stands on.
//!
//! - [`problem`]: problem documents (RFC 9457) and the one table of their codes
//! - [`body`]: bodies and parameters, bounded, and refused in one form
//! - [`route`]: one list of routes per door, and who may use each
//! - [`tls`] and [`authenticate`]: the one way from a TLS session to a [`Caller`]
//! - [`certificate`]: what a door shows itself
//! - [`listen`] and [`budget`]: listeners, and how much of them one caller holds
//! - [`metrics`]: what they count
//!
//! It knows no ledger, no certification authority and no query: what it needs of
//! them comes in by [`authenticate::Records`].

pub mod authenticate;
pub mod body;
pub mod budget;
pub mod caller;
pub mod certificate;
mod connection;
pub mod listen;
pub mod metrics;
pub mod problem;
pub mod request;
pub mod route;
pub mod tls;

pub use authenticate::Authenticator;
pub use budget::Limits;
pub use caller::{Caller, Jurisdictions, Peer};
pub use hufu_proof::{Role, json};
pub use listen::{Door, Stop};
pub use metrics::Metrics;
pub use problem::{Code, Problem};
pub use route::{Form, Part, Route, Rule};
pub use tls::{Chains, Presented, Shown};
