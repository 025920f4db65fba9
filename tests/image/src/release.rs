//! The signed manifest of a release, and the one file that an update is.
//!
//! ```text
//! hufu release v1
//! {"format":1,...}
//! base64 of the signature
//! ```
//!
//! Three lines, each ended by a line feed. The signature is ECDSA with P-256 and
//! SHA-256 (ASN.1 DER) over the first two lines, line feeds included: the first
//! line keeps what is signed here from being mistaken for anything else. The
//! update is the same three lines with the parts' bytes behind them, in the
//! manifest's order and without anything between.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::build::Image;
use crate::keys::{Key, Keys};
use crate::place::hex;
use crate::tree::{self, Tree};

/// Begins what is signed.
pub const DOMAIN: &str = "hufu release v1";

/// Partitions are read in pieces of this size; what follows the last one that
/// is not zero is left out.
const PIECE: usize = 64 * 1024;

/// The parts of a release and what is said of them.
pub struct Release {
    manifest: Value,
    parts: Vec<PathBuf>,
}

/// Where the signed manifest of `image` is.
pub fn manifest_path(image: &Image) -> PathBuf {
    image.disk.with_file_name(format!("hufu_{}.release", image.version))
}

/// Where the update is.
pub fn update_path(image: &Image) -> PathBuf {
    image.disk.with_file_name(format!("hufu_{}.update", image.version))
}

impl Release {
    /// The release that `image` makes; trailing zeros are cut off its
    /// partitions.
    pub fn of(image: &Image, kernel: &str) -> anyhow::Result<Self> {
        let verity = image.root.with_extension("root-verity");
        let (first, second) = image.root_hash.split_at_checked(32).context("a short root hash")?;
        let mut manifest_parts = Vec::new();
        for (name, path, uuid, label) in [
            ("root-verity", &verity, second, format!("hufu_{}_verity", image.version)),
            ("root", &image.root, first, format!("hufu_{}", image.version)),
        ] {
            let partition = fs::metadata(path)?.len();
            cut_zeros(path)?;
            let (size, digest) = measure(path)?;
            manifest_parts.push(json!({
                "name": name,
                "file": file_name(path),
                "size": size,
                "sha256": digest,
                "slot": { "size": partition, "uuid": uuid_of(uuid), "label": label },
            }));
        }
        let (size, digest) = measure(&image.uki)?;
        manifest_parts.push(json!({
            "name": "uki", "file": file_name(&image.uki), "size": size, "sha256": digest,
        }));
        let (size, digest) = measure(&image.sbom)?;
        let manifest = json!({
            "format": 1,
            "product": "hufu",
            "version": image.version,
            "sequence": image.order.sequence,
            "floor": image.order.floor,
            "architecture": "x86-64",
            "kernel": kernel,
            "date": image.date.parse::<u64>().context("the date is no number")?,
            "root_hash": image.root_hash,
            "parts": manifest_parts,
            "sbom": { "file": file_name(&image.sbom), "size": size, "sha256": digest },
        });
        Ok(Self { manifest, parts: vec![verity, image.root.clone(), image.uki.clone()] })
    }

    /// What is signed.
    fn signed_bytes(&self) -> String {
        format!("{DOMAIN}\n{}\n", self.manifest)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// `0123...` as a UUID: a slot's partitions are found by the halves of the root
/// hash.
pub fn uuid_of(digits: &str) -> String {
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digits[range]);
    parts.join("-")
}

/// Signs the manifest and writes it, and the update.
pub fn write(release: &Release, image: &Image, tree: &Tree, keys: &Keys) -> anyhow::Result<()> {
    let signed = release.signed_bytes();
    let signature = sign(signed.as_bytes(), tree, keys)?;
    let head = format!("{signed}{signature}\n");
    let path = manifest_path(image);
    fs::write(&path, &head).with_context(|| format!("cannot write {}", path.display()))?;
    let path = update_path(image);
    let what = || format!("cannot write {}", path.display());
    let mut update = BufWriter::new(File::create(&path).with_context(what)?);
    update.write_all(head.as_bytes()).with_context(what)?;
    for part in &release.parts {
        std::io::copy(&mut File::open(part)?, &mut update).with_context(what)?;
    }
    update.flush().with_context(what)
}

/// The signature over `bytes`, in base64.
fn sign(bytes: &[u8], tree: &Tree, keys: &Keys) -> anyhow::Result<String> {
    let directory = crate::place::cache()?.join("signing");
    tree::remove(&directory)?;
    fs::create_dir_all(&directory)?;
    let (input, output) = (directory.join("signed"), directory.join("signature"));
    fs::write(&input, bytes)?;
    let pair = &keys.release;
    let mut command = keys.openssl(tree, &[&directory]);
    command.args(["dgst", "-sha256", "-sign", &pair.key.text()]);
    if matches!(pair.key, Key::Token(_)) {
        command.args(["-provider", "pkcs11", "-provider", "default"]);
    }
    command.arg("-out").arg(&output).arg(&input);
    tree::output(&mut command).context("signing the release")?;
    let mut check = keys.openssl(tree, &[&directory]);
    check.args(["dgst", "-sha256", "-verify"]).arg(&pair.public);
    check.arg("-signature").arg(&output).arg(&input);
    tree::output(&mut check).context(
        "the release's signature does not verify: key and public key do not belong together",
    )?;
    let mut encode = tree.command(&[&directory], "openssl");
    encode.args(["base64", "-A", "-in"]).arg(&output);
    let text = String::from_utf8(tree::output(&mut encode)?)?;
    tree::remove(&directory)?;
    ensure!(!text.trim().is_empty(), "openssl made an empty signature");
    Ok(text.trim().to_owned())
}

/// Size and SHA-256 of a file.
pub fn measure(path: &Path) -> anyhow::Result<(u64, String)> {
    let what = || format!("cannot read {}", path.display());
    let mut file = BufReader::new(File::open(path).with_context(what)?);
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece).with_context(what)?;
        if read == 0 {
            return Ok((size, hex(&hasher.finalize())));
        }
        size += read as u64;
        hasher.update(&piece[..read]);
    }
}

/// Cuts the zeros off the end of a file, to whole pieces.
fn cut_zeros(path: &Path) -> anyhow::Result<()> {
    let what = || format!("cannot cut {}", path.display());
    let mut file = File::options().read(true).write(true).open(path).with_context(what)?;
    let (mut position, mut end) = (0, 0);
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece).with_context(what)?;
        if read == 0 {
            break;
        }
        position += read as u64;
        if piece[..read].iter().any(|byte| *byte != 0) {
            end = position;
        }
    }
    file.set_len(end).with_context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slots_partitions_are_named_by_the_root_hash() {
        assert_eq!(
            uuid_of("00112233445566778899aabbccddeeff"),
            "00112233-4455-6677-8899-aabbccddeeff"
        );
    }

    #[test]
    fn zeros_at_the_end_are_cut_and_the_rest_is_measured() {
        let path = std::env::temp_dir().join(format!("hufu-cut-{}", std::process::id()));
        let mut bytes = vec![7; 10];
        bytes.resize(5 * PIECE, 0);
        fs::write(&path, &bytes).unwrap();
        cut_zeros(&path).unwrap();
        let (size, digest) = measure(&path).unwrap();
        assert_eq!(size, PIECE as u64);
        assert_eq!(digest, hex(&Sha256::digest(&bytes[..PIECE])));
        fs::remove_file(&path).unwrap();
    }
}
