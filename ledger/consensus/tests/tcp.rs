//! Four validators over real TCP on loopback, two of them known by name, in real
//! time, with real files.

mod common;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering as Order};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Disk, Toy, ToyLedger, config, sorted_keys, validators};
use commonware_runtime::{Clock as _, Metrics as _, Runner as _, Supervisor as _, tokio};
use hufu_consensus::testing::SoftwareSigner;
use hufu_consensus::{
    NetworkConfig, OrderedBlock as _, Ordering as _, Peer, PeerAddress, start_tcp,
};

const COUNT: u8 = 4;

fn free_addresses() -> Vec<SocketAddr> {
    let listeners: Vec<_> = (0..COUNT).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|one| one.local_addr().unwrap()).collect()
}

/// Runs one node until `stop`, and returns its status and its metrics.
fn run(
    directory: &Path,
    number: u8,
    addresses: &[SocketAddr],
    disk: Arc<Mutex<Disk>>,
    stop: &AtomicBool,
) -> (hufu_consensus::Status, String) {
    let config =
        hufu_consensus::Config { partition: "ordering".into(), ..config(directory, number, COUNT) };
    let storage = config.directory.join("storage");
    let network = NetworkConfig {
        listen: addresses[number as usize],
        peers: validators(COUNT)
            .into_iter()
            .zip(addresses)
            .enumerate()
            .map(|(place, (validator, &address))| {
                let named = PeerAddress::Name { host: "localhost".into(), port: address.port() };
                let address = if place < 2 { named } else { PeerAddress::Socket(address) };
                Peer { key: validator.key, address: Some(address) }
            })
            .collect(),
        only_known_addresses: false,
    };
    let settings = tokio::Config::new().with_worker_threads(2).with_storage_directory(storage);
    tokio::Runner::new(settings).start(|context| async move {
        let ledger = ToyLedger {
            clock: context.child("ledger"),
            disk,
            pause: Duration::ZERO,
            salt: u64::from(number),
        };
        let (node, _gossip) = start_tcp(
            context.child("node"),
            config,
            network,
            SoftwareSigner::shared(number),
            Arc::new(ledger),
            Toy::genesis(),
        )
        .await
        .unwrap();
        while !stop.load(Order::Relaxed) {
            context.sleep(Duration::from_millis(20)).await;
        }
        let status = node.ordering.status();
        let last = node.ordering.block(status.applied_height).await.unwrap();
        assert_eq!(last.height(), status.applied_height);
        let metrics = context.encode();
        node.stop();
        (status, metrics)
    })
}

/// Runs the nodes until each has `height` blocks.
fn run_all(
    directory: &Path,
    disks: &[Arc<Mutex<Disk>>],
    height: usize,
) -> Vec<hufu_consensus::Status> {
    let addresses = free_addresses();
    let stop = AtomicBool::new(false);
    let stop = &stop;
    let started = Instant::now();
    std::thread::scope(|scope| {
        let nodes: Vec<_> = (0..COUNT)
            .map(|number| {
                let (disk, addresses) = (disks[number as usize].clone(), &addresses);
                scope.spawn(move || run(directory, number, addresses, disk, stop))
            })
            .collect();
        let reached = || disks.iter().all(|disk| disk.lock().unwrap().blocks.len() >= height);
        while !reached() && started.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let reached = reached();
        println!("{height} blocks after {:?}", started.elapsed());
        stop.store(true, Order::Relaxed);
        let mut found = Vec::new();
        for node in nodes {
            let (status, metrics) = node.join().unwrap();
            assert!(reached, "height {height} is not reached: {status:?}");
            assert!(status.final_height.get() >= height as u64);
            assert!(status.members.iter().filter(|one| one.last_view.is_some()).count() >= 3);
            assert!(metrics.contains("finalized_height"), "{metrics}");
            found.push(status);
        }
        found
    })
}

#[test]
fn four_validators_agree_over_tcp_and_resume() {
    let directory = tempfile::tempdir().unwrap();
    let disks: Vec<Arc<Mutex<Disk>>> = (0..COUNT).map(|_| Arc::default()).collect();
    run_all(directory.path(), &disks, 50);
    let before = disks.iter().map(|disk| disk.lock().unwrap().blocks.len()).max().unwrap();
    // One ledger loses what it executed last, as if it had been restored from
    // an older copy: the archive gives it back.
    {
        let mut disk = disks[2].lock().unwrap();
        disk.blocks.truncate(30);
        disk.certificates.truncate(30);
    }
    let found = run_all(directory.path(), &disks, before + 20);
    let went_back: Vec<_> = found.into_iter().map(|status| status.went_back).collect();
    assert!(went_back[2].is_some_and(|found| found.started.get() == 30 && found.known.get() > 30));
    assert_eq!([went_back[0], went_back[1], went_back[3]], [None; 3]);

    let disks: Vec<_> = disks.iter().map(|disk| disk.lock().unwrap()).collect();
    let shortest = disks.iter().map(|disk| disk.blocks.len()).min().unwrap();
    for disk in &disks {
        assert_eq!(disk.blocks[..shortest], disks[0].blocks[..shortest]);
    }
    let namespace = hufu_proof::finality::vote_namespace(&common::CHAIN);
    let mut proved = 0;
    for (block, certificate) in disks[1].blocks.iter().zip(&disks[1].certificates) {
        let Some(certificate) = certificate else { continue };
        assert_eq!(certificate.block, block.digest());
        certificate.verify_votes(&sorted_keys(COUNT), &namespace).unwrap();
        proved += 1;
    }
    assert!(proved > shortest / 2, "only {proved} of {shortest} blocks have a certificate");
}
