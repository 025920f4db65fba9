//! `hufu status`, `query` and `ledger`: questions to the running node.

use std::collections::BTreeMap;

use http::Method;
use hufu_client::Client;
use hufu_configuration::files;
use hufu_configuration::time::utc;
use hufu_proof::Outcome;
use serde_json::{Value, json};

use crate::access::Access;
use crate::cli::{Ledger, Query, parse_parameter};
use crate::output::{self, no};

/// `hufu status`: the node, and on an appliance the machine, which also answers
/// when the node does not.
///
/// # Errors
/// When neither answers.
pub async fn status(access: &Access, json: bool) -> anyhow::Result<()> {
    let (node, machine) = match access.appliance {
        Some(_) => {
            let client = access.connect()?;
            let node = client.get::<Value>("/status").await?;
            (Ok(node), machine_of(&client).await?)
        }
        None => {
            let node = async { access.connect()?.get::<Value>("/status").await }.await;
            (node, access.machine().await?)
        }
    };
    let mut status = match (node, &machine) {
        (Err(error), None) => return Err(error),
        (node, _) => node.unwrap_or_else(|_| json!({})),
    };
    if let (Some(machine), Value::Object(members)) = (machine, &mut status) {
        members.insert("machine".to_owned(), machine);
    }
    output::print(json, &status, members)
}

/// How the machine of a node is; `None` where nobody owns it.
async fn machine_of(client: &Client) -> anyhow::Result<Option<Value>> {
    let answer = client.send(Method::GET, "/machine/v1/state", &[], "").await?;
    if !answer.status.is_success() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&answer.body)?))
}

/// The members of an answer, one a line, nested ones indented.
pub fn members(answer: &Value) -> String {
    let mut text = String::new();
    lines(answer, 0, &mut text);
    text
}

fn lines(value: &Value, depth: usize, text: &mut String) {
    let Value::Object(members) = value else { return };
    for (name, value) in members {
        let indent = "  ".repeat(depth);
        match value {
            Value::Null => {}
            Value::Object(_) => {
                *text += &format!("{indent}{name}:\n");
                lines(value, depth + 1, text);
            }
            Value::Number(milliseconds) if name == "since_ms" => {
                let since = milliseconds.as_u64().map(utc).unwrap_or_default();
                *text += &format!("{indent}since: {since}\n");
            }
            Value::String(said) => *text += &format!("{indent}{name}: {said}\n"),
            Value::Array(items) => {
                let items: Vec<String> = items
                    .iter()
                    .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                    .collect();
                *text += &format!("{indent}{name}: {}\n", items.join(", "));
            }
            other => *text += &format!("{indent}{name}: {other}\n"),
        }
    }
}

/// `hufu query`.
///
/// # Errors
/// When the node does not answer or refuses the query.
pub async fn query(query: Query, access: &Access, json: bool) -> anyhow::Result<()> {
    let question = json!({ "sql": query.sql, "as_of": query.as_of });
    let answer: Value = access.connect()?.post("/query", &question).await?;
    output::print(json, &answer, |answer| {
        let cell = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let list =
            |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
        let header: Vec<String> = list(answer.get("columns")).iter().map(cell).collect();
        let rows: Vec<Vec<String>> = list(answer.get("rows"))
            .iter()
            .map(|row| list(Some(row)).iter().map(cell).collect())
            .collect();
        let names: Vec<&str> = header.iter().map(String::as_str).collect();
        format!(
            "{}\n{} rows as of height {}",
            output::table(&names, &rows),
            rows.len(),
            answer.get("as_of").map(cell).unwrap_or_default()
        )
    })
}

/// `hufu ledger`.
///
/// # Errors
/// When the node does not answer; [`hufu_configuration::Exit::No`] when the ledger
/// refuses a transaction.
pub async fn ledger(command: Ledger, access: &Access, json: bool) -> anyhow::Result<()> {
    let admin = access.connect()?;
    match command {
        Ledger::Invoke { contract, action, asset, params } => {
            let mut named = BTreeMap::new();
            for text in &params {
                let (name, value) = parse_parameter(text)?;
                let before = named.insert(name, value);
                anyhow::ensure!(before.is_none(), "`--param {text}`: it is given twice");
            }
            let body = json!({
                "contract": contract, "action": action, "asset": asset, "params": named,
            });
            submitted(json, &admin.post("/invoke", &body).await?)
        }
        Ledger::Receipt { transaction, out } => {
            let receipt = admin
                .send(Method::GET, &format!("/receipts/{transaction}"), &[], "")
                .await?
                .success()?;
            match out {
                Some(path) => files::write(&path, &receipt),
                None => output::raw(&String::from_utf8_lossy(&receipt)),
            }
        }
        Ledger::Block { height } => {
            let block: Value = admin.get(&format!("/blocks/{height}")).await?;
            output::raw(&(serde_json::to_string_pretty(&block)? + "\n"))
        }
    }
}

/// Prints what became of a transaction.
///
/// # Errors
/// [`hufu_configuration::Exit::No`] when it was refused.
pub fn submitted(json: bool, answer: &Value) -> anyhow::Result<()> {
    output::print(json, answer, |answer| {
        let mut text = String::new();
        lines(answer, 0, &mut text);
        text
    })?;
    let outcome: Option<Outcome> =
        answer.get("outcome").and_then(|outcome| serde_json::from_value(outcome.clone()).ok());
    match outcome {
        Some(outcome) if !outcome.is_accepted() => Err(no(outcome.to_string())),
        _ => Ok(()),
    }
}
