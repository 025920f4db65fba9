//! What each kind of transaction does, and what is refused with which outcome.

mod support;

use hufu_machine::Event;
use hufu_machine::record::{CertificateStatus, IdentityStatus};
use hufu_proof::transaction::{IdentityKind, Issuance, Look, MAX_LIFETIME, Proposal, Revocation};
use hufu_proof::{Algorithm, Digest, Height, LogIndex, Outcome, Payload, Signature, Value};
use std::time::Duration;
use support::*;

fn issue(issuances: Vec<Issuance>) -> Payload {
    Payload::Issue(issuances)
}

fn revoke(serial: u64, reason: u8) -> Payload {
    Payload::Revoke(Revocation { serial: serial_number(serial), reason })
}

fn look(height: Height) -> Payload {
    Payload::Look(Look { subject: "all leases".into(), height, answer: Digest::of(b"answer") })
}

#[test]
fn a_certificate_is_recorded_renewed_held_and_revoked() {
    let mut node = Node::new();
    let authority = key("authority");
    let first = node.must(&authority, issue(vec![issuance("pump", 1), issuance("fan", 2)]));
    let height = node.height();
    let identity = key("pump").identity();
    let reader = node.reader();
    let record = |serial| reader.state().unwrap().certificate(&serial_number(serial)).unwrap();
    let status = |serial| record(serial).unwrap().status;
    let holder = || reader.state().unwrap().identity(&identity).unwrap().unwrap();
    let certificate = record(1).unwrap();
    assert_eq!(certificate.status, CertificateStatus::Good);
    assert_eq!(certificate.transaction, first.id());
    assert_eq!(certificate.tbs, Digest::of(b"to be signed for pump 1"));
    assert_eq!(certificate.recorded_ms, node.machine.header().time_ms);
    assert_eq!(holder().serial, Some(serial_number(1)));
    assert_eq!((holder().kind, holder().status), (IdentityKind::Device, IdentityStatus::Active));

    // Renewal: same key, owner and subject, a new serial number.
    node.must(&authority, issue(vec![issuance("pump", 3)]));
    assert_eq!(holder().serial, Some(serial_number(3)));
    assert_eq!(status(1), CertificateStatus::Good);

    // The older certificate is not the identity's current one.
    node.must(&authority, revoke(1, 4));
    assert!(matches!(status(1), CertificateStatus::Revoked { reason: 4, .. }));
    assert_eq!(holder().status, IdentityStatus::Active);

    node.must(&authority, revoke(3, 6));
    assert!(matches!(status(3), CertificateStatus::Held { .. }));
    assert_eq!(holder().status, IdentityStatus::Suspended);
    assert_eq!(node.one(&authority, revoke(3, 6)), Outcome::Conflict, "held already");
    node.must(&authority, revoke(3, 8));
    assert_eq!((status(3), holder().status), (CertificateStatus::Good, IdentityStatus::Active));
    assert_eq!(node.one(&authority, revoke(3, 8)), Outcome::Conflict, "not on hold");

    node.must(&authority, revoke(3, 1));
    let at_ms = node.machine.header().time_ms;
    assert_eq!(status(3), CertificateStatus::Revoked { reason: 1, at_ms });
    assert_eq!(holder().status, IdentityStatus::Revoked);
    assert_eq!(node.one(&authority, revoke(3, 1)), Outcome::Conflict, "revoked already");
    assert_eq!(node.one(&authority, revoke(9, 1)), Outcome::NotFound);
    let again = issue(vec![issuance("pump", 4)]);
    assert_eq!(node.one(&authority, again), Outcome::Conflict, "a revoked key stays revoked");

    // The past is as it was.
    let at = |height| reader.state_at(height).unwrap().certificate(&serial_number(1)).unwrap();
    let then = at(height).unwrap();
    assert_eq!(then.status, CertificateStatus::Good);
    assert_eq!(at(height.minus(1)), None);
}

