//! A node that takes a snapshot goes on as one that has executed everything, and takes
//! nobody's word for it.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hufu_machine::snapshot::{Answer, Asked, Intake, Of, Offer, Question, Refusal, Snapshot};
use hufu_machine::{ALWAYS_KEPT, Account, Machine, MachineError, Reader, key};
use hufu_proof::genesis::MemberV1;
use hufu_proof::transaction::{Look, Proposal};
use hufu_proof::{Block, Digest, Height, Outcome, Payload, Quota, Quotas, Transaction};
use hufu_store::copy::Portable;
use hufu_store::{EmbeddedStore, KeyRange, Space, Store};
use proptest::prelude::*;
use support::*;

const DEVICES: [&str; 3] = ["pump 1", "pump 2", "pump 3"];

/// A consortium with all that a snapshot has: contracts, open and enacted proposals,
/// quotas, streams, revoked certificates, two epochs, transactions that were recorded
/// with a broken signature.
fn consortium(heights: u64) -> (Node, Vec<Transaction>) {
    let mut node = Node::new();
    install(&mut node, &DEVICES);
    let quota = Quota { transactions_a_day: Some(100_000), ..Quota::default() };
    node.enact(Proposal::Quotas { quotas: Quotas { identity: quota, member: quota } });
    let changed = MemberV1 {
        name: name("maker"),
        title: BTreeMap::from([("en".into(), "Maker".into())]),
        kinds: std::collections::BTreeSet::from([name("maker")]),
        jurisdictions: std::collections::BTreeSet::new(),
        vote_key: vote_public("maker 2"),
        statement_key: support::key("maker 2").public(),
    };
    node.enact(Proposal::MemberV1 { member: changed });
    // The last block of epoch 0.
    node.run(vec![]);
    node.certify(node.height());
    let open = Proposal::Deploy { package: meters("1.1.0").to_bytes() };
    node.must(&support::key("authority"), Payload::Propose(open));
    let sent = grow(&mut node, heights);
    (node, sent)
}

/// Heights with readings, looks, and what is recorded without being accepted.
fn grow(node: &mut Node, count: u64) -> Vec<Transaction> {
    let mut sent: Vec<Transaction> = Vec::new();
    for _ in 0..count {
        let number = node.height().get();
        let device = DEVICES[number as usize % DEVICES.len()];
        let look =
            Look { subject: format!("{number}"), height: Height(0), answer: Digest::of(b"") };
        let mut transactions = vec![node.sign(&support::key("regulator"), Payload::Look(look))];
        if number.is_multiple_of(4) {
            let mut broken = transactions[0].clone();
            broken.body.nonce += 1_000_000;
            transactions.push(broken);
        }
        if number.is_multiple_of(7) && !sent.is_empty() {
            transactions.push(sent[number as usize % sent.len()].clone());
        }
        let meter = node.reader().state().unwrap();
        let (meters, stream) = (name("meters"), name("reading"));
        let at = key::sequence(&meters, &stream, &support::key(device).identity());
        let before = meter.bytes(&at).unwrap();
        let before = before.map_or(0, |row| u64::from_le_bytes(row.try_into().unwrap()));
        let rows = vec![reading(number as i64)];
        transactions
            .push(node.sign(&support::key(device), append("meters", "reading", before + 1, rows)));
        node.run(transactions.clone());
        sent.extend(transactions);
        node.certify(node.height());
    }
    sent
}

fn offered(reader: &Reader, of: Option<Height>) -> Snapshot {
    let question = Question { height: Height::ZERO, brief: false, of: Of::Offer(of) };
    match ask(reader, &question) {
        Answer::Offer { offer: Some(offer), .. } => offer.verify(reader.genesis()).unwrap(),
        other => panic!("nothing is offered: {other:?}"),
    }
}

/// What is answered, over the wire.
fn ask(reader: &Reader, question: &Question) -> Answer {
    let question = Question::decode(&question.encode()).unwrap();
    let answer = reader.answer(&question).unwrap();
    let decoded = Answer::decode(&answer.encode()).unwrap();
    assert_eq!(decoded, answer);
    decoded
}

fn target(at: &Path) -> Arc<dyn Portable> {
    Arc::new(EmbeddedStore::open_target(at).unwrap())
}

