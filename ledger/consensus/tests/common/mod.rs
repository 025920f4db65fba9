//! A toy ledger and a cluster of nodes around it.

#![allow(dead_code)] // Each test binary uses its part.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use commonware_runtime::{Clock as _, Supervisor as _, deterministic};
use hufu_consensus::testing::{Link, Simulation, SoftwareSigner};
use hufu_consensus::{
    Application, ApplicationFault, Config, Evidence, Finalized, Identity, Node, OrderedBlock,
    Proposal, PublicKey, Round, Validator, start,
};
use hufu_proof::{Digest, FinalityCertificate};

pub const CHAIN: Digest = Digest([7; 32]);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toy {
    pub parent: Digest,
    pub height: u64,
    pub content: u64,
}

impl Toy {
    pub fn genesis() -> Self {
        Self { parent: Digest::default(), height: 0, content: 0 }
    }
}

impl OrderedBlock for Toy {
    fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    fn parent(&self) -> Digest {
        self.parent
    }

    fn height(&self) -> u64 {
        self.height
    }

    fn encode(&self) -> Vec<u8> {
        [&self.parent.0[..], &self.height.to_be_bytes(), &self.content.to_be_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() != 48 {
            return Err("length".into());
        }
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        Ok(Self {
            parent: Digest(bytes[..32].try_into().unwrap()),
            height: number(32),
            content: number(40),
        })
    }
}

/// What survives a crash.
#[derive(Default)]
pub struct Disk {
    pub blocks: Vec<Toy>,
    pub certificates: Vec<Option<FinalityCertificate>>,
    pub evidence: Vec<Evidence>,
}

pub struct ToyLedger<E> {
    pub clock: E,
    pub disk: Arc<Mutex<Disk>>,
    /// How long a leader waits for transactions.
    pub pause: Duration,
    pub salt: u64,
}

impl<E: commonware_runtime::Clock> Application for ToyLedger<E> {
    type Block = Toy;

    fn applied(&self) -> u64 {
        self.disk.lock().unwrap().blocks.len() as u64
    }

    async fn propose(&self, proposal: Proposal<Toy>) -> Option<Toy> {
        self.clock.sleep(self.pause).await;
        let parent = proposal.parent;
        let content = self.salt << 32 | proposal.round.view;
        Some(Toy { parent: parent.digest(), height: parent.height + 1, content })
    }

    async fn verify(&self, round: Round, block: Arc<Toy>, parent: Arc<Toy>) -> bool {
        assert_eq!(block.parent, parent.digest());
        assert_eq!(block.height, parent.height + 1);
        block.content as u32 as u64 == round.view
    }

    async fn finalized(&self, finalized: Finalized<Toy>) -> Result<(), ApplicationFault> {
        // Executing takes a moment, in which the node may die.
        self.clock.sleep(Duration::from_millis(2)).await;
        let mut disk = self.disk.lock().unwrap();
        let Finalized { block, certificate } = finalized;
        assert_eq!(block.height, disk.blocks.len() as u64 + 1, "delivered out of order");
        if let Some(certificate) = &certificate {
            assert_eq!(certificate.block, block.digest());
        }
        disk.blocks.push((*block).clone());
        disk.certificates.push(certificate);
        Ok(())
    }

    fn evidence(&self, evidence: Evidence) {
        self.disk.lock().unwrap().evidence.push(evidence);
    }
}

pub fn key(seed: u8) -> PublicKey {
    Identity::new(SoftwareSigner::shared(seed)).unwrap().public_key().clone()
}

pub fn validators(count: u8) -> Vec<Validator> {
    (0..count)
        .map(|seed| Validator {
            name: format!("member-{seed}"),
            key: SoftwareSigner::shared(seed).public_key(),
        })
        .collect()
}

/// Validators' compressed keys in the order of votes.
pub fn sorted_keys(count: u8) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> =
        validators(count).iter().map(|one| one.key.as_bytes().to_vec()).collect();
    keys.sort();
    keys
}

pub fn config(directory: &Path, number: u8, count: u8) -> Config {
    let directory: PathBuf = directory.join(format!("node-{number}"));
    Config { partition: format!("n{number}"), ..Config::new(directory, CHAIN, validators(count)) }
}

