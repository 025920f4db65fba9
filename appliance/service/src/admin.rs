//! The admin socket: what `hufu` commands on this machine ask of the running
//! node. Whoever may open the socket acts for the member.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, any, get, post};
use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hufu_configuration::bundle;
use hufu_configuration::join::JoinRequest;
use hufu_contract::{Type, belonging, spelling};
use hufu_door::body::{Json, Path, Query, whole_number};
use hufu_door::{Code, Form, Peer, Problem, Route, Rule, route};
use hufu_gateway::{Numbers, Seen};
use hufu_proof::transaction::{Firing, Payload, Proposal};
use hufu_proof::{
    Budget, Digest, Height, Jurisdictions, Member, Name, NetworkName, Outcome, Quotas, Serial,
    Standing, codec,
};
use hufu_query::Leash;
use hufu_readmodel::Scope;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::administrator::Administrator;
use crate::archived;
use crate::authority::{IssueRequest, RootListRequest, TokenRequest};
use crate::declarations;
use crate::gateway;
use crate::governance;
use crate::machine;
use crate::node::Node;
use crate::recertification;
use crate::refusal::{Answer, Refusal};
use crate::renewal;
use crate::review;
use crate::submit::outcome;

/// Largest request, in bytes: a contract package in base64.
const MAX_REQUEST: usize = 2 * 1024 * 1024;

/// Every route of the administration, at the socket and under `/admin` of the
/// gateway.
pub const ROUTES: &[Route] = &[
    Route::new("GET", "/status", Rule::Administrator),
    Route::new("GET", "/members", Rule::Administrator),
    Route::new("GET", "/constitution", Rule::Administrator),
    Route::new("POST", "/invoke", Rule::Administrator),
    Route::new("POST", "/fire", Rule::Administrator),
    Route::new("GET", "/receipts/{transaction}", Rule::Administrator),
    Route::new("POST", "/proofs", Rule::Administrator),
    Route::new("GET", "/blocks/{height}", Rule::Administrator),
    Route::new("POST", "/query", Rule::Administrator),
    Route::new("GET", "/contracts", Rule::Administrator),
    Route::new("POST", "/proposals", Rule::Administrator),
    Route::new("GET", "/proposals/{digest}", Rule::Administrator),
    Route::new("POST", "/proposals/{digest}/approve", Rule::Administrator),
    Route::new("GET", "/certificates", Rule::Administrator),
    Route::new("POST", "/certificates", Rule::Administrator),
    Route::new("GET", "/certificates/{serial}", Rule::Administrator),
    Route::new("POST", "/certificates/{serial}/revoke", Rule::Administrator),
    Route::new("GET", "/certificates/{serial}/bundle", Rule::Administrator),
    Route::new("POST", "/enrolment-tokens", Rule::Administrator),
    Route::new("POST", "/root-list", Rule::Administrator),
    Route::new("POST", "/tls", Rule::Administrator),
    Route::new("GET", "/approvals", Rule::Administrator),
    Route::new("POST", "/approvals", Rule::Administrator),
    Route::new("POST", "/approvals/{key}/withdraw", Rule::Administrator),
    Route::new("POST", "/delegation", Rule::Administrator),
    Route::new("POST", "/hand-over", Rule::Administrator),
    Route::new("POST", "/address", Rule::Administrator),
    Route::new("GET", "/archives", Rule::Administrator),
    Route::new("POST", "/archives", Rule::Administrator),
    Route::new("GET", "/archives/{first}/{file}", Rule::Administrator),
    Route::new("GET", "/declared-archives/{member}", Rule::Administrator),
    Route::new("POST", "/tls/renew", Rule::Administrator),
    Route::new("POST", "/issuing/renew", Rule::Administrator),
    Route::new("*", "/machine/{*path}", Rule::Administrator),
];

