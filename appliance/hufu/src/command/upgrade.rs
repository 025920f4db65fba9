//! `hufu upgrade`: a new release for an appliance.

use std::io::{self, Read as _};

use anyhow::Context as _;
use http::{Method, header};
use hufu_client::download;
use hufu_configuration::files;
use hyper::body::Bytes;
use serde_json::Value;

use crate::access::Access;
use crate::cli::Upgrade;
use crate::command::node::members;
use crate::output;

/// Where an appliance's own process is asked, through its node.
const PATH: &str = "/machine/v1/upgrade";

/// Runs `hufu upgrade`.
///
/// # Errors
/// What stands in the way, with the remedy.
pub async fn run(command: Upgrade, access: &Access, json: bool) -> anyhow::Result<()> {
    match command {
        Upgrade::Status => {
            let status: Value = access.connect()?.get(PATH).await?;
            output::print(json, &status, members)
        }
        Upgrade::Apply { update } => apply(&update, access, json).await,
    }
}

async fn apply(update: &str, access: &Access, json: bool) -> anyhow::Result<()> {
    let what = || format!("cannot read {update}");
    let mut file: Box<dyn io::Read + Send> = if update == "-" {
        Box::new(io::stdin())
    } else if download::is_url(update) {
        let url = update.to_owned();
        tokio::task::spawn_blocking(move || download::open(&url)).await??
    } else {
        Box::new(std::fs::File::open(update).with_context(what)?)
    };
    // The three lines in front say whether the appliance takes it at all, before
    // the rest is sent.
    let mut head = Vec::with_capacity(hufu_release::MAX_HEAD);
    let read = file.by_ref().take(hufu_release::MAX_HEAD as u64).read_to_end(&mut head);
    read.with_context(what)?;
    let client = access.connect()?;
    let octets = [(header::CONTENT_TYPE, "application/octet-stream")];
    let first = Bytes::from(head);
    client.send(Method::POST, &format!("{PATH}/check"), &octets, first.clone()).await?.success()?;
    let answer: Value =
        client.upload(PATH, files::pieces(io::Cursor::new(first).chain(file))).await?.json()?;
    output::print(json, &answer, members)
}
