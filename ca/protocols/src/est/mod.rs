//! Enrollment over Secure Transport (RFC 7030, corrected by RFC 8951), on an
//! axum router. TLS ends outside: the client's certificate comes as a
//! [`PeerCertificate`] in the request's extensions.
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
use axum::Router;
use axum::body::Body;
use axum::extract::{OriginalUri, Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hufu_issuance::{
    Authenticator, CaError, CertificationRequest, Issuance, Requester, armour, limits,
};

use crate::cms;
use crate::http::{self as web, PeerCertificate, Shared};
use crate::problem::ProtocolError;

/// The paths, for who asks at another.
const PATHS: &str = "EST answers at /.well-known/est/[PROFILE/] cacerts, csrattrs, simpleenroll and \
                     simplereenroll, with no slash at the end";

const PKCS10: &str = "application/pkcs10";
const CERTIFICATES: &str = "application/pkcs7-mime; smime-type=certs-only";

struct Est {
    issuance: Issuance,
    authenticator: Arc<Authenticator>,
    default_profile: String,
    certificates: String,
}

/// The EST service.
///
/// # Errors
/// There is no profile named `default_profile`.
pub fn router(
    issuance: Issuance,
    authenticator: Arc<Authenticator>,
    default_profile: &str,
) -> Result<Router, CaError> {
    issuance.profiles().named(default_profile)?;
    let issuer = issuance.issuer();
    let certificates =
        encode(&cms::certificates_only(&[issuer.certificate().der(), issuer.root().der()]));
    let est = Arc::new(Est {
        issuance,
        authenticator,
        default_profile: default_profile.to_owned(),
        certificates,
    });
    Ok(Router::new()
        .route("/.well-known/est/cacerts", get(authority))
        .route("/.well-known/est/{label}/cacerts", get(authority_labelled))
        .route("/.well-known/est/csrattrs", get(wishes))
        .route("/.well-known/est/{label}/csrattrs", get(wishes_labelled))
        .route("/.well-known/est/simpleenroll", post(enrol))
        .route("/.well-known/est/{label}/simpleenroll", post(enrol_labelled))
        .route("/.well-known/est/simplereenroll", post(renew))
        .route("/.well-known/est/{label}/simplereenroll", post(renew_labelled))
        .fallback(nothing)
        .method_not_allowed_fallback(method)
        .with_state(est))
}

async fn authority(State(est): Shared<Est>) -> Response {
    encoded(CERTIFICATES, est.certificates.clone())
}

async fn authority_labelled(State(est): Shared<Est>, Path(label): Path<String>) -> Response {
    match est.issuance.profiles().named(&label) {
        Ok(_) => encoded(CERTIFICATES, est.certificates.clone()),
        Err(error) => web::text(&error.into()),
    }
}

async fn nothing(OriginalUri(uri): OriginalUri) -> Response {
    web::no_resource(uri.path(), PATHS)
}

async fn method(request: Request) -> Response {
    let method = request.method().to_string();
    web::text(&ProtocolError::Method {
        method,
        known: "cacerts and csrattrs are read (GET), simpleenroll and simplereenroll take a request (POST)",
    })
}

async fn wishes(State(est): Shared<Est>) -> Response {
    est.attributes(&est.default_profile)
}

async fn wishes_labelled(State(est): Shared<Est>, Path(label): Path<String>) -> Response {
    est.attributes(&label)
}

async fn enrol(State(est): Shared<Est>, request: Request) -> Response {
    let profile = est.default_profile.clone();
    answer(est.enrol(&profile, request).await)
}

async fn enrol_labelled(
    State(est): Shared<Est>,
    Path(label): Path<String>,
    request: Request,
) -> Response {
    answer(est.enrol(&label, request).await)
}

async fn renew(State(est): Shared<Est>, request: Request) -> Response {
    answer(est.renew(None, request).await)
}

async fn renew_labelled(
    State(est): Shared<Est>,
    Path(label): Path<String>,
    request: Request,
) -> Response {
    answer(est.renew(Some(&label), request).await)
}

impl Est {
    fn attributes(&self, profile: &str) -> Response {
        match self.issuance.profiles().named(profile) {
            Ok(profile) => encoded("application/csrattrs", encode(&attributes::of(&profile))),
            Err(error) => web::text(&error.into()),
        }
    }

    async fn enrol(
        &self,
        profile: &str,
        request: Request<Body>,
    ) -> Result<Vec<u8>, (String, ProtocolError)> {
        let mut who = "anonymous".to_owned();
        let credential = Credential::of(&request);
        let result = async {
            self.issuance.profiles().named(profile)?;
            let requester = self.requester(credential).await?;
            who = requester.describe();
            let csr = read(request).await?;
            let issued = self.issuance.enrol(&csr, profile, &requester, None).await?;
            issued
                .certificate
                .clone()
                .ok_or_else(|| CaError::Internal("an issued row without a certificate").into())
        }
        .await;
        result.map_err(|error| (who, error))
    }

    async fn renew(
        &self,
        label: Option<&str>,
        request: Request<Body>,
    ) -> Result<Vec<u8>, (String, ProtocolError)> {
        let mut who = "anonymous".to_owned();
        let credential = Credential::of(&request);
        let result = async {
            let peer = credential.certificate.ok_or(CaError::Unauthenticated)?;
            let now = self.issuance.clock().now();
            let certificate = self.authenticator.certificate(&peer.0, now).await?;
            who = format!("certificate {}", certificate.serial());
            let csr = read(request).await?;
            let issued = self.issuance.renew(&csr, &certificate, label).await?;
            issued
                .certificate
                .clone()
                .ok_or_else(|| CaError::Internal("an issued row without a certificate").into())
        }
        .await;
        result.map_err(|error| (who, error))
    }

    /// A client certificate counts before a token, and a token where the
    /// certificate does not.
    async fn requester(&self, credential: Credential) -> Result<Requester, CaError> {
        let token = || {
            let authorization = credential.authorization.as_deref();
            let authorization = authorization.ok_or(CaError::Unauthenticated)?;
            self.issuance.tokens().authenticate(authorization).map(Requester::Token)
        };
        let Some(peer) = &credential.certificate else { return token() };
        let now = self.issuance.clock().now();
        match self.authenticator.requester(&peer.0, now).await {
            Err(error) if !error.is_ours() && credential.authorization.is_some() => {
                token().map_err(|_| error)
            }
            other => other,
        }
    }
}

/// What a request says about who sends it.
struct Credential {
    certificate: Option<PeerCertificate>,
    authorization: Option<String>,
}

impl Credential {
    fn of(request: &Request<Body>) -> Credential {
        Credential {
            certificate: web::peer(request),
            authorization: request
                .headers()
                .get(header::AUTHORIZATION)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
        }
    }
}

async fn read(request: Request<Body>) -> Result<CertificationRequest, ProtocolError> {
    web::expect_type(request.headers(), PKCS10)?;
    let body = web::body(request, "request body", limits::REQUEST_TEXT).await?;
    Ok(CertificationRequest::from_der(&armour::decode_request(&body)?)?)
}

fn answer(result: Result<Vec<u8>, (String, ProtocolError)>) -> Response {
    match result {
        Ok(certificate) => {
            let mut response =
                encoded(CERTIFICATES, encode(&cms::certificates_only(&[certificate])));
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err((who, error)) => {
            web::log("est", &who, &error);
            web::text(&error)
        }
    }
}

fn encoded(content_type: &'static str, body: String) -> Response {
    let mut response = web::respond(content_type, body);
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
