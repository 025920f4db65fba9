//! Routes, and what is read from and written to HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hufu_contract::{ColumnDescription, spelling};
use hufu_proof::codec;
use hufu_proof::transaction::Look;
use hufu_proof::{Digest, IdentityId, Name, Receipt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{self, AskQuery, AskReport};
use crate::ledger::{Caller, LedgerFault, Recorded, StreamState};
use crate::metrics::RequestLabels;
use crate::problem::ApiProblem;
use crate::{Gateway, OPENAPI, submit};

/// Every route: method and path, as OpenAPI writes them.
pub const ROUTES: &[(&str, &str)] = &[
    ("get", "/openapi.json"),
    ("get", "/v1/status"),
    ("get", "/v1/blocks/{height}"),
    ("post", "/v1/transactions"),
    ("post", "/v1/transactions/bundle"),
    ("get", "/v1/transactions/{id}"),
    ("get", "/v1/receipts/{id}"),
    ("get", "/v1/contracts"),
    ("get", "/v1/contracts/{name}/{asset}/{key}"),
    ("get", "/v1/streams/{contract}/{stream}"),
    ("post", "/v1/query"),
    ("post", "/v1/reports"),
];

pub(crate) type Shared = State<Arc<Gateway>>;
pub(crate) type Answered = Result<Response, ApiProblem>;

/// The router.
pub fn router(gateway: Arc<Gateway>) -> Router {
    let mut router = Router::new();
    for (method, path) in ROUTES {
        router = router.route(path, handler(method, path));
    }
    router
        .fallback(async || ApiProblem::new("not-found", "there is no such path; see /openapi.json"))
        .method_not_allowed_fallback(async || {
            ApiProblem::new("method", "this path has other methods; see /openapi.json")
        })
        .layer(from_fn_with_state(Arc::clone(&gateway), watch))
        .with_state(gateway)
}

fn handler(method: &str, path: &str) -> MethodRouter<Arc<Gateway>> {
    match (method, path) {
        ("get", "/openapi.json") => get(openapi),
        ("get", "/v1/status") => get(status),
        ("get", "/v1/blocks/{height}") => get(block),
        ("post", "/v1/transactions") => post(submit::one),
        ("post", "/v1/transactions/bundle") => post(submit::bundle),
        ("get", "/v1/transactions/{id}") => get(transaction),
        ("get", "/v1/receipts/{id}") => get(receipt),
        ("get", "/v1/contracts") => get(contracts),
        ("get", "/v1/contracts/{name}/{asset}/{key}") => get(asset),
        ("get", "/v1/streams/{contract}/{stream}") => get(stream),
        ("post", "/v1/query") => post(query),
        ("post", "/v1/reports") => post(report),
        // The test of routes meets every row of the table.
        _ => MethodRouter::new(),
    }
}

/// Refuses who is anonymous or was not accepted, and counts.
async fn watch(State(gateway): Shared, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let public = matched.as_deref() == Some("/openapi.json");
    let refused = request.extensions().get::<ApiProblem>().filter(|_| !public).cloned();
    let response = if let Some(problem) = refused {
        problem.into_response()
    } else if public || request.extensions().get::<Caller>().is_some() {
        next.run(request).await
    } else {
        ApiProblem::new("anonymous", "connect with a client certificate of a member")
            .into_response()
    };
    let labels = RequestLabels {
        route: matched.unwrap_or_else(|| "other".into()),
        status: response.status().as_u16(),
    };
    gateway.metrics.requests.get_or_create(&labels).inc();
    response
}

/// Runs what may block.
pub(crate) async fn blocking<T: Send + 'static>(
    gateway: &Arc<Gateway>,
    work: impl FnOnce(&Gateway) -> Result<T, ApiProblem> + Send + 'static,
) -> Result<T, ApiProblem> {
    let gateway = Arc::clone(gateway);
    tokio::task::spawn_blocking(move || work(&gateway)).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request failed");
        Err(ApiProblem::new("internal", "the request failed; the log of this node says why"))
    })
}

