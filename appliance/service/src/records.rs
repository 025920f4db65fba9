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
        self.0.applied().borrow().get()
    }

    fn certificate(&self, serial: &Serial) -> Result<Option<Record>, Unreadable> {
        let read = || -> Result<Option<Record>, MachineError> {
            let state = self.0.reader().state()?;
            let Some(record) = state.certificate(serial)? else { return Ok(None) };
            let member = state.member_record(&record.owner)?;
            let by_key = state.approved(&record.owner, &record.identity, now_ms())?;
            let approved = Role::ALL.into_iter().filter(|role| by_key.has(role.name())).collect();
            let stands = self.0.reader().standings(state.height())?.of(&record.owner);
            let standing = match record.status {
                _ if stands == hufu_proof::Standing::Dismissed => Standing::Dismissed,
                CertificateStatus::Good => Standing::Good,
                CertificateStatus::Held { .. } => Standing::Held,
                CertificateStatus::Revoked { .. } => Standing::Revoked,
            };
            Ok(Some(Record {
                height: state.height().get(),
                tbs: record.tbs,
                standing,
                kind: record.kind,
                owner: record.owner,
                subject: record.subject,
                identity: record.identity,
                member: member.map(|member| membership(member, stands)),
                approved: Approved::These(approved),
            }))
        };
        read().map_err(|error| Unreadable(error.to_string()))
    }

    fn above(&self, height: u64) -> BoxFuture<'_, Result<(), Unreadable>> {
        let mut applied = self.0.applied();
        async move {
            let grown = applied.wait_for(|now| now.get() > height).await;
            grown.map(drop).map_err(|_| Unreadable("the node stops".to_owned()))
        }
        .boxed()
    }
}

/// What the ledger's record makes a member. While it is suspended, a regulator is
/// none.
fn membership(mut record: MemberRecord, standing: hufu_proof::Standing) -> Membership {
    if standing != hufu_proof::Standing::Good {
        record.kinds.remove("regulator");
    }
    let jurisdictions = jurisdictions(&record, standing);
    Membership { kinds: record.kinds, jurisdictions }
}

/// What the ledger's record lets a member see as a supervisor: `none`, these, or
/// `whole`, in so many words, and nothing to who is no regulator or is not in
/// good standing.
pub fn jurisdictions(record: &MemberRecord, standing: hufu_proof::Standing) -> Jurisdictions {
    match &record.jurisdictions {
        _ if standing != hufu_proof::Standing::Good => Jurisdictions::None,
        _ if !record.kinds.contains("regulator") => Jurisdictions::None,
        hufu_proof::Jurisdictions::None => Jurisdictions::None,
        hufu_proof::Jurisdictions::Only(names) => Jurisdictions::of(names.clone()),
        hufu_proof::Jurisdictions::Whole => Jurisdictions::Whole,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use hufu_proof::{Algorithm, Name, PublicKey};

    use super::*;

    #[test]
    fn a_member_sees_what_its_record_says_in_so_many_words() {
        use hufu_proof::Jurisdictions as Recorded;
        let name = |text: &str| Name::new(text).unwrap();
        let key = |byte| PublicKey::new(Algorithm::Ed25519, &[byte; 32]).unwrap();
        let record = |kind: &str, jurisdictions| MemberRecord {
            title: BTreeMap::new(),
            kinds: BTreeSet::from([name(kind)]),
            vote_key: key(1),
            statement_key: key(2),
            jurisdictions,
            names: BTreeSet::new(),
            node_key: None,
        };
        let north = BTreeSet::from([name("north")]);
        for (kind, recorded, expected) in [
            ("regulator", Recorded::Whole, Jurisdictions::Whole),
            ("regulator", Recorded::None, Jurisdictions::None),
            ("regulator", Recorded::Only(north.clone()), Jurisdictions::Some(north)),
            // A list that has lost its names is no right, and least of all the whole.
            ("regulator", Recorded::Only(BTreeSet::new()), Jurisdictions::None),
            // Nobody else has any.
            ("maker", Recorded::Whole, Jurisdictions::None),
        ] {
            let record = record(kind, recorded);
            let good = hufu_proof::Standing::Good;
            assert_eq!(jurisdictions(&record, good), expected, "{kind}");
            assert_eq!(membership(record.clone(), good).jurisdictions, expected, "{kind}");
            let suspended = membership(record, hufu_proof::Standing::Suspended);
            assert_eq!(suspended.jurisdictions, Jurisdictions::None);
            assert_eq!(suspended.kinds.contains("maker"), kind == "maker");
            assert!(!suspended.kinds.contains("regulator"));
        }
    }
}
