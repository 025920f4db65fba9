//! Paths from EK certificates to manufacturers' roots, on certificates made
//! for the purpose, and the store of challenges on EKs in software.

use std::process::Command;
use std::time::{Duration, SystemTime};

use aws_lc_rs::agreement;
use hufu_tpm::attest::{
    AttestationError, Attributes, ChallengeId, Challenges, Curve, HashAlgorithm, ManufacturerRoots,
    Public, PublicKey, RootsError, Scheme, Symmetric, SystemRandomness, VerifiedEk,
};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    SignatureAlgorithm, date_time_ymd,
};

const EK_CERTIFICATE: [u64; 5] = [2, 23, 133, 8, 1];
const AK: &[u8] = include_bytes!("fixtures/ak.pub");

/// 1 January 2030.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000)
}

struct Authority {
    pem: String,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn authority(
    params: CertificateParams,
    algorithm: &'static SignatureAlgorithm,
    parent: Option<&Authority>,
) -> Authority {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let certificate = match parent {
        None => params.self_signed(&key).unwrap(),
        Some(parent) => params.signed_by(&key, &parent.issuer).unwrap(),
    };
    Authority {
        pem: certificate.pem(),
        der: certificate.der().to_vec(),
        issuer: Issuer::new(params, key),
    }
}

fn root() -> Authority {
    authority(authority_params("root"), &PKCS_ECDSA_P384_SHA384, None)
}

fn ek_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2035, 1, 1);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(EK_CERTIFICATE.to_vec())];
    params
}

/// An EK on P-256 whose private part is in software.
fn ek() -> (KeyPair, Public) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let public = ek_public(key.public_key_raw());
    (key, public)
}

fn ek_public(point: &[u8]) -> Public {
    Public {
        name_algorithm: HashAlgorithm::Sha256,
        attributes: Attributes::FIXED_TPM
            .with(Attributes::FIXED_PARENT)
            .with(Attributes::SENSITIVE_DATA_ORIGIN)
            .with(Attributes::ADMIN_WITH_POLICY)
            .with(Attributes::RESTRICTED)
            .with(Attributes::DECRYPT),
        auth_policy: vec![0x83; 32],
        symmetric: Symmetric::AesCfb { key_bits: 128 },
        scheme: Scheme::Null,
        key: PublicKey::Ecc {
            curve: Curve::P256,
            x: point[1..33].to_vec(),
            y: point[33..].to_vec(),
        },
    }
}

fn verify(
    roots_pem: &str,
    chain: &[Vec<u8>],
    ek: &Public,
    at: SystemTime,
) -> Result<VerifiedEk, AttestationError> {
    ManufacturerRoots::from_pem(roots_pem).unwrap().verify_ek_certificate(chain, ek, at)
}

/// Verifies an EK certificate made from `params` directly under a root.
fn verify_leaf(params: CertificateParams) -> Result<VerifiedEk, AttestationError> {
    let root = root();
    let (key, public) = ek();
    let leaf = params.signed_by(&key, &root.issuer).unwrap();
    verify(&root.pem, &[leaf.der().to_vec()], &public, now())
}

#[test]
fn intermediates_come_from_the_device_or_from_the_operator() {
    let root = root();
    let middle = authority(authority_params("middle"), &PKCS_ECDSA_P256_SHA256, Some(&root));
    let low = authority(authority_params("low"), &PKCS_ECDSA_P256_SHA256, Some(&middle));
    let (key, public) = ek();
    let leaf = ek_params().signed_by(&key, &low.issuer).unwrap().der().to_vec();

    // In any order.
    let chain = [leaf.clone(), middle.der.clone(), low.der.clone()];
    let verified = verify(&root.pem, &chain, &public, now()).unwrap();
    assert_eq!(verified.root, "CN=root");
    let everything = format!("{}{}{}", middle.pem, root.pem, low.pem);
    verify(&everything, std::slice::from_ref(&leaf), &public, now()).unwrap();
    // One is missing.
    let chain = [leaf.clone(), low.der.clone()];
    let error = verify(&root.pem, &chain, &public, now()).unwrap_err();
    assert_eq!(error.code(), "ek-untrusted");
    // A device cannot bring its own root, and an intermediate is no root.
    let stranger = authority(authority_params("other"), &PKCS_ECDSA_P256_SHA256, None);
    let chain = [leaf, low.der.clone(), middle.der.clone(), root.der.clone()];
    let error = verify(&stranger.pem, &chain, &public, now()).unwrap_err();
    assert_eq!(error.code(), "ek-untrusted");
    let error = ManufacturerRoots::from_pem(&middle.pem).unwrap_err();
    assert_eq!(error, RootsError::NoRoot);
}

