//! What is old leaves the store, and nothing that is promised changes: roots,
//! receipts, proofs of what is kept, duplicates, epochs.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hufu_machine::{ALWAYS_KEPT, Machine, MachineError, Pruner, key};
use hufu_proof::genesis::MemberV1;
use hufu_proof::transaction::{Issuance, Look, Proposal};
use hufu_proof::{Block, Digest, Height, Outcome, Payload, Transaction, codec};
use hufu_store::{EmbeddedStore, KeyRange, Space, Store};
use support::*;

/// Prunes until there is no more to do.
fn all(pruner: &mut Pruner) {
    while pruner.step().unwrap() {}
}

fn look(subject: &str) -> Payload {
    Payload::Look(Look { subject: subject.into(), height: Height(0), answer: Digest::of(b"") })
}

/// Executes `count` heights, some with a device more, some with none, and one
/// device again and again; their transactions.
fn grow(node: &mut Node, count: u64) -> Vec<Transaction> {
    let mut sent = Vec::new();
    for _ in 0..count {
        let number = node.height().next().get();
        let mut transactions = Vec::new();
        if !number.is_multiple_of(3) {
            transactions.push(node.sign(&support::key("regulator"), look(&format!("{number}"))));
        }
        if number.is_multiple_of(5) {
            let device = format!("pump {number}");
            let issued = Payload::Issue(vec![issuance(&device, number)]);
            transactions.push(node.sign(&support::key("authority"), issued));
        }
        let outcomes = node.run(transactions.clone());
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Accepted), "{outcomes:?}");
        sent.extend(transactions);
        if number.is_multiple_of(8) {
            node.certify(node.height());
        }
    }
    node.settle();
    sent
}

fn rows(store: &dyn Store, space: Space) -> usize {
    store.scan(space, &KeyRange::all(), u64::MAX, usize::MAX).unwrap().len()
}

#[test]
fn what_is_old_leaves_and_nothing_that_is_promised_changes() {
    let mut node = Node::new();
    let sent = grow(&mut node, 2 * ALWAYS_KEPT);
    let reader = node.reader();
    let kept = Height(ALWAYS_KEPT);
    let keys: Vec<Vec<u8>> = sent
        .iter()
        .flat_map(|one| [key::identity(&one.body.signer.identity()), one.id().0.to_vec()])
        .chain((1..600).map(|number| key::certificate(&serial_number(number))))
        .collect();
    let proofs = |from: u64| {
        let heights = (from..node.height().get()).step_by(17);
        let of = |height: u64| {
            let proof = |key: &Vec<u8>| {
                codec::encode(&reader.state_proof(key, Height(height)).unwrap().unwrap())
            };
            keys.iter().step_by(7).map(proof).collect::<Vec<_>>()
        };
        heights.map(of).collect::<Vec<_>>()
    };
    let receipts: Vec<_> =
        sent.iter().map(|one| reader.receipt(&one.id()).unwrap().unwrap()).collect();
    let before = proofs(kept.get());
    let found: Vec<_> =
        sent.iter().map(|one| reader.transaction(&one.id()).unwrap().unwrap()).collect();

    let mut pruner = reader.pruner();
    assert_eq!(pruner.keep_from(Height::ZERO).unwrap(), Height::ZERO);
    assert!(!pruner.step().unwrap(), "everything is kept");
    assert_eq!(pruner.keep_from(kept).unwrap(), kept);
    let view = reader.state_at(kept).unwrap();
    all(&mut pruner);
    assert!(pruner.done().0 > 500, "{:?}", pruner.done());

    assert_eq!(proofs(kept.get()), before, "proofs of what is kept are the same bytes");
    view.contracts().unwrap();
    for (receipt, found) in receipts.iter().zip(found) {
        receipt.verify(&genesis()).unwrap();
        let id = found.transaction.id();
        assert!(reader.entry(&id).unwrap().is_some());
        if found.entry.height < kept {
            assert!(matches!(reader.transaction(&id), Err(MachineError::Pruned { .. })));
            assert!(matches!(reader.receipt(&id), Err(MachineError::Pruned { .. })));
        } else {
            assert_eq!(reader.receipt(&id).unwrap().as_ref(), Some(receipt));
        }
        // The body from elsewhere.
        assert_eq!(reader.receipt_of(found).unwrap().as_ref(), Some(receipt));
    }
    let past = Height(kept.get() - 1);
    let refused = |result: Result<(), MachineError>| {
        assert!(
            matches!(result, Err(MachineError::Pruned { height, kept_from })
                if height <= past && kept_from == kept),
            "{result:?}"
        );
    };
    refused(reader.state_at(past).map(drop));
    refused(reader.block(past).map(drop));
    refused(reader.replay(Height::ZERO).map(drop));
    refused(reader.state_proof(key::CONSTITUTION, Height(3)).map(drop));
    assert!(reader.block(kept).unwrap().is_some() && reader.replay(kept).unwrap().is_some());

    // Goes on as if nothing had happened, also after it was closed.
    let old = sent[0].clone();
    drop((pruner, view, reader));
    let mut node = node.restart();
    assert_eq!(node.reader().kept_from(), kept);
    assert_eq!(node.run(vec![old]), [Outcome::Duplicate]);
    grow(&mut node, 20);
    let directory = node.close();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let first = store.scan(Space::Blocks, &KeyRange::all(), u64::MAX, 1).unwrap();
    assert_eq!(first[0].0[..8], kept.to_be_bytes());
}

