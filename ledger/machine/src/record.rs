//! What the state holds under its keys. Each record is stored as borsh.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{
    Constitution, Digest, Height, Host, IdentityId, Jurisdictions, Name, NetworkName, Outcome,
    PublicKey, Serial, Standing, UnixMillis,
};
use serde::{Deserialize, Serialize};

/// Whether an identity may sign.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum IdentityStatus {
    /// It may, within its validity.
    Active = 0,
    /// Its certificate is on hold; it may again when the hold is lifted.
    Suspended = 1,
    /// Its certificate is revoked, or its member has another key; it may never
    /// again.
    Revoked = 2,
}

/// A key that may sign, and who answers for it. Under [`crate::key::identity`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct IdentityRecord {
    /// The key.
    pub key: PublicKey,
    /// What its holder is.
    pub kind: IdentityKind,
    /// The member that answers for it.
    pub owner: Name,
    /// The subject of its certificate: for a device, its device identifier; for
    /// a member, the member's name.
    pub subject: String,
    /// Whether it may sign.
    pub status: IdentityStatus,
    /// Its current certificate; members have none.
    pub serial: Option<Serial>,
    /// Begin of validity.
    pub not_before: UnixMillis,
    /// End of validity.
    pub not_after: UnixMillis,
}

impl IdentityRecord {
    /// Whether it may sign in a block of this time.
    pub fn is_active_at(&self, time_ms: UnixMillis) -> bool {
        self.status == IdentityStatus::Active
            && (self.not_before..=self.not_after).contains(&time_ms)
    }
}

/// Where a certificate stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "kebab-case", tag = "status")]
#[repr(u8)]
pub enum CertificateStatus {
    /// Neither revoked nor on hold. Whether it has expired is for its dates to
    /// say.
    Good = 0,
    /// On hold (`certificateHold`, RFC 5280 §5.3.1).
    Held {
        /// Since this block time.
        at_ms: UnixMillis,
    } = 1,
    /// Revoked for good.
    Revoked {
        /// CRLReason (RFC 5280 §5.3.1).
        reason: u8,
        /// At this block time.
        at_ms: UnixMillis,
    } = 2,
}

/// A recorded certificate. Under [`crate::key::certificate`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// Where it stands.
    pub status: CertificateStatus,
    /// Whose key it certifies.
    pub identity: IdentityId,
    /// The profile it was made by.
    pub profile: Name,
    /// What the key may do on the ledger.
    pub kind: IdentityKind,
    /// The member that answers for the subject.
    pub owner: Name,
    /// The subject, for people.
    pub subject: String,
    /// Begin of validity.
    pub not_before: UnixMillis,
    /// End of validity.
    pub not_after: UnixMillis,
    /// SHA-256 of the to-be-signed certificate, which is in the transaction.
    pub tbs: Digest,
    /// Digest of the evidence that the key lives in hardware.
    pub attestation: Option<Digest>,
    /// The transaction that recorded it.
    pub transaction: Digest,
    /// The time of the block that recorded it.
    pub recorded_ms: UnixMillis,
}

/// A member of the consortium. Under [`crate::key::member`].
///
/// Written in one of two forms, which differ in their first octets: that of
/// members of version 1 (`to_bytes_v1`), or `MEMBER_V2` and all
/// fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// Its name for people, by language.
    pub title: BTreeMap<String, String>,
    /// What it is to the consortium.
    pub kinds: BTreeSet<Name>,
    /// Verifies its votes.
    pub vote_key: PublicKey,
    /// Verifies its transactions, receipts and reports.
    pub statement_key: PublicKey,
    /// What it may see as a supervisor.
    pub jurisdictions: Jurisdictions,
    /// The names on the network that are its own.
    pub names: BTreeSet<NetworkName>,
    /// The key of its node in TLS, which may act for it in all roles but
    /// `administrator`.
    pub node_key: Option<PublicKey>,
}

/// What a record of a member begins with in its second form. Read as the number
/// of titles, with which the first form begins, it is more than fit into a
/// store.
const MEMBER_V2: u32 = u32::MAX;

/// [`MemberRecord`] in the form of version 1.
#[derive(BorshSerialize, BorshDeserialize)]
struct MemberRecordV1 {
    title: BTreeMap<String, String>,
    kinds: BTreeSet<Name>,
    vote_key: PublicKey,
    statement_key: PublicKey,
    jurisdictions: BTreeSet<Name>,
}

impl MemberRecord {
    /// The first form, in which members of version 1 are recorded; of another
    /// member it leaves out what version 1 does not say.
    pub(crate) fn to_bytes_v1(&self) -> Vec<u8> {
        hufu_proof::codec::encode(&MemberRecordV1 {
            title: self.title.clone(),
            kinds: self.kinds.clone(),
            vote_key: self.vote_key.clone(),
            statement_key: self.statement_key.clone(),
            jurisdictions: self.jurisdictions.named().cloned().collect(),
        })
    }
}

