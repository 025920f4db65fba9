//! What comes in with a request, bounded: bodies, media types, parameters.
//!
//! The extractors are axum's own, with refusals that are problem documents.

use std::collections::HashSet;

use axum::body::Body;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hufu_proof::Name;
use hufu_proof::json::{self, JsonError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::{Code, Problem};
use crate::request::TooSlow;

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        Self::malformed(format!("the body: {error}"))
    }
}

/// The whole body, at most `limit` bytes.
///
/// # Errors
/// `request-too-large`, `request-too-slow`, or `request-malformed` when it
/// breaks off.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Err(error) => Err(broken(&*error)),
    }
}

/// The problem of a body of more than `limit` bytes.
pub fn too_large(limit: usize) -> Problem {
    Problem::new(Code::RequestTooLarge, format!("at most {limit} bytes are accepted"))
        .with("limit", limit)
}

/// The problem of a body that did not come in whole.
pub fn broken(error: &(dyn std::error::Error + 'static)) -> Problem {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(slow) = error.downcast_ref::<TooSlow>() {
            return Problem::new(Code::RequestTooSlow, slow.to_string());
        }
        source = error.source();
    }
    Problem::malformed("the body ends early")
}

/// The media type, without parameters; empty when there is none.
pub fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or_default().trim()
}

/// Checks the media type; parameters do not matter.
///
/// # Errors
/// `media-type`, which says what to send.
pub fn expect_type(headers: &HeaderMap, wanted: &str) -> Result<(), Problem> {
    let given = media_type(headers);
    if given.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let given: String = given.chars().filter(char::is_ascii_graphic).take(80).collect();
    let instead = if given.is_empty() { String::new() } else { format!(", not {given}") };
    Err(Problem::new(Code::MediaType, format!("send Content-Type {wanted}{instead}")))
}

/// A body of JSON, read strictly ([`mod@hufu_proof::json`]).
///
/// # Errors
/// `media-type`, and as [`read`]; `request-malformed` names the place.
pub async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<T, Problem> {
    expect_type(headers, "application/json")?;
    Ok(json::from_slice(&read(body, limit).await?)?)
}

/// A body of JSON, as an extractor, read strictly; and a JSON answer. Bounded by
/// the route's [`axum::extract::DefaultBodyLimit`].
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        expect_type(request.headers(), "application/json")?;
        let Octets(bytes) = Octets::from_request(request, state).await?;
        Ok(Self(json::from_slice(&bytes)?))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A body of bytes, as an extractor. Bounded by the route's
/// [`axum::extract::DefaultBodyLimit`].
#[derive(Clone, Debug)]
pub struct Octets(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Octets {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = Bytes::from_request(request, state).await;
        read.map(Self).map_err(|error: BytesRejection| match Code::of_status(error.status()) {
            Code::RequestTooLarge => {
                Problem::new(Code::RequestTooLarge, "the body is larger than this route takes")
            }
            _ => broken(&error),
        })
    }
}

/// A body of text, as an extractor.
#[derive(Clone, Debug)]
pub struct Text(pub String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Octets(bytes) = Octets::from_request(request, state).await?;
        let text = String::from_utf8(bytes.to_vec());
        text.map(Self).map_err(|_| Problem::malformed("the body is not text in UTF-8"))
    }
}

/// The parts of the path that a route leaves open, as an extractor.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        read.map(|found| Self(found.0)).map_err(|error: PathRejection| {
            match Code::of_status(error.status()) {
                Code::Internal => Problem::internal("the path could not be read", &error),
                _ => Problem::malformed(format!("the path: {}", error.body_text())),
            }
        })
    }
}

/// The query parameters, as an extractor; one that stands twice is refused.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let wrong = |error: QueryRejection| {
            Problem::malformed(format!("the query parameters: {}", error.body_text()))
        };
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let mut seen = HashSet::new();
        for (name, _) in pairs.map_err(wrong)?.0 {
            if !seen.insert(name.clone()) {
                let name: String = name.chars().take(80).flat_map(char::escape_debug).collect();
                let detail = format!("the query parameters: `{name}` stands twice; send it once");
                return Err(Problem::malformed(detail));
            }
        }
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        read.map(|found| Self(found.0)).map_err(wrong)
    }
}

/// A name as text.
///
/// # Errors
/// `request-malformed`, naming `field`.
pub fn name(field: &str, text: &str) -> Result<Name, Problem> {
    Name::new(text).map_err(|error| Problem::malformed(format!("{field}: {error}")))
}

/// A whole number as text: digits without sign, and without zeros in front.
///
/// # Errors
/// `request-malformed`, naming `field`.
pub fn whole_number(field: &str, text: &str) -> Result<u64, Problem> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or_else(|| {
        Problem::malformed(format!("{field}: a whole number below 2^64, digits without sign"))
    })
}

/// A query parameter that is a whole number, for
/// `#[serde(default, deserialize_with)]`; as [`whole_number`].
///
/// # Errors
/// When it is none.
pub fn whole<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let text: Option<String> = serde::Deserialize::deserialize(from)?;
    let read = text.map(|text| whole_number("it must be", &text)).transpose();
    read.map_err(|problem| serde::de::Error::custom(problem.detail()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn numbers_in_parameters_are_as_strict() {
        #[derive(Debug, serde::Deserialize)]
        struct Asked {
            #[serde(default, deserialize_with = "whole")]
            as_of: Option<u64>,
        }
        let ask = async |query: &str| {
            let request = axum::http::Request::get(format!("/?{query}")).body(()).unwrap();
            let read = Query::<Asked>::from_request_parts(&mut request.into_parts().0, &()).await;
            read.map(|asked| asked.0.as_of)
        };
        assert_eq!(ask("as_of=7").await.unwrap(), Some(7));
        assert_eq!(ask("").await.unwrap(), None);
        for query in ["as_of=%2B7", "as_of=-7", "as_of=07", "as_of=", "as_of=7&as_of=8"] {
            let problem = ask(query).await.unwrap_err();
            assert_eq!(problem.code(), Code::RequestMalformed, "{query}");
            assert!(problem.detail().contains("as_of"), "{query}: {}", problem.detail());
        }
    }

    #[test]
    fn whole_numbers_are_digits_and_nothing_else() {
        assert_eq!(whole_number("height", "0").unwrap(), 0);
        assert_eq!(whole_number("height", "18446744073709551615").unwrap(), u64::MAX);
        for text in ["", "+1", "-1", " 1", "1 ", "01", "1.0", "0x1", "١", "18446744073709551616"] {
            let problem = whole_number("height", text).unwrap_err();
            assert!(problem.detail().contains("height"), "{text}");
        }
    }

    #[tokio::test]
    async fn bodies_are_bounded_and_strict() {
        let headers =
            |kind: &str| HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]);
        let ask = async |kind: &str, body: &str| {
            let body = Body::from(body.to_owned());
            json::<serde_json::Value>(&headers(kind), body, 16)
                .await
                .map_err(|problem| problem.code())
        };
        assert_eq!(ask("Application/JSON; charset=utf-8", "{\"a\":1}").await.unwrap()["a"], 1);
        assert_eq!(ask("text/plain", "{}").await, Err(Code::MediaType));
        assert_eq!(ask("application/json", "{\"a\":1,\"a\":1}").await, Err(Code::RequestMalformed));
        assert_eq!(ask("application/json", &" ".repeat(17)).await, Err(Code::RequestTooLarge));
    }
}
