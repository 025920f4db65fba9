//! Who asks, as issuance knows it: what the door found out ([`Peer`]), or an
//! enrolment token. Nothing is looked at twice.

use std::sync::Arc;

use ::http::Extensions;
use ::http::header::{self, HeaderMap};
use hufu_door::{Caller, Peer, Shown};
use hufu_issuance::{CaError, Certificate, Requester, Serial, Tokens};
use hufu_proof::transaction::IdentityKind;

use crate::problem::Refused;

/// What a client whose certificate does not count may do instead.
const INSTEAD: &str = "or leave it out and enrol with an enrolment token, or through the \
                       registration authority";

/// What a request says about who sends it.
pub(crate) struct Credential {
    peer: Peer,
    shown: Shown,
    authorization: Option<String>,
}

impl Credential {
    pub(crate) fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let authorization = headers.get(header::AUTHORIZATION);
        Self {
            peer: Peer::of(extensions),
            shown: extensions.get::<Shown>().cloned().unwrap_or(Shown::Nothing),
            authorization: authorization.and_then(|value| value.to_str().ok()).map(str::to_owned),
        }
    }

    /// For the log.
    pub(crate) fn describe(&self) -> String {
        self.peer.describe()
    }

    /// The caller.
    pub(crate) fn caller(&self) -> Result<&Arc<Caller>, Refused> {
        Ok(self.peer.caller()?)
    }

    /// The certificate that counts.
    pub(crate) fn certificate(&self) -> Result<Certificate, Refused> {
        self.caller()?;
        let Shown::Certificate(shown) = &self.shown else {
            return Err(CaError::Unauthenticated.into());
        };
        let wrong = |error: hufu_issuance::FormError| {
            Refused::from(CaError::ClientCertificate(error.to_string()))
        };
        Certificate::from_der(shown.der()).map_err(wrong)
    }

    /// Who asks for a certificate: a client certificate counts before a token,
    /// and a token where the certificate does not.
    pub(crate) fn requester(&self, tokens: &Tokens) -> Result<Requester, Refused> {
        let token = || {
            let authorization = self.authorization.as_deref().ok_or(CaError::Unauthenticated)?;
            tokens.authenticate(authorization).map(Requester::Token)
        };
        match &self.peer {
            Peer::Known(caller) if caller.kind == IdentityKind::Device => {
                Ok(Requester::Device { certificate: Arc::new(self.certificate()?) })
            }
            Peer::Known(caller) => Ok(Requester::Member {
                member: caller.member.to_string(),
                roles: caller.roles.iter().copied().collect(),
                serial: Serial::from_bytes(caller.serial.as_bytes())?,
            }),
            Peer::Refused(problem) => token().map_err(|_| match problem.is_temporary() {
                true => problem.clone().into(),
                false => problem.clone().advise(INSTEAD).into(),
            }),
            Peer::Anonymous | Peer::Local => Ok(token()?),
        }
    }
}
