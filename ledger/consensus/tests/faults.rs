//! Four validators in simulated time, with everything going wrong that may.
//!
//! Runs where commonware's deterministic runtime compiles: see the README.
#![cfg(hufu_simulation)]

mod common;

use std::time::Duration;

use commonware_runtime::{Clock as _, Runner as _, deterministic};
use common::cluster::Cluster;
use hufu_consensus::testing::Link;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn four_validators_agree() {
    let directory = tempfile::tempdir().unwrap();
    deterministic::Runner::seeded(1).start(|context| async move {
        let disks = Cluster::fresh_disks(4);
        let mut cluster =
            Cluster::new(context, 1, directory.path(), disks, Link::default());
        cluster.start_all().await;
        cluster.reach(&[0, 1, 2, 3], 20, seconds(30), "at the start").await;
        cluster.check();
        assert!(cluster.disks[0].lock().unwrap().certificates.iter().flatten().count() > 0);
    });
}
