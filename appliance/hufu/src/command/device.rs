//! `hufu device`: enrol a device through its TPM, send what it measures, let
//! one that has no certificate yet enrol by itself.

mod send;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, header};
use hufu_client::Client;
use hufu_client::device_key::DeviceKey;
use hufu_client::est;
use hufu_client::member;
use hufu_configuration::bundle;
use hufu_configuration::certificates;
use hufu_configuration::config::Config;
use hufu_configuration::files;
use hufu_proof::{Name, Signer as _};
use hufu_tpm::device::DeviceTpm;
use hufu_tpm::exchange::{
    CHALLENGE_PATH, COMPLETION_PATH_PREFIX, ChallengeResponse, CompletionResponse,
};
use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::cli::{Device, Enroll, Token};
use crate::output;

/// Name of the device's certificate chain in its state directory.
const CHAIN: &str = "device.pem";

/// Runs `hufu device`.
///
/// # Errors
/// What stands in the way, with the remedy.
pub async fn run(command: Device, access: &Access, json: bool) -> anyhow::Result<()> {
    match command {
        Device::Enroll(arguments) => {
            enroll(arguments, &Config::load(&access.config)?, access.pin_fd, json).await
        }
        Device::Send(arguments) => send::run(arguments, json).await,
        Device::Token(arguments) => token(arguments, access, json).await,
    }
}

/// A new token, as the authority's node gives it out: once.
#[derive(Serialize, Deserialize)]
struct NewToken {
    user: String,
    password: String,
    profile: Name,
    device_id: Option<String>,
    keys: u32,
    /// Until when, RFC 3339.
    expires: String,
}

async fn token(arguments: Token, access: &Access, json: bool) -> anyhow::Result<()> {
    let Token { profile, owner, device_id, keys, valid_for } = arguments;
    let token: NewToken = access
        .connect()?
        .post(
            "/enrolment-tokens",
            &serde_json::json!({
                "profile": profile, "member": owner, "device_id": device_id, "keys": keys,
                "seconds": valid_for.as_secs(),
            }),
        )
        .await?;
    output::print(json, &token, |token| {
        let whom = match &token.device_id {
            Some(device) => format!("device {device}"),
            None if token.keys == 1 => "one key".to_owned(),
            None => format!("{} keys", token.keys),
        };
        format!(
            "user      {}\npassword  {}\nfor {whom} under profile {} until {}; \
             the password is not shown again",
            token.user, token.password, token.profile, token.expires
        )
    })
}

#[derive(Serialize)]
struct Enrolled {
    device_id: String,
    identity: String,
    certificate: PathBuf,
    attestation: CompletionResponse,
}

async fn enroll(
    arguments: Enroll,
    config: &Config,
    pin_fd: Option<u32>,
    json: bool,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(&arguments.state)
        .with_context(|| format!("cannot make {}", arguments.state.display()))?;
    let mut tpm = open(&arguments.tcti, &arguments.state)?;
    let between: Vec<Vec<u8>> = match &arguments.ek_chain {
        Some(path) => certificates::read(path)?.iter().map(|one| one.to_vec()).collect(),
        None => Vec::new(),
    };
    let roots = certificates::roots(certificates::read(&arguments.ca)?)?;
    let client = member::connect(config, pin_fd, &arguments.est, roots)?;

    let challenge: ChallengeResponse =
        client.post(CHALLENGE_PATH, &tpm.challenge_request(&between)).await.context("challenge")?;
    let answer = tpm.answer(&challenge).context("the TPM's answer to the challenge")?;
    let attestation: CompletionResponse = client
        .post(&format!("{COMPLETION_PATH_PREFIX}{}", challenge.id), &answer)
        .await
        .context("attestation")?;

    let csr = tpm.csr(&hufu_tpm::csr::Subject {
        organization: config.member.name.to_string(),
        serial_number: arguments.device_id.clone(),
        ..Default::default()
    })?;
    let label = &arguments.profile;
    let certificate = enrolled_certificate(&client, label.as_str(), &csr).await?;
    let issuing = client
        .send(Method::GET, "/.well-known/est/cacerts", &[], "")
        .await?
        .success()
        .context("CA certificates")?;
    let mut chain = bundle::pem("CERTIFICATE", &certificate)?;
    for authority in est::certificates(&issuing).context("CA certificates")? {
        chain += &bundle::pem("CERTIFICATE", &authority)?;
    }
    files::write(&arguments.state.join(CHAIN), chain.as_bytes())?;
    files::write(&arguments.out, bundle::pem("CERTIFICATE", &certificate)?.as_bytes())?;
    let key = DeviceKey::new(tpm)?;
    let enrolled = Enrolled {
        identity: key.public_key().identity().to_string(),
        device_id: arguments.device_id,
        certificate: arguments.out,
        attestation,
    };
    output::print(json, &enrolled, |enrolled| {
        format!(
            "device {} enrolled: its key is proved to live in the TPM with EK certificate {}\n\
             identity {}\ncertificate {}",
            enrolled.device_id,
            enrolled.attestation.ek_certificate_sha256,
            enrolled.identity,
            enrolled.certificate.display()
        )
    })
}

/// Enrols a request over EST (RFC 7030 §4.2) and returns the certificate, DER.
///
/// # Errors
/// The server's words.
pub async fn enrolled_certificate(
    client: &Client,
    label: &str,
    csr: &[u8],
) -> anyhow::Result<Vec<u8>> {
    let answer = client
        .send(
            Method::POST,
            &format!("/.well-known/est/{label}/simpleenroll"),
            &[
                (header::CONTENT_TYPE, "application/pkcs10"),
                (header::HeaderName::from_static("content-transfer-encoding"), "base64"),
            ],
            STANDARD.encode(csr),
        )
        .await?
        .success()
        .context("enrolment")?;
    est::certificates(&answer)
        .context("EST answer")?
        .into_iter()
        .next()
        .context("the EST answer holds no certificate")
}

fn open(tcti: &str, state: &Path) -> anyhow::Result<DeviceTpm> {
    DeviceTpm::open(tcti, state).with_context(|| format!("TPM at `{tcti}`"))
}
