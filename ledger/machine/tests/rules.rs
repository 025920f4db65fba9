//! Rules of the machine as a whole: the same blocks give the same bytes, a
//! refused transaction leaves no trace, and a machine that died goes on where
//! it was.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hufu_machine::signatures::verify_batch_on;
use hufu_machine::{Executed, Machine, MachineError};
use hufu_proof::declaration::{Delegation, KeyApproval};
use hufu_proof::genesis::MemberV1 as Member;
use hufu_proof::transaction::{
    Certification, Firing, IdentityKind, Issuance, Look, Proposal, Revocation,
};
use hufu_proof::{
    Block, Commitment, Declaration, Digest, Genesis, Height, Name, Outcome, Payload, Transaction,
    Value,
};
use hufu_store::watched::{Asked, Watch, Watched};
use hufu_store::{EmbeddedStore, StoreError};
use proptest::prelude::*;
use support::*;

/// Blocks of every kind of transaction, made on a machine of their own.
fn history() -> Vec<Block> {
    let mut node = Node::new();
    let mut blocks = Vec::new();
    let mut add = |node: &mut Node, transactions: Vec<Transaction>| {
        let block = node.block(transactions);
        node.execute(&block).unwrap();
        blocks.push(block);
    };
    let (authority, maker, operator) = (key("authority"), key("maker"), key("operator"));
    let deploy = Proposal::Deploy { package: meters("1.0.0").to_bytes() };
    let grant =
        Proposal::Grant { contract: name("meters"), role: name("reader"), member: name("maker") };
    let devices = ["pump", "fan", "lift"];
    let issuances = devices.iter().enumerate().map(|(at, one)| issuance(one, at as u64 + 1));
    let issue = Payload::Issue(issuances.collect());
    let first = vec![
        node.sign(&authority, Payload::Propose(deploy.clone())),
        node.sign(&authority, issue),
        node.sign(&maker, Payload::Approve(deploy.digest())),
        node.sign(&operator, Payload::Approve(deploy.digest())),
        node.sign(&operator, Payload::Propose(grant.clone())),
        node.sign(&maker, Payload::Approve(grant.digest())),
        node.sign(&authority, Payload::Approve(grant.digest())),
    ];
    add(&mut node, first);
    let second = devices.map(|device| node.sign(&operator, install_meter(device)));
    add(&mut node, second.into());
    add(&mut node, vec![]);
    for round in 1..=4 {
        let mut transactions = Vec::new();
        for device in devices {
            let batch = append("meters", "reading", round, vec![reading(round as i64); 3]);
            transactions.push(node.sign(&key(device), batch));
            let amount = Value::Int(round as i64);
            let add = invoke("meters", "add", device, &[("amount", amount)]);
            transactions.push(node.sign(&maker, add));
        }
        transactions.push(node.sign(&maker, install_meter("pump")));
        transactions.push(transactions[0].clone());
        let look = Look { subject: "s".into(), height: Height(round), answer: Digest::of(b"") };
        transactions.push(node.sign(&key("regulator"), Payload::Look(look)));
        add(&mut node, transactions);
    }
    let revocation = Revocation { serial: serial_number(2), reason: 4 };
    let last = vec![
        node.sign(&authority, Payload::Revoke(revocation)),
        node.sign(&key("fan"), append("meters", "reading", 5, vec![reading(5)])),
    ];
    add(&mut node, last);
    blocks
}

fn verdicts(block: &Block, threads: usize) -> Vec<bool> {
    let transactions: Vec<&Transaction> = block.transactions.iter().collect();
    verify_batch_on(&transactions, threads)
}

/// Executes `blocks` on a fresh machine, opened again after each block if asked.
fn replayed(blocks: &[Block], restart: bool, threads: usize) -> Vec<Executed> {
    let mut node = Node::new();
    let mut executed = Vec::new();
    for block in blocks {
        executed.push(node.machine.execute(block, &verdicts(block, threads)).unwrap());
        if restart {
            node = node.restart();
        }
    }
    executed
}

