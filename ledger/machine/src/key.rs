//! The keys of the state. They are part of the published formats: a state proof
//! names one.
//!
//! | key | record |
//! |---|---|
//! | `constitution` | [`hufu_proof::Constitution`], as the founders agreed on it |
//! | `authority` | [`hufu_proof::genesis::Authority`] |
//! | `issuing` | [`crate::record::IssuingRecord`], once an issuing certificate came after the genesis file's |
//! | `membership` | [`hufu_proof::Membership`], once it is not that of the founders |
//! | `budget` | [`hufu_proof::Budget`], once it is not the usual one |
//! | `amendments` | [`crate::record::Amendments`], once the constitution was changed |
//! | `standings` | [`crate::record::Standings`], once a member was not in good standing |
//! | `quotas` | [`hufu_proof::Quotas`], once there are any |
//! | `member/NAME` | [`crate::record::MemberRecord`] |
//! | `vote-key/` + 32 octets | the name of the member whose vote key this is or was; founders' first ones have none |
//! | `identity/` + 32 octets | [`crate::record::IdentityRecord`] |
//! | `certificate/` + serial number's octets | [`crate::record::CertificateRecord`] |
//! | `rights/` + serial number's octets | [`crate::record::CertificateRights`], of a certificate that gives any |
//! | `approval/MEMBER/` + 32 octets of the key's identity | [`crate::record::ApprovalRecord`] |
//! | `delegation/MEMBER` | [`crate::record::DelegationRecord`] |
//! | `address/MEMBER` | where its node is reached, an [`hufu_proof::Endpoint`], or nothing when it took that back |
//! | `archive/MEMBER/` + first height, eight octets | [`crate::record::ArchiveRecord`], of a partition of its archive |
//! | `name/` + a name on the network, as text | the name of the member that owns it, or nothing when nobody does any more |
//! | `device/` + a device's identifier | the name of the member whose it is |
//! | `contract/NAME` | [`crate::record::ContractRecord`] |
//! | `version/NAME/VERSION` | [`crate::record::VersionRecord`] |
//! | `role/CONTRACT/MEMBER` | set of the names of granted roles |
//! | `proposal/` + 32 octets | [`crate::record::ProposalRecord`] |
//! | `subscribers/NAME` | set of the names of contracts that have triggers on this one's |
//! | `asset/CONTRACT/TYPE/KEY` | [`hufu_contract::Asset`] |
//! | `sequence/CONTRACT/STREAM/` + 32 octets of the signer's identity | `u64` |
//!
//! Names of members and contracts have no `/`, so no two keys run into one another. A key that was
//! written once stays; what ends (a role, a certificate) is a new value.

use hufu_proof::{Digest, Height, IdentityId, Name, NetworkName, PublicKey, Serial};

/// Of the constitution.
pub const CONSTITUTION: &[u8] = b"constitution";

/// Of the certification authority.
pub const AUTHORITY: &[u8] = b"authority";

/// Of the issuing certificates after that of the genesis file.
pub const ISSUING: &[u8] = b"issuing";

/// Of the members and the keys that their proofs are verified with.
pub const MEMBERSHIP: &[u8] = hufu_proof::membership::STATE_KEY;

/// Of what may be recorded in a day.
pub const BUDGET: &[u8] = b"budget";

/// Of what may be recorded in a second, and of how many transactions.
pub const QUOTAS: &[u8] = b"quotas";

/// Of the constitutions after the founders'.
pub const AMENDMENTS: &[u8] = b"amendments";

/// Of how members stand.
pub const STANDINGS: &[u8] = b"standings";

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.join(&b'/')
}

/// Of a member.
pub fn member(name: &Name) -> Vec<u8> {
    joined(&[b"member", name.as_str().as_bytes()])
}

/// Of a vote key that came after the founding.
pub fn vote_key(key: &PublicKey) -> Vec<u8> {
    joined(&[b"vote-key", key.identity().0.as_bytes()])
}

/// Of an identity.
pub fn identity(identity: &IdentityId) -> Vec<u8> {
    joined(&[b"identity", identity.0.as_bytes()])
}

/// Of a certificate.
pub fn certificate(serial: &Serial) -> Vec<u8> {
    joined(&[b"certificate", serial.as_bytes()])
}

/// Of what a certificate gives its holder.
pub fn rights(serial: &Serial) -> Vec<u8> {
    joined(&[b"rights", serial.as_bytes()])
}

