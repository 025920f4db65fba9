//! What a proposal would do, as whoever approves it has to see it.

use hufu_configuration::join;
use hufu_proof::transaction::Proposal;
use hufu_proof::{Member, PublicKey, Standing};
use serde_json::{Value, json};

use crate::governance;
use crate::node::Node;

/// What the proposal would do to what the ledger has now.
///
/// # Errors
/// When the store fails.
pub fn of(node: &Node, proposal: &Proposal) -> anyhow::Result<Value> {
    Ok(match proposal {
        Proposal::Deploy { package } => {
            json!({ "deploy": hufu_proof::Digest::of(package) })
        }
        Proposal::Grant { contract, role, member } => {
            json!({ "grant": { "contract": contract, "role": role, "member": member } })
        }
        Proposal::Withdraw { contract, role, member } => {
            json!({ "withdraw": { "contract": contract, "role": role, "member": member } })
        }
        Proposal::MemberV1 { member } => changed_member(node, &member.clone().into())?,
        Proposal::Member { member } => changed_member(node, member)?,
        Proposal::Budget { budget } => {
            let reader = node.ledger.reader();
            let now = reader.budget(reader.height()?)?;
            json!({ "budget": budget, "replaces": now })
        }
        Proposal::Quotas { quotas } => {
            let reader = node.ledger.reader();
            let now = reader.quotas(reader.height()?)?;
            json!({ "quotas": quotas, "replaces": now })
        }
        Proposal::Standing { member, to, reason } => {
            let reader = node.ledger.reader();
            let (now, membership) = (reader.state()?.standings()?.of(member), reader.membership()?);
            let others = membership.seats.iter().filter(|seat| seat.name != *member).count();
            let validators = others + usize::from(*to == Standing::Good);
            json!({
                "member": member, "becomes": to, "is_now": now, "reason": reason,
                "validators_then": validators,
            })
        }
        Proposal::Constitution { constitution, from } => {
            let now = governance::constitution(node)?;
            json!({ "constitution": constitution, "from_height": from, "replaces": now })
        }
    })
}

/// A member as it would be, beside what it is.
fn changed_member(node: &Node, member: &Member) -> anyhow::Result<Value> {
    let now = node.ledger.reader().state()?.member_record(&member.name)?;
    let mut shown = json!({
        "name": member.name,
        "title": member.title,
        "kinds": member.kinds,
        "jurisdictions": member.jurisdictions,
        "names": member.names,
        "vote_key": fingerprint(&member.vote_key),
        "statement_key": fingerprint(&member.statement_key),
        "node_key": member.node_key.as_ref().map(fingerprint),
    });
    if let (Some(now), Value::Object(fields)) = (&now, &mut shown) {
        fields.insert(
            "replaces".to_owned(),
            json!({
                "title": now.title,
                "kinds": now.kinds,
                "jurisdictions": now.jurisdictions,
                "names": now.names,
                "vote_key": fingerprint(&now.vote_key),
                "statement_key": fingerprint(&now.statement_key),
                "node_key": now.node_key.as_ref().map(fingerprint),
            }),
        );
    }
    let what = if now.is_some() { "change_member" } else { "admit_member" };
    Ok(json!({ what: shown }))
}

/// A key as people read it to each other: the digest by which the ledger knows
/// its holder.
fn fingerprint(key: &PublicKey) -> String {
    join::spoken(&key.identity().0)
}
