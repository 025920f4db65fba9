//! Parsers on recorded TPM output, on generated structures and on noise.

use hufu_tpm::attest::limits::{
    MAX_ATTEST, MAX_CERTIFICATE, MAX_CHAIN, MAX_PUBLIC, MAX_SIGNATURE, SECRET,
};
use hufu_tpm::attest::wire::WireError;
use hufu_tpm::attest::{
    Attributes, CertifyStatement, Curve, EcdsaSignature, HashAlgorithm, Public, PublicKey, Scheme,
    Symmetric, check_attestation_key, check_certified, check_device_key, check_endorsement_key,
};
use hufu_tpm::exchange::{Base64, ChallengeRequest, CompletionRequest};
use hufu_tpm::keyfile::{EkKind, KeyFile, KeyFileError, WrappedKey};
use proptest::collection::vec;
use proptest::prelude::*;

// Recorded from swtpm 0.7.1 by examples/record.rs.
const EK_RSA: &[u8] = include_bytes!("fixtures/ek-rsa.pub");
const EK_P384: &[u8] = include_bytes!("fixtures/ek-p384.pub");
const AK: &[u8] = include_bytes!("fixtures/ak.pub");
const KEY: &[u8] = include_bytes!("fixtures/key.pub");
const ATTEST: &[u8] = include_bytes!("fixtures/key.attest");
const SIGNATURE: &[u8] = include_bytes!("fixtures/key.sig");
const KEY_FILE: &[u8] = include_bytes!("fixtures/device.tpmkeys");

#[test]
fn recorded_structures_are_read_and_written_back() {
    for (bytes, check) in [
        (EK_RSA, check_endorsement_key as fn(&Public) -> _),
        (EK_P384, check_endorsement_key),
        (AK, check_attestation_key),
        (KEY, check_device_key),
    ] {
        let public = Public::from_tpm2b(bytes).unwrap();
        assert_eq!(public.to_tpm2b(), bytes);
        check(&public).unwrap();
    }
    let statement = CertifyStatement::from_bytes(ATTEST).unwrap();
    assert_eq!(statement.to_bytes(), ATTEST);
    assert_eq!(statement.extra_data, [9; 32]);
    // The Name in the statement is the TPM's own computation.
    let key = Public::from_tpm2b(KEY).unwrap();
    assert_eq!(statement.name, key.name().as_bytes());
    let signature = EcdsaSignature::from_bytes(SIGNATURE).unwrap();
    assert_eq!(signature.to_bytes(), SIGNATURE);
    let ak = Public::from_tpm2b(AK).unwrap();
    check_certified(&ak, &key.name(), &[9; 32], ATTEST, SIGNATURE).unwrap();

    let file = KeyFile::from_bytes(KEY_FILE).unwrap();
    assert_eq!(file.to_bytes(), KEY_FILE);
    assert_eq!(file.attestation_key.public, ak);
    assert_eq!(file.device_key.public, key);
}

#[test]
fn the_kinds_of_key_are_not_taken_for_one_another() {
    let [ek, ak, key] = [EK_RSA, AK, KEY].map(|bytes| Public::from_tpm2b(bytes).unwrap());
    for other in [&ak, &key] {
        assert_eq!(check_endorsement_key(other).unwrap_err().code(), "ek-attributes");
    }
    assert_eq!(check_attestation_key(&key).unwrap_err().code(), "ak-not-restricted");
    assert_eq!(check_attestation_key(&ek).unwrap_err().code(), "ak-attributes");
    for other in [&ek, &ak] {
        assert_eq!(check_device_key(other).unwrap_err().code(), "key-attributes");
    }
}

#[test]
fn each_missing_attribute_has_its_code() {
    let key = Public::from_tpm2b(KEY).unwrap();
    for (bit, code) in [
        (Attributes::FIXED_TPM, "key-not-fixed-tpm"),
        (Attributes::FIXED_PARENT, "key-not-fixed-parent"),
        (Attributes::SENSITIVE_DATA_ORIGIN, "key-imported"),
        (Attributes::SIGN, "key-attributes"),
    ] {
        let mut altered = key.clone();
        altered.attributes = altered.attributes.without(bit);
        assert_eq!(check_device_key(&altered).unwrap_err().code(), code);
    }
    let ak = Public::from_tpm2b(AK).unwrap();
    for (bit, code) in [
        (Attributes::RESTRICTED, "ak-not-restricted"),
        (Attributes::SIGN, "ak-attributes"),
        (Attributes::FIXED_TPM, "ak-attributes"),
        (Attributes::FIXED_PARENT, "ak-attributes"),
        (Attributes::SENSITIVE_DATA_ORIGIN, "ak-attributes"),
    ] {
        let mut altered = ak.clone();
        altered.attributes = altered.attributes.without(bit);
        assert_eq!(check_attestation_key(&altered).unwrap_err().code(), code);
    }
    for ek in [EK_RSA, EK_P384] {
        let ek = Public::from_tpm2b(ek).unwrap();
        for bit in [
            Attributes::FIXED_TPM,
            Attributes::FIXED_PARENT,
            Attributes::SENSITIVE_DATA_ORIGIN,
            Attributes::ADMIN_WITH_POLICY,
            Attributes::RESTRICTED,
            Attributes::DECRYPT,
        ] {
            let mut altered = ek.clone();
            altered.attributes = altered.attributes.without(bit);
            let error = check_endorsement_key(&altered).unwrap_err();
            assert_eq!(error.code(), "ek-attributes");
        }
        let mut altered = ek.clone();
        altered.attributes = altered.attributes.with(Attributes::SIGN);
        check_endorsement_key(&altered).unwrap_err();
    }
}

