//! Scenario tests: `cases/*.toml`, parsed. They are run elsewhere, on a real
//! machine.
//!
//! The fixture world has the members `authority`, `regulator`, `maker`,
//! `operator` (of these kinds), `stranger` and those that the case adds (of none),
//! and devices, which are named after their identifiers and belong to the members
//! that the case says.
//!
//! ```toml
//! title = "a lease accrues by hours"
//! members = ["bank"]                # members beside those of every case
//! devices = { D1 = "maker" }       # devices and the members they answer to
//! grants = [{ member = "operator", role = "lessee" }]
//!
//! [[step]]
//! as = "maker"                      # a member or device
//! do = "equipment-leasing/offer"    # an action, or a stream with `rows`
//! on = "L1"                         # the asset; or its key among the params
//! params = { device = "D1" }
//! after = 3600000                   # milliseconds to pass before, by block time
//! expect = "ok"                     # or "refused: CODE"
//!
//! [[step]]
//! as = "D1"
//! do = "operation-supervision/reading"
//! rows = [{ metric = "temperature", value = "21.5", measured_at = 1000 }]
//! sequence = 1                      # the next one if left out
//!
//! [[step]]
//! as = "stranger"                   # whoever points at a date that has come
//! fire = "equipment-leasing/overdue"
//! on = "L1"
//! expect = "refused: not-due"
//!
//! [[then]]
//! control = "unpaid-lease"
//! params = { threshold = 0 }
//! findings = ["L1"]                 # subjects, in the order of the result
//!
//! [[then]]
//! as = "stranger"
//! sees = { asset = "equipment-leasing/lease", key = "L1", visible = false }
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use hufu_proof::{Name, Sequence};
use serde_json::Value as Json;

use crate::problem::Problem;
use crate::reader::{Document, Node, Section};

/// Most members that a case adds.
const MAX_MEMBERS: usize = 16;
/// Most steps of a case.
const MAX_STEPS: usize = 200;

/// A scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The file.
    pub path: String,
    /// What it shows.
    pub title: String,
    /// Members beside those of every case.
    pub members: Vec<Name>,
    /// Devices by identifier, with the member that answers for each.
    pub devices: BTreeMap<String, Name>,
    /// Roles granted beforehand.
    pub grants: Vec<Grant>,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// What is so afterwards.
    pub then: Vec<Then>,
}

/// A role that a member holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The contract; the package's own if left out.
    pub contract: Option<Name>,
    /// The role.
    pub role: Name,
    /// The member.
    pub member: Name,
}

/// One transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its line in the file.
    pub line: u32,
    /// Who signs: a member or a device.
    pub by: String,
    /// The contract.
    pub contract: Name,
    /// The action or stream.
    pub action: Name,
    /// What is asked.
    pub request: Request,
    /// Block time to pass before it.
    pub after: Duration,
    /// The outcome's code; `None` when it is accepted.
    pub refused: Option<String>,
}

/// What a step asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// An action.
    Invoke {
        /// The asset, when `on` says so.
        on: Option<String>,
        /// Parameters.
        params: BTreeMap<String, Json>,
    },
    /// A trigger whose date has come; its name is in place of the action's.
    Fire {
        /// The asset.
        on: String,
    },
    /// A batch of a stream.
    Append {
        /// Rows by column.
        rows: Vec<BTreeMap<String, Json>>,
        /// The sequence number; the next one when `None`.
        sequence: Option<Sequence>,
    },
}

/// What is so after the steps.
#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// A control has these findings.
    Control {
        /// Its line in the file.
        line: u32,
        /// The control.
        control: Name,
        /// Parameters other than the defaults.
        params: BTreeMap<String, Json>,
        /// Block time to pass before the control runs.
        after: Duration,
        /// The subjects of the findings in order.
        findings: Vec<String>,
    },
    /// A member sees an asset, or does not.
    Sees {
        /// Its line in the file.
        line: u32,
        /// Who looks: a member or a device.
        by: String,
        /// The contract.
        contract: Name,
        /// The asset type or stream.
        asset_type: Name,
        /// The asset's key; for a stream, the device's.
        key: String,
        /// Whether it is seen.
        visible: bool,
    },
    /// An asset has this state and these fields.
    Asset {
        /// Its line in the file.
        line: u32,
        /// The contract.
        contract: Name,
        /// The asset type.
        asset_type: Name,
        /// The asset's key.
        key: String,
        /// Its state, when named.
        state: Option<Name>,
        /// Fields and their values.
        fields: BTreeMap<String, Json>,
    },
}

/// Reads a case.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(path: &str, text: &str) -> Result<Case, Vec<Problem>> {
    let document = Document::new(path, text);
    let case = document.parse().and_then(|table| {
        let root = Section::root(&document, &table);
        read(path, &root)
    });
    let problems = document.into_problems();
    match case {
        Some(case) if problems.is_empty() => Ok(case),
        _ => Err(problems),
    }
}