impl From<MemberRecordV1> for MemberRecord {
    fn from(record: MemberRecordV1) -> Self {
        let MemberRecordV1 { title, kinds, vote_key, statement_key, jurisdictions } = record;
        let jurisdictions = Jurisdictions::from_v1(&kinds, jurisdictions);
        let names = BTreeSet::new();
        Self { title, kinds, vote_key, statement_key, jurisdictions, names, node_key: None }
    }
}

impl BorshSerialize for MemberRecord {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        let Self { title, kinds, vote_key, statement_key, jurisdictions, names, node_key } = self;
        let fields = (title, kinds, vote_key, statement_key, jurisdictions, names, node_key);
        BorshSerialize::serialize(&(MEMBER_V2, fields), writer)
    }
}

impl BorshDeserialize for MemberRecord {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let first = <[u8; 4]>::deserialize_reader(reader)?;
        if u32::from_le_bytes(first) != MEMBER_V2 {
            let mut whole = first.as_slice().chain(reader);
            return MemberRecordV1::deserialize_reader(&mut whole).map(Self::from);
        }
        let (title, kinds, vote_key, statement_key, jurisdictions, names, node_key) =
            BorshDeserialize::deserialize_reader(reader)?;
        Ok(Self { title, kinds, vote_key, statement_key, jurisdictions, names, node_key })
    }
}

/// The members that are not in good standing, and those that were readmitted.
/// Under [`crate::key::STANDINGS`].
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Standings {
    /// By the member's name; at most [`Standings::MOST`].
    pub of: BTreeMap<Name, StandingRecord>,
}

/// How a member stands, and since when.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct StandingRecord {
    /// How.
    pub standing: Standing,
    /// The height at which that was decided.
    pub since: Height,
    /// The proposal that says why.
    pub proposal: Digest,
}

impl Standings {
    /// Most members that it may name: the record stays below a value's limit.
    pub const MOST: usize = 512;

    /// How a member stands.
    pub fn of(&self, member: &Name) -> Standing {
        self.of.get(member).map(|record| record.standing).unwrap_or_default()
    }

    /// Why nobody is heard for a member, if so.
    pub fn refusal(&self, member: &Name) -> Option<Outcome> {
        self.of(member).refusal()
    }

    /// The members that stand so.
    pub fn that_are(&self, standing: Standing) -> impl Iterator<Item = &Name> {
        self.of
            .iter()
            .filter_map(move |(name, record)| (record.standing == standing).then_some(name))
    }
}

/// The constitutions after the founders', in the order in which they begin. Under
/// [`crate::key::AMENDMENTS`].
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Amendments {
    /// At most [`Amendments::MOST`]: of those that are over, the oldest go first.
    pub all: Vec<Amendment>,
}

/// A constitution after the founders'.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Amendment {
    /// The first height at which it is in force.
    pub from: Height,
    /// What it says.
    pub constitution: Constitution,
    /// The proposal by which it was decided.
    pub proposal: Digest,
}

impl Amendments {
    /// Most that are kept.
    pub const MOST: usize = 64;
    /// Most that may be decided and not have begun, so that the one in force is
    /// always kept.
    pub const MOST_COMING: usize = 16;

    /// The constitution that is in force at a height, where it is not the
    /// founders'.
    pub fn at(&self, height: Height) -> Option<&Constitution> {
        let begun = self.all.iter().rfind(|one| one.from <= height);
        begun.map(|one| &one.constitution)
    }

    /// Those that begin after a height.
    pub fn after(&self, height: Height) -> impl Iterator<Item = &Constitution> {
        self.all.iter().filter(move |one| one.from > height).map(|one| &one.constitution)
    }

    /// Adds one, in place of those that would not begin before it.
    pub(crate) fn add(&mut self, amendment: Amendment) {
        self.all.retain(|one| one.from < amendment.from);
        self.all.push(amendment);
        let over = self.all.len().saturating_sub(Self::MOST);
        self.all.drain(..over);
    }
}

/// What a certificate gives its holder. Under [`crate::key::rights`], where it
/// gives anything.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct CertificateRights {
    /// Roles in its owner's name; they count while its key is approved for them.
    pub roles: BTreeSet<Name>,
    /// The hosts that it speaks for.
    pub hosts: BTreeSet<Host>,
}

/// What a member approved of a key. Under [`crate::key::approval`].
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct ApprovalRecord {
    /// Roles that the member approved itself.
    pub roles: BTreeSet<Name>,
    /// Until when those, inclusive.
    pub until_ms: Option<UnixMillis>,
    /// Roles that the authority approved in its name; they count while the
    /// member's delegation has them.
    pub delegated: BTreeSet<Name>,
}

/// What the authority may approve in a member's name. Under
/// [`crate::key::delegation`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct DelegationRecord {
    /// The roles; none when it was ended.
    pub roles: BTreeSet<Name>,
    /// Until when, inclusive.
    pub until_ms: Option<UnixMillis>,
}

