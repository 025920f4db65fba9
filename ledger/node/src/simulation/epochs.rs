//! Epochs end and begin while there is traffic and nodes die; what holds in
//! every run is said in the module above.

use std::collections::{BTreeMap, BTreeSet};

use commonware_runtime::{Runner as _, deterministic};
use hufu_consensus::testing::{Random, Seed, SoftwareSigner};
use hufu_proof::genesis::{Jurisdictions, Member};

use super::cluster::{Cluster, Remains, next_seed, vote_key};
use super::traffic::{member, name, statement_public};

/// A member with the vote key of `votes` and the statement key of `states`.
fn changed(number: u8, votes: u8, states: &str) -> Member {
    Member {
        name: name(&member(number)),
        title: BTreeMap::from([("en".to_owned(), member(number))]),
        kinds: BTreeSet::from([name("authority")]),
        jurisdictions: Jurisdictions::None,
        names: BTreeSet::new(),
        vote_key: hufu_proof::Signer::public_key(&SoftwareSigner::new(votes)),
        statement_key: statement_public(states),
        node_key: None,
    }
}

pub fn run(seed: u64, scenario: impl AsyncFnOnce(&mut Cluster, &mut Random)) {
    let _seed = Seed(seed);
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(seed).start(|context| async move {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::start(context, seed, Remains::none(directory.path())).await;
        cluster.submit(&mut random, 15);
        scenario(&mut cluster, &mut random).await;
        cluster.settle(&mut random).await;
    });
}

/// The nodes that vote make a quorum only with `number`: the chain goes on.
pub async fn votes(cluster: &mut Cluster, number: u8, without: u8) {
    cluster.grow(1).await;
    cluster.kill(without).await;
    cluster.grow(4).await;
    assert!(cluster.ledger(number).is_some());
    cluster.start_one(without).await;
}

#[test]
fn a_member_whose_token_is_lost_votes_again_with_a_new_one() {
    for seed in 500..512 {
        run(seed, async |cluster, random| {
            cluster.sleep(random.below(800)).await;
            cluster.kill(2).await;
            cluster.submit(random, 15);
            cluster.change(changed(2, next_seed(2), "member-2 again"), [0, 1, 3]).await;
            cluster.submit(random, 15);
            // All that are left are needed; one dies about when the epoch ends.
            cluster.sleep(random.below(600)).await;
            let victim = [0, 1, 3][random.below(3) as usize];
            cluster.kill(victim).await;
            cluster.submit(random, 15);
            cluster.sleep(random.below(1500)).await;
            cluster.start_one(victim).await;
            cluster.enter(1).await;
            // On the old disk, which knows nothing of it.
            cluster.remains.seeds[2] = next_seed(2);
            cluster.start_one(2).await;
            cluster.enter(1).await;
            votes(cluster, 2, 1).await;
        });
    }
}

#[test]
fn the_old_token_has_no_vote() {
    for seed in 520..523 {
        run(seed, async |cluster, random| {
            cluster.sleep(random.below(800)).await;
            cluster.change(changed(2, next_seed(2), "member-2 again"), [0, 1, 3]).await;
            cluster.enter(1).await;
            // Its node still runs with the old key and follows.
            cluster.grow(2).await;
            cluster.kill(1).await;
            cluster.sleep(2_000).await;
            let heights = cluster.heights();
            cluster.submit(random, 5);
            cluster.sleep(20_000).await;
            assert_eq!(cluster.heights(), heights, "a key that is replaced has a vote");
            cluster.kill(2).await;
            cluster.remains.seeds[2] = next_seed(2);
            cluster.start_one(2).await;
            cluster.grow(4).await;
            cluster.start_one(1).await;
        });
    }
}

#[test]
fn a_new_member_begins_with_nothing_and_votes() {
    for seed in 530..538 {
        run(seed, async |cluster, random| {
            // Behind by an epoch when it comes back.
            cluster.kill(3).await;
            cluster.change(changed(4, 4, &member(4)), [0, 1, 2]).await;
            cluster.submit(random, 15);
            cluster.enter(1).await;
            if seed % 2 == 0 {
                cluster.start_one(4).await;
                cluster.submit(random, 15);
                cluster.enter(1).await;
                cluster.grow(3).await;
                cluster.start_one(3).await;
            } else {
                cluster.start_one(3).await;
                cluster.enter(1).await;
                cluster.grow(3).await;
                cluster.start_one(4).await;
            }
            cluster.enter(1).await;
            votes(cluster, 4, 0).await;
        });
    }
}

#[test]
fn a_node_that_slept_through_epochs_finds_its_way() {
    for seed in 540..546 {
        run(seed, async |cluster, random| {
            cluster.grow(1 + random.below(5)).await;
            if seed % 2 == 0 {
                cluster.kill(3).await;
            } else {
                cluster.network.isolate(&[vote_key(3)]);
            }
            for (epoch, states) in (1..).zip(["second", "third", "fourth"]) {
                cluster.submit(random, 10);
                cluster.change(changed(3, 3, states), [0, 1, 2]).await;
                cluster.enter_without(epoch, Some(3)).await;
            }
            cluster.submit(random, 10);
            if seed % 2 == 0 {
                cluster.start_one(3).await;
            } else {
                cluster.network.heal(hufu_consensus::testing::Link::default());
            }
            cluster.enter(3).await;
            votes(cluster, 3, 2).await;
        });
    }
}

#[test]
fn power_fails_everywhere_about_when_an_epoch_ends() {
    for seed in 550..558 {
        let _seed = Seed(seed);
        let directory = tempfile::tempdir().unwrap();
        let mut random = Random::new(seed);
        let mut remains = Remains::none(directory.path());
        let mut runner = deterministic::Runner::seeded(seed);
        for pass in 0..3 {
            let luck = &mut random;
            let (left, checkpoint) = runner.start_and_recover(|context| async move {
                let mut cluster = Cluster::start(context, seed, remains).await;
                cluster.submit(luck, 15);
                match pass {
                    0 => {
                        cluster.change(changed(1, 1, "second"), [0, 2, 3]).await;
                        cluster.submit(luck, 15);
                        cluster.sleep(luck.below(900)).await;
                    }
                    1 => cluster.sleep(luck.below(3_000)).await,
                    _ => {
                        cluster.enter(1).await;
                        cluster.settle(luck).await;
                    }
                }
                cluster.into_remains()
            });
            remains = left;
            for disk in &remains.disks {
                if pass < 2 {
                    disk.tear(&mut random);
                }
            }
            runner = deterministic::Runner::from(checkpoint);
        }
    }
}
