//! Transactions through a member's gateway.

use std::time::Duration;

use anyhow::Context as _;
use http::{Method, StatusCode, header};
use hufu_configuration::unavailable;
use hufu_proof::{Digest, Height, Outcome, Transaction, UnixMillis, codec, json};
use serde::Deserialize;

use crate::{Answer, Client};

/// How often a transaction that is not final yet is asked for.
const POLL: Duration = Duration::from_millis(250);
/// How many times.
const POLLS: usize = 240;

/// What became of a submitted transaction.
#[derive(Debug, Deserialize)]
pub struct Submitted {
    /// Its identifier.
    pub id: Digest,
    /// What became of it.
    pub outcome: Outcome,
    /// The block it is in.
    pub height: Height,
}

/// Submits many transactions in one request; what became of each, in their
/// order. `None` of one that is not final in time, or that the node was too busy
/// for: it can be submitted again.
///
/// # Errors
/// When the gateway does not take the bundle.
pub async fn submit_bundle(
    client: &Client,
    transactions: &[Transaction],
) -> anyhow::Result<Vec<Option<Submitted>>> {
    #[derive(Deserialize)]
    struct Bundle {
        transactions: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        id: Digest,
        outcome: Option<Outcome>,
        #[serde(default)]
        height: Height,
    }
    let answer = client
        .send(
            Method::POST,
            "/v1/transactions/bundle",
            &[(header::CONTENT_TYPE, "application/octet-stream")],
            codec::encode(transactions),
        )
        .await?
        .success()?;
    let bundle: Bundle = json::from_slice(&answer).context("the gateway's answer to a bundle")?;
    let submitted = |one: One| {
        let One { id, outcome, height } = one;
        outcome.map(|outcome| Submitted { id, outcome, height })
    };
    Ok(bundle.transactions.into_iter().map(submitted).collect())
}

/// How far a gateway's ledger is.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Progress {
    /// The newest height.
    pub height: Height,
    /// The time of its block.
    pub time_ms: UnixMillis,
}

/// How far the gateway's ledger is.
///
/// # Errors
/// As [`Client::get`].
pub async fn progress(client: &Client) -> anyhow::Result<Progress> {
    #[derive(Deserialize)]
    struct Status {
        ledger: Progress,
    }
    Ok(client.get::<Status>("/v1/status").await?.ledger)
}

/// What became of a transaction, if the gateway's ledger has it.
///
/// # Errors
/// As [`Client::send`].
pub async fn recorded(client: &Client, id: Digest) -> anyhow::Result<Option<Submitted>> {
    let answer = client.send(Method::GET, &format!("/v1/transactions/{id}"), &[], "").await?;
    match answer.status {
        StatusCode::NOT_FOUND => Ok(None),
        _ => settled(id, answer).map(Some),
    }
}

/// Submits and waits for the outcome.
///
/// # Errors
/// When the gateway does not take it, or it is not final in time. A transaction
/// that the ledger refused is an answer, not an error.
pub async fn submit(client: &Client, transaction: &Transaction) -> anyhow::Result<Submitted> {
    let id = transaction.id();
    let answer = client
        .send(
            Method::POST,
            "/v1/transactions",
            &[(header::CONTENT_TYPE, "application/octet-stream")],
            codec::encode(transaction),
        )
        .await?;
    if answer.status != StatusCode::ACCEPTED {
        return settled(id, answer);
    }
    for _ in 0..POLLS {
        tokio::time::sleep(POLL).await;
        if let Some(submitted) = recorded(client, id).await? {
            return Ok(submitted);
        }
    }
    Err(unavailable(format!("transaction {id} is not final yet; ask for its receipt later")))
}

/// What an answer says of the transaction: an entry of the log, or a problem
/// document with the outcome.
fn settled(id: Digest, answer: Answer) -> anyhow::Result<Submitted> {
    #[derive(Deserialize)]
    struct Entry {
        outcome: Outcome,
        #[serde(default)]
        height: Height,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Recorded { entry: Entry },
        Refused(Entry),
    }
    match json::from_slice(&answer.body) {
        Ok(Said::Recorded { entry: Entry { outcome, height } })
        | Ok(Said::Refused(Entry { outcome, height })) => Ok(Submitted { id, outcome, height }),
        Err(_) => {
            answer.success()?;
            anyhow::bail!("the answer does not say what became of transaction {id}")
        }
    }
}
