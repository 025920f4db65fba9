//! Updates that are good, altered, cut off, and none at all.

use std::collections::BTreeMap;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hufu_release::{
    DOMAIN, MAX_HEAD, Manifest, Part, PartName, ReleaseError, ReleaseKey, Sbom, Sink, Slot,
    Unpacker, parse,
};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn release_key(seed: u8) -> ReleaseKey {
    let pem = signing_key(seed).verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
    ReleaseKey::from_pem(&pem).unwrap()
}

fn bytes(part: PartName) -> Vec<u8> {
    part.text().repeat(100).into_bytes()
}

fn manifest() -> Manifest {
    let root_hash = hex::encode(Sha256::digest(b"root"));
    let (first, second) = root_hash.split_at(32);
    let slot = |half: &str, label: &str| {
        let uuid = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &half[range]).join("-");
        Some(Slot { size: 1 << 20, uuid, label: label.to_owned() })
    };
    let part = |name, slot| Part {
        name,
        file: format!("hufu_2.{}", PartName::text(name)),
        size: bytes(name).len() as u64,
        sha256: hex::encode(Sha256::digest(bytes(name))),
        slot,
    };
    Manifest {
        format: 1,
        product: "hufu".into(),
        version: "2".into(),
        sequence: 2,
        floor: 1,
        architecture: "x86-64".into(),
        kernel: "cloud".into(),
        date: 1_750_000_000,
        parts: vec![
            part(PartName::RootVerity, slot(second, "hufu_2_verity")),
            part(PartName::Root, slot(first, "hufu_2")),
            part(PartName::Uki, None),
        ],
        root_hash,
        sbom: Sbom { file: "hufu_2.cdx.json".into(), size: 1, sha256: "00".repeat(32) },
    }
}

fn head(manifest: &Manifest, seed: u8) -> Vec<u8> {
    let signed = format!("{DOMAIN}\n{}\n", serde_json::to_string(manifest).unwrap());
    let signature: DerSignature = signing_key(seed).sign(signed.as_bytes());
    format!("{signed}{}\n", STANDARD.encode(signature.as_bytes())).into_bytes()
}

fn update(manifest: &Manifest) -> Vec<u8> {
    let mut update = head(manifest, 1);
    for part in PartName::ALL {
        update.extend(bytes(part));
    }
    update
}

/// Keeps what it is given; refuses releases below a sequence number.
#[derive(Debug, Default)]
struct Memory {
    least: u32,
    parts: BTreeMap<&'static str, Vec<u8>>,
    ended: Vec<&'static str>,
}

impl Sink for Memory {
    fn accept(&mut self, manifest: &Manifest) -> io::Result<()> {
        if manifest.sequence < self.least { Err(io::Error::other("too old")) } else { Ok(()) }
    }
    fn write(&mut self, _: &Manifest, part: &Part, bytes: &[u8]) -> io::Result<()> {
        self.parts.entry(part.name.text()).or_default().extend_from_slice(bytes);
        Ok(())
    }
    fn end(&mut self, _: &Manifest, part: &Part) -> io::Result<()> {
        self.ended.push(part.name.text());
        Ok(())
    }
}

fn unpack(update: &[u8], piece: usize) -> Result<(Manifest, Memory), ReleaseError> {
    let mut unpacker = Unpacker::new(release_key(1), Memory::default());
    for bytes in update.chunks(piece.max(1)) {
        unpacker.push(bytes)?;
    }
    unpacker.finish()
}

#[test]
fn an_update_comes_out_as_it_went_in() {
    let manifest = manifest();
    let (found, memory) = unpack(&update(&manifest), 1_000).unwrap();
    assert_eq!(found, manifest);
    assert_eq!(memory.ended, ["root-verity", "root", "uki"]);
    for part in PartName::ALL {
        assert_eq!(memory.parts[part.text()], bytes(part));
    }
}

#[test]
fn another_key_signs_nothing_here() {
    let update = head(&manifest(), 2);
    assert!(matches!(parse(&update, &release_key(1)), Err(ReleaseError::Signature)));
    assert!(parse(&update, &release_key(2)).unwrap().is_some());
    assert!(matches!(ReleaseKey::from_pem("nonsense"), Err(ReleaseError::Key(_))));
}

