//! Routes, and what is read from and written to HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use hufu_contract::spelling;
use hufu_door::body::{Path, Query, json, name, whole_number};
use hufu_door::{Caller, Code, Form, Jurisdictions, Part, Peer, Problem, Route, Rule};
use hufu_proof::note::Checkpoint;
use hufu_proof::tile::{NotATile, Tile};
use hufu_proof::transaction::Look;
use hufu_proof::{Digest, Height, Name, Receipt, StateProof};
use hufu_proof::{codec, cose};
use hufu_query::{Hold, Place};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{self, AskQuery, AskReport, Unanswered};
use crate::ledger::{AssetView, LedgerFault};
use crate::metrics::RequestLabels;
use crate::problem::ApiProblem;
use crate::sight::{Seen, Viewer};
use crate::tiles;
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
    Route::new("GET", "/v1/contracts/{name}/{asset}/{key}/proof", Rule::Caller),
    Route::new("GET", "/v1/log/checkpoint", Rule::Anyone),
    Route::new("GET", "/v1/log/tile/entries/{*tile}", Rule::Caller),
    Route::new("GET", "/v1/log/tile/{level}/{*tile}", Rule::Anyone),
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
        ("GET", "/v1/contracts/{name}/{asset}/{key}/proof") => get(asset_proof),
        ("GET", "/v1/log/checkpoint") => get(checkpoint),
        ("GET", "/v1/log/tile/entries/{*tile}") => get(log_entries),
        ("GET", "/v1/log/tile/{level}/{*tile}") => get(log_tile),
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
    let done = tokio::task::spawn_blocking(move || work(&gateway)).await;
    done.unwrap_or_else(|error| Err(failed(&error)))
}

fn failed(error: &tokio::task::JoinError) -> ApiProblem {
    tracing::error!(%error, "a request failed");
    ApiProblem::new(Code::Internal, "the request failed; the log of this node says why")
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
    Problem::malformed(detail).into()
}

fn digest(text: &str) -> Result<Digest, ApiProblem> {
    text.parse().map_err(|error| malformed(format!("id: {error}")))
}