#[test]
fn a_reason_may_become_key_compromise_later_and_the_date_stays() {
    let mut node = Node::new();
    let authority = key("authority");
    node.must(&authority, issue(vec![issuance("pump", 1), issuance("fan", 2)]));
    let reader = node.reader();
    let status = |serial| {
        reader.state().unwrap().certificate(&serial_number(serial)).unwrap().unwrap().status
    };
    node.must(&authority, revoke(1, 0));
    let at_ms = node.machine.header().time_ms;
    let height = node.height();
    node.must(&authority, revoke(1, 4));
    assert_eq!(status(1), CertificateStatus::Revoked { reason: 4, at_ms }, "given a reason");
    for reason in [0, 3, 4, 5, 6, 8, 9] {
        assert_eq!(node.one(&authority, revoke(1, reason)), Outcome::Conflict, "{reason}");
    }
    node.must(&authority, revoke(1, 1));
    assert_eq!(status(1), CertificateStatus::Revoked { reason: 1, at_ms }, "found out");
    for reason in [0, 1, 2, 4, 10] {
        assert_eq!(node.one(&authority, revoke(1, reason)), Outcome::Conflict, "{reason}");
    }
    // The ledger shows what was said then.
    let at = |height| reader.state_at(height).unwrap().certificate(&serial_number(1)).unwrap();
    let then = at(height).unwrap();
    assert_eq!(then.status, CertificateStatus::Revoked { reason: 0, at_ms });
    // The list has it once, and not what was on hold for a time.
    node.must(&authority, revoke(2, 6));
    let listed = |height: Height| -> Vec<_> {
        let state = reader.state_at(height).unwrap();
        state.revoked().unwrap().into_iter().map(|(serial, _)| serial).collect()
    };
    assert_eq!(listed(node.height()), [serial_number(1), serial_number(2)]);
    let held = node.height();
    node.must(&authority, revoke(2, 8));
    assert_eq!(listed(node.height()), [serial_number(1)]);
    assert_eq!(listed(held), [serial_number(1), serial_number(2)]);
    assert_eq!(listed(height.minus(1)), []);
}

#[test]
fn an_issuance_takes_effect_as_a_whole_or_not_at_all() {
    let mut node = Node::new();
    let authority = key("authority");
    node.must(&authority, issue(vec![issuance("pump", 1)]));
    type Change<'a> = &'a dyn Fn(&mut Issuance);
    let with = |change: Change<'_>| {
        let mut bad = issuance("bad", 8);
        change(&mut bad);
        issue(vec![issuance("good", 7), bad])
    };
    type Spoil<'a> = &'a dyn Fn(&mut Issuance);
    let cases: [(Spoil<'_>, Outcome); 11] = [
        (&|one| one.serial = serial_number(1), Outcome::Conflict),
        (&|one| one.serial = serial_number(7), Outcome::Conflict),
        (&|one| one.key = key("maker").public(), Outcome::Conflict),
        (&|one| one.key = key("pump").public(), Outcome::Conflict),
        (&|one| one.owner = name("nobody"), Outcome::NotFound),
        (&|one| one.tbs = vec![0; Issuance::MAX_TBS + 1], Outcome::Oversized),
        (&|one| one.tbs = vec![], Outcome::Malformed),
        (&|one| one.subject = "s".repeat(Issuance::MAX_SUBJECT + 1), Outcome::Oversized),
        (&|one| one.subject = "a\nb".into(), Outcome::Malformed),
        (&|one| one.not_after = one.not_before, Outcome::Malformed),
        (&|one| one.kind = IdentityKind::Member, Outcome::Malformed),
    ];
    let root = node.machine.applied().state_root;
    for (number, (change, outcome)) in cases.into_iter().enumerate() {
        assert_eq!(node.one(&authority, with(change)), outcome, "case {number}");
        assert_eq!(node.machine.applied().state_root, root, "case {number} left a trace");
    }
    assert_eq!(node.one(&authority, issue(vec![])), Outcome::Malformed);
    let many = (0..=Issuance::MAX_ENTRIES as u64).map(|number| issuance("x", 100 + number));
    assert_eq!(node.one(&authority, issue(many.collect())), Outcome::Oversized);
    assert_eq!(node.reader().state().unwrap().certificate(&serial_number(7)).unwrap(), None);
}