#[test]
fn two_that_keep_differently_compute_the_same() {
    let (mut whole, mut short) = (Node::new(), Node::new());
    grow(&mut whole, ALWAYS_KEPT + 200);
    let copy = |from: &Node, to: &mut Node| {
        while to.height() < from.height() {
            let next: Block = from.reader().block(to.height().next()).unwrap().unwrap();
            to.execute(&next).unwrap();
        }
        assert_eq!(to.machine.applied(), from.machine.applied());
    };
    copy(&whole, &mut short);
    let mut pruner = short.reader().pruner();
    let kept = pruner.keep_from(Height::MAX).unwrap();
    assert_eq!(kept, short.height().minus(ALWAYS_KEPT));
    all(&mut pruner);
    grow(&mut whole, 40);
    copy(&whole, &mut short);
}

/// A process that dies between two parts of the work, and between their removals
/// and the record of them, goes on and leaves no more behind.
#[test]
fn an_interrupted_pruner_ends_where_another_does() {
    let counts = |interrupted: bool| {
        let mut node = Node::new();
        grow(&mut node, 2 * ALWAYS_KEPT);
        let mut pruner = node.reader().pruner();
        pruner.keep_from(Height(200)).unwrap();
        if interrupted {
            loop {
                let more = pruner.step().unwrap();
                drop(pruner);
                node = node.restart();
                pruner = node.reader().pruner();
                if !more {
                    break;
                }
            }
        } else {
            all(&mut pruner);
        }
        drop(pruner);
        let directory = node.close();
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(directory.path()).unwrap());
        [Space::Blocks, Space::Events, Space::Tree].map(|space| rows(&*store, space))
    };
    assert_eq!(counts(true), counts(false));
}

/// Receipts of later epochs are proved with how the epochs before ended, which is
/// made of a state that has left.
#[test]
fn epochs_are_proved_after_their_states_have_left() {
    let mut node = Node::new();
    let changed = MemberV1 {
        name: name("maker"),
        title: BTreeMap::from([("en".into(), "Maker".into())]),
        kinds: BTreeSet::from([name("maker")]),
        jurisdictions: BTreeSet::new(),
        vote_key: vote_public("maker 2"),
        statement_key: support::key("maker 2").public(),
    };
    node.enact(Proposal::MemberV1 { member: changed });
    // The last block of epoch 0.
    node.run(vec![]);
    node.certify(node.height());
    let sent = grow(&mut node, 2 * ALWAYS_KEPT);
    let last = sent.last().unwrap().id();
    let before = node.reader().receipt(&last).unwrap().unwrap();
    assert!(!before.finality.handovers.is_empty(), "there is one epoch alone");
    let mut pruner = node.reader().pruner();
    pruner.keep_from(Height(ALWAYS_KEPT)).unwrap();
    all(&mut pruner);
    drop(pruner);
    let node = node.restart();
    assert_eq!(node.reader().receipt(&last).unwrap(), Some(before.clone()));
    before.verify(&genesis()).unwrap();
    assert_eq!(node.reader().epochs().len(), 2);
}

/// Tables of the engine, in bytes.
fn tables(store: &dyn Store) -> u64 {
    Space::ALL.into_iter().filter_map(|space| store.disk_space(space)).sum()
}

/// What is recorded is the same all the time; what a node takes of its disk is,
/// once it keeps a part of the past, and is not for one that keeps everything.
#[test]
fn disk_use_is_flat_under_constant_load() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let stores: [Arc<dyn Store>; 2] = directories
        .each_ref()
        .map(|at| -> Arc<dyn Store> { Arc::new(EmbeddedStore::open(at.path()).unwrap()) });
    let [mut whole, mut short] =
        stores.each_ref().map(|store| Machine::open(Arc::clone(store), genesis()).unwrap());
    let mut pruner = short.reader().pruner();
    let chain = genesis().digest();
    let mut taken: Vec<[u64; 2]> = Vec::new();
    println!("height  keeps everything  keeps the last {ALWAYS_KEPT}  (MiB of tables)");
    for number in 1..=1_600_u64 {
        // Eight certificates of 8 kB.
        let issued = (8 * number..8 * number + 8).map(|serial| {
            let tbs = serial.to_be_bytes().repeat(1_000);
            Issuance { tbs, ..issuance(&format!("pump {}", serial % 8), serial) }
        });
        let authority = support::key("authority");
        let expires = Height(number + 1_000);
        let one = sign(chain, number, expires, &authority, Payload::Issue(issued.collect()));
        let block = next_block(&whole, vec![one]);
        let executed = execute(&mut whole, &block).unwrap();
        assert_eq!(executed.entries[0].outcome, Outcome::Accepted);
        execute(&mut short, &block).unwrap();
        pruner.keep_from(Height(number).minus(ALWAYS_KEPT)).unwrap();
        all(&mut pruner);
        if number % 200 == 0 {
            let now = stores.each_ref().map(|store| tables(&**store));
            println!("{number:>6}  {:>16}  {:>19}", now[0] >> 20, now[1] >> 20);
            taken.push(now);
        }
    }
    assert_eq!(whole.applied(), short.applied());
    let [first, .., last] = taken[3..] else { panic!("too short") };
    assert!(last[0] > first[0] * 3 / 2, "the other does not grow: {taken:?}");
    let most = taken[3..].iter().map(|now| now[1]).max().unwrap_or_default();
    // What is kept is 16 MiB; as much again and what is not worth it yet.
    assert!(most < 96 << 20, "{taken:?}");
}
