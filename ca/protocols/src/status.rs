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

use ::http::header::{self, HeaderValue};
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hufu_door::body::{expect_type, read};
use hufu_door::{Code, Form, Part, Route, Rule};
use hufu_issuance::{CaError, Issuance, RevocationList, UnixTime, limits};

use crate::crl::CrlPublisher;
use crate::ocsp::{Answer, Responder, ResponseStatus, failure};
use crate::problem::Refused;
use crate::respond;

/// Every route.
pub const ROUTES: &[Route] = &[
    Route::new("GET", "/crl/issuing.crl", Rule::Anyone),
    Route::new("GET", "/crl/root.crl", Rule::Anyone),
    Route::new("POST", "/ocsp", Rule::Anyone),
    Route::new("GET", "/ocsp/{*request}", Rule::Anyone),
    Route::new("GET", "/ca/issuing.cer", Rule::Anyone),
    Route::new("GET", "/ca/root.cer", Rule::Anyone),
];

const OCSP_REQUEST: &str = "application/ocsp-request";
const OCSP_RESPONSE: &str = "application/ocsp-response";

/// How long others may keep a CRL: short, so that a revocation shows soon.
const CRL_AGE: Duration = Duration::from_secs(60);
/// How long others may keep an OCSP answer.
const OCSP_AGE: Duration = Duration::from_secs(5);

/// The root's list as it is served. The root's key signs it where that key is;
/// whoever has it made puts it here.
pub type RootList = Arc<RwLock<Option<Arc<RevocationList>>>>;

struct Status {
    issuance: Issuance,
    crl: Arc<CrlPublisher>,
    root: RootList,
    ocsp: Arc<Responder>,
}

type Shared = State<Arc<Status>>;

/// The status services.
pub fn part(
    issuance: Issuance,
    crl: Arc<CrlPublisher>,
    root: RootList,
    ocsp: Arc<Responder>,
) -> Part {
    let status = Arc::new(Status { issuance, crl, root, ocsp });
    Part::new(ROUTES, Form::Text, handler).with_state(status)
}

fn handler(route: &Route) -> MethodRouter<Arc<Status>> {
    match route.path {
        "/crl/issuing.crl" => get(revocation_list),
        "/crl/root.crl" => get(root_list),
        "/ocsp" => post(ocsp_post),
        "/ocsp/{*request}" => get(ocsp_get),
        "/ca/issuing.cer" => get(issuing),
        "/ca/root.cer" => get(root_certificate),
        // Every test of this part meets every row.
        _ => MethodRouter::new(),
    }
}

async fn revocation_list(State(status): Shared) -> Response {
    match status.crl.current().await {
        Ok(list) => status.list(&list),
        Err(error) => refuse(error.into()),
    }
}

async fn root_list(State(status): Shared) -> Response {
    let list = status.root.read().unwrap_or_else(PoisonError::into_inner).clone();
    match list {
        Some(list) => status.list(&list),
        None => {
            let missing = "a revocation list of the root (`hufu cert root-list` makes one)";
            refuse(CaError::NotFound(missing.to_owned()).into())
        }
    }
}

fn refuse(refused: Refused) -> Response {
    Form::Text.refuse(refused.tell("status", "anonymous"))
}

async fn ocsp_post(State(status): Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(problem) = expect_type(&parts.headers, OCSP_REQUEST) {
        return refuse(problem.into());
    }
    match read(body, limits::OCSP_REQUEST).await {
        Ok(body) => ocsp(&status, &body, false).await,
        Err(problem) if problem.code() != Code::RequestMalformed => refuse(problem.into()),
        Err(_) => answer(failure(ResponseStatus::MalformedRequest)),
    }
}

/// The path is percent-decoded by the router; base64 may hold slashes. Some
/// clients write the URL-safe alphabet.
async fn ocsp_get(State(status): Shared, Path(path): Path<String>) -> Response {
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
    let mut response = respond(OCSP_RESPONSE, answer.der);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn issuing(State(status): Shared) -> Response {
    respond("application/pkix-cert", status.issuance.issuer().certificate().der().to_vec())
}

async fn root_certificate(State(status): Shared) -> Response {
    respond("application/pkix-cert", status.issuance.issuer().root().der().to_vec())
}

impl Status {
    fn list(&self, list: &RevocationList) -> Response {
        let mut response = respond("application/pkix-crl", list.der.clone());
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
