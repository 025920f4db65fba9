//! What a request holds while it is at work: a place of its member's quota, a
//! place of its enrolment token, its attestation. Given back when dropped;
//! kept when a row in the store speaks for it.

use crate::attested::TakenAttestation;
use crate::quota::QuotaPlace;
use crate::tokens::TokenPlace;

/// All that one request holds.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) quota: QuotaPlace,
    pub(crate) token: Option<TokenPlace>,
    pub(crate) attestation: Option<TakenAttestation>,
}

impl Reservation {
    /// The row stays: what was held is used.
    pub(crate) fn keep(self) {
        self.quota.keep();
        if let Some(attestation) = self.attestation {
            attestation.keep();
        }
        // Of the token, the store counts what is in it.
        drop(self.token);
    }
}
