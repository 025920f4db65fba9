//! `hufu policy`: check, deploy and approve contract packages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hufu_contract::{MAX_FILE, MAX_FILES, Sources};
use serde_json::{Value, json};

use crate::access::Access;
use crate::cli::Policy;
use crate::command::node::submitted;
use crate::output::{self, no};

/// `hufu policy check`, which needs no node.
///
/// # Errors
/// [`hufu_configuration::Exit::No`] when the package has problems or a case fails.
pub fn check(
    directory: &Path,
    requires: &[PathBuf],
    against: Option<&Path>,
    json: bool,
) -> anyhow::Result<()> {
    let sources = load(directory)?;
    let mut required = Vec::new();
    if requires.is_empty() {
        // What a package requires usually stands beside it, and what that requires.
        let mut wanted = hufu_contract::required_names(&sources);
        let mut found = BTreeSet::new();
        while let Some(name) = wanted.pop() {
            let beside = directory.join("..").join(name.as_str());
            if beside.is_dir() && found.insert(name) {
                let package = load(&beside)?;
                wanted.extend(hufu_contract::required_names(&package));
                required.push(package);
            }
        }
    }
    for directory in requires {
        required.push(load(directory)?);
    }
    let report = match against {
        Some(old) => hufu_check::check_upgrade(&sources, &required, &load(old)?),
        None => hufu_check::check_package(&sources, &required),
    };
    output::print(json, &report, hufu_check::Report::to_text)?;
    if report.passed() {
        Ok(())
    } else {
        Err(no(format!("{}: the package does not pass", directory.display())))
    }
}

/// Runs the commands that speak to the node.
///
/// # Errors
/// When the node does not answer or the ledger refuses.
pub async fn run(command: Policy, access: &Access, json: bool) -> anyhow::Result<()> {
    let admin = access.connect()?;
    match command {
        Policy::Check { directory, requires, against } => {
            check(&directory, &requires, against.as_deref(), json)
        }
        Policy::Deploy { directory } => {
            let package = STANDARD.encode(load(&directory)?.to_bytes());
            submitted(json, &admin.post("/proposals", &json!({ "deploy": package })).await?)
        }
        Policy::Grant { contract, role, member } => {
            let grant =
                json!({ "grant": { "contract": contract, "role": role, "member": member } });
            submitted(json, &admin.post("/proposals", &grant).await?)
        }
        Policy::Approve { proposal } => {
            let path = format!("/proposals/{proposal}/approve");
            submitted(json, &admin.post(&path, &json!({})).await?)
        }
        Policy::List => {
            let list: Value = admin.get("/contracts").await?;
            output::print(json, &list, |list| {
                serde_json::to_string_pretty(list).unwrap_or_default()
            })
        }
    }
}

/// Reads a package from its directory.
///
/// # Errors
/// A sentence with the path, or every file that no package has.
pub fn load(directory: &Path) -> anyhow::Result<Sources> {
    let mut files = BTreeMap::new();
    collect(directory, "", &mut files)
        .with_context(|| format!("package in {}", directory.display()))?;
    anyhow::ensure!(
        files.contains_key(hufu_contract::CONTRACT),
        "{} has no contract.toml: name a package's directory",
        directory.display()
    );
    Sources::new(files).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        no(lines.join("\n"))
    })
}

fn collect(
    directory: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() && prefix.is_empty() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else if kind.is_file() {
            anyhow::ensure!(files.len() < MAX_FILES, "more than {MAX_FILES} files");
            let size = entry.metadata()?.len();
            anyhow::ensure!(size <= MAX_FILE as u64, "{path} is over {MAX_FILE} bytes");
            files.insert(path, std::fs::read(entry.path())?);
        } else {
            anyhow::bail!("{path} is neither a file nor one of the package's directories");
        }
    }
    Ok(())
}