#[test]
fn every_cut_and_every_extra_byte_is_refused() {
    type Parser = fn(&[u8]) -> bool;
    let parsers: [(&[u8], Parser); 7] = [
        (EK_RSA, |bytes| Public::from_tpm2b(bytes).is_ok()),
        (EK_P384, |bytes| Public::from_tpm2b(bytes).is_ok()),
        (AK, |bytes| Public::from_tpm2b(bytes).is_ok()),
        (&KEY[2..], |bytes| Public::from_tpmt(bytes).is_ok()),
        (ATTEST, |bytes| CertifyStatement::from_bytes(bytes).is_ok()),
        (SIGNATURE, |bytes| EcdsaSignature::from_bytes(bytes).is_ok()),
        (KEY_FILE, |bytes| KeyFile::from_bytes(bytes).is_ok()),
    ];
    for (bytes, parses) in parsers {
        assert!(parses(bytes));
        for length in 0..bytes.len() {
            assert!(!parses(&bytes[..length]), "{length} bytes");
        }
        assert!(!parses(&[bytes, &[0]].concat()));
    }
}

#[test]
fn errors_name_field_and_position() {
    // hash algorithm of the Name: SHA-1
    let mut bytes = KEY.to_vec();
    bytes[4..6].copy_from_slice(&[0, 4]);
    let error = Public::from_tpm2b(&bytes).unwrap_err();
    let field = "nameAlg";
    assert!(
        matches!(error, WireError::Value { field: found, position: 2, value: 4 } if found == field),
        "{error}"
    );
    let error = CertifyStatement::from_bytes(&ATTEST[..ATTEST.len() - 3]).unwrap_err();
    assert!(error.to_string().contains("needs 3 more bytes"), "{error}");
    // A quote instead of a certify statement.
    let mut bytes = ATTEST.to_vec();
    bytes[4..6].copy_from_slice(&[0x80, 0x18]);
    let error = CertifyStatement::from_bytes(&bytes).unwrap_err();
    assert!(matches!(error, WireError::Value { field: "type", .. }), "{error}");
}

#[test]
fn oversized_input_is_refused_by_its_size() {
    for result in [
        Public::from_tpmt(&vec![0; MAX_PUBLIC + 1]).map(drop),
        CertifyStatement::from_bytes(&vec![0; MAX_ATTEST + 1]).map(drop),
        EcdsaSignature::from_bytes(&vec![0; MAX_SIGNATURE + 1]).map(drop),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, WireError::Size { position: 0, .. }), "{error}");
    }
}

#[test]
fn altered_key_files_are_told_from_foreign_and_newer_ones() {
    let mut altered = KEY_FILE.to_vec();
    altered[100] ^= 1;
    assert_eq!(KeyFile::from_bytes(&altered), Err(KeyFileError::Checksum));
    let mut foreign = KEY_FILE.to_vec();
    foreign[0] = b'h';
    assert_eq!(KeyFile::from_bytes(&foreign), Err(KeyFileError::Magic));
    let mut newer = KEY_FILE.to_vec();
    newer[9] = 2;
    assert_eq!(KeyFile::from_bytes(&newer), Err(KeyFileError::Version(2)));
}