/// Takes a snapshot; `each` sees every answer before it is taken, and may make another
/// of it, which is then to be refused.
fn take(
    reader: &Reader,
    at: &Path,
    snapshot: Snapshot,
    each: &mut dyn FnMut(&Asked, &Answer) -> Vec<Answer>,
) {
    let mut intake = Intake::begin(target(at), reader.genesis(), snapshot).unwrap();
    let height = intake.snapshot().height();
    loop {
        let mut asked = intake.asked().unwrap();
        asked.reverse();
        if asked.is_empty() && !intake.part_over().unwrap() {
            break;
        }
        while let Some(one) = asked.pop() {
            let answer = ask(reader, &one.question(height, false));
            let brief = ask(reader, &one.question(height, true));
            assert_eq!(brief, Answer::Digest(answer.digest()));
            for wrong in each(&one, &answer) {
                let refused = intake.take(&one, wrong.clone());
                assert!(
                    matches!(refused, Err(Refusal::Answer(_))),
                    "{:?}: {wrong:?} is taken for {answer:?}",
                    one.of
                );
            }
            asked.extend(intake.take(&one, answer).unwrap().into_iter().rev());
        }
    }
    assert!(intake.taken().bytes > 0);
    intake.finish().unwrap();
}

fn open(at: &Path) -> Machine {
    Machine::open(Arc::new(EmbeddedStore::open(at).unwrap()), genesis()).unwrap()
}

fn prune(reader: &Reader) {
    let mut pruner = reader.pruner();
    pruner.keep_from(Height::MAX).unwrap();
    while pruner.step().unwrap() {}
}

/// Lets `machine` execute what `node` has executed since; both come to the same.
fn follow(machine: &mut Machine, node: &Node) {
    while machine.header().height < node.height() {
        let next: Block = node.reader().block(machine.header().height.next()).unwrap().unwrap();
        execute(machine, &next).unwrap();
        let height = next.header.height;
        assert_eq!(Some(machine.applied()), node.reader().commitment(height).unwrap());
    }
    assert_eq!(machine.applied(), node.machine.applied());
    let (here, there) = (machine.reader(), node.reader());
    let (height, time) = (node.height(), machine.header().time_ms);
    for member in MEMBERS {
        let account = Account::Member(name(member));
        let used = |reader: &Reader| reader.used(&account, height, time).unwrap();
        assert_eq!(used(&here), used(&there), "{member}");
    }
    assert_eq!(here.epochs(), there.epochs());
}

#[test]
fn who_takes_a_snapshot_goes_on_as_one_that_executed_everything() {
    let (mut node, sent) = consortium(40);
    let reader = node.reader();
    let directory = tempfile::tempdir().unwrap();
    let snapshot = offered(&reader, None);
    let height = snapshot.height();
    assert_eq!(height, node.height().minus(1));
    // The others execute what comes.
    take(&reader, directory.path(), snapshot, &mut |_, _| {
        if node.height() < height.plus(20) {
            grow(&mut node, 1);
        }
        Vec::new()
    });

    let mut machine = open(directory.path());
    let taken = machine.reader();
    assert_eq!((machine.header().height, taken.kept_from()), (height, height));
    assert_eq!(taken.snapshot(), Some(height));
    for one in &sent {
        // Those of the last block come after the snapshot.
        let there = reader.entry(&one.id()).unwrap().filter(|(_, entry)| entry.height <= height);
        assert_eq!(taken.entry(&one.id()).unwrap(), there);
    }
    let state = |reader: &Reader| {
        let state = reader.state_at(height).unwrap();
        (state.contracts().unwrap(), state.proposals().unwrap(), state.revoked().unwrap())
    };
    assert_eq!(state(&taken), state(&reader));
    assert_eq!(taken.block(height).unwrap(), reader.block(height).unwrap());
    let gone = |height: Height| {
        assert!(matches!(taken.replay(height), Err(MachineError::Pruned { .. })));
    };
    gone(height);
    gone(Height(3));
    assert!(matches!(taken.block(height.minus(1)), Err(MachineError::Pruned { .. })));

    follow(&mut machine, &node);
    // Duplicates are found, of what was recorded before as well.
    let old: Vec<Transaction> = sent.iter().step_by(9).cloned().collect();
    let outcomes = node.run(old);
    assert!(outcomes.contains(&Outcome::Duplicate), "{outcomes:?}");
    let later = grow(&mut node, 5);
    follow(&mut machine, &node);
    for height in height.through(node.height()) {
        let certificate = reader.finality(height).unwrap();
        if let Some(certificate) = certificate {
            taken.put_finality(height, &certificate).unwrap();
        }
    }
    for one in &later {
        if let Some(receipt) = taken.receipt(&one.id()).unwrap() {
            receipt.verify(&genesis()).unwrap();
        }
    }
    let receipt = taken.receipt(&later[0].id()).unwrap().expect("it is covered");
    assert_eq!(Some(receipt), reader.receipt(&later[0].id()).unwrap());
    // Where the body is brought from elsewhere, also of what was before.
    let first = taken.entry(&sent[0].id()).unwrap().unwrap();
    let found =
        hufu_machine::Found { transaction: sent[0].clone(), entry: first.1, log_index: first.0 };
    taken.receipt_of(found).unwrap().unwrap().verify(&genesis()).unwrap();
    for key in [key::CONSTITUTION, b"no such key"] {
        let proof = taken.state_proof(key, height).unwrap().unwrap();
        assert_eq!(proof, reader.state_proof(key, height).unwrap().unwrap());
    }

    // It lets go of what is old as any other, and gives a snapshot itself.
    grow(&mut node, ALWAYS_KEPT);
    follow(&mut machine, &node);
    prune(&taken);
    assert_eq!(taken.kept_from(), node.height().minus(ALWAYS_KEPT));
    // Whoever gives a snapshot keeps its height meanwhile.
    prune(&reader);
    assert_eq!(reader.kept_from(), height);
    drop((taken, machine));
    let mut machine = open(directory.path());
    grow(&mut node, 3);
    follow(&mut machine, &node);
    for height in node.height().minus(2).through(node.height()) {
        let certificate = reader.finality(height).unwrap().unwrap();
        machine.reader().put_finality(height, &certificate).unwrap();
    }
    let again = tempfile::tempdir().unwrap();
    let taken = machine.reader();
    take(&taken, again.path(), offered(&taken, None), &mut |_, _| Vec::new());
    let mut second = open(again.path());
    grow(&mut node, 3);
    follow(&mut machine, &node);
    follow(&mut second, &node);
}

