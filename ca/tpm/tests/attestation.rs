//! The whole exchange against software TPMs, and what is refused in it.

mod common;

use std::process::Command;
use std::time::{Duration, SystemTime};

use common::{Wish, World};
use hufu_tpm::attest::{
    AttestationError, Attested, Challenge, Challenges, Fault, SystemRandomness, qualifying_data,
};
use hufu_tpm::csr::Subject;
use hufu_tpm::device::{DeviceError, DeviceTpm, EkKind};
use hufu_tpm::exchange::{ChallengeRequest, ChallengeResponse, CompletionRequest};

fn begin(
    challenges: &mut Challenges,
    request: &ChallengeRequest,
) -> Result<Challenge, AttestationError> {
    let chain: Vec<&[u8]> =
        request.ek_certificates.iter().map(|certificate| certificate.0.as_slice()).collect();
    challenges.begin(
        &chain,
        &request.ek_public.0,
        &request.ak_public.0,
        SystemTime::now(),
        &mut SystemRandomness,
    )
}

fn complete(
    challenges: &mut Challenges,
    challenge: &Challenge,
    answer: &CompletionRequest,
) -> Result<Attested, AttestationError> {
    complete_at(challenges, challenge, answer, SystemTime::now())
}

fn complete_at(
    challenges: &mut Challenges,
    challenge: &Challenge,
    answer: &CompletionRequest,
    now: SystemTime,
) -> Result<Attested, AttestationError> {
    challenges.complete(
        &challenge.id,
        &answer.secret.0,
        &answer.key_public.0,
        &answer.attest.0,
        &answer.signature.0,
        now,
    )
}

/// Sends a body through JSON, as the wire does.
fn over_the_wire<T: serde::Serialize + serde::de::DeserializeOwned>(body: &T) -> T {
    serde_json::from_str(&serde_json::to_string(body).unwrap()).unwrap()
}

fn answer(device: &mut DeviceTpm, challenge: &Challenge) -> CompletionRequest {
    let response = ChallengeResponse::from(challenge.clone());
    over_the_wire(&device.answer(&over_the_wire(&response)).unwrap())
}

fn accepts(kind: EkKind) {
    let world = World::new();
    let mut device = world.device_with(kind);
    assert_eq!(device.ek_kind(), kind);
    let mut challenges = Challenges::new(world.roots());
    let request = over_the_wire(&device.challenge_request(&[]));
    let challenge = begin(&mut challenges, &request).unwrap();
    let answer = answer(&mut device, &challenge);
    let attested = complete(&mut challenges, &challenge, &answer).unwrap();
    assert_eq!(attested.spki_der, device.spki_der());
    assert_eq!(attested.public_key, device.public_key());
    assert_eq!(attested.ak_name, device.ak_public().name());
    assert_eq!(attested.ek.manufacturer.as_deref(), Some("id:00001014"));
    assert_eq!(attested.ek.model.as_deref(), Some("swtpm"));
    attested.check_spki(device.spki_der()).unwrap();
    assert_eq!(challenges.open_count(), 0);
}

#[test]
fn a_device_with_an_rsa_ek_is_attested() {
    accepts(EkKind::Rsa2048);
}

#[test]
fn a_device_with_a_p384_ek_is_attested() {
    accepts(EkKind::EccP384);
}

#[test]
fn keys_survive_restarts_of_device_and_tpm() {
    let mut world = World::new();
    let before = world.device().public_key();
    assert_eq!(world.device().public_key(), before);
    world.tpm = world.tpm.restart().unwrap();
    let mut device = world.device();
    assert_eq!(device.public_key(), before);

    let mut challenges = Challenges::new(world.roots());
    let challenge = begin(&mut challenges, &device.challenge_request(&[])).unwrap();
    let answer = answer(&mut device, &challenge);
    let attested = complete(&mut challenges, &challenge, &answer).unwrap();
    assert_eq!(attested.public_key, before);
}

