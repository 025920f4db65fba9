//! What a proposal would do, as whoever approves it has to see it.

use hufu_configuration::join;
use hufu_proof::PublicKey;
use hufu_proof::transaction::Proposal;
use serde_json::{Value, json};

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
        Proposal::Budget { budget } => {
            let reader = node.ledger.reader();
            let now = reader.budget(reader.height()?)?;
            json!({ "budget": budget, "replaces": now })
        }
        Proposal::Member { member } => {
            let now = node.ledger.reader().state()?.member_record(&member.name)?;
            let mut shown = json!({
                "name": member.name,
                "title": member.title,
                "kinds": member.kinds,
                "jurisdictions": member.jurisdictions,
                "vote_key": fingerprint(&member.vote_key),
                "statement_key": fingerprint(&member.statement_key),
            });
            if let (Some(now), Value::Object(fields)) = (&now, &mut shown) {
                fields.insert(
                    "replaces".to_owned(),
                    json!({
                        "title": now.title,
                        "kinds": now.kinds,
                        "jurisdictions": now.jurisdictions,
                        "vote_key": fingerprint(&now.vote_key),
                        "statement_key": fingerprint(&now.statement_key),
                    }),
                );
            }
            let what = if now.is_some() { "change_member" } else { "admit_member" };
            json!({ what: shown })
        }
    })
}

/// A key as people read it to each other: the digest by which the ledger knows
/// its holder.
fn fingerprint(key: &PublicKey) -> String {
    join::spoken(&key.identity().0)
}
