//! The control that finds certificates issued against approvals, over events that
//! make such certificates: an honest ledger refuses them.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use hufu_machine::Event;
use hufu_machine::record::{
    ApprovalRecord, CertificateRecord, CertificateRights, CertificateStatus, DelegationRecord,
    MemberRecord,
};
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Algorithm, Digest, Jurisdictions, Name, PublicKey, Serial, UnixMillis};
use hufu_readmodel::{ControlQuery, Limits, Scope};
use support::*;

const START_MS: u64 = 1_790_000_000_000;

fn control() -> String {
    let path = "policies/device-registry/controls/unapproved-certificate.sql";
    std::fs::read_to_string(std::path::Path::new(env!("HUFU_ROOT")).join(path)).unwrap()
}

fn key(number: u8) -> PublicKey {
    PublicKey::new(Algorithm::Ed25519, &[number; 32]).unwrap()
}

fn roles(names: &[&str]) -> BTreeSet<Name> {
    names.iter().map(|one| name(one)).collect()
}

fn approve(member: &str, number: u8, approved: &[&str], until: Option<u64>) -> Deed {
    Deed::Told(vec![Event::Approval {
        transaction: Digest([number; 32]),
        member: name(member),
        key: key(number).identity(),
        record: ApprovalRecord {
            roles: roles(approved),
            until_ms: until.map(UnixMillis),
            delegated: BTreeSet::new(),
        },
    }])
}

fn delegate(member: &str, delegated: &[&str], until: Option<u64>) -> Deed {
    Deed::Told(vec![Event::Delegation {
        transaction: Digest([200; 32]),
        member: name(member),
        record: DelegationRecord { roles: roles(delegated), until_ms: until.map(UnixMillis) },
    }])
}

/// A certificate of `plant` for a key, recorded at a height.
fn certify(number: u8, height: u64, given: &[&str]) -> Vec<Event> {
    let serial = Serial::new(&[number]).unwrap();
    let transaction = Digest([number; 32]);
    let record = CertificateRecord {
        status: CertificateStatus::Good,
        identity: key(number).identity(),
        profile: name("operator-client"),
        kind: IdentityKind::Client,
        owner: name("plant"),
        subject: format!("CN=client {number}"),
        not_before: UnixMillis::ZERO,
        not_after: UnixMillis::MAX,
        tbs: Digest([number; 32]),
        attestation: None,
        transaction,
        recorded_ms: UnixMillis(START_MS + height * 1000),
    };
    let rights = CertificateRights { roles: roles(given), hosts: BTreeSet::new() };
    vec![
        Event::Certificate { transaction, serial: serial.clone(), record },
        Event::Rights { transaction, serial, rights },
    ]
}

fn founded(node_key: u8) -> Deed {
    Deed::Told(vec![Event::Member {
        transaction: None,
        name: name("plant"),
        record: MemberRecord {
            title: BTreeMap::new(),
            kinds: BTreeSet::new(),
            vote_key: key(101),
            statement_key: key(102),
            jurisdictions: Jurisdictions::None,
            names: BTreeSet::new(),
            node_key: Some(key(node_key)),
        },
    }])
}

/// Serial numbers and roles that the control finds as of a height.
fn found(chain: &Chain, height: u64) -> Vec<(String, String)> {
    let (_folder, model) = model(chain, &deployed());
    let mut snapshot = model.reader().snapshot(height, Scope::Whole).unwrap();
    let (sql, parameters) = (control(), BTreeMap::new());
    let query = ControlQuery { sql: &sql, subject: "serial", parameters: &parameters };
    let findings = snapshot.control(&query, &Limits::CONTROL).unwrap();
    assert_eq!(findings.columns, ["serial", "role", "member", "holder", "status", "issued_at"]);
    assert!(findings.found.iter().all(|one| one.evidence_total > 0));
    findings.found.iter().map(|one| (one.row[0].to_string(), one.row[1].to_string())).collect()
}

fn pairs(expected: &[(u8, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(number, role)| (format!("{number:02x}"), (*role).to_owned())).collect()
}

#[test]
fn certificates_against_approvals_are_found_and_the_others_are_not() {
    let mut chain = Chain::default();
    chain.block(vec![founded(9)]);
    let ended = Some(START_MS + 1500);
    chain.block(vec![
        approve("plant", 1, &["operator", "administrator"], None),
        approve("plant", 4, &["operator"], None),
        approve("plant", 5, &["operator"], ended),
        // Another member's word is none.
        approve("yard", 6, &["operator"], None),
        delegate("plant", &["operator"], None),
        delegate("yard", &["regulator"], None),
    ]);
    let height = 2;
    let certificates = [
        certify(1, height, &["operator"]),
        // Nobody approved it, and the delegation has one of its roles.
        certify(2, height, &["operator", "regulator"]),
        certify(4, height, &["administrator", "operator"]),
        certify(5, height, &["administrator"]),
        certify(6, height, &["regulator"]),
        // The node's own key.
        certify(9, height, &["administrator", "regulator"]),
    ];
    chain.block(certificates.into_iter().map(Deed::Told).collect());
    let wrong = [
        (2, "regulator"),
        (4, "administrator"),
        (5, "administrator"),
        (6, "regulator"),
        (9, "administrator"),
    ];
    assert_eq!(found(&chain, 2), pairs(&wrong));
    // What is approved afterwards, withdrawn afterwards, or no longer delegated
    // afterwards makes nothing of it otherwise.
    chain.block(vec![
        approve("plant", 2, &["regulator"], None),
        approve("plant", 1, &[], None),
        delegate("plant", &[], None),
    ]);
    assert_eq!(found(&chain, 3), pairs(&wrong));
    // From now on it counts as it stands now.
    chain.block(vec![
        Deed::Told(certify(7, 4, &["operator"])),
        Deed::Told(certify(12, 4, &[])),
        Deed::Told([vec![approval_event(8, &["operator"])], certify(8, 4, &["operator"])].concat()),
        delegate("plant", &["operator"], Some(START_MS + 4000)),
        Deed::Told(certify(10, 4, &["operator"])),
    ]);
    chain.block(vec![Deed::Told(certify(11, 5, &["operator"]))]);
    let mut later = wrong.to_vec();
    // What the authority approves with the certificate is in time; a delegation
    // that has run out is not.
    later.extend([(7, "operator"), (11, "operator")]);
    later.sort_unstable();
    assert_eq!(found(&chain, 5), pairs(&later));
}

fn approval_event(number: u8, approved: &[&str]) -> Event {
    let Deed::Told(mut events) = approve("plant", number, approved, None) else { unreachable!() };
    events.remove(0)
}

#[test]
fn an_approval_that_had_run_out_is_none() {
    let mut chain = Chain::default();
    chain.block(vec![founded(9)]);
    chain.block(vec![approve("plant", 5, &["operator"], Some(START_MS + 2000))]);
    chain.block(vec![Deed::Told(certify(5, 2, &["operator"]))]);
    assert_eq!(found(&chain, 2), []);
    let mut late = Chain::default();
    late.block(vec![founded(9)]);
    late.block(vec![approve("plant", 5, &["operator"], Some(START_MS + 1999))]);
    late.block(vec![Deed::Told(certify(5, 2, &["operator"]))]);
    assert_eq!(found(&late, 2), pairs(&[(5, "operator")]));
}
