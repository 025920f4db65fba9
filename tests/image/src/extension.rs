//! `cargo xtask image extension`: a signed extension of the image, such as an HSM
//! maker's PKCS#11 module.
//!
//! It is a disk image of its own (systemd-sysext(8)): a root file system with the
//! files below `/usr`, its tree of hashes, and a signature of the root hash by
//! the Secure Boot key, whose certificate is in the appliance's image.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::build::Options;
use crate::keys::{Given, Key, Keys};
use crate::place::value;
use crate::tree::{self, Tree};

/// Where modules go in the image.
const MODULES: &str = "usr/lib/hufu/modules";

/// What to build.
#[derive(Clone, Debug, Default)]
pub struct Extension {
    /// Its name: lower-case letters, digits and `-`.
    pub name: String,
    /// The files of the module, which go to `/usr/lib/hufu/modules/NAME/`.
    pub files: Vec<PathBuf>,
    /// Keys.
    pub given: Given,
}

impl Extension {
    /// Reads the command line.
    pub fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut extension = Self::default();
        let mut options = Options::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--name" => extension.name.clone_from(value(argument, &mut rest)?),
                "--file" => extension.files.push(value(argument, &mut rest)?.into()),
                _ if options.take(argument, &mut rest)? => {}
                _ => bail!("image extension does not know `{argument}`; see `image help`"),
            }
        }
        extension.given = options.given;
        Ok(extension)
    }
}

/// Builds an extension, into the target directory.
pub fn build(extension: &Extension) -> anyhow::Result<PathBuf> {
    let Extension { name, files, given } = extension;
    let character = |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'-';
    ensure!(
        (1..=32).contains(&name.len()) && name.bytes().all(character),
        "--name takes up to 32 lower-case letters, digits and `-`, not `{name}`"
    );
    ensure!(!files.is_empty(), "--file FILE names a file of the module; give one at least");
    let _turn = crate::place::turn("build")?;
    let tree = Tree::ready()?;
    let keys = Keys::of(given, &tree)?;
    let work = crate::place::cache()?.join("extension");
    tree::remove(&work)?;
    let (root, definitions) = (work.join("root"), work.join("definitions"));
    let release = root.join("usr/lib/extension-release.d");
    let module = root.join(MODULES).join(name);
    for directory in [&definitions, &release, &module] {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    // Whichever version of the image runs.
    let told = "ID=_any\nARCHITECTURE=x86-64\n";
    fs::write(release.join(format!("extension-release.{name}")), told)?;
    for file in files {
        let base = file.file_name().with_context(|| format!("{} is no file", file.display()))?;
        let to = module.join(base);
        fs::copy(file, &to).with_context(|| format!("cannot copy {}", file.display()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o644))?;
    }
    for (file, lines) in [
        ("10-root", "Type=root\nFormat=erofs\nCopyFiles=/\nVerity=data\nMinimize=best"),
        ("20-verity", "Type=root-verity\nVerity=hash\nMinimize=best"),
        ("30-signature", "Type=root-verity-sig\nVerity=signature"),
    ] {
        let content = format!("[Partition]\n{lines}\nVerityMatchKey=root\n");
        fs::write(definitions.join(format!("{file}.conf")), content)?;
    }
    let output = crate::place::output()?;
    fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
    let path = output.join(format!("{name}.raw"));
    // What is there is not overwritten by the tool.
    let _ = fs::remove_file(&path);
    let shared: Vec<&Path> =
        keys.shared.iter().map(PathBuf::as_path).chain([work.as_path(), &output]).collect();
    let mut repart = tree.command(&shared, "env");
    repart.args(&keys.environment).arg("systemd-repart");
    repart.args(["--dry-run=no", "--empty=create", "--size=auto", "--offline=yes"]);
    repart.arg("--definitions").arg(&definitions).arg("--copy-source").arg(&root);
    repart.args(["--private-key", &keys.secure_boot.key.text()]);
    repart.arg("--certificate").arg(&keys.secure_boot.public);
    if matches!(keys.secure_boot.key, Key::Token(_)) {
        repart.arg("--private-key-source=provider:pkcs11");
    }
    tree::output(repart.arg(&path)).context("the extension")?;
    tree::remove(&work)?;
    println!("{}", path.display());
    Ok(path)
}
