//! Certificates a second through the parts of issuance, against the bare
//! signature on the same token in the same run.
//!
//! `cargo bench -p hufu-issuance --bench issue`

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::clients::quick_request;
use common::{World, registration_authority};
use criterion::{BatchSize, Criterion, Throughput};
use futures::stream::{self, StreamExt};
use hufu_issuance::*;
use hufu_keys::testing::rerun;

/// Certificates in one round.
const ROUND: usize = 2_000;
/// Rounds; the best counts, as the machine is shared.
const ROUNDS: usize = 4;
/// Requests at work at once.
const AT_ONCE: usize = 256;

fn main() {
    rerun(|site| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let world = runtime.block_on(World::new(site));
        let _inside = runtime.enter();
        let issuance = world.start();

        let message = vec![7; 420];
        let bare = best(|| {
            runtime.block_on(async {
                let started = Instant::now();
                stream::iter(0..ROUND)
                    .map(|_| world.issuer.signer().sign(message.clone()))
                    .buffer_unordered(AT_ONCE)
                    .for_each(async |signature| {
                        signature.unwrap();
                    })
                    .await;
                started.elapsed()
            })
        });
        println!("signatures through the pool:             {bare:>8.0}/s");
        let issued = best(|| {
            let requests: Vec<CertificationRequest> = (0..ROUND)
                .map(|number| quick_request(&format!("SN-{number}")))
                .map(|csr| CertificationRequest::from_der(&csr).unwrap())
                .collect();
            runtime.block_on(async {
                let requester = registration_authority();
                let started = Instant::now();
                stream::iter(&requests)
                    .map(|request| issuance.enrol(request, "idevid", &requester, None))
                    .buffer_unordered(AT_ONCE)
                    .for_each(async |issued| {
                        issued.unwrap();
                    })
                    .await;
                started.elapsed()
            })
        });
        println!(
            "certificates, linted, durable, instant ledger: {issued:>8.0}/s, {:.2} of the bare signature",
            issued / bare
        );

        let mut criterion = Criterion::default().configure_from_args();
        let mut group = criterion.benchmark_group("issue");
        group.throughput(Throughput::Elements(1));
        let csr = quick_request("SN-1");
        group.bench_function("parse and prove a request (Ed25519)", |bencher| {
            bencher.iter(|| CertificationRequest::from_der(&csr).unwrap());
        });
        group.bench_function("one certificate, alone", |bencher| {
            bencher.iter_batched(
                || CertificationRequest::from_der(&quick_request("SN-1")).unwrap(),
                |request| {
                    runtime
                        .block_on(issuance.enrol(
                            &request,
                            "idevid",
                            &registration_authority(),
                            None,
                        ))
                        .unwrap()
                },
                BatchSize::SmallInput,
            );
        });
        group.finish();
    });
}

fn best(mut round: impl FnMut() -> Duration) -> f64 {
    let shortest = (0..ROUNDS).map(|_| round()).min().unwrap_or_default();
    ROUND as f64 / shortest.as_secs_f64()
}
