//! A member's gateway as a client: transactions in, receipts and reports out.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
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

/// What became of what a member's node was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acted {
    /// The outcome's stable code, `accepted` or why it was refused.
    pub outcome: String,
    /// The block it is in; `None` when it was refused before a block.
    pub height: Option<u64>,
    /// The whole answer.
    pub answer: Value,
}

/// The status of an answer that says: wait.
const PENDING: u16 = 202;

/// What an answer of the gateway says of the transaction `id`.
fn settled(id: Digest, status: u16, answer: Value) -> anyhow::Result<Submitted> {
    let entry = answer.get("entry").unwrap_or(&answer);
    let outcome = entry["outcome"]
        .as_str()
        .with_context(|| format!("status {status} without an outcome: {answer}"))?
        .to_owned();
    let height = entry["height"].as_u64();
    Ok(Submitted { id, outcome, height, answer })
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
        let id = transaction.id();
        let answer = self.submit_raw(&codec::encode(transaction))?;
        let (status, value) = (answer.status, answer.json()?);
        if status != PENDING {
            return settled(id, status, value);
        }
        // It waits for a quorum; the gateway told us where to look.
        let url = self.at(&format!("/v1/transactions/{id}"));
        wait_for("the transaction to be final", Duration::from_secs(60), || {
            let answer = self.http.get(&url)?.success()?;
            settled(id, answer.status, answer.json()?)
        })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn submit_raw(&self, bytes: &[u8]) -> anyhow::Result<Answer> {
        self.http.post(&self.at("/v1/transactions"), "application/octet-stream", bytes)
    }

    /// Sends a bundle's bytes as they are.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn submit_bundle_raw(&self, bytes: &[u8]) -> anyhow::Result<Answer> {
        self.http.post(&self.at("/v1/transactions/bundle"), "application/octet-stream", bytes)
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
        self.ledger("height")
    }

    /// The height up to which the node can prove its state: the last one that a
    /// final header commits to.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn anchored(&self) -> anyhow::Result<u64> {
        self.ledger("anchored_height")
    }

    fn ledger(&self, field: &str) -> anyhow::Result<u64> {
        let status = self.status()?;
        let number = status["ledger"][field].as_u64();
        number.with_context(|| format!("the status names no {field}: {status}"))
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

    /// Waits until the node can prove its state at `height`.
    ///
    /// # Errors
    /// When it cannot within a minute.
    pub fn anchor(&self, height: u64) -> anyhow::Result<()> {
        wait_for(&format!("a proof of height {height}"), Duration::from_secs(60), || {
            let now = self.anchored()?;
            ensure!(now >= height, "the node proves heights up to {now}");
            Ok(())
        })
    }

    /// Waits until the node knows what is in the block at `height`.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub fn reach(&self, height: u64) -> anyhow::Result<()> {
        wait_for(&format!("height {height}"), Duration::from_secs(60), || {
            let now = self.height()?;
            ensure!(now >= height, "the node is at height {now}");
            Ok(())
        })
    }

    /// An asset, as whoever we are is shown it.
    ///
    /// # Errors
    /// When there is no answer; a refusal is one.
    pub fn asset(&self, contract: &str, asset_type: &str, key: &str) -> anyhow::Result<Answer> {
        self.http.get(&self.at(&format!("/v1/contracts/{contract}/{asset_type}/{key}")))
    }

    /// A report, as `asked` for.
    ///
    /// # Errors
    /// When it is refused.
    pub fn report(&self, asked: &Value) -> anyhow::Result<Vec<u8>> {
        let body = serde_json::to_vec(asked)?;
        Ok(self.http.post(&self.at("/v1/reports"), "application/json", &body)?.success()?.body)
    }

    /// What the node's own administration answers to a question.
    ///
    /// # Errors
    /// When there is no answer, or a refusal.
    pub fn administration(&self, path: &str) -> anyhow::Result<Value> {
        self.http.get(&self.at(&format!("/admin{path}")))?.success()?.json()
    }

    /// Has the node act for its member, with the role of an administrator.
    ///
    /// # Errors
    /// When there is no answer, or one that does not say what became of it.
    pub fn administer(&self, path: &str, asked: &Value) -> anyhow::Result<Acted> {
        let url = self.at(&format!("/admin{path}"));
        let answer = self.http.post(&url, "application/json", &serde_json::to_vec(asked)?)?;
        let (code, value) = (answer.code.clone(), answer.json()?);
        let outcome = match value["outcome"].as_str() {
            Some(outcome) => outcome.to_owned(),
            None if code.is_empty() => bail!("status {}: {value}", answer.status),
            None => code,
        };
        Ok(Acted { outcome, height: value["height"].as_u64(), answer: value })
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}
