//! What the HTTP services have in common: the client's certificate, bodies
//! with a limit, and how errors are told.

use std::sync::Arc;

use ::http::Request;
use ::http::header::{self, HeaderMap, HeaderValue};
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use hufu_issuance::FormError;

use crate::problem::ProtocolError;

/// The certificate that a TLS client presented and for which it proved the
/// key, DER. Whoever ends TLS puts it into the request's extensions; without
/// it a client is anonymous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate(pub Vec<u8>);

/// Most bytes of a refused body that are read and thrown away.
const LINGER: usize = 1024 * 1024;

/// Logs an error once, at the edge, with its chain of causes.
pub(crate) fn log(service: &'static str, who: &str, error: &ProtocolError) {
    let mut causes = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes.push_str(": ");
        causes.push_str(&cause.to_string());
        source = cause.source();
    }
    if error.is_ours() {
        tracing::error!(service, who, code = %error.code(), "{error}{causes}");
    } else {
        tracing::warn!(service, who, code = %error.code(), "refused: {error}{causes}");
    }
}

/// An error as plain text, for EST and OCSP.
pub(crate) fn text(error: &ProtocolError) -> Response {
    error.problem().into_text()
}

/// An error as a problem document.
pub(crate) fn problem(error: &ProtocolError) -> Response {
    error.problem().into_response()
}

/// The body, if it is not larger than `limit` bytes.
pub(crate) async fn body(
    request: Request<Body>,
    what: &'static str,
    limit: usize,
) -> Result<Bytes, ProtocolError> {
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > limit as u64) {
        drain(request.into_body()).await;
        return Err(FormError::TooLarge { what, limit }.into());
    }
    axum::body::to_bytes(request.into_body(), limit).await.map_err(|error| {
        let cause: &(dyn std::error::Error + 'static) = &error;
        let mut source = Some(cause);
        while let Some(error) = source {
            if error.is::<http_body_util::LengthLimitError>() {
                return FormError::TooLarge { what, limit }.into();
            }
            source = error.source();
        }
        FormError::malformed(what, "the body broke off").into()
    })
}

/// Reads on past a body that is too large, because a client that still sends
/// when the connection is closed does not get to read why.
async fn drain(mut body: Body) {
    let mut left = LINGER;
    while left > 0
        && let Some(Ok(frame)) = body.frame().await
    {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
    }
}

/// Checks the media type of a request; parameters do not matter.
pub(crate) fn expect_type(
    headers: &HeaderMap,
    expected: &'static str,
) -> Result<(), ProtocolError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Err(ProtocolError::ContentType { expected, given: "none".to_owned() });
    };
    let given = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let media = given.split(';').next().unwrap_or("").trim();
    if media == expected {
        return Ok(());
    }
    let given = media.chars().filter(|c| c.is_ascii_graphic()).take(80).collect();
    Err(ProtocolError::ContentType { expected, given })
}

/// What answers at a path where there is nothing.
pub(crate) fn no_resource(path: &str, known: &'static str) -> Response {
    let path = path.chars().filter(char::is_ascii_graphic).take(120).collect();
    text(&ProtocolError::NoResource { path, known })
}

/// The client's certificate.
pub(crate) fn peer(request: &Request<Body>) -> Option<PeerCertificate> {
    request.extensions().get::<PeerCertificate>().cloned()
}

/// A response with a body of one type.
pub(crate) fn respond(content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Shared state of a router.
pub(crate) type Shared<T> = axum::extract::State<Arc<T>>;
