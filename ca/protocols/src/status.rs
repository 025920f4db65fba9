//! Public status services over plain HTTP: CRL, OCSP and the certificates of
//! the authorities. Plain, because a client that would check TLS first would
//! go in circles (RFC 5280 section 8); what is served is signed.
//!
//! | path | answer |
//! |---|---|
//! | `GET /crl/issuing.crl` | the issuing authority's list, DER |
//! | `GET /crl/root.crl` | the root's list, DER |
//! | `POST /ocsp` | OCSP answer |
//! | `GET /ocsp/{base64}` | OCSP answer (RFC 6960 appendix A.1, RFC 5019) |
//! | `GET /ca/issuing.cer`, `/ca/root.cer` | certificate, DER |

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ::http::StatusCode;
use ::http::header::{self, HeaderValue};
use axum::Router;
use axum::extract::{OriginalUri, Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use hufu_issuance::{CaError, FormError, Issuance, RevocationList, UnixTime, limits};

use crate::crl::CrlPublisher;
use crate::http::{self as web, Shared};
use crate::ocsp::{Answer, Responder, ResponseStatus, failure};
use crate::problem::ProtocolError;

const OCSP_REQUEST: &str = "application/ocsp-request";
const OCSP_RESPONSE: &str = "application/ocsp-response";

/// How long others may keep a CRL: short, so that a revocation shows soon.
const CRL_AGE: Duration = Duration::from_secs(60);
/// How long others may keep an OCSP answer.
const OCSP_AGE: Duration = Duration::from_secs(5);

/// The paths, for who asks at another.
const PATHS: &str =
    "status is at /crl/issuing.crl, /crl/root.crl, /ocsp, /ca/issuing.cer and /ca/root.cer";

/// The root's list as it is served. The root's key signs it where that key is;
/// whoever has it made puts it here.
pub type RootList = Arc<RwLock<Option<Arc<RevocationList>>>>;

struct Status {
    issuance: Issuance,
    crl: Arc<CrlPublisher>,
    root: RootList,
    ocsp: Arc<Responder>,
}

/// The status services.
pub fn router(
    issuance: Issuance,
    crl: Arc<CrlPublisher>,
    root: RootList,
    ocsp: Arc<Responder>,
) -> Router {
    let status = Arc::new(Status { issuance, crl, root, ocsp });
    Router::new()
        .route("/crl/issuing.crl", get(revocation_list))
        .route("/crl/root.crl", get(root_list))
        .route("/ocsp", post(ocsp_post))
        .route("/ocsp/{*request}", get(ocsp_get))
        .route("/ca/issuing.cer", get(issuing))
        .route("/ca/root.cer", get(root_certificate))
        .fallback(nothing)
        .method_not_allowed_fallback(method)
        .with_state(status)
}

async fn revocation_list(State(status): Shared<Status>) -> Response {
    match status.crl.current().await {
        Ok(list) => status.list(&list),
        Err(error) => {
            let error = error.into();
            web::log("crl", "anonymous", &error);
            web::problem(&error)
        }
    }
}

async fn root_list(State(status): Shared<Status>) -> Response {
    let list = status.root.read().unwrap_or_else(PoisonError::into_inner).clone();
    match list {
        Some(list) => status.list(&list),
        None => {
            let missing = "a revocation list of the root (`hufu cert root-list` makes one)";
            web::problem(&CaError::NotFound(missing.to_owned()).into())
        }
    }
}

async fn nothing(OriginalUri(uri): OriginalUri) -> Response {
    web::no_resource(uri.path(), PATHS)
}

async fn method(request: Request) -> Response {
    let method = request.method().to_string();
    let known = "lists and certificates are read (GET), /ocsp takes GET and POST";
    web::text(&ProtocolError::Method { method, known })
}

async fn ocsp_post(State(status): Shared<Status>, request: Request) -> Response {
    if let Err(error) = web::expect_type(request.headers(), OCSP_REQUEST) {
        return web::text(&error);
    }
    match web::body(request, "OCSP request", limits::OCSP_REQUEST).await {
        Ok(body) => ocsp(&status, &body, false).await,
        Err(error @ ProtocolError::Issuance(CaError::Form(FormError::TooLarge { .. }))) => {
            web::text(&error)
        }
        Err(_) => answer(failure(ResponseStatus::MalformedRequest)),
    }
}

/// The path is percent-decoded by the router; base64 may hold slashes. Some
/// clients write the URL-safe alphabet.
async fn ocsp_get(State(status): Shared<Status>, Path(path): Path<String>) -> Response {
    if path.len() > limits::OCSP_REQUEST * 4 / 3 + 4 {
        return answer(failure(ResponseStatus::MalformedRequest));
    }
    let text: String = path
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            // A proxy or client that took the path for a form.
            ' ' => '+',
            other => other,
        })
        .collect();
    let padding = "=".repeat((4 - text.len() % 4) % 4);
    match STANDARD.decode(format!("{text}{padding}")) {
        Ok(der) => ocsp(&status, &der, true).await,
        Err(_) => answer(failure(ResponseStatus::MalformedRequest)),
    }
}

async fn ocsp(status: &Status, der: &[u8], cacheable: bool) -> Response {
    let given = status.ocsp.respond(der).await;
    let window = given.cacheable.filter(|_| cacheable);
    let mut response = answer(given);
    if let Some((this_update, next_update)) = window {
        cache(&mut response, this_update, next_update, OCSP_AGE, status.now());
    }
    response
}

fn answer(answer: Answer) -> Response {
    let mut response = web::respond(OCSP_RESPONSE, answer.der);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.status_mut() = StatusCode::OK;
    response
}

async fn issuing(State(status): Shared<Status>) -> Response {
    web::respond("application/pkix-cert", status.issuance.issuer().certificate().der().to_vec())
}

async fn root_certificate(State(status): Shared<Status>) -> Response {
    web::respond("application/pkix-cert", status.issuance.issuer().root().der().to_vec())
}

impl Status {
    fn list(&self, list: &RevocationList) -> Response {
        let mut response = web::respond("application/pkix-crl", list.der.clone());
        cache(&mut response, list.this_update, list.next_update, CRL_AGE, self.now());
        response
    }

    fn now(&self) -> UnixTime {
        self.issuance.clock().now()
    }
}

fn cache(response: &mut Response, made: UnixTime, due: UnixTime, age: Duration, now: UnixTime) {
    let age = age.min(now.until(due)).as_secs();
    let headers = response.headers_mut();
    let mut insert = |name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    insert(header::CACHE_CONTROL, format!("public, max-age={age}, no-transform, must-revalidate"));
    insert(header::LAST_MODIFIED, made.to_http_date());
    insert(header::EXPIRES, due.to_http_date());
}