pub(crate) fn json_response(status: StatusCode, value: &impl Serialize) -> Answered {
    let text = serde_json::to_string(value).map_err(|error| {
        tracing::error!(%error, "an answer is not JSON");
        ApiProblem::new("internal", "the answer cannot be written")
    })?;
    let kind = HeaderValue::from_static("application/json");
    Ok((status, [(header::CONTENT_TYPE, kind)], text).into_response())
}

pub(crate) fn malformed(detail: impl Into<String>) -> ApiProblem {
    ApiProblem::new("request-malformed", detail)
}

/// The whole body, at most `limit` bytes.
pub(crate) async fn body(body: Body, limit: usize) -> Result<Bytes, ApiProblem> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ApiProblem::new("request-too-large", format!("at most {limit} bytes are accepted")))
        }
        Err(_) => Err(malformed("the body ends early")),
    }
}

pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or_default().trim()
}

pub(crate) async fn json_body<T: DeserializeOwned>(
    headers: &HeaderMap,
    from: Body,
    limit: usize,
) -> Result<T, ApiProblem> {
    if !media_type(headers).eq_ignore_ascii_case("application/json") {
        return Err(ApiProblem::new("media-type", "send application/json"));
    }
    let bytes = body(from, limit).await?;
    serde_json::from_slice(&bytes).map_err(|error| malformed(format!("the body: {error}")))
}

fn digest(text: &str) -> Result<Digest, ApiProblem> {
    text.parse().map_err(|error| malformed(format!("id: {error}")))
}

fn name(field: &str, text: &str) -> Result<Name, ApiProblem> {
    Name::new(text).map_err(|error| malformed(format!("{field}: {error}")))
}

fn caller(request: &axum::http::Extensions) -> Result<Caller, ApiProblem> {
    request.get::<Caller>().cloned().ok_or_else(|| {
        ApiProblem::new("anonymous", "connect with a client certificate of a member")
    })
}

fn regulator(caller: &Caller) -> Result<(), ApiProblem> {
    if caller.is_regulator() {
        return Ok(());
    }
    let detail = format!("member `{}` is not a regulator of this consortium", caller.member);
    Err(ApiProblem::new("not-a-regulator", detail))
}

async fn openapi() -> Answered {
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind)], OPENAPI).into_response())
}

async fn status(State(gateway): Shared) -> Answered {
    let found = blocking(&gateway, |gateway| {
        let applied = gateway.reader.applied()?;
        Ok((gateway.ledger.status()?, applied))
    })
    .await?;
    let (ledger, applied) = found;
    json_response(
        StatusCode::OK,
        &json!({
            "consortium": gateway.genesis.consortium,
            "genesis": gateway.genesis.digest(),
            "member": gateway.member,
            "read_model_height": applied.map(|(height, _)| height),
            "ledger": ledger,
        }),
    )
}

async fn block(State(gateway): Shared, Path(height): Path<String>) -> Answered {
    let height: u64 =
        height.parse().map_err(|_| malformed("height: a whole number without sign"))?;
    let found = blocking(&gateway, move |gateway| Ok(gateway.ledger.block(height)?)).await?;
    json_response(StatusCode::OK, &found)
}

/// Content is for regulators and for the member whose transaction it is.
fn may_see(caller: &Caller, recorded: &Recorded) -> bool {
    caller.is_regulator() || recorded.member.as_ref() == Some(&caller.member)
}

async fn transaction(State(gateway): Shared, Path(id): Path<String>, request: Request) -> Answered {
    let (id, caller) = (digest(&id)?, caller(request.extensions())?);
    let found = blocking(&gateway, move |gateway| Ok(gateway.ledger.transaction(&id)?)).await?;
    let content = may_see(&caller, &found).then_some(&found.transaction);
    json_response(
        StatusCode::OK,
        &json!({
            "id": id,
            "entry": found.entry,
            "log_index": found.log_index,
            "member": found.member,
            "transaction": content,
        }),
    )
}

