//! Routes, and what is read from and written to HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use hufu_contract::spelling;
use hufu_door::body::{Path, Query, json, whole_number};
use hufu_door::{Caller, Code, Form, Jurisdictions, Part, Peer, Route, Rule};
use hufu_proof::codec;
use hufu_proof::transaction::{IdentityKind, Look};
use hufu_proof::{Digest, Height, Name, Receipt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{self, AskQuery, AskReport};
use crate::ledger::{LedgerFault, Recorded};
use crate::metrics::RequestLabels;
use crate::problem::ApiProblem;
use crate::{Gateway, OPENAPI};

/// Every route for reading, as OpenAPI writes its path. What is sent has its own
/// part at the same door.
pub const ROUTES: &[Route] = &[
    Route::new("GET", "/openapi.json", Rule::Anyone),
    Route::new("GET", "/v1/status", Rule::Caller),
    Route::new("GET", "/v1/blocks/{height}", Rule::Caller),
    Route::new("GET", "/v1/transactions/{id}", Rule::Caller),
    Route::new("GET", "/v1/receipts/{id}", Rule::Caller),
    Route::new("GET", "/v1/contracts", Rule::Caller),
    Route::new("GET", "/v1/contracts/{name}/{asset}/{key}", Rule::Caller),
    Route::new("POST", "/v1/query", Rule::Regulator),
    Route::new("POST", "/v1/reports", Rule::Regulator),
];

type Shared = State<Arc<Gateway>>;
type Answered = Result<Response, ApiProblem>;

/// The router, with what else is served at this door.
pub fn router(gateway: Arc<Gateway>, others: Vec<Part>) -> Router {
    let own = Part::new(ROUTES, Form::Json, handler).with_state(Arc::clone(&gateway));
    let parts = std::iter::once(own).chain(others).collect();
    hufu_door::route::door(parts, Some(&gateway.member)).layer(from_fn_with_state(gateway, count))
}

fn handler(route: &Route) -> MethodRouter<Arc<Gateway>> {
    match (route.method, route.path) {
        ("GET", "/openapi.json") => get(openapi),
        ("GET", "/v1/status") => get(status),
        ("GET", "/v1/blocks/{height}") => get(block),
        ("GET", "/v1/transactions/{id}") => get(transaction),
        ("GET", "/v1/receipts/{id}") => get(receipt),
        ("GET", "/v1/contracts") => get(contracts),
        ("GET", "/v1/contracts/{name}/{asset}/{key}") => get(asset),
        ("POST", "/v1/query") => post(query),
        ("POST", "/v1/reports") => post(report),
        // Every test of this router meets every row.
        _ => MethodRouter::new(),
    }
}

/// Counts what is asked and how it ended.
async fn count(State(gateway): Shared, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    let labels = RequestLabels {
        route: matched.unwrap_or_else(|| "other".into()),
        status: response.status().as_u16(),
    };
    gateway.metrics.requests.get_or_create(&labels).inc();
    response
}

/// Runs what may block.
async fn blocking<T: Send + 'static>(
    gateway: &Arc<Gateway>,
    work: impl FnOnce(&Gateway) -> Result<T, ApiProblem> + Send + 'static,
) -> Result<T, ApiProblem> {
    let gateway = Arc::clone(gateway);
    tokio::task::spawn_blocking(move || work(&gateway)).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request failed");
        Err(ApiProblem::new(Code::Internal, "the request failed; the log of this node says why"))
    })
}

fn json_response(status: StatusCode, value: &impl Serialize) -> Answered {
    let text = serde_json::to_string(value).map_err(|error| {
        tracing::error!(%error, "an answer is not JSON");
        ApiProblem::new(Code::Internal, "the answer cannot be written")
    })?;
    let kind = HeaderValue::from_static("application/json");
    Ok((status, [(header::CONTENT_TYPE, kind)], text).into_response())
}

fn malformed(detail: impl Into<String>) -> ApiProblem {
    ApiProblem::new(Code::RequestMalformed, detail)
}

fn digest(text: &str) -> Result<Digest, ApiProblem> {
    text.parse().map_err(|error| malformed(format!("id: {error}")))
}