#[test]
fn the_same_blocks_give_the_same_bytes() {
    let blocks = history();
    let once = replayed(&blocks, false, 1);
    assert!(once.iter().any(|executed| {
        executed.entries.iter().any(|entry| entry.outcome == Outcome::Duplicate)
    }));
    // Caches are empty after each restart and hash maps have other seeds in
    // each machine; threads only verify.
    assert_eq!(replayed(&blocks, false, 4), once);
    assert_eq!(replayed(&blocks, true, 2), once);
}

/// Lets one of a store's writes fail, before or after the engine did it.
struct Failing {
    left: AtomicUsize,
    after: bool,
}

impl Watch for Failing {
    fn write(&self, _flips: bool, write: Asked<'_>) -> Result<(), StoreError> {
        let failed = || Err(StoreError::Io("injected".into()));
        if self.left.fetch_sub(1, Ordering::Relaxed) != 1 {
            write()
        } else if self.after {
            write().and_then(|()| failed())
        } else {
            failed()
        }
    }
}

#[test]
fn a_machine_that_died_at_any_step_goes_on_to_the_same_state() {
    let blocks = history();
    let expected = replayed(&blocks, false, 1);
    // Stage and flip of the genesis block and of every other.
    for step in 1..=2 * (blocks.len() + 1) {
        for after in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let store = EmbeddedStore::open(directory.path()).unwrap();
            let watch = Failing { left: AtomicUsize::new(step), after };
            let failing = Watched { store, watch };
            let mut results = Vec::new();
            if let Ok(mut machine) = Machine::open(Arc::new(failing), genesis()) {
                for block in &blocks {
                    match machine.execute(block, &verdicts(block, 1)) {
                        Ok(executed) => results.push(executed),
                        Err(error) => {
                            assert!(matches!(error, MachineError::Store(_)), "{error}");
                            let again = machine.execute(block, &verdicts(block, 1));
                            assert!(matches!(again, Err(MachineError::Poisoned)));
                            break;
                        }
                    }
                }
            }
            // As after a restart: from the last durable height.
            let mut machine = open(directory.path());
            let height = machine.header().height.get() as usize;
            assert!(height >= results.len(), "step {step}: a durable height was lost");
            for block in &blocks[height..] {
                machine.execute(block, &verdicts(block, 1)).unwrap();
            }
            let last = expected.last().unwrap();
            assert_eq!(machine.applied(), last.commitment, "step {step}, after {after}");
            for (block, executed) in blocks.iter().zip(&expected) {
                let replay = machine.reader().replay(block.header.height).unwrap().unwrap();
                assert_eq!(*replay.block, *block);
                assert_eq!(replay.events, executed.events);
            }
        }
    }
}

/// Says of every other write that the store is away, before or after it was done.
struct Away {
    asked: AtomicUsize,
    after: bool,
}

impl Watch for Away {
    fn write(&self, _flips: bool, write: Asked<'_>) -> Result<(), StoreError> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
            return write();
        }
        if self.after {
            write()?;
        }
        Err(StoreError::Unavailable { after: Duration::from_secs(5) })
    }
}

