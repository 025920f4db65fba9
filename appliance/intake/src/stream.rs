//! What a signer must know to append to a stream.

use axum::extract::State;
use axum::http::Extensions;
use axum::response::{IntoResponse as _, Response};
use hufu_contract::ColumnDescription;
use hufu_door::Problem;
use hufu_door::body::{Json, Path, Query, name};
use hufu_proof::IdentityId;
use serde::Deserialize;
use serde_json::json;

use crate::{Desk, IntakeFault, StreamState, caller};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whose {
    identity: Option<String>,
}

/// The columns of a stream and the sequence of a signer's last batch.
pub(crate) async fn state(
    State(desk): State<Desk>,
    Path((contract, stream)): Path<(String, String)>,
    Query(whose): Query<Whose>,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let caller = caller(&extensions)?;
    let (contract, stream) = (name("contract", &contract)?, name("stream", &stream)?);
    let identity: IdentityId = match (whose.identity, caller.identity) {
        (Some(text), _) => {
            text.parse().map_err(|error| Problem::malformed(format!("identity: {error}")))?
        }
        (None, Some(own)) => own,
        (None, None) => {
            let detail = "identity: say whose; the client's key is not on the ledger";
            return Err(Problem::malformed(detail));
        }
    };
    let found = desk
        .blocking(move |intake| {
            let StreamState { contract: active, sequence } =
                intake.stream(&contract, &stream, &identity)?;
            let declared = active
                .stream(stream.as_str())
                .ok_or(IntakeFault::NotFound("stream of the contract"))?;
            let columns: Vec<ColumnDescription> = declared
                .columns
                .iter()
                .map(|(name, ty)| ColumnDescription::new(name, ty))
                .collect();
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
    Ok(Json(found).into_response())
}