fn name(field: &str, text: &str) -> Result<Name, ApiProblem> {
    Name::new(text).map_err(|error| malformed(format!("{field}: {error}")))
}

fn caller(request: &axum::http::Extensions) -> Result<Arc<Caller>, ApiProblem> {
    let peer = request.get::<Peer>().cloned().unwrap_or_default();
    Ok(Arc::clone(peer.caller()?))
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
    let height = whole_number("height", &height)?;
    let found = blocking(&gateway, move |gateway| Ok(gateway.ledger.block(height)?)).await?;
    json_response(StatusCode::OK, &found)
}

/// Content is for regulators of the whole consortium and for the member whose
/// transaction it is; a device sees what it signed itself. Nothing says in which
/// jurisdiction a transaction is, so a regulator of some sees none.
fn may_see(caller: &Caller, recorded: &Recorded) -> bool {
    if caller.kind == IdentityKind::Device {
        return caller.identity == Some(recorded.transaction.body.signer.identity());
    }
    let whole = caller.is_regulator() && caller.jurisdictions == Jurisdictions::Whole;
    whole || recorded.member.as_ref() == Some(&caller.member)
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
            if caller.is_regulator() {
                let detail = "nothing says that the transaction is in one of your jurisdictions";
                return Err(ApiProblem::new(Code::OutsideJurisdiction, detail));
            }
            let detail = "a receipt holds the transaction; it is for its sender and regulators";
            return Err(ApiProblem::new(Code::NotPermitted, detail));
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
            ApiProblem::new(Code::Internal, "the receipt cannot be written")
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
    #[serde(default, deserialize_with = "hufu_door::body::whole")]
    as_of: Option<u64>,
}

async fn asset(
    State(gateway): Shared,
    Path((contract, asset_type, key)): Path<(String, String, String)>,
    Query(query): Query<AsOfQuery>,
    request: Request,
) -> Answered {
    let caller = caller(request.extensions())?;
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
        let place = view.fields.get("jurisdiction").and_then(Value::as_str);
        let within = caller.jurisdictions == Jurisdictions::Whole
            || place.is_some_and(|place| caller.jurisdictions.covers(place));
        if caller.is_regulator() && !within {
            let detail = format!("this asset is in no jurisdiction of member `{}`", caller.member);
            return Err(ApiProblem::new(Code::OutsideJurisdiction, detail));
        }
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

async fn query(State(gateway): Shared, request: Request) -> Answered {
    let caller = caller(request.extensions())?;
    let (parts, from) = request.into_parts();
    let asked: AskQuery = json(&parts.headers, from, gateway.limits.body).await?;
    let turn = turn(&gateway)?;
    let about = Arc::new((caller, asked));
    let shared = Arc::clone(&about);
    let mut found = blocking(&gateway, move |gateway| {
        let found = answer::query(gateway, &shared.0, &shared.1);
        // Not before the work has ended, whether anybody waits for it or not.
        drop(turn);
        found
    })
    .await?;
    let look = Look {
        subject: answer::query_subject(&about.0, &about.1),
        height: Height(found.height),
        answer: found.digest()?,
    };
    found.look = Some(record(&gateway, look).await?);
    json_response(StatusCode::OK, &found)
}

async fn report(State(gateway): Shared, request: Request) -> Answered {
    let caller = caller(request.extensions())?;
    let (parts, from) = request.into_parts();
    let asked: AskReport = json(&parts.headers, from, gateway.limits.body).await?;
    let turn = turn(&gateway)?;
    let about = Arc::new((caller, asked));
    let shared = Arc::clone(&about);
    let made = blocking(&gateway, move |gateway| {
        let made = answer::report(gateway, &shared.0, &shared.1);
        drop(turn);
        made
    })
    .await?;
    let (caller, asked) = (&about.0, &about.1);
    let look = Look {
        subject: answer::report_subject(caller, &made),
        height: Height(made.report.as_of.height),
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
        ApiProblem::new(Code::Busy, "as many queries as may run at once are running")
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
                Code::Unavailable,
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