fn read(path: &str, root: &Section<'_, '_>) -> Option<Case> {
    let title = root.required("title").and_then(|node| node.text());
    let members = root.optional("members").and_then(|node| {
        let members = node.names()?;
        if members.len() > MAX_MEMBERS {
            return node.refuse(format!("more than {MAX_MEMBERS} members"));
        }
        Some(members)
    });
    let members = members.unwrap_or_default();
    let mut devices = BTreeMap::new();
    if let Some(section) = root.optional("devices").and_then(|node| node.table()) {
        for node in section.entries() {
            if let Some(member) = node.name() {
                devices.insert(node.key().to_owned(), member);
            }
        }
    }
    let grants = each(root, "grants", |table| {
        let contract = table.optional("contract").and_then(|node| node.name());
        let (role, member) = (table.required("role"), table.required("member"));
        Some(Grant { contract, role: role?.name()?, member: member?.name()? })
    });
    let steps = each(root, "step", read_step);
    let then = each(root, "then", read_then);
    root.finish(&[]);
    let (path, title) = (path.to_owned(), title?.to_owned());
    Some(Case { path, title, members, devices, grants, steps, then })
}

/// Reads every table of an array of tables.
fn each<T>(
    root: &Section<'_, '_>,
    key: &'static str,
    read: impl Fn(&Section<'_, '_>) -> Option<T>,
) -> Vec<T> {
    let Some(node) = root.optional(key) else { return Vec::new() };
    let items = node.items().unwrap_or_default();
    if items.len() > MAX_STEPS {
        node.problem(format!("more than {MAX_STEPS} entries"));
        return Vec::new();
    }
    items.iter().filter_map(|item| read(&item.table()?)).collect()
}

fn read_step(table: &Section<'_, '_>) -> Option<Step> {
    let by = table.required("as").and_then(|node| node.text());
    let fires = table.optional("fire");
    let target = match &fires {
        Some(node) => read_target(node),
        None => table.required("do").and_then(|node| read_target(&node)),
    };
    let refused = table.required("expect").and_then(|node| match node.text()? {
        "ok" => Some(None),
        other => match other.strip_prefix("refused: ") {
            Some(code) if !code.is_empty() => Some(Some(code.to_owned())),
            _ => node.refuse("must be \"ok\" or \"refused: CODE\""),
        },
    });
    let after = read_after(table);
    let request = match table.optional("rows") {
        _ if fires.is_some() => {
            let on = table.required("on").and_then(|node| node.text().map(str::to_owned));
            Request::Fire { on: on? }
        }
        Some(node) => {
            let rows = node.items().unwrap_or_default();
            let rows = rows.iter().filter_map(|row| Some(read_values(&row.table()?))).collect();
            let sequence =
                table.optional("sequence").and_then(|node| u64::try_from(node.integer()?).ok());
            Request::Append { rows, sequence: sequence.map(Sequence) }
        }
        None => {
            let on = table.optional("on").and_then(|node| node.text().map(str::to_owned));
            let params = table.optional("params").and_then(|node| node.table());
            Request::Invoke { on, params: params.map(|t| read_values(&t)).unwrap_or_default() }
        }
    };
    table.finish(&[]);
    let (contract, action) = target?;
    Some(Step {
        line: table.line(),
        by: by?.to_owned(),
        contract,
        action,
        request,
        after,
        refused: refused?,
    })
}

fn read_then(table: &Section<'_, '_>) -> Option<Then> {
    let line = table.line();
    let then = if let Some(node) = table.optional("control") {
        let control = node.name();
        let params = table.optional("params").and_then(|node| node.table());
        let params = params.map(|table| read_values(&table)).unwrap_or_default();
        let after = read_after(table);
        let findings = table.required("findings").and_then(|node| {
            let items = node.items()?;
            items.iter().map(|item| item.text().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        Then::Control { line, control: control?, params, after, findings: findings? }
    } else if let Some(node) = table.optional("sees") {
        let by = table.required("as").and_then(|node| node.text());
        let sees = node.table()?;
        let target = sees.required("asset").and_then(|node| read_target(&node));
        let key = sees.required("key").and_then(|node| node.text());
        let visible = sees.required("visible").and_then(|node| node.boolean());
        sees.finish(&[]);
        let (contract, asset_type) = target?;
        Then::Sees {
            line,
            by: by?.to_owned(),
            contract,
            asset_type,
            key: key?.to_owned(),
            visible: visible?,
        }
    } else if let Some(node) = table.optional("asset") {
        let target = read_target(&node);
        let key = table.required("key").and_then(|node| node.text());
        let state = table.optional("state").and_then(|node| node.name());
        let fields = table.optional("fields").and_then(|node| node.table());
        let fields = fields.map(|table| read_values(&table)).unwrap_or_default();
        let (contract, asset_type) = target?;
        Then::Asset { line, contract, asset_type, key: key?.to_owned(), state, fields }
    } else {
        table.problem("", "must have one of `control`, `sees` and `asset`");
        return None;
    };
    table.finish(&[]);
    Some(then)
}

fn read_after(table: &Section<'_, '_>) -> Duration {
    table
        .optional("after")
        .and_then(|node| match u64::try_from(node.integer()?) {
            Ok(milliseconds) => Some(Duration::from_millis(milliseconds)),
            Err(_) => node.refuse("is negative"),
        })
        .unwrap_or_default()
}

fn read_values(table: &Section<'_, '_>) -> BTreeMap<String, Json> {
    table.entries().filter_map(|node| Some((node.key().to_owned(), node.json()?))).collect()
}

/// Reads `contract/name`.
fn read_target(node: &Node<'_, '_>) -> Option<(Name, Name)> {
    let text = node.text()?;
    let target = text
        .split_once('/')
        .and_then(|(contract, name)| Some((Name::new(contract).ok()?, Name::new(name).ok()?)));
    match target {
        Some(target) => Some(target),
        None => node.refuse("write \"CONTRACT/NAME\""),
    }
}
