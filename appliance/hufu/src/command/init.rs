//! `hufu init`: the key ceremony.
//!
//! Every step can be repeated: a ceremony that was interrupted goes on with the
//! keys that exist. Once the transcript is written, there is nothing to repeat,
//! and another run is refused.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hufu_configuration::Config;
use hufu_configuration::bundle;
use hufu_configuration::csr;
use hufu_configuration::files;
use hufu_configuration::join::{Certificates, JoinRequest, Request};
use hufu_configuration::keyring::{self, TokenSigner, label};
use hufu_configuration::pin;
use hufu_configuration::time::now_ms;
use hufu_keys::{Custody, Key, KeyAlgorithm, KeyDescription, TokenDescription};
use hufu_proof::{Digest, Name, PublicKey, Signature, Signer as _, UnixMillis};
use hufu_service::hierarchy;
use hufu_service::root_list::ROOT_LIST;
use serde::Serialize;

use crate::cli::Init;
use crate::output;

/// What the signature on a transcript covers, in front of its JSON.
const DOMAIN: &str = "hufu ceremony transcript v1";

/// What happened in the ceremony.
#[derive(Serialize)]
struct Transcript {
    version: u8,
    software: String,
    member: Name,
    witnesses: Vec<String>,
    began_ms: UnixMillis,
    ended_ms: UnixMillis,
    token: TokenDescription,
    keys: Vec<CeremonyKey>,
    certificates: Vec<CeremonyCertificate>,
    join_request_sha256: Digest,
}

#[derive(Serialize)]
struct CeremonyKey {
    purpose: &'static str,
    public_key: PublicKey,
    attributes: KeyDescription,
}

#[derive(Serialize)]
struct CeremonyCertificate {
    subject: &'static str,
    sha256: Digest,
    file: String,
}

#[derive(Serialize)]
struct Signed<'a> {
    transcript: &'a Transcript,
    signature: Signature,
}

/// Holds the ceremony.
///
/// # Errors
/// What stands in the way, with the remedy.
pub fn run(
    arguments: Init,
    config: &Config,
    pin_fd: Option<u32>,
    json: bool,
) -> anyhow::Result<()> {
    let transcript_file = config.data("transcript.json");
    anyhow::ensure!(
        !transcript_file.exists(),
        "{} says that the ceremony was held; a second one would need another data directory and token",
        transcript_file.display()
    );
    let began_ms = now_ms();
    files::close_to_others();
    std::fs::create_dir_all(&config.paths.data)
        .with_context(|| format!("cannot make {}", config.paths.data.display()))?;
    let user_pin = pin::user(pin_fd)?;
    let custody = open_or_make_token(config, arguments.so_pin_fd, user_pin)?;

    let mut keys = Vec::new();
    let mut made = |label: &'static str, purpose: &'static str| -> anyhow::Result<Key> {
        let key = key_or_new(&custody, label)?;
        keys.push(CeremonyKey {
            purpose,
            public_key: keyring::public(&key)?,
            attributes: key.description().clone(),
        });
        Ok(key)
    };
    let vote = made(label::VOTE, "votes in consensus; names the validator on the network")?;
    let tls = made(label::TLS, "TLS, as server and as client")?;
    let statement = made(label::STATEMENT, "transactions, receipts, reports and this transcript")?;

    let mut certificates = Vec::new();
    let mut authority_certificates = None;
    if config.is_authority() {
        let root = made(label::ROOT, "root certification authority")?;
        let issuing = made(label::ISSUING, "issuing certification authority")?;
        let hierarchy = hierarchy::make_hierarchy(config, &root, &issuing)?;
        for (subject, name, der) in [
            ("root certification authority", "root.pem", &hierarchy.root),
            ("issuing certification authority", "issuing.pem", &hierarchy.issuing),
        ] {
            files::write(&config.data(name), bundle::pem("CERTIFICATE", der)?.as_bytes())?;
            certificates.push(CeremonyCertificate {
                subject,
                sha256: Digest::of(der),
                file: name.to_owned(),
            });
        }
        files::write(&config.data(ROOT_LIST), &hierarchy.root_list)?;
        authority_certificates = Some(Certificates {
            root: STANDARD.encode(&hierarchy.root),
            issuing: STANDARD.encode(&hierarchy.issuing),
        });
    }

    let csr = csr::node(config, &tls)?;
    files::write(&config.data("tls.csr"), csr.as_bytes())?;
    let join = join_request(config, [&vote, &statement, &tls], authority_certificates)?;
    files::write(&config.data("join.json"), &join)?;

    let transcript = Transcript {
        version: 1,
        software: format!("hufu {}", env!("CARGO_PKG_VERSION")),
        member: config.member.name.clone(),
        witnesses: arguments.witnesses,
        began_ms,
        ended_ms: now_ms(),
        token: custody.token().clone(),
        keys,
        certificates,
        join_request_sha256: Digest::of(&join),
    };
    let message = [DOMAIN.as_bytes(), &[0], &serde_json::to_vec(&transcript)?].concat();
    let signature = TokenSigner::new(statement)?.sign(&message)?;
    let signed = Signed { transcript: &transcript, signature };
    let text = printable(&signed);
    files::write(&config.data("transcript.txt"), text.as_bytes())?;
    // Last, because it says that all the rest was done.
    files::write(&transcript_file, &serde_json::to_vec_pretty(&signed)?)?;
    custody.close();
    output::print(json, &signed, |_| {
        format!(
            "{text}\nWritten to {}: transcript.txt, transcript.json, join.json, tls.csr.\n\
             Next: give join.json to the founders; `hufu org found` makes the genesis file.",
            config.paths.data.display()
        )
    })
}

