//! Signatures through the pool against bare `C_Sign`, on the same token, in
//! the same run. The message is as long as the TBS of a device certificate.
//!
//! `cargo bench -p hufu-keys --bench sign`

use std::{
    collections::VecDeque,
    thread,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
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
/// Rounds of each way, in turn.
const ROUNDS: usize = 9;

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

/// One way of signing, and what its rounds took.
struct Way<'a> {
    name: String,
    round: Box<dyn FnMut() + 'a>,
    /// Wall clock and processor time of each round.
    rounds: Vec<(Duration, Duration)>,
}

/// Runs all ways in turn, round by round, so that whatever else the machine
/// does meets all of them alike. The ratio is the median of the ratios within
/// a round, not of rates taken at different times. Processor time tells what
/// the pool itself costs, also on a machine that is busy with other things.
fn ratio(key: &Key, workers: usize) {
    // The module is initialised and logged in by custody, both of which belong
    // to the process; loading the library again gives the same one.
    let module = Pkcs11::new(SOFTHSM2_MODULE).expect("module");
    let mut ways = Vec::new();
    let mut way = |name: String, round: Box<dyn FnMut()>| {
        ways.push(Way { name, round, rounds: Vec::new() });
    };
    // First, as what the others are compared with.
    for sessions in [workers, 1] {
        let module = module.clone();
        way(format!("bare C_Sign, {sessions} sessions"), Box::new(move || bare(&module, sessions)));
    }
    for callers in [1, workers, 4 * workers] {
        let key = key.clone();
        way(format!("pool, {callers} blocking callers"), Box::new(move || pooled(&key, callers)));
    }
    let key = key.clone();
    way(format!("pool, async, {IN_FLIGHT} in flight"), Box::new(move || flying(&key)));
    for _ in 0..ROUNDS {
        for way in &mut ways {
            let (wall, processor) = (Instant::now(), processor_time());
            (way.round)();
            way.rounds.push((wall.elapsed(), processor_time() - processor));
        }
    }
    let per_second = |wall: Duration| ROUND as f64 / wall.as_secs_f64();
    println!("{:<28} {:>9} {:>9} {:>9} {:>12}", "", "median/s", "best/s", "of bare", "CPU us each");
    for way in &ways {
        let rates: Vec<_> = way.rounds.iter().map(|(wall, _)| per_second(*wall)).collect();
        let ratios: Vec<_> = ways[0]
            .rounds
            .iter()
            .zip(&way.rounds)
            .map(|((bare, _), (wall, _))| bare.as_secs_f64() / wall.as_secs_f64())
            .collect();
        let processor: Duration = way.rounds.iter().map(|(_, processor)| *processor).sum();
        let ratio = median(ratios);
        println!(
            "{:<28} {:>9.0} {:>9.0} {:>9.2} {:>12.1}",
            way.name,
            median(rates.clone()),
            rates.into_iter().fold(0.0, f64::max),
            ratio,
            processor.as_secs_f64() * 1e6 / (ROUND * ROUNDS) as f64
        );
        warn_if_contended(ratio);
    }
}

/// The pool calls `C_Sign` too, so it cannot really be faster than `C_Sign`.
fn warn_if_contended(ratio: f64) {
    if ratio > 1.05 {
        println!(
            "  ^ above 1: other work has the processors, and the scheduler prefers threads that \
             sleep; only the processor time counts in this run"
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Processor time of all threads of this process, ended ones included:
/// `utime` and `stime` of proc(5), in hundredths of a second.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc/self/stat");
    // The command's name, in parentheses, may hold blanks.
    let (_, fields) = stat.rsplit_once(')').expect("a command");
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().expect("ticks"))
        .sum::<u64>();
    Duration::from_millis(ticks * 10)
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

/// Bare `C_Sign` on sessions of our own with cached handles, one a thread. The
/// digest is computed too: the pool does it as well.
fn bare(module: &Pkcs11, sessions: usize) {
    let slot = module.get_slots_with_initialized_token().expect("slots").remove(0);
    thread::scope(|scope| {
        for _ in 0..sessions {
            scope.spawn(|| {
                let session = module.open_ro_session(slot).expect("session");
                let template = [Attribute::Class(ObjectClass::PRIVATE_KEY)];
                let key = session.find_objects(&template).expect("search")[0];
                for _ in 0..ROUND / sessions {
                    let digest = digest(&SHA256, &[7; TBS_LEN]);
                    session.sign(&Mechanism::Ecdsa, key, digest.as_ref()).expect("signature");
                }
            });
        }
    });
}

/// Through the pool, by so many callers at once.
fn pooled(key: &Key, callers: usize) {
    thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                for _ in 0..ROUND / callers {
                    key.sign(&[7; TBS_LEN]).expect("signature");
                }
            });
        }
    });
}

/// Through the pool, by one thread that keeps [`IN_FLIGHT`] requests going, as
/// issuance in batches does.
fn flying(key: &Key) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
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
}
