//! Whole nodes in simulated time, killed at random: ordering, mempool, state
//! machine and store on real files.
//!
//! Invariants: no fork; no acknowledged transaction lost; each takes effect
//! once; equal state roots; receipts that verify.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use commonware_runtime::{
    Clock as _, Handle, Runner as _, Spawner as _, Supervisor as _, deterministic,
};
use ed25519_consensus::SigningKey;
use hufu_consensus::testing::{Link, Simulation, SoftwareSigner};
use hufu_consensus::{Config, Identity, Node, PublicKey as VoteKey, Validator};
use hufu_machine::Machine;
use hufu_proof::genesis::{Authority, Constitution, GENESIS_VERSION, Member};
use hufu_proof::transaction::{IdentityKind, Issuance};
use hufu_proof::{
    Algorithm, Body, Digest, Genesis, Name, Outcome, Payload, PublicKey, Serial, Signature,
    Transaction,
};
use hufu_store::EmbeddedStore;
use tokio::sync::oneshot;

use crate::builder::{Builder, Limits};
use crate::core::{Admission, Committed, Core};
use crate::error::Error;
use crate::ledger::Ledger;
use crate::run::connect;

const COUNT: u8 = 4;

fn statement_key(member: &str) -> SigningKey {
    SigningKey::from(Digest::of(member.as_bytes()).0)
}

fn statement_public(member: &str) -> PublicKey {
    let key = statement_key(member).verification_key();
    PublicKey::new(Algorithm::Ed25519, key.as_ref()).unwrap()
}

fn member(number: u8) -> String {
    format!("member-{number}")
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn genesis() -> Genesis {
    let members = (0..COUNT)
        .map(|number| Member {
            name: name(&member(number)),
            title: BTreeMap::from([("en".to_owned(), member(number))]),
            kinds: BTreeSet::from([name("authority")]),
            vote_key: hufu_proof::Signer::public_key(&SoftwareSigner::new(number)),
            statement_key: statement_public(&member(number)),
        })
        .collect();
    let genesis = Genesis {
        version: GENESIS_VERSION,
        consortium: name("simulated"),
        created_ms: 0,
        members,
        authority: Authority {
            member: name(&member(0)),
            root_certificate: b"root".to_vec(),
            issuing_certificate: b"issuing".to_vec(),
        },
        constitution: Constitution {
            approvals: 3,
            algorithms: BTreeSet::from([Algorithm::Ed25519, Algorithm::EcdsaP256]),
        },
    };
    genesis.check().unwrap();
    genesis
}

/// The issuance of certificate number `serial`, by the authority.
fn issue(chain: Digest, serial: u64) -> Transaction {
    let authority = member(0);
    let body = Body {
        chain,
        signer: statement_public(&authority),
        nonce: serial,
        expires: 10_000,
        payload: Payload::Issue(vec![Issuance {
            serial: Serial::new(&(serial + 1).to_be_bytes()[4..]).unwrap(),
            profile: name("device"),
            kind: IdentityKind::Device,
            tbs: serial.to_be_bytes().to_vec(),
            key: statement_public(&format!("device {serial}")),
            subject: format!("CN=device {serial}"),
            owner: name(&authority),
            not_before: 0,
            not_after: 4_000_000_000_000,
            attestation: None,
        }]),
    };
    let signature = statement_key(&authority).sign(&body.message()).to_bytes();
    Transaction { signature: Signature::new(Algorithm::Ed25519, &signature).unwrap(), body }
}

fn vote_key(number: u8) -> VoteKey {
    Identity::new(SoftwareSigner::shared(number)).unwrap().public_key().clone()
}

type Context = deterministic::Context;

/// What runs of a node.
struct Running {
    node: Node<Builder<Context>>,
    ledger: Ledger,
    rest: Handle<()>,
}

struct Cluster {
    context: Context,
    network: Simulation,
    directory: PathBuf,
    genesis: Genesis,
    nodes: Vec<Option<Running>>,
}

impl Cluster {
    fn new(context: Context, seed: u64, directory: &Path) -> Self {
        let keys = (0..COUNT).map(vote_key);
        let network = Simulation::new(context.child("net"), seed, keys, Link::default());
        let nodes = (0..COUNT).map(|_| None).collect();
        Self { context, network, directory: directory.to_owned(), genesis: genesis(), nodes }
    }

    async fn start(&mut self, number: u8) {
        let directory = self.directory.join(member(number));
        let store = EmbeddedStore::open(&directory.join("state")).unwrap();
        let machine = Machine::open(Arc::new(store), self.genesis.clone()).unwrap();
        let genesis_block = machine.genesis_block().clone();
        let core = Arc::new(Core::new(machine));
        let limits = Limits { interval: Duration::from_millis(100), ..Limits::default() };
        let builder = Builder::new(self.context.child("clock"), core.clone(), limits);
        let validators = (0..COUNT)
            .map(|number| Validator {
                name: member(number),
                key: hufu_proof::Signer::public_key(&SoftwareSigner::new(number)),
            })
            .collect();
        let config = Config {
            partition: format!("n{number}"),
            ..Config::new(directory.join("guard"), self.genesis.digest(), validators)
        };
        let (node, gossip) = hufu_consensus::start(
            self.context.child("node"),
            config,
            SoftwareSigner::shared(number),
            Arc::new(builder),
            genesis_block,
            self.network.links(&vote_key(number)),
        )
        .await
        .unwrap();
        let (sender, receiver) = oneshot::channel();
        let (node_sender, node_receiver) = oneshot::channel();
        let rest = self.context.child("rest").spawn(move |context| async move {
            let ledger = connect(&context, core, &node, gossip);
            let _ = sender.send(ledger);
            let _ = node_sender.send(node);
            std::future::pending::<()>().await;
        });
        let (ledger, node) = (receiver.await.unwrap(), node_receiver.await.ok().unwrap());
        self.nodes[usize::from(number)] = Some(Running { node, ledger, rest });
    }

    async fn kill(&mut self, number: u8) {
        if let Some(Running { node, ledger, rest }) = self.nodes[usize::from(number)].take() {
            rest.abort();
            node.stop();
            drop(ledger);
            // The runtime drops what the node held, its store among it.
            self.context.sleep(Duration::from_millis(100)).await;
        }
    }

    fn ledger(&self, number: u8) -> Option<&Ledger> {
        self.nodes[usize::from(number)].as_ref().map(|running| &running.ledger)
    }

    fn heights(&self) -> Vec<Option<u64>> {
        (0..COUNT).map(|number| Some(self.ledger(number)?.committed().height)).collect()
    }
}

/// SplitMix64, for schedules of faults.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Says which seed it was when the test panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the failing seed is {}", self.0);
        }
    }
}

