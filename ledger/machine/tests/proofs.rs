//! Receipts and state proofs convince the verifying crate, and nothing else does.

mod support;

use hufu_machine::key;
use hufu_machine::record::{CertificateRecord, CertificateStatus};
use hufu_proof::receipt::ReceiptError;
use hufu_proof::state::StateProof;
use hufu_proof::transaction::{Look, Revocation};
use hufu_proof::{Digest, Height, LogIndex, Outcome, Payload, Receipt, codec};
use support::*;

fn look(subject: &str) -> Payload {
    Payload::Look(Look { subject: subject.into(), height: Height(0), answer: Digest::of(b"") })
}

#[test]
fn receipts_of_accepted_and_refused_transactions_verify() {
    let mut node = Node::new();
    let genesis = genesis();
    let accepted = node.sign(&support::key("regulator"), look("something"));
    let refused = node.sign(&support::key("maker"), Payload::Issue(vec![issuance("pump", 1)]));
    let mut forged = node.sign(&support::key("maker"), look("else"));
    forged.body.nonce += 1_000;
    node.run(vec![accepted.clone(), refused.clone(), forged.clone()]);
    let reader = node.reader();
    assert_eq!(reader.receipt(&accepted.id()).unwrap(), None, "nothing covers it yet");
    node.settle();
    let cases = [
        (accepted, Outcome::Accepted),
        (refused, Outcome::Forbidden),
        (forged, Outcome::Signature),
    ];
    for (transaction, outcome) in cases {
        let receipt = reader.receipt(&transaction.id()).unwrap().unwrap();
        receipt.verify(&genesis).unwrap();
        assert_eq!((receipt.entry.outcome, &receipt.transaction), (outcome, &transaction));
        let bytes = codec::encode(&receipt);
        assert!(bytes.len() < 2_048, "{} bytes", bytes.len());
        Receipt::decode(&bytes).unwrap().verify(&genesis).unwrap();
        let mut lie = receipt.clone();
        lie.entry.outcome = Outcome::Policy;
        let refused = lie.verify(&genesis);
        assert!(
            matches!(refused, Err(ReceiptError::LogPath | ReceiptError::Signature(_))),
            "{refused:?}"
        );
    }
    assert_eq!(reader.receipt(&Digest::of(b"none")).unwrap(), None);
}

#[test]
fn every_entry_of_a_log_of_several_tiles_has_its_path() {
    let mut node = Node::new();
    let mut ids = Vec::new();
    for count in [1, 254, 1, 3, 300, 7] {
        let transactions: Vec<_> = (0..count)
            .map(|number| node.sign(&support::key("regulator"), look(&format!("subject {number}"))))
            .collect();
        ids.extend(transactions.iter().map(|transaction| transaction.id()));
        node.run(transactions);
        // Sizes that end in, at and after a tile, and a log read from the store.
        node = node.restart();
    }
    node.settle();
    let reader = node.reader();
    let genesis = genesis();
    for (number, id) in ids.iter().enumerate() {
        let receipt = reader.receipt(id).unwrap().unwrap();
        assert_eq!(receipt.log_index, LogIndex(number as u64));
        if number % 37 == 0 {
            receipt.verify(&genesis).unwrap();
        }
        let path = reader.log_path(LogIndex(number as u64), ids.len() as u64).unwrap().unwrap();
        let root = hufu_proof::merkle::root_from_path(
            number as u64,
            ids.len() as u64,
            receipt.entry.leaf(),
            &path,
        );
        assert_eq!(root, Some(node.machine.applied().log_root));
    }
    assert_eq!(reader.log_path(LogIndex(566), 566).unwrap(), None);
    assert_eq!(reader.log_path(LogIndex(0), 567).unwrap(), None);
}

#[test]
fn a_header_without_votes_is_proved_by_its_descendants() {
    let mut node = Node::new();
    let transaction = node.must(&support::key("regulator"), look("something"));
    for _ in 0..20 {
        node.run(vec![]);
    }
    assert_eq!(node.reader().receipt(&transaction.id()).unwrap(), None, "no votes yet");
    node.certify(Height(15));
    let receipt = node.reader().receipt(&transaction.id()).unwrap().unwrap();
    assert_eq!(receipt.header.height, Height(2), "the first header that commits to height 1");
    assert_eq!(receipt.finality.descendants.len(), 13);
    receipt.verify(&genesis()).unwrap();
    node.certify(Height(4));
    let receipt = node.reader().receipt(&transaction.id()).unwrap().unwrap();
    assert_eq!(receipt.finality.descendants.len(), 2);
    receipt.verify(&genesis()).unwrap();
    assert_eq!(node.reader().certified(), Some(Height(15)));
    let node = node.restart();
    assert_eq!(node.reader().certified(), Some(Height(15)), "found again when opened");
    let (genesis_header, proof) = node.reader().anchor(Height(0)).unwrap().unwrap();
    assert_eq!(genesis_header.height, Height(0));
    proof.verify(&genesis(), &genesis_header).unwrap();
}

