//! Each rule is broken once, and must be the one that says so.

use std::time::Duration;

use super::*;
use crate::algorithm::KeyAlgorithm;
use crate::build::{self, Content, StatusAddresses};
use crate::names::AlternativeName;
use crate::profile::{ExtendedUsage, Profiles, Usage};
use crate::serial::Serial;
use crate::subject::Attribute;

/// What a certificate is built from; each test changes one thing.
struct Case {
    built_by: Profile,
    linted_by: Profile,
    serial: Serial,
    issuer: Vec<u8>,
    key_identifier: Vec<u8>,
    signature: SignatureAlgorithm,
    not_before: UnixTime,
    not_after: UnixTime,
    subject: Subject,
    key: PublicKey,
    names: Vec<AlternativeName>,
    addresses: StatusAddresses,
}

const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);
const ISSUER_END: UnixTime = UnixTime::from_seconds(2_200_000_000);

fn issuer_name() -> Vec<u8> {
    Subject::new([(Attribute::O, "Authority"), (Attribute::CN, "Issuing")]).unwrap().to_der()
}

fn key(algorithm: KeyAlgorithm) -> PublicKey {
    let mut raw = vec![0x5a; algorithm.public_key_len()];
    if algorithm != KeyAlgorithm::Ed25519 {
        raw[0] = 4;
    }
    PublicKey::new(algorithm, raw).unwrap()
}

fn case(profile: &str) -> Case {
    let profile = Profile::clone(&Profiles::shipped().unwrap().named(profile).unwrap());
    let (not_before, not_after) = profile.window(NOW, ISSUER_END);
    let subject = if profile.purpose == Purpose::Device {
        Subject::new([(Attribute::O, "maker"), (Attribute::SerialNumber, "SN-1")])
    } else {
        Subject::new([(Attribute::O, "maker"), (Attribute::CN, "someone")])
    };
    let names = match profile.purpose {
        Purpose::Server => vec![
            AlternativeName::dns("a.example.org").unwrap(),
            AlternativeName::urn("urn:hufu:member:maker").unwrap(),
        ],
        Purpose::Client => vec![AlternativeName::urn("urn:hufu:member:maker").unwrap()],
        _ => Vec::new(),
    };
    Case {
        built_by: profile.clone(),
        linted_by: profile,
        serial: Serial::from_bytes(&[0x41; 17]).unwrap(),
        issuer: issuer_name(),
        key_identifier: vec![3; 20],
        signature: SignatureAlgorithm::EcdsaSha256,
        not_before,
        not_after,
        subject: subject.unwrap(),
        key: key(KeyAlgorithm::P256),
        names,
        addresses: StatusAddresses::under("http://pki.example.org").unwrap(),
    }
}

impl Case {
    fn tbs(&self) -> Vec<u8> {
        build::tbs(&Content {
            profile: &self.built_by,
            serial: &self.serial,
            signature: self.signature,
            issuer: &self.issuer,
            authority_key_identifier: &self.key_identifier,
            not_before: self.not_before,
            not_after: self.not_after,
            subject: &self.subject,
            public_key: &self.key,
            alternative_names: &self.names,
            addresses: &self.addresses,
        })
        .unwrap()
    }

    fn rules(&self) -> Vec<&'static str> {
        self.rules_of(&self.tbs())
    }

    fn rules_of(&self, tbs: &[u8]) -> Vec<&'static str> {
        let name = issuer_name();
        let facts = IssuerFacts {
            name: &name,
            key_identifier: &[3; 20],
            signature: SignatureAlgorithm::EcdsaSha256,
            not_after: Some(ISSUER_END),
        };
        lint(tbs, &self.linted_by, &facts).into_iter().map(|finding| finding.rule).collect()
    }
}

/// Builds a certificate of `profile`, with one thing changed, and expects one
/// rule among those broken.
fn breaks(profile: &str, rule: &str, change: impl FnOnce(&mut Case)) {
    let mut case = case(profile);
    change(&mut case);
    let rules = case.rules();
    assert!(rules.contains(&rule), "{rule}: {rules:?}");
}

#[test]
fn every_shipped_profile_is_clean() {
    for profile in Profiles::shipped().unwrap().iter() {
        let case = case(&profile.name);
        assert_eq!(case.rules(), Vec::<&str>::new(), "{}", profile.name);
    }
}

