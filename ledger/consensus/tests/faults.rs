//! Four validators in simulated time, with everything going wrong that may.
//!
//! Runs where commonware's deterministic runtime compiles: see the README.
#![cfg(hufu_simulation)]

mod common;

use std::time::Duration;

use common::cluster::Cluster;
use common::{Disk, Toy, key};
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic};
use hufu_consensus::testing::{Link, Random, Seed, SoftwareSigner};
use hufu_consensus::{Offence, Ordering as _, guard, start};

const ALL: [u8; 4] = [0, 1, 2, 3];
const SEEDS: std::ops::Range<u64> = 0..10;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn four_validators_agree() {
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(1).start(|context| async move {
        let disks = Cluster::fresh_disks(4);
        let mut cluster = Cluster::new(context, 1, directory.path(), disks, Link::default());
        cluster.start_all().await;
        cluster.reach(&ALL, 20, seconds(30), "at the start").await;
        cluster.check();
        let certificates = &cluster.disks[0].lock().unwrap().certificates;
        assert!(certificates.iter().flatten().count() > 10);
        let status = cluster.nodes[0].as_ref().unwrap().ordering.status();
        assert!(status.final_height.get() >= 20 && status.applied_height.get() >= 20);
        assert!(status.members.iter().all(|member| member.last_view.is_some()), "{status:?}");
        // Each node knows of itself that it votes, and that nothing went back.
        for (number, node) in cluster.nodes.iter().enumerate() {
            let status = node.as_ref().unwrap().ordering.status();
            let own: Vec<_> = status.members.iter().filter(|member| member.own).collect();
            assert_eq!(own.len(), 1);
            assert_eq!(own[0].member, format!("member-{number}"));
            assert!(own[0].last_view.is_some_and(|view| view + 3 > status.view), "{status:?}");
            assert_eq!(status.went_back, None);
        }
    });
}

/// What the node says of clocks: its own, and those of others.
fn clocks(cluster: &Cluster, number: usize) -> (i64, Vec<(String, i64)>) {
    let clocks = cluster.nodes[number].as_ref().unwrap().ordering.status().clocks();
    (clocks.own_ahead_ms, clocks.astray)
}

/// The clock of one validator is wrong, either way: it says so of itself, and
/// the others say it of it.
#[test]
fn a_clock_that_is_wrong_is_named_by_its_node_and_by_the_others() {
    for ahead_ms in [12_000_i64, -12_000, 1_100] {
        let directory = tempfile::tempdir().unwrap();
        deterministic::Runner::seeded(21).start(|context| async move {
            let disks = Cluster::fresh_disks(4);
            let link = Link { latency: Duration::from_millis(40), ..Link::default() };
            let mut cluster = Cluster::new(context, 21, directory.path(), disks, link);
            // Simulated time begins at 0, and no clock shows a time before that.
            cluster.context.sleep(seconds(60)).await;
            for number in ALL {
                let mut config = cluster.config(number);
                config.clock_ahead_ms = if number == 2 { ahead_ms } else { 0 };
                let context = cluster.context.child("node").with_attribute("number", number);
                cluster.start_with(number, context, config).await;
            }
            cluster.context.sleep(seconds(10)).await;
            let about = |found: i64| found.abs_diff(ahead_ms) <= 50;
            let (own, others) = clocks(&cluster, 2);
            assert!(about(own) && others.is_empty(), "{own} {others:?}");
            for number in [0, 1, 3] {
                let (own, others) = clocks(&cluster, number);
                assert!(own.abs() <= 50, "{own}");
                let [(member, ahead)] = &others[..] else { panic!("{others:?}") };
                assert!(member == "member-2" && about(*ahead), "{others:?}");
            }
            // One that is gone is not accused for ever.
            cluster.kill(2).await;
            cluster.context.sleep(seconds(40)).await;
            assert_eq!(clocks(&cluster, 0).1, []);
        });
    }
}

/// The whole data directory of a validator is put back from an older copy by
/// hand, without a hold, guard and all: it says that it went back, and votes in no
/// view in which it has voted before.
#[test]
fn a_validator_whose_data_went_back_says_so_and_contradicts_nothing() {
    // Messages that take long let it think that it has to vote in views that are
    // over, before it hears of a later one.
    for (seed, latency) in [(22, 5), (23, 150), (24, 300)] {
        went_back(seed, Link { latency: Duration::from_millis(latency), ..Link::default() });
    }
}

