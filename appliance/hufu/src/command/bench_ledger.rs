//! `hufu bench ledger`: finalized transactions per second.
//!
//! Simulated devices with Ed25519 keys are enrolled over EST, registered by
//! this member, and then each signs one reading after the other. A request
//! carries one transaction of each of many devices, so all signers are
//! distinct. What is timed is from the request to the answer, which comes when
//! a transaction is final, executed and on the disk of the member asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ed25519_zebra::SigningKey;
use hufu_client::Client;
use hufu_client::submission;
use hufu_configuration::Config;
use hufu_configuration::keyring;
use hufu_configuration::no;
use hufu_configuration::pin;
use hufu_configuration::time::now_ms;
use hufu_proof::transaction::{Batch, MAX_LIFETIME, Payload};
use hufu_proof::{
    Algorithm, Body, Digest, Height, Name, PublicKey, Sequence, Signature, Signer, SignerFault,
    Transaction, Value,
};
use serde_json::{Value as Json, json};

use crate::cli::BenchLedger;
use crate::command::bench::{self, Figures, LoadRequest, RAW};

/// Registrations at a time.
const REGISTRATIONS: usize = 64;

/// A simulated device.
#[derive(Clone)]
struct Device {
    id: String,
    key: SigningKey,
}

impl Signer for Device {
    fn public_key(&self) -> PublicKey {
        PublicKey::new(Algorithm::Ed25519, self.key.verification_key().as_ref())
            .expect("an Ed25519 key has 32 bytes")
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignerFault> {
        Signature::new(Algorithm::Ed25519, &self.key.sign(message).to_bytes())
            .map_err(|error| SignerFault(error.to_string()))
    }
}

/// Runs the bench.
///
/// # Errors
/// What stands in the way, with the remedy.
pub async fn run(
    arguments: &BenchLedger,
    config: &Config,
    pin_fd: Option<u32>,
    json: bool,
) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.bundle > 0 && arguments.signers > 0, "nothing to send");
    let chain = config.genesis()?.digest();
    let custody = keyring::open(config, pin::user(pin_fd)?)?;
    let est = bench::clients(config, &custody, &arguments.est, &arguments.ca, 32)?;
    let devices = devices(config, &est, arguments.signers).await?;
    let mut gateways = Vec::new();
    for url in &arguments.gateways {
        gateways.extend(bench::clients(config, &custody, url, &arguments.ca, 1)?);
    }
    let raw = raw_verification(&devices, chain)?;

    let rounds = arguments.count.div_ceil(devices.len());
    let expires = submission::progress(&gateways[0]).await?.height.plus(MAX_LIFETIME / 2);
    let began = Instant::now();
    let mut groups = Vec::new();
    for (number, group) in devices.chunks(arguments.bundle).enumerate() {
        // A connection of its own for each group: requests wait for finality.
        let url = &arguments.gateways[number % arguments.gateways.len()];
        let client = bench::clients(config, &custody, url, &arguments.ca, 1)?.remove(0);
        groups.push(tokio::spawn(send(client, group.to_vec(), rounds, chain, expires)));
    }
    let (mut latencies, mut failed) = (Vec::new(), 0);
    for group in groups {
        let (done, refused) = group.await.context("a sender of the load")??;
        latencies.extend(done);
        failed += refused;
    }
    let elapsed = began.elapsed();
    let reference = ("bare Ed25519 verification in batches of 256 on all cores", raw);
    Figures::new("finalized transactions", latencies, failed, elapsed, reference).print(json)
}

/// One transaction of each device, then the next.
async fn send(
    client: Arc<Client>,
    devices: Vec<Device>,
    rounds: usize,
    chain: Digest,
    expires: Height,
) -> anyhow::Result<(Vec<Duration>, usize)> {
    let (mut latencies, mut refused) = (Vec::new(), 0);
    for round in 0..rounds {
        let sequence = Sequence(round as u64).next();
        let bundle: Vec<Transaction> = devices
            .iter()
            .map(|device| reading(device, sequence, chain, expires))
            .collect::<Result<_, _>>()?;
        let began = Instant::now();
        let submitted = submission::submit_bundle(&client, &bundle).await?;
        let latency = began.elapsed();
        for one in submitted {
            if one.is_some_and(|one| one.outcome.is_accepted()) {
                latencies.push(latency);
            } else {
                refused += 1;
            }
        }
    }
    Ok((latencies, refused))
}

fn reading(
    device: &Device,
    sequence: Sequence,
    chain: Digest,
    expires: Height,
) -> Result<Transaction, SignerFault> {
    // In the order of the columns' names: measured_at, metric, value.
    let row = vec![
        Value::Time(now_ms().get()),
        Value::Symbol("temperature".to_owned()),
        Value::Decimal(20_000 + (sequence.get() % 1000) as i64),
    ];
    let name = |text| Name::new(text).map_err(|error| SignerFault(error.to_string()));
    Body {
        chain,
        signer: device.public_key(),
        nonce: sequence.get(),
        expires,
        payload: Payload::Append(Batch {
            contract: name("operation-supervision")?,
            stream: name("reading")?,
            sequence,
            rows: vec![row],
        }),
    }
    .sign(device)
}

/// Enrols and registers devices.
async fn devices(
    config: &Config,
    est: &[Arc<Client>],
    count: usize,
) -> anyhow::Result<Vec<Device>> {
    let requests = Arc::new(bench::certificate_requests(count, &rcgen::PKCS_ED25519)?);
    let (numbers, _, failed) = bench::enrol(est, &requests).await?;
    anyhow::ensure!(failed == 0, "{failed} of {count} devices were not enrolled");
    let devices = Arc::new(
        numbers
            .into_iter()
            .map(|number| device(&requests[number]))
            .collect::<anyhow::Result<Vec<Device>>>()?,
    );
    let mut tasks = Vec::new();
    for lane in 0..REGISTRATIONS {
        let admin = Client::admin(&config.admin_socket());
        let (devices, owner) = (devices.clone(), config.member.name.clone());
        tasks.push(tokio::spawn(async move {
            for device in devices.iter().skip(lane).step_by(REGISTRATIONS) {
                let answer: Json = admin
                    .post(
                        "/invoke",
                        &json!({
                            "contract": "device-registry", "action": "register",
                            "asset": device.id,
                            "params": {
                                "identity": device.public_key().identity(),
                                "owner": owner, "model": "bench",
                            },
                        }),
                    )
                    .await?;
                if answer["outcome"] != "accepted" {
                    return Err(no(format!("registration of {}: {answer}", device.id)));
                }
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await.context("a registration")??;
    }
    Ok(devices.to_vec())
}

fn device(request: &LoadRequest) -> anyhow::Result<Device> {
    // PKCS#8 of Ed25519 (RFC 8410 §7) ends the private key's OCTET STRING at
    // byte 48, whether the public key follows or not.
    let seed: [u8; 32] = request.key.get(16..48).context("a key of the load")?.try_into()?;
    Ok(Device { id: request.device.clone(), key: SigningKey::from(seed) })
}

/// Signatures verified per second, in batches, on all cores.
fn raw_verification(devices: &[Device], chain: Digest) -> anyhow::Result<f64> {
    let transactions: Vec<Transaction> = devices
        .iter()
        .cycle()
        .take(4096)
        .map(|device| reading(device, Sequence(1), chain, Height(1)))
        .collect::<Result<_, _>>()?;
    let references: Vec<&Transaction> = transactions.iter().collect();
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < RAW {
        anyhow::ensure!(
            hufu_machine::signatures::verify_batch(&references).into_iter().all(|good| good),
            "a signature of the load does not verify"
        );
        count += references.len();
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}