async fn receipt(State(gateway): Shared, Path(id): Path<String>, request: Request) -> Answered {
    let (id, caller) = (digest(&id)?, caller(request.extensions())?);
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let binary = accept.is_some_and(|accept| accept.contains("application/octet-stream"));
    let bytes = blocking(&gateway, move |gateway| {
        let recorded = gateway.ledger.transaction(&id)?;
        if !may_see(&caller, &recorded) {
            let detail = "a receipt holds the transaction; it is for its sender and regulators";
            return Err(ApiProblem::new("not-permitted", detail));
        }
        Ok(codec::encode(&gateway.ledger.receipt(&id)?))
    })
    .await?;
    if binary {
        let kind = HeaderValue::from_static("application/octet-stream");
        return Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response());
    }
    let text = pem_rfc7468::encode_string(Receipt::PEM_LABEL, pem_rfc7468::LineEnding::LF, &bytes)
        .map_err(|error| {
            tracing::error!(%error, "a receipt does not encode");
            ApiProblem::new("internal", "the receipt cannot be written")
        })?;
    let kind = HeaderValue::from_static("application/x-pem-file");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

async fn contracts(State(gateway): Shared) -> Answered {
    let found = blocking(&gateway, answer::contracts).await?;
    json_response(StatusCode::OK, &found)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AsOfQuery {
    as_of: Option<u64>,
}

async fn asset(
    State(gateway): Shared,
    Path((contract, asset_type, key)): Path<(String, String, String)>,
    query: Result<Query<AsOfQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Answered {
    let caller = caller(request.extensions())?;
    let Query(query) =
        query.map_err(|_| malformed("as_of: a height, and no other query parameter"))?;
    let (contract, asset_type) = (name("name", &contract)?, name("asset", &asset_type)?);
    // As whoever made the asset spelt it, whatever keyboard this one is from.
    let key = spelling::normal(&key).into_owned();
    spelling::check(&key, hufu_proof::Value::MAX_ID)
        .map_err(|reason| malformed(format!("key: {reason}")))?;
    let found = blocking(&gateway, move |gateway| {
        let as_of = match query.as_of {
            Some(height) => height,
            None => gateway.ledger.status()?.height,
        };
        let view = gateway.ledger.read_asset(&caller, &contract, &asset_type, &key, as_of)?;
        Ok(json!({
            "contract": contract,
            "asset": asset_type,
            "key": key,
            "as_of": as_of,
            "state": view.state,
            "fields": view.fields,
        }))
    })
    .await?;
    json_response(StatusCode::OK, &found)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamQuery {
    identity: Option<String>,
}

/// What a signer must know to append to a stream.
async fn stream(
    State(gateway): Shared,
    Path((contract, stream)): Path<(String, String)>,
    query: Result<Query<StreamQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Answered {
    let caller = caller(request.extensions())?;
    let Query(query) =
        query.map_err(|_| malformed("identity: a signer's, and no other query parameter"))?;
    let (contract, stream) = (name("contract", &contract)?, name("stream", &stream)?);
    let identity: IdentityId = match (query.identity, caller.identity) {
        (Some(text), _) => text.parse().map_err(|error| malformed(format!("identity: {error}")))?,
        (None, Some(own)) => own,
        (None, None) => {
            return Err(malformed("identity: say whose; the client's key is not on the ledger"));
        }
    };
    let found = blocking(&gateway, move |gateway| {
        let StreamState { contract: active, sequence } =
            gateway.ledger.stream(&contract, &stream, &identity)?;
        let declared = active
            .stream(stream.as_str())
            .ok_or(LedgerFault::NotFound("stream of the contract"))?;
        let columns: Vec<ColumnDescription> =
            declared.columns.iter().map(|(name, ty)| ColumnDescription::new(name, ty)).collect();
        Ok(json!({
            "contract": contract,
            "stream": stream,
            "identity": identity,
            "columns": columns,
            "max_rows": declared.max_rows,
            "sequence": sequence,
        }))
    })
    .await?;
    json_response(StatusCode::OK, &found)
}

async fn query(State(gateway): Shared, request: Request) -> Answered {
    let caller = caller(request.extensions())?;
    regulator(&caller)?;
    let (parts, from) = request.into_parts();
    let asked: AskQuery = json_body(&parts.headers, from, gateway.limits.body).await?;
    let turn = turn(&gateway)?;
    let about = Arc::new((caller, asked));
    let shared = Arc::clone(&about);
    let mut found =
        blocking(&gateway, move |gateway| answer::query(gateway, &shared.0, &shared.1)).await?;
    drop(turn);
    let look = Look {
        subject: answer::query_subject(&about.0, &about.1),
        height: found.height,
        answer: found.digest()?,
    };
    found.look = Some(record(&gateway, look).await?);
    json_response(StatusCode::OK, &found)
}

async fn report(State(gateway): Shared, request: Request) -> Answered {
    let caller = caller(request.extensions())?;
    regulator(&caller)?;
    let (parts, from) = request.into_parts();
    let asked: AskReport = json_body(&parts.headers, from, gateway.limits.body).await?;
    let turn = turn(&gateway)?;
    let about = Arc::new((caller, asked));
    let shared = Arc::clone(&about);
    let made =
        blocking(&gateway, move |gateway| answer::report(gateway, &shared.0, &shared.1)).await?;
    drop(turn);
    let (caller, asked) = (&about.0, &about.1);
    let look = Look {
        subject: answer::report_subject(caller, &made),
        height: made.report.as_of.height,
        answer: made.body,
    };
    let look = record(&gateway, look).await?;
    let (format, findings) = (asked.format, made.report.counts.findings);
    let (height, body) = (made.report.as_of.height, made.body);
    let name = format!("{}-{height}.{}", made.report.control_set.name, format.ending());
    let file = blocking(&gateway, move |gateway| answer::seal(gateway, made)).await?;
    gateway.metrics.reports.inc();
    gateway.metrics.findings.inc_by(findings);
    let mut response = file.into_response();
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, format.media_type()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
    ];
    for (header, value) in fixed {
        headers.insert(header, HeaderValue::from_static(value));
    }
    let told = [
        ("content-disposition", format!("inline; filename=\"{name}\"")),
        ("hufu-look", look.to_string()),
        ("hufu-body-digest", body.to_string()),
    ];
    for (header, value) in told {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(header, value);
        }
    }
    Ok(response)
}

fn turn(gateway: &Gateway) -> Result<tokio::sync::OwnedSemaphorePermit, ApiProblem> {
    Arc::clone(&gateway.turns).try_acquire_owned().map_err(|_| {
        ApiProblem::new("busy", "as many queries as may run at once are running")
            .retry_after(Duration::from_secs(1))
    })
}

/// Records a look, before what was seen is given out.
async fn record(gateway: &Gateway, look: Look) -> Result<Digest, ApiProblem> {
    let waited = tokio::time::timeout(gateway.limits.patience, gateway.ledger.record_look(look));
    match waited.await.unwrap_or(Err(LedgerFault::Pending)) {
        Ok(id) => {
            gateway.metrics.looks.inc();
            Ok(id)
        }
        Err(fault) => {
            tracing::warn!(%fault, "a look could not be recorded, so it was not answered");
            Err(ApiProblem::new(
                "unavailable",
                format!("the look could not be recorded on the ledger: {fault}"),
            )
            .retry_after(Duration::from_secs(5)))
        }
    }
}

/// The description as data, for tests and tools.
pub fn openapi_document() -> Option<Value> {
    serde_json::from_str(OPENAPI).ok()
}