fn went_back(seed: u64, link: Link) {
    let _seed = Seed(seed);
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(seed).start(|context| async move {
        let disks = Cluster::fresh_disks(4);
        let mut cluster = Cluster::new(context, seed, directory.path(), disks, link);
        cluster.start_all().await;
        cluster.reach(&ALL, 20, seconds(300), "at the start").await;
        cluster.kill(3).await;
        // While an operator copies files, the others go on.
        cluster.context.sleep(seconds(20)).await;
        // As it was at the beginning.
        *cluster.disks[3].lock().unwrap() = Disk::default();
        let mut config = cluster.config(3);
        config.partition = "older".into();
        config.directory = directory.path().join("older");
        let context = cluster.context.child("older");
        cluster.start_with(3, context, config.clone()).await;
        let goal = cluster.heights().into_iter().max().unwrap() + 10;
        cluster.reach(&ALL, goal, seconds(300), "after it came back").await;
        let said =
            |cluster: &Cluster| cluster.nodes[3].as_ref().unwrap().ordering.status().went_back;
        let went_back = said(&cluster).expect("it voted for blocks that it did not know");
        assert_eq!(went_back.started.get(), 0);
        assert!((1..=goal).contains(&went_back.known.get()), "{went_back:?}");
        for disk in &cluster.disks {
            assert!(disk.lock().unwrap().evidence.is_empty(), "an honest node is accused");
        }
        // Started again, it has everything.
        cluster.kill(3).await;
        let context = cluster.context.child("again");
        cluster.start_with(3, context, config).await;
        cluster.reach(&ALL, goal + 20, seconds(300), "the second time").await;
        assert_eq!(said(&cluster), None);
        cluster.check();
    });
}

/// One run of random faults, at most one node down or cut off at a time.
fn random_faults(seed: u64) -> Vec<Toy> {
    let _seed = Seed(seed);
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(seed).start(|context| async move {
        let mut random = Random::new(seed);
        let disks = Cluster::fresh_disks(4);
        let mut cluster = Cluster::new(context, seed, directory.path(), disks, Link::default());
        cluster.pause = Duration::from_millis(50);
        cluster.start_all().await;
        for _ in 0..6 {
            let victim = random.below(4) as u8;
            let moment = Duration::from_millis(random.below(3000));
            match random.below(4) {
                0 => {
                    cluster.kill(victim).await;
                    cluster.context.sleep(moment).await;
                    cluster.start(victim).await;
                }
                1 => {
                    // Dies again while it comes back.
                    cluster.kill(victim).await;
                    cluster.start(victim).await;
                    cluster.context.sleep(Duration::from_millis(random.below(40))).await;
                    cluster.kill(victim).await;
                    cluster.context.sleep(moment).await;
                    cluster.start(victim).await;
                }
                2 => {
                    cluster.network.isolate(&[key(victim)]);
                    cluster.context.sleep(moment).await;
                    cluster.network.heal(Link::default());
                }
                _ => {
                    cluster.network.heal(Link {
                        latency: Duration::from_millis(random.below(80)),
                        jitter: Duration::from_millis(random.below(200)),
                        loss: random.below(80) as u32,
                        cut: false,
                    });
                    cluster.context.sleep(moment).await;
                    cluster.network.heal(Link::default());
                }
            }
            cluster.check();
            let pause = Duration::from_millis(random.below(1500));
            cluster.context.sleep(pause).await;
        }
        cluster.network.heal(Link::default());
        let goal = cluster.heights().into_iter().max().unwrap() + 5;
        cluster.reach(&ALL, goal, seconds(120), "after the faults").await;
        cluster.check();
        for disk in &cluster.disks {
            assert!(disk.lock().unwrap().evidence.is_empty(), "an honest node is accused");
        }
        let blocks = cluster.disks[0].lock().unwrap().blocks[..goal as usize].to_vec();
        blocks
    })
}

#[test]
fn no_fork_and_progress_under_random_faults() {
    for seed in SEEDS {
        random_faults(seed);
    }
}

