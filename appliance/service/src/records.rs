//! The ledger as the authenticator of callers reads it.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hufu_configuration::time::now_ms;
use hufu_door::authenticate::{Approved, Membership, Record, Records, Standing, Unreadable};
use hufu_door::{Jurisdictions, Role};
use hufu_machine::MachineError;
use hufu_machine::record::{CertificateStatus, MemberRecord};
use hufu_node::Ledger;
use hufu_proof::Serial;

/// [`Records`] of this node's ledger.
pub struct LedgerRecords(Ledger);

impl LedgerRecords {
    /// Of this ledger.
    pub fn new(ledger: Ledger) -> Arc<Self> {
        Arc::new(Self(ledger))
    }
}

impl Records for LedgerRecords {
    fn height(&self) -> u64 {
        *self.0.applied().borrow()
    }

    fn certificate(&self, serial: &Serial) -> Result<Option<Record>, Unreadable> {
        let read = || -> Result<Option<Record>, MachineError> {
            let state = self.0.reader().state()?;
            let Some(record) = state.certificate(serial)? else { return Ok(None) };
            let member = state.member_record(&record.owner)?;
            let by_key = state.approved(&record.owner, &record.identity, now_ms())?;
            let approved = Role::ALL.into_iter().filter(|role| by_key.has(role.name())).collect();
            let standing = match record.status {
                CertificateStatus::Good => Standing::Good,
                CertificateStatus::Held { .. } => Standing::Held,
                CertificateStatus::Revoked { .. } => Standing::Revoked,
            };
            Ok(Some(Record {
                height: state.height(),
                tbs: record.tbs,
                standing,
                kind: record.kind,
                owner: record.owner,
                subject: record.subject,
                identity: record.identity,
                member: member.map(membership),
                approved: Approved::These(approved),
            }))
        };
        read().map_err(|error| Unreadable(error.to_string()))
    }

    fn above(&self, height: u64) -> BoxFuture<'_, Result<(), Unreadable>> {
        let mut applied = self.0.applied();
        async move {
            let grown = applied.wait_for(|now| *now > height).await;
            grown.map(drop).map_err(|_| Unreadable("the node stops".to_owned()))
        }
        .boxed()
    }
}

/// What the ledger's record makes a member.
fn membership(record: MemberRecord) -> Membership {
    let jurisdictions = jurisdictions(&record);
    Membership { kinds: record.kinds, jurisdictions }
}

/// What the ledger's record lets a member see as a supervisor: `none`, these, or
/// `whole`, in so many words, and nothing to who is no regulator.
pub fn jurisdictions(record: &MemberRecord) -> Jurisdictions {
    match &record.jurisdictions {
        _ if !record.kinds.contains("regulator") => Jurisdictions::None,
        hufu_proof::Jurisdictions::None => Jurisdictions::None,
        hufu_proof::Jurisdictions::Only(names) => Jurisdictions::of(names.clone()),
        hufu_proof::Jurisdictions::Whole => Jurisdictions::Whole,
    }
}
