//! Reading the state: as of a height ([`View`]), or as of the transaction that
//! is being executed ([`crate::execute`]); both answer contracts alike.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use borsh::BorshDeserialize;
use hufu_contract::{Asset, Contract, Member};
use hufu_proof::{Endpoint, Height, Host, IdentityId, Name, Serial, Standing, UnixMillis, codec};
use hufu_store::limits::MAX_VALUE;
use hufu_store::{KeyRange, Row, Space, Store};

use crate::contracts::Contracts;
use crate::error::MachineError;
use crate::key;
use crate::record::{
    Amendments, ApprovalRecord, ArchiveRecord, CertificateRecord, CertificateRights,
    CertificateStatus, ContractRecord, DelegationRecord, IdentityRecord, IssuingRecord,
    MemberRecord, ProposalRecord, Standings, VersionRecord,
};
use crate::rights::{self, Approved};
use crate::{kept, revoked};

/// State as of some point, by key.
pub(crate) trait State {
    /// The bytes under `key`.
    fn value(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, MachineError>;

    /// The record under `key`.
    fn record<T: BorshDeserialize>(
        &self,
        what: &'static str,
        key: &[u8],
    ) -> Result<Option<T>, MachineError> {
        self.value(key)?.map(|value| decode(what, &value)).transpose()
    }

    /// The compiled active version of a contract.
    fn active(&self, name: &Name) -> Result<Option<Arc<Contract>>, MachineError>;

    /// How a member stands.
    fn standing(&self, member: &Name) -> Result<Standing, MachineError> {
        let standings: Option<Standings> = self.record("standings", key::STANDINGS)?;
        Ok(standings.map(|standings| standings.of(member)).unwrap_or_default())
    }

    /// Remembers why a look-up on behalf of a contract failed.
    fn fail(&self, error: MachineError);

    /// What `read` found; a failure is remembered and looks like absence.
    fn or_fail<T>(&self, read: Result<Option<T>, MachineError>) -> Option<T> {
        read.unwrap_or_else(|error| {
            self.fail(error);
            None
        })
    }

    /// What a contract may know of a member: see [`hufu_contract::World::member`].
    fn member_in(&self, contract: &Name, name: &Name) -> Result<Option<Member>, MachineError> {
        let Some(member) = self.record::<MemberRecord>("member", &key::member(name))? else {
            return Ok(None);
        };
        // In contracts, who was dismissed is nobody: it has no role, and nothing
        // can be given to it any more.
        if self.standing(name)? == Standing::Dismissed {
            return Ok(None);
        }
        let granted = self.record::<BTreeSet<Name>>("roles", &key::role(contract, name))?;
        let mut roles = granted.unwrap_or_default();
        if let Some(contract) = self.active(contract)? {
            let declared = |kind: &&Name| contract.has_role(kind.as_str());
            roles.extend(member.kinds.iter().filter(declared).cloned());
        }
        // A contract knows named jurisdictions alone: whoever sees the whole
        // consortium has none that a policy could ask for.
        let jurisdictions = member.jurisdictions.named().cloned().collect();
        Ok(Some(Member { kinds: member.kinds, roles, jurisdictions }))
    }
}

/// Implements [`hufu_contract::World`] and [`hufu_contract::Contracts`] by [`State`].
macro_rules! world_from_state {
    ($type:ty) => {
        impl hufu_contract::World for $type {
            fn asset(
                &self,
                contract: &hufu_proof::Name,
                asset_type: &hufu_proof::Name,
                asset: &str,
            ) -> Option<hufu_contract::Asset> {
                use crate::state::State as _;
                self.or_fail(self.record("asset", &crate::key::asset(contract, asset_type, asset)))
            }

            fn member(
                &self,
                contract: &hufu_proof::Name,
                member: &hufu_proof::Name,
            ) -> Option<hufu_contract::Member> {
                use crate::state::State as _;
                self.or_fail(self.member_in(contract, member))
            }

            fn stream_sequence(
                &self,
                contract: &hufu_proof::Name,
                stream: &hufu_proof::Name,
                identity: &hufu_proof::IdentityId,
            ) -> hufu_proof::Sequence {
                use crate::state::State as _;
                let key = crate::key::sequence(contract, stream, identity);
                self.or_fail(self.record("sequence", &key)).unwrap_or_default()
            }
        }

        impl hufu_contract::Contracts for $type {
            fn contract(
                &self,
                name: &hufu_proof::Name,
            ) -> Option<std::sync::Arc<hufu_contract::Contract>> {
                use crate::state::State as _;
                self.or_fail(self.active(name))
            }

            fn subscribers(
                &self,
                contract: &hufu_proof::Name,
            ) -> std::collections::BTreeSet<hufu_proof::Name> {
                use crate::state::State as _;
                let key = crate::key::subscribers(contract);
                self.or_fail(self.record("set of subscribers", &key)).unwrap_or_default()
            }
        }
    };
}
pub(crate) use world_from_state;

pub(crate) fn decode<T: BorshDeserialize>(
    what: &'static str,
    value: &[u8],
) -> Result<T, MachineError> {
    codec::decode(what, value, MAX_VALUE)
        .map_err(|error| MachineError::undecodable(format!("record of a {what}"), error))
}

/// The state as of a height.
///
/// It implements [`hufu_contract::World`], so that contracts can be asked about the past. A
/// look-up that fails there looks like absence; [`View::check`] tells.
pub struct View {
    store: Arc<dyn Store>,
    contracts: Arc<Contracts>,
    kept_from: Arc<AtomicU64>,
    height: Height,
    failure: RefCell<Option<MachineError>>,
}

impl View {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        contracts: Arc<Contracts>,
        kept_from: Arc<AtomicU64>,
        height: Height,
    ) -> Self {
        Self { store, contracts, kept_from, height, failure: RefCell::new(None) }
    }

