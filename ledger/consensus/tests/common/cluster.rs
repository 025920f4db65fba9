//! Nodes in simulated time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use commonware_runtime::{Clock as _, Supervisor as _, deterministic};
use hufu_consensus::testing::{Link, Simulation, SoftwareSigner};
use hufu_consensus::{Config, GossipReceiver, Node, OrderedBlock as _, start};

use super::{CHAIN, Disk, Toy, ToyLedger, config, key, sorted_keys};

/// Nodes under the deterministic runtime.
pub struct Cluster {
    pub context: deterministic::Context,
    pub network: Simulation,
    pub disks: Vec<Arc<Mutex<Disk>>>,
    pub nodes: Vec<Option<Node<ToyLedger<deterministic::Context>>>>,
    pub gossip: Vec<Option<GossipReceiver>>,
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
        let network = Simulation::new(context.child("simulation"), seed, (0..count).map(key), link);
        Self {
            context,
            network,
            nodes: disks.iter().map(|_| None).collect(),
            gossip: disks.iter().map(|_| None).collect(),
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

    /// A ledger of the same member with a disk of its own.
    pub fn detached_ledger(&self, number: u8) -> Arc<ToyLedger<deterministic::Context>> {
        Arc::new(ToyLedger {
            clock: self.context.child("ledger"),
            disk: Arc::default(),
            pause: self.pause,
            salt: u64::from(number) + 1,
        })
    }

    pub async fn start(&mut self, number: u8) {
        let context = self.context.child("node").with_attribute("number", number);
        self.start_with(number, context, self.config(number)).await;
    }

    /// Starts a node with another configuration than its own.
    pub async fn start_with(
        &mut self,
        number: u8,
        context: deterministic::Context,
        config: Config,
    ) {
        let (node, gossip) = start(
            context,
            config,
            SoftwareSigner::shared(number),
            self.ledger(number),
            Toy::genesis(),
            self.network.links(&key(number)),
        )
        .await
        .unwrap();
        self.nodes[number as usize] = Some(node);
        self.gossip[number as usize] = Some(gossip);
    }

    pub async fn start_all(&mut self) {
        for number in 0..self.disks.len() as u8 {
            self.start(number).await;
        }
    }

    pub async fn kill(&mut self, number: u8) {
        if let Some(node) = self.nodes[number as usize].take() {
            node.stop();
            // The runtime drops what the node held open, a task at a time.
            self.context.sleep(Duration::from_millis(100)).await;
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