#[test]
fn signatures_are_low_s_and_verify() {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    let world = World::new();
    let mut device = world.device();
    let (_, point) = device.key_public().uncompressed_point().unwrap();
    for message in [&b""[..], b"reading", &[7; 5000]] {
        // One in two signatures comes out of a TPM with a high s.
        for _ in 0..8 {
            let signature = device.sign(message).unwrap();
            assert!(signature[32] <= 0x7f, "s is in the upper half");
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point)
                .verify(message, &signature)
                .unwrap();
        }
    }
}

#[test]
fn openssl_accepts_the_csr() {
    let world = World::new();
    let mut device = world.device();
    let subject = Subject {
        country: "CN".to_owned(),
        organization: "某工业设备厂".to_owned(),
        common_name: "pump 7".to_owned(),
        serial_number: "SN-0007".to_owned(),
        ..Subject::default()
    };
    let csr = device.csr(&subject).unwrap();
    let path = world.directory.path().join("device.csr");
    std::fs::write(&path, &csr).unwrap();
    let output = Command::new("openssl")
        .args(["req", "-inform", "DER", "-verify", "-noout", "-text"])
        .args(["-nameopt", "utf8,sep_comma_plus", "-in"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{said}");
    assert!(said.contains("verify OK") || text.contains("verify OK"), "{text}{said}");
    assert!(text.contains("C=CN,O=某工业设备厂,CN=pump 7,serialNumber=SN-0007"), "{text}");
    assert!(text.contains("prime256v1"), "{text}");
}

#[test]
fn an_ek_of_an_unknown_manufacturer_is_refused() {
    let world = World::new();
    let stranger = World::new();
    let device = stranger.device();
    let mut challenges = Challenges::new(world.roots());
    let error = begin(&mut challenges, &device.challenge_request(&[])).unwrap_err();
    assert_eq!(error.code(), "ek-untrusted");
    assert_eq!(error.fault(), Fault::Device);
    assert_eq!(challenges.open_count(), 0);
}

#[test]
fn an_ek_certificate_of_another_tpm_is_refused() {
    let world = World::new();
    let request = world.device().challenge_request(&[]);
    let other_state = world.directory.path().join("other-tpm");
    world.manufacturer.make(&other_state).unwrap();
    let other = hufu_tpm::swtpm::Swtpm::start(&other_state).unwrap();
    let other = DeviceTpm::open(&other.tcti(), &world.directory.path().join("other")).unwrap();
    let mut mixed = request.clone();
    mixed.ek_certificates = other.challenge_request(&[]).ek_certificates;
    let mut challenges = Challenges::new(world.roots());
    assert_eq!(begin(&mut challenges, &mixed).unwrap_err().code(), "ek-mismatch");
    begin(&mut challenges, &request).unwrap();
}

#[test]
fn an_attestation_key_that_signs_anything_is_refused() {
    let world = World::new();
    let mut request = world.device().challenge_request(&[]);
    let mut rogue = world.rogue();
    let (_, public) =
        rogue.make_key(Wish { fixed_tpm: true, fixed_parent: true, restricted: false });
    request.ak_public.0 = public.to_tpm2b();
    let mut challenges = Challenges::new(world.roots());
    let error = begin(&mut challenges, &request).unwrap_err();
    assert_eq!(error.code(), "ak-not-restricted");
}

/// A key with the wrong attributes, honestly certified.
fn refuses_key(wish: Wish, code: &str) {
    let world = World::new();
    let mut device = world.device();
    let mut challenges = Challenges::new(world.roots());
    let challenge = begin(&mut challenges, &device.challenge_request(&[])).unwrap();
    let mut answer = answer(&mut device, &challenge);
    drop(device);
    let qualifying = qualifying_data(&challenge.id, &challenge.nonce);
    let (public, attest, signature) = world.rogue().certified_key(wish, &qualifying);
    answer.key_public.0 = public.to_tpm2b();
    answer.attest.0 = attest;
    answer.signature.0 = signature;
    let error = complete(&mut challenges, &challenge, &answer).unwrap_err();
    assert_eq!(error.code(), code);
    let again = complete(&mut challenges, &challenge, &answer).unwrap_err();
    assert_eq!(again.code(), "challenge-spent");
}

#[test]
fn a_key_that_can_be_duplicated_is_refused() {
    refuses_key(
        Wish { fixed_tpm: false, fixed_parent: false, restricted: false },
        "key-not-fixed-tpm",
    );
}

#[test]
fn a_restricted_device_key_is_refused() {
    refuses_key(Wish { fixed_tpm: true, fixed_parent: true, restricted: true }, "key-attributes");
}

#[test]
fn claiming_other_attributes_than_the_tpm_certified_is_refused() {
    let world = World::new();
    let mut device = world.device();
    let mut challenges = Challenges::new(world.roots());
    let challenge = begin(&mut challenges, &device.challenge_request(&[])).unwrap();
    let mut answer = answer(&mut device, &challenge);
    drop(device);
    let qualifying = qualifying_data(&challenge.id, &challenge.nonce);
    let wish = Wish { fixed_tpm: false, fixed_parent: false, restricted: false };
    let (mut public, attest, signature) = world.rogue().certified_key(wish, &qualifying);
    public.attributes = public
        .attributes
        .with(hufu_tpm::attest::Attributes::FIXED_TPM)
        .with(hufu_tpm::attest::Attributes::FIXED_PARENT);
    answer.key_public.0 = public.to_tpm2b();
    answer.attest.0 = attest;
    answer.signature.0 = signature;
    let error = complete(&mut challenges, &challenge, &answer).unwrap_err();
    assert_eq!(error.code(), "key-mismatch");
}

#[test]
fn a_certificate_request_for_another_key_is_refused() {
    let world = World::new();
    let mut device = world.device();
    let mut challenges = Challenges::new(world.roots());
    let challenge = begin(&mut challenges, &device.challenge_request(&[])).unwrap();
    let answer = answer(&mut device, &challenge);
    let attested = complete(&mut challenges, &challenge, &answer).unwrap();
    drop(device);
    let (_, other) =
        world.rogue().make_key(Wish { fixed_tpm: true, fixed_parent: true, restricted: false });
    let error = attested.check_spki(&other.p256_spki_der().unwrap()).unwrap_err();
    assert_eq!(error.code(), "key-mismatch");
}

#[test]
fn a_statement_about_another_key_is_refused() {
    let world = World::new();
    let mut device = world.device();
    let mut challenges = Challenges::new(world.roots());
    let challenge = begin(&mut challenges, &device.challenge_request(&[])).unwrap();
    let mut answer = answer(&mut device, &challenge);
    drop(device);
    let qualifying = qualifying_data(&challenge.id, &challenge.nonce);
    let wish = Wish { fixed_tpm: true, fixed_parent: true, restricted: false };
    let (_, attest, signature) = world.rogue().certified_key(wish, &qualifying);
    answer.attest.0 = attest;
    answer.signature.0 = signature;
    let error = complete(&mut challenges, &challenge, &answer).unwrap_err();
    assert_eq!(error.code(), "key-mismatch");
}

#[test]
fn answers_are_good_once_and_for_their_challenge_only() {
    let world = World::new();
    let mut device = world.device();
    let request = device.challenge_request(&[]);
    let mut challenges = Challenges::new(world.roots());

    // Twice.
    let challenge = begin(&mut challenges, &request).unwrap();
    let first = answer(&mut device, &challenge);
    complete(&mut challenges, &challenge, &first).unwrap();
    let error = complete(&mut challenges, &challenge, &first).unwrap_err();
    assert_eq!(error.code(), "challenge-spent");

    // An old statement with the new secret.
    let challenge = begin(&mut challenges, &request).unwrap();
    let mut mixed = answer(&mut device, &challenge);
    mixed.attest = first.attest.clone();
    mixed.signature = first.signature.clone();
    let error = complete(&mut challenges, &challenge, &mixed).unwrap_err();
    assert_eq!(error.code(), "certify-nonce");

    // A wrong secret spends the challenge as well.
    let challenge = begin(&mut challenges, &request).unwrap();
    let right = answer(&mut device, &challenge);
    let mut wrong = right.clone();
    wrong.secret.0[0] ^= 1;
    let error = complete(&mut challenges, &challenge, &wrong).unwrap_err();
    assert_eq!(error.code(), "wrong-secret");
    let error = complete(&mut challenges, &challenge, &right).unwrap_err();
    assert_eq!(error.code(), "challenge-spent");

    // Another store knows nothing of it.
    let error = complete(&mut Challenges::new(world.roots()), &challenge, &right).unwrap_err();
    assert_eq!(error.code(), "challenge-unknown");

    // Too late.
    let challenge = begin(&mut challenges, &request).unwrap();
    let late = answer(&mut device, &challenge);
    let then = SystemTime::now() + Duration::from_secs(601);
    let error = complete_at(&mut challenges, &challenge, &late, then).unwrap_err();
    assert_eq!(error.code(), "challenge-expired");
    // Even if the clock steps back.
    let error = complete(&mut challenges, &challenge, &late).unwrap_err();
    assert_eq!(error.code(), "challenge-unknown");
}

#[test]
fn every_altered_byte_of_a_statement_or_signature_is_refused() {
    let world = World::new();
    let mut device = world.device();
    let (attest, signature) = device.certify(&[9; 32]).unwrap();
    let (ak, name) = (device.ak_public().clone(), device.key_public().name());
    let check = |attest: &[u8], signature: &[u8]| {
        hufu_tpm::attest::check_certified(&ak, &name, &[9; 32], attest, signature)
    };
    check(&attest, &signature).unwrap();
    for index in 0..attest.len() {
        let mut altered = attest.clone();
        altered[index] ^= 1;
        let error = check(&altered, &signature).unwrap_err();
        assert_eq!(error.code(), "certify-signature", "byte {index}");
    }
    for index in 0..signature.len() {
        let mut altered = signature.clone();
        altered[index] ^= 1;
        check(&attest, &altered).unwrap_err();
    }
    for length in 0..signature.len() {
        check(&attest, &signature[..length]).unwrap_err();
    }
}

#[test]
fn a_tpm_does_not_open_a_credential_for_another_attestation_key() {
    let world = World::new();
    let mut device = world.device();
    let mut request = device.challenge_request(&[]);
    let mut ak = device.ak_public().clone();
    if let hufu_tpm::attest::PublicKey::Ecc { x, .. } = &mut ak.key {
        x[31] ^= 1;
    }
    request.ak_public.0 = ak.to_tpm2b();
    let mut challenges = Challenges::new(world.roots());
    let challenge = begin(&mut challenges, &request).unwrap();
    let error = device.answer(&ChallengeResponse::from(challenge)).unwrap_err();
    assert!(
        matches!(error, DeviceError::Tpm { operation: "activate the credential", .. }),
        "{error:?}"
    );
    // It goes on working.
    device.sign(b"still here").unwrap();
}

#[test]
fn keys_of_another_tpm_are_refused() {
    let world = World::new();
    drop(world.device());
    let other = World::new();
    let error = DeviceTpm::open(&other.tpm.tcti(), &world.device_state()).unwrap_err();
    assert!(matches!(error, DeviceError::ForeignKeys { .. }), "{error:?}");
    assert!(error.to_string().contains("move the file away"));
}

#[test]
fn a_torn_key_file_is_refused() {
    let world = World::new();
    let path = world.device().key_file().to_path_buf();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = DeviceTpm::open(&world.tpm.tcti(), &world.device_state()).unwrap_err();
    assert!(matches!(error, DeviceError::KeyFileMalformed { .. }), "{error:?}");
}

#[test]
fn what_a_crashed_user_left_in_the_tpm_is_flushed() {
    let world = World::new();
    // Without a resource manager these stay loaded and fill all three slots.
    for _ in 0..3 {
        let output = Command::new("tpm2_createprimary")
            .args(["-T", &world.tpm.tcti(), "-C", "o", "-G", "ecc", "-c"])
            .arg(world.directory.path().join("left.ctx"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    world.device().sign(b"room again").unwrap();
}

#[test]
fn an_unreachable_tpm_is_named() {
    let directory = tempfile::tempdir().unwrap();
    for tcti in ["nonsense", "swtpm:host=127.0.0.1,port=1", "device:/nowhere"] {
        let error = DeviceTpm::open(tcti, directory.path()).unwrap_err();
        assert!(matches!(error, DeviceError::Tcti { .. }), "{error:?}");
        assert!(error.to_string().contains(tcti), "{error}");
    }
}
