//! `hufu status`, `query` and `ledger`: questions to the running node.

use std::collections::BTreeMap;

use http::Method;
use hufu_client::Client;
use hufu_configuration::files;
use hufu_configuration::time::utc;
use hufu_proof::text::shown;
use hufu_proof::{Outcome, UnixMillis};
use hufu_report::{Cell, Form};
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
    Ok(Some(answer.json()?))
}

/// The members of an answer, one a line, nested ones indented.
pub fn members(answer: &Value) -> String {
    let mut text = String::new();
    lines(answer, &mut Vec::new(), &mut text);
    text
}

/// `path` names the members around it.
fn lines<'a>(value: &'a Value, path: &mut Vec<&'a str>, text: &mut String) {
    let Value::Object(members) = value else { return };
    for (name, value) in members {
        let indent = "  ".repeat(path.len());
        let (name, called) = (name.as_str(), name.replace('_', " "));
        let called = shown(&called);
        match value {
            Value::Null => {}
            Value::Object(members) if members.is_empty() => {
                *text += &format!("{indent}{called}: none\n");
            }
            Value::Object(_) => {
                *text += &format!("{indent}{called}:\n");
                path.push(name);
                lines(value, path, text);
                path.pop();
            }
            Value::Array(items) if items.is_empty() => {
                *text += &format!("{indent}{called}: none\n");
            }
            Value::Array(items) => {
                *text += &format!("{indent}{called}:\n");
                for item in items {
                    *text += &format!("{indent}  {}\n", shown(&in_line(item)));
                }
            }
            Value::Number(number) if name == "since_ms" => {
                let since = number.as_u64().map(UnixMillis).map(utc).unwrap_or_default();
                *text += &format!("{indent}since: {since}\n");
            }
            Value::Number(number)
                if path.first() == Some(&"recorded_today") && !name.starts_with("transactions") =>
            {
                let bytes = number.as_u64().map(bytes).unwrap_or_default();
                *text += &format!("{indent}{called}: {bytes}\n");
            }
            other => *text += &format!("{indent}{called}: {}\n", shown(&in_line(other))),
        }
    }
}

