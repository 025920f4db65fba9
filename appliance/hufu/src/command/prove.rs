//! `hufu prove`: an asset's state, or that there is none, as a file; the keys of the
//! log's checkpoints.

use std::path::Path;

use anyhow::{Context as _, ensure};
use http::{Method, header};
use hufu_configuration::{bundle, config, files};
use hufu_contract::spelling;
use hufu_machine::key;
use hufu_proof::note;
use serde_json::json;

use crate::access::Access;
use crate::cli::ProveState;
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