#[test]
fn a_root_of_the_same_name_with_another_key_is_not_enough() {
    let (real, forged) = (root(), root());
    let (key, public) = ek();
    let leaf = ek_params().signed_by(&key, &forged.issuer).unwrap();
    let leaf = leaf.der().to_vec();
    let chain = [leaf.clone(), forged.der.clone()];
    let error = verify(&real.pem, &chain, &public, now()).unwrap_err();
    assert_eq!(error.code(), "ek-untrusted");
    // Both known, the right one is found.
    verify(&format!("{}{}", real.pem, forged.pem), &[leaf], &public, now()).unwrap();
}

#[test]
fn an_end_entity_does_not_issue() {
    let root = root();
    let mut params = authority_params("device");
    params.is_ca = IsCa::ExplicitNoCa;
    let device = authority(params, &PKCS_ECDSA_P256_SHA256, Some(&root));
    let mut params = authority_params("crl signer");
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    let crl_signer = authority(params, &PKCS_ECDSA_P256_SHA256, Some(&root));
    for issuer in [device, crl_signer] {
        let (key, public) = ek();
        let leaf = ek_params().signed_by(&key, &issuer.issuer).unwrap();
        let chain = [leaf.der().to_vec(), issuer.der.clone()];
        let error = verify(&root.pem, &chain, &public, now()).unwrap_err();
        assert_eq!(error.code(), "ek-untrusted");
        let error = ManufacturerRoots::from_pem(&format!("{}{}", root.pem, issuer.pem));
        assert!(matches!(error.unwrap_err(), RootsError::NotAnAuthority { index: 2, .. }));
    }
}

#[test]
fn path_length_is_kept() {
    let mut params = authority_params("root");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let root = authority(params, &PKCS_ECDSA_P256_SHA256, None);
    let middle = authority(authority_params("middle"), &PKCS_ECDSA_P256_SHA256, Some(&root));
    let (key, public) = ek();
    let direct = ek_params().signed_by(&key, &root.issuer).unwrap();
    verify(&root.pem, &[direct.der().to_vec()], &public, now()).unwrap();
    let leaf = ek_params().signed_by(&key, &middle.issuer).unwrap();
    let chain = [leaf.der().to_vec(), middle.der.clone()];
    let error = verify(&root.pem, &chain, &public, now()).unwrap_err();
    assert_eq!(error.code(), "ek-untrusted");
}

#[test]
fn long_paths_and_many_certificates_are_refused() {
    let root = root();
    let mut authorities = vec![];
    for depth in 0..5 {
        let name = format!("level {depth}");
        let params = authority_params(&name);
        let parent = authorities.last().unwrap_or(&root);
        let next = authority(params, &PKCS_ECDSA_P256_SHA256, Some(parent));
        authorities.push(next);
    }
    let (key, public) = ek();
    // Six certificates make a path, seven do not.
    for (depth, good) in [(4, true), (5, false)] {
        let issuer = &authorities[depth - 1].issuer;
        let leaf = ek_params().signed_by(&key, issuer).unwrap().der().to_vec();
        let chain: Vec<_> = std::iter::once(leaf)
            .chain(authorities.iter().take(depth).map(|a| a.der.clone()))
            .collect();
        assert_eq!(verify(&root.pem, &chain, &public, now()).is_ok(), good);
    }
    let leaf = ek_params().signed_by(&key, &root.issuer).unwrap();
    let error = verify(&root.pem, &vec![leaf.der().to_vec(); 9], &public, now()).unwrap_err();
    assert_eq!(error.code(), "ek-certificate-malformed");
    let error = verify(&root.pem, &[], &public, now()).unwrap_err();
    assert_eq!(error.code(), "ek-certificate-malformed");
}

#[test]
fn look_alike_authorities_cost_a_bounded_search() {
    // Each certifies each other: without bounds, a search of every path.
    let root = root();
    let names = ["a", "b"];
    let keys: Vec<_> = names
        .iter()
        .map(|name| authority(authority_params(name), &PKCS_ECDSA_P256_SHA256, None))
        .collect();
    let cross = |subject: usize, issuer: usize| {
        authority_params(names[subject])
            .signed_by(keys[subject].issuer.key(), &keys[issuer].issuer)
            .unwrap()
            .der()
            .to_vec()
    };
    let (key, public) = ek();
    let leaf = ek_params().signed_by(&key, &keys[0].issuer).unwrap();
    let mut chain = vec![leaf.der().to_vec()];
    for _ in 0..3 {
        chain.push(cross(0, 1));
        chain.push(cross(1, 0));
    }
    let error = verify(&root.pem, &chain, &public, now()).unwrap_err();
    assert_eq!(error.code(), "ek-untrusted");
}