/// A value on one line: of an object, the first member with those that follow in
/// parentheses.
pub fn in_line(value: &Value) -> String {
    match value {
        Value::String(said) => said.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Object(members) => {
            let mut members = members.iter();
            let first = members.next().map(|(_, value)| in_line(value)).unwrap_or_default();
            let more: Vec<String> = members
                .map(|(name, value)| format!("{} {}", name.replace('_', " "), in_line(value)))
                .collect();
            if more.is_empty() { first } else { format!("{first} ({})", more.join(", ")) }
        }
        Value::Array(items) => items.iter().map(in_line).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A size in bytes for people: in the largest unit of which there is one, to a
/// tenth, rounded down.
pub fn bytes(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| u128::from(bytes) >= *size) {
        Some((size, unit)) => {
            let tenths = u128::from(bytes) * 10 / size;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

/// `hufu query`.
///
/// # Errors
/// When the node does not answer or refuses the query.
pub async fn query(query: Query, access: &Access, json: bool) -> anyhow::Result<()> {
    let mut question = json!({ "sql": query.sql, "as_of": query.as_of });
    // A table is made of exact numbers anyway.
    if json && query.text_numbers {
        question["numbers"] = json!("text");
    }
    let answer: Value = access.connect()?.post("/query", &question).await?;
    output::print(json, &answer, query_text)
}

/// The answer to a query as a table: values as their types write them, and what is
/// known of no column said below.
fn query_text(answer: &Value) -> String {
    let list = |name: &str| answer.get(name).cloned().unwrap_or_default();
    let columns: Vec<String> = serde_json::from_value(list("columns")).unwrap_or_default();
    let types: Vec<Form> = serde_json::from_value(list("types")).unwrap_or_default();
    let rows: Vec<Vec<Cell>> = serde_json::from_value(list("rows")).unwrap_or_default();
    let form = |place: usize| types.get(place).unwrap_or(&Form::Plain);
    let cell = |(place, cell): (usize, &Cell)| match (form(place), cell) {
        (_, Cell::Null) => String::new(),
        // Exact, and in the form in which a query takes it.
        (Form::Time, Cell::Integer(time)) => hufu_report::time::iso_time(*time),
        (form, cell) => hufu_report::Style::default().value(cell, form, None),
    };
    let table: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().enumerate().map(cell).collect()).collect();
    let plain: Vec<&str> = columns
        .iter()
        .enumerate()
        .filter(|(place, _)| {
            *form(*place) == Form::Plain
                && rows.iter().any(|row| matches!(row.get(*place), Some(Cell::Integer(_))))
        })
        .map(|(_, name)| name.as_str())
        .collect();
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut text = format!(
        "{}\n{} {} as of height {}",
        output::table(&names, &table),
        rows.len(),
        if rows.len() == 1 { "row" } else { "rows" },
        answer.get("as_of").unwrap_or(&Value::Null)
    );
    if !plain.is_empty() {
        text += &format!(
            "\nshown as computed, in units of its last decimal where it has any: {}",
            plain.join(", ")
        );
    }
    text
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
                if named.insert(name.clone(), value).is_some() {
                    anyhow::bail!("--param: `{name}` is given twice; which counts cannot be known");
                }
            }
            let body = json!({
                "contract": contract, "action": action, "asset": asset, "params": named,
            });
            submitted(json, &admin.post("/invoke", &body).await?)
        }
        Ledger::Fire { contract, trigger, asset } => {
            let body = json!({ "contract": contract, "trigger": trigger, "asset": asset });
            submitted(json, &admin.post("/fire", &body).await?)
        }
        Ledger::Receipt { transaction, out } => {
            let receipt = admin
                .send(Method::GET, &format!("/receipts/{transaction}"), &[], "")
                .await?
                .success()?;
            match out {
                Some(path) => files::write(&path, &receipt),
                None => output::lines(&String::from_utf8_lossy(&receipt)),
            }
        }
        Ledger::Block { height } => {
            let block: Value = admin.get(&format!("/blocks/{height}")).await?;
            output::print(true, &block, Value::to_string)
        }
    }
}

/// Prints what became of a transaction.
///
/// # Errors
/// [`hufu_configuration::Exit::No`] when it was refused.
pub fn submitted(json: bool, answer: &Value) -> anyhow::Result<()> {
    output::print(json, answer, members)?;
    let outcome: Option<Outcome> =
        answer.get("outcome").and_then(|outcome| serde_json::from_value(outcome.clone()).ok());
    match outcome {
        Some(outcome) if !outcome.is_accepted() => {
            Err(no(format!("{outcome}: {}", outcome.meaning())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_by_people() {
        let of = |status: Value| members(&status);
        assert_eq!(
            of(json!({"since_ms": 1_795_183_509_123_u64})),
            "since: 2026-11-20 14:05:09 UTC\n"
        );
        assert_eq!(
            of(json!({"reasons": ["validators missing: maker; it goes on", "token `x`: gone"]})),
            "reasons:\n  validators missing: maker; it goes on\n  token `x`: gone\n"
        );
        assert_eq!(of(json!({"warnings": []})), "warnings: none\n");
        assert_eq!(of(json!({"standings": {}})), "standings: none\n");
        assert_eq!(
            of(json!({"recorded_today": {"bytes": {"maker": 284_498}}})),
            "recorded today:\n  bytes:\n    maker: 277.8 KiB\n"
        );
        assert_eq!(of(json!({"tls_certificate": true})), "tls certificate: yes\n");
        let certificate = json!({"name": "TLS certificate", "not_after": "2027-12-31"});
        assert_eq!(
            of(json!({"certificates": [certificate]})),
            "certificates:\n  TLS certificate (not after 2027-12-31)\n"
        );
        assert_eq!(
            [0, 1023, 1024, u64::MAX].map(bytes),
            ["0 bytes", "1023 bytes", "1.0 KiB", "17179869183.9 GiB"]
        );
    }
}
