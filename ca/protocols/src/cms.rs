//! Certificates in a CMS SignedData without content or signers ("certs-only",
//! RFC 5652 section 5.1, RFC 8551 section 3.8), which is how EST carries them.

use hufu_issuance::{oid, tlv};

/// ContentInfo around `certificates` (DER). The set is in DER order, so the
/// order given does not show.
pub(crate) fn certificates_only<C: AsRef<[u8]>>(certificates: &[C]) -> Vec<u8> {
    let mut sorted: Vec<&[u8]> = certificates.iter().map(AsRef::as_ref).collect();
    sorted.sort_unstable();
    let signed_data = tlv::sequence(&[
        &tlv::unsigned(1),
        &tlv::wrap(tlv::SET, &[]),
        &tlv::sequence(&[&tlv::oid(&oid::PKCS7_DATA)]),
        &tlv::wrap(tlv::context(0), &sorted),
        &tlv::wrap(tlv::SET, &[]),
    ]);
    tlv::sequence(&[
        &tlv::oid(&oid::PKCS7_SIGNED_DATA),
        &tlv::wrap(tlv::context(0), &[&signed_data]),
    ])
}