fn rows(at: &Path) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let store = EmbeddedStore::open(at).unwrap();
    let rows = |space| store.scan(space, &KeyRange::all(), u64::MAX, usize::MAX).unwrap();
    Space::ALL.into_iter().map(rows).collect()
}

#[test]
fn an_interruption_costs_the_part_that_was_on_its_way() {
    let (node, _) = consortium(12);
    let reader = node.reader();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut answers = 0;
    take(&reader, whole.path(), offered(&reader, None), &mut |_, _| {
        answers += 1;
        Vec::new()
    });
    let height = offered(&reader, None).height();
    let mut asked_for = 0;
    loop {
        // A process each, that dies after one answer.
        let snapshot = offered(&reader, Some(height));
        let mut intake = Intake::begin(target(parts.path()), reader.genesis(), snapshot).unwrap();
        match intake.asked().unwrap().first() {
            Some(one) => {
                asked_for += 1;
                let more = intake.take(one, ask(&reader, &one.question(height, false))).unwrap();
                // The block alone has parts that are not remembered.
                let mut more: Vec<Asked> = more;
                while let Some(Of::Block(_)) = more.first().map(|one| &one.of) {
                    let one = more.remove(0);
                    let answer = ask(&reader, &one.question(height, false));
                    more = intake.take(&one, answer).unwrap();
                }
            }
            None => {
                if !intake.part_over().unwrap() {
                    intake.finish().unwrap();
                    break;
                }
            }
        }
        assert!(asked_for < 3 * answers + 50, "it does not get ahead");
    }
    assert_eq!(rows(parts.path()), rows(whole.path()));
}

#[test]
fn a_snapshot_of_another_height_begins_anew() {
    let (mut node, _) = consortium(12);
    let reader = node.reader();
    let (late, only) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    {
        let first = offered(&reader, None);
        let height = first.height();
        let mut intake = Intake::begin(target(late.path()), reader.genesis(), first).unwrap();
        for one in intake.asked().unwrap() {
            intake.take(&one, ask(&reader, &one.question(height, false))).unwrap();
        }
    }
    let unfinished = EmbeddedStore::open(late.path());
    assert!(matches!(unfinished, Err(hufu_store::StoreError::CopyUnfinished)));
    grow(&mut node, 5);
    let snapshot = offered(&reader, None);
    take(&reader, late.path(), snapshot.clone(), &mut |_, _| Vec::new());
    take(&reader, only.path(), snapshot, &mut |_, _| Vec::new());
    assert_eq!(rows(late.path()), rows(only.path()));
}