#[test]
fn each_rule_is_noticed() {
    breaks("idevid", "serial-length", |case| case.serial = Serial::from_bytes(&[5; 7]).unwrap());
    breaks("idevid", "signature-is-issuers", |case| {
        case.signature = SignatureAlgorithm::EcdsaSha384;
    });
    breaks("idevid", "issuer-is-issuers-subject", |case| {
        case.issuer = Subject::new([(Attribute::CN, "Other")]).unwrap().to_der();
    });
    breaks("idevid", "authority-key-identifier", |case| case.key_identifier = vec![4; 20]);
    breaks("idevid", "validity-never", |case| case.not_after = NOW.plus(Duration::from_secs(1)));
    breaks("ldevid", "validity-order", |case| case.not_after = case.not_before);
    breaks("ldevid", "validity-within-issuer", |case| {
        case.not_after = ISSUER_END.plus(Duration::from_secs(1));
    });
    breaks("idevid", "subject-not-empty", |case| case.subject = Subject::new([]).unwrap());
    breaks("idevid", "device-serial-number", |case| {
        case.subject = Subject::new([(Attribute::CN, "pump")]).unwrap();
    });
    breaks("idevid", "subject-allowed", |case| {
        case.subject =
            Subject::new([(Attribute::L, "Nowhere"), (Attribute::SerialNumber, "1")]).unwrap();
    });
    breaks("idevid-tpm", "key-algorithm", |case| case.key = key(KeyAlgorithm::Ed25519));
    breaks("idevid", "key-usage-is-profiles", |case| {
        case.built_by.extensions.key_usage.push(Usage::NonRepudiation);
    });
    breaks("idevid", "key-usage-authority", |case| {
        case.built_by.extensions.key_usage.push(Usage::KeyCertSign);
    });
    breaks("idevid", "idevid-no-extended-key-usage", |case| {
        case.built_by.extensions.extended_key_usage.push(ExtendedUsage::ClientAuth);
    });
    breaks("ldevid", "extended-key-usage-is-profiles", |case| {
        case.built_by.extensions.extended_key_usage.clear();
    });
    breaks("idevid", "basic-constraints", |case| case.built_by.purpose = Purpose::Issuing);
    breaks("issuing", "basic-constraints", |case| {
        case.built_by.extensions.path_length = Some(3);
    });
    breaks("tls-server", "subject-alt-name-required", |case| case.names.clear());
    breaks("tls-server", "subject-alt-name", |case| {
        case.names = vec![AlternativeName::Dns("*.example.org".to_owned())];
    });
    for (profile, urn) in
        [("tls-server", "urn:hufu:member:other"), ("operator-client", "urn:hufu:role:operator")]
    {
        breaks(profile, "names-its-member", |case| {
            case.names = vec![AlternativeName::urn(urn).unwrap()];
        });
    }
    breaks("tls-server", "names-its-member", |case| drop(case.names.pop()));
    breaks("operator-client", "names-its-member", |case| {
        case.names.push(AlternativeName::urn("urn:hufu:member:other").unwrap());
    });
    breaks("idevid", "status-addresses", |case| {
        case.addresses.crl = Some("https://pki.example.org/crl".to_owned());
    });
    breaks("idevid", "status-addresses", |case| {
        case.addresses.ocsp = Some("ldap://pki.example.org".to_owned());
    });
}

#[test]
fn altered_bytes_are_noticed_or_are_another_certificate() {
    let case = case("idevid");
    let tbs = case.tbs();
    assert!(case.rules_of(&tbs[..tbs.len() - 1]).contains(&"tbs-is-der"));
    assert!(case.rules_of(&[]).contains(&"tbs-is-der"));
    // Key usage no longer critical, an extension twice, an unknown one.
    let replaced = |from: &[u8], to: &[u8]| {
        let at = tbs.windows(from.len()).position(|window| window == from).unwrap();
        let mut altered = tbs.clone();
        altered[at..at + from.len()].copy_from_slice(to);
        case.rules_of(&altered)
    };
    let (key_usage, subject_key, authority_key) =
        ([0x55, 0x1d, 0x0f], [0x55, 0x1d, 0x0e], [0x55, 0x1d, 0x23]);
    assert!(replaced(&subject_key, &[0x55, 0x1d, 0x7f]).contains(&"extension-known"));
    assert!(replaced(&subject_key, &authority_key).contains(&"extension-once"));
    assert!(replaced(&subject_key, &key_usage).contains(&"extension-critical"));
    // A version other than 3.
    assert!(!replaced(&[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 1]).is_empty());
}