#[test]
fn a_store_that_is_away_for_a_while_is_gone_on_with() {
    let blocks = history();
    let expected = replayed(&blocks, false, 1);
    for after in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()));
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let watch = Away { asked: AtomicUsize::new(0), after };
        let mut machine = Machine::open(Arc::new(Watched { store, watch }), genesis()).unwrap();
        for (block, expected) in blocks.iter().zip(&expected) {
            let mut attempts = 1;
            let executed = loop {
                match machine.execute(block, &verdicts(block, 1)) {
                    Ok(executed) => break executed,
                    Err(error) => assert!(error.passes(), "{error}"),
                }
                attempts += 1;
            };
            // The stage was asked for twice, and then the flip.
            assert_eq!((attempts, &executed), (3, expected));
        }
    }
}

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let mut node = Node::new();
    node.run(vec![]);
    let before = node.machine.applied();
    let look = Look { subject: "s".into(), height: Height(0), answer: Digest::of(b"") };
    let transaction = node.sign(&key("regulator"), Payload::Look(look));
    let good = node.block(vec![transaction]);
    type Change = fn(&mut Block);
    let changes: [(&str, Change); 9] = [
        ("version", |block| block.header.version = 2),
        ("chain", |block| block.header.chain = Digest::of(b"other")),
        ("next", |block| block.header.height = block.header.height.next()),
        ("parent", |block| block.header.parent = Digest::of(b"other")),
        ("time_ms", |block| block.header.time_ms = START),
        ("executed is not of an earlier", |block| block.header.executed = Commitment::default()),
        ("executed is of a height before", |block| block.header.executed.height = Height(3)),
        ("transactions_root", |block| block.transactions.clear()),
        ("differs", |block| block.header.executed.state_root = Digest::of(b"other")),
    ];
    node.run(vec![]);
    let mut good = Block { header: node.block(good.transactions.clone()).header, ..good };
    for (part, change) in changes {
        let mut bad = good.clone();
        change(&mut bad);
        let verdicts = vec![true; bad.transactions.len()];
        let error = node.machine.execute(&bad, &verdicts).unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let short = node.machine.execute(&good, &[]);
    assert!(matches!(short, Err(MachineError::Verdicts { verdicts: 0, transactions: 1 })));
    assert_ne!(node.machine.applied(), before);
    good.header.executed = node.machine.applied();
    node.execute(&good).unwrap();
    assert!(matches!(
        node.execute(&good),
        Err(MachineError::NotNext { height: Height(3), expected: Height(4) })
    ));
}

#[test]
fn a_store_of_another_consortium_is_refused() {
    let node = Node::new();
    let path = node.path().to_owned();
    let Node { machine, .. } = &node;
    assert_eq!(machine.genesis_block().header.time_ms, START);
    let other = Genesis { created_ms: START.plus(Duration::from_millis(1)), ..genesis() };
    let copy = tempfile::tempdir().unwrap();
    drop(open(copy.path()));
    let refused = Machine::open(store(copy.path()), other).err().unwrap();
    assert!(matches!(refused, MachineError::OtherConsortium { .. }));
    let inconsistent = Genesis { members: vec![], ..genesis() };
    let refused = Machine::open(store(copy.path()), inconsistent).err().unwrap();
    assert!(matches!(refused, MachineError::Genesis(_)));
    assert!(path.exists());
}

#[test]
fn a_certificate_of_another_block_is_not_attached() {
    let mut node = Node::new();
    node.run(vec![]);
    let wrong = certificate(Height(1), Digest::of(b"other"));
    assert!(matches!(
        node.reader().put_finality(Height(1), &wrong),
        Err(MachineError::OtherBlock { height: Height(1), .. })
    ));
    let early = certificate(Height(2), Digest::of(b"other"));
    assert!(matches!(node.reader().put_finality(Height(2), &early), Err(MachineError::Store(_))));
    assert_eq!(node.reader().finality(Height(1)).unwrap(), None);
    let right = node.certify(Height(1));
    assert_eq!(node.reader().finality(Height(1)).unwrap(), Some(right));
}

/// Anybody who might sign.
fn signer() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "authority",
        "maker",
        "operator",
        "regulator",
        "pump",
        "fan",
        "revoked",
        "stranger",
    ])
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Int),
        any::<i64>().prop_map(Value::Decimal),
        ".{0,8}".prop_map(Value::Symbol),
        "[a-z]{0,4}".prop_map(Value::Id),
        any::<bool>().prop_map(Value::Bool),
        any::<[u8; 32]>().prop_map(|bytes| Value::Digest(Digest(bytes))),
        prop::collection::vec(any::<i64>().prop_map(Value::Int), 0..3).prop_map(Value::List),
    ]
}

