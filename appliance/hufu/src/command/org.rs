//! `hufu org`: found a consortium, look at its members, change them.

use std::path::Path;

use anyhow::Context as _;
use hufu_configuration::config;
use hufu_configuration::files;
use hufu_configuration::join::{self, JoinRequest};
use hufu_proof::{Budget, Genesis};
use serde::Serialize;
use serde_json::json;

use crate::access::Access;
use crate::cli::Org;
use crate::command::node::{members, submitted};
use crate::output;

#[derive(Serialize)]
struct Shown<'a> {
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Path>,
    genesis: &'a Genesis,
}

/// Runs `hufu org`.
///
/// # Errors
/// What stands in the way, with the remedy.
pub async fn run(command: Org, access: &Access, json: bool) -> anyhow::Result<()> {
    match command {
        Org::Found { consortium, approvals, created_ms, out, requests } => {
            let mut joins = Vec::new();
            for path in &requests {
                let bytes = files::read(path, join::MAX_JOIN as u64)?;
                joins.push(
                    JoinRequest::from_json(&bytes)
                        .with_context(|| format!("in {}", path.display()))?,
                );
            }
            let genesis = join::found(consortium, approvals, created_ms, &joins)?;
            files::write_new(&out, &genesis.to_json())?;
            show(json, &genesis, Some(&out))
        }
        Org::Show { genesis } => show(json, &config::read_genesis(&genesis)?, None),
        Org::Admit { request } => {
            let bytes = files::read(&request, join::MAX_JOIN as u64)?;
            let join = JoinRequest::from_json(&bytes)
                .with_context(|| format!("in {}", request.display()))?;
            let member = json!({ "member": join });
            submitted(json, &access.connect()?.post("/proposals", &member).await?)
        }
        Org::Budget { identity_bytes, member_bytes } => {
            let budget = json!({ "budget": Budget { identity_bytes, member_bytes } });
            submitted(json, &access.connect()?.post("/proposals", &budget).await?)
        }
        Org::Review { proposal } => {
            let path = format!("/proposals/{proposal}");
            let shown: serde_json::Value = access.connect()?.get(&path).await?;
            output::print(json, &shown, members)
        }
        Org::Approve { proposal } => {
            let path = format!("/proposals/{proposal}/approve");
            submitted(json, &access.connect()?.post(&path, &json!({})).await?)
        }
        Org::Members => {
            let members: serde_json::Value = access.connect()?.get("/members").await?;
            output::print(json, &members, |members| {
                let text = |row: &serde_json::Value, key: &str| match row.get(key) {
                    Some(serde_json::Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                    None => String::new(),
                };
                let rows: Vec<Vec<String>> = members
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|row| {
                        ["name", "kinds", "validator", "identity"]
                            .map(|key| text(row, key))
                            .to_vec()
                    })
                    .collect();
                output::table(&["NAME", "KINDS", "VALIDATOR", "IDENTITY"], &rows)
            })
        }
    }
}

fn show(json: bool, genesis: &Genesis, file: Option<&Path>) -> anyhow::Result<()> {
    let digest = genesis.digest();
    output::print(json, &Shown { digest: digest.to_string(), file, genesis }, |_| {
        let mut text = format!(
            "consortium {}, {} members, {} approvals for a change\n",
            genesis.consortium,
            genesis.members.len(),
            genesis.constitution.approvals
        );
        for member in &genesis.members {
            let kinds: Vec<&str> = member.kinds.iter().map(AsRef::as_ref).collect();
            text += &format!("  {}: {}", member.name, kinds.join(", "));
            let places: Vec<&str> = member.jurisdictions.iter().map(AsRef::as_ref).collect();
            if !places.is_empty() {
                text += &format!(" of {}", places.join(", "));
            }
            text += "\n";
        }
        if let Some(file) = file {
            text += &format!("written to {}\n", file.display());
        }
        text += "\nEvery founder must read the same digest:\n  ";
        text + &join::spoken(&digest)
    })
}