#[test]
fn bodies_are_bounded_and_strict() {
    let completion = r#"{"secret":"AAAA","key_public":"AA==","attest":"AA==","signature":"AA=="}"#;
    let parsed: CompletionRequest = serde_json::from_str(completion).unwrap();
    assert_eq!(serde_json::to_string(&parsed).unwrap(), completion);
    assert!(!format!("{parsed:?}").contains("AAAA"), "a secret is shown");

    let unknown = completion.replace("\"secret\"", "\"extra\":1,\"secret\"");
    let refused = |text: &str| serde_json::from_str::<CompletionRequest>(text).unwrap_err();
    assert!(refused(&unknown).to_string().contains("extra"));
    let unpadded = refused(&completion.replace("AA==\",\"signature", "AA\",\"signature"));
    assert!(unpadded.to_string().contains("not base64"), "{unpadded}");

    let secret = |length| {
        let body = serde_json::to_string(&Base64::<1024>(vec![1; length])).unwrap();
        completion.replace("\"AAAA\"", &body)
    };
    serde_json::from_str::<CompletionRequest>(&secret(SECRET)).unwrap();
    let error = refused(&secret(SECRET + 1));
    assert!(error.to_string().contains("at most 32 bytes"), "{error}");

    let request = |count| ChallengeRequest {
        ek_certificates: vec![Base64::<MAX_CERTIFICATE>(vec![1]); count],
        ek_public: Base64(vec![1]),
        ak_public: Base64(vec![1]),
    };
    for (count, good) in [(0, false), (1, true), (MAX_CHAIN, true), (MAX_CHAIN + 1, false)] {
        let text = serde_json::to_string(&request(count)).unwrap();
        assert_eq!(
            serde_json::from_str::<ChallengeRequest>(&text).is_ok(),
            good,
            "{count} certificates"
        );
    }
}

#[test]
fn the_low_s_form_is_the_lower_half() {
    // s = order - 1 becomes 1; the least s above the half becomes the half.
    let mut signature = EcdsaSignature { fixed: [7; 64] };
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let half = "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8";
    hex::decode_to_slice(order, &mut signature.fixed[32..]).unwrap();
    signature.fixed[63] -= 1;
    let mut one = [0; 32];
    one[31] = 1;
    assert_eq!(signature.low_s()[32..], one);
    assert_eq!(signature.low_s()[..32], [7; 32]);
    hex::decode_to_slice(half, &mut signature.fixed[32..]).unwrap();
    assert_eq!(signature.low_s(), signature.fixed);
    let expected = signature.fixed;
    signature.fixed[63] += 1;
    assert_eq!(signature.low_s(), expected);
}

fn hash() -> impl Strategy<Value = HashAlgorithm> {
    prop_oneof![
        Just(HashAlgorithm::Sha256),
        Just(HashAlgorithm::Sha384),
        Just(HashAlgorithm::Sha512)
    ]
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let bits = [
        Attributes::FIXED_TPM,
        Attributes::ST_CLEAR,
        Attributes::FIXED_PARENT,
        Attributes::SENSITIVE_DATA_ORIGIN,
        Attributes::USER_WITH_AUTH,
        Attributes::ADMIN_WITH_POLICY,
        Attributes::NO_DA,
        Attributes::ENCRYPTED_DUPLICATION,
        Attributes::RESTRICTED,
        Attributes::DECRYPT,
        Attributes::SIGN,
        Attributes::X509_SIGN,
    ];
    vec(any::<bool>(), bits.len()).prop_map(move |set| {
        let none = Attributes::SIGN.without(Attributes::SIGN);
        bits.iter().zip(set).filter(|(_, set)| *set).fold(none, |all, (bit, _)| all.with(*bit))
    })
}

fn rsa() -> impl Strategy<Value = (Scheme, PublicKey)> {
    let scheme = prop_oneof![
        Just(Scheme::Null),
        Just(Scheme::RsaEs),
        hash().prop_map(Scheme::RsaSsa),
        hash().prop_map(Scheme::RsaPss),
        hash().prop_map(Scheme::Oaep),
    ];
    let bits = prop_oneof![Just(2048u16), Just(3072), Just(4096)];
    let exponent = prop_oneof![Just(0u32), (65537u32..).prop_map(|e| e | 1)];
    let modulus = bits.prop_flat_map(|bits| (Just(bits), vec(any::<u8>(), usize::from(bits / 8))));
    (scheme, exponent, modulus).prop_map(|(scheme, exponent, (key_bits, mut modulus))| {
        modulus[0] |= 0x80;
        *modulus.last_mut().unwrap() |= 1;
        let key = PublicKey::Rsa { key_bits, exponent, modulus };
        (scheme, key)
    })
}

fn ecc() -> impl Strategy<Value = (Scheme, PublicKey)> {
    let scheme = prop_oneof![
        Just(Scheme::Null),
        hash().prop_map(Scheme::Ecdsa),
        hash().prop_map(Scheme::Ecdh),
    ];
    let curve = prop_oneof![Just(Curve::P256), Just(Curve::P384)];
    let point = curve.prop_flat_map(|curve| {
        let coordinate = || vec(any::<u8>(), 1..=curve.length());
        (Just(curve), coordinate(), coordinate())
    });
    (scheme, point).prop_map(|(scheme, (curve, x, y))| (scheme, PublicKey::Ecc { curve, x, y }))
}

