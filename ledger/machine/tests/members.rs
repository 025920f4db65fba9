//! Members come and change their keys; epochs end and begin; proofs lead back
//! to the founders all the same.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use hufu_machine::Event;
use hufu_machine::record::IdentityStatus;
use hufu_proof::finality::FinalityError;
use hufu_proof::genesis::MemberV1 as Member;
use hufu_proof::receipt::ReceiptError;
use hufu_proof::transaction::{Look, Proposal};
use hufu_proof::{
    Algorithm, Digest, Height, Outcome, Payload, PublicKey, Receipt, UnixMillis, codec,
};
use support::*;

/// A member called `of`, with the keys of `seed`.
fn member(of: &str, seed: &str) -> Member {
    Member {
        name: name(of),
        title: BTreeMap::from([("en".into(), of.to_uppercase())]),
        kinds: BTreeSet::from([name(of)]),
        jurisdictions: BTreeSet::new(),
        vote_key: vote_public(seed),
        statement_key: key(seed).public(),
    }
}

fn change(of: &str, seed: &str) -> Proposal {
    Proposal::MemberV1 { member: member(of, seed) }
}

fn look(subject: &str) -> Payload {
    Payload::Look(Look { subject: subject.into(), height: Height(0), answer: Digest::of(b"") })
}

#[test]
fn a_member_gets_new_keys_and_the_next_epoch_has_them() {
    let mut node = Node::new();
    node.enact(change("maker", "maker 2"));
    let enacted = node.height();
    let reader = node.reader();
    let state = reader.state().unwrap();
    let status = |seed: &str| state.identity(&key(seed).identity()).unwrap().unwrap().status;
    assert_eq!(
        (status("maker"), status("maker 2")),
        (IdentityStatus::Revoked, IdentityStatus::Active)
    );
    assert_eq!(
        state.member_record(&name("maker")).unwrap().unwrap().vote_key,
        vote_public("maker 2")
    );
    let told = reader.replay(enacted).unwrap().unwrap().events;
    assert!(told.iter().any(|event| matches!(event, Event::Member { transaction: Some(_), .. })));
    assert_eq!(reader.membership().unwrap().version, 1);
    assert_eq!(reader.epoch().number, 0, "who votes changes with the epoch");

    // Statements change hands at once.
    assert_eq!(node.one(&key("maker"), look("something")), Outcome::InactiveSigner);
    assert_eq!((reader.epoch().number, reader.epoch().first), (1, enacted.plus(2)));
    assert_eq!(node.one(&key("maker 2"), look("something")), Outcome::Accepted);
    let epochs = reader.epochs();
    let keys = |epoch: usize| {
        let seat = epochs[epoch].membership.seat(&name("maker")).unwrap();
        (seat.vote_key.clone(), seat.statement_key.clone())
    };
    assert_eq!(keys(0), (vote_public("maker"), key("maker").public()));
    assert_eq!(keys(1), (vote_public("maker 2"), key("maker 2").public()));

    drop((reader, state));
    let node = node.restart();
    assert_eq!(node.reader().epochs(), epochs);
}

#[test]
fn a_member_comes_and_has_a_say() {
    let mut node = Node::new();
    node.enact(change("auditor", "auditor"));
    let names: Vec<String> =
        node.reader().membership().unwrap().seats.iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["auditor", "authority", "maker", "operator", "regulator"]);
    let proposal = change("maker", "maker 2");
    let digest = proposal.digest();
    node.must(&key("auditor"), Payload::Propose(proposal));
    node.must(&key("regulator"), Payload::Approve(digest));
    node.must(&key("operator"), Payload::Approve(digest));
    assert_eq!(node.reader().membership().unwrap().version, 2);
}

#[test]
fn a_new_title_begins_no_epoch() {
    let mut node = Node::new();
    let mut retitled = member("maker", "maker");
    retitled.title = BTreeMap::from([("en".into(), "Makers, Inc.".into())]);
    node.enact(Proposal::MemberV1 { member: retitled.clone() });
    node.settle();
    let reader = node.reader();
    assert_eq!((reader.epoch().number, reader.membership().unwrap().version), (0, 0));
    let record = reader.state().unwrap().member_record(&name("maker")).unwrap().unwrap();
    assert_eq!(record.title, retitled.title);
    assert_eq!(node.one(&key("maker"), look("something")), Outcome::Accepted);
}