fn a_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "meters", "reading", "meter", "install", "add", "close", "reader", "operator", "maker",
        "amount", "meter_id", "identity", "none",
    ])
}

fn an_issuance() -> impl Strategy<Value = Issuance> {
    (signer(), 0u64..40, 0u8..4, 0usize..40, any::<bool>()).prop_map(
        |(subject, serial, kind, tbs, backwards)| Issuance {
            serial: serial_number(serial.max(1)),
            kind: match kind {
                0 => IdentityKind::Member,
                1 => IdentityKind::Client,
                2 => IdentityKind::Server,
                _ => IdentityKind::Device,
            },
            tbs: vec![7; tbs],
            not_after: if backwards { START } else { START.plus(YEAR) },
            ..issuance(subject, 1)
        },
    )
}

fn roles() -> impl Strategy<Value = BTreeSet<Name>> {
    prop::collection::btree_set(a_name().prop_map(name), 0..3)
}

fn a_certification() -> impl Strategy<Value = Certification> {
    let host = prop::sample::select(vec!["maker.example", "a.operator.example", "127.0.0.1"]);
    let hosts = prop::collection::btree_set(host.prop_map(|host| host.parse().unwrap()), 0..3);
    (an_issuance(), roles(), hosts).prop_map(|(issuance, roles, hosts)| Certification {
        issuance,
        roles,
        hosts,
    })
}

fn a_declaration() -> impl Strategy<Value = Declaration> {
    let until = prop::option::of(
        (0..20_000_u64).prop_map(|ahead| START.plus(Duration::from_millis(ahead))),
    );
    prop_oneof![
        (signer(), roles(), until.clone()).prop_map(|(of, roles, until_ms)| {
            Declaration::Approve(KeyApproval { key: key(of).identity(), roles, until_ms })
        }),
        signer().prop_map(|of| Declaration::Withdraw { key: key(of).identity() }),
        (roles(), until)
            .prop_map(|(roles, until_ms)| Declaration::Delegate(Delegation { roles, until_ms })),
        (signer(), a_name())
            .prop_map(|(device, to)| Declaration::HandOver { device: device.into(), to: name(to) }),
        prop::collection::vec(any::<u8>(), 0..3)
            .prop_map(|certificate| Declaration::IssuingCertificate { certificate }),
    ]
}

fn a_member() -> impl Strategy<Value = hufu_proof::Member> {
    let owned = prop::sample::select(vec!["maker.example", "example", "operator.example"]);
    let names = prop::collection::btree_set(owned.prop_map(|one| one.parse().unwrap()), 0..3);
    (a_name(), signer(), signer(), names, prop::option::of(signer())).prop_map(
        |(member, votes, states, names, node)| hufu_proof::Member {
            name: name(member),
            title: BTreeMap::from([("en".into(), "Somebody".into())]),
            kinds: BTreeSet::new(),
            jurisdictions: hufu_proof::Jurisdictions::None,
            names,
            vote_key: vote_public(votes),
            statement_key: key(states).public(),
            node_key: node.map(|node| key(node).public()),
        },
    )
}

