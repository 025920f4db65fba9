//! How members stand and what the constitution says: what an administrator asks and
//! proposes of it. The rules are the ledger's ([`hufu_machine::standing`]); what they
//! would refuse is said here with the reason, before it is signed.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axum::extract::State;
use hufu_door::body::Json;
use hufu_machine::MachineError;
use hufu_proof::codec::MAX_TRANSACTION;
use hufu_proof::transaction::Proposal;
use hufu_proof::{Algorithm, Constitution, Height, Name, Quota, Quotas, Standing};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::node::Node;
use crate::refusal::Answer;

/// The constitution in force for the next block.
///
/// # Errors
/// When the store fails.
pub fn constitution(node: &Node) -> Result<Constitution, MachineError> {
    let reader = node.ledger.reader();
    reader.constitution(reader.height()?)
}

/// What this node cannot do because of how its member stands.
pub fn said_of_own(node: &Node) -> Option<String> {
    let member = &node.config.member.name;
    let standings = node.ledger.reader().state().and_then(|state| state.standings());
    // Who cannot read the state says so elsewhere.
    let record = standings.ok()?.of.remove(member)?;
    let since = record.since;
    match record.standing {
        Standing::Good => None,
        Standing::Suspended => Some(format!(
            "member `{member}` is suspended since height {since} (`hufu org review {}` says why): \
             this node follows the ledger, does not vote, and nothing is recorded for its member \
             until the others readmit it",
            record.proposal
        )),
        Standing::Dismissed => Some(format!(
            "member `{member}` was dismissed at height {since} (`hufu org review {}` says why): \
             this node keeps what it has and hears nothing new",
            record.proposal
        )),
    }
}

/// What is to become other of the constitution; what is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amend {
    approvals: Option<u16>,
    algorithms: Option<BTreeSet<Algorithm>>,
    from: Option<Height>,
}

/// The proposal of it.
///
/// # Errors
/// When nothing would change, or the consortium could not go on under it.
pub fn amended(node: &Node, amend: Amend) -> anyhow::Result<Proposal> {
    let Amend { approvals, algorithms, from } = amend;
    let reader = node.ledger.reader();
    let height = reader.height()?;
    let now = reader.constitution(height)?;
    let constitution = Constitution {
        approvals: approvals.unwrap_or(now.approvals),
        algorithms: algorithms.unwrap_or_else(|| now.algorithms.clone()),
    };
    let members = reader.membership()?.seats.len();
    ensure!(
        constitution.lets_decide(members),
        "approvals: 1 to {members}, the number of members in good standing"
    );
    ensure!(!constitution.algorithms.is_empty(), "algorithms: at least one");
    let from = from.unwrap_or(height.next());
    ensure!(
        from <= height.plus(Constitution::MAX_AHEAD),
        "from: at most {} blocks after height {height}",
        Constitution::MAX_AHEAD
    );
    Ok(Proposal::Constitution { constitution, from })
}

/// The proposal that a member stands otherwise.
///
/// # Errors
/// When there is no such member, or it is not for this member to propose.
pub fn changed_standing(
    node: &Node,
    member: Name,
    to: Standing,
    reason: String,
) -> anyhow::Result<Proposal> {
    ensure!(
        member != node.config.member.name,
        "a member has no say in how it stands: another member proposes it, and others approve"
    );
    ensure!(
        (1..=Standing::MAX_REASON).contains(&reason.len()),
        "reason: 1 to {} bytes",
        Standing::MAX_REASON
    );
    let state = node.ledger.reader().state()?;
    state.member_record(&member)?.with_context(|| format!("there is no member `{member}`"))?;
    ensure!(
        to == Standing::Good || member != node.genesis.authority.member,
        "member `{member}` is the certification authority, without which nothing could be \
         certified"
    );
    let now = state.standings()?.of(&member);
    ensure!(now != to, "member `{member}` is {} already", now.as_str());
    ensure!(now != Standing::Dismissed, "member `{member}` was dismissed, which is for good");
    Ok(Proposal::Standing { member, to, reason })
}

/// The quotas, if a consortium can go on with them.
///
/// # Errors
/// What is wrong with them.
pub fn sound(quotas: Quotas) -> anyhow::Result<Quotas> {
    ensure!(
        quotas.is_sound(),
        "at least {} transactions a day, 1 a second and {} bytes a second, and not more for an \
         identity than for a member",
        Quota::LEAST_A_DAY,
        MAX_TRANSACTION
    );
    Ok(quotas)
}

/// The constitution: the founders', what is in force, and what came or comes when.
pub async fn show(State(node): State<Arc<Node>>) -> Answer<Json<Value>> {
    let reader = node.ledger.reader();
    let state = reader.state()?;
    Ok(Json(json!({
        "as_of": state.height(),
        "in_force": reader.constitution(state.height())?,
        "founded_with": node.genesis.constitution,
        "amendments": state.amendments()?.all,
    })))
}