#[test]
fn a_machine_may_refuse_a_release_before_it_is_given_anything() {
    let sink = Memory { least: 3, ..Memory::default() };
    let mut unpacker = Unpacker::new(release_key(1), sink);
    let refused = unpacker.push(&update(&manifest())).unwrap_err();
    assert!(matches!(refused, ReleaseError::Sink { .. }), "{refused}");
}

#[test]
fn a_signed_manifest_may_still_be_wrong() {
    let half = |manifest: &mut Manifest| manifest.parts[0].slot.as_mut().unwrap().uuid.pop();
    type Change = fn(&mut Manifest);
    let cases: [(&str, Change); 12] = [
        ("format", |manifest| manifest.format = 2),
        ("product", |manifest| manifest.product = "other".into()),
        ("architecture", |manifest| manifest.architecture = "arm64".into()),
        ("version", |manifest| manifest.version = "../2".into()),
        ("version", |manifest| manifest.version = "2+1".into()),
        ("sequence", |manifest| manifest.sequence = 0),
        ("floor", |manifest| manifest.floor = 3),
        ("root_hash", |manifest| manifest.root_hash = "00".into()),
        ("parts", |manifest| manifest.parts.swap(0, 1)),
        ("parts.sha256", |manifest| manifest.parts[2].sha256.push('0')),
        ("parts.slot.size", |manifest| manifest.parts[1].size = u64::MAX),
        ("parts.slot.label", |manifest| {
            manifest.parts[1].slot.as_mut().unwrap().label = "hufu_var".into();
        }),
    ];
    for (name, change) in cases {
        let mut manifest = manifest();
        change(&mut manifest);
        match parse(&head(&manifest, 1), &release_key(1)) {
            Err(ReleaseError::Manifest { field, .. }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        }
    }
    let mut manifest = manifest();
    half(&mut manifest);
    assert!(parse(&head(&manifest, 1), &release_key(1)).is_err());
}

#[test]
fn what_has_no_end_is_not_kept() {
    let endless = [format!("{DOMAIN}\n").into_bytes(), vec![b'x'; MAX_HEAD]].concat();
    assert!(matches!(unpack(&endless, 4_096), Err(ReleaseError::TooLarge)));
}

proptest! {
    #[test]
    fn the_size_of_the_pieces_does_not_matter(piece in 1usize..20_000) {
        let manifest = manifest();
        let (found, memory) = unpack(&update(&manifest), piece).unwrap();
        prop_assert_eq!(found, manifest);
        prop_assert_eq!(memory.ended.len(), 3);
    }

    #[test]
    fn any_changed_byte_is_noticed(at: prop::sample::Index, change in 1u8..) {
        let mut update = update(&manifest());
        let at = at.index(update.len());
        update[at] ^= change;
        prop_assert!(unpack(&update, 4_096).is_err());
    }

    #[test]
    fn an_update_that_is_cut_off_or_goes_on_is_refused(at: prop::sample::Index) {
        let update = update(&manifest());
        let cut = at.index(update.len());
        prop_assert!(unpack(&update[..cut], 4_096).is_err());
        let longer = [&update[..], &update[..=cut]].concat();
        prop_assert!(matches!(unpack(&longer, 4_096), Err(ReleaseError::Trailing)));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes, &release_key(1));
        let _ = parse(&[format!("{DOMAIN}\n").as_bytes(), &bytes].concat(), &release_key(1));
    }
}

/// The seeds of the fuzz target stay good.
#[test]
fn the_seeds_of_the_fuzz_target_unpack() {
    let fuzz = concat!(env!("HUFU_ROOT"), "/appliance/release/fuzz");
    let key = signing_key(1).verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
    let seed = std::path::Path::new(fuzz).join("corpus/update/good");
    if std::env::var_os("HUFU_WRITE_SEEDS").is_some() {
        std::fs::write(std::path::Path::new(fuzz).join("key.pem"), &key).unwrap();
        std::fs::write(&seed, update(&manifest())).unwrap();
    }
    assert_eq!(std::fs::read_to_string(format!("{fuzz}/key.pem")).unwrap(), key);
    unpack(&std::fs::read(seed).unwrap(), 97).unwrap();
}