#[test]
fn only_the_authority_certifies_and_revokes() {
    let mut node = Node::new();
    node.must(&key("authority"), issue(vec![issuance("pump", 1)]));
    for signer in ["maker", "operator", "regulator", "pump"] {
        let signer = key(signer);
        assert_eq!(node.one(&signer, issue(vec![issuance("fan", 2)])), Outcome::Forbidden);
        assert_eq!(node.one(&signer, revoke(1, 1)), Outcome::Forbidden);
    }
    assert_eq!(node.one(&key("authority"), revoke(1, 7)), Outcome::Malformed);
    assert_eq!(node.one(&key("authority"), revoke(1, 11)), Outcome::Malformed);
}

#[test]
fn who_may_not_sign_is_told_why() {
    let mut node = Node::new();
    let authority = key("authority");
    install(&mut node, &["pump", "fan"]);
    let reading = |sequence| append("meters", "reading", sequence, vec![reading(1)]);
    assert_eq!(node.one(&key("stranger"), reading(1)), Outcome::UnknownSigner);
    assert_eq!(node.one(&key("pump"), reading(1)), Outcome::Accepted);
    node.must(&authority, revoke(1, 6));
    assert_eq!(node.one(&key("pump"), reading(2)), Outcome::InactiveSigner);
    node.must(&authority, revoke(1, 8));
    assert_eq!(node.one(&key("pump"), reading(2)), Outcome::Accepted);
    node.must(&authority, revoke(1, 1));
    assert_eq!(node.one(&key("pump"), reading(3)), Outcome::InactiveSigner);

    // Validity is by the block's time.
    let mut late = issuance("late", 20);
    late.not_before = node.machine.header().time_ms.plus(Duration::from_secs(4));
    late.not_after = late.not_before.plus(Duration::from_millis(1_500));
    node.must(&authority, issue(vec![late]));
    let hello = || look(Height(0));
    assert_eq!(node.one(&key("late"), hello()), Outcome::InactiveSigner);
    assert_eq!(node.one(&key("late"), hello()), Outcome::InactiveSigner);
    assert_eq!(node.one(&key("late"), hello()), Outcome::Forbidden, "valid, but no member");
    assert_eq!(node.one(&key("late"), hello()), Outcome::Forbidden);
    assert_eq!(node.one(&key("late"), hello()), Outcome::InactiveSigner);

    // Clients and servers authenticate connections.
    let client = Issuance { kind: IdentityKind::Client, ..issuance("client", 30) };
    node.must(&authority, issue(vec![client]));
    assert_eq!(node.one(&key("client"), install_meter("client")), Outcome::Forbidden);
}

#[test]
fn envelopes_are_checked_in_order() {
    let mut node = Node::new();
    let regulator = key("regulator");
    let good = node.sign(&regulator, look(Height(0)));

    let mut forged = good.clone();
    forged.signature = Signature::new(Algorithm::Ed25519, &[1; 64]).unwrap();
    let mut elsewhere = good.clone();
    elsewhere.body.chain = Digest::of(b"elsewhere");
    let mut altered = good.clone();
    altered.body.nonce += 1_000_000;
    let outcomes = node.run(vec![forged.clone(), elsewhere, altered]);
    assert_eq!(outcomes, [Outcome::Signature, Outcome::WrongChain, Outcome::Signature]);

    // A forgery under the same identifier does not spoil the genuine one, in
    // another block or in the same.
    assert_eq!(forged.id(), good.id());
    assert_eq!(
        node.run(vec![forged.clone(), good.clone(), forged, good.clone()]),
        [Outcome::Signature, Outcome::Accepted, Outcome::Signature, Outcome::Duplicate]
    );
    assert_eq!(node.run(vec![good.clone()]), [Outcome::Duplicate]);
    let (log_index, entry) = node.reader().entry(&good.id()).unwrap().unwrap();
    assert_eq!(
        (log_index, entry.outcome),
        (LogIndex(4), Outcome::Accepted),
        "the first good record stays"
    );

    // A refused transaction takes its identifier as well, once it was signed.
    let refused = node.sign(&key("maker"), issue(vec![issuance("foreign", 90)]));
    assert_eq!(node.run(vec![refused.clone()]), [Outcome::Forbidden]);
    assert_eq!(node.run(vec![refused]), [Outcome::Duplicate]);

    let height = node.height();
    let expiring = |expires: Height| {
        sign(node.chain, 7_000_000 + expires.get(), expires, &regulator, look(Height(0)))
    };
    let transactions = vec![
        expiring(height),
        expiring(height.next()),
        expiring(height.plus(1 + MAX_LIFETIME)),
        expiring(height.plus(2 + MAX_LIFETIME)),
    ];
    let expected = [Outcome::Expired, Outcome::Accepted, Outcome::Accepted, Outcome::Expired];
    assert_eq!(node.run(transactions), expected);
}

