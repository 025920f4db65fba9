//! `hufu bench`: measures the running consortium, and in the same run the limit
//! it is compared with.
//!
//! The keys made here belong to the load, not to the product: they stand for
//! devices.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hufu_client::Client;
use hufu_client::tls;
use hufu_configuration::Config;
use hufu_configuration::certificates;
use hufu_configuration::keyring::{self, label};
use hufu_configuration::pin;
use hufu_keys::Custody;
use serde::Serialize;

use crate::cli::{Bench, BenchIssue};
use crate::command::bench_ledger;
use crate::command::device::enrolled_certificate;
use crate::output;

/// How long each raw limit is measured.
pub const RAW: Duration = Duration::from_secs(2);

/// Runs `hufu bench`.
///
/// # Errors
/// What stands in the way, with the remedy.
pub async fn run(
    command: Bench,
    config: &Path,
    pin_fd: Option<u32>,
    json: bool,
) -> anyhow::Result<()> {
    let config = Config::load(config)?;
    match command {
        Bench::Issue(arguments) => issue(&arguments, &config, pin_fd, json).await,
        Bench::Ledger(arguments) => bench_ledger::run(&arguments, &config, pin_fd, json).await,
    }
}

/// Figures of a run.
#[derive(Serialize)]
pub struct Figures {
    /// What was measured.
    pub what: &'static str,
    /// How many were done.
    pub count: usize,
    /// How many failed or were refused.
    pub failed: usize,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Done each second.
    pub per_second: f64,
    /// Median latency, milliseconds.
    pub p50_ms: f64,
    /// 99th percentile of latency, milliseconds.
    pub p99_ms: f64,
    /// What it is compared with.
    pub reference: &'static str,
    /// Rate of that, measured in the same run.
    pub reference_per_second: f64,
    /// Rate over reference rate.
    pub ratio: f64,
}

impl Figures {
    /// Figures of `latencies` in `elapsed`.
    pub fn new(
        what: &'static str,
        mut latencies: Vec<Duration>,
        failed: usize,
        elapsed: Duration,
        (reference, reference_per_second): (&'static str, f64),
    ) -> Self {
        latencies.sort_unstable();
        let at = |share: f64| {
            let place = (latencies.len().saturating_sub(1) as f64 * share) as usize;
            latencies.get(place).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
        };
        let per_second = latencies.len() as f64 / elapsed.as_secs_f64();
        Self {
            what,
            count: latencies.len(),
            failed,
            seconds: elapsed.as_secs_f64(),
            per_second,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            reference,
            reference_per_second,
            ratio: per_second / reference_per_second,
        }
    }

    /// Prints them.
    ///
    /// # Errors
    /// As [`output::print`].
    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        output::print(json, self, |figures| {
            format!(
                "{}: {:.0}/s ({} in {:.1} s, {} failed), p50 {:.1} ms, p99 {:.1} ms\n\
                 {}: {:.0}/s; ratio {:.3}",
                figures.what,
                figures.per_second,
                figures.count,
                figures.seconds,
                figures.failed,
                figures.p50_ms,
                figures.p99_ms,
                figures.reference,
                figures.reference_per_second,
                figures.ratio
            )
        })
    }
}

async fn issue(
    arguments: &BenchIssue,
    config: &Config,
    pin_fd: Option<u32>,
    json: bool,
) -> anyhow::Result<()> {
    let custody = keyring::open(config, pin::user(pin_fd)?)?;
    let clients = clients(config, &custody, &arguments.est, &arguments.ca, arguments.connections)?;
    let raw = raw_signatures(&custody)?;
    let requests = Arc::new(certificate_requests(arguments.count, &rcgen::PKCS_ECDSA_P256_SHA256)?);
    let began = Instant::now();
    let (_, latencies, failed) = enrol(&clients, &requests).await?;
    Figures::new(
        "certificates over EST and mTLS, recorded on the ledger",
        latencies,
        failed,
        began.elapsed(),
        ("C_Sign through the pool of this member's token", raw),
    )
    .print(json)
}

