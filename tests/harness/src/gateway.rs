//! A member's gateway as a client: transactions in, receipts and reports out.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hufu_proof::{Digest, Genesis, Transaction, codec};
use serde_json::{Value, json};

use crate::http::{Answer, Http};
use crate::process::wait_for;

/// One member's gateway and who we are to it.
#[derive(Clone, Debug)]
pub struct Gateway {
    http: Http,
    url: String,
    /// The consortium that transactions are signed for.
    pub chain: Digest,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// [`Transaction::id`].
    pub id: Digest,
    /// The outcome's stable code, `accepted` or why it was refused.
    pub outcome: String,
    /// The block it is in; `None` when it was refused before a block.
    pub height: Option<u64>,
    /// The whole answer.
    pub answer: Value,
}

impl Submitted {
    /// Whether it took effect.
    pub fn is_accepted(&self) -> bool {
        self.outcome == "accepted"
    }
}

impl Gateway {
    /// The gateway at `url` (`https://HOST:PORT`) of the consortium with
    /// `genesis`.
    pub fn new(http: Http, url: &str, genesis: &Genesis) -> Self {
        Self { http, url: url.to_owned(), chain: genesis.digest() }
    }

    /// Sends one transaction and waits until it is final or refused.
    ///
    /// # Errors
    /// When there is no answer, or one that does not say what became of it.
    pub fn submit(&self, transaction: &Transaction) -> anyhow::Result<Submitted> {
        let answer = self.submit_raw(&codec::encode(transaction))?;
        let value = answer.json()?;
        let outcome = value
            .get("outcome")
            .or_else(|| value.get("code"))
            .and_then(Value::as_str)
            .with_context(|| format!("status {} without an outcome: {value}", answer.status))?
            .to_owned();
        Ok(Submitted {
            id: transaction.id(),
            outcome,
            height: value.get("height").and_then(Value::as_u64),
            answer: value,
        })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn submit_raw(&self, bytes: &[u8]) -> anyhow::Result<Answer> {
        self.http.post(&self.at("/v1/transactions"), "application/octet-stream", bytes)
    }

    /// The node's status.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn status(&self) -> anyhow::Result<Value> {
        self.http.get(&self.at("/v1/status"))?.success()?.json()
    }

    /// The height of the node.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn height(&self) -> anyhow::Result<u64> {
        let status = self.status()?;
        status["height"].as_u64().with_context(|| format!("the status names no height: {status}"))
    }

    /// A height up to which transactions made now may be valid.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn expiry(&self) -> anyhow::Result<u64> {
        Ok(self.height()? + 10_000)
    }

    /// Writes the receipt of `transaction` to `path`, as `hufu verify` takes
    /// it. A receipt exists a few blocks after the transaction.
    ///
    /// # Errors
    /// When there is none.
    pub fn receipt(&self, transaction: Digest, path: &Path) -> anyhow::Result<()> {
        let url = self.at(&format!("/v1/receipts/{transaction}"));
        let answer =
            wait_for("the receipt", Duration::from_secs(20), || self.http.get(&url)?.success())?;
        fs::write(path, answer.body).with_context(|| format!("cannot write {}", path.display()))
    }

    /// A SELECT as of `height`.
    ///
    /// # Errors
    /// When it is refused.
    pub fn query(&self, sql: &str, height: Option<u64>) -> anyhow::Result<Value> {
        let mut body = json!({ "sql": sql });
        if let Some(height) = height {
            body["as_of"] = height.into();
        }
        self.http
            .post(&self.at("/v1/query"), "application/json", &serde_json::to_vec(&body)?)?
            .success()?
            .json()
    }

    /// Waits until the node has reached `height`.
    ///
    /// # Errors
    /// When it has not within a minute.
    pub fn reach(&self, height: u64) -> anyhow::Result<()> {
        wait_for(&format!("height {height}"), Duration::from_secs(60), || {
            let now = self.height()?;
            ensure!(now >= height, "the node is at height {now}");
            Ok(())
        })
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}
