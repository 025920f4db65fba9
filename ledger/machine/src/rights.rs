//! Who may speak for a host and act in a member's name, as of some state.

use std::collections::BTreeSet;

use hufu_proof::declaration::ADMINISTRATOR;
use hufu_proof::{Host, IdentityId, Name, UnixMillis};

use crate::error::MachineError;
use crate::key;
use crate::record::{ApprovalRecord, DelegationRecord, MemberRecord};
use crate::state::State;

/// The member that owns a name which covers `host`; nobody owns loopback.
pub(crate) fn owner_of(state: &impl State, host: &Host) -> Result<Option<Name>, MachineError> {
    // Owned names do not overlap, so the first that is found is the only one.
    for name in host.covering_names() {
        let owner: Option<Option<Name>> = state.record("name", &key::network_name(&name))?;
        if let Some(owner) = owner.flatten() {
            return Ok(Some(owner));
        }
    }
    Ok(None)
}

/// The roles that the holder of a key has in `member`'s name at a time: what the
/// member approved, what the authority approved for it under a delegation that
/// lasts, and all but `administrator` for the key of its node.
pub(crate) fn roles_approved(
    state: &impl State,
    member: &Name,
    identity: &IdentityId,
    at_ms: UnixMillis,
) -> Result<Approved, MachineError> {
    let record: Option<MemberRecord> = state.record("member", &key::member(member))?;
    let is_node = record.and_then(|record| record.node_key).map(|key| key.identity());
    let approval: Option<ApprovalRecord> =
        state.record("approval", &key::approval(member, identity))?;
    let delegation: Option<DelegationRecord> =
        state.record("delegation", &key::delegation(member))?;
    let roles = approval.map(|one| one.roles_at(at_ms, delegation.as_ref())).unwrap_or_default();
    Ok(Approved { roles, node: is_node.as_ref() == Some(identity) })
}

/// What a key is approved for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approved {
    /// By name.
    roles: BTreeSet<Name>,
    /// As the key of the member's node.
    node: bool,
}

impl Approved {
    /// Whether it is approved for `role`.
    pub fn has(&self, role: &str) -> bool {
        self.roles.contains(role) || (self.node && role != ADMINISTRATOR)
    }
}