type Waiting = oneshot::Receiver<Result<Committed, Error>>;

/// Sends `count` transactions to nodes that run, each to one at random and some
/// to a second one as well.
fn submit(
    cluster: &Cluster,
    random: &mut Random,
    next: &mut u64,
    count: u64,
    waiting: &mut Vec<(Digest, Waiting)>,
    sent: &mut Vec<Transaction>,
) {
    for _ in 0..count {
        let transaction = issue(cluster.genesis.digest(), *next);
        *next += 1;
        sent.push(transaction.clone());
        let id = transaction.id();
        let copies = 1 + random.below(4) / 3;
        for _ in 0..copies {
            let Some(ledger) = cluster.ledger(random.below(u64::from(COUNT)) as u8) else {
                continue;
            };
            for answer in ledger.enqueue(vec![transaction.clone()]) {
                match answer {
                    Ok(Admission::Waiting(receiver)) => waiting.push((id, receiver)),
                    Ok(Admission::Done(committed)) => {
                        assert_eq!(committed.entry.outcome, Outcome::Accepted);
                    }
                    Err(error) => panic!("a good transaction is refused: {error}"),
                }
            }
        }
    }
}

/// Moves what has been answered to `acknowledged`.
fn collect(waiting: &mut Vec<(Digest, Waiting)>, acknowledged: &mut BTreeSet<Digest>) {
    waiting.retain_mut(|(id, receiver)| match receiver.try_recv() {
        Ok(Ok(committed)) => {
            assert_eq!(committed.entry.transaction, *id);
            assert_eq!(committed.entry.outcome, Outcome::Accepted);
            acknowledged.insert(*id);
            false
        }
        Ok(Err(error)) => panic!("not taken: {error}"),
        Err(oneshot::error::TryRecvError::Empty) => true,
        // The node was killed: nothing was promised.
        Err(oneshot::error::TryRecvError::Closed) => false,
    });
}

