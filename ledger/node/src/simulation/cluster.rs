//! Whole nodes in simulated time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use commonware_runtime::{
    Clock as _, Handle, Spawner as _, Supervisor as _, deterministic::Context,
};
use hufu_consensus::testing::{Link, Random, Simulation, SoftwareSigner};
use hufu_consensus::{Config, Identity, PublicKey as VoteKey};
use hufu_machine::Machine;
use hufu_proof::genesis::{Authority, Constitution, GENESIS_VERSION, Jurisdictions, Member};
use hufu_proof::transaction::Proposal;
use hufu_proof::{Algorithm, Digest, Genesis, Height, Payload, UnixMillis};
use tokio::sync::oneshot;

use super::disk::Disk;
use super::traffic::{Traffic, member, name, statement_public};
use crate::builder::{Builder, Limits};
use crate::ledger::Ledger;
use crate::run::{connect, keep_end, ordering};
use crate::shared::Shared;

/// Founders.
pub const COUNT: u8 = 4;

/// Nodes there may be.
pub const MOST: u8 = 5;

/// Vote keys there may be: of [`MOST`] nodes, and their next ones.
const SEEDS: u8 = 2 * MOST;

/// The seed of a node's next vote key.
pub fn next_seed(number: u8) -> u8 {
    MOST + number
}

/// How long anything may take that must come, in simulated time.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);
/// Until the runtime has dropped what a task held.
const DROPPED: Duration = Duration::from_millis(100);

