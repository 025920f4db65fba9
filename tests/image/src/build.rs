//! `cargo xtask image build`.

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::keys::{Given, Key, Keys};
use crate::mirror::Mirror;
use crate::place::value;
use crate::release::{self, Release};
use crate::sbom;
use crate::tree::{self, Tree};
use xtask::command;

/// Where no commit gives the date of what is built.
const NO_DATE: &str = "1750000000";

/// What to build.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The kernel for virtual machines.
    pub cloud: bool,
    /// Instead of the workspace's.
    pub version: Option<String>,
    /// Instead of the commit's; seconds since 1970.
    pub date: Option<String>,
    /// Instead of `image/release.json`'s.
    pub order: Option<Order>,
    /// A `hufu` that is built already.
    pub program: Option<PathBuf>,
    /// Keys.
    pub given: Given,
    /// Files, by their path in the image, that spoil it: for tests.
    pub overlay: Vec<(&'static str, String)>,
}

impl Options {
    /// Reads the command line.
    pub fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if !options.take(argument, &mut rest)? {
                bail!("image build does not know `{argument}`; see `cargo xtask image help`");
            }
        }
        Ok(options)
    }

    /// Takes an option, if it is one of ours.
    pub fn take<'a>(
        &mut self,
        argument: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> anyhow::Result<bool> {
        let given = &mut self.given;
        let mut text = || value(argument, rest).cloned();
        match argument {
            "--cloud" => self.cloud = true,
            "--version" => {
                let version = text()?;
                check_version(&version)?;
                self.version = Some(version);
            }
            "--order" => self.order = Some(Order::parse(&text()?)?),
            "--secure-boot-key" => given.secure_boot_key = Some(Key::parse(&text()?)),
            "--secure-boot-certificate" => given.secure_boot_certificate = Some(text()?.into()),
            "--pcr-key" => given.pcr_key = Some(Key::parse(&text()?)),
            "--pcr-certificate" => given.pcr_certificate = Some(text()?.into()),
            "--release-key" => given.release_key = Some(Key::parse(&text()?)),
            "--release-public" => given.release_public = Some(text()?.into()),
            "--env" => given.environment.push(text()?),
            "--share" => given.shared.push(text()?.into()),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The label of a partition, which has it in it, has 36 characters.
const LONGEST_VERSION: usize = 24;

/// What the updater takes: a TPM's counter goes up one by one.
const SEQUENCES: RangeInclusive<u32> = 1..=100_000;

/// Where a release stands among releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its number: greater than those of the releases before.
    pub sequence: u32,
    /// Once it is there to stay, no release with a smaller number runs any more.
    pub floor: u32,
}

impl Order {
    /// `NUMBER/FLOOR`.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let numbers = text.split_once('/');
        let numbers = numbers.and_then(|(one, two)| Some((one.parse().ok()?, two.parse().ok()?)));
        let (sequence, floor) =
            numbers.with_context(|| format!("--order takes NUMBER/FLOOR, not `{text}`"))?;
        Self { sequence, floor }.check()
    }

    /// That in `image/release.json`.
    fn of_tree() -> anyhow::Result<Self> {
        let path = crate::place::source()?.join("image/release.json");
        let what = || format!("in {}", path.display());
        let text = fs::read_to_string(&path).with_context(what)?;
        let file: Value = serde_json::from_str(&text).with_context(what)?;
        let number = |name: &str| file[name].as_u64().and_then(|number| number.try_into().ok());
        let (sequence, floor) = number("sequence")
            .zip(number("floor"))
            .context("sequence and floor are numbers")
            .with_context(what)?;
        Self { sequence, floor }.check().with_context(what)
    }

    fn check(self) -> anyhow::Result<Self> {
        let Self { sequence, floor } = self;
        ensure!(
            SEQUENCES.contains(&sequence) && floor <= sequence,
            "a release's number is from {} to {}, and its floor not above it",
            SEQUENCES.start(),
            SEQUENCES.end()
        );
        Ok(self)
    }
}