fn random_kills(seed: u64) {
    let _seed = Seed(seed);
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(seed).start(|context| async move {
        let mut random = Random(seed);
        let mut cluster = Cluster::new(context, seed, directory.path());
        for number in 0..COUNT {
            cluster.start(number).await;
        }
        let (mut next, mut waiting, mut sent) = (0, Vec::new(), Vec::new());
        let mut acknowledged = BTreeSet::new();
        for _ in 0..5 {
            submit(&cluster, &mut random, &mut next, 20, &mut waiting, &mut sent);
            cluster.context.sleep(Duration::from_millis(random.below(800))).await;
            collect(&mut waiting, &mut acknowledged);
            let victim = random.below(u64::from(COUNT)) as u8;
            cluster.kill(victim).await;
            submit(&cluster, &mut random, &mut next, 20, &mut waiting, &mut sent);
            cluster.context.sleep(Duration::from_millis(random.below(2000))).await;
            collect(&mut waiting, &mut acknowledged);
            cluster.start(victim).await;
        }
        // Everything that was sent to a node that lived is answered.
        for _ in 0..1200 {
            collect(&mut waiting, &mut acknowledged);
            if waiting.is_empty() {
                break;
            }
            cluster.context.sleep(Duration::from_millis(50)).await;
        }
        assert!(waiting.is_empty(), "{} of {} unanswered", waiting.len(), sent.len());
        assert!(acknowledged.len() as u64 > next / 2, "only {} answers", acknowledged.len());

        // All nodes get to one height, and a header that covers everything.
        let goal = cluster.heights().into_iter().flatten().max().unwrap() + 4;
        for _ in 0..1200 {
            if cluster.heights().iter().all(|height| height.is_some_and(|height| height >= goal)) {
                break;
            }
            cluster.context.sleep(Duration::from_millis(50)).await;
        }
        let heights = cluster.heights();
        assert!(heights.iter().all(|height| *height >= Some(goal)), "{heights:?} below {goal}");

        let first = cluster.ledger(0).unwrap();
        let result = first.reader().commitment(goal).unwrap().unwrap();
        let header = first.reader().header(goal).unwrap().unwrap();
        for number in 0..COUNT {
            let reader = cluster.ledger(number).unwrap().reader();
            assert_eq!(reader.commitment(goal).unwrap(), Some(result), "node {number}");
            assert_eq!(reader.header(goal).unwrap(), Some(header.clone()), "node {number}");
            for id in &acknowledged {
                let (_, entry) = reader.entry(id).unwrap().expect("acknowledged and lost");
                assert_eq!(entry.outcome, Outcome::Accepted);
            }
        }
        // Each took effect once: the log has no two accepted entries of one
        // transaction.
        let entries = first.reader().entries(0, result.log_size).unwrap();
        let accepted: Vec<_> = entries
            .iter()
            .filter(|entry| entry.outcome == Outcome::Accepted)
            .map(|entry| entry.transaction)
            .collect();
        assert_eq!(accepted.iter().collect::<BTreeSet<_>>().len(), accepted.len());
        for number in 0..COUNT {
            let reader = cluster.ledger(number).unwrap().reader();
            let id = acknowledged.iter().nth(usize::from(number)).unwrap();
            let receipt = reader.receipt(id).unwrap().expect("a header covers it");
            receipt.verify(&cluster.genesis).unwrap();
        }
    });
}

#[test]
fn whole_nodes_killed_at_random_lose_nothing() {
    for seed in 0..4 {
        random_kills(seed);
    }
}

/// A batch with a bad signature and one of another consortium are refused where
/// they are sent, and the chain goes on.
#[test]
fn what_may_not_be_in_a_block_is_refused_at_admission() {
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(1).start(|context| async move {
        let mut cluster = Cluster::new(context, 1, directory.path());
        for number in 0..COUNT {
            cluster.start(number).await;
        }
        let chain = cluster.genesis.digest();
        let good = issue(chain, 0);
        let mut forged = issue(chain, 1);
        forged.body.nonce = 77;
        let foreign = issue(Digest([9; 32]), 2);
        let ledger = cluster.ledger(1).unwrap();
        let mut answers = ledger.enqueue(vec![forged, good.clone(), foreign]).into_iter();
        assert!(matches!(answers.next(), Some(Err(Error::Refused(Outcome::Signature)))));
        let Some(Ok(Admission::Waiting(receiver))) = answers.next() else {
            panic!("a good transaction is refused")
        };
        assert!(matches!(answers.next(), Some(Err(Error::Refused(_)))));
        let committed = receiver.await.unwrap().unwrap();
        assert_eq!(committed.entry.outcome, Outcome::Accepted);
        // Sent again, anywhere: the first answer again.
        let again = cluster.ledger(1).unwrap().enqueue(vec![good]).remove(0);
        assert!(matches!(again, Ok(Admission::Done(first)) if first == committed));
    });
}