#[test]
fn looks_are_recorded_by_members_and_of_the_past() {
    let mut node = Node::new();
    node.must(&key("authority"), issue(vec![issuance("pump", 1)]));
    let height = node.height().next();
    assert_eq!(node.one(&key("regulator"), look(height)), Outcome::Accepted);
    assert_eq!(node.one(&key("regulator"), look(height.plus(2))), Outcome::Parameter);
    assert_eq!(node.one(&key("maker"), look(height)), Outcome::Accepted, "asked on its node");
    assert_eq!(node.one(&key("pump"), look(Height(0))), Outcome::Forbidden);
    let empty =
        Payload::Look(Look { subject: String::new(), height: Height(0), answer: Digest::of(b"") });
    assert_eq!(node.one(&key("regulator"), empty), Outcome::Malformed);
}

#[test]
fn a_package_is_deployed_by_three_approvals() {
    let mut node = Node::new();
    let package = meters("1.0.0");
    let proposal = Proposal::Deploy { package: package.to_bytes() };
    let digest = proposal.digest();
    let (authority, maker, operator) = (key("authority"), key("maker"), key("operator"));
    let approve = || Payload::Approve(digest);
    assert_eq!(node.one(&maker, approve()), Outcome::NotFound);
    node.must(&authority, Payload::Propose(proposal.clone()));
    assert_eq!(node.one(&maker, Payload::Propose(proposal.clone())), Outcome::Conflict);
    assert_eq!(node.one(&authority, approve()), Outcome::Conflict, "proposing is approving");
    node.must(&maker, approve());
    assert_eq!(node.one(&maker, approve()), Outcome::Conflict);
    assert_eq!(node.one(&operator, install_meter("pump")), Outcome::NoContract);

    // The approval that completes it takes effect for the next transaction.
    let transactions =
        vec![node.sign(&operator, approve()), node.sign(&operator, install_meter("pump"))];
    let block = node.block(transactions);
    let executed = node.execute(&block).unwrap();
    let outcomes: Vec<Outcome> = executed.entries.iter().map(|entry| entry.outcome).collect();
    assert_eq!(outcomes, [Outcome::Accepted, Outcome::Accepted]);
    let deployed = |event: &&Event| matches!(event, Event::Contract { .. });
    assert_eq!(executed.events.iter().filter(deployed).count(), 1);

    let state = node.reader().state().unwrap();
    let record = state.contract(&name("meters")).unwrap().unwrap();
    assert_eq!((record.version.as_str(), record.digest), ("1.0.0", package.digest()));
    assert_eq!(state.contracts().unwrap(), [(name("meters"), record)]);
    assert_eq!(node.reader().package(&package.digest()).unwrap(), Some(package.to_bytes()));
    assert_eq!(node.one(&key("regulator"), approve()), Outcome::Conflict, "enacted already");
    assert_eq!(node.one(&maker, Payload::Propose(proposal)), Outcome::Conflict, "deployed");

    // A lower version does not replace a higher one; a higher one does, and what
    // was deployed stays readable.
    let deploy =
        |version| Payload::Propose(Proposal::Deploy { package: meters(version).to_bytes() });
    assert_eq!(node.one(&maker, deploy("0.9.0")), Outcome::Conflict);
    node.deploy(&meters("1.1.0"));
    let state = node.reader().state().unwrap();
    assert_eq!(state.contract(&name("meters")).unwrap().unwrap().version, "1.1.0");
    assert!(state.version(&name("meters"), "1.0.0").unwrap().is_some());
    assert_eq!(node.reader().package(&package.digest()).unwrap(), Some(package.to_bytes()));
    assert!(state.asset_record(&name("meters"), &name("meter"), "pump").unwrap().is_some());
}