fn handler(route: &Route) -> MethodRouter<Arc<Node>> {
    match (route.method, route.path) {
        ("GET", "/status") => get(status),
        ("GET", "/members") => get(members),
        ("GET", "/constitution") => get(governance::show),
        ("POST", "/invoke") => post(invoke),
        ("POST", "/fire") => post(fire),
        ("GET", "/receipts/{transaction}") => get(receipt),
        ("POST", "/proofs") => post(prove),
        ("GET", "/blocks/{height}") => get(block),
        ("POST", "/query") => post(query),
        ("GET", "/contracts") => get(contracts),
        ("POST", "/proposals") => post(propose),
        ("GET", "/proposals/{digest}") => get(proposal),
        ("POST", "/proposals/{digest}/approve") => post(approve),
        ("GET", "/certificates") => get(certificates),
        ("POST", "/certificates") => post(issue),
        ("GET", "/certificates/{serial}") => get(certificate),
        ("POST", "/certificates/{serial}/revoke") => post(revoke),
        ("GET", "/certificates/{serial}/bundle") => get(certificate_bundle),
        ("POST", "/enrolment-tokens") => post(enrolment_token),
        ("POST", "/root-list") => post(root_list),
        ("POST", "/tls") => post(install),
        ("GET", "/approvals") => get(declarations::approvals),
        ("POST", "/approvals") => post(declarations::approve),
        ("POST", "/approvals/{key}/withdraw") => post(declarations::withdraw),
        ("POST", "/delegation") => post(declarations::delegate),
        ("POST", "/hand-over") => post(declarations::hand_over),
        ("POST", "/address") => post(declarations::announce),
        ("GET", "/archives") => get(archived::list),
        ("POST", "/archives") => post(archived::make),
        ("GET", "/archives/{first}/{file}") => get(archived::file),
        ("GET", "/declared-archives/{member}") => get(archived::declared),
        ("POST", "/tls/renew") => post(renew),
        ("POST", "/issuing/renew") => post(renew_issuing),
        ("*", "/machine/{*path}") => any(machine::forward),
        // The node's start meets every row.
        _ => MethodRouter::new(),
    }
}

/// The router of the administration. Whoever gets through acts for the member.
pub fn router(node: Arc<Node>) -> Router {
    route::router(ROUTES, Some(&node.config.member.name), Form::Json, handler)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_REQUEST))
        .layer(middleware::from_fn_with_state(node.clone(), reads))
        .layer(middleware::from_fn(log))
        .with_state(node)
}

/// Lets a front-end do what only reads.
async fn reads(
    State(node): State<Arc<Node>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let path = request.uri().path();
    // What comes from the gateway still has the path that was asked there.
    let asks = ["/query", "/proofs", "/tls"].iter().any(|end| path.ends_with(end));
    if node.ledger.follows() && request.method() != Method::GET && !asks {
        return Err(hufu_node::Error::FrontEnd.into());
    }
    Ok(next.run(request).await)
}

/// Logs who administers from afar.
async fn log(request: Request, next: Next) -> Response {
    if let Some(Peer::Known(caller)) = request.extensions().get::<Peer>() {
        let (who, method, path) = (caller.describe(), request.method(), request.uri().path());
        tracing::info!(who, %method, path, "administration");
    }
    next.run(request).await
}