/// Nodes under the deterministic runtime.
pub struct Cluster {
    pub context: deterministic::Context,
    pub network: Simulation,
    pub disks: Vec<Arc<Mutex<Disk>>>,
    pub nodes: Vec<Option<Node<ToyLedger<deterministic::Context>>>>,
    pub directory: PathBuf,
    pub pause: Duration,
}

impl Cluster {
    pub fn new(
        context: deterministic::Context,
        seed: u64,
        directory: &Path,
        disks: Vec<Arc<Mutex<Disk>>>,
        link: Link,
    ) -> Self {
        let count = disks.len() as u8;
        let network =
            Simulation::new(context.child("simulation"), seed, (0..count).map(key), link);
        Self {
            context,
            network,
            nodes: disks.iter().map(|_| None).collect(),
            disks,
            directory: directory.to_owned(),
            pause: Duration::from_millis(20),
        }
    }

    pub fn fresh_disks(count: u8) -> Vec<Arc<Mutex<Disk>>> {
        (0..count).map(|_| Arc::default()).collect()
    }

    pub fn config(&self, number: u8) -> Config {
        config(&self.directory, number, self.disks.len() as u8)
    }

    pub fn ledger(&self, number: u8) -> Arc<ToyLedger<deterministic::Context>> {
        Arc::new(ToyLedger {
            clock: self.context.child("ledger"),
            disk: self.disks[number as usize].clone(),
            pause: self.pause,
            salt: u64::from(number) + 1,
        })
    }

    pub async fn start(&mut self, number: u8) {
        let (node, _) = start(
            self.context.child("node").with_attribute("number", number),
            self.config(number),
            SoftwareSigner::shared(number),
            self.ledger(number),
            Toy::genesis(),
            self.network.links(&key(number)),
        )
        .await
        .unwrap();
        self.nodes[number as usize] = Some(node);
    }

    pub async fn start_all(&mut self) {
        for number in 0..self.disks.len() as u8 {
            self.start(number).await;
        }
    }

    pub async fn kill(&mut self, number: u8) {
        if let Some(node) = self.nodes[number as usize].take() {
            node.stop();
            // The runtime drops what the node held open.
            self.context.sleep(Duration::from_millis(1)).await;
        }
    }

    pub fn height(&self, number: u8) -> u64 {
        self.disks[number as usize].lock().unwrap().blocks.len() as u64
    }

    pub fn heights(&self) -> Vec<u64> {
        (0..self.disks.len() as u8).map(|number| self.height(number)).collect()
    }

    /// Waits until every node has this height, at most `limit` of simulated
    /// time.
    pub async fn reach(&self, nodes: &[u8], height: u64, limit: Duration, what: &str) {
        let deadline = self.context.current() + limit;
        while nodes.iter().any(|number| self.height(*number) < height) {
            assert!(
                self.context.current() < deadline,
                "{what}: height {height} is not reached: {:?}",
                self.heights()
            );
            self.context.sleep(Duration::from_millis(50)).await;
        }
    }

    /// No two nodes have different blocks at one height, every chain is linked,
    /// and every certificate proves its block.
    pub fn check(&self) {
        let disks: Vec<_> = self.disks.iter().map(|disk| disk.lock().unwrap()).collect();
        let longest = disks.iter().max_by_key(|disk| disk.blocks.len()).unwrap();
        for disk in &disks {
            assert_eq!(disk.blocks[..], longest.blocks[..disk.blocks.len()], "a fork");
        }
        let mut parent = Toy::genesis().digest();
        for block in &longest.blocks {
            assert_eq!(block.parent, parent);
            parent = block.digest();
        }
        let keys = sorted_keys(disks.len() as u8);
        let namespace = hufu_proof::finality::vote_namespace(&CHAIN);
        for disk in &disks {
            let pairs = disk.blocks.iter().zip(&disk.certificates);
            for (block, certificate) in pairs.rev().take(3) {
                let Some(certificate) = certificate else { continue };
                assert_eq!(certificate.block, block.digest());
                certificate.verify_votes(&keys, &namespace).unwrap();
            }
        }
    }
}
