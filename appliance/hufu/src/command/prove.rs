//! `hufu prove`: a transaction's receipt, an asset's state, or that there is none, as a file; the keys of the
//! log's checkpoints.

use std::path::Path;

use anyhow::{Context as _, ensure};
use http::{Method, header};
use hufu_configuration::{bundle, config, files};
use hufu_contract::spelling;
use hufu_machine::key;
use hufu_proof::{
    Algorithm, Genesis, Name, PublicKey, Receipt, Signature, Signer, SignerFault, codec, cose, note,
};
use serde::Deserialize;
use serde_json::json;

use crate::access::Access;
use crate::cli::{ProveReceipt, ProveState};
use crate::command::verify;
use crate::output;

/// `hufu prove state`. What does not verify, or proves something else than was
/// asked, is not written.
///
/// # Errors
/// When the node does not answer or refuses, or its proof does not hold.
pub async fn state(arguments: ProveState, access: &Access, json: bool) -> anyhow::Result<()> {
    let ProveState { contract, asset_type, asset, as_of, out } = arguments;
    let genesis = config::Config::load(&access.config)?.genesis()?;
    let body = json!({
        "contract": contract, "asset_type": asset_type, "asset": asset, "as_of": as_of,
    });
    let file = access
        .connect()?
        .send(
            Method::POST,
            "/proofs",
            &[(header::CONTENT_TYPE, "application/json")],
            serde_json::to_vec(&body)?,
        )
        .await?
        .success()?;
    let proof = bundle::parse_state_proof(&file)?;
    let (proved, checked) = verify::state_proof(&genesis, &proof)?;
    let asked = key::asset(&contract, &asset_type, &spelling::normal(&asset));
    ensure!(proof.key == asked, "the node proved something else: {}", checked.join("; "));
    ensure!(
        as_of.is_none_or(|height| proof.as_of().get() >= height),
        "the node proved an earlier height: {}",
        proof.as_of()
    );
    files::write(&out, &file)?;
    output::print(json, &json!({ "file": out, "proved": proved, "checked": checked }), |_| {
        format!("written to {}; verified:\n  {}", out.display(), checked.join("\n  "))
    })
}

/// `hufu prove receipt`. What does not verify is not written.
///
/// # Errors
/// When the node does not answer or refuses, or its receipt does not hold.
pub async fn receipt(arguments: ProveReceipt, access: &Access, json: bool) -> anyhow::Result<()> {
    let ProveReceipt { transaction, cose, entry, out } = arguments;
    let config = config::Config::load(&access.config)?;
    let genesis = config.genesis()?;
    let client = access.connect()?;
    let path = format!("/receipts/{transaction}");
    let mut file = client.send(Method::GET, &path, &[], "").await?.success()?;
    let receipt = bundle::parse_receipt(&file)?;
    let mut checked = Vec::new();
    verify::check_receipt(&genesis, &receipt, &mut checked)?;
    ensure!(receipt.entry.transaction == transaction, "the node proved another transaction");
    if cose {
        file = client.send(Method::GET, &format!("{path}?cose=true"), &[], "").await?.success()?;
        let members: Vec<Known> = client.get("/members").await?;
        let member = &config.member.name;
        let known = members.into_iter().find(|known| known.name == *member);
        let key = known.with_context(|| format!("the node does not know `{member}`"))?;
        let key = key.statement_key;
        ensure!(
            is_signed(&file, &receipt, &genesis, member, &key),
            "the COSE receipt is not the one that the statement key of `{member}` signs"
        );
        checked = vec![format!(
            "place {} of {} in the log, signed with the statement key of `{member}`: {key}",
            receipt.log_index, receipt.header.executed.log_size
        )];
        if let Some(entry) = &entry {
            files::write(entry, &codec::encode(&receipt.entry))?;
        }
    }
    files::write(&out, &file)?;
    let shown = json!({ "file": out, "entry": entry, "checked": checked });
    output::print(json, &shown, |_| {
        format!("written to {}; verified:\n  {}", out.display(), checked.join("\n  "))
    })
}

/// A member, as far as its signature is concerned.
#[derive(Deserialize)]
struct Known {
    name: Name,
    statement_key: PublicKey,
}

/// Whether the bytes are the COSE receipt that the holder of `key` signs. It has one
/// encoding, so it is made again with the signature in its end.
fn is_signed(
    bytes: &[u8],
    receipt: &Receipt,
    genesis: &Genesis,
    member: &Name,
    key: &PublicKey,
) -> bool {
    let length = match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::EcdsaP256 => 64,
        Algorithm::EcdsaP384 => 96,
        _ => return false,
    };
    let signature = bytes.len().checked_sub(length).map(|begin| &bytes[begin..]);
    let signature = signature.and_then(|bytes| Signature::new(key.algorithm(), bytes).ok());
    let signed = signature.map(|signature| Signed { key: key.clone(), signature });
    let again = signed.and_then(|signed| cose::receipt(receipt, genesis, member, &signed).ok());
    again.is_some_and(|again| again == bytes)
}

/// Signs with a signature that is there, where it is one of what is asked for.
struct Signed {
    key: PublicKey,
    signature: Signature,
}

impl Signer for Signed {
    fn public_key(&self) -> PublicKey {
        self.key.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignerFault> {
        let verified = self.key.verify(message, &self.signature);
        verified.map(|()| self.signature.clone()).map_err(|error| SignerFault(error.to_string()))
    }
}

/// `hufu prove log-keys`.
///
/// # Errors
/// When the genesis file cannot be read, or signed notes have no type for a key.
pub fn log_keys(genesis: &Path, json: bool) -> anyhow::Result<()> {
    let genesis = config::read_genesis(genesis)?;
    let origin = note::origin(&genesis);
    let key = |member: &hufu_proof::Member| {
        note::verifier_key(&origin, &member.name, &member.statement_key)
            .with_context(|| format!("member `{}`", member.name))
    };
    let keys: Vec<String> = genesis.members.iter().map(key).collect::<anyhow::Result<_>>()?;
    output::print(json, &json!({ "origin": origin, "keys": keys }), |_| {
        format!("origin: {origin}\nkeys:\n  {}", keys.join("\n  "))
    })
}