#[test]
fn what_comes_too_late_for_an_epoch_is_for_the_one_after() {
    let mut node = Node::new();
    for proposal in [change("maker", "maker 2"), change("auditor", "auditor")] {
        node.must(&key("authority"), Payload::Propose(proposal.clone()));
        node.must(&key("regulator"), Payload::Approve(proposal.digest()));
    }
    let approve = |one: Proposal| Payload::Approve(one.digest());
    node.must(&key("operator"), approve(change("maker", "maker 2")));
    let first = node.height();
    // The last block of epoch 0, which commits to the first change only.
    node.must(&key("operator"), approve(change("auditor", "auditor")));
    let epoch = node.reader().epoch();
    assert_eq!((epoch.number, epoch.first), (1, first.plus(2)));
    assert_eq!((epoch.membership.version, epoch.membership.seats.len()), (1, 4));
    // The first block of epoch 1 commits to the second.
    node.run(vec![]);
    let epoch = node.reader().epoch();
    assert_eq!((epoch.number, epoch.first), (2, first.plus(3)));
    assert_eq!((epoch.membership.version, epoch.membership.seats.len()), (2, 5));
    node.run(vec![]);
    assert_eq!(node.reader().epoch().number, 2);
}

#[test]
fn two_changes_may_share_an_epoch() {
    let mut node = Node::new();
    let changes = [change("maker", "maker 2"), change("auditor", "auditor")];
    for proposal in &changes {
        node.must(&key("authority"), Payload::Propose(proposal.clone()));
        node.must(&key("regulator"), Payload::Approve(proposal.digest()));
    }
    let approvals: Vec<_> = changes
        .iter()
        .map(|one| node.sign(&key("operator"), Payload::Approve(one.digest())))
        .collect();
    assert_eq!(node.run(approvals), [Outcome::Accepted; 2]);
    node.settle();
    let epoch = node.reader().epoch();
    assert_eq!((epoch.number, epoch.membership.version), (1, 2));
}

#[test]
fn keys_are_used_once_and_members_are_well_formed() {
    let mut node = Node::new();
    node.must(&key("authority"), Payload::Issue(vec![issuance("pump", 1)]));
    node.enact(change("maker", "maker 2"));
    let with = |vote: PublicKey, statement: PublicKey| Member {
        vote_key: vote,
        statement_key: statement,
        ..member("operator", "operator")
    };
    let (votes, states) = (|seed| vote_public(seed), |seed| key(seed).public());
    let no_point = PublicKey::new(Algorithm::EcdsaP256, &[&[2][..], &[0xff; 32]].concat()).unwrap();
    let compact = [&[5][..], &vote_public("auditor").as_bytes()[1..]].concat();
    let compact = PublicKey::new(Algorithm::EcdsaP256, &compact).unwrap();
    let jurisdictions = BTreeSet::from([name("north")]);
    let title = |text: String| BTreeMap::from([("en".to_owned(), text)]);
    let cases = [
        ("nothing changes", member("operator", "operator"), Outcome::Conflict),
        ("another's vote key", with(votes("regulator"), states("operator")), Outcome::Conflict),
        ("a former vote key", with(votes("maker"), states("operator")), Outcome::Conflict),
        ("a key that came later", with(votes("maker 2"), states("operator")), Outcome::Conflict),
        ("another's statement key", with(votes("auditor"), states("regulator")), Outcome::Conflict),
        ("a former statement key", with(votes("auditor"), states("maker")), Outcome::Conflict),
        ("a device's key", with(votes("auditor"), states("pump")), Outcome::Conflict),
        ("one for both", with(votes("auditor"), votes("auditor")), Outcome::Conflict),
        (
            "a vote key for statements",
            with(votes("auditor"), votes("regulator")),
            Outcome::Conflict,
        ),
        ("its own the other way", with(votes("auditor"), votes("operator")), Outcome::Conflict),
        ("no P-256", with(states("auditor"), states("operator")), Outcome::Malformed),
        ("no point", with(no_point, states("operator")), Outcome::Malformed),
        ("another encoding", with(compact, states("operator")), Outcome::Malformed),
        (
            "jurisdictions of no regulator",
            Member { jurisdictions, ..member("auditor", "auditor") },
            Outcome::Malformed,
        ),
        (
            "no title",
            Member { title: BTreeMap::new(), ..member("auditor", "auditor") },
            Outcome::Malformed,
        ),
        (
            "a line break",
            Member { title: title("two\nlines".into()), ..member("auditor", "auditor") },
            Outcome::Malformed,
        ),
        (
            "a long title",
            Member { title: title("x".repeat(257)), ..member("auditor", "auditor") },
            Outcome::Oversized,
        ),
    ];
    for (what, member, outcome) in cases {
        let payload = Payload::Propose(Proposal::MemberV1 { member });
        assert_eq!(node.one(&key("authority"), payload), outcome, "{what}");
    }
    assert_eq!(
        node.one(&key("pump"), Payload::Propose(change("auditor", "auditor"))),
        Outcome::Forbidden
    );

    // Of two proposals that exclude each other, the second cannot be enacted.
    let rival = Proposal::MemberV1 { member: member("observer", "auditor") };
    for proposal in [change("auditor", "auditor"), rival.clone()] {
        node.must(&key("authority"), Payload::Propose(proposal.clone()));
        node.must(&key("regulator"), Payload::Approve(proposal.digest()));
    }
    node.must(&key("operator"), Payload::Approve(change("auditor", "auditor").digest()));
    assert_eq!(node.one(&key("operator"), Payload::Approve(rival.digest())), Outcome::Conflict);
    assert!(node.reader().membership().unwrap().seat(&name("observer")).is_none());
}

