//! Public status services over plain HTTP: CRL, OCSP and the certificates of
//! the authorities. Plain, because a client that would check TLS first would
//! go in circles (RFC 5280 section 8); what is served is signed.
//!
//! | path | answer |
//! |---|---|
//! | `GET /crl/issuing.crl` | the CRL, DER |
//! | `POST /ocsp` | OCSP answer |
//! | `GET /ocsp/{base64}` | OCSP answer (RFC 6960 appendix A.1, RFC 5019) |
//! | `GET /ca/issuing.cer`, `/ca/root.cer` | certificate, DER |

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{self, HeaderValue};

use crate::crl::CrlPublisher;
use crate::error::CaError;
use crate::http::{self as web, Shared};
use crate::issuance::Issuance;
use crate::limits;
use crate::ocsp::{Answer, Responder, ResponseStatus, failure};
use crate::time::UnixTime;

const OCSP_REQUEST: &str = "application/ocsp-request";
const OCSP_RESPONSE: &str = "application/ocsp-response";

/// How long others may keep a CRL: short, so that a revocation shows soon.
const CRL_AGE: Duration = Duration::from_secs(60);
/// How long others may keep an OCSP answer.
const OCSP_AGE: Duration = Duration::from_secs(5);

struct Status {
    issuance: Issuance,
    crl: Arc<CrlPublisher>,
    ocsp: Arc<Responder>,
}

/// The status services.
pub fn router(issuance: Issuance, crl: Arc<CrlPublisher>, ocsp: Arc<Responder>) -> Router {
    let status = Arc::new(Status { issuance, crl, ocsp });
    Router::new()
        .route("/crl/issuing.crl", get(revocation_list))
        .route("/ocsp", post(ocsp_post))
        .route("/ocsp/{*request}", get(ocsp_get))
        .route("/ca/issuing.cer", get(issuing))
        .route("/ca/root.cer", get(root))
        .with_state(status)
}

async fn revocation_list(State(status): Shared<Status>) -> Response {
    match status.crl.current().await {
        Ok(crl) => {
            let mut response = web::respond("application/pkix-crl", crl.der.clone());
            cache(&mut response, crl.this_update, crl.next_update, CRL_AGE, status.now());
            response
        }
        Err(error) => {
            web::log("crl", "anonymous", &error);
            web::problem(&error)
        }
    }
}

async fn ocsp_post(State(status): Shared<Status>, request: Request) -> Response {
    if let Err(error) = web::expect_type(request.headers(), OCSP_REQUEST) {
        return web::text(&error);
    }
    match web::body(request, "OCSP request", limits::OCSP_REQUEST).await {
        Ok(body) => ocsp(&status, &body, false).await,
        Err(error @ CaError::TooLarge { .. }) => web::text(&error),
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

async fn root(State(status): Shared<Status>) -> Response {
    web::respond("application/pkix-cert", status.issuance.issuer().root().der().to_vec())
}

impl Status {
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
