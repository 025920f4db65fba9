//! `hufu report run`: a signed report from a member's gateway.

use std::collections::BTreeMap;
use std::path::Path;

use http::{Method, header};
use hufu_client::member;
use hufu_configuration::Config;
use hufu_configuration::certificates;
use hufu_configuration::files;
use hufu_proof::Name;
use serde_json::json;

use crate::cli::{Language, ReportFormat, ReportRun, parse_parameter};
use crate::output;

/// Runs `hufu report run`.
///
/// # Errors
/// When the gateway does not answer or refuses, or its report does not verify.
pub async fn run(
    arguments: ReportRun,
    config: &Path,
    pin_fd: Option<u32>,
    json: bool,
) -> anyhow::Result<()> {
    let config = Config::load(config)?;
    let genesis = config.genesis()?;
    let roots = certificates::roots(certificates::read(&arguments.ca)?)?;
    let client = member::connect(&config, pin_fd, &arguments.gateway, roots)?;
    let mut parameters: BTreeMap<Name, BTreeMap<Name, String>> = BTreeMap::new();
    for text in &arguments.params {
        let (control, rest) = text
            .split_once('.')
            .ok_or_else(|| anyhow::anyhow!("`{text}` is not of the form CONTROL.NAME=VALUE"))?;
        let (name, value) = parse_parameter(rest)?;
        let before = parameters.entry(control.parse()?).or_default().insert(name, value);
        anyhow::ensure!(before.is_none(), "`--param {text}`: the parameter is given twice");
    }
    let request = json!({
        "control_set": format!("{}/{}", arguments.contract, arguments.control_set),
        "as_of": arguments.as_of,
        "jurisdiction": arguments.jurisdiction,
        "parameters": parameters,
        "format": match arguments.format {
            ReportFormat::Html => "html",
            ReportFormat::Json => "json",
            ReportFormat::Csv => "csv",
        },
        "language": match arguments.lang {
            Language::En => "en",
            Language::Zh => "zh",
        },
    });
    let report = client
        .send(
            Method::POST,
            "/v1/reports",
            &[(header::CONTENT_TYPE, "application/json")],
            serde_json::to_vec(&request)?,
        )
        .await?
        .success()?;
    // What does not verify is not written: a report is only worth its proof.
    let checked = hufu_report::verify_report(&report, &genesis)?;
    files::write(&arguments.out, &report)?;
    output::print(json, &json!({ "file": arguments.out, "checked": checked.statements() }), |_| {
        format!(
            "written to {}; verified:\n  {}",
            arguments.out.display(),
            checked.statements().join("\n  ")
        )
    })
}