fn caller(extensions: &axum::http::Extensions) -> Result<Arc<Caller>, ApiProblem> {
    Ok(Arc::clone(Peer::of(extensions).caller()?))
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

/// Records that something was seen by its identifier, where that was a look; the
/// answer names it in the header `hufu-look`.
async fn looked(
    gateway: &Gateway,
    caller: &Caller,
    seen: Seen,
    at: (String, Height),
    answer: impl FnOnce() -> Result<Digest, ApiProblem>,
) -> Result<Option<HeaderValue>, ApiProblem> {
    if seen != Seen::Supervised {
        return Ok(None);
    }
    let (what, height) = at;
    let subject = answer::look_subject(&what, &caller.subject, &caller.member);
    let look = record(gateway, Look { subject, height, answer: answer()? }).await?;
    Ok(HeaderValue::from_str(&look.to_string()).ok())
}

fn with_look(mut response: Response, look: Option<HeaderValue>) -> Response {
    if let Some(look) = look {
        response.headers_mut().insert("hufu-look", look);
    }
    response
}

async fn transaction(State(gateway): Shared, Path(id): Path<String>, request: Request) -> Answered {
    let (id, caller) = (digest(&id)?, caller(request.extensions())?);
    let found = blocking(&gateway, move |gateway| Ok(gateway.ledger.transaction(&id)?)).await?;
    let seen = Viewer::of(&caller).transaction(&found);
    let content = (seen != Seen::Withheld).then_some(&found.transaction);
    let shown = json!({
        "id": id,
        "entry": found.entry,
        "log_index": found.log_index,
        "member": found.member,
        "transaction": content,
    });
    let at = (format!("transaction {id}"), found.entry.height);
    let look = looked(&gateway, &caller, seen, at, || answer::digest(&shown)).await?;
    Ok(with_look(json_response(StatusCode::OK, &shown)?, look))
}

async fn receipt(State(gateway): Shared, Path(id): Path<String>, request: Request) -> Answered {
    let (id, caller) = (digest(&id)?, caller(request.extensions())?);
    let (binary, cose) = (wants_binary(&request), accepts(&request, COSE));
    let viewer = Viewer::of(&caller);
    let (bytes, seen, height) = blocking(&gateway, move |gateway| {
        let recorded = gateway.ledger.transaction(&id)?;
        let seen = viewer.transaction(&recorded);
        if seen == Seen::Withheld {
            if viewer.supervises != Jurisdictions::None {
                let detail = "nothing says that the transaction is in one of your jurisdictions";
                return Err(ApiProblem::new(Code::OutsideJurisdiction, detail));
            }
            let detail = "a receipt holds the transaction; it is for the sender, for the owner of \
                          the device that sent it, and for regulators";
            return Err(ApiProblem::new(Code::NotPermitted, detail));
        }
        let receipt = gateway.ledger.receipt(&id)?;
        let bytes = match cose {
            true => cose_receipt(gateway, &receipt)?,
            false => codec::encode(&receipt),
        };
        Ok((bytes, seen, recorded.entry.height))
    })
    .await?;
    let at = (format!("receipt {id}"), height);
    let look = looked(&gateway, &caller, seen, at, || Ok(Digest::of(&bytes))).await?;
    let file = match cose {
        true => ([(header::CONTENT_TYPE, HeaderValue::from_static(COSE))], bytes).into_response(),
        false => proof_file(Receipt::PEM_LABEL, bytes, binary)?,
    };
    Ok(with_look(file, look))
}

/// A receipt for verifiers that are not ours, signed by this member.
fn cose_receipt(gateway: &Gateway, receipt: &Receipt) -> Result<Vec<u8>, ApiProblem> {
    let (genesis, member, signer) = (&gateway.genesis, &gateway.member, &*gateway.signer);
    cose::receipt(receipt, genesis, member, signer).map_err(|error| {
        tracing::error!(%error, "a receipt could not be signed");
        token_silent()
    })
}

fn token_silent() -> ApiProblem {
    ApiProblem::new(Code::Unavailable, "the signing token does not answer")
        .retry_after(Duration::from_secs(5))
}

/// Media type of COSE messages (RFC 9052 §11.3.1).
const COSE: &str = "application/cose";

/// Whether the bytes themselves are asked for, and not PEM.
fn wants_binary(request: &Request) -> bool {
    accepts(request, "application/octet-stream")
}

fn accepts(request: &Request, kind: &str) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains(kind))
}