#[test]
fn validity_of_every_certificate_counts() {
    let year = |year: u64| SystemTime::UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_556_952);
    let root = root();
    let mut params = authority_params("middle");
    params.not_after = date_time_ymd(2032, 1, 1);
    let middle = authority(params, &PKCS_ECDSA_P256_SHA256, Some(&root));
    let (key, public) = ek();
    let leaf = ek_params().signed_by(&key, &middle.issuer).unwrap();
    let chain = [leaf.der().to_vec(), middle.der.clone()];
    verify(&root.pem, &chain, &public, year(2030)).unwrap();
    for at in [year(2019), year(2024), year(2033), year(2037), year(2050)] {
        let error = verify(&root.pem, &chain, &public, at).unwrap_err();
        assert_eq!(error.code(), "ek-expired", "{at:?}");
    }
    let error = verify(&root.pem, &chain, &public, year(2033)).unwrap_err();
    assert!(error.to_string().contains("CN=middle"), "{error}");
}

#[test]
fn usages_are_checked_when_present() {
    let mut params = ek_params();
    verify_leaf(params.clone()).unwrap();
    params.extended_key_usages.clear();
    params.key_usages.clear();
    verify_leaf(params).unwrap();

    let refused = |change: fn(&mut CertificateParams)| {
        let mut params = ek_params();
        change(&mut params);
        let error = verify_leaf(params).unwrap_err();
        assert_eq!(error.code(), "ek-usage", "{error}");
        error.to_string()
    };
    let text = refused(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert!(text.contains("2.23.133.8.1"), "{text}");
    refused(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    refused(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    refused(|params| {
        let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions.push(unknown);
    });
}

#[test]
fn the_public_area_must_hold_the_certified_key() {
    let root = root();
    let (key, _) = ek();
    let (_, other) = ek();
    let leaf = ek_params().signed_by(&key, &root.issuer).unwrap();
    let error = verify(&root.pem, &[leaf.der().to_vec()], &other, now()).unwrap_err();
    assert_eq!(error.code(), "ek-mismatch");
}

#[test]
fn malformed_bundles_name_the_certificate() {
    let root = root();
    let text = format!("Root of a manufacturer\n{}\ntrailing words\n", root.pem);
    assert_eq!(ManufacturerRoots::from_pem(&text).unwrap().root_count(), 1);
    assert_eq!(ManufacturerRoots::from_pem("").unwrap_err(), RootsError::NoRoot);
    let (begin, end) = ("-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n");
    for broken in [
        format!("{}{begin}AAAA\n{end}", root.pem),
        format!("{}{begin}%%%%\n{end}", root.pem),
        format!("{}{begin}AAAA\n", root.pem),
    ] {
        let error = ManufacturerRoots::from_pem(&broken).unwrap_err();
        assert!(matches!(error, RootsError::Malformed { index: 2, .. }), "{error}");
    }
}

/// openssl makes an RSA-PSS authority and the EK certificate.
#[test]
fn rsa_pss_signatures_are_verified() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {arguments}: {said}");
    };
    let file = |name: &str| directory.path().join(name);
    std::fs::write(
        file("ek.ext"),
        "keyUsage=critical,keyAgreement\nextendedKeyUsage=2.23.133.8.1\n",
    )
    .unwrap();
    run("ecparam -name prime256v1 -genkey -noout -out ek.key");
    run("ec -in ek.key -pubout -outform DER -out ek.spki");
    run("req -new -key ek.key -subj /CN=ek -out ek.csr");
    let spki = std::fs::read(file("ek.spki")).unwrap();
    let public = ek_public(&spki[spki.len() - 65..]);
    // A salt as long as the digest is what the verifier takes.
    for (hash, salt, good) in [
        ("sha256", 32, true),
        ("sha384", 48, true),
        ("sha512", 64, true),
        ("sha256", 20, false),
        ("sha1", 20, false),
    ] {
        let pss = format!(
            "-{hash} -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:{salt} -sigopt \
             rsa_mgf1_md:{hash}"
        );
        run(&format!(
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=pss {pss} \
             -addext keyUsage=keyCertSign -days 30"
        ));
        run(&format!(
            "x509 -req -in ek.csr -CA ca.pem -CAkey ca.key -CAcreateserial -outform DER -out \
             ek.crt -extfile ek.ext -days 30 {pss}"
        ));
        let leaf = std::fs::read(file("ek.crt")).unwrap();
        let pem = std::fs::read_to_string(file("ca.pem")).unwrap();
        let found = verify(&pem, &[leaf], &public, SystemTime::now());
        assert_eq!(found.is_ok(), good, "{hash} {salt}: {found:?}");
        if let Err(error) = found {
            assert_eq!(error.code(), "ek-untrusted");
        }
    }
}

#[test]
fn a_point_off_the_curve_is_no_ek() {
    let (_, mut public) = ek();
    if let PublicKey::Ecc { y, .. } = &mut public.key {
        y[31] ^= 1;
    }
    let name = Public::from_tpm2b(AK).unwrap().name();
    let error = hufu_tpm::attest::make_credential(&public, &name, &[1; 32], &mut SystemRandomness);
    assert_eq!(error.unwrap_err().code(), "ek-attributes");
    // The curve library agrees.
    let (_, point) = public.uncompressed_point().unwrap();
    let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, point);
    let own = agreement::PrivateKey::generate(&agreement::ECDH_P256).unwrap();
    agreement::agree(&own, peer, (), |_| Ok(())).unwrap_err();
}

