//! What a machine asks of a store that is far away: a block asks for its keys in
//! sets, and on FoundationDB (a double of it) the same blocks give the same
//! bytes.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use hufu_fdb_double::{Cluster, LIBRARY};
use hufu_machine::Machine;
use hufu_proof::transaction::Proposal;
use hufu_proof::{Block, Height, Transaction, Value};
use hufu_store::foundationdb::Options;
use hufu_store::watched::{Watch, Watched};
use hufu_store::{EmbeddedStore, FoundationStore, Space};
use support::*;

/// Counts how often a store that is said to be far away is asked.
#[derive(Clone, Default)]
struct Counting(Arc<Mutex<BTreeMap<Space, usize>>>);

impl Watch for Counting {
    fn reads(&self, space: Space) {
        *self.0.lock().unwrap().entry(space).or_default() += 1;
    }

    fn is_remote(&self) -> bool {
        true
    }
}

const DEVICES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

/// Readings of the devices, and an action on each one's meter.
fn readings(node: &mut Node, devices: &[&str]) -> Vec<Transaction> {
    let mut transactions = Vec::new();
    for device in devices {
        let batch = append("meters", "reading", 1, vec![reading(1); 2]);
        transactions.push(node.sign(&key(device), batch));
        let add = invoke("meters", "add", device, &[("amount", Value::Int(1))]);
        transactions.push(node.sign(&key("maker"), add));
    }
    transactions
}

/// How often a machine that was just opened asks each space while it executes
/// readings of so many devices.
fn asked_for(devices: usize) -> BTreeMap<Space, usize> {
    let mut node = Node::new();
    install(&mut node, &DEVICES);
    let (contract, role, member) = (name("meters"), name("reader"), name("maker"));
    node.enact(Proposal::Grant { contract, role, member });
    let transactions = readings(&mut node, &DEVICES[..devices]);
    let block = node.block(transactions);
    let directory = node.close();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let asked = Counting::default();
    let store = Watched { store, watch: asked.clone() };
    let mut machine = Machine::open(Arc::new(store), genesis()).unwrap();
    asked.0.lock().unwrap().clear();
    let executed = execute(&mut machine, &block).unwrap();
    assert!(executed.entries.iter().all(|entry| entry.outcome.is_accepted()));
    asked.0.lock().unwrap().clone()
}

#[test]
fn a_block_asks_as_often_for_many_transactions_as_for_few() {
    let (mut few, mut many) = (asked_for(2), asked_for(12));
    // The tree is read level by level.
    let levels = [few.remove(&Space::Tree), many.remove(&Space::Tree)];
    assert!(levels.iter().all(|levels| (1..=5).contains(&levels.unwrap())), "{levels:?}");
    assert_eq!(few, many);
    assert_eq!(many.get(&Space::Transactions), Some(&1), "{many:?}");
    assert!(many[&Space::Usage] <= 4, "{many:?}");
}

/// A machine on a cluster.
fn far_machine(options: &Options) -> Machine {
    Machine::open(Arc::new(FoundationStore::open(options).unwrap()), genesis()).unwrap()
}

fn cluster_options(cluster: &Cluster) -> Options {
    let library = std::env::current_exe().unwrap().with_file_name(LIBRARY);
    Options { library, ..Options::new(cluster.file(), "machine") }
}

#[test]
fn on_foundationdb_the_same_blocks_give_the_same_bytes() {
    let mut node = Node::new();
    install(&mut node, &DEVICES[..3]);
    for _ in 0..2 {
        let transactions = readings(&mut node, &DEVICES[..3]);
        node.run(transactions);
    }
    node.settle();
    let reader = node.reader();
    let heights = 1..=node.height().get();
    let blocks: Vec<Block> =
        heights.map(|height| reader.block(Height(height)).unwrap().unwrap()).collect();

    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(directory.path()).unwrap();
    let options = cluster_options(&cluster);
    let mut machine = far_machine(&options);
    for (number, block) in blocks.iter().enumerate() {
        execute(&mut machine, block).unwrap();
        if number % 4 == 3 {
            machine = far_machine(&options);
        }
    }
    assert_eq!(machine.applied(), node.machine.applied());
    let far = machine.reader();
    for block in &blocks {
        let height = block.header.height;
        assert_eq!(far.block(height).unwrap().as_ref(), Some(block));
        assert_eq!(far.commitment(height).unwrap(), reader.commitment(height).unwrap());
        assert_eq!(
            far.replay(height).unwrap().unwrap().events,
            reader.replay(height).unwrap().unwrap().events
        );
    }
    let id = blocks.iter().rev().find_map(|block| block.transactions.last()).unwrap().id();
    far.put_finality(node.height(), &node.certify(node.height())).unwrap();
    assert_eq!(far.receipt(&id).unwrap(), reader.receipt(&id).unwrap());
    assert!(far.receipt(&id).unwrap().is_some());
}

#[test]
fn on_foundationdb_a_block_takes_few_rounds() {
    let mut node = Node::new();
    install(&mut node, &DEVICES);
    let reader = node.reader();
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(directory.path()).unwrap();
    let options = cluster_options(&cluster);
    let mut machine = far_machine(&options);
    for height in 1..=node.height().get() {
        let block = reader.block(Height(height)).unwrap().unwrap();
        execute(&mut machine, &block).unwrap();
    }
    let transactions = readings(&mut node, &DEVICES);
    let block = node.block(transactions);
    // With nothing in memory.
    let mut machine = far_machine(&options);
    let before = cluster.counts();
    execute(&mut machine, &block).unwrap();
    let after = cluster.counts();
    let reads = after.gets + after.ranges - before.gets - before.ranges;
    let rounds = after.rounds - before.rounds;
    // Four of them write.
    assert!(rounds <= 24 && reads > 4 * rounds, "{rounds} rounds for {reads} reads");
}