/// A receipt of each epoch, after two changes.
fn receipts() -> (Node, [Receipt; 3]) {
    let mut node = Node::new();
    let mut transactions = Vec::new();
    for proposal in [change("maker", "maker 2"), change("auditor", "auditor")] {
        transactions.push(node.must(&key("regulator"), look("something")));
        node.settle();
        if transactions.len() == 1 {
            node.enact(proposal);
        } else {
            let digest = proposal.digest();
            node.must(&key("authority"), Payload::Propose(proposal));
            node.must(&key("maker 2"), Payload::Approve(digest));
            node.must(&key("operator"), Payload::Approve(digest));
        }
        node.settle();
        let last = node.reader().epoch().first.minus(1);
        node.certify(last);
    }
    transactions.push(node.must(&key("auditor"), look("something")));
    node.settle();
    let reader = node.reader();
    let receipt = |one: &hufu_proof::Transaction| reader.receipt(&one.id()).unwrap().unwrap();
    let receipts = [0, 1, 2].map(|epoch| receipt(&transactions[epoch]));
    (node, receipts)
}

#[test]
fn receipts_of_every_epoch_verify_with_the_genesis_file_alone() {
    let (node, receipts) = receipts();
    let genesis = genesis();
    for (epoch, receipt) in receipts.iter().enumerate() {
        assert_eq!(receipt.finality.certificate.epoch, epoch as u64);
        assert_eq!(receipt.finality.handovers.len(), epoch);
        receipt.verify(&genesis).unwrap();
        let bytes = codec::encode(receipt);
        assert!(bytes.len() < 2_048 * (epoch + 1), "{} bytes in epoch {epoch}", bytes.len());
        let read = Receipt::decode(&bytes).unwrap();
        assert_eq!(&read, receipt);
        let json = serde_json::to_string(receipt).unwrap();
        assert_eq!(json.contains("handovers"), epoch > 0);
        assert_eq!(&serde_json::from_str::<Receipt>(&json).unwrap(), receipt);
    }
    let membership = receipts[2].finality.verify(&genesis, &receipts[2].header).unwrap();
    assert_eq!(membership, node.reader().epoch().membership);
    // Read from the store again, they are the same.
    let node = node.restart();
    let id = receipts[2].transaction.id();
    assert_eq!(node.reader().receipt(&id).unwrap().as_ref(), Some(&receipts[2]));
}

