//! The admin socket: what `hufu` commands on this machine ask of the running
//! node. Whoever may open the socket acts for the member.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hufu_client::readings;
use hufu_configuration::bundle;
use hufu_configuration::join::JoinRequest;
use hufu_contract::Type;
use hufu_proof::transaction::{Invocation, Payload, Proposal};
use hufu_proof::{Digest, LogEntry, Name, Outcome, Serial};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::authority::{IssueRequest, RootListRequest, TokenRequest};
use crate::fault;
use crate::machine;
use crate::node::Node;
use crate::recertification;
use crate::review;

/// Largest request, in bytes: a contract package in base64.
const MAX_REQUEST: usize = 2 * 1024 * 1024;

/// The routes of the admin socket.
pub fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/members", get(members))
        .route("/invoke", post(invoke))
        .route("/receipts/{transaction}", get(receipt))
        .route("/blocks/{height}", get(block))
        .route("/query", post(query))
        .route("/contracts", get(contracts))
        .route("/proposals", post(propose))
        .route("/proposals/{digest}", get(proposal))
        .route("/proposals/{digest}/approve", post(approve))
        .route("/certificates", get(certificates).post(issue))
        .route("/certificates/{serial}", get(certificate))
        .route("/certificates/{serial}/revoke", post(revoke))
        .route("/certificates/{serial}/bundle", get(certificate_bundle))
        .route("/enrolment-tokens", post(enrolment_token))
        .route("/root-list", post(root_list))
        .route("/tls", post(install))
        .route("/tls/renew", post(renew))
        .route("/machine/{*path}", any(machine::forward))
        .layer(axum::extract::DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(node)
}

/// A refusal as a problem document (RFC 9457).
pub struct Refusal(pub StatusCode, pub anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        let error = error.into();
        Self(fault::status(&error), error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let problem = json!({
            "type": "about:blank",
            "title": self.0.canonical_reason().unwrap_or("refused"),
            "status": self.0.as_u16(),
            "detail": format!("{:#}", self.1),
        });
        let content = [(axum::http::header::CONTENT_TYPE, "application/problem+json")];
        (self.0, content, problem.to_string()).into_response()
    }
}

type Answer<T> = Result<T, Refusal>;

fn not_found(what: impl std::fmt::Display) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, anyhow::anyhow!("no {what}"))
}

async fn status(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(node.status())
}