fn genesis() -> Genesis {
    let members = (0..COUNT)
        .map(|number| Member {
            name: name(&member(number)),
            title: BTreeMap::from([("en".to_owned(), member(number))]),
            kinds: BTreeSet::from([name("authority")]),
            jurisdictions: Jurisdictions::None,
            names: BTreeSet::new(),
            vote_key: hufu_proof::Signer::public_key(&SoftwareSigner::new(number)),
            statement_key: statement_public(&member(number)),
            node_key: None,
        })
        .collect();
    let genesis = Genesis {
        version: GENESIS_VERSION,
        consortium: name("simulated"),
        created_ms: UnixMillis::ZERO,
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

pub fn vote_key(number: u8) -> VoteKey {
    Identity::new(SoftwareSigner::shared(number)).unwrap().public_key().clone()
}

/// What runs of a node.
struct Running {
    ledger: Ledger,
    /// The parent of everything else.
    task: Handle<()>,
}

/// What is left when the power fails everywhere: disks, and what people know.
pub struct Remains {
    directory: PathBuf,
    pub disks: Vec<Arc<Disk>>,
    /// Of the nodes' vote keys.
    pub seeds: Vec<u8>,
    pub traffic: Traffic,
}

impl Remains {
    /// Of nodes that have never run.
    pub fn none(directory: &Path) -> Self {
        let disk = |number| Disk::new(directory.join(member(number)).join("state"));
        Self {
            directory: directory.to_owned(),
            disks: (0..MOST).map(disk).collect(),
            seeds: (0..MOST).collect(),
            traffic: Traffic::default(),
        }
    }
}

/// Validators.
pub struct Cluster {
    pub context: Context,
    pub network: Simulation,
    pub remains: Remains,
    pub genesis: Genesis,
    /// A node to which nothing is sent: nobody hears what it passes on.
    pub unheard: Option<u8>,
    nodes: Vec<Option<Running>>,
}

impl Cluster {
    /// Starts all nodes on what is left of them.
    pub async fn start(context: Context, seed: u64, remains: Remains) -> Self {
        let keys = (0..SEEDS).map(vote_key);
        let network = Simulation::new(context.child("net"), seed, keys, Link::default());
        let nodes = (0..MOST).map(|_| None).collect();
        let mut cluster =
            Self { context, network, remains, genesis: genesis(), unheard: None, nodes };
        for number in 0..COUNT {
            cluster.start_one(number).await;
        }
        cluster
    }

    /// Starts a node and checks that it has what it acknowledged before, by its
    /// own disk and not by the others' help.
    pub async fn start_one(&mut self, number: u8) {
        let store = self.disk(number).open();
        let machine = Machine::open(store, self.genesis.clone()).unwrap();
        self.remains.traffic.check_kept(number, &machine.reader());
        let genesis_block = machine.genesis_block().clone();
        let shared = Arc::new(Shared::new(machine));
        let ledger = Ledger::new(shared.clone());
        let (directory, network) = (self.guard(number), self.network.clone());
        let seed = self.remains.seeds[usize::from(number)];
        let context = self.context.child("node").with_attribute("number", number);
        let running = ledger.clone();
        let task = context.spawn(move |context| async move {
            // Each pass is an epoch, as in `crate::run`.
            loop {
                let mut epochs = shared.epoch.subscribe();
                let (config, epoch) = ordering(directory.clone(), &shared.reader).unwrap();
                let config = Config { partition: format!("n{number}"), ..config };
                let now = epoch.number;
                let context = context.child("epoch").with_attribute("epoch", now);
                let limits = Limits { interval: Duration::from_millis(100), ..Limits::default() };
                let builder = Builder::new(context.child("clock"), shared.clone(), limits, epoch);
                let (node, gossip) = hufu_consensus::start(
                    context.child("ordering"),
                    config,
                    // Signs alike, so that runs of one seed can be compared.
                    SoftwareSigner::repeatable(seed),
                    Arc::new(builder),
                    genesis_block.clone(),
                    network.links(&vote_key(seed)),
                )
                .await
                .unwrap();
                keep_end(&shared.reader, &node).await.unwrap();
                let (sender, receiver) = oneshot::channel();
                let ledger = running.clone();
                let rest = context.child("rest").spawn(move |context| async move {
                    connect(&context, &ledger, &node, gossip);
                    let _ = sender.send(node);
                    // Lives for the tasks that it is the parent of.
                    std::future::pending::<()>().await;
                });
                let node = receiver.await.unwrap();
                let _ = epochs.wait_for(|begun| *begun > now).await;
                context.sleep(Duration::from_millis(200)).await;
                rest.abort();
                node.stop();
                context.sleep(DROPPED).await;
            }
        });
        self.nodes[usize::from(number)] = Some(Running { ledger, task });
    }

    /// Ends a node as `kill -9` does.
    pub async fn kill(&mut self, number: u8) {
        if let Some(Running { ledger, task }) = self.nodes[usize::from(number)].take() {
            task.abort();
            drop(ledger);
            // The runtime drops what the node held, its store among it.
            self.context.sleep(DROPPED).await;
            self.remains.traffic.collect();
        }
    }

    /// Lets the node's store fail within the next writes, waits until it has,
    /// and ends the node.
    pub async fn kill_writing(&mut self, number: u8, points: u64) {
        self.disk(number).die_after(points);
        let disk = self.disk(number);
        self.wait("a write", |_| disk.is_dead()).await;
        self.kill(number).await;
    }

    /// Power comes back after it failed everywhere at this moment.
    pub fn into_remains(self) -> Remains {
        self.remains
    }

    pub fn disk(&self, number: u8) -> Arc<Disk> {
        self.remains.disks[usize::from(number)].clone()
    }

    fn guard(&self, number: u8) -> PathBuf {
        self.remains.directory.join(member(number)).join("guard")
    }

    pub fn ledger(&self, number: u8) -> Option<&Ledger> {
        self.nodes[usize::from(number)].as_ref().map(|running| &running.ledger)
    }

    /// Sends new transactions to nodes that run.
    pub fn submit(&mut self, random: &mut Random, count: u64) {
        let running = heard(&self.nodes, self.unheard);
        self.remains.traffic.submit(self.genesis.digest(), &running, random, count);
    }

    /// Changes a member, with the approvals of three others. Answers to what was
    /// sent before may come meanwhile.
    pub async fn change(&mut self, changed: Member, approving: [u8; 3]) {
        self.decide(Proposal::Member { member: changed }, approving).await;
    }

    /// Proposes as the first; the others approve, one after the other.
    pub async fn decide(&mut self, proposal: Proposal, approving: [u8; 3]) {
        let [proposer, approvers @ ..] = approving;
        let digest = proposal.digest();
        self.govern(proposer, Payload::Propose(proposal)).await;
        for approver in approvers {
            self.govern(approver, Payload::Approve(digest)).await;
        }
    }

    /// Sends a member's transaction to its own node until it is answered.
    pub async fn govern(&mut self, number: u8, payload: Payload) {
        let chain = self.genesis.digest();
        let id = self.remains.traffic.govern(chain, number, payload);
        let deadline = self.context.current() + PATIENCE;
        while !self.remains.traffic.has_answer(&id) {
            assert!(self.context.current() < deadline, "no answer: {:?}", self.heights());
            let running = running(&self.nodes);
            if let Some(node) = running.iter().find(|(node, _)| *node == number) {
                self.remains.traffic.send_governance(*node);
            }
            self.sleep(200).await;
        }
    }

    /// Waits until all nodes that run are in this epoch.
    pub async fn enter(&mut self, epoch: u64) {
        self.enter_without(epoch, None).await;
    }

    /// Waits until all nodes that run, but for one, are in this epoch.
    pub async fn enter_without(&mut self, epoch: u64, but: Option<u8>) {
        let there = move |cluster: &Self| {
            running(&cluster.nodes)
                .iter()
                .all(|(number, one)| Some(*number) == but || one.reader().epoch().number >= epoch)
        };
        self.wait("the epoch", there).await;
    }

    pub fn heights(&self) -> Vec<Option<Height>> {
        (0..MOST).map(|number| Some(self.ledger(number)?.committed().height)).collect()
    }

    /// Entries in the log of each node that runs.
    pub fn log_sizes(&self) -> Vec<u64> {
        let running = (0..MOST).filter_map(|number| self.ledger(number));
        running.map(|ledger| ledger.committed().log_size).collect()
    }

    pub async fn sleep(&mut self, milliseconds: u64) {
        self.context.sleep(Duration::from_millis(milliseconds)).await;
        self.remains.traffic.collect();
    }

    pub async fn wait(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = self.context.current() + PATIENCE;
        while !done(self) {
            let heights = self.heights();
            assert!(self.context.current() < deadline, "{what} does not come: {heights:?}");
            self.context.sleep(LOOK).await;
            self.remains.traffic.collect();
        }
    }

    /// Waits until all nodes are `more` heights above what any has now.
    pub async fn grow(&mut self, more: u64) -> Height {
        let goal = self.heights().into_iter().flatten().max().unwrap().plus(more);
        let reached = |height: &Option<Height>| height.is_none_or(|height| height >= goal);
        self.wait("a height", |cluster| cluster.heights().iter().all(reached)).await;
        goal
    }

    /// With all nodes up and nothing in their way: everything that was sent is
    /// answered, all nodes agree, and nobody was accused. Returns the digest of
    /// the last header compared.
    pub async fn settle(&mut self, random: &mut Random) -> Digest {
        let answered = |cluster: &Self| cluster.remains.traffic.is_answered();
        self.wait("an answer", answered).await;
        self.remains.traffic.send_again(&heard(&self.nodes, self.unheard), random);
        self.wait("an answer to what was sent again", answered).await;
        // So that a header commits to everything.
        let goal = self.grow(4).await;

        let numbered = running(&self.nodes);
        assert!(numbered.len() >= usize::from(COUNT), "a founder is down");
        let readers: Vec<_> = numbered.iter().map(|(_, ledger)| ledger.reader()).collect();
        for height in Height::ZERO.through(goal) {
            let header = readers[0].header(height).unwrap().unwrap();
            let result = readers[0].commitment(height).unwrap();
            for reader in &readers[1..] {
                assert_eq!(reader.header(height).unwrap().as_ref(), Some(&header), "a fork");
                assert_eq!(reader.commitment(height).unwrap(), result, "states differ");
            }
        }
        for ((number, _), reader) in numbered.iter().zip(&readers) {
            self.remains.traffic.check_all(reader);
            self.remains.traffic.check_receipts(*number, reader);
            let evidence = std::fs::read(self.guard(*number).join("evidence.jsonl"));
            assert!(evidence.unwrap_or_default().is_empty(), "an honest node is accused");
        }
        readers[0].header(goal).unwrap().unwrap().digest()
    }
}

fn heard(nodes: &[Option<Running>], but: Option<u8>) -> Vec<(u8, &Ledger)> {
    running(nodes).into_iter().filter(|(number, _)| Some(*number) != but).collect()
}

fn running(nodes: &[Option<Running>]) -> Vec<(u8, &Ledger)> {
    let numbered = (0..).zip(nodes);
    numbered.filter_map(|(number, node)| Some((number, &node.as_ref()?.ledger))).collect()
}
