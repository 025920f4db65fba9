//! What queries and reports are asked with, and how they are answered.

use std::collections::BTreeMap;

use hufu_door::{Caller, Code, Jurisdictions};
use hufu_proof::transaction::Look;
use hufu_proof::{Digest, FinalityProof, Name};
use hufu_query::{AsOf, Leash, Place, Session, child};
use hufu_readmodel::Scope;
use hufu_report::{
    Cell, Form, Format, Language, Report, Style, UtcOffset, canonical, seal as seal_report,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Gateway;
use crate::earlier::look_begins;
use crate::ledger::LedgerFault;
use crate::problem::ApiProblem;
use crate::run::{Ran, Run, RunError, Stage, active_contracts, run};
use crate::shown::title;

/// The body of a query.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskQuery {
    /// One SELECT.
    sql: String,
    /// As of which height; the last one when absent.
    as_of: Option<u64>,
    /// Values of the parameters.
    #[serde(default)]
    parameters: BTreeMap<Name, Cell>,
    /// Narrows tables to what is in it; tables that do not tell are refused.
    jurisdiction: Option<Name>,
    /// How whole numbers are written.
    #[serde(default)]
    numbers: Numbers,
}

/// How whole numbers in the rows of an answer are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// As JSON numbers, exact whatever their size.
    #[default]
    Exact,
    /// As text, for readers that hold a JSON number in a double, where what is over
    /// 2^53 loses its last digits.
    Text,
}

impl Numbers {
    /// Rows as they are written.
    pub fn write(self, mut rows: Vec<Vec<Cell>>) -> Vec<Vec<Cell>> {
        if self == Self::Text {
            for cell in rows.iter_mut().flatten() {
                if let Cell::Integer(number) = cell {
                    *cell = Cell::Text(number.to_string());
                }
            }
        }
        rows
    }
}

/// The body of a report's request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskReport {
    /// `contract/set`.
    control_set: String,
    /// Values of parameters by control, in place of the set's.
    #[serde(default)]
    parameters: BTreeMap<Name, BTreeMap<Name, Value>>,
    /// As of which height; the last one that a header commits to when absent.
    as_of: Option<u64>,
    /// The file's form.
    #[serde(default)]
    pub format: Format,
    /// The language of what people read.
    #[serde(default)]
    language: Language,
    /// How far the local time of what people read is ahead of UTC; that of the
    /// language when absent.
    utc_offset: Option<UtcOffset>,
    /// The height of the run to compare with; the last one when absent.
    since: Option<u64>,
    /// Narrows tables to what is in it; tables that do not tell are refused.
    jurisdiction: Option<Name>,
}

/// The answer to a query.
#[derive(Clone, Debug, Serialize)]
pub struct QueryAnswer {
    /// As of which height.
    pub height: u64,
    time_ms: u64,
    columns: Vec<String>,
    /// What the values of each column are: numbers are in units of the last of
    /// `scale` decimals, times in milliseconds since 1970.
    types: Vec<Form>,
    rows: Vec<Vec<Cell>>,
    /// The transaction that recorded the look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look: Option<Digest>,
}

impl QueryAnswer {
    /// SHA-256 of the canonical JSON of all of it but the look.
    pub fn digest(&self) -> Result<Digest, ApiProblem> {
        digest(&Self { look: None, ..self.clone() })
    }
}

/// SHA-256 of the canonical JSON of an answer: what its look names it by.
pub fn digest(shown: &impl Serialize) -> Result<Digest, ApiProblem> {
    let bytes = canonical::encode(shown).map_err(|error| {
        tracing::error!(%error, "an answer is not canonical JSON");
        ApiProblem::new(Code::Internal, "the answer cannot be written")
    })?;
    Ok(Digest::of(&bytes))
}