#[test]
fn a_seed_replays() {
    assert_eq!(random_faults(SEEDS.start), random_faults(SEEDS.start));
}

#[test]
fn more_than_f_away_stops_the_chain_until_they_return() {
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(3).start(|context| async move {
        let disks = Cluster::fresh_disks(4);
        let mut cluster = Cluster::new(context, 3, directory.path(), disks, Link::default());
        cluster.start_all().await;
        cluster.reach(&ALL, 5, seconds(30), "at the start").await;
        cluster.kill(0).await;
        cluster.kill(2).await;
        cluster.context.sleep(seconds(2)).await;
        let before = cluster.heights();
        cluster.context.sleep(seconds(30)).await;
        assert_eq!(cluster.heights(), before, "two of four went on");
        let status = cluster.nodes[1].as_ref().unwrap().ordering.status();
        let last =
            |name: &str| status.members.iter().find(|one| one.member == name).unwrap().last_view;
        assert!(last("member-0") < last("member-3"), "{status:?}");
        cluster.start(2).await;
        let goal = before.iter().max().unwrap() + 5;
        cluster.reach(&[1, 2, 3], goal, seconds(120), "after one returned").await;
        cluster.start(0).await;
        cluster.reach(&ALL, goal, seconds(60), "after both returned").await;
        cluster.check();
    });
}

#[test]
fn half_and_half_do_not_fork() {
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(4).start(|context| async move {
        let disks = Cluster::fresh_disks(4);
        let mut cluster = Cluster::new(context, 4, directory.path(), disks, Link::default());
        cluster.start_all().await;
        cluster.reach(&ALL, 5, seconds(30), "at the start").await;
        cluster.network.isolate(&[key(0), key(1)]);
        cluster.context.sleep(seconds(1)).await;
        let before = cluster.heights().into_iter().max().unwrap();
        cluster.context.sleep(seconds(20)).await;
        assert_eq!(cluster.heights().into_iter().max().unwrap(), before);
        cluster.network.heal(Link::default());
        cluster.reach(&ALL, before + 5, seconds(60), "after healing").await;
        cluster.check();
    });
}

#[test]
fn power_failure_everywhere_loses_nothing() {
    for seed in 0..4 {
        let _seed = Seed(seed);
        let directory = tempfile::tempdir().unwrap();
        let disks = Cluster::fresh_disks(4);
        let run = |context: deterministic::Context, wait: u64, goal: u64| {
            let (disks, directory) = (disks.clone(), directory.path().to_owned());
            async move {
                let mut cluster = Cluster::new(context, seed, &directory, disks, Link::default());
                cluster.start_all().await;
                cluster.reach(&ALL, goal, seconds(60), "after power came back").await;
                cluster.context.sleep(Duration::from_millis(wait)).await;
                cluster.check();
            }
        };
        let runner = deterministic::Runner::seeded(seed);
        let (_, mut checkpoint) =
            runner.start_and_recover(|context| run(context, 137 * (seed + 1), 5));
        // What was not synced is gone now; what the ledgers applied is not.
        for _ in 0..2 {
            let goal = disks.iter().map(|disk| disk.lock().unwrap().blocks.len()).max().unwrap();
            let runner = deterministic::Runner::from(checkpoint);
            (_, checkpoint) =
                runner.start_and_recover(|context| run(context, 91 * (seed + 1), goal as u64 + 3));
        }
    }
}

#[test]
fn a_ledger_ahead_of_a_lost_journal_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(6).start(|context| async move {
        let disks = Cluster::fresh_disks(4);
        let mut cluster = Cluster::new(context, 6, directory.path(), disks, Link::default());
        cluster.start_all().await;
        cluster.reach(&ALL, 12, seconds(30), "at the start").await;
        cluster.kill(1).await;
        // The journal and the archive are gone; the ledger and the guard are not.
        let mut config = cluster.config(1);
        config.partition = "fresh".into();
        let context = cluster.context.child("fresh");
        cluster.start_with(1, context, config).await;
        let goal = cluster.heights().into_iter().max().unwrap() + 10;
        cluster.reach(&ALL, goal, seconds(60), "after the loss").await;
        cluster.check();
        for disk in &cluster.disks {
            assert!(disk.lock().unwrap().evidence.is_empty(), "the guard did not hold");
        }
    });
}

