//! The bill of materials: what Rust crates the program is made of, and what
//! Debian packages the image, as CycloneDX.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::mirror::RELEASE;
use crate::tree;
use xtask::command;

/// The program's platform.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Writes the bill of the image of `version`, whose package lists mkosi left in
/// `built`.
pub fn write(path: &Path, version: &str, built: &Path) -> anyhow::Result<()> {
    let mut components = crates()?;
    components.extend(packages(built, version)?);
    let count = components.len();
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "firmware",
                "bom-ref": "hufu-image",
                "name": "hufu",
                "version": version,
            },
        },
        "components": components,
    });
    fs::write(path, serde_json::to_string_pretty(&bill)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{count} components in the bill of materials");
    Ok(())
}

/// The crates that `hufu` links, as cargo resolves them for it alone, with
/// licence, source and checksum.
fn crates() -> anyhow::Result<Vec<Value>> {
    let root = crate::place::source()?;
    let metadata = tree::output(
        command::cargo()
            .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET])
            .current_dir(&root),
    )?;
    let metadata: Value = serde_json::from_slice(&metadata).context("cargo metadata")?;
    // Metadata resolves the whole workspace's features; `cargo tree` gives those
    // of this program.
    let linked = tree::output(
        command::cargo()
            .args(["tree", "--locked", "--package", "hufu", "--edges", "normal,no-proc-macro"])
            .args(["--target", TARGET, "--prefix", "none", "--format", "{p}"])
            .current_dir(&root),
    )?;
    let linked: BTreeSet<(String, String)> = String::from_utf8_lossy(&linked)
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
        })
        .collect();
    ensure!(linked.len() > 10, "cargo tree shows only {} crates", linked.len());
    let checksums = checksums(&fs::read_to_string(root.join("Cargo.lock"))?);
    let known: BTreeMap<(String, String), &Value> = metadata["packages"]
        .as_array()
        .context("cargo metadata has no packages")?
        .iter()
        .filter_map(|package| {
            let text = |key: &str| package[key].as_str().map(str::to_owned);
            Some(((text("name")?, text("version")?), package))
        })
        .collect();
    linked
        .iter()
        .map(|key| {
            let package = known
                .get(key)
                .with_context(|| format!("cargo metadata does not know {} {}", key.0, key.1))?;
            Ok(component(key, package, checksums.get(key)))
        })
        .collect()
}

fn component(key: &(String, String), package: &Value, checksum: Option<&String>) -> Value {
    let (name, version) = key;
    let purl = format!("pkg:cargo/{name}@{}", escaped(version));
    let mut component = json!({
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    });
    if let Some(licence) = package["license"].as_str() {
        component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
    }
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

/// Checksums in a lock file, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    lock.split("[[package]]")
        .filter_map(|package| {
            let text = |key: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(key))?;
                line.strip_prefix(" = \"")?.split('"').next().map(str::to_owned)
            };
            Some(((text("name")?, text("version")?), text("checksum")?))
        })
        .collect()
}

/// The Debian packages of root and initrd.
fn packages(built: &Path, version: &str) -> anyhow::Result<Vec<Value>> {
    let mut found = BTreeMap::new();
    for manifest in [format!("hufu_{version}.manifest"), "initrd.manifest".to_owned()] {
        let path = built.join(manifest);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("mkosi left no {}", path.display()))?;
        let manifest: Value = serde_json::from_str(&text)?;
        for package in manifest["packages"].as_array().context("a manifest without packages")? {
            let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
            found.insert((text("name"), text("version")), text("architecture"));
        }
    }
    ensure!(found.len() > 10, "mkosi's manifests name only {} packages", found.len());
    Ok(found
        .iter()
        .map(|((name, version), architecture)| {
            let purl = format!(
                "pkg:deb/debian/{}@{}?arch={architecture}&distro={RELEASE}",
                escaped(name),
                escaped(version)
            );
            json!({
                "type": "library",
                "bom-ref": purl,
                "name": name,
                "version": version,
                "purl": purl,
            })
        })
        .collect())
}

/// For a package URL.
fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            // A String takes everything.
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls_are_escaped() {
        assert_eq!(escaped("1:2.3+dfsg-1~deb13u1"), "1%3A2.3%2Bdfsg-1~deb13u1");
    }

    #[test]
    fn checksums_are_read() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \
                    \"00ff\"\n\n[[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n";
        let found = checksums(lock);
        assert_eq!(found.len(), 1);
        assert_eq!(found[&("a".to_owned(), "1.0.0".to_owned())], "00ff");
    }
}
