//! Whole nodes in simulated time: ordering, mempool, state machine and store,
//! with everything going wrong that may.
//!
//! What holds in every run:
//! - **No fork.** All nodes have the same headers.
//! - **Equal state roots**, and log roots, at every height.
//! - **Nothing acknowledged is lost.** What a node told a sender is on its own
//!   disk whenever it is started, and in every node's log in the end, with the
//!   same place and outcome.
//! - **Once.** A transaction that was sent to several nodes, or again after its
//!   node died, takes effect once; of two that exclude each other, one does.
//! - **Answers.** What was sent to a node that lives is answered; with more
//!   than f nodes away nothing is, until they return.
//! - **Receipts** verify against the genesis file alone. Nobody is accused.
//!
//! # What is real, and what is repeatable
//!
//! Time, network and the engine's journal are simulated, and a seed decides
//! their course. The store and the double-sign guard are real files. They do
//! not disturb that course: the engine of the store flushes and compacts on
//! threads of its own, which changes where a row is and not what a read finds;
//! signatures are verified on threads that are joined before the next step; and
//! the order of a hash map decides nothing. `a_seed_replays` holds this to the
//! digest of every step of the runtime.
//!
//! A node dies in four ways: its tasks are dropped at any moment (`kill -9`);
//! its store fails before or after one of its writes; what the store had
//! written and not synced is torn, too, as a power failure leaves it; or the
//! power fails everywhere, which takes what the engine's journals had not
//! synced as well.

mod cluster;
mod disk;
mod epochs;
mod growth;
mod standing;
mod traffic;

use std::time::Duration;

use commonware_runtime::{Runner as _, deterministic};
use hufu_consensus::testing::{Link, Random, Seed};
use hufu_proof::{Digest, Outcome};

use crate::error::Error;
use crate::shared::Admission;
use cluster::{COUNT, Cluster, Remains, vote_key};
use traffic::{by_stranger, issue};

/// What may happen to one node, or to the network.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Dies at any moment.
    Death,
    /// Dies again while it comes back.
    DeathWhileReturning,
    /// Its store fails between two steps.
    DeathWhileWriting,
    /// One of these, and its last writes are torn.
    TornWrite,
    /// Hears nobody and is heard by nobody.
    CutOff,
    /// All links are slow and lose messages.
    BadLinks,
}

/// What is left of a run: the last header and the course of the runtime.
type Trace = (Digest, String);

/// One run with five faults of these kinds, and how many writes were torn.
fn run(seed: u64, faults: &[Fault]) -> (Trace, u32) {
    let _seed = Seed(seed);
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(seed).start(|context| async move {
        let mut random = Random::new(seed);
        let mut torn = 0;
        let mut cluster = Cluster::start(context, seed, Remains::none(directory.path())).await;
        for _ in 0..5 {
            cluster.submit(&mut random, 15);
            cluster.sleep(random.below(800)).await;
            let fault = faults[random.below(faults.len() as u64) as usize];
            torn += u32::from(suffer(&mut cluster, fault, &mut random).await);
        }
        let last = cluster.settle(&mut random).await;
        ((last, cluster.context.auditor().state()), torn)
    })
}

/// Lets one fault happen and end; whether it tore a write.
async fn suffer(cluster: &mut Cluster, fault: Fault, random: &mut Random) -> bool {
    let victim = random.below(u64::from(COUNT)) as u8;
    let mut torn = false;
    match fault {
        Fault::Death => cluster.kill(victim).await,
        Fault::DeathWhileReturning => {
            cluster.kill(victim).await;
            cluster.start_one(victim).await;
            cluster.sleep(random.below(40)).await;
            cluster.kill(victim).await;
        }
        Fault::DeathWhileWriting => cluster.kill_writing(victim, random.below(12)).await,
        Fault::TornWrite => {
            if random.below(4) == 0 {
                cluster.kill(victim).await;
            } else {
                cluster.kill_writing(victim, random.below(12)).await;
            }
            torn = cluster.disk(victim).tear(random);
        }
        Fault::CutOff => cluster.network.isolate(&[vote_key(victim)]),
        Fault::BadLinks => cluster.network.heal(Link {
            latency: Duration::from_millis(random.below(80)),
            jitter: Duration::from_millis(random.below(200)),
            loss: random.below(80) as u32,
            cut: false,
        }),
    }
    cluster.submit(random, 15);
    cluster.sleep(random.below(2000)).await;
    match fault {
        Fault::CutOff | Fault::BadLinks => cluster.network.heal(Link::default()),
        _ => cluster.start_one(victim).await,
    }
    torn
}

#[test]
fn killed_at_random_points_nothing_is_lost() {
    for seed in 0..24 {
        run(seed, &[Fault::Death, Fault::DeathWhileReturning, Fault::DeathWhileWriting]);
    }
}

#[test]
fn torn_writes_lose_nothing_that_was_acknowledged() {
    let torn: u32 = (100..124).map(|seed| run(seed, &[Fault::TornWrite]).1).sum();
    assert!(torn > 48, "only {torn} writes were torn");
}