/// Clients that authenticate with this member's node key.
///
/// # Errors
/// When the node has no certificate or the token does not answer.
pub fn clients(
    config: &Config,
    custody: &Custody,
    url: &str,
    ca: &Path,
    count: usize,
) -> anyhow::Result<Vec<Arc<Client>>> {
    let key = keyring::key(custody, label::TLS)?;
    let certified = hufu_keys::certified_key(&key, certificates::read(&config.tls_chain())?)?;
    let tls = tls::client(certificates::roots(certificates::read(ca)?)?, Some(certified))?;
    (0..count.max(1)).map(|_| Ok(Arc::new(Client::tls(url, tls.clone())?))).collect()
}

/// A certificate request of the load, with its key.
pub struct LoadRequest {
    /// The device identifier in it.
    pub device: String,
    /// PKCS#10, DER.
    pub csr: Vec<u8>,
    /// The key, PKCS#8 DER.
    pub key: Vec<u8>,
}

/// Makes requests of simulated devices.
///
/// # Errors
/// When the algorithm is not available.
pub fn certificate_requests(
    count: usize,
    algorithm: &'static rcgen::SignatureAlgorithm,
) -> anyhow::Result<Vec<LoadRequest>> {
    // Different in every run, so that a bench can be repeated.
    let run = hufu_configuration::time::now_ms();
    (0..count)
        .map(|number| {
            let key = rcgen::KeyPair::generate_for(algorithm)?;
            let device = format!("BENCH-{run}-{number}");
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(
                rcgen::DnType::CustomDnType(vec![2, 5, 4, 5]),
                rcgen::DnValue::PrintableString(device.as_str().try_into()?),
            );
            let csr = params.serialize_request(&key)?.der().to_vec();
            Ok(LoadRequest { device, csr, key: key.serialize_der() })
        })
        .collect()
}

/// Enrols all requests over all clients; which succeeded, how long each took,
/// how many failed.
///
/// # Errors
/// The first failure, when nothing at all succeeded.
pub async fn enrol(
    clients: &[Arc<Client>],
    requests: &Arc<Vec<LoadRequest>>,
) -> anyhow::Result<(Vec<usize>, Vec<Duration>, usize)> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for client in clients {
        let (client, requests, next) = (client.clone(), requests.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            let (mut done, mut failures) = (Vec::new(), Vec::new());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = requests.get(number) else { return (done, failures) };
                let began = Instant::now();
                match enrolled_certificate(&client, "idevid", &request.csr).await {
                    Ok(_) => done.push((number, began.elapsed())),
                    Err(error) => failures.push(error),
                }
            }
        }));
    }
    let (mut numbers, mut latencies, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for task in tasks {
        let (done, failed) = task.await.context("a client of the load")?;
        for (number, latency) in done {
            numbers.push(number);
            latencies.push(latency);
        }
        failures.extend(failed);
    }
    let failed = failures.len();
    match failures.into_iter().next() {
        Some(error) if numbers.is_empty() => Err(error),
        Some(error) => {
            tracing::warn!(%error, failed, "some enrolments failed");
            Ok((numbers, latencies, failed))
        }
        None => Ok((numbers, latencies, failed)),
    }
}

/// Signatures per second that the token gives through its pool.
fn raw_signatures(custody: &Custody) -> anyhow::Result<f64> {
    let key = keyring::key(custody, label::STATEMENT)?;
    let message = [7u8; 32];
    let began = Instant::now();
    let counts: Vec<anyhow::Result<usize>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..custody.config().workers)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while began.elapsed() < RAW {
                        key.sign_digest(&message)?;
                        count += 1;
                    }
                    Ok(count)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a signer panicked")))
            .collect()
    });
    let total: usize = counts.into_iter().collect::<anyhow::Result<Vec<_>>>()?.into_iter().sum();
    Ok(total as f64 / began.elapsed().as_secs_f64())
}