    /// As of which height.
    pub fn height(&self) -> Height {
        self.height
    }

    /// The bytes under a state key ([`crate::key`]).
    ///
    /// # Errors
    /// [`MachineError::Pruned`] when the height is not kept any more; what the
    /// store meets.
    pub fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MachineError> {
        let value = self.store.read(Space::State, key, self.height.get())?;
        self.check_kept()?;
        Ok(value)
    }

    /// At most `limit` rows of a range.
    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, MachineError> {
        let rows = self.store.scan(Space::State, range, self.height.get(), limit)?;
        self.check_kept()?;
        Ok(rows)
    }

    /// That what was read is what was there: looked at after reading, because a
    /// height may leave while somebody has a view of it.
    fn check_kept(&self) -> Result<(), MachineError> {
        kept::check(self.height, Height(self.kept_from.load(Ordering::Acquire)))
    }

    /// What is recorded of an identity.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn identity(&self, id: &IdentityId) -> Result<Option<IdentityRecord>, MachineError> {
        self.record("identity", &key::identity(id))
    }

    /// What is recorded of a certificate.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn certificate(&self, serial: &Serial) -> Result<Option<CertificateRecord>, MachineError> {
        self.record("certificate", &key::certificate(serial))
    }

    /// What is recorded of a member.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn member_record(&self, name: &Name) -> Result<Option<MemberRecord>, MachineError> {
        self.record("member", &key::member(name))
    }

    /// Where a member says that its node is reached.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn address(&self, member: &Name) -> Result<Option<Endpoint>, MachineError> {
        let found: Option<Option<Endpoint>> = self.record("address", &key::address(member))?;
        Ok(found.flatten())
    }

    /// The partition of a member's archive that begins at a height, as the member
    /// declared it.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn archive(
        &self,
        member: &Name,
        first: Height,
    ) -> Result<Option<ArchiveRecord>, MachineError> {
        self.record("archive", &key::archive(member, first))
    }

    /// The partitions of a member's archive, by their first heights, as the member declared
    /// them.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn archives(&self, member: &Name) -> Result<Vec<(Height, ArchiveRecord)>, MachineError> {
        let prefix = key::archives(member);
        let rows = self.scan(&KeyRange::prefix(&prefix), usize::MAX)?;
        rows.iter()
            .map(|(key, value)| {
                let first = <[u8; 8]>::try_from(&key[prefix.len()..])
                    .map_err(|_| MachineError::damaged("key of an archive"))?;
                Ok((Height::from_be_bytes(first), decode("archive", value)?))
            })
            .collect()
    }

    /// Who is not in good standing, or was not.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn standings(&self) -> Result<Standings, MachineError> {
        Ok(self.record("standings", key::STANDINGS)?.unwrap_or_default())
    }

    /// The constitutions after the founders'.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn amendments(&self) -> Result<Amendments, MachineError> {
        Ok(self.record("amendments", key::AMENDMENTS)?.unwrap_or_default())
    }

    /// What a certificate gives its holder.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn rights(&self, serial: &Serial) -> Result<CertificateRights, MachineError> {
        let rights = self.record("rights of a certificate", &key::rights(serial))?;
        Ok(rights.unwrap_or_default())
    }

    /// What the holder of a key is approved for in `member`'s name at a time, by
    /// this state: a role in a certificate counts for nothing else.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn approved(
        &self,
        member: &Name,
        key: &IdentityId,
        at_ms: UnixMillis,
    ) -> Result<Approved, MachineError> {
        rights::roles_approved(self, member, key, at_ms)
    }

    /// What a member approved of a key.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn approval(
        &self,
        member: &Name,
        key: &IdentityId,
    ) -> Result<Option<ApprovalRecord>, MachineError> {
        self.record("approval", &key::approval(member, key))
    }

    /// All that a member approved of keys, in the order of their digests; what
    /// was withdrawn is empty.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn approvals(
        &self,
        member: &Name,
    ) -> Result<Vec<(IdentityId, ApprovalRecord)>, MachineError> {
        let prefix = key::approvals(member);
        let range = KeyRange::prefix(&prefix);
        let rows = self.scan(&range, usize::MAX)?;
        rows.iter()
            .map(|(key, value)| {
                let digest = <[u8; 32]>::try_from(&key[prefix.len()..])
                    .map_err(|_| MachineError::damaged("key of an approval"))?;
                Ok((IdentityId(hufu_proof::Digest(digest)), decode("approval", value)?))
            })
            .collect()
    }

    /// What the authority may approve in a member's name.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn delegation(&self, member: &Name) -> Result<Option<DelegationRecord>, MachineError> {
        self.record("delegation", &key::delegation(member))
    }

    /// The issuing certificates after that of the genesis file, as the authority
    /// declared them, the newest last: whoever uses one checks it under the root.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn issuing(&self) -> Result<Vec<Vec<u8>>, MachineError> {
        let record: Option<IssuingRecord> = self.record("issuing", key::ISSUING)?;
        Ok(record.unwrap_or_default().certificates)
    }

    /// The member that a host belongs to; loopback belongs to nobody.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn owner_of(&self, host: &Host) -> Result<Option<Name>, MachineError> {
        rights::owner_of(self, host)
    }

    /// The member that a device's identifier belongs to, once it was certified.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn device_owner(&self, identifier: &str) -> Result<Option<Name>, MachineError> {
        self.record("device", &key::device(identifier))
    }

    /// The active version of a contract.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn contract(&self, name: &Name) -> Result<Option<ContractRecord>, MachineError> {
        self.record("contract", &key::contract(name))
    }

    /// A deployed version of a contract.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn version(
        &self,
        name: &Name,
        version: &str,
    ) -> Result<Option<VersionRecord>, MachineError> {
        self.record("contract version", &key::version(name, version))
    }

    /// The active contracts by name.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn contracts(&self) -> Result<Vec<(Name, ContractRecord)>, MachineError> {
        let prefix = b"contract/";
        let range = KeyRange::prefix(prefix);
        let rows = self.scan(&range, usize::MAX)?;
        rows.iter()
            .map(|(key, value)| Ok((name_of(&key[prefix.len()..])?, decode("contract", value)?)))
            .collect()
    }

    /// The compiled active version of a contract.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn compiled(&self, name: &Name) -> Result<Option<Arc<Contract>>, MachineError> {
        self.active(name)
    }

    /// A proposal.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn proposal(
        &self,
        digest: &hufu_proof::Digest,
    ) -> Result<Option<ProposalRecord>, MachineError> {
        self.record("proposal", &key::proposal(digest))
    }

    /// An asset.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn asset_record(
        &self,
        contract: &Name,
        asset_type: &Name,
        asset: &str,
    ) -> Result<Option<Asset>, MachineError> {
        self.record("asset", &key::asset(contract, asset_type, asset))
    }

    /// All proposals, whatever became of them, in the order of their digests.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn proposals(&self) -> Result<Vec<(hufu_proof::Digest, ProposalRecord)>, MachineError> {
        let prefix = b"proposal/";
        let range = KeyRange::prefix(prefix);
        let rows = self.scan(&range, usize::MAX)?;
        rows.iter()
            .map(|(key, value)| {
                let digest = <[u8; 32]>::try_from(&key[prefix.len()..])
                    .map_err(|_| MachineError::damaged("key of a proposal"))?;
                Ok((hufu_proof::Digest(digest), decode("proposal", value)?))
            })
            .collect()
    }

    /// The certificates that are revoked or on hold, in the order of their
    /// serial numbers. Reads no certificate that never was.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn revoked(&self) -> Result<Vec<(Serial, CertificateRecord)>, MachineError> {
        let mut revoked = Vec::new();
        for serial in revoked::serials(&*self.store)? {
            // Revoked after this height, or no longer on hold.
            if let Some(record) = self.certificate(&serial)?
                && record.status != CertificateStatus::Good
            {
                revoked.push((serial, record));
            }
        }
        Ok(revoked)
    }

    /// At most `limit` assets of a type in the order of their keys, those after
    /// `after` if it is given.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn assets(
        &self,
        contract: &Name,
        asset_type: &Name,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Asset)>, MachineError> {
        let prefix = key::assets(contract, asset_type);
        let mut range = KeyRange::prefix(&prefix);
        if let Some(after) = after {
            range = range.after(&key::asset(contract, asset_type, after));
        }
        let rows = self.scan(&range, limit)?;
        rows.iter()
            .map(|(key, value)| {
                let text = std::str::from_utf8(&key[prefix.len()..])
                    .map_err(|_| MachineError::damaged("key of an asset"))?;
                Ok((text.to_owned(), decode("asset", value)?))
            })
            .collect()
    }

    /// The first failure of a look-up on behalf of a contract.
    ///
    /// # Errors
    /// That failure, once.
    pub fn check(&self) -> Result<(), MachineError> {
        self.failure.borrow_mut().take().map_or(Ok(()), Err)
    }
}

/// The name in a key.
pub(crate) fn name_of(bytes: &[u8]) -> Result<Name, MachineError> {
    let text = std::str::from_utf8(bytes).ok().and_then(|text| Name::new(text).ok());
    text.ok_or_else(|| MachineError::damaged("key of a name"))
}

impl State for View {
    fn value(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, MachineError> {
        Ok(self.bytes(key)?.map(Arc::from))
    }

    fn active(&self, name: &Name) -> Result<Option<Arc<Contract>>, MachineError> {
        let Some(record) = self.contract(name)? else { return Ok(None) };
        self.contracts.get(&*self.store, &record.digest).map(Some)
    }

    fn fail(&self, error: MachineError) {
        self.failure.borrow_mut().get_or_insert(error);
    }
}

world_from_state!(View);
