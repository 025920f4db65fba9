//! `hufu member`: what this member declares on the ledger.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::access::Access;
use crate::cli::Member;
use crate::command::node::{members, submitted};
use crate::output;

/// Runs `hufu member`.
///
/// # Errors
/// When the node does not answer; [`hufu_configuration::Exit::No`] when the ledger
/// refuses.
pub async fn run(command: Member, access: &Access, json: bool) -> anyhow::Result<()> {
    let (path, body) = match command {
        Member::List => {
            let shown: Value = access.connect()?.get("/approvals").await?;
            return output::print(json, &shown, members);
        }
        Member::Approve { csr, key, roles, until } => {
            let read = |path: std::path::PathBuf| {
                std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))
            };
            let csr = csr.map(read).transpose()?;
            let body = json!({ "csr": csr, "key": key, "roles": roles, "until_ms": until });
            ("/approvals".to_owned(), body)
        }
        Member::Withdraw { key } => (format!("/approvals/{key}/withdraw"), json!({})),
        Member::Delegate { roles, until } => {
            ("/delegation".to_owned(), json!({ "roles": roles, "until_ms": until }))
        }
        // Without a place only where it is taken back.
        Member::Announce { at, withdraw: _ } => ("/address".to_owned(), json!({ "at": at })),
        Member::HandOver { device, to } => {
            ("/hand-over".to_owned(), json!({ "device": device, "to": to }))
        }
    };
    submitted(json, &access.connect()?.post(&path, &body).await?)
}
