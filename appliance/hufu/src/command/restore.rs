//! `hufu setup --restore`: a new machine in place of one that is lost.
//!
//! Shares first, each checked against the backup's head; the backup itself is
//! sent when there are enough of them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context as _;
use http::Method;
use hufu_backup::{MAX_SHARE, Share};
use hufu_configuration::config::{self, Config};
use hufu_configuration::files;
use hufu_configuration::time::utc;
use hufu_proof::UnixMillis;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::Setup;
use crate::command::backup;
use crate::command::setup::Endpoint;
use crate::output;

/// What the machine says of the shares that it has.
#[derive(Deserialize)]
struct Given {
    id: String,
    threshold: u8,
    shares: usize,
    missing: usize,
}

/// Gives shares, and the backup when there are enough.
///
/// # Errors
/// When a share or the backup is refused.
pub async fn run(
    file: &Path,
    arguments: &Setup,
    endpoint: &Endpoint,
    json: bool,
) -> anyhow::Result<()> {
    let (lines, head) = backup::head(file)?;
    let mut shares = Vec::new();
    for path in &arguments.shares {
        let text = share_text(path)?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let share = Share::parse(line).with_context(|| format!("in {}", path.display()))?;
            shares.push(Zeroizing::new(share.text().to_owned()));
        }
    }
    for path in &arguments.identities {
        let share = backup::share(&head, path)?;
        shares.push(Zeroizing::new(share.text().to_owned()));
    }
    let config = arguments.new_config.as_deref().map(config::text).transpose()?;
    if let (Some(text), Some(path)) = (&config, &arguments.new_config) {
        Config::parse(text, &path.display().to_string())?;
    }
    let lines = String::from_utf8(lines).context("the backup's head is not text")?;
    let texts: Vec<&str> = shares.iter().map(|share| share.as_str()).collect();
    let request = json!({ "head": lines, "shares": texts, "config": config });
    let request = Zeroizing::new(serde_json::to_vec(&request)?);
    let kind = "application/json";
    let given: Given =
        endpoint.ask(Method::POST, "/restore/shares", kind, request.to_vec()).await?;
    let mut answer = json!({
        "id": given.id, "member": head.member, "genesis": head.genesis,
        "created_ms": head.created_ms, "threshold": given.threshold, "shares": given.shares,
    });
    let next = if given.missing > 0 {
        format!("{} more operators give their shares, in the same way", given.missing)
    } else {
        let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        let progress: Value = endpoint.upload("/restore", files::pieces(opened)).await?;
        answer["missing"] = progress["missing"].clone();
        "the node fetches the ledger from the other members, and votes again when the ledger has \
         moved on; see to it that the machine before does not run any more"
            .to_owned()
    };
    answer["restored"] = json!(given.missing == 0);
    answer["next"] = json!(next);
    output::print(json, &answer, |_| {
        format!(
            "backup of `{}`, made {}\ngenesis: {}\nshares: {} of {}\nnext: {next}",
            head.member,
            utc(UnixMillis(head.created_ms)),
            head.genesis,
            given.shares,
            given.threshold
        )
    })
}

fn share_text(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let most = MAX_SHARE as u64 * hufu_backup::MAX_OPERATORS as u64;
    let mut text = Zeroizing::new(String::new());
    let what = || format!("cannot read {}", path.display());
    let read = match path.to_str() {
        Some("-") => io::stdin().take(most).read_to_string(&mut text),
        _ => File::open(path).with_context(what)?.take(most).read_to_string(&mut text),
    };
    read.with_context(what)?;
    Ok(text)
}