/// A report before it is signed.
pub struct Made {
    /// The report.
    pub report: Report,
    /// Digest of its body in the format asked for.
    pub body: Digest,
    question: Digest,
    finality: FinalityProof,
    format: Format,
    style: Style,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Unanswered {
    /// What the caller is told.
    pub problem: ApiProblem,
    /// As of which height rows had been looked at, if any had.
    pub looked: Option<u64>,
}

impl<E: Into<ApiProblem>> From<E> for Unanswered {
    fn from(problem: E) -> Self {
        Self { problem: problem.into(), looked: None }
    }
}

/// The active contracts and what can be asked of them.
pub fn contracts(gateway: &Gateway) -> Result<Value, ApiProblem> {
    let Some((height, _)) = gateway.reader.applied()? else {
        return Ok(json!({"height": null, "contracts": []}));
    };
    let mut snapshot = gateway.reader.snapshot(height, Scope::Whole)?;
    let mut listed = Vec::new();
    for (name, (version, digest)) in active_contracts(&mut snapshot)? {
        let contract = gateway.ledger.contract(&digest)?;
        let tables: Vec<Value> = snapshot
            .tables()
            .iter()
            .filter(|table| table.contract == name && table.sql_schema != "ledger")
            .map(|table| {
                json!({
                    "table": format!("{}.{}", table.sql_schema, table.sql_name),
                    "kind": table.kind.code(),
                    "columns": table.columns.iter().map(|column| json!({
                        "name": column.sql_name,
                        "type": column.column_type.code(),
                    })).collect::<Vec<_>>(),
                })
            })
            .collect();
        let sets: Vec<Value> = contract
            .control_sets()
            .values()
            .map(|set| json!({"name": set.name, "title": title(&set.title)}))
            .collect();
        listed.push(json!({
            "name": name,
            "version": version,
            "digest": digest,
            "title": title(contract.title()),
            "tables": tables,
            "control_sets": sets,
        }));
    }
    Ok(json!({"height": height, "contracts": listed}))
}

/// Runs a query in the process that has this place.
pub fn query(
    gateway: &Gateway,
    caller: &Caller,
    asked: &AskQuery,
    (place, leash): (Place, Leash),
) -> Result<QueryAnswer, Unanswered> {
    let height = match asked.as_of {
        Some(height) => height,
        None => gateway.reader.applied()?.map_or(0, |(height, _)| height),
    };
    within_jurisdiction(caller, asked.jurisdiction.as_ref())?;
    let scope = Scope::narrowed_to(asked.jurisdiction.as_ref().map(Name::as_str));
    let worker = place.start(child::SQL, gateway.limits.query_bounds, leash);
    let answer = worker.and_then(|worker| {
        let as_of = AsOf { height, scope, contracts: None };
        Session::new(worker, gateway.reader.clone()).query(
            &as_of,
            &asked.sql,
            &asked.parameters,
            &gateway.limits.query,
        )
    });
    let answer = answer.map_err(|problem| Unanswered {
        looked: problem.has_looked().then_some(height),
        problem: problem.into(),
    })?;
    Ok(QueryAnswer {
        height,
        time_ms: answer.time_ms,
        columns: answer.columns,
        types: answer.forms,
        rows: asked.numbers.write(answer.rows),
        look: None,
    })
}

/// Computes a report, its queries in the process that has this place.
pub fn report(
    gateway: &Gateway,
    caller: &Caller,
    asked: &AskReport,
    (place, leash): (Place, Leash),
) -> Result<Made, Unanswered> {
    let wrong = |detail: String| ApiProblem::new(Code::RequestMalformed, detail);
    let (contract, set) = asked
        .control_set
        .split_once('/')
        .ok_or_else(|| wrong("control_set: write CONTRACT/SET".into()))?;
    let name = |text| Name::new(text).map_err(|error| wrong(format!("control_set: {error}")));
    let as_of = match asked.as_of {
        Some(height) => height,
        None => {
            let anchored = gateway.ledger.status()?.anchored_height;
            anchored.min(gateway.reader.applied()?.map_or(0, |(height, _)| height))
        }
    };
    within_jurisdiction(caller, asked.jurisdiction.as_ref())?;
    let asked_run = Run {
        contract: name(contract)?,
        set: name(set)?,
        parameters: asked.parameters.clone(),
        as_of,
        jurisdiction: asked.jurisdiction.as_ref().map(Name::to_string),
        since: asked.since,
    };
    let unanswered = |error: RunError| Unanswered {
        looked: error.has_looked().then_some(as_of),
        problem: error.into(),
    };
    let worker = place.start(child::SQL, gateway.limits.report_bounds, leash);
    let worker = worker.map_err(|problem| unanswered(problem.into()))?;
    let mut session = Session::new(worker, gateway.reader.clone());
    let Ran { report, finality, question } =
        run(&mut session, &gateway.reader, &*gateway.ledger, &gateway.genesis, &asked_run)
            .map_err(unanswered)?;
    let mut style = Style::from(asked.language);
    style.utc_offset = asked.utc_offset.unwrap_or(style.utc_offset);
    let body = hufu_report::body(&report, asked.format, style);
    let body = Digest::of(&body.map_err(|error| unanswered(error.into()))?);
    Ok(Made { report, body, question, finality, format: asked.format, style })
}

/// Signs a report.
pub fn seal(gateway: &Gateway, made: Made) -> Result<Vec<u8>, ApiProblem> {
    let Made { report, finality, format, style, .. } = made;
    let then = finality.membership(&gateway.genesis);
    let key = gateway.signer.public_key();
    // Where this member had another key, or was none, it shows that it is one now.
    let later = match then.seat(&gateway.member) {
        Some(seat) if seat.statement_key == key => Vec::new(),
        _ => gateway.ledger.handovers(finality.certificate.epoch)?,
    };
    let (member, signer) = (&gateway.member, &*gateway.signer);
    seal_report(&report, format, style, member, signer, finality, later).map_err(
        |error| match error {
            hufu_report::ReportError::Signer(cause) => {
                tracing::error!(%cause, "a report could not be signed");
                ApiProblem::new(Code::Unavailable, "the signing token does not answer")
                    .retry_after(std::time::Duration::from_secs(5))
            }
            other => RunError::from(other).into(),
        },
    )
}

/// What the ledger records of a query: who asked what.
pub fn query_subject(caller: &Caller, asked: &AskQuery) -> String {
    look_subject_of_query(&caller.subject, &caller.member, &asked.sql)
}

/// The same, of whoever asks for a member.
pub fn look_subject_of_query(who: &str, member: &Name, sql: &str) -> String {
    bounded(format!("query by {who} of {member}: {}", sql.trim()))
}

/// What the ledger records of something that was seen by its identifier.
pub fn look_subject(what: &str, who: &str, member: &Name) -> String {
    bounded(format!("{what} by {who} of {member}"))
}

/// What the ledger records of a report: what was asked, in the form by which a
/// later run finds it, and by whom.
pub fn report_subject(caller: &Caller, made: &Made) -> String {
    let set = &made.report.control_set;
    let begins = look_begins(&set.contract, &set.name, &made.question);
    let (format, subject, member) = (made.format.code(), &caller.subject, &caller.member);
    bounded(format!("{begins}as {format} by {subject} of {member}"))
}

/// What the ledger records of a query that looked at rows and gave no answer.
pub fn query_unanswered(caller: &Caller, asked: &AskQuery) -> String {
    look_subject_unanswered(&caller.subject, &caller.member, &asked.sql)
}

/// The same, of whoever asks for a member.
pub fn look_subject_unanswered(who: &str, member: &Name, sql: &str) -> String {
    bounded(format!("query without an answer by {who} of {member}: {}", sql.trim()))
}

/// What the ledger records of a report that was not given out. It begins otherwise
/// than that of one that was, with which later runs are compared.
pub fn report_unanswered(caller: &Caller, asked: &AskReport) -> String {
    let (set, subject, member) = (&asked.control_set, &caller.subject, &caller.member);
    bounded(format!("report without an answer by {subject} of {member}: {set}"))
}

/// At most [`Look::MAX_SUBJECT`] bytes; what is cut off is replaced by the
/// digest of the whole. On one line, since the ledger takes no line feed there.
fn bounded(text: String) -> String {
    let text = hufu_proof::text::shown(&text).into_owned();
    if text.len() <= Look::MAX_SUBJECT {
        return text;
    }
    let tail = format!("… sha256:{}", Digest::of(text.as_bytes()));
    let mut end = Look::MAX_SUBJECT - tail.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{tail}", &text[..end])
}

/// A regulator of some jurisdictions must name one of them; one of the whole
/// consortium may name any or none.
fn within_jurisdiction(caller: &Caller, asked: Option<&Name>) -> Result<(), ApiProblem> {
    let own = match &caller.jurisdictions {
        Jurisdictions::Whole => return Ok(()),
        Jurisdictions::Some(own) if asked.is_some_and(|asked| own.contains(asked)) => return Ok(()),
        Jurisdictions::Some(own) => own.iter().map(Name::as_str).collect::<Vec<_>>().join(", "),
        Jurisdictions::None => {
            let detail = format!("the ledger gives member `{}` no jurisdiction", caller.member);
            return Err(ApiProblem::new(Code::OutsideJurisdiction, detail));
        }
    };
    let detail = format!("jurisdiction: name one of yours: {own}");
    Err(ApiProblem::new(Code::OutsideJurisdiction, detail))
}

impl From<RunError> for ApiProblem {
    fn from(error: RunError) -> Self {
        let detail = error.to_string();
        match error {
            RunError::Request(_) => Self::new(Code::RequestMalformed, detail),
            RunError::NotAnchored(_) => {
                Self::new(Code::NotAnchored, detail).retry_after(std::time::Duration::from_secs(1))
            }
            RunError::Query { stage, problem } => {
                let told = Self::of_query(&problem, detail);
                match stage {
                    Stage::Control { control, number, of } => told
                        .with("control", control.to_string())
                        .with("controls_done", number.saturating_sub(1))
                        .with("controls", of),
                    Stage::Compared { control, of, .. } => told
                        .with("control", control.to_string())
                        .with("controls_done", 0)
                        .with("controls", of),
                    Stage::Begun { of } => told.with("controls_done", 0).with("controls", of),
                    Stage::Scope { of } => told.with("controls_done", of).with("controls", of),
                }
            }
            RunError::Read(problem) => problem.into(),
            RunError::TooLarge => Self::new(Code::ReportTooLarge, detail),
            RunError::Ledger(LedgerFault::NotFound(_)) | RunError::Report(_) => {
                tracing::error!(%detail, "a report does not hold");
                Self::new(Code::Internal, "the report does not hold; the log of this node says why")
            }
            RunError::Ledger(fault) => fault.into(),
        }
    }
}