/// A new version that would give what is recorded another meaning is refused
/// when it is proposed; the old one stays.
#[test]
fn a_version_that_changes_what_is_recorded_is_refused() {
    let mut node = Node::new();
    install(&mut node, &["pump"]);
    let changed = |changes: &[(&str, &str)]| {
        let next = meters("1.1.0");
        let mut contract = next.text("contract.toml").unwrap().to_owned();
        for (from, to) in changes {
            assert!(contract.contains(from), "{from}");
            contract = contract.replace(from, to);
        }
        let policy = next.text("policy.cedar").unwrap();
        sources(&[("contract.toml", &contract), ("policy.cedar", policy), ("README.md", "New.\n")])
    };
    let refused = [
        changed(&[(
            "fields.total = { type = \"int\",",
            "fields.total = { type = \"int\", max = 9000,",
        )]),
        changed(&[("type = \"symbol\",", "type = \"text\", max = 20,")]),
        changed(&[("\"closed\"", "\"shut\"")]),
    ];
    for package in refused {
        if let Err(problems) = hufu_contract::check(&package, &Default::default()) {
            panic!("by itself it would be a good package: {problems:?}");
        }
        let proposal = Proposal::Deploy { package: package.to_bytes() };
        assert_eq!(node.one(&key("maker"), Payload::Propose(proposal)), Outcome::Package);
    }
    let state = node.reader().state().unwrap();
    assert_eq!(state.contract(&name("meters")).unwrap().unwrap().version, "1.0.0");
    node.deploy(&changed(&[("max = 1000 }", "max = 2000 }")]));
    let state = node.reader().state().unwrap();
    assert_eq!(state.contract(&name("meters")).unwrap().unwrap().version, "1.1.0");
}

#[test]
fn governance_is_the_members() {
    let mut node = Node::new();
    install(&mut node, &["pump"]);
    let grant = |role: &str, member: &str| Proposal::Grant {
        contract: name("meters"),
        role: name(role),
        member: name(member),
    };
    let broken = Proposal::Deploy { package: b"not a package".to_vec() };
    let cases = [
        ("pump", Payload::Propose(grant("reader", "maker")), Outcome::Forbidden),
        ("pump", Payload::Approve(Digest::of(b"")), Outcome::Forbidden),
        ("maker", Payload::Propose(broken), Outcome::Package),
        ("maker", Payload::Propose(grant("owner", "maker")), Outcome::NotFound),
        ("maker", Payload::Propose(grant("reader", "nobody")), Outcome::NotFound),
        (
            "maker",
            Payload::Propose(Proposal::Grant {
                contract: name("none"),
                role: name("reader"),
                member: name("maker"),
            }),
            Outcome::NoContract,
        ),
    ];
    for (signer, payload, outcome) in cases {
        assert_eq!(node.one(&key(signer), payload), outcome);
    }
    let add = |amount| invoke("meters", "add", "pump", &[("amount", Value::Int(amount))]);
    assert_eq!(node.one(&key("maker"), add(5)), Outcome::Policy);
    node.enact(grant("reader", "maker"));
    assert_eq!(node.one(&key("maker"), add(5)), Outcome::Accepted);
    node.enact(Proposal::Withdraw {
        contract: name("meters"),
        role: name("reader"),
        member: name("maker"),
    });
    assert_eq!(node.one(&key("maker"), add(5)), Outcome::Policy);
    node.enact(grant("reader", "maker"));
    assert_eq!(node.one(&key("maker"), add(5)), Outcome::Accepted, "granted again");
}

