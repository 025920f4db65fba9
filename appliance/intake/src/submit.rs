//! Transactions in: one, or a bundle of them, each with its own answer.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hufu_door::body::{Json, json as json_body, media_type, read as body};
use hufu_door::{Code, Problem};
use hufu_proof::codec::{self, DecodeError, MAX_TRANSACTION};
use hufu_proof::{Digest, LogEntry, Transaction};
use serde_json::{Value, json};

use crate::{Desk, IntakeFault, caller};

/// Largest transaction in JSON, in bytes: base64 and names make it longer.
const MAX_JSON_TRANSACTION: usize = 3 * MAX_TRANSACTION;

/// Most transactions in a bundle.
pub const MAX_BUNDLE: usize = 1024;

/// Largest bundle, in bytes: what a block holds.
pub const MAX_BUNDLE_BYTES: usize = codec::MAX_BLOCK;

/// One transaction: borsh or JSON.
pub(crate) async fn one(
    State(desk): State<Desk>,
    extensions: Extensions,
    headers: HeaderMap,
    from: Body,
) -> Result<Response, Problem> {
    let caller = caller(&extensions)?;
    let transaction: Transaction = match media_type(&headers).to_ascii_lowercase().as_str() {
        "application/octet-stream" => {
            let bytes = body(from, MAX_TRANSACTION).await?;
            codec::decode("transaction", &bytes, MAX_TRANSACTION)
                .map_err(|error| Problem::malformed(error.to_string()))?
        }
        "application/json" => json_body(&headers, from, MAX_JSON_TRANSACTION).await?,
        _ => {
            let detail = "send application/octet-stream (borsh) or application/json";
            return Err(Problem::new(Code::MediaType, detail));
        }
    };
    let id = transaction.id();
    let mut answers = desk.intake.submit(&caller, vec![transaction], desk.patience).await;
    match answers.pop().unwrap_or_else(|| Err(unanswered())) {
        Ok(entry) => {
            let log_index = desk.blocking(move |intake| Ok(intake.log_index(&id)?)).await?;
            if !entry.outcome.is_accepted() {
                return Err(Problem::new(Code::TransactionRefused, entry.outcome.to_string())
                    .with("outcome", entry.outcome.code())
                    .with("id", id.to_string())
                    .with("height", entry.height.get())
                    .with("log_index", log_index));
            }
            let final_here = json!({"id": id, "entry": entry, "log_index": log_index});
            Ok(Json(final_here).into_response())
        }
        Err(IntakeFault::Pending) => {
            let pending = Json(json!({"id": id, "pending": true}));
            let mut response = (StatusCode::ACCEPTED, pending).into_response();
            if let Ok(location) = HeaderValue::from_str(&format!("/v1/transactions/{id}")) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            Ok(response)
        }
        Err(IntakeFault::Refused(outcome)) => {
            Err(Problem::from(IntakeFault::Refused(outcome)).with("id", id.to_string()))
        }
        Err(fault) => Err(fault.into()),
    }
}

fn unanswered() -> IntakeFault {
    IntakeFault::Unavailable("it gave no answer to a transaction".to_owned())
}

/// Many transactions in one request: the borsh encoding of their list. Each is
/// taken in, refused and recorded by itself, and each has its own answer.
pub(crate) async fn bundle(
    State(desk): State<Desk>,
    extensions: Extensions,
    headers: HeaderMap,
    from: Body,
) -> Result<Response, Problem> {
    let caller = caller(&extensions)?;
    if !media_type(&headers).eq_ignore_ascii_case("application/octet-stream") {
        return Err(Problem::new(Code::MediaType, "send application/octet-stream (borsh)"));
    }
    let bytes = body(from, MAX_BUNDLE_BYTES).await?;
    let transactions: Vec<Transaction> =
        codec::decode_list("bundle", &bytes, MAX_BUNDLE_BYTES, MAX_BUNDLE).map_err(|error| {
            match error {
                DecodeError::TooMany { .. } => {
                    Problem::new(Code::RequestTooLarge, format!("{error}; send several bundles"))
                }
                _ => Problem::malformed(error.to_string()),
            }
        })?;
    let ids: Vec<Digest> = transactions.iter().map(Transaction::id).collect();
    let mut answers = desk.intake.submit(&caller, transactions, desk.patience).await;
    // Nothing of it is taken today, or by this node: the whole request is refused, as
    // one transaction would be.
    let none = |answer: &Result<_, _>| {
        matches!(answer, Err(IntakeFault::OverBudget { .. } | IntakeFault::FrontEnd(_)))
    };
    if answers.iter().all(none)
        && let Some(Err(fault)) = answers.pop()
    {
        return Err(fault.into());
    }
    let answers = answers.into_iter().chain(std::iter::repeat_with(|| Err(unanswered())));
    let shown: Vec<Value> = ids.iter().zip(answers).map(|(id, one)| bundled(id, one)).collect();
    Ok(Json(json!({"transactions": shown})).into_response())
}

/// What became of one transaction of a bundle.
fn bundled(id: &Digest, answer: Result<LogEntry, IntakeFault>) -> Value {
    match answer {
        Ok(LogEntry { outcome, height, index, .. }) => json!({
            "id": id, "status": "final", "outcome": outcome, "height": height, "index": index,
        }),
        Err(IntakeFault::Refused(outcome)) => {
            json!({"id": id, "status": "refused", "outcome": outcome})
        }
        Err(IntakeFault::Pending) => json!({"id": id, "status": "pending"}),
        Err(IntakeFault::Busy { retry_after }) => json!({
            "id": id, "status": "busy", "retry_after": retry_after.as_secs().max(1),
        }),
        Err(IntakeFault::OverBudget { detail, ends_ms, retry_after }) => json!({
            "id": id, "status": "over-budget", "detail": detail, "ends_ms": ends_ms,
            "retry_after": retry_after.as_secs().max(1),
        }),
        Err(fault @ IntakeFault::ForeignSigner { .. }) => {
            json!({"id": id, "status": "foreign-signer", "detail": fault.to_string()})
        }
        Err(fault) => json!({"id": id, "status": "unavailable", "detail": fault.to_string()}),
    }
}
