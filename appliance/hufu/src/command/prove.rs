//! `hufu prove`: an asset's state, or that there is none, as a file.

use anyhow::ensure;
use http::{Method, header};
use hufu_configuration::{bundle, config, files};
use hufu_contract::spelling;
use hufu_machine::key;
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