#[test]
fn a_ledger_from_a_snapshot_starts_at_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(7).start(|context| async move {
        let disks = Cluster::fresh_disks(4);
        let mut cluster = Cluster::new(context, 7, directory.path(), disks, Link::default());
        for number in [0, 1, 2] {
            cluster.start(number).await;
        }
        cluster.reach(&[0, 1, 2], 15, seconds(60), "with three").await;
        // The fourth gets another member's ledger up to a certified height.
        let floor = {
            let donor = cluster.disks[0].lock().unwrap();
            let mut disk = cluster.disks[3].lock().unwrap();
            let height = donor.certificates.iter().rposition(Option::is_some).unwrap() + 1;
            disk.blocks = donor.blocks[..height].to_vec();
            disk.certificates = donor.certificates[..height].to_vec();
            disk.certificates[height - 1].clone().unwrap()
        };
        let mut config = cluster.config(3);
        config.floor = Some(floor);
        let context = cluster.context.child("late");
        cluster.start_with(3, context, config).await;
        let goal = cluster.heights().into_iter().max().unwrap() + 10;
        cluster.reach(&ALL, goal, seconds(60), "with the fourth").await;
        cluster.check();
    });
}

/// A member's machine is lost while it votes, and a new one begins from a backup
/// that knows nothing of those votes.
#[test]
fn a_restored_validator_does_not_contradict_what_it_voted_before() {
    for seed in 0..3 {
        let _seed = Seed(seed);
        let directory = tempfile::tempdir().unwrap();
        deterministic::Runner::seeded(seed).start(|context| async move {
            let mut random = Random::new(seed);
            let disks = Cluster::fresh_disks(4);
            let mut cluster = Cluster::new(context, seed, directory.path(), disks, Link::default());
            cluster.start_all().await;
            cluster.reach(&ALL, 10, seconds(30), "at the start").await;
            // Votes that the others have not heard of yet.
            cluster.network.isolate(&[key(3)]);
            cluster.context.sleep(Duration::from_millis(random.below(3000))).await;
            cluster.kill(3).await;
            cluster.network.heal(Link::default());
            *cluster.disks[3].lock().unwrap() = Disk::default();
            let mut config = cluster.config(3);
            config.partition = "restored".into();
            config.directory = directory.path().join("restored");
            guard::hold(&config.directory, cluster.context.current().into()).unwrap();
            let context = cluster.context.child("restored");
            cluster.start_with(3, context, config).await;
            let goal = cluster.heights().into_iter().max().unwrap() + 10;
            cluster.reach(&ALL, goal, seconds(20), "while it is held").await;
            let waits = |cluster: &Cluster| {
                cluster.nodes[3].as_ref().unwrap().ordering.status().restored_ms.is_some()
            };
            assert!(waits(&cluster));
            let votes = |cluster: &Cluster| {
                let members = cluster.nodes[0].as_ref().unwrap().ordering.status().members;
                members.iter().find(|one| one.member == "member-3").unwrap().last_view
            };
            let silent = votes(&cluster);
            cluster.context.sleep(seconds(5)).await;
            assert!(waits(&cluster) && votes(&cluster) == silent, "it voted while it was held");
            cluster.context.sleep(guard::MARGIN).await;
            assert!(!waits(&cluster), "the ledger has moved on");
            // Its vote is needed now.
            cluster.kill(0).await;
            let goal = cluster.heights().into_iter().max().unwrap() + 10;
            cluster.reach(&[1, 2, 3], goal, seconds(60), "with its votes").await;
            cluster.check();
            for disk in &cluster.disks {
                assert!(disk.lock().unwrap().evidence.is_empty(), "an honest node is accused");
            }
        });
    }
}