/// Numbers with dots between, as the updater compares them.
fn check_version(version: &str) -> anyhow::Result<()> {
    let number = |part: &str| {
        (1..=9).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    ensure!(
        version.len() <= LONGEST_VERSION && version.split('.').all(number),
        "--version takes numbers with dots between, not `{version}`"
    );
    Ok(())
}

/// What was built.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its version.
    pub version: String,
    /// Which releases may follow it.
    pub order: Order,
    /// The disk.
    pub disk: PathBuf,
    /// The unified kernel image.
    pub uki: PathBuf,
    /// The root file system.
    pub root: PathBuf,
    /// What packages were installed, from before they were forgotten.
    pub packages: PathBuf,
    /// The bill of materials, CycloneDX.
    pub sbom: PathBuf,
    /// The root of the tree of hashes over the root file system.
    pub root_hash: String,
    /// What its files are dated with; seconds since 1970.
    pub date: String,
}

/// Builds an image, into the target directory.
pub fn image(options: &Options) -> anyhow::Result<Image> {
    let started = Instant::now();
    let _turn = crate::place::turn("build")?;
    let tree = Tree::ready()?;
    let keys = Keys::of(&options.given, &tree)?;
    let version = match &options.version {
        Some(version) => version.clone(),
        None => workspace_version()?,
    };
    check_version(&version)?;
    let kernel = kernel(options.cloud);
    let order = options.order.map_or_else(Order::of_tree, Ok)?;
    let own = json!({
        "version": version,
        "sequence": order.sequence,
        "floor": order.floor,
        "kernel": kernel,
    });
    let date = options.date.clone().map_or_else(date, Ok)?;
    let program = options.program.clone().map_or_else(program, Ok)?;
    let cache = crate::place::cache()?.join("mkosi");
    let project = cache.join("project");
    stage(&project, &program, &keys, &own)?;
    for (path, content) in &options.overlay {
        let path = project.join("mkosi.extra").join(path);
        fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    settle(&project)?;

    let output = crate::place::output()?;
    let built = output.join("mkosi");
    tree::remove(&built)?;
    for directory in ["cache", "packages", "workspace"] {
        fs::create_dir_all(cache.join(directory))?;
    }
    fs::create_dir_all(&built).with_context(|| format!("cannot make {}", built.display()))?;
    println!(
        "building {version}, number {}, with the kernel for {kernel}; see {}",
        order.sequence,
        output.display()
    );
    let mkosi = Instant::now();
    let mut shared: Vec<&Path> = keys.shared.iter().map(PathBuf::as_path).collect();
    shared.extend([cache.as_path(), output.as_path()]);
    let mut make = tree.command(&shared, "nice");
    make.args(["-n", "10"]);
    make.arg("mkosi").arg("--directory").arg(&project);
    for setting in &keys.environment {
        make.args(["--environment", setting]);
    }
    make.args(["--force", "--profile", kernel, "--image-version", &version]);
    // A cache of its own for each kernel, or each build would empty the other's.
    let caches = cache.join("cache").join(kernel);
    fs::create_dir_all(&caches)?;
    for (option, directory) in [
        ("--output-directory", &built),
        ("--cache-directory", &caches),
        ("--package-cache-directory", &cache.join("packages")),
        ("--workspace-directory", &cache.join("workspace")),
    ] {
        make.arg(option).arg(directory);
    }
    make.args(["--source-date-epoch", &date]);
    for (pair, key, source, certificate) in [
        (
            &keys.secure_boot,
            "--secure-boot-key",
            "--secure-boot-key-source",
            "--secure-boot-certificate",
        ),
        (
            &keys.pcr,
            "--sign-expected-pcr-key",
            "--sign-expected-pcr-key-source",
            "--sign-expected-pcr-certificate",
        ),
    ] {
        make.args([key, &pair.key.text()]).arg(certificate).arg(&pair.public);
        if matches!(pair.key, Key::Token(_)) {
            make.args([source, "provider:pkcs11"]);
        }
    }
    make.arg("build");
    tree::logged(&mut make, &output.join("build.log")).context("mkosi")?;
    println!("mkosi took {}", command::seconds(mkosi.elapsed()));

    let image = collect(&built, &output, &version, order, date)?;
    sbom::write(&image.sbom, &version, &built)?;
    let release = Release::of(&image, kernel)?;
    release::write(&release, &image, &tree, &keys)?;
    tree::remove(&built)?;
    report(&output, &image)?;
    println!("built {version} in {}", command::seconds(started.elapsed()));
    Ok(image)
}

/// Forgets what builds have installed, so that the next one installs it anew.
pub fn forget(cloud: bool) -> anyhow::Result<()> {
    tree::remove(&crate::place::cache()?.join("mkosi/cache").join(kernel(cloud)))
}

fn kernel(cloud: bool) -> &'static str {
    if cloud { "cloud" } else { "metal" }
}

