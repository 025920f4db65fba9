//! Transaction verification against the bare limit, execution of a block, and
//! the update of the state root.
//!
//! `cargo bench -p hufu-machine`

#![allow(missing_docs, reason = "criterion makes public functions")]
// A bench measures time, which the crate itself never does.
#![allow(clippy::disallowed_methods)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hufu_machine::bench::StateRoot;
use hufu_machine::signatures::{verify_batch, verify_batch_on};
use hufu_proof::transaction::Proposal;
use hufu_proof::{Block, Payload, Transaction, Value, codec};
use support::*;

/// Transactions in a block.
const COUNT: usize = 1_000;

/// A batch of one signer whose transaction has about 256 bytes.
fn small(node: &mut Node, device: &str, sequence: u64) -> Transaction {
    let mut transaction =
        node.sign(&key(device), append("meters", "reading", sequence, vec![reading(7); 2]));
    // Fill with rows up to the size that is published.
    let mut rows = 2;
    while codec::encode(&transaction).len() < 240 {
        rows += 1;
        transaction =
            node.sign(&key(device), append("meters", "reading", sequence, vec![reading(7); rows]));
    }
    transaction
}

/// A node with `COUNT` devices, each certified and with its meter.
fn populated() -> (Node, Vec<String>) {
    let mut node = Node::new();
    node.deploy(&meters("1.0.0"));
    let devices: Vec<String> = (0..COUNT).map(|number| format!("device-{number}")).collect();
    for (part, devices) in devices.chunks(200).enumerate() {
        let issuances = devices.iter().enumerate();
        let issuances = issuances.map(|(at, one)| issuance(one, (part * 200 + at + 1) as u64));
        node.must(&key("authority"), Payload::Issue(issuances.collect()));
        let installs: Vec<Transaction> =
            devices.iter().map(|one| node.sign(&key("operator"), install_meter(one))).collect();
        assert!(node.run(installs).iter().all(|outcome| outcome.is_accepted()));
    }
    (node, devices)
}

fn verification(criterion: &mut Criterion) {
    let mut node = Node::new();
    let transactions: Vec<Transaction> =
        (0..COUNT).map(|number| small(&mut node, &format!("device-{number}"), 1)).collect();
    let references: Vec<&Transaction> = transactions.iter().collect();
    let messages: Vec<Vec<u8>> = transactions.iter().map(|one| one.body.message()).collect();
    let mut group = criterion.benchmark_group("verification");
    group.throughput(Throughput::Elements(COUNT as u64)).measurement_time(Duration::from_secs(4));
    group.bench_function("bare ed25519 in batches of 256, one thread", |bencher| {
        bencher.iter(|| {
            for part in (0..COUNT).collect::<Vec<_>>().chunks(256) {
                let mut verifier = ed25519_zebra::batch::Verifier::new();
                for at in part {
                    let transaction = &transactions[*at];
                    let key = transaction.body.signer.as_bytes().try_into().unwrap();
                    let signature = transaction.signature.as_bytes().try_into().unwrap();
                    verifier.queue((key, signature, &messages[*at]));
                }
                verifier.verify(Counter(0)).unwrap();
            }
        });
    });
    group.bench_function("transactions, one thread", |bencher| {
        bencher
            .iter(|| assert!(verify_batch_on(black_box(&references), 1).iter().all(|good| *good)));
    });
    group.bench_function("transactions, all cores", |bencher| {
        bencher.iter(|| assert!(verify_batch(black_box(&references)).iter().all(|good| *good)));
    });
    group.finish();
}

/// Coefficients for the bare limit, where nobody cheats.
struct Counter(u64);

impl rand_core::TryRng for Counter {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.try_next_u64().map(|number| number as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Ok(self.0)
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in out.chunks_mut(8) {
            let bytes = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Counter {}

/// Time to execute `iterations` blocks that `make` fills, without the time to
/// make them.
fn timed(
    node: &mut Node,
    iterations: u64,
    mut make: impl FnMut(&mut Node) -> Vec<Transaction>,
) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..iterations {
        let transactions = make(node);
        let block = node.block(transactions);
        let begin = Instant::now();
        let executed = node.machine.execute(&block, &[true; COUNT]).unwrap();
        total += begin.elapsed();
        assert!(executed.entries.iter().all(|entry| entry.outcome.is_accepted()));
    }
    total
}

fn execution(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("execution");
    group.throughput(Throughput::Elements(COUNT as u64)).sample_size(20);
    group.measurement_time(Duration::from_secs(10));
    let (mut node, devices) = populated();
    let mut sequence = 0;
    group.bench_function("1,000 stream batches of 256 bytes, durable", |bencher| {
        bencher.iter_custom(|iterations| {
            timed(&mut node, iterations, |node| {
                sequence += 1;
                devices.iter().map(|device| small(node, device, sequence)).collect()
            })
        });
    });
    node.enact(Proposal::Grant {
        contract: name("meters"),
        role: name("reader"),
        member: name("maker"),
    });
    group.bench_function("1,000 actions on 1,000 assets, durable", |bencher| {
        bencher.iter_custom(|iterations| {
            timed(&mut node, iterations, |node| {
                let amount = [("amount", Value::Int(0))];
                let add = |device: &String| {
                    node.sign(&key("maker"), invoke("meters", "add", device, &amount))
                };
                devices.iter().map(add).collect()
            })
        });
    });
    group.finish();
}

fn state_root(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("state root");
    group.throughput(Throughput::Elements(COUNT as u64)).sample_size(20);
    for keys in [10_000, 100_000] {
        let directory = tempfile::tempdir().unwrap();
        let mut root = StateRoot::new(store(directory.path()), keys).unwrap();
        group.bench_function(format!("1,000 updates of {keys} keys"), |bencher| {
            bencher.iter(|| black_box(root.update(COUNT as u64).unwrap()));
        });
    }
    group.finish();
}

fn blocks(criterion: &mut Criterion) {
    let mut node = Node::new();
    let transactions: Vec<Transaction> =
        (0..COUNT).map(|number| small(&mut node, &format!("device-{number}"), 1)).collect();
    let mut group = criterion.benchmark_group("block");
    group.throughput(Throughput::Elements(COUNT as u64));
    group.bench_function("transactions_root of 1,000", |bencher| {
        bencher.iter(|| black_box(Block::transactions_root(&transactions)));
    });
    group.finish();
}

criterion_group!(benches, verification, execution, state_root, blocks);
criterion_main!(benches);
