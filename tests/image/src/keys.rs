//! The three keys of an image: Secure Boot's, the PCR policy's, the release's.
//!
//! Those for tests are made once. A factory gives its own: files, or URIs of
//! keys in a PKCS#11 token, which OpenSSL's provider uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::tree::{self, Tree};

/// A key for signing: a file, or a URI of one that never leaves its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A PEM file.
    File(PathBuf),
    /// `pkcs11:...`
    Token(String),
}

impl Key {
    /// As it was given on the command line.
    pub fn parse(text: &str) -> Self {
        if text.starts_with("pkcs11:") {
            Self::Token(text.to_owned())
        } else {
            Self::File(PathBuf::from(text))
        }
    }

    /// For mkosi and OpenSSL.
    pub fn text(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Token(uri) => uri.clone(),
        }
    }
}

/// A key and the certificate, or public key, that belongs to it.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Signs.
    pub key: Key,
    /// Verifies.
    pub public: PathBuf,
}

/// What the command line said; the rest is for tests.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Signs boot loader and UKI.
    pub secure_boot_key: Option<Key>,
    /// Goes into the firmware's `db`.
    pub secure_boot_certificate: Option<PathBuf>,
    /// Signs expected values of PCR 11.
    pub pcr_key: Option<Key>,
    /// Goes into the UKI; `/var` is sealed to it.
    pub pcr_certificate: Option<PathBuf>,
    /// Signs the release's manifest.
    pub release_key: Option<Key>,
    /// Goes into the image; the updater verifies with it.
    pub release_public: Option<PathBuf>,
    /// `NAME=VALUE` for the tools: what a PKCS#11 module is told by.
    pub environment: Vec<String>,
    /// Directories that the tools see besides.
    pub shared: Vec<PathBuf>,
}

/// The keys of a build.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Secure Boot's key with its certificate.
    pub secure_boot: Pair,
    /// The PCR policy's key with its certificate.
    pub pcr: Pair,
    /// The release's key with its public key.
    pub release: Pair,
    /// `NAME=VALUE` for the tools.
    pub environment: Vec<String>,
    /// Directories that the tools must see.
    pub shared: Vec<PathBuf>,
}

impl Keys {
    /// The keys that were given, and those for tests in place of the others.
    pub fn of(given: &Given, tree: &Tree) -> anyhow::Result<Self> {
        let directory = crate::place::cache()?.join("keys");
        let mut shared = given.shared.clone();
        let environment = given.environment.clone();
        let mut pair = |name: &str, key: &Option<Key>, public: &Option<PathBuf>| {
            let pair = match (key, public) {
                (Some(key), Some(public)) => Pair { key: key.clone(), public: public.clone() },
                (None, None) => for_tests(tree, &directory, name)?,
                _ => anyhow::bail!("the {name} key and its certificate are given together"),
            };
            for file in [
                Some(&pair.public),
                match &pair.key {
                    Key::File(path) => Some(path),
                    Key::Token(_) => None,
                },
            ]
            .into_iter()
            .flatten()
            {
                let file = fs::canonicalize(file)
                    .with_context(|| format!("there is no {}", file.display()))?;
                let parent = file.parent().map(Path::to_owned).unwrap_or_default();
                if !shared.contains(&parent) {
                    shared.push(parent);
                }
            }
            anyhow::Ok(Pair {
                key: match pair.key {
                    Key::File(path) => Key::File(fs::canonicalize(path)?),
                    token @ Key::Token(_) => token,
                },
                public: fs::canonicalize(pair.public)?,
            })
        };
        let secure_boot =
            pair("secure-boot", &given.secure_boot_key, &given.secure_boot_certificate)?;
        let pcr = pair("pcr", &given.pcr_key, &given.pcr_certificate)?;
        let release = pair("release", &given.release_key, &given.release_public)?;
        Ok(Self { secure_boot, pcr, release, environment, shared })
    }

    /// `openssl` in the tree, which finds these keys.
    pub fn openssl(&self, tree: &Tree, more: &[&Path]) -> Command {
        let shared: Vec<&Path> =
            self.shared.iter().map(PathBuf::as_path).chain(more.iter().copied()).collect();
        let mut command = tree.command(&shared, "env");
        command.args(&self.environment).arg("openssl");
        command
    }
}

/// A key for tests, made where it is missing.
fn for_tests(tree: &Tree, directory: &Path, name: &str) -> anyhow::Result<Pair> {
    let key = directory.join(format!("{name}.key"));
    let public =
        directory.join(format!("{name}.{}", if name == "release" { "pub" } else { "crt" }));
    if key.exists() && public.exists() {
        return Ok(Pair { key: Key::File(key), public });
    }
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let openssl = |arguments: &[&str]| {
        tree::output(tree.command(&[directory], "openssl").args(arguments)).map(drop)
    };
    let (key_text, public_text) = (key.display().to_string(), public.display().to_string());
    if name == "release" {
        openssl(&[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            &key_text,
        ])?;
        openssl(&["pkey", "-in", &key_text, "-pubout", "-out", &public_text])?;
    } else {
        // Firmware and TPMs all know RSA.
        let subject = format!("/CN=Hufu {name} key for tests");
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "3650",
            "-subj",
            &subject,
            "-keyout",
            &key_text,
            "-out",
            &public_text,
        ])?;
    }
    ensure!(key.exists() && public.exists(), "openssl made no {}", key.display());
    Ok(Pair { key: Key::File(key), public })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_file_or_in_a_token() {
        assert_eq!(Key::parse("keys/a.pem"), Key::File("keys/a.pem".into()));
        assert_eq!(
            Key::parse("pkcs11:token=factory;object=boot"),
            Key::Token("pkcs11:token=factory;object=boot".to_owned())
        );
    }
}
