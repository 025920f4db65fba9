//! What this member declares on the ledger, with its statement key: who may act
//! in its name, what the authority may approve for it, and whom its devices go
//! to ([`hufu_proof::declaration`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::State;
use hufu_configuration::keyring::ledger_key;
use hufu_door::body::{Json, Path};
use hufu_issuance::{CertificationRequest, Role};
use hufu_proof::declaration::{Delegation, KeyApproval};
use hufu_proof::transaction::Payload;
use hufu_proof::{Declaration, Endpoint, IdentityId, Name, UnixMillis};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::node::Node;
use crate::refusal::Answer;
use crate::submit::outcome;

/// A key by a certificate request, whose signature shows that the holder has it,
/// or by its digest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    csr: Option<String>,
    key: Option<IdentityId>,
    roles: BTreeSet<Name>,
    until_ms: Option<UnixMillis>,
}

/// Approves a key.
pub async fn approve(
    State(node): State<Arc<Node>>,
    Json(asked): Json<Approve>,
) -> Answer<Json<Value>> {
    let key = match (&asked.csr, asked.key) {
        (Some(csr), None) => identity_of_request(csr)?,
        (None, Some(key)) => key,
        _ => return Err(anyhow::anyhow!("give either a certificate request or a key").into()),
    };
    let approval = KeyApproval { key, roles: known_roles(asked.roles)?, until_ms: asked.until_ms };
    declare(&node, Declaration::Approve(approval), json!({ "key": key })).await
}

/// Withdraws what was approved of a key.
pub async fn withdraw(
    State(node): State<Arc<Node>>,
    Path(key): Path<IdentityId>,
) -> Answer<Json<Value>> {
    declare(&node, Declaration::Withdraw { key }, json!({ "key": key })).await
}

/// What the authority may approve, and until when.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegate {
    roles: BTreeSet<Name>,
    until_ms: Option<UnixMillis>,
}

/// Lets the authority approve keys, or ends that.
pub async fn delegate(
    State(node): State<Arc<Node>>,
    Json(Delegate { roles, until_ms }): Json<Delegate>,
) -> Answer<Json<Value>> {
    let roles = known_roles(roles)?;
    declare(&node, Declaration::Delegate(Delegation { roles, until_ms }), json!({})).await
}

/// Which device goes to which member.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandOver {
    device: String,
    to: Name,
}

/// Hands a device over.
pub async fn hand_over(
    State(node): State<Arc<Node>>,
    Json(HandOver { device, to }): Json<HandOver>,
) -> Answer<Json<Value>> {
    declare(&node, Declaration::HandOver { device, to }, json!({})).await
}

/// What this member approved and delegated, as of the newest height.
pub async fn approvals(State(node): State<Arc<Node>>) -> Answer<Json<Value>> {
    let member = &node.config.member.name;
    let state = node.ledger.reader().state()?;
    let record = state.member_record(member)?.context("the ledger has no record of this member")?;
    let keys: Vec<Value> = state
        .approvals(member)?
        .into_iter()
        .map(|(key, record)| json!({ "key": key, "approval": record }))
        .collect();
    Ok(Json(json!({
        "member": member,
        "node_key": record.node_key.map(|key| key.identity()),
        "approvals": keys,
        "delegation": state.delegation(member)?,
    })))
}

/// Where this member's node is reached.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announce {
    at: Option<Endpoint>,
}

/// Says to the others where this member's node is reached, or takes it back.
pub async fn announce(
    State(node): State<Arc<Node>>,
    Json(Announce { at }): Json<Announce>,
) -> Answer<Json<Value>> {
    declare(&node, Declaration::Address { at }, json!({})).await
}

async fn declare(node: &Node, what: Declaration, mut about: Value) -> Answer<Json<Value>> {
    let entry = node.submitter.submit_any(Payload::Declare(what)).await?;
    if let (Value::Object(all), Value::Object(told)) = (&mut about, outcome(&entry)) {
        all.extend(told);
    }
    Ok(Json(about))
}

/// The key in a certificate request (PEM), by its digest on the ledger.
fn identity_of_request(pem: &str) -> anyhow::Result<IdentityId> {
    let (label, der) = pem_rfc7468::decode_vec(pem.as_bytes()).context("the request's PEM")?;
    anyhow::ensure!(
        label == "CERTIFICATE REQUEST",
        "a PEM block `{label}` instead of a certificate request"
    );
    let request = CertificationRequest::from_der(&der)?;
    Ok(ledger_key(request.public_key())?.identity())
}

/// Roles that certificates can have: an approval of another would be of no use.
fn known_roles(roles: BTreeSet<Name>) -> anyhow::Result<BTreeSet<Name>> {
    for role in &roles {
        let known = Role::ALL.map(Role::name);
        anyhow::ensure!(
            known.contains(&role.as_str()),
            "there is no role `{role}`; there are {}",
            known.join(", ")
        );
    }
    Ok(roles)
}