fn not_found(what: impl std::fmt::Display) -> Refusal {
    Refusal(Problem::new(Code::NotFound, format!("no {what}")))
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
    let (membership, standings) = (reader.membership()?, state.standings()?);
    let seated = membership.seats.into_iter().map(|seat| seat.name);
    let others = standings.of.iter().filter(|(_, one)| one.standing != Standing::Good);
    for name in seated.chain(others.map(|(name, _)| name.clone())) {
        let record = state.member_record(&name)?;
        let record = record.ok_or_else(|| not_found(format!("record of `{name}`")))?;
        members.push(json!({
            "name": name,
            "standing": standings.of(&name),
            "title": record.title,
            "kinds": record.kinds,
            "jurisdictions": record.jurisdictions,
            "names": record.names,
            "address": state.address(&name)?,
            "validator": validators.iter().position(|one| one.vote_key == record.vote_key),
            "vote_key": record.vote_key,
            "statement_key": record.statement_key,
            "identity": record.statement_key.identity(),
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
    let action = asked.action.as_str();
    let asset_type =
        contract.action(action).and_then(|one| contract.asset_type(one.asset.as_str()));
    let key = asset_type.map(|asset_type| &asset_type.key);
    let params: BTreeMap<String, Value> = asked
        .params
        .into_iter()
        // A contract lists the key among the parameters; here it is the asset's.
        .filter(|(name, text)| key != Some(name) || *text != asked.asset)
        .map(|(name, text)| {
            let declared = contract.action(action).and_then(|one| one.params.get(&name));
            (name.to_string(), written(declared.map(|one| &one.ty), text))
        })
        .collect();
    let invocation = contract.invocation(action, Some(&asked.asset), &params)?;
    Ok(Json(outcome(&node.submitter.submit_any(Payload::Invoke(invocation)).await?)))
}

/// A value as people write it: lists and sets in JSON, everything else as text.
fn written(ty: Option<&Type>, text: String) -> Value {
    match ty {
        Some(Type::List { .. } | Type::Set { .. }) => {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        _ => Value::String(text),
    }
}

/// Points at a date that has come.
async fn fire(State(node): State<Arc<Node>>, Json(firing): Json<Firing>) -> Answer<Json<Value>> {
    Ok(Json(outcome(&node.submitter.submit_any(Payload::Fire(firing)).await?)))
}

/// In which form a receipt is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptForm {
    /// As COSE, signed with the statement key; as it is, in PEM, otherwise.
    #[serde(default)]
    cose: bool,
}

async fn receipt(
    State(node): State<Arc<Node>>,
    Extension(peer): Extension<Peer>,
    Path(transaction): Path<Digest>,
    Query(form): Query<ReceiptForm>,
) -> Answer<Vec<u8>> {
    let asks = Administrator::of(&node, &peer)?;
    let reader = node.ledger.reader();
    let none = || not_found(format!("transaction {transaction}"));
    let found = node.transaction(&transaction)?.ok_or_else(none)?;
    let height = found.entry.height;
    let found = gateway::recorded(reader, found.transaction, found.entry, found.log_index)?;
    let seen = asks.viewer().transaction(&found);
    asks.require(seen, &format!("transaction {transaction}"))?;
    let receipt = node.receipt(transaction).await?.ok_or_else(none)?;
    let answer = Digest::of(&codec::encode(&receipt));
    asks.saw(&node, seen, &format!("receipt {transaction}"), height, answer).await?;
    match form.cose {
        true => Ok(node.submitter.cose(receipt, node.config.member.name.clone()).await?),
        false => Ok(bundle::receipt(&receipt)?.into_bytes()),
    }
}

/// Which asset is to be proved.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prove {
    contract: Name,
    asset_type: Name,
    asset: String,
    as_of: Option<u64>,
}

/// What an asset was, or that there was none, as the gateway gives it.
async fn prove(
    State(node): State<Arc<Node>>,
    Extension(peer): Extension<Peer>,
    Json(asked): Json<Prove>,
) -> Answer<String> {
    let Prove { contract, asset_type, asset, as_of } = asked;
    let asks = Administrator::of(&node, &peer)?;
    let asset = spelling::normal(&asset).into_owned();
    spelling::check(&asset, hufu_proof::Value::MAX_ID)
        .map_err(|reason| anyhow::anyhow!("asset: {reason}"))?;
    let what = format!("asset {contract}/{asset_type} {asset}");
    let proved =
        gateway::proved(&node, &asks.asker(), (&contract, &asset_type, &asset), as_of).await?;
    let seen = proved.view.as_ref().map_or(Seen::Own, |view| asks.asset(view));
    asks.require(seen, &what)?;
    let (answer, height) = (Digest::of(&codec::encode(&proved.proof)), proved.proof.as_of());
    asks.saw(&node, seen, &format!("proof of {what}"), height, answer).await?;
    Ok(bundle::state_proof(&proved.proof)?)
}

/// A block; of transactions that who asks is not shown, their identifiers.
async fn block(
    State(node): State<Arc<Node>>,
    Extension(peer): Extension<Peer>,
    Path(height): Path<String>,
) -> Answer<Json<Value>> {
    let height = whole_number("height", &height)?;
    let asks = Administrator::of(&node, &peer)?;
    let reader = node.ledger.reader();
    let block =
        node.block(Height(height))?.ok_or_else(|| not_found(format!("block {height} here")))?;
    let digest = block.digest();
    let (mut transactions, mut any) = (Vec::new(), Seen::Own);
    for transaction in block.transactions {
        let id = transaction.id();
        let Some((log_index, entry)) = reader.entry(&id)? else {
            transactions.push(json!({ "id": id }));
            continue;
        };
        let found = gateway::recorded(reader, transaction, entry, log_index)?;
        transactions.push(match asks.viewer().transaction(&found) {
            Seen::Withheld => json!({ "id": id }),
            seen => {
                if seen == Seen::Supervised {
                    any = seen;
                }
                serde_json::to_value(&found.transaction)?
            }
        });
    }
    let shown = json!({ "header": block.header, "transactions": transactions });
    let shown = json!({ "digest": digest, "block": shown });
    asks.saw(&node, any, &format!("block {height}"), Height(height), digest).await?;
    Ok(Json(shown))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    sql: String,
    as_of: Option<u64>,
    #[serde(default)]
    numbers: Numbers,
}

async fn query(
    State(node): State<Arc<Node>>,
    Extension(peer): Extension<Peer>,
    Json(ask): Json<Ask>,
) -> Answer<Json<Value>> {
    let asks = Administrator::of(&node, &peer)?;
    let (hold, leash) = hufu_query::leash();
    hold.during(answered(node, asks, ask, leash)).await?
}

async fn answered(
    node: Arc<Node>,
    asks: Administrator,
    ask: Ask,
    leash: Leash,
) -> Answer<Json<Value>> {
    let Ask { sql, as_of, numbers } = ask;
    match node.supervision.query(sql.clone(), as_of, asks.scope(), numbers, leash).await {
        Ok(mut answer) => {
            let look = asks.queried(&node, &sql, &answer).await?;
            if let Value::Object(members) = &mut answer {
                members.insert("look".to_owned(), json!(look));
            }
            Ok(Json(answer))
        }
        Err(error) => {
            let problem = error.downcast_ref::<hufu_readmodel::Problem>();
            if problem.is_some_and(hufu_readmodel::Problem::has_looked) {
                let height = as_of.unwrap_or(node.supervision.height());
                // A refusal gives nothing out, and does not wait for a block.
                tokio::spawn(async move { asks.unanswered(&node, &sql, height).await });
            }
            Err(error.into())
        }
    }
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
    Change(Change),
    Budget(Budget),
    Quotas(Quotas),
    Standing { member: Name, to: Standing, reason: String },
    Constitution(governance::Amend),
}

/// What is to become other of a member; what is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    member: Name,
    jurisdictions: Option<Jurisdictions>,
    names: Option<BTreeSet<NetworkName>>,
}

/// The member as it would be after a change.
fn changed(node: &Node, change: Change) -> Answer<Member> {
    let Change { member: name, jurisdictions, names } = change;
    let record = node.ledger.reader().state()?.member_record(&name)?;
    let record = record.ok_or_else(|| not_found(format!("member `{name}`")))?;
    let member = Member {
        name,
        title: record.title,
        kinds: record.kinds,
        jurisdictions: jurisdictions.unwrap_or(record.jurisdictions),
        names: names.unwrap_or(record.names),
        vote_key: record.vote_key,
        statement_key: record.statement_key,
        node_key: record.node_key,
    };
    member.check(&governance::constitution(node)?).context("the change")?;
    Ok(member)
}

/// The budget, if a consortium can go on with it.
fn sound(budget: Budget) -> anyhow::Result<Budget> {
    anyhow::ensure!(
        budget.is_sound(),
        "at least {} bytes for an identity and {} for a member, and not more for an identity than \
         for a member",
        Budget::LEAST_IDENTITY,
        Budget::LEAST_MEMBER
    );
    Ok(budget)
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
            let problem = member.check(&governance::constitution(&node)?);
            problem.context("the join request")?;
            Proposal::Member { member }
        }
        Propose::Change(change) => Proposal::Member { member: changed(&node, change)? },
        Propose::Budget(budget) => Proposal::Budget { budget: sound(budget)? },
        Propose::Quotas(quotas) => Proposal::Quotas { quotas: governance::sound(quotas)? },
        Propose::Standing { member, to, reason } => {
            governance::changed_standing(&node, member, to, reason)?
        }
        Propose::Constitution(amend) => governance::amended(&node, amend)?,
    };
    let shown = review::of(&node, &proposal)?;
    let digest = proposal.digest();
    let entry = node.submitter.submit_any(Payload::Propose(proposal)).await?;
    let mut answer = outcome(&entry);
    if let Value::Object(members) = &mut answer {
        members.insert("proposal".to_owned(), json!(digest));
        members.insert("proposed".to_owned(), shown);
        members.insert(
            "approvals_needed".to_owned(),
            json!(governance::constitution(&node)?.approvals),
        );
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
        "approvals_needed": governance::constitution(&node)?.approvals,
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
    Extension(peer): Extension<Peer>,
    Query(listing): Query<Listing>,
) -> Answer<Json<Value>> {
    let asks = Administrator::of(&node, &peer)?;
    // The authority made them.
    let (scope, seen) = match asks.scope() {
        _ if made_them(&node) => (Scope::Whole, Seen::Own),
        own @ Scope::OwnedBy(_) => (own, Seen::Own),
        others => (others, Seen::Supervised),
    };
    let height = node.ledger.committed().height;
    let listed = node.certificates(scope, listing.member, listing.limit).await?;
    let answer = hufu_gateway::answer_digest(&listed).map_err(|problem| problem.0)?;
    asks.saw(&node, seen, "certificates", height, answer).await?;
    Ok(Json(listed))
}

/// Whether this node's member is the authority.
fn made_them(node: &Node) -> bool {
    node.genesis.authority.member == node.config.member.name
}

/// What the ledger says of a certificate: to its member, to the owner of the device
/// that has it, to regulators, and to the authority, which made it.
async fn certificate(
    State(node): State<Arc<Node>>,
    Extension(peer): Extension<Peer>,
    Path(serial): Path<Serial>,
) -> Answer<Json<Value>> {
    let asks = Administrator::of(&node, &peer)?;
    let state = node.ledger.reader().state()?;
    let record =
        state.certificate(&serial)?.ok_or_else(|| not_found(format!("certificate {serial}")))?;
    let belongs = belonging::of_signer(&state, record.kind, &record.owner, &record.subject);
    state.check()?;
    let seen = match made_them(&node) {
        true => Seen::Own,
        false => asks.viewer().belonging(&belongs),
    };
    let what = format!("certificate {serial}");
    asks.require(seen, &what)?;
    let mut shown = serde_json::to_value(record)?;
    if let Value::Object(members) = &mut shown {
        members.insert("serial".to_owned(), json!(serial));
    }
    let answer = hufu_gateway::answer_digest(&shown).map_err(|problem| problem.0)?;
    asks.saw(&node, seen, &what, state.height(), answer).await?;
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

async fn renew_issuing(State(node): State<Arc<Node>>) -> Answer<Json<Value>> {
    let serial = renewal::renew_issuing(&node).await?.context(
        "the root's key is not in this token; start the node with the token that holds it",
    )?;
    Ok(Json(
        json!({ "serial": serial, "not_after": node.authority()?.issuing().not_after().to_string() }),
    ))
}