/// What verifies offline, as a file.
fn proof_file(label: &str, bytes: Vec<u8>, binary: bool) -> Answered {
    if binary {
        let kind = HeaderValue::from_static("application/octet-stream");
        return Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response());
    }
    let text = pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, &bytes);
    let text = text.map_err(|error| {
        tracing::error!(%error, label, "a file does not encode");
        ApiProblem::new(Code::Internal, "the file cannot be written")
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

/// Which asset is asked for: contract, type and key.
type AssetPath = Path<(String, String, String)>;

fn asset_named(
    (contract, asset_type, key): (String, String, String),
) -> Result<(Name, Name, String), ApiProblem> {
    let (contract, asset_type) = (name("name", &contract)?, name("asset", &asset_type)?);
    // As whoever made the asset spelt it, whatever keyboard this one is from.
    let key = spelling::normal(&key).into_owned();
    spelling::check(&key, hufu_proof::Value::MAX_ID)
        .map_err(|reason| malformed(format!("key: {reason}")))?;
    Ok((contract, asset_type, key))
}

/// How an asset stands to a caller whom the contract's policy lets read it.
fn asset_seen(caller: &Caller, view: &AssetView) -> Result<Seen, ApiProblem> {
    let seen = match caller.is_regulator() {
        true => Viewer::of(caller).belonging(&view.belongs),
        // The contract's policy has decided.
        false => Seen::Own,
    };
    if seen == Seen::Withheld {
        let detail = format!("this asset is in no jurisdiction of member `{}`", caller.member);
        return Err(ApiProblem::new(Code::OutsideJurisdiction, detail));
    }
    Ok(seen)
}

async fn asset(
    State(gateway): Shared,
    Path(path): AssetPath,
    Query(query): Query<AsOfQuery>,
    request: Request,
) -> Answered {
    let caller = caller(request.extensions())?;
    let (contract, asset_type, key) = asset_named(path)?;
    let at = format!("asset {contract}/{asset_type} {key}");
    let asks = Arc::clone(&caller);
    let (shown, seen, as_of) = blocking(&gateway, move |gateway| {
        let caller = asks;
        let as_of = match query.as_of {
            Some(height) => height,
            None => gateway.ledger.status()?.height,
        };
        let view = gateway.ledger.read_asset(&caller, &contract, &asset_type, &key, as_of)?;
        let seen = asset_seen(&caller, &view)?;
        let shown = json!({
            "contract": contract,
            "asset": asset_type,
            "key": key,
            "as_of": as_of,
            "state": view.state,
            "fields": view.fields,
        });
        Ok((shown, seen, as_of))
    })
    .await?;
    let at = (at, Height(as_of));
    let look = looked(&gateway, &caller, seen, at, || answer::digest(&shown)).await?;
    Ok(with_look(json_response(StatusCode::OK, &shown)?, look))
}

/// An asset's state, or that there is none, with the proof. That there is none is
/// nobody's: it is told to whoever may ask.
async fn asset_proof(
    State(gateway): Shared,
    Path(path): AssetPath,
    Query(query): Query<AsOfQuery>,
    request: Request,
) -> Answered {
    let caller = caller(request.extensions())?;
    let binary = wants_binary(&request);
    let (contract, asset_type, key) = asset_named(path)?;
    let at = format!("proof of asset {contract}/{asset_type} {key}");
    let asks = Arc::clone(&caller);
    let (bytes, seen, as_of) = blocking(&gateway, move |gateway| {
        let as_of = match query.as_of {
            Some(height) => height,
            None => gateway.ledger.status()?.anchored_height,
        };
        let proved = gateway.ledger.prove_asset(&asks, &contract, &asset_type, &key, as_of)?;
        let seen = match &proved.view {
            Some(view) => asset_seen(&asks, view)?,
            None => Seen::Own,
        };
        Ok((codec::encode(&proved.proof), seen, proved.proof.as_of()))
    })
    .await?;
    let look = looked(&gateway, &caller, seen, (at, as_of), || Ok(Digest::of(&bytes))).await?;
    Ok(with_look(proof_file(StateProof::PEM_LABEL, bytes, binary)?, look))
}

/// The log that the newest final header commits to, signed by this member.
async fn checkpoint(State(gateway): Shared) -> Answered {
    let note = blocking(&gateway, |gateway| {
        let height = gateway.ledger.status()?.anchored_height;
        let (header, _) = gateway.ledger.anchor(height)?;
        let checkpoint = Checkpoint::of(&gateway.genesis, &header.executed);
        let (member, signer) = (&gateway.member, &*gateway.signer);
        gateway.checkpoint.note(Instant::now(), checkpoint, member, signer).map_err(|error| {
            tracing::error!(%error, "a checkpoint could not be signed");
            token_silent()
        })
    })
    .await?;
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers.map(|(name, value)| (name, HeaderValue::from_static(value))), note).into_response())
}

fn tile_named(path: &str) -> Result<(Tile, u64), ApiProblem> {
    let tile: Tile = path.parse().map_err(|error: NotATile| malformed(error.to_string()))?;
    let begin = tile.begin().ok_or(LedgerFault::NotFound("tile of the log"))?;
    Ok((tile, begin))
}

/// Bytes that never change, kept by whom for as long as it likes.
fn for_ever(bytes: Vec<u8>, keeps: &'static str) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, keeps)];
    (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), bytes).into_response()
}

async fn log_tile(State(gateway): Shared, Path((level, tile)): Path<(String, String)>) -> Answered {
    let level = u8::try_from(whole_number("level", &level)?).ok().filter(|level| *level < 64);
    let level = level.ok_or_else(|| malformed("level: write 0 to 63"))?;
    let (tile, begin) = tile_named(&tile)?;
    let hashes =
        blocking(&gateway, move |gateway| Ok(gateway.ledger.tile(level, begin, tile.width)?))
            .await?;
    Ok(for_ever(tiles::of_hashes(&hashes), "public, max-age=31536000, immutable"))
}

