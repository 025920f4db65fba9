//! What is old leaves some nodes while they run, die and lag; everything that
//! holds without it holds.

use commonware_runtime::{Runner as _, deterministic};
use hufu_consensus::testing::{Random, Seed};
use hufu_machine::ALWAYS_KEPT;
use hufu_proof::Height;

use super::cluster::{COUNT, Cluster, Remains, vote_key};

/// Lets everything leave that a node may let go, as far as its store lives; the
/// height from which on it keeps everything.
fn prune(cluster: &Cluster, number: u8) -> Height {
    let Some(ledger) = cluster.ledger(number) else { return Height::ZERO };
    let mut pruner = ledger.reader().pruner();
    if let Ok(kept_from) = pruner.keep_from(Height::MAX) {
        ledger.forget(kept_from);
        while let Ok(true) = pruner.step() {}
    }
    ledger.reader().kept_from()
}

#[test]
fn what_is_old_leaves_while_nodes_die_and_lag() {
    for seed in 500..502 {
        let _seed = Seed(seed);
        let directory = tempfile::tempdir().unwrap();
        deterministic::Runner::seeded(seed).start(|context| async move {
            let mut random = Random::new(seed);
            let remains = Remains::none(directory.path());
            let mut cluster = Cluster::start(context, seed, remains).await;
            for _ in 0..ALWAYS_KEPT / 64 {
                cluster.submit(&mut random, 15);
                cluster.grow(64).await;
            }
            for round in 0..6 {
                cluster.submit(&mut random, 15);
                cluster.grow(8).await;
                // Node 0 keeps everything.
                let victim = 1 + random.below(u64::from(COUNT) - 1) as u8;
                match round % 3 {
                    0 => {
                        // Lags while the others let go.
                        cluster.network.isolate(&[vote_key(victim)]);
                        cluster.sleep(random.below(4_000)).await;
                        (1..COUNT).filter(|one| *one != victim).for_each(|one| {
                            prune(&cluster, one);
                        });
                        cluster.network.heal(Default::default());
                    }
                    1 => {
                        // Its store fails between two removals.
                        cluster.disk(victim).die_after(random.below(12));
                        prune(&cluster, victim);
                        let disk = cluster.disk(victim);
                        cluster.wait("a write", |_| disk.is_dead()).await;
                        cluster.kill(victim).await;
                        if random.below(2) == 0 {
                            disk.tear(&mut random);
                        }
                        cluster.start_one(victim).await;
                    }
                    _ => {
                        prune(&cluster, victim);
                        cluster.kill(victim).await;
                        cluster.start_one(victim).await;
                    }
                }
            }
            for number in 1..COUNT {
                assert!(prune(&cluster, number) > Height::ZERO, "node {number} kept everything");
            }
            assert_eq!(cluster.ledger(0).unwrap().reader().kept_from(), Height::ZERO);
            cluster.settle(&mut random).await;
        });
    }
}