fn open_or_make_token(
    config: &Config,
    so_pin_fd: Option<u32>,
    user_pin: hufu_keys::Pin,
) -> anyhow::Result<Custody> {
    match keyring::open(config, user_pin.clone()) {
        Err(error)
            if matches!(
                error.downcast_ref::<hufu_keys::Error>(),
                Some(hufu_keys::Error::NoSuchToken { .. })
            ) =>
        {
            let so_pin = pin::security_officer(so_pin_fd)?;
            hufu_keys::initialise_token(
                &config.token.module,
                &config.token.label,
                &so_pin,
                &user_pin,
            )
            .context("making the token")?;
            keyring::open(config, user_pin)
        }
        opened => opened,
    }
}

fn key_or_new(custody: &Custody, label: &str) -> anyhow::Result<Key> {
    let key = match custody.key(label) {
        Err(hufu_keys::Error::NoSuchKey { .. }) => custody.generate(label, KeyAlgorithm::P256),
        found => found,
    }
    .with_context(|| format!("key `{label}`"))?;
    if let Some(attribute) = key.description().weakness() {
        anyhow::bail!(
            "key `{label}` exists, but the token says {attribute} of it is not what custody needs; \
             use a fresh token"
        );
    }
    Ok(key)
}

fn join_request(
    config: &Config,
    [vote, statement, tls]: [&Key; 3],
    authority: Option<Certificates>,
) -> anyhow::Result<Vec<u8>> {
    let request = Request {
        name: config.member.name.clone(),
        title: config.member.title.clone(),
        kinds: config.member.kinds.clone(),
        jurisdictions: config.member.jurisdictions.clone().unwrap_or_default(),
        names: config.own_names()?,
        made_ms: now_ms(),
        vote_key: keyring::public(vote)?,
        statement_key: keyring::public(statement)?,
        tls_key: keyring::public(tls)?,
        authority,
    };
    let message = request.message();
    let sign = |key: &Key| anyhow::Ok(TokenSigner::new(key.clone())?.sign(&message)?);
    let join = JoinRequest {
        vote_signature: sign(vote)?,
        statement_signature: sign(statement)?,
        tls_signature: sign(tls)?,
        request,
    };
    Ok(serde_json::to_vec_pretty(&join)?)
}

/// The transcript on paper.
fn printable(signed: &Signed<'_>) -> String {
    let transcript = signed.transcript;
    let mut text = format!(
        "KEY CEREMONY TRANSCRIPT\n=======================\nMember:    {}\nSoftware:  {}\nBegan:     {} ms since 1970\nEnded:     {} ms since 1970\nWitnesses: {}\nToken:     {}\n\nKeys\n----\n",
        transcript.member,
        transcript.software,
        transcript.began_ms,
        transcript.ended_ms,
        if transcript.witnesses.is_empty() {
            "none named".to_owned()
        } else {
            transcript.witnesses.join(", ")
        },
        serde_json::to_string(&transcript.token).unwrap_or_default(),
    );
    for key in &transcript.keys {
        text += &format!(
            "{}: {}\n  {}\n  made on the token: {}; ever extractable: {}; ever readable: {}\n",
            key.attributes.label,
            key.purpose,
            key.public_key,
            key.attributes.local,
            !key.attributes.never_extractable,
            !key.attributes.always_sensitive,
        );
    }
    if !transcript.certificates.is_empty() {
        text += "\nCertificates (SHA-256)\n----------------------\n";
        for certificate in &transcript.certificates {
            text += &format!("{}: {}\n", certificate.subject, certificate.sha256);
        }
    }
    text += &format!(
        "\nJoin request (SHA-256): {}\nSigned by the statement key: {}\n\nSignatures of the people present:\n\n\n\n",
        transcript.join_request_sha256, signed.signature
    );
    text
}