#[test]
fn contracts_refuse_and_change_state() {
    let mut node = Node::new();
    install(&mut node, &["pump"]);
    node.enact(Proposal::Grant {
        contract: name("meters"),
        role: name("reader"),
        member: name("maker"),
    });
    let maker = key("maker");
    let add = |amount| invoke("meters", "add", "pump", &[("amount", Value::Int(amount))]);
    for _ in 0..5 {
        node.must(&maker, add(1_000));
    }
    let cases = [
        (add(1), Outcome::Invariant),
        (add(1_001), Outcome::Parameter),
        (invoke("meters", "add", "none", &[("amount", Value::Int(1))]), Outcome::NoAsset),
        (invoke("meters", "drop", "pump", &[]), Outcome::NoAction),
        (invoke("none", "add", "pump", &[]), Outcome::NoContract),
        (invoke("meters", "add", "", &[]), Outcome::Malformed),
        (invoke("meters", "add", &"x".repeat(129), &[]), Outcome::Oversized),
        (install_meter("pump"), Outcome::AssetExists),
        (append("meters", "reading", 1, vec![]), Outcome::Malformed),
        (append("meters", "reading", 1, vec![reading(1)]), Outcome::NoAsset),
    ];
    for (payload, outcome) in cases {
        assert_eq!(node.one(&maker, payload), outcome);
    }
    let state = node.reader().state().unwrap();
    let meter = state.asset_record(&name("meters"), &name("meter"), "pump").unwrap().unwrap();
    assert_eq!(meter.fields[&name("total")], Value::Int(5_000));
    assert_eq!(
        state.assets(&name("meters"), &name("meter"), None, 9).unwrap(),
        [("pump".to_owned(), meter)]
    );
    let close = || invoke("meters", "close", "pump", &[]);
    node.must(&key("operator"), close());
    assert_eq!(node.one(&key("operator"), close()), Outcome::WrongState);
}

#[test]
fn batches_of_a_stream_come_in_sequence() {
    let mut node = Node::new();
    install(&mut node, &["pump", "fan"]);
    let pump = key("pump");
    let batch = |sequence| append("meters", "reading", sequence, vec![reading(1), reading(2)]);
    let signed: Vec<_> = [1, 2, 2, 4, 3].map(|sequence| node.sign(&pump, batch(sequence))).into();
    let block = node.block(signed);
    let executed = node.execute(&block).unwrap();
    let outcomes: Vec<Outcome> = executed.entries.iter().map(|entry| entry.outcome).collect();
    use Outcome::{Accepted, Sequence};
    assert_eq!(outcomes, [Accepted, Accepted, Sequence, Sequence, Accepted]);
    let rows: Vec<(u32, u64, u32)> = executed
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Rows { index, sequence, rows, device, .. } => {
                assert_eq!(device, "pump");
                Some((*index, sequence.get(), *rows))
            }
            _ => None,
        })
        .collect();
    assert_eq!(rows, [(0, 1, 2), (1, 2, 2), (4, 3, 2)]);
    assert_eq!(node.one(&key("fan"), batch(1)), Accepted, "each signer counts for itself");
    let short = append("meters", "reading", 4, vec![vec![Value::Symbol("energy".into())]]);
    assert_eq!(node.one(&pump, short), Outcome::Parameter);
    let many = append("meters", "reading", 4, vec![reading(1); 1_001]);
    assert_eq!(node.one(&pump, many), Outcome::Oversized);
    assert_eq!(node.one(&pump, batch(4)), Accepted);
}

#[test]
fn contracts_of_the_project_run() {
    let package = |folder: &str| {
        let root = std::path::Path::new(env!("HUFU_ROOT"));
        let root = root.join("policies").join(folder);
        let mut files = std::collections::BTreeMap::new();
        for under in ["", "controls", "cases"] {
            let Ok(entries) = std::fs::read_dir(root.join(under)) else { continue };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    files.insert(name, std::fs::read(&path).unwrap());
                }
            }
        }
        hufu_contract::Sources::new(files).unwrap()
    };
    let mut node = Node::new();
    node.deploy(&package("device-registry"));
    node.deploy(&package("operation-supervision"));
    node.must(&key("authority"), issue(vec![issuance("pump", 1)]));
    let register = invoke(
        "device-registry",
        "register",
        "pump",
        &[
            ("device_id", Value::Id("pump".into())),
            ("identity", Value::Identity(key("pump").identity())),
            ("owner", Value::Member(name("operator"))),
            ("model", Value::Symbol("P-100".into())),
            ("firmware", Value::Symbol("1.0".into())),
        ],
    );
    node.must(&key("maker"), register.clone());
    assert_eq!(node.one(&key("operator"), register), Outcome::AssetExists);
    let mut node = node.restart();
    let transfer =
        invoke("device-registry", "transfer", "pump", &[("owner", Value::Member(name("maker")))]);
    assert_eq!(node.one(&key("regulator"), transfer.clone()), Outcome::Policy);
    node.must(&key("operator"), transfer);
}
