//! `hufu reset`: an appliance back to its factory state.

use serde_json::{Value, json};

use crate::access::Access;
use crate::cli::Reset;
use crate::command::node::members;
use crate::output;

/// Where an appliance's own process is asked, through its node.
const PATH: &str = "/machine/v1/reset";

/// Runs `hufu reset`.
///
/// # Errors
/// When the appliance does not answer or refuses.
pub async fn run(arguments: Reset, access: &Access, json: bool) -> anyhow::Result<()> {
    let Reset { confirm, without_token } = arguments;
    let request = json!({ "confirm": confirm, "without_token": without_token });
    let answer: Value = access.connect()?.post(PATH, &request).await?;
    output::print(json, &answer, members)
}