/// The members as the ledger has them, with their numbers among the validators
/// of the present epoch; a member that has come since votes from the next on.
async fn members(State(node): State<Arc<Node>>) -> Answer<Json<Value>> {
    let reader = node.ledger.reader();
    let (state, epoch) = (reader.state()?, reader.epoch());
    let validators = epoch.membership.validators();
    let mut members = Vec::new();
    for seat in reader.membership()?.seats {
        let record = state.member_record(&seat.name)?;
        let record = record.ok_or_else(|| not_found(format!("record of `{}`", seat.name)))?;
        members.push(json!({
            "name": seat.name,
            "title": record.title,
            "kinds": record.kinds,
            "jurisdictions": record.jurisdictions,
            "validator": validators.iter().position(|one| one.vote_key == seat.vote_key),
            "vote_key": seat.vote_key,
            "identity": seat.statement_key.identity(),
        }));
    }
    Ok(Json(Value::Array(members)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invoke {
    contract: Name,
    action: Name,
    asset: String,
    params: BTreeMap<Name, String>,
}

async fn invoke(State(node): State<Arc<Node>>, Json(asked): Json<Invoke>) -> Answer<Json<Value>> {
    let contract = node
        .ledger
        .reader()
        .state()?
        .compiled(&asked.contract)?
        .ok_or_else(|| not_found(format!("contract `{}` is active", asked.contract)))?;
    let action = contract
        .action(asked.action.as_str())
        .ok_or_else(|| not_found(format!("action `{}` in `{}`", asked.action, asked.contract)))?;
    let mut params = BTreeMap::new();
    let key = contract.asset_type(action.asset.as_str()).map(|asset| &asset.key);
    for (name, text) in asked.params {
        // A contract lists the key among the parameters; here it is the asset's.
        if key == Some(&name) && text == asked.asset {
            continue;
        }
        let parameter = action.params.get(&name).ok_or_else(|| {
            anyhow::anyhow!("action `{}` has no parameter `{name}`", asked.action)
        })?;
        let scale = match parameter.ty {
            Type::Decimal { scale, .. } => Some(scale),
            _ => None,
        };
        let value = readings::value(&text, parameter.ty.name(), scale)
            .map_err(|error| error.context(format!("parameter `{name}`")))?;
        params.insert(name, value);
    }
    let invocation =
        Invocation { contract: asked.contract, action: asked.action, asset: asked.asset, params };
    Ok(Json(outcome(&node.submitter.submit_any(Payload::Invoke(invocation)).await?)))
}

fn outcome(entry: &LogEntry) -> Value {
    json!({
        "id": entry.transaction, "outcome": entry.outcome,
        "height": entry.height, "index": entry.index,
    })
}

async fn receipt(State(node): State<Arc<Node>>, Path(transaction): Path<Digest>) -> Answer<String> {
    let receipt = node.receipt(transaction).await?;
    Ok(bundle::receipt(&receipt.ok_or_else(|| not_found(format!("transaction {transaction}")))?)?)
}

async fn block(State(node): State<Arc<Node>>, Path(height): Path<u64>) -> Answer<Json<Value>> {
    let block = node
        .ledger
        .reader()
        .block(height)?
        .ok_or_else(|| not_found(format!("block {height} here")))?;
    Ok(Json(json!({ "digest": block.digest(), "block": block })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    sql: String,
    as_of: Option<u64>,
}

async fn query(State(node): State<Arc<Node>>, Json(ask): Json<Ask>) -> Answer<Json<Value>> {
    Ok(Json(node.query(ask.sql, ask.as_of).await?))
}

async fn contracts(State(node): State<Arc<Node>>) -> Answer<Json<Value>> {
    Ok(Json(node.contracts()?))
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Propose {
    Deploy(String),
    Grant { contract: Name, role: Name, member: Name },
    Member(Box<JoinRequest>),
}

async fn propose(State(node): State<Arc<Node>>, Json(asked): Json<Propose>) -> Answer<Json<Value>> {
    let proposal = match asked {
        Propose::Deploy(package) => {
            let package = STANDARD.decode(package)?;
            node.check_package(package.clone()).await?;
            Proposal::Deploy { package }
        }
        Propose::Grant { contract, role, member } => Proposal::Grant { contract, role, member },
        Propose::Member(join) => {
            join.verify()?;
            let member = join.request.member();
            let problem = member.check(&node.genesis.constitution);
            problem.context("the join request")?;
            Proposal::Member { member }
        }
    };
    let shown = review::of(&node, &proposal)?;
    let digest = proposal.digest();
    let entry = node.submitter.submit_any(Payload::Propose(proposal)).await?;
    let mut answer = outcome(&entry);
    if let Value::Object(members) = &mut answer {
        members.insert("proposal".to_owned(), json!(digest));
        members.insert("proposed".to_owned(), shown);
        members.insert("approvals_needed".to_owned(), json!(node.genesis.constitution.approvals));
    }
    Ok(Json(answer))
}

async fn proposal(
    State(node): State<Arc<Node>>,
    Path(digest): Path<Digest>,
) -> Answer<Json<Value>> {
    let reader = node.ledger.reader();
    let proposal = reader.proposal(&digest)?;
    let proposal = proposal.ok_or_else(|| not_found(format!("proposal {digest}")))?;
    let record = reader.state()?.proposal(&digest)?;
    Ok(Json(json!({
        "proposal": digest,
        "proposed": review::of(&node, &proposal)?,
        "record": record,
        "approvals_needed": node.genesis.constitution.approvals,
    })))
}

async fn approve(State(node): State<Arc<Node>>, Path(digest): Path<Digest>) -> Answer<Json<Value>> {
    let proposal = node.ledger.reader().proposal(&digest)?;
    if let Some(Proposal::Deploy { package }) = &proposal {
        node.check_package(package.clone()).await?;
    }
    let shown = proposal.map(|proposal| review::of(&node, &proposal)).transpose()?;
    let entry = node.submitter.submit_any(Payload::Approve(digest)).await?;
    let mut answer = outcome(&entry);
    if let (Some(shown), Value::Object(members)) = (shown, &mut answer) {
        members.insert("approved".to_owned(), shown);
    }
    Ok(Json(answer))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    #[serde(default = "hundred")]
    limit: u32,
    member: Option<Name>,
}

fn hundred() -> u32 {
    100
}

async fn certificates(
    State(node): State<Arc<Node>>,
    Query(listing): Query<Listing>,
) -> Answer<Json<Value>> {
    Ok(Json(node.certificates(listing.member, listing.limit).await?))
}

async fn certificate(
    State(node): State<Arc<Node>>,
    Path(serial): Path<Serial>,
) -> Answer<Json<Value>> {
    let record = node
        .ledger
        .reader()
        .state()?
        .certificate(&serial)?
        .ok_or_else(|| not_found(format!("certificate {serial}")))?;
    let mut shown = serde_json::to_value(record)?;
    if let Value::Object(members) = &mut shown {
        members.insert("serial".to_owned(), json!(serial));
    }
    Ok(Json(shown))
}

async fn issue(
    State(node): State<Arc<Node>>,
    Json(request): Json<IssueRequest>,
) -> Answer<Json<Value>> {
    let (serial, chain) = node.authority()?.issue(request).await?;
    Ok(Json(json!({ "serial": serial.to_string(), "chain": chain })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    reason: u8,
}

async fn revoke(
    State(node): State<Arc<Node>>,
    Path(serial): Path<Serial>,
    Json(asked): Json<Revoke>,
) -> Answer<Json<Value>> {
    let height = node.authority()?.revoke(&serial, asked.reason).await?;
    Ok(Json(json!({ "serial": serial, "height": height, "outcome": Outcome::Accepted })))
}

async fn enrolment_token(
    State(node): State<Arc<Node>>,
    Json(request): Json<TokenRequest>,
) -> Answer<Json<Value>> {
    Ok(Json(node.authority()?.enrolment_token(request).await?))
}

async fn root_list(
    State(node): State<Arc<Node>>,
    Json(request): Json<RootListRequest>,
) -> Answer<Json<Value>> {
    Ok(Json(node.authority()?.root_list(&request).await?))
}

async fn certificate_bundle(
    State(node): State<Arc<Node>>,
    Path(serial): Path<Serial>,
) -> Answer<String> {
    let certificate = node.authority()?.certificate(&serial)?;
    let record = node
        .ledger
        .reader()
        .state()?
        .certificate(&serial)?
        .ok_or_else(|| not_found(format!("certificate {serial} on the ledger")))?;
    let receipt = node
        .receipt(record.transaction)
        .await?
        .ok_or_else(|| not_found(format!("transaction {}", record.transaction)))?;
    Ok(bundle::certificate(&certificate, &receipt)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Install {
    chain: String,
}

async fn install(State(node): State<Arc<Node>>, Json(asked): Json<Install>) -> Answer<Json<Value>> {
    node.install_certificate(&asked.chain)?;
    Ok(Json(json!({ "installed": true })))
}

async fn renew(State(node): State<Arc<Node>>) -> Answer<Json<Value>> {
    let serial = recertification::renew_own(&node).await?.context(
        "`[ca] est_url` of the configuration does not name the authority's EST service: name it \
         and start the node again, or have tls.csr certified (`hufu cert issue --renew` at the \
         authority) and run `hufu cert install`",
    )?;
    Ok(Json(json!({ "serial": serial })))
}
