//! `hufu cert`: certificates, through the running node.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use hufu_configuration::files;
use hufu_issuance::armour;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Access;
use crate::cli::{Cert, Reason};
use crate::output;

#[derive(Deserialize)]
struct Issued {
    serial: String,
    chain: String,
}

/// Runs `hufu cert`.
///
/// # Errors
/// When the node does not answer or refuses.
pub async fn run(command: Cert, access: &Access, json: bool) -> anyhow::Result<()> {
    let admin = access.connect()?;
    match command {
        Cert::Issue { profile, member, roles, csr, renew, out } => {
            // The same reader as at the other doors; what goes to the node is
            // then DER, whatever the file is.
            let given = files::read(&csr, hufu_issuance::limits::REQUEST_TEXT as u64)?;
            let der =
                armour::decode_request(&given).with_context(|| format!("in {}", csr.display()))?;
            let csr = STANDARD.encode(der);
            let issued: Issued = admin
                .post(
                    "/certificates",
                    &json!({
                        "profile": profile, "member": member, "roles": roles, "csr": csr,
                        "renew": renew,
                    }),
                )
                .await?;
            files::write(&out, issued.chain.as_bytes())?;
            let answer = json!({ "serial": issued.serial, "file": out });
            output::print(json, &answer, |_| {
                format!("certificate {} written to {}", issued.serial, out.display())
            })
        }
        Cert::Install { chain } => {
            let chain = std::fs::read_to_string(&chain)
                .with_context(|| format!("cannot read {}", chain.display()))?;
            let answer: Value = admin.post("/tls", &json!({ "chain": chain })).await?;
            output::print(json, &answer, |_| "installed; the node's services use it".to_owned())
        }
        Cert::Renew => {
            let answer: Value = admin.post("/tls/renew", &json!({})).await?;
            output::print(json, &answer, |answer| {
                format!("renewed: {}; the node's services use it", text(answer, "serial"))
            })
        }
        Cert::RenewIssuing => {
            let answer: Value = admin.post("/issuing/renew", &json!({})).await?;
            output::print(json, &answer, |answer| {
                format!(
                    "renewed: {}, good until {}; what is issued from now on is under it",
                    text(answer, "serial"),
                    text(answer, "not_after")
                )
            })
        }
        Cert::List { member, limit } => {
            let filter = member.map(|member| format!("&member={member}")).unwrap_or_default();
            let rows: Vec<Value> =
                admin.get(&format!("/certificates?limit={limit}{filter}")).await?;
            output::print(json, &rows, |rows| {
                let columns = ["serial", "status", "profile", "owner", "subject"];
                let rows: Vec<Vec<String>> = rows
                    .iter()
                    .map(|row| columns.map(|column| text(row, column)).to_vec())
                    .collect();
                output::table(&["SERIAL", "STATUS", "PROFILE", "OWNER", "SUBJECT"], &rows)
            })
        }
        Cert::Show { serial } => {
            let record: Value = admin.get(&format!("/certificates/{serial}")).await?;
            output::print(json, &record, |record| {
                serde_json::to_string_pretty(record).unwrap_or_default()
            })
        }
        Cert::RootList { revoke_issuing } => {
            let asked = json!({ "revoke_issuing": revoke_issuing.map(code) });
            let answer: Value = admin.post("/root-list", &asked).await?;
            output::print(json, &answer, |answer| {
                format!(
                    "list {} of the root, good until {}, {} revoked",
                    text(answer, "number"),
                    text(answer, "next_update"),
                    text(answer, "revoked")
                )
            })
        }
        Cert::Revoke { serial, reason } => {
            let answer: Value = admin
                .post(&format!("/certificates/{serial}/revoke"), &json!({ "reason": code(reason) }))
                .await?;
            output::print(json, &answer, |answer| {
                format!("certificate {serial} revoked at height {}", text(answer, "height"))
            })
        }
        Cert::Bundle { serial, out } => {
            let bundle = admin
                .send(Method::GET, &format!("/certificates/{serial}/bundle"), &[], "")
                .await?
                .success()?;
            files::write(&out, &bundle)?;
            output::print(json, &json!({ "serial": serial, "file": out }), |_| {
                format!(
                    "written to {}; `hufu verify --genesis GENESIS FILE` checks it",
                    out.display()
                )
            })
        }
    }
}

fn code(reason: Reason) -> u8 {
    reason as u8
}

fn text(row: &Value, column: &str) -> String {
    match row.get(column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
