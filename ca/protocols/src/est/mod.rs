//! Enrollment over Secure Transport (RFC 7030, corrected by RFC 8951). TLS ends
//! outside, and whose certificate a client has is found out before: both come in
//! the request's extensions ([`hufu_door::Shown`], [`hufu_door::Peer`]).
//!
//! | path | who | answer |
//! |---|---|---|
//! | `/.well-known/est/[LABEL/]cacerts` | anyone | issuing and root certificate |
//! | `/.well-known/est/[LABEL/]csrattrs` | anyone | what to put into the request |
//! | `/.well-known/est/[LABEL/]simpleenroll` | whom the profile allows | certificate |
//! | `/.well-known/est/[LABEL/]simplereenroll` | the holder of the certificate | its successor |
//!
//! A label names a profile; without one the profile is the configured default.
//! Enrolment authenticates by client certificate, or by HTTP Basic with an
//! [enrolment token](hufu_issuance::Tokens) (section 3.2.3); a certificate that does
//! not count (expired, revoked, of another authority) does not hinder a token that does.
//!
//! Not here: `/fullcmc` and `/serverkeygen` (a device's key is made in the
//! device), and linking of TLS and proof of possession (section 3.5): the
//! value it uses does not exist in TLS 1.3.

mod attributes;

use std::sync::Arc;

use ::http::header::{self, HeaderValue};
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hufu_door::body::{expect_type, read};
use hufu_door::{Form, Part, Route, Rule};
use hufu_issuance::{CaError, CertificationRequest, Issuance, Issued, armour, limits};

use crate::caller::Credential;
use crate::problem::Refused;
use crate::{cms, respond};

/// Every route.
pub const ROUTES: &[Route] = &[
    Route::new("GET", "/.well-known/est/cacerts", Rule::Anyone),
    Route::new("GET", "/.well-known/est/{label}/cacerts", Rule::Anyone),
    Route::new("GET", "/.well-known/est/csrattrs", Rule::Anyone),
    Route::new("GET", "/.well-known/est/{label}/csrattrs", Rule::Anyone),
    Route::new("POST", "/.well-known/est/simpleenroll", Rule::Credential),
    Route::new("POST", "/.well-known/est/{label}/simpleenroll", Rule::Credential),
    Route::new("POST", "/.well-known/est/simplereenroll", Rule::Caller),
    Route::new("POST", "/.well-known/est/{label}/simplereenroll", Rule::Caller),
];

const PKCS10: &str = "application/pkcs10";
const CERTIFICATES: &str = "application/pkcs7-mime; smime-type=certs-only";

struct Est {
    issuance: Issuance,
    default_profile: String,
}

type Shared = State<Arc<Est>>;

/// The profile that a path names.
type Label = Option<Path<String>>;

/// The EST service.
///
/// # Errors
/// There is no profile named `default_profile`.
pub fn part(issuance: Issuance, default_profile: &str) -> Result<Part, CaError> {
    issuance.profiles().named(default_profile)?;
    let default_profile = default_profile.to_owned();
    let est = Arc::new(Est { issuance, default_profile });
    Ok(Part::new(ROUTES, Form::Text, handler).with_state(est))
}

fn handler(route: &Route) -> MethodRouter<Arc<Est>> {
    match route.path.rsplit('/').next() {
        Some("cacerts") => get(authority),
        Some("csrattrs") => get(wishes),
        Some("simpleenroll") => post(enrol),
        Some("simplereenroll") => post(renew),
        // Every test of this part meets every row.
        _ => MethodRouter::new(),
    }
}

async fn authority(State(est): Shared, label: Label) -> Response {
    match est.issuance.profiles().named(est.profile(&label)) {
        Ok(_) => {
            let issuer = est.issuance.issuer();
            let issuing = issuer.certificate();
            let all = cms::certificates_only(&[issuing.der(), issuer.root().der()]);
            encoded(CERTIFICATES, encode(&all))
        }
        Err(error) => refuse("anonymous", error.into()),
    }
}

async fn wishes(State(est): Shared, label: Label) -> Response {
    match est.issuance.profiles().named(est.profile(&label)) {
        Ok(profile) => encoded("application/csrattrs", encode(&attributes::of(&profile))),
        Err(error) => refuse("anonymous", error.into()),
    }
}

async fn enrol(State(est): Shared, label: Label, request: Request) -> Response {
    let credential = Credential::of(request.headers(), request.extensions());
    let mut who = credential.describe();
    let issued = async {
        let profile = est.profile(&label);
        est.issuance.profiles().named(profile)?;
        let requester = credential.requester(est.issuance.tokens())?;
        who = requester.describe();
        let csr = certification(request).await?;
        Ok(est.issuance.enrol(&csr, profile, &requester, None).await?)
    };
    let issued = issued.await;
    answer(&who, issued)
}

async fn renew(State(est): Shared, label: Label, request: Request) -> Response {
    let credential = Credential::of(request.headers(), request.extensions());
    let issued = async {
        let certificate = credential.certificate()?;
        let csr = certification(request).await?;
        let label = label.as_ref().map(|Path(label)| label.as_str());
        Ok(est.issuance.renew(&csr, &certificate, label).await?)
    };
    let issued = issued.await;
    answer(&credential.describe(), issued)
}

impl Est {
    fn profile<'a>(&'a self, label: &'a Label) -> &'a str {
        label.as_ref().map_or(&self.default_profile, |Path(label)| label)
    }
}

async fn certification(request: Request) -> Result<CertificationRequest, Refused> {
    let (parts, body) = request.into_parts();
    expect_type(&parts.headers, PKCS10)?;
    let body = read(body, limits::REQUEST_TEXT).await?;
    Ok(CertificationRequest::from_der(&armour::decode_request(&body)?)?)
}

fn answer(who: &str, issued: Result<Arc<Issued>, Refused>) -> Response {
    let certificate = issued.and_then(|issued| {
        let certificate = issued.certificate.clone();
        certificate.ok_or_else(|| CaError::Internal("an issued row without a certificate").into())
    });
    match certificate {
        Ok(certificate) => {
            let mut response =
                encoded(CERTIFICATES, encode(&cms::certificates_only(&[certificate])));
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(refused) => refuse(who, refused),
    }
}

fn refuse(who: &str, refused: Refused) -> Response {
    Form::Text.refuse(refused.tell("est", who))
}

fn encoded(content_type: &'static str, body: String) -> Response {
    let mut response = respond(content_type, body);
    // RFC 8951 section 3.1 makes it meaningless; older clients look for it.
    response.headers_mut().insert(
        header::HeaderName::from_static("content-transfer-encoding"),
        HeaderValue::from_static("base64"),
    );
    response
}

/// `bytes` in base64, on one line: RFC 4648 section 3.1 has no line ends, and
/// strongSwan's decoder takes none.
fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