/// The program that the image is for: the one that `HUFU_BIN` names, else that
/// of this tree, without what tests want of its crates.
fn program() -> anyhow::Result<PathBuf> {
    made(&["-p", "hufu"])
}

/// The same, with the tests' own programs beside it; as the demonstration builds
/// it, so that there is one.
pub fn tested_program() -> anyhow::Result<PathBuf> {
    made(&["-p", "hufu", "-p", "hufu-harness", "--bins"])
}

fn made(packages: &[&str]) -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("HUFU_BIN") {
        return Ok(PathBuf::from(path));
    }
    crate::place::shown(
        command::cargo()
            .args(["build", "--release", "--locked"])
            .args(packages)
            .current_dir(crate::place::source()?),
    )?;
    let target = command::target_directory().map_err(anyhow::Error::msg)?;
    Ok(target.join("release/hufu"))
}

/// Seconds since 1970 that every file in the image is dated with: those of the
/// commit, so that who builds it again gets the same image.
fn date() -> anyhow::Result<String> {
    let commit = command::output_of(
        Command::new("git")
            .args(["log", "-1", "--format=%ct"])
            .current_dir(crate::place::source()?),
    );
    Ok(commit
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| NO_DATE.to_owned()))
}

/// The version in the workspace's manifest.
fn workspace_version() -> anyhow::Result<String> {
    let manifest = crate::place::source()?.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)
        .with_context(|| format!("cannot read {}", manifest.display()))?;
    let section = text.split("[workspace.package]").nth(1).context("no [workspace.package]")?;
    let line = section.lines().find_map(|line| line.strip_prefix("version = \""));
    let version = line.and_then(|rest| rest.split('"').next());
    Ok(version.context("no version in [workspace.package]")?.to_owned())
}

/// Puts the project together: `image/`, the program, the keys to verify with,
/// the mirror.
fn stage(project: &Path, program: &Path, keys: &Keys, own: &Value) -> anyhow::Result<()> {
    tree::remove(project)?;
    copy(&crate::place::source()?.join("image"), project)?;
    let extra = project.join("mkosi.extra");
    for (from, to, mode) in [
        (program, "usr/bin/hufu", 0o755),
        (&keys.release.public, "usr/share/hufu/release.pem", 0o644),
        // Verifies extensions.
        (&keys.secure_boot.public, "usr/lib/verity.d/hufu.crt", 0o644),
    ] {
        let to = extra.join(to);
        fs::create_dir_all(to.parent().context("a file has a directory")?)?;
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(mode))?;
    }
    fs::write(extra.join("usr/share/hufu/release.json"), format!("{own}\n"))?;
    // What only a debugger reads stays here.
    let mut strip = Command::new("strip");
    tree::output(strip.arg("--strip-debug").arg(extra.join("usr/bin/hufu")))?;
    let sources = project.join("mkosi.sandbox/etc/apt/sources.list.d");
    fs::create_dir_all(&sources)?;
    fs::write(sources.join("mkosi.sources"), Mirror::of_this_machine().sources())?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Gives files and directories the permissions of git's, whatever the umask of