fn payload() -> impl Strategy<Value = Payload> {
    let proposal = prop_oneof![
        a_member().prop_map(|member| Proposal::Member { member }),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|package| Proposal::Deploy { package }),
        Just(Proposal::Deploy { package: meters("1.0.1").to_bytes() }),
        (a_name(), a_name(), a_name(), any::<bool>()).prop_map(|(contract, role, member, give)| {
            let (contract, role, member) = (name(contract), name(role), name(member));
            if give {
                Proposal::Grant { contract, role, member }
            } else {
                Proposal::Withdraw { contract, role, member }
            }
        }),
        (a_name(), signer(), signer()).prop_map(|(member, votes, states)| Proposal::MemberV1 {
            member: Member {
                name: name(member),
                title: BTreeMap::from([("en".into(), "Somebody".into())]),
                kinds: BTreeSet::new(),
                jurisdictions: BTreeSet::new(),
                vote_key: vote_public(votes),
                statement_key: key(states).public(),
            },
        }),
    ];
    let approved =
        Proposal::Grant { contract: name("meters"), role: name("reader"), member: name("maker") };
    prop_oneof![
        prop::collection::vec(an_issuance(), 0..4).prop_map(Payload::Issue),
        prop::collection::vec(a_certification(), 0..4).prop_map(Payload::Certify),
        a_declaration().prop_map(Payload::Declare),
        (0u64..8, any::<u8>()).prop_map(|(serial, reason)| Payload::Revoke(Revocation {
            serial: serial_number(serial.max(1)),
            reason: reason % 13,
        })),
        (a_name(), a_name(), ".{0,6}", prop::collection::vec((a_name(), value()), 0..4)).prop_map(
            |(contract, action, asset, params)| invoke(contract, action, &asset, &params)
        ),
        (0i64..2_000, prop::sample::select(vec!["pump", "fan"])).prop_map(|(amount, asset)| {
            invoke("meters", "add", asset, &[("amount", Value::Int(amount))])
        }),
        (
            a_name(),
            a_name(),
            0u64..4,
            prop::collection::vec(prop::collection::vec(value(), 0..3), 0..4)
        )
            .prop_map(|(contract, stream, sequence, rows)| {
                append(contract, stream, sequence, rows)
            }),
        (0u64..4).prop_map(|sequence| append("meters", "reading", sequence, vec![reading(1)])),
        (a_name(), a_name(), ".{0,6}").prop_map(|(contract, trigger, asset)| {
            Payload::Fire(Firing { contract: name(contract), trigger: name(trigger), asset })
        }),
        proposal.prop_map(Payload::Propose),
        any::<[u8; 32]>().prop_map(|bytes| Payload::Approve(Digest(bytes))),
        Just(Payload::Approve(approved.digest())),
        (".{0,12}", 0u64..30).prop_map(|(subject, height)| Payload::Look(Look {
            subject,
            height: Height(height),
            answer: Digest::of(b""),
        })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever transactions say, executing them does not fail; those that are
    /// refused leave the state root as it was; and a machine that is opened
    /// afterwards has the same state.
    #[test]
    fn random_transactions_never_stop_the_machine(
        sent in prop::collection::vec(
            (signer(), payload(), any::<bool>(), 0u64..3), 1..24,
        ),
        version in 1u8..3,
    ) {
        let mut node = Node::founded(if version == 1 { genesis() } else { genesis_v2() });
        install(&mut node, &["pump", "fan"]);
        node.certify_devices(vec![issuance("revoked", 3)]);
        let revocation = Revocation { serial: serial_number(3), reason: 1 };
        node.must(&key("authority"), Payload::Revoke(revocation));
        for (signer, payload, signed, nonce) in sent {
            let expires = node.height().plus(5);
            let transaction = sign(node.chain, nonce, expires, &key(signer), payload);
            let block = node.block(vec![transaction]);
            let root = node.machine.applied().state_root;
            let executed = node.machine.execute(&block, &[signed]).unwrap();
            let outcome = executed.entries[0].outcome;
            if !signed {
                prop_assert!(!outcome.is_accepted());
            }
            let changed = executed.commitment.state_root != root;
            prop_assert!(outcome.is_accepted() || !changed, "{outcome} changed the state");
            let told = executed.events.len() > 2;
            prop_assert!(outcome.is_accepted() || !told, "{outcome} told of changes");
        }
        let applied = node.machine.applied();
        let node = node.restart();
        prop_assert_eq!(node.machine.applied(), applied);
    }
}