#[test]
fn nodes_cut_off_or_badly_connected_agree() {
    for seed in 200..224 {
        run(seed, &[Fault::CutOff, Fault::BadLinks, Fault::Death]);
    }
}

#[test]
fn a_seed_replays() {
    let faults = [
        Fault::Death,
        Fault::DeathWhileReturning,
        Fault::DeathWhileWriting,
        Fault::TornWrite,
        Fault::CutOff,
        Fault::BadLinks,
    ];
    assert_eq!(run(300, &faults), run(300, &faults));
}

#[test]
fn power_failure_everywhere_loses_nothing() {
    let mut torn = 0;
    for seed in 400..412 {
        let _seed = Seed(seed);
        let directory = tempfile::tempdir().unwrap();
        let mut random = Random::new(seed);
        let mut remains = Remains::none(directory.path());
        let mut runner = deterministic::Runner::seeded(seed);
        for last in [false, false, true] {
            let luck = &mut random;
            let (left, checkpoint) = runner.start_and_recover(|context| async move {
                let mut cluster = Cluster::start(context, seed, remains).await;
                cluster.submit(luck, 20);
                cluster.sleep(luck.below(1500)).await;
                cluster.submit(luck, 20);
                cluster.sleep(luck.below(500)).await;
                if last {
                    cluster.settle(luck).await;
                } else {
                    // One of them while it writes.
                    let disk = cluster.disk(luck.below(u64::from(COUNT)) as u8);
                    disk.die_after(luck.below(12));
                    cluster.wait("a write", |_| disk.is_dead()).await;
                }
                cluster.into_remains()
            });
            remains = left;
            for disk in &remains.disks {
                torn += u32::from(!last && disk.tear(&mut random));
            }
            runner = deterministic::Runner::from(checkpoint);
        }
    }
    assert!(torn > 24, "only {torn} writes were torn");
}

#[test]
fn with_more_than_f_away_nothing_is_answered_until_they_return() {
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(1).start(|context| async move {
        let mut random = Random::new(1);
        let mut cluster = Cluster::start(context, 1, Remains::none(directory.path())).await;
        cluster.submit(&mut random, 20);
        cluster.grow(3).await;
        cluster.kill(0).await;
        cluster.kill(2).await;
        // What was voted on before may yet become final.
        cluster.sleep(2_000).await;
        let (heights, answers) = (cluster.heights(), cluster.remains.traffic.answers());
        cluster.submit(&mut random, 20);
        cluster.sleep(30_000).await;
        assert_eq!(cluster.heights(), heights, "two of four went on");
        assert_eq!(cluster.remains.traffic.answers(), answers, "two of four answered");
        cluster.start_one(2).await;
        cluster.wait("an answer", |cluster| cluster.remains.traffic.is_answered()).await;
        assert!(cluster.remains.traffic.answers() > answers);
        cluster.start_one(0).await;
        cluster.settle(&mut random).await;
    });
}

/// One with a bad signature and one of another consortium are refused where
/// they are sent, and the chain goes on.
#[test]
fn what_may_not_be_in_a_block_is_refused_at_admission() {
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(2).start(|context| async move {
        let mut cluster = Cluster::start(context, 2, Remains::none(directory.path())).await;
        let chain = cluster.genesis.digest();
        let good = issue(chain, 0, "device");
        let mut forged = issue(chain, 1, "forged");
        forged.body.nonce = 77;
        let foreign = issue(Digest([9; 32]), 2, "foreign");
        let ledger = cluster.ledger(1).unwrap().clone();
        let mut answers = ledger.enqueue(vec![forged, good.clone(), foreign]).into_iter();
        assert!(matches!(answers.next(), Some(Err(Error::Refused(Outcome::Signature)))));
        let Some(Ok(Admission::Waiting(receiver))) = answers.next() else {
            panic!("a good transaction is refused")
        };
        assert!(matches!(answers.next(), Some(Err(Error::Refused(Outcome::WrongChain)))));
        let committed = receiver.await.unwrap().unwrap();
        assert_eq!(committed.entry.outcome, Outcome::Accepted);
        // Signed by a key that nobody knows: it costs nobody anything.
        // By now every node has executed what came before.
        cluster.sleep(5_000).await;
        let sizes: Vec<u64> = cluster.log_sizes();
        let stranger = by_stranger(chain);
        let answer = ledger.enqueue(vec![stranger.clone()]).remove(0);
        assert!(matches!(answer, Err(Error::Refused(Outcome::UnknownSigner))));
        let shared = &ledger.shared;
        shared.admit(vec![stranger.clone()]);
        cluster.sleep(5_000).await;
        assert_eq!(shared.entry(&stranger.id()).unwrap(), None);
        assert_eq!(cluster.log_sizes(), sizes);
        // Sent again, anywhere: the first answer again.
        let again = cluster.ledger(1).unwrap().enqueue(vec![good]).remove(0);
        assert!(matches!(again, Ok(Admission::Done(first)) if first == committed));
    });
}