/// whoever checked them out.
fn settle(directory: &Path) -> anyhow::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            settle(&entry.path())?;
        } else {
            let runs = entry.metadata()?.permissions().mode() & 0o100 != 0;
            let mode = if runs { 0o755 } else { 0o644 };
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// Takes what mkosi made to where it is looked for.
fn collect(
    built: &Path,
    output: &Path,
    version: &str,
    order: Order,
    date: String,
) -> anyhow::Result<Image> {
    let take = |from: &str, to: &str| -> anyhow::Result<PathBuf> {
        let target = output.join(to);
        let from = built.join(from);
        fs::rename(&from, &target).with_context(|| format!("mkosi made no {}", from.display()))?;
        Ok(target)
    };
    let name = |rest: &str| format!("hufu_{version}{rest}");
    let uki = take(&name(".efi"), &name(".efi"))?;
    fs::set_permissions(&uki, fs::Permissions::from_mode(0o644))?;
    let disk = take(&name(".raw"), &name(".raw"))?;
    fs::set_permissions(&disk, fs::Permissions::from_mode(0o644))?;
    take(&name(".root-verity.raw"), &name(".root-verity"))?;
    Ok(Image {
        version: version.to_owned(),
        order,
        root_hash: root_hash(&uki)?,
        root: take(&name(".root.raw"), &name(".root"))?,
        packages: take("packages.tar", &name(".packages.tar"))?,
        sbom: output.join(name(".cdx.json")),
        uki,
        disk,
        date,
    })
}

/// The root hash in the command line of a unified kernel image.
fn root_hash(uki: &Path) -> anyhow::Result<String> {
    const WORD: &[u8] = b"roothash=";
    let bytes = fs::read(uki).with_context(|| format!("cannot read {}", uki.display()))?;
    bytes
        .windows(WORD.len() + 64)
        .filter(|window| window.starts_with(WORD))
        .map(|window| &window[WORD.len()..])
        .find(|hash| hash.iter().all(u8::is_ascii_hexdigit))
        .map(|hash| String::from_utf8_lossy(hash).into_owned())
        .with_context(|| format!("{} has no root hash in its command line", uki.display()))
}

fn report(output: &Path, image: &Image) -> anyhow::Result<()> {
    let mut names: Vec<PathBuf> = fs::read_dir(output)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&format!("hufu_{}.", image.version))
        })
        .collect();
    names.sort();
    println!("root hash {}", image.root_hash);
    for path in names {
        let size = fs::metadata(&path)?.len();
        println!("  {:>7.1} MB  {}", size as f64 / 1e6, path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_fit_where_they_go() {
        for good in ["0.1.0", "2026.10", "1"] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for bad in ["", "1+2", "1_2", "a", "1.", "1.2.3.4.5.6.7.8.9.10.11.12.13"] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn options_are_read() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let options =
            Options::parse(&words("--cloud --version 2 --order 7/3 --release-key pkcs11:object=r"))
                .unwrap();
        assert!(options.cloud);
        assert_eq!(options.order, Some(Order { sequence: 7, floor: 3 }));
        assert_eq!(options.version.as_deref(), Some("2"));
        assert_eq!(options.given.release_key, Some(Key::Token("pkcs11:object=r".to_owned())));
        assert!(Options::parse(&words("--version")).is_err());
        assert!(Options::parse(&words("--clod")).is_err());
        assert!(Options::parse(&words("--order 3/7")).is_err());
    }

    #[test]
    fn the_workspace_has_a_version() {
        assert!(check_version(&workspace_version().unwrap()).is_ok());
    }
}