fn challenges(capacity: usize) -> (Challenges, Vec<Vec<u8>>, Vec<u8>) {
    let root = root();
    let (key, public) = ek();
    let leaf = ek_params().signed_by(&key, &root.issuer).unwrap();
    let roots = ManufacturerRoots::from_pem(&root.pem).unwrap();
    (Challenges::with_capacity(roots, capacity), vec![leaf.der().to_vec()], public.to_tpm2b())
}

#[test]
fn a_full_store_refuses_until_challenges_expire() {
    let (mut store, chain, ek) = challenges(2);
    let mut begin = |at| store.begin(&chain, &ek, AK, at, &mut SystemRandomness);
    let second = Duration::from_secs(1);
    begin(now()).unwrap();
    begin(now() + second).unwrap();
    let error = begin(now() + 2 * second).unwrap_err();
    assert_eq!(error, AttestationError::ChallengesFull { open: 2 });
    assert_eq!(error.code(), "challenges-full");
    // The older one expires first, and makes room for one.
    begin(now() + 600 * second).unwrap();
    begin(now() + 600 * second).unwrap_err();
}

#[derive(Clone, Debug)]
enum Step {
    Begin,
    Answer(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Begin),
        3 => any::<usize>().prop_map(Step::Answer),
        2 => (0u64..400).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Against a model that forgets nothing: a challenge gets past the store
    /// once at most, and only in time; what is open stays within bounds.
    #[test]
    fn a_challenge_is_taken_once_and_in_time(steps in proptest::collection::vec(step(), 1..40)) {
        let (mut store, chain, ek) = challenges(4);
        let mut at = now();
        let mut made: Vec<(ChallengeId, SystemTime, bool)> = vec![];
        for step in steps {
            match step {
                Step::Wait(seconds) => at += Duration::from_secs(seconds),
                Step::Begin => {
                    let open = made.iter().filter(|(_, until, spent)| !spent && *until > at);
                    let room = open.count() < 4;
                    let begun = store.begin(&chain, &ek, AK, at, &mut SystemRandomness);
                    prop_assert_eq!(begun.is_ok(), room);
                    if let Ok(challenge) = begun {
                        prop_assert_eq!(challenge.expires, at + Duration::from_secs(600));
                        made.push((challenge.id, challenge.expires, false));
                    }
                }
                Step::Answer(which) if !made.is_empty() => {
                    let index = which % made.len();
                    let (id, until, spent) = &mut made[index];
                    let error = store.complete(id, &[0; 32], &[], &[], &[], at).unwrap_err();
                    let in_time = *until > at;
                    match error.code() {
                        // It got past the store, to the check of its secret.
                        "wrong-secret" => prop_assert!(in_time && !*spent),
                        "challenge-spent" => prop_assert!(*spent),
                        "challenge-expired" => prop_assert!(!in_time && !*spent),
                        "challenge-unknown" => prop_assert!(!in_time || *spent),
                        other => prop_assert!(false, "{}", other),
                    }
                    *spent = true;
                }
                Step::Answer(_) => {}
            }
            prop_assert!(store.open_count() <= 4);
        }
    }
}
