//! What bad input gets, at every interface of running nodes: an answer of the
//! interface's own form that says what and where, and no effect.
//!
//! `docs/bad-input.md` says which test holds which promise.

#[path = "../common/mod.rs"]
mod common;

mod attestation;
mod clients;
mod documents;
mod duplicates;
mod est;
mod gateway;
mod impersonation;
mod matrix;
mod packages;
mod settings;
mod status;
mod wire;

use std::fs;

use anyhow::{Context as _, ensure};
use common::World;
use hufu_harness::Consortium;
use hufu_harness::http::{Answer, Http};

/// What an answer must be: status, code, and words of what it says.
pub type Expected<'a> = (u16, &'a str, &'a str);

/// What the consortium keeps of what it was sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// Entries of the log, on every node, but for looks: asking makes one.
    pub entries: u64,
    /// Certificates on the ledger.
    pub certificates: u64,
    /// Errors that nodes have logged; bad input is not the node's error.
    pub errors: usize,
}

/// What is kept now, when all nodes agree.
pub fn kept(consortium: &Consortium) -> anyhow::Result<Kept> {
    hufu_harness::job::life::agree(consortium)?;
    let sql = "SELECT (SELECT count(*) FROM ledger.transactions WHERE kind <> 'look'), \
               (SELECT count(*) FROM ledger.certificates)";
    let answer = consortium.regulator().json(&["query", sql])?;
    let count = |place: usize| answer["rows"][0][place].as_u64().context("a count");
    let (entries, certificates) = (count(0)?, count(1)?);
    let mut errors = 0;
    for member in &consortium.members {
        let log = fs::read_to_string(member.log())?;
        ensure!(!log.contains("panicked"), "{} panicked: {log}", member.name());
        let pin = fs::read_to_string(member.pin())?;
        ensure!(!log.contains(pin.trim()), "{} logged its PIN", member.name());
        errors += log.matches("\"level\":\"ERROR\"").count();
    }
    Ok(Kept { entries, certificates, errors })
}

/// Does `work`, after which everything must be as before.
pub fn harmless(
    world: &World,
    work: impl FnOnce(&Consortium) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let before = kept(&world.consortium)?;
    work(&world.consortium)?;
    // What was taken in by mistake is in a block soon.
    let height = world.gateway.height()?;
    world.gateway.anchor(height + 1)?;
    assert_eq!(kept(&world.consortium)?, before, "something of it was kept");
    Ok(())
}

/// A client of `member` with `role`.
pub fn client(consortium: &Consortium, member: &str, role: &str) -> anyhow::Result<Http> {
    let identity = consortium.client(member, role)?;
    Http::tls(&consortium.root_pem()?, Some(&identity))
}

/// Checks that an answer is a problem document (RFC 9457) with this status and
/// code, whose detail has these words.
pub fn problem(what: &str, answer: &Answer, expected: Expected) -> anyhow::Result<()> {
    let (status, code, words) = expected;
    let said = answer.text();
    ensure!(answer.status == status, "{what}: {} instead of {status}: {said}", answer.status);
    ensure!(
        answer.content_type.starts_with("application/problem+json"),
        "{what}: `{}` is no problem document: {said}",
        answer.content_type
    );
    let document = answer.json()?;
    ensure!(document["status"] == status, "{what}: {said}");
    ensure!(document["code"] == code, "{what}: not `{code}`: {said}");
    ensure!(document["type"] == format!("urn:hufu:problem:{code}"), "{what}: {said}");
    ensure!(document["title"].as_str().is_some_and(|title| !title.is_empty()), "{what}: {said}");
    let detail = document["detail"].as_str().unwrap_or_default();
    ensure!(!detail.is_empty() && detail.contains(words), "{what}: without `{words}`: {said}");
    Ok(())
}

/// Checks that an answer is a line of text with a code, as EST and the status
/// services answer.
pub fn sentence(what: &str, answer: &Answer, expected: Expected) -> anyhow::Result<()> {
    let (status, code, words) = expected;
    let said = answer.text();
    ensure!(answer.status == status, "{what}: {} instead of {status}: {said}", answer.status);
    ensure!(
        answer.content_type.starts_with("text/plain"),
        "{what}: `{}` is no text",
        answer.content_type
    );
    ensure!(said.starts_with(&format!("{code}: ")), "{what}: not `{code}`: {said}");
    ensure!(said.contains(words), "{what}: without `{words}`: {said}");
    Ok(())
}