fn public() -> impl Strategy<Value = Public> {
    let symmetric = prop_oneof![
        Just(Symmetric::None),
        prop_oneof![Just(128), Just(192), Just(256)]
            .prop_map(|key_bits| Symmetric::AesCfb { key_bits }),
    ];
    (hash(), attributes(), vec(any::<u8>(), 0..=66), symmetric, prop_oneof![rsa(), ecc()]).prop_map(
        |(name_algorithm, attributes, auth_policy, symmetric, (scheme, key))| Public {
            name_algorithm,
            attributes,
            auth_policy,
            symmetric,
            scheme,
            key,
        },
    )
}

fn statement() -> impl Strategy<Value = CertifyStatement> {
    let digest = |least: usize| vec(any::<u8>(), least..=66);
    (
        (digest(0), digest(0), digest(1), digest(1)),
        (any::<u64>(), any::<u32>(), any::<u32>(), any::<bool>()),
        any::<u64>(),
    )
        .prop_map(|(digests, clock_info, firmware_version)| {
            let (qualified_signer, extra_data, name, qualified_name) = digests;
            let (clock, reset_count, restart_count, clock_safe) = clock_info;
            CertifyStatement {
                qualified_signer,
                extra_data,
                clock,
                reset_count,
                restart_count,
                clock_safe,
                firmware_version,
                name,
                qualified_name,
            }
        })
}

/// Real structures with some bytes altered: gets deeper than noise does.
fn mutated(seed: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    vec((0..seed.len(), any::<u8>()), 0..4).prop_map(move |changes| {
        let mut bytes = seed.to_vec();
        for (index, value) in changes {
            bytes[index] = value;
        }
        bytes
    })
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..1200),
        mutated(EK_RSA),
        mutated(EK_P384),
        mutated(AK),
        mutated(&KEY[2..]),
        mutated(ATTEST),
        mutated(SIGNATURE),
        mutated(KEY_FILE),
    ]
}

proptest! {
    #[test]
    fn public_areas_round_trip(public in public()) {
        prop_assert_eq!(&Public::from_tpmt(&public.to_tpmt()).unwrap(), &public);
        prop_assert_eq!(&Public::from_tpm2b(&public.to_tpm2b()).unwrap(), &public);
        let name = public.name();
        prop_assert_eq!(name.as_bytes().len(), 2 + public.name_algorithm.length());
    }

    #[test]
    fn statements_round_trip(statement in statement()) {
        let read = CertifyStatement::from_bytes(&statement.to_bytes()).unwrap();
        prop_assert_eq!(read, statement);
    }

    #[test]
    fn signatures_round_trip(half in any::<[u8; 32]>(), other in any::<[u8; 32]>()) {
        let mut fixed = [0; 64];
        fixed[..32].copy_from_slice(&half);
        fixed[32..].copy_from_slice(&other);
        let signature = EcdsaSignature { fixed };
        prop_assert_eq!(EcdsaSignature::from_bytes(&signature.to_bytes()).unwrap(), signature);
    }

    #[test]
    fn key_files_round_trip(
        keys in (public(), public()),
        privates in (vec(any::<u8>(), 1..400), vec(any::<u8>(), 1..400)),
    ) {
        let file = KeyFile {
            ek: EkKind::EccP384,
            attestation_key: WrappedKey { public: keys.0, private: privates.0 },
            device_key: WrappedKey { public: keys.1, private: privates.1 },
        };
        prop_assert_eq!(KeyFile::from_bytes(&file.to_bytes()).unwrap(), file);
    }

    /// No input panics, and what is read is written back byte for byte.
    #[test]
    fn no_input_breaks_a_parser(bytes in input()) {
        if let Ok(public) = Public::from_tpmt(&bytes) {
            prop_assert_eq!(public.to_tpmt(), bytes.as_slice());
            let _ = (public.name(), public.p256_compressed(), public.p256_spki_der());
            let _ = check_endorsement_key(&public);
            let _ = check_attestation_key(&public);
            let _ = check_device_key(&public);
        }
        if let Ok(public) = Public::from_tpm2b(&bytes) {
            prop_assert_eq!(public.to_tpm2b(), bytes.as_slice());
        }
        if let Ok(statement) = CertifyStatement::from_bytes(&bytes) {
            prop_assert_eq!(statement.to_bytes(), bytes.as_slice());
        }
        if let Ok(signature) = EcdsaSignature::from_bytes(&bytes) {
            // Leading zeros may have been left out, and come back.
            let again = EcdsaSignature::from_bytes(&signature.to_bytes()).unwrap();
            prop_assert_eq!(again, signature);
        }
        if let Ok(file) = KeyFile::from_bytes(&bytes) {
            prop_assert_eq!(file.to_bytes(), bytes.as_slice());
        }
    }
}