/// Of what a member approved of a key.
pub fn approval(member: &Name, key: &IdentityId) -> Vec<u8> {
    joined(&[b"approval", member.as_str().as_bytes(), key.0.as_bytes()])
}

/// What the keys of all approvals by a member begin with.
pub fn approvals(member: &Name) -> Vec<u8> {
    joined(&[b"approval", member.as_str().as_bytes(), b""])
}

/// Of what the authority may approve in a member's name.
pub fn delegation(member: &Name) -> Vec<u8> {
    joined(&[b"delegation", member.as_str().as_bytes()])
}

/// Of where a member's node is reached.
pub fn address(member: &Name) -> Vec<u8> {
    joined(&[b"address", member.as_str().as_bytes()])
}

/// Of the partition of a member's archive that begins at a height.
pub fn archive(member: &Name, first: Height) -> Vec<u8> {
    joined(&[b"archive", member.as_str().as_bytes(), &first.to_be_bytes()])
}

/// What the keys of all partitions of a member begin with.
pub fn archives(member: &Name) -> Vec<u8> {
    joined(&[b"archive", member.as_str().as_bytes(), b""])
}

/// Of a name on the network.
pub fn network_name(name: &NetworkName) -> Vec<u8> {
    joined(&[b"name", name.to_string().as_bytes()])
}

/// Of a device's identifier.
pub fn device(identifier: &str) -> Vec<u8> {
    joined(&[b"device", identifier.as_bytes()])
}

/// Of a contract's active version.
pub fn contract(name: &Name) -> Vec<u8> {
    joined(&[b"contract", name.as_str().as_bytes()])
}

/// Of the contracts that have triggers on a contract's assets and streams.
pub fn subscribers(contract: &Name) -> Vec<u8> {
    joined(&[b"subscribers", contract.as_str().as_bytes()])
}

/// Of a deployed version of a contract.
pub fn version(name: &Name, version: &str) -> Vec<u8> {
    joined(&[b"version", name.as_str().as_bytes(), version.as_bytes()])
}

/// Of the roles a member was granted in a contract.
pub fn role(contract: &Name, member: &Name) -> Vec<u8> {
    joined(&[b"role", contract.as_str().as_bytes(), member.as_str().as_bytes()])
}

/// Of a proposal.
pub fn proposal(digest: &Digest) -> Vec<u8> {
    joined(&[b"proposal", digest.as_bytes()])
}

/// Of an asset.
pub fn asset(contract: &Name, asset_type: &Name, key: &str) -> Vec<u8> {
    let contract = contract.as_str().as_bytes();
    joined(&[b"asset", contract, asset_type.as_str().as_bytes(), key.as_bytes()])
}

/// Which asset a key is of; `None` when it is of none: contract, type and key.
pub fn of_asset(key: &[u8]) -> Option<(Name, Name, &str)> {
    let rest = std::str::from_utf8(key).ok()?.strip_prefix("asset/")?;
    let (contract, rest) = rest.split_once('/')?;
    let (asset_type, asset) = rest.split_once('/')?;
    Some((Name::new(contract).ok()?, Name::new(asset_type).ok()?, asset))
}

/// What the keys of all assets of a type begin with.
pub fn assets(contract: &Name, asset_type: &Name) -> Vec<u8> {
    asset(contract, asset_type, "")
}

/// Of the sequence number of a signer's last batch of a stream.
pub fn sequence(contract: &Name, stream: &Name, signer: &IdentityId) -> Vec<u8> {
    let contract = contract.as_str().as_bytes();
    joined(&[b"sequence", contract, stream.as_str().as_bytes(), signer.0.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_asset_or_none() {
        let name = |text| Name::new(text).unwrap();
        let (registry, device) = (name("device-registry"), name("device"));
        for id in ["D1", "a/b//c", "三号泵", "asset/x/y/z"] {
            let key = asset(&registry, &device, id);
            assert_eq!(of_asset(&key), Some((registry.clone(), device.clone(), id)));
        }
        for key in [
            &b"asset/device-registry/device"[..],
            b"asset/Device/device/D1",
            b"asset//device/D1",
            b"asset/device-registry/device/\xff",
            b"assets/device-registry/device/D1",
            b"member/maker",
            b"",
        ] {
            assert_eq!(of_asset(key), None, "{}", key.escape_ascii());
        }
    }
}