impl ApprovalRecord {
    /// The roles that count at a time, under this delegation.
    pub fn roles_at(
        &self,
        at_ms: UnixMillis,
        delegation: Option<&DelegationRecord>,
    ) -> BTreeSet<Name> {
        let lasts =
            |until_ms: Option<UnixMillis>| until_ms.is_none_or(|until_ms| at_ms <= until_ms);
        let mut roles = BTreeSet::new();
        if lasts(self.until_ms) {
            roles.extend(self.roles.iter().cloned());
        }
        if let Some(delegation) = delegation.filter(|delegation| lasts(delegation.until_ms)) {
            roles.extend(self.delegated.intersection(&delegation.roles).cloned());
        }
        roles
    }
}

/// The issuing certificates that the authority declared. Under
/// [`crate::key::ISSUING`].
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct IssuingRecord {
    /// X.509, DER, the newest last; at most [`IssuingRecord::MOST`].
    pub certificates: Vec<Vec<u8>>,
}

impl IssuingRecord {
    /// Most that are kept: the oldest goes, which has ended for a long time.
    pub const MOST: usize = 8;
}

/// A partition of a member's archive, as the member declared it. Under
/// [`crate::key::archive`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct ArchiveRecord {
    /// Its last height.
    pub last: Height,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The declaration.
    pub transaction: Digest,
}

/// The active version of a contract. Under [`crate::key::contract`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ContractRecord {
    /// Its version.
    pub version: String,
    /// The package's digest.
    pub digest: Digest,
    /// The height at which it became active.
    pub since: Height,
}

/// A deployed version of a contract, for ever. Under [`crate::key::version`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct VersionRecord {
    /// The package's digest.
    pub digest: Digest,
    /// The height at which it became active.
    pub since: Height,
    /// The packages of the contracts that were active then, which it was
    /// checked against; so that it compiles to the same for ever.
    pub dependencies: BTreeMap<Name, Digest>,
}

/// A proposal. Under [`crate::key::proposal`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ProposalRecord {
    /// Who proposed it.
    pub proposer: Name,
    /// The height at which it was proposed.
    pub proposed: Height,
    /// Who has approved it, the proposer included.
    pub approvals: BTreeSet<Name>,
    /// The height at which it took effect.
    pub enacted: Option<Height>,
}

#[cfg(test)]
mod tests {
    use hufu_proof::{Algorithm, codec};

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn record() -> MemberRecord {
        let key = |one: u8| PublicKey::new(Algorithm::Ed25519, &[one; 32]).unwrap();
        MemberRecord {
            title: BTreeMap::from([("en".into(), "One".into())]),
            kinds: BTreeSet::from([name("regulator")]),
            vote_key: key(1),
            statement_key: key(2),
            jurisdictions: Jurisdictions::Whole,
            names: BTreeSet::new(),
            node_key: None,
        }
    }

    #[test]
    fn a_member_is_read_in_both_forms() {
        let first = record().to_bytes_v1();
        let second = codec::encode(&record());
        assert_ne!(first, second);
        for bytes in [&first, &second] {
            assert_eq!(codec::decode::<MemberRecord>("member", bytes, 1_000).unwrap(), record());
            for length in 0..bytes.len() {
                assert!(codec::decode::<MemberRecord>("member", &bytes[..length], 1_000).is_err());
            }
        }
        // Nothing is allocated by a number of titles that nobody wrote.
        let vast = [&(u32::MAX - 1).to_le_bytes()[..], &first[4..]].concat();
        assert!(codec::decode::<MemberRecord>("member", &vast, 1_000).is_err());
    }

    #[test]
    fn an_approval_counts_while_it_lasts_and_a_delegated_one_with_the_delegation() {
        let roles = |names: &[&str]| names.iter().map(|one| name(one)).collect::<BTreeSet<Name>>();
        let approval = ApprovalRecord {
            roles: roles(&["administrator"]),
            until_ms: Some(UnixMillis(10)),
            delegated: roles(&["operator", "regulator"]),
        };
        let delegation = |names: &[&str], until_ms: Option<u64>| DelegationRecord {
            roles: roles(names),
            until_ms: until_ms.map(UnixMillis),
        };
        for (at_ms, delegation, expected) in [
            (10, None, vec!["administrator"]),
            (11, None, vec![]),
            (10, Some(delegation(&["operator"], None)), vec!["administrator", "operator"]),
            (11, Some(delegation(&["operator", "other"], Some(11))), vec!["operator"]),
            (12, Some(delegation(&["operator"], Some(11))), vec![]),
            (11, Some(delegation(&[], None)), vec![]),
        ] {
            let counts = approval.roles_at(UnixMillis(at_ms), delegation.as_ref());
            assert_eq!(counts, roles(&expected), "{at_ms}");
        }
    }
}
