//! `hufu install`: the image that an appliance was started with, onto its disk.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Access;
use crate::cli::Install;
use crate::command::setup::{self, Endpoint};
use crate::output::{self, no};

/// How often is asked how far it is.
const LOOK: Duration = Duration::from_secs(2);

/// What the setup endpoint says.
#[derive(Deserialize)]
struct Told {
    disks: Vec<Disk>,
    installation: Value,
}

#[derive(Deserialize)]
struct Disk {
    name: String,
    size: u64,
    model: String,
    removable: bool,
    used: bool,
    partitions: Vec<String>,
}

/// Runs `hufu install`.
///
/// # Errors
/// When the appliance is another one, does not answer, refuses, or the disk
/// cannot be written.
pub async fn run(arguments: Install, access: &Access, json: bool) -> anyhow::Result<()> {
    let address = setup::address(access)?;
    let endpoint = Endpoint::new(address, &arguments.fingerprint, arguments.code.as_deref())?;
    let path = "/installation";
    let Some(disk) = arguments.to else {
        let told: Value = endpoint.ask(Method::GET, path, "", Vec::new()).await?;
        let disks = Told::deserialize(&told).context("the list of disks")?.disks;
        return output::print(json, &told, |_| list(&disks));
    };
    let order = json!({ "disk": disk, "erase": arguments.erase });
    let mut told: Told =
        endpoint.ask(Method::POST, path, "application/json", serde_json::to_vec(&order)?).await?;
    let begun = Instant::now();
    while told.installation["state"] == "writing" {
        tokio::time::sleep(LOOK).await;
        told = endpoint.ask(Method::GET, path, "", Vec::new()).await?;
    }
    match told.installation["state"].as_str() {
        Some("done") => {}
        Some("failed") => {
            let reason = told.installation["reason"].as_str().unwrap_or_default();
            return Err(no(format!("{disk} was not written: {reason}")));
        }
        other => anyhow::bail!("the appliance says of the installation: {other:?}"),
    }
    let next = "switch the appliance off, take the medium out, and switch it on again; then \
                `hufu setup`";
    let seconds = begun.elapsed().as_secs();
    let answer = json!({ "disk": disk, "seconds": seconds, "next": next });
    output::print(json, &answer, |_| {
        format!("the image is on {disk} after {seconds} s\nnext: {next}")
    })
}

/// A line for each disk.
fn list(disks: &[Disk]) -> String {
    let lines = disks.iter().map(|disk| {
        let Disk { name, model, .. } = disk;
        let size = disk.size / 1_000_000_000;
        let mut line = format!("{name:<12} {size:>6} GB  {model}");
        for (said, words) in [
            (disk.removable, "removable"),
            (disk.used, "the appliance runs from it"),
            (!disk.used && !disk.partitions.is_empty(), "holds partitions"),
        ] {
            if said {
                line += &format!(", {words}");
            }
        }
        line
    });
    lines.collect::<Vec<_>>().join("\n")
}