/// Every part that is under a root, with a bit of it changed, and with a row less.
#[test]
fn what_is_not_true_is_refused() {
    let (node, _) = consortium(12);
    let reader = node.reader();
    let directory = tempfile::tempdir().unwrap();
    let (mut seed, mut tried) = (7_u64, 0);
    take(&reader, directory.path(), offered(&reader, None), &mut |asked, answer| {
        // Vouched for, not proved.
        if asked.vouchers > 1 && !matches!(asked.of, Of::Log { .. }) {
            return Vec::new();
        }
        let bytes = answer.encode();
        let mut wrong: Vec<Answer> = Vec::new();
        for _ in 0..12 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut bytes = bytes.clone();
            let bit = (seed >> 20) as usize % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            wrong.extend(Answer::decode(&bytes));
        }
        match answer {
            Answer::Headers(all) => wrong.push(Answer::Headers(all[1..].to_vec())),
            Answer::Log(all) => wrong.push(Answer::Log(all[1..].to_vec())),
            Answer::Leaves(all) => {
                wrong.push(Answer::Leaves(all[1..].to_vec()));
                wrong.push(Answer::Leaves(all.iter().rev().copied().collect()));
            }
            Answer::Rows { rows, next } if rows.len() > 1 => {
                let (rows, next) = (rows.iter().rev().cloned().collect(), next.clone());
                wrong.push(Answer::Rows { rows, next });
            }
            _ => {}
        }
        wrong.push(Answer::None);
        wrong.push(Answer::Digest(answer.digest()));
        wrong.retain(|one| one != answer && !is_claim(one, answer));
        tried += wrong.len();
        wrong
    });
    assert!(tried > 60, "{tried}");
    open(directory.path());
}

/// Whether `other` differs from `answer` only in what is not proved: how many leaves
/// are below a node, where a range goes on (its rows are counted), and what members
/// vouch for of the log.
fn is_claim(other: &Answer, answer: &Answer) -> bool {
    match (other, answer) {
        (Answer::Children(one), Answer::Children(other)) => {
            one.iter().zip(&**other).all(|(one, other)| match (one, other) {
                (Some(one), Some(other)) => one.hash == other.hash,
                (one, other) => one.is_none() && other.is_none(),
            })
        }
        (Answer::Log(one), Answer::Log(other)) => {
            let entries = one.iter().map(|run| run.entries.iter().map(|(_, leaf)| *leaf));
            let others = other.iter().map(|run| run.entries.iter().map(|(_, leaf)| *leaf));
            entries.flatten().eq(others.flatten())
        }
        (Answer::Rows { rows: one, .. }, Answer::Rows { rows: other, .. }) => one == other,
        _ => false,
    }
}

/// Who leaves rows of the state out is found out when they are counted: then several
/// are to say the same, and what was left out comes.
#[test]
fn rows_that_are_left_out_come_after_all() {
    let (node, _) = consortium(12);
    let reader = node.reader();
    let directory = tempfile::tempdir().unwrap();
    let snapshot = offered(&reader, None);
    let mut intake = Intake::begin(target(directory.path()), reader.genesis(), snapshot).unwrap();
    let height = intake.snapshot().height();
    let (mut left_out, mut vouched) = (0, 0);
    loop {
        let mut asked = intake.asked().unwrap();
        asked.reverse();
        if asked.is_empty() && !intake.part_over().unwrap() {
            break;
        }
        while let Some(one) = asked.pop() {
            let mut answer = ask(&reader, &one.question(height, false));
            if let (Of::State(_), Answer::Rows { rows, .. }) = (&one.of, &mut answer) {
                match one.vouchers {
                    1 if rows.len() > 1 => {
                        rows.remove(rows.len() / 2);
                        left_out += 1;
                    }
                    1 => {}
                    _ => vouched += 1,
                }
            }
            asked.extend(intake.take(&one, answer).unwrap().into_iter().rev());
        }
    }
    assert!(left_out > 0 && vouched > 0, "{left_out} {vouched}");
    intake.finish().unwrap();
    let machine = open(directory.path());
    let state = |reader: &Reader| reader.state_at(height).unwrap().proposals().unwrap();
    assert_eq!(state(&machine.reader()), state(&reader));
}

fn offer() -> (Offer, hufu_proof::Genesis) {
    let (node, _) = consortium(12);
    let reader = node.reader();
    let question = Question { height: Height::ZERO, brief: false, of: Of::Offer(None) };
    match ask(&reader, &question) {
        Answer::Offer { offer: Some(offer), .. } => (*offer, reader.genesis().clone()),
        other => panic!("nothing is offered: {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1, ..ProptestConfig::default() })]

    /// An offer is proved from the genesis file on: whatever is changed in it.
    #[test]
    fn an_offer_that_was_changed_is_none(bits in prop::collection::vec(any::<u32>(), 400)) {
        let (offer, genesis) = offer();
        prop_assert!(offer.clone().verify(&genesis).is_ok());
        let bytes = hufu_proof::codec::encode(&offer);
        for bit in bits {
            let mut bytes = bytes.clone();
            let bit = bit as usize % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = hufu_proof::codec::decode::<Offer>("offer", &bytes, bytes.len()) {
                prop_assert!(other.verify(&genesis).is_err(), "bit {bit}");
            }
        }
    }
}