#[test]
fn a_certificate_is_proved_good_absent_and_revoked() {
    let mut node = Node::new();
    let genesis = genesis();
    let serial = serial_number(7);
    let state_key = key::certificate(&serial);
    node.settle();
    let absent = node.reader().latest_state_proof(&state_key).unwrap().unwrap();
    assert_eq!(absent.value, None);
    absent.verify(&genesis).unwrap();

    let authority = support::key("authority");
    node.must(&authority, Payload::Issue(vec![issuance("pump", 7)]));
    let issued = node.height();
    node.must(
        &authority,
        Payload::Issue((20..60).map(|n| issuance(&format!("d{n}"), n)).collect()),
    );
    node.must(&authority, Payload::Revoke(Revocation { serial, reason: 1 }));
    node.settle();
    let status = |proof: &StateProof| {
        let record: CertificateRecord =
            codec::decode("certificate", proof.value.as_ref().unwrap(), 10_000).unwrap();
        record.status
    };
    let good = node.reader().state_proof(&state_key, issued).unwrap().unwrap();
    good.verify(&genesis).unwrap();
    assert_eq!(good.header.executed.height, issued);
    assert_eq!(status(&good), CertificateStatus::Good);
    let revoked = node.reader().latest_state_proof(&state_key).unwrap().unwrap();
    revoked.verify(&genesis).unwrap();
    assert!(matches!(status(&revoked), CertificateStatus::Revoked { reason: 1, .. }));

    let bytes = codec::encode(&revoked);
    assert_eq!(StateProof::decode(&bytes).unwrap(), revoked);
    for lie in [
        StateProof { value: good.value.clone(), ..revoked.clone() },
        StateProof { value: None, ..revoked.clone() },
        StateProof { key: key::certificate(&serial_number(8)), ..revoked.clone() },
        StateProof { value: revoked.value.clone(), ..absent.clone() },
    ] {
        assert!(matches!(lie.verify(&genesis), Err(ReceiptError::StatePath(_))));
    }
    // Non-membership beside many neighbours.
    for number in 100..130 {
        let key = key::certificate(&serial_number(number));
        let proof = node.reader().latest_state_proof(&key).unwrap().unwrap();
        assert_eq!(proof.value, None);
        proof.verify(&genesis).unwrap();
    }
}

/// Of a proof that something is there, and of one that it is not: whichever byte is
/// another, it does not decode or does not hold.
#[test]
fn one_byte_changed_anywhere_is_refused() {
    let mut node = Node::new();
    install(&mut node, &["pump", "fan"]);
    node.settle();
    for (asset, there) in [("pump", true), ("pomp", false)] {
        let key = key::asset(&name("meters"), &name("meter"), asset);
        let proof = node.reader().latest_state_proof(&key).unwrap().unwrap();
        assert_eq!(proof.value.is_some(), there);
        let bytes = codec::encode(&proof);
        StateProof::decode(&bytes).unwrap().verify(&genesis()).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1 << (place % 8);
            let holds = StateProof::decode(&changed).is_ok_and(|it| it.verify(&genesis()).is_ok());
            assert!(!holds, "{asset}: byte {place} of {}", bytes.len());
        }
    }
}

#[test]
fn every_key_of_the_state_is_proved() {
    let mut node = Node::new();
    install(&mut node, &["pump", "fan"]);
    node.must(&support::key("pump"), append("meters", "reading", 1, vec![reading(5)]));
    node.settle();
    let keys = [
        key::CONSTITUTION.to_vec(),
        key::AUTHORITY.to_vec(),
        key::member(&name("maker")),
        key::identity(&support::key("pump").identity()),
        key::contract(&name("meters")),
        key::version(&name("meters"), "1.0.0"),
        key::asset(&name("meters"), &name("meter"), "fan"),
        key::sequence(&name("meters"), &name("reading"), &support::key("pump").identity()),
    ];
    for key in keys {
        let proof = node.reader().latest_state_proof(&key).unwrap().unwrap();
        assert!(proof.value.is_some(), "{}", String::from_utf8_lossy(&key));
        proof.verify(&genesis()).unwrap();
    }
}

#[test]
fn a_replay_tells_what_was_told() {
    let mut node = Node::new();
    install(&mut node, &["pump"]);
    let transactions = vec![
        node.sign(&support::key("pump"), append("meters", "reading", 1, vec![reading(5)])),
        node.sign(&support::key("maker"), Payload::Issue(vec![issuance("fan", 9)])),
    ];
    let block = node.block(transactions);
    let executed = node.execute(&block).unwrap();
    let node = node.restart();
    let replay = node.reader().replay(node.height()).unwrap().unwrap();
    assert_eq!(*replay.block, block);
    assert_eq!(replay.events, executed.events);
    let start = node.reader().replay(Height(0)).unwrap().unwrap();
    assert_eq!((start.block.header.height, start.block.transactions.len()), (Height(0), 0));
    assert_eq!(start.events.len(), 9, "the block, and each member with its identity");
    assert_eq!(node.reader().replay(node.height().next()).unwrap(), None);
}
