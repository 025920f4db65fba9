//! `hufu report run`: a signed report from a member's gateway.

use std::collections::BTreeMap;
use std::path::Path;

use http::{Method, header};
use hufu_client::member;
use hufu_configuration::Config;
use hufu_configuration::certificates;
use hufu_configuration::files;
use hufu_configuration::{Ending, Exit};
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
    let format = match arguments.format {
        Some(format) => format,
        None => by_ending(&arguments.out)?,
    };
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
        let of_control = parameters.entry(control.parse()?).or_default();
        if of_control.insert(name.clone(), value).is_some() {
            anyhow::bail!(
                "--param: `{control}.{name}` is given twice; which counts cannot be known"
            );
        }
    }
    let request = json!({
        "control_set": format!("{}/{}", arguments.contract, arguments.control_set),
        "as_of": arguments.as_of,
        "jurisdiction": arguments.jurisdiction,
        "parameters": parameters,
        "since": arguments.since,
        "utc_offset": arguments.utc_offset,
        "format": match format {
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

/// The form that the name of a file asks for.
fn by_ending(out: &Path) -> anyhow::Result<ReportFormat> {
    let ending = out.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "html" | "htm" => Ok(ReportFormat::Html),
        "json" => Ok(ReportFormat::Json),
        "zip" => Ok(ReportFormat::Csv),
        "csv" => Err(usage(format!(
            "--out {}: the tables are a ZIP, one for each control; let the name end in .zip",
            out.display()
        ))),
        _ => Err(usage(format!(
            "--out {}: the name does not tell the form; let it end in .html, .json or .zip, or \
             give --format",
            out.display()
        ))),
    }
}

fn usage(message: String) -> anyhow::Error {
    Ending { exit: Exit::Usage, message }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_tells_the_form_or_the_name_is_refused() {
        for (name, form) in [
            ("a.html", ReportFormat::Html),
            ("a.HTM", ReportFormat::Html),
            ("x.json", ReportFormat::Json),
            ("a/b.c.zip", ReportFormat::Csv),
        ] {
            assert_eq!(by_ending(Path::new(name)).unwrap(), form, "{name}");
        }
        for name in ["x.csv", "x", "x.pdf", "json", ".json"] {
            let error = by_ending(Path::new(name)).unwrap_err().to_string();
            assert!(error.contains(".zip"), "{name}: {error}");
        }
    }
}
