//! The protocols over issuance: enrolment by EST, TPM attestation, and the
//! status services (revocation lists, OCSP), on axum routers.
//!
//! What it does: turns a request of a protocol into a call of
//! [`hufu_issuance::Issuance`] and the outcome into what the protocol answers.
//! Each protocol is a module that knows nothing of its neighbours; they share
//! [`ProtocolError`], bodies with a limit and the client's certificate.
//!
//! What it is not: it decides nothing (who may ask for what is issuance's) and
//! ends no TLS (whoever does puts a [`PeerCertificate`] into requests).
//!
//! Start reading at [`est`] and [`status`].

pub mod attestation;
mod cms;
mod crl;
pub mod est;
mod http;
pub mod ocsp;
mod problem;
pub mod status;

pub use crate::crl::CrlPublisher;
pub use crate::http::PeerCertificate;
pub use crate::problem::ProtocolError;
