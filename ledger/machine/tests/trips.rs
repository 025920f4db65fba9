//! What a machine asks of a store that is far away: a block asks for its keys in
//! sets, and on FoundationDB (a double of it) the same blocks give the same
//! bytes.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hufu_fdb_double::{Cluster, LIBRARY};
use hufu_machine::{Account, Follower, Machine, MachineError, Reader};
use hufu_proof::transaction::Proposal;
use hufu_proof::{Block, Header, Height, LogIndex, Transaction, Value};
use hufu_store::foundationdb::Options;
use hufu_store::watched::{Watch, Watched};
use hufu_store::{EmbeddedStore, FoundationStore, Space, StoreError};
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

/// Rounds by what was asked.
#[derive(Debug, PartialEq, Eq)]
struct Rounds {
    open: usize,
    receipt: usize,
    state: usize,
    tile: usize,
    path: usize,
}

/// How often a far store is asked for one thing, in a log of so many blocks of 24
/// transactions; of those, without the levels of the state tree.
fn rounds(blocks: usize) -> (Rounds, usize) {
    let mut node = Node::new();
    install(&mut node, &DEVICES);
    let (contract, role, member) = (name("meters"), name("reader"), name("maker"));
    node.enact(Proposal::Grant { contract, role, member });
    let mut first = None;
    for _ in 0..blocks {
        let transactions = readings(&mut node, &DEVICES);
        first.get_or_insert(transactions[3].id());
        node.run(transactions);
    }
    node.settle();
    let (height, certificate) = (node.height(), node.certify(node.height()));
    node.reader().put_finality(height, &certificate).unwrap();
    let size = node.machine.applied().log_size;
    let directory = node.close();

    let asked = Counting::default();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let store = Watched { store, watch: asked.clone() };
    let count = || {
        let mut asked = std::mem::take(&mut *asked.0.lock().unwrap());
        let levels = asked.remove(&Space::Tree).unwrap_or_default();
        (asked.values().sum::<usize>(), levels)
    };
    let machine = Machine::open(Arc::new(store), genesis()).unwrap();
    let reader = machine.reader();
    let (open, _) = count();
    assert!(reader.receipt(&first.unwrap()).unwrap().is_some());
    let (receipt, _) = count();
    let state_key = hufu_machine::key::member(&name("maker"));
    assert!(reader.state_proof(&state_key, Height(1)).unwrap().is_some());
    let (state, levels) = count();
    assert!(reader.tile(0, 0, size.min(256)).unwrap().is_some());
    let (tile, _) = count();
    assert!(reader.log_path(LogIndex(1), size).unwrap().is_some());
    let (path, _) = count();
    println!("{size} entries: {levels} levels");
    (Rounds { open, receipt, state, tile, path }, levels)
}

#[test]
fn proofs_tiles_and_opening_take_as_few_rounds_in_a_long_log_as_in_a_short_one() {
    let (short, levels) = rounds(1);
    let (long, more_levels) = rounds(24);
    // Place and bytes of the transaction; headers, certificate and headers up to it;
    // size of the log and path: of each of two tiles the last run and those before it,
    // and the nodes above.
    println!("{short:?} {long:?}");
    assert!(long.receipt <= 12 && short.receipt <= 12, "{short:?} {long:?}");
    assert!(long.state <= 5 && short.state <= 5, "{short:?} {long:?}");
    assert!(long.tile <= 3 && short.tile <= 3, "{short:?} {long:?}");
    assert!(long.path <= 6 && short.path <= 6, "{short:?} {long:?}");
    assert!(long.open <= short.open + 1 && long.open <= 12, "{short:?} {long:?}");
    assert!(levels <= 8 && more_levels <= 8, "{levels} {more_levels}");
}

#[test]
fn a_follower_shows_what_a_machine_in_another_process_executes() {
    let mut node = Node::new();
    install(&mut node, &DEVICES[..3]);
    for _ in 0..2 {
        let transactions = readings(&mut node, &DEVICES[..3]);
        node.run(transactions);
    }
    node.settle();
    let heights = 1..=node.height().get();
    let reader = node.reader();
    let blocks: Vec<Block> =
        heights.map(|height| reader.block(Height(height)).unwrap().unwrap()).collect();

    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(directory.path()).unwrap();
    let options = cluster_options(&cluster);
    let follow =
        || Follower::open(Arc::new(FoundationStore::open_reader(&options).unwrap()), genesis());
    let nothing = FoundationStore::open_reader(&options).err().unwrap();
    assert!(matches!(nothing, StoreError::NothingToRead), "{nothing}");
    drop(FoundationStore::open(&options).unwrap());
    assert!(matches!(follow().err().unwrap(), MachineError::Empty));

    let mut machine = far_machine(&options);
    let mut follower = follow().unwrap();
    let (own, other) = (machine.reader(), follower.reader());
    let used = |reader: &Reader, header: &Header| {
        let account = Account::Member(name("maker"));
        reader.used(&account, header.height, header.time_ms).unwrap()
    };
    for block in &blocks {
        assert!(!follower.refresh().unwrap());
        execute(&mut machine, block).unwrap();
        // What was asked before is not in its way.
        let parent = follower.header().clone();
        let ids: Vec<_> = block.transactions.iter().map(Transaction::id).collect();
        assert!(ids.iter().all(|id| other.entry(id).unwrap().is_none()));
        assert_eq!(used(&other, &parent), used(&own, &parent));
        assert_eq!(other.height().unwrap(), parent.height);
        assert!(follower.refresh().unwrap());
        assert_eq!((follower.applied(), follower.header()), (machine.applied(), &block.header));
        assert_eq!(used(&other, &block.header), used(&own, &block.header));
        assert_eq!(other.epochs(), own.epochs());
        for id in &ids {
            assert_eq!(other.entry(id).unwrap(), own.entry(id).unwrap());
            assert!(other.entry(id).unwrap().is_some());
        }
        let replay = other.replay(block.header.height).unwrap();
        assert_eq!(replay, own.replay(block.header.height).unwrap());
    }
    assert!(used(&other, &blocks[blocks.len() - 1].header) > 0);

    // A certificate of finality comes after its height.
    let height = node.height();
    own.put_finality(height, &node.certify(height)).unwrap();
    let id = blocks.iter().rev().find_map(|block| block.transactions.last()).unwrap().id();
    let mut looks = 0;
    while other.certified() != Some(height) {
        looks += 1;
        assert!(looks < 1_000, "{:?}", other.certified());
        assert!(!follower.refresh().unwrap());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(own.receipt(&id).unwrap().is_some());
    assert_eq!(other.receipt(&id).unwrap(), own.receipt(&id).unwrap());
    let key = hufu_machine::key::member(&name("maker"));
    assert_eq!(other.latest_state_proof(&key).unwrap(), own.latest_state_proof(&key).unwrap());
}