/// Pinned: `tests/vectors/machine/epochs.json`, written anew as
/// `tests/vectors.rs` says.
#[test]
fn receipts_of_three_epochs_are_the_pinned_bytes() {
    let (_node, receipts) = receipts();
    let hexadecimal = receipts.map(|receipt| {
        let bytes = codec::encode(&receipt);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    });
    let file = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors/machine/epochs.json");
    if std::env::var_os("HUFU_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(&hexadecimal).unwrap() + "\n";
        std::fs::write(&file, text).unwrap();
    }
    let pinned: [String; 3] = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(hexadecimal, pinned);
}

#[test]
fn one_changed_byte_convinces_nobody() {
    let (_node, receipts) = receipts();
    let genesis = genesis();
    let bytes = codec::encode(&receipts[2]);
    for position in (0..bytes.len()).step_by(29) {
        let mut changed = bytes.clone();
        changed[position] ^= 1 << (position % 8);
        let holds = Receipt::decode(&changed).is_ok_and(|one| one.verify(&genesis).is_ok());
        assert!(!holds, "byte {position} of {}", bytes.len());
    }
    for length in (0..bytes.len()).step_by(97) {
        assert!(Receipt::decode(&bytes[..length]).is_err());
    }
    // A number of handovers that nobody sent costs nothing.
    let mut vast = receipts[0].finality.clone();
    vast.certificate.epoch = u64::MAX;
    let read = codec::decode::<hufu_proof::FinalityProof>("proof", &codec::encode(&vast), 1 << 20);
    assert!(read.is_err());
}

#[test]
fn a_handover_that_does_not_hold_convinces_nobody() {
    let (node, receipts) = receipts();
    let genesis = genesis();
    let refused = |change: &dyn Fn(&mut Receipt)| {
        let mut lie = receipts[2].clone();
        change(&mut lie);
        match lie.verify(&genesis).unwrap_err() {
            ReceiptError::Finality(error) => error,
            other => panic!("{other}"),
        }
    };
    let link = |epoch, link| FinalityError::Handover { epoch, link };
    assert_eq!(
        refused(&|lie| lie.finality.handovers.truncate(1)),
        FinalityError::Handovers { epoch: 2, found: 1 }
    );
    assert_eq!(refused(&|lie| lie.finality.handovers[1].membership.version = 9), link(1, "path"));
    assert_eq!(
        refused(&|lie| lie.finality.handovers[0].membership.version = 0),
        link(0, "version")
    );
    assert_eq!(refused(&|lie| lie.finality.handovers[0].path.clear()), link(0, "path"));
    assert_eq!(refused(&|lie| lie.finality.handovers[0].header.version = 9), link(0, "header"));
    assert!(matches!(
        refused(&|lie| lie.finality.handovers.swap(0, 1)),
        FinalityError::Ended { epoch: 0, .. }
    ));
    assert!(matches!(
        refused(&|lie| lie.finality.handovers[1].header.time_ms = UnixMillis::ZERO),
        FinalityError::Ended { epoch: 1, .. }
    ));
    assert!(matches!(
        refused(&|lie| lie.finality.handovers[1].certificate.votes.truncate(2)),
        FinalityError::Ended { epoch: 1, .. }
    ));
    // The retired key with two others, in the new epoch.
    let header = &receipts[2].header;
    let founders = hufu_proof::Membership::founders(&genesis);
    let stale = certificate_in(2, &founders, header.height, header.digest());
    assert!(matches!(
        refused(&|lie| {
            lie.finality.descendants.clear();
            lie.finality.certificate = stale.clone();
        }),
        FinalityError::BelowQuorum { .. } | FinalityError::Signature(_)
    ));
    // And a certificate that says it is of the founders' epoch.
    let stale = certificate(header.height, header.digest());
    assert!(matches!(
        refused(&|lie| lie.finality.certificate = stale.clone()),
        FinalityError::Handovers { epoch: 0, found: 2 }
    ));
    drop(node);
}

#[test]
fn without_the_last_block_s_certificate_there_is_no_proof_of_the_next_epoch() {
    let mut node = Node::new();
    node.enact(change("maker", "maker 2"));
    node.run(vec![]);
    let transaction = node.must(&key("regulator"), look("something"));
    node.settle();
    assert_eq!(node.reader().receipt(&transaction.id()).unwrap(), None);
    node.certify(node.reader().epoch().first.minus(1));
    let receipt = node.reader().receipt(&transaction.id()).unwrap().unwrap();
    receipt.verify(&genesis()).unwrap();
}
