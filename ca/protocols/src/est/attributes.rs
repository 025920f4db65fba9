//! What a client should put into its request (RFC 7030 section 4.5.2, as RFC
//! 8951 section 3.4 corrects it).

use der::asn1::ObjectIdentifier;

use hufu_issuance::{KeyAlgorithm, Profile, oid, tlv};

/// CsrAttrs for a profile, DER: key types and curves, signature algorithms,
/// and the subject attributes that must be there.
pub(crate) fn of(profile: &Profile) -> Vec<u8> {
    let mut items: Vec<Vec<u8>> = Vec::new();
    let curves: Vec<ObjectIdentifier> = profile
        .keys
        .iter()
        .filter_map(|key| match key {
            KeyAlgorithm::P256 => Some(oid::P256),
            KeyAlgorithm::P384 => Some(oid::P384),
            _ => None,
        })
        .collect();
    if !curves.is_empty() {
        let mut values: Vec<Vec<u8>> = curves.iter().map(tlv::oid).collect();
        values.sort_unstable();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        items.push(tlv::sequence(&[&tlv::oid(&oid::EC_PUBLIC_KEY), &tlv::wrap(tlv::SET, &values)]));
    }
    for key in &profile.keys {
        items.push(tlv::oid(&key.signature().oid()));
    }
    for attribute in &profile.subject.required {
        items.push(tlv::oid(&attribute.oid()));
    }
    let parts: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
    tlv::sequence(&parts)
}
