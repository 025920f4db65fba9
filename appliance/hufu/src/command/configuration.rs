//! `hufu config`: the configuration of an appliance.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::{Method, header};
use hufu_client::Client;
use hufu_configuration::config::{self, Config};
use serde_json::{Value, json};

use crate::access::Access;
use crate::cli::Configuration;
use crate::output::{self, no};

/// Where an appliance's own process is asked, through its node.
const PATH: &str = "/machine/v1/configuration";

/// How long one question may take while the node starts again.
const ASK: Duration = Duration::from_secs(5);

/// How long the node may take to run with a new configuration; the machine gives
/// up at about the same time.
const PATIENCE: Duration = Duration::from_secs(110);

/// Runs `hufu config`.
///
/// # Errors
/// When the appliance does not answer, refuses, or does not keep the
/// configuration.
pub async fn run(command: Configuration, access: &Access, json: bool) -> anyhow::Result<()> {
    let client = access.connect()?;
    match command {
        Configuration::Show => {
            let shown: Value = client.get(PATH).await?;
            output::print(json, &shown, |shown| {
                shown["config"].as_str().unwrap_or_default().to_owned()
            })
        }
        Configuration::Apply { file } => apply(&file, &client, json).await,
        Configuration::Confirm => confirm(&client, json).await,
    }
}

async fn apply(file: &Path, client: &Client, json: bool) -> anyhow::Result<()> {
    let text = config::text(file)?;
    Config::parse(&text, &file.display().to_string())?;
    let kind = [(header::CONTENT_TYPE, "application/toml")];
    client.send(Method::POST, PATH, &kind, text.clone()).await?.success()?;
    let since = Instant::now();
    // The node starts again; until it answers, there is no news.
    while since.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Ok(Ok(shown)) = tokio::time::timeout(ASK, client.get::<Value>(PATH)).await else {
            continue;
        };
        if let Some(why) = shown["not_kept"].as_str() {
            return Err(no(format!("it was not kept, the one before is back: {why}")));
        }
        // The node answered before it was stopped: then this says so.
        let confirmed = client
            .send(Method::POST, &format!("{PATH}/confirm"), &[], "")
            .await
            .and_then(hufu_client::Answer::success);
        if confirmed.is_ok() {
            return output::print(json, &json!({ "kept": true }), |_| "kept".to_owned());
        }
    }
    Err(output::unavailable(
        "the node does not answer with the new configuration; the machine goes back to the one \
         before by itself. If it answers elsewhere now, `hufu config confirm` there keeps it",
    ))
}

async fn confirm(client: &Client, json: bool) -> anyhow::Result<()> {
    let answer: Value = client
        .post(&format!("{PATH}/confirm"), &json!({}))
        .await
        .context("nothing was confirmed")?;
    output::print(json, &answer, |_| "kept".to_owned())
}
