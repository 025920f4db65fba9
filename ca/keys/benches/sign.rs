//! Signatures through the pool against bare `C_Sign`, on the same token, in
//! the same run. The message is as long as the TBS of a device certificate.
//!
//! `cargo bench -p hufu-keys --bench sign`

use std::{
    collections::VecDeque,
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use cryptoki::{
    context::Pkcs11,
    mechanism::Mechanism,
    object::{Attribute, ObjectClass},
};
use hufu_keys::{Custody, Key, KeyAlgorithm, SOFTHSM2_MODULE, TokenConfig, testing::rerun};

/// Bytes of the TBS of an 802.1AR certificate with a P-256 key.
const TBS_LEN: usize = 400;
/// Signatures of one round of the ratio.
const ROUND: usize = 4_000;
/// Rounds; the best one counts, as the machine is shared.
const ROUNDS: usize = 5;

/// Requests under way at once in the asynchronous case.
const IN_FLIGHT: usize = 64;

fn main() {
    rerun(|site| {
        site.create_token("bench");
        let workers = thread::available_parallelism().map_or(2, usize::from);
        let config = TokenConfig { workers, ..site.config("bench") };
        let custody = Custody::open(config, site.pin()).expect("custody");
        let key = custody.generate("ca", KeyAlgorithm::P256).expect("a key");
        ratio(&key, workers);
        criterion(&key);
    });
}

fn ratio(key: &Key, workers: usize) {
    let one = bare(1);
    let all = bare(workers);
    println!("bare C_Sign, 1 session:             {one:>8.0} signatures/s");
    println!("bare C_Sign, {workers} sessions:            {all:>8.0} signatures/s");
    for callers in [1, workers, 4 * workers] {
        let rate = pooled(key, callers);
        println!(
            "pool of {workers}, {callers:>2} blocking callers:     {rate:>8.0} signatures/s, {:.2} of bare",
            rate / all
        );
    }
    let rate = flying(key);
    println!(
        "pool of {workers}, 1 async caller, {IN_FLIGHT} ahead: {rate:>8.0} signatures/s, {:.2} of bare",
        rate / all
    );
}

fn criterion(key: &Key) {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let mut group = criterion.benchmark_group("sign");
    group.throughput(Throughput::Elements(1));
    group.bench_function("pool, one caller, 400-byte TBS", |bencher| {
        bencher.iter(|| key.sign_der(&[7; TBS_LEN]).expect("signature"));
    });
    group.finish();
    criterion.final_summary();
}

/// Best rate of some rounds, in signatures a second.
fn best(mut round: impl FnMut() -> Duration) -> f64 {
    (0..ROUNDS).map(|_| ROUND as f64 / round().as_secs_f64()).fold(0.0, f64::max)
}

/// Bare `C_Sign` on sessions of our own with cached handles, one a thread. The
/// digest is computed too: the pool does it as well.
fn bare(sessions: usize) -> f64 {
    // The module is initialised by custody already; the login, too, belongs to
    // the process. Loading the library again gives the same one.
    let module = Pkcs11::new(SOFTHSM2_MODULE).expect("module");
    let slot = module.get_slots_with_initialized_token().expect("slots").remove(0);
    best(|| {
        let started = Instant::now();
        thread::scope(|scope| {
            for _ in 0..sessions {
                scope.spawn(|| {
                    let session = module.open_ro_session(slot).expect("session");
                    let template = [Attribute::Class(ObjectClass::PRIVATE_KEY)];
                    let key = session.find_objects(&template).expect("search")[0];
                    let message = [7; TBS_LEN];
                    for _ in 0..ROUND / sessions {
                        let digest =
                            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &message);
                        session.sign(&Mechanism::Ecdsa, key, digest.as_ref()).expect("signature");
                    }
                });
            }
        });
        started.elapsed()
    })
}

/// Through the pool, by so many callers at once.
fn pooled(key: &Key, callers: usize) -> f64 {
    best(|| {
        let started = Instant::now();
        thread::scope(|scope| {
            for _ in 0..callers {
                scope.spawn(|| {
                    for _ in 0..ROUND / callers {
                        key.sign(&[7; TBS_LEN]).expect("signature");
                    }
                });
            }
        });
        started.elapsed()
    })
}

/// Through the pool, by one thread that keeps [`IN_FLIGHT`] requests going, as
/// issuance in batches does.
fn flying(key: &Key) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    best(|| {
        let started = Instant::now();
        runtime.block_on(async {
            let mut flying = VecDeque::with_capacity(IN_FLIGHT);
            for _ in 0..ROUND {
                flying.push_back(key.sign_async(&[7; TBS_LEN]));
                if flying.len() == IN_FLIGHT
                    && let Some(oldest) = flying.pop_front()
                {
                    oldest.await.expect("signature");
                }
            }
            for rest in flying {
                rest.await.expect("signature");
            }
        });
        started.elapsed()
    })
}
