//! Transactions through a member's gateway.

use http::{Method, header};
use hufu_proof::{Digest, Outcome, Transaction, codec};
use serde::Deserialize;

use crate::client::Client;

/// What became of a submitted transaction.
#[derive(Debug, Deserialize)]
pub struct Submitted {
    /// Its identifier.
    pub id: Digest,
    /// What became of it.
    pub outcome: Outcome,
    /// The block it is in.
    pub height: u64,
}

/// The gateway's newest height.
///
/// # Errors
/// As [`Client::get`].
pub async fn height(client: &Client) -> anyhow::Result<u64> {
    #[derive(Deserialize)]
    struct Status {
        height: u64,
    }
    Ok(client.get::<Status>("/v1/status").await?.height)
}

/// Submits and waits for the outcome.
///
/// # Errors
/// When the gateway does not take it. A transaction that the ledger refused is
/// an answer, not an error.
pub async fn submit(client: &Client, transaction: &Transaction) -> anyhow::Result<Submitted> {
    let answer = client
        .send(
            Method::POST,
            "/v1/transactions",
            &[(header::CONTENT_TYPE, "application/octet-stream")],
            codec::encode(transaction),
        )
        .await?
        .success()?;
    Ok(serde_json::from_slice(&answer)?)
}