/// A member runs its validator twice, with a copy of the key and a guard each:
/// it proposes and votes for two blocks in one view.
#[test]
fn a_member_that_contradicts_itself_is_named_and_the_others_go_on() {
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(8).start(|context| async move {
        let disks = Cluster::fresh_disks(4);
        let mut cluster = Cluster::new(context, 8, directory.path(), disks, Link::default());
        for number in [0, 1, 2] {
            cluster.start(number).await;
        }
        let mut twins = Vec::new();
        for (name, salt) in [("one", 98), ("other", 99)] {
            let mut config = cluster.config(3);
            config.partition = name.into();
            config.directory = directory.path().join(name);
            let mut ledger = cluster.detached_ledger(3);
            std::sync::Arc::get_mut(&mut ledger).unwrap().salt = salt;
            let (twin, _gossip) = start(
                cluster.context.child("twin").with_attribute("name", name),
                config,
                // Else their equal votes would differ, and they be cut off
                // before they contradict each other.
                SoftwareSigner::repeatable(3),
                ledger,
                Toy::genesis(),
                cluster.network.twin_links(&key(3)),
            )
            .await
            .unwrap();
            twins.push(twin);
        }
        cluster.reach(&[0, 1, 2], 20, seconds(120), "beside the twins").await;
        cluster.check();
        let mut offences = 0;
        for (number, disk) in cluster.disks.iter().enumerate().take(3) {
            let evidence = disk.lock().unwrap().evidence.clone();
            assert!(evidence.iter().all(|one| one.member == "member-3"), "{evidence:?}");
            offences +=
                evidence.iter().filter(|one| one.offence == Offence::ConflictingNotarize).count();
            let log = directory.path().join(format!("node-{number}")).join("evidence.jsonl");
            let lines = std::fs::read_to_string(log).unwrap_or_default();
            assert_eq!(lines.lines().count(), evidence.len());
        }
        assert!(offences > 0, "nobody noticed");
        for twin in twins {
            twin.stop();
        }
    });
}

#[test]
fn messages_outside_consensus_arrive() {
    use hufu_consensus::{Error, Recipient};
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(9).start(|context| async move {
        let disks = Cluster::fresh_disks(4);
        let mut cluster = Cluster::new(context, 9, directory.path(), disks, Link::default());
        cluster.start_all().await;
        let number = |seed: u8| {
            let keys = common::sorted_keys(4);
            keys.iter().position(|one| one[..] == *key(seed).as_bytes()).unwrap() as u16
        };
        let gossip = &cluster.nodes[0].as_ref().unwrap().gossip;
        assert!(gossip.send(Recipient::All, b"to all"[..].into()).unwrap());
        assert!(gossip.send(Recipient::Validator(number(2)), b"to one"[..].into()).unwrap());
        let large = vec![0; cluster.config(0).max_gossip + 1];
        assert!(matches!(gossip.send(Recipient::All, large.into()), Err(Error::Config { .. })));
        let from = number(0);
        let receiver = &mut cluster.gossip[1].as_mut().unwrap();
        assert_eq!(receiver.next().await.unwrap(), (from, b"to all"[..].into()));
        let receiver = &mut cluster.gossip[2].as_mut().unwrap();
        assert_eq!(receiver.next().await.unwrap(), (from, b"to all"[..].into()));
        assert_eq!(receiver.next().await.unwrap(), (from, b"to one"[..].into()));
    });
}

/// One that sends much to a single node is heard by the others all the same, and
/// one that was never heard is not taken for one that is there.
#[test]
fn silence_is_told_from_other_conversations() {
    use hufu_consensus::Recipient;
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(10).start(|context| async move {
        let disks = Cluster::fresh_disks(4);
        let mut cluster = Cluster::new(context, 10, directory.path(), disks, Link::default());
        let started = cluster.context.current();
        for number in 0..3 {
            cluster.start(number).await;
        }
        let member = |seed: u8| {
            let keys = common::sorted_keys(4);
            keys.iter().position(|one| one[..] == *key(seed).as_bytes()).unwrap()
        };
        let to = Recipient::Validator(member(1) as u16);
        for _ in 0..20 {
            let talkative = &cluster.nodes[0].as_ref().unwrap().gossip;
            assert!(talkative.send(to, b"to one"[..].into()).unwrap());
            cluster.context.sleep(Duration::from_millis(500)).await;
        }
        let heard = cluster.nodes[2].as_ref().unwrap().ordering.status().members;
        let recently = cluster.context.current() - Duration::from_secs(3);
        assert!(heard[member(0)].last_heard > recently, "{heard:?}");
        let absent = heard[member(3)].last_heard;
        assert!(absent < started + Duration::from_secs(1), "{heard:?}");
    });
}
