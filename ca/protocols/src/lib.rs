//! The protocols over issuance: enrolment by EST, TPM attestation, and the
//! status services (revocation lists, OCSP), as parts of doors.
//!
//! What it does: turns a request of a protocol into a call of
//! [`hufu_issuance::Issuance`] and the outcome into what the protocol answers.
//! Each protocol is a module with a list of its routes that knows nothing of its
//! neighbours.
//!
//! What it is not: it decides nothing (who may ask for what is issuance's), finds
//! out nobody ([`hufu_door`] does, and says so in a request's extensions) and
//! bounds no connection.
//!
//! Start reading at [`est`] and [`status`].

pub mod attestation;
mod caller;
mod cms;
mod crl;
pub mod est;
pub mod ocsp;
mod problem;
pub mod status;

pub use crate::crl::CrlPublisher;
pub use crate::problem::problem;

use ::http::header::{self, HeaderValue};
use axum::body::{Body, Bytes};
use axum::response::Response;

/// A response with a body of one type.
fn respond(content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