async fn log_entries(State(gateway): Shared, Path(tile): Path<String>) -> Answered {
    let (tile, begin) = tile_named(&tile)?;
    let entries =
        blocking(&gateway, move |gateway| Ok(gateway.ledger.entries(begin, tile.width)?)).await?;
    let entries: Vec<Vec<u8>> = entries.iter().map(codec::encode).collect();
    let bundle = tiles::of_entries(&entries)
        .ok_or_else(|| ApiProblem::new(Code::Internal, "the entries cannot be written"))?;
    Ok(for_ever(bundle, "private, max-age=31536000, immutable"))
}

async fn query(State(gateway): Shared, request: Request) -> Answered {
    let caller = caller(request.extensions())?;
    let (parts, from) = request.into_parts();
    let asked: AskQuery = json(&parts.headers, from, gateway.limits.body).await?;
    let place = place(&gateway)?;
    let (hold, leash) = hufu_query::leash();
    while_held(hold, async move {
        let unanswered = answer::query_unanswered(&caller, &asked);
        let subject = answer::query_subject(&caller, &asked);
        let found = blocking(&gateway, move |gateway| {
            Ok(answer::query(gateway, &caller, &asked, (place, leash)))
        });
        let mut found = answered(&gateway, unanswered, found.await?)?;
        let look = Look { subject, height: Height(found.height), answer: found.digest()? };
        found.look = Some(record(&gateway, look).await?);
        json_response(StatusCode::OK, &found)
    })
    .await
}

async fn report(State(gateway): Shared, request: Request) -> Answered {
    let caller = caller(request.extensions())?;
    let (parts, from) = request.into_parts();
    let asked: AskReport = json(&parts.headers, from, gateway.limits.body).await?;
    let place = place(&gateway)?;
    let (hold, leash) = hufu_query::leash();
    while_held(hold, async move {
        let unanswered = answer::report_unanswered(&caller, &asked);
        let format = asked.format;
        let made = blocking(&gateway, move |gateway| {
            let made = answer::report(gateway, &caller, &asked, (place, leash));
            Ok(made.map(|made| (answer::report_subject(&caller, &made), made)))
        });
        let (subject, made) = answered(&gateway, unanswered, made.await?)?;
        let look = Look { subject, height: Height(made.report.as_of.height), answer: made.body };
        let look = record(&gateway, look).await?;
        let (findings, height, body) =
            (made.report.counts.findings, made.report.as_of.height, made.body);
        let name = format!("{}-{height}.{}", made.report.control_set.name, format.ending());
        let file = blocking(&gateway, move |gateway| answer::seal(gateway, made)).await?;
        gateway.metrics.reports.inc();
        gateway.metrics.findings.inc_by(findings);
        Ok(file_response(file, format, &name, &look, &body))
    })
    .await
}

fn file_response(
    file: Vec<u8>,
    format: hufu_report::Format,
    name: &str,
    look: &Digest,
    body: &Digest,
) -> Response {
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
    response
}

/// That as many queries run as may.
pub fn busy() -> Problem {
    Problem::new(Code::Busy, "as many queries as may run at once are running")
        .retry_after(Duration::from_secs(1))
}

fn place(gateway: &Gateway) -> Result<Place, ApiProblem> {
    gateway.workers.place().ok_or_else(|| busy().into())
}

/// Does work of which the process ends with who waits for it.
async fn while_held(hold: Hold, work: impl Future<Output = Answered> + Send + 'static) -> Answered {
    hold.during(work).await.unwrap_or_else(|error| Err(failed(&error)))
}

/// The answer; or, where there is none and rows were looked at, that is recorded.
fn answered<T>(
    gateway: &Arc<Gateway>,
    subject: String,
    found: Result<T, Unanswered>,
) -> Result<T, ApiProblem> {
    found.map_err(|Unanswered { problem, looked }| {
        if let Some(height) = looked {
            let look = Look { subject, height: Height(height), answer: Digest::of(b"") };
            let gateway = Arc::clone(gateway);
            // A refusal gives nothing out, and does not wait for a block.
            tokio::spawn(async move { record(&gateway, look).await });
        }
        problem
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
