//! What is in the image, looked at from outside with other people's tools.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::checks::bench::Bench;
use crate::tree;

/// Exposure that a unit of ours may have, of 10 (`systemd-analyze security`).
const UNITS: &[(&str, f64)] = &[("hufu.service", 1.5), ("hufu-appliance.service", 4.0)];

/// Programs that run what somebody writes.
const INTERPRETERS: &[&str] = &[
    "ash", "awk", "bash", "busybox", "csh", "dash", "fish", "gawk", "gdb", "ksh", "lua", "mawk",
    "perl", "python", "rbash", "ruby", "sh", "socat", "tclsh", "vi", "vim", "zsh", "as", "cc",
    "clang", "g++", "gcc", "ld", "make", "rustc", "sshd", "agetty", "getty", "login", "su", "sudo",
    "sulogin", "apt", "dpkg", "curl", "wget", "nc",
];

/// What `kernel-hardening-checker` says of the command line and of sysctl and
/// we do otherwise, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("bdev_allow_write_mounted", "systemd-repart fills /var while it has its device open"),
    ("nosmt", "mitigations=auto,nosmt takes a processor's second threads where it leaks by them"),
    ("pti", "mitigations=auto has it where the processor needs it (docs/decisions/0013)"),
    ("kernel.modules_disabled", "drivers load as needed, and lockdown lets in signed ones only"),
];

/// Looks at everything.
pub fn look(bench: &Bench) -> anyhow::Result<()> {
    let place = crate::place::cache()?.join("machines/inside");
    tree::remove(&place)?;
    fs::create_dir_all(&place)?;
    let root = place.join("root");
    let from = bench.image.root.parent().context("the image is in no directory")?;
    let mut extract = bench.tree.command(&[&place, from], "fsck.erofs");
    extract.arg(format!("--extract={}", root.display())).arg(&bench.image.root);
    tree::output(&mut extract).context("unpacking the root file system")?;
    let packages = place.join("packages");
    fs::create_dir_all(&packages)?;
    let mut unpack = std::process::Command::new("tar");
    unpack.arg("-xf").arg(&bench.image.packages).arg("-C").arg(&packages);
    tree::output(&mut unpack).context("unpacking dpkg's records")?;

    let mut files = Vec::new();
    walk(&root, &mut files)?;
    let relative =
        |path: &Path| path.strip_prefix(&root).unwrap_or(path).to_string_lossy().into_owned();

    let privileged: Vec<String> = files
        .iter()
        .filter(|(_, mode)| mode & 0o6000 != 0)
        .map(|(path, _)| relative(path))
        .collect();
    ensure!(privileged.is_empty(), "files run with their owner's rights: {privileged:?}");
    println!("{} files, none setuid or setgid", files.len());

    let interpreters: Vec<String> = files
        .iter()
        .filter(|(_, mode)| mode & 0o111 != 0)
        .map(|(path, _)| path)
        .chain(&links(&root)?)
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let plain = name.trim_end_matches(|one: char| one.is_ascii_digit() || one == '.');
            INTERPRETERS.contains(&name.as_str()) || INTERPRETERS.contains(&plain)
        })
        .map(|path| relative(path))
        .filter(|path| path.contains("bin/"))
        .collect();
    ensure!(interpreters.is_empty(), "these can be used as a shell: {interpreters:?}");
    accounts(&root)?;
    println!("no shell, interpreter, compiler or log-in program; all accounts are locked");

    for (unit, bar) in UNITS {
        let score = exposure(bench, &place, &root, unit)?;
        println!("{unit:<24} exposure {score} of 10, at most {bar}");
        ensure!(score <= *bar, "{unit} is exposed {score}, more than {bar}");
    }
    hardening(bench, &place, &root)?;
    bill(bench, &packages, &files, &root)?;
    tree::remove(&place)
}

/// All files under `directory`, with their permissions.
fn walk(directory: &Path, files: &mut Vec<(PathBuf, u32)>) -> anyhow::Result<()> {
    let what = || format!("cannot read {}", directory.display());
    for entry in fs::read_dir(directory).with_context(what)? {
        let entry = entry.with_context(what)?;
        let metadata = fs::symlink_metadata(entry.path()).with_context(what)?;
        if metadata.is_dir() {
            walk(&entry.path(), files)?;
        } else if metadata.is_file() {
            files.push((entry.path(), metadata.permissions().mode()));
        }
    }
    Ok(())
}

/// Links where programs are looked for.
fn links(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for directory in ["usr/bin", "usr/sbin"] {
        for entry in fs::read_dir(root.join(directory))? {
            let entry = entry?;
            if entry.file_type()?.is_symlink() {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// Nobody logs in: no password, no program to be started for one.
fn accounts(root: &Path) -> anyhow::Result<()> {
    for line in fs::read_to_string(root.join("etc/passwd"))?.lines() {
        let shell = line.rsplit(':').next().unwrap_or_default();
        ensure!(shell == "/usr/sbin/nologin", "an account with a shell: {line}");
    }
    for line in fs::read_to_string(root.join("etc/shadow"))?.lines() {
        let password = line.split(':').nth(1).unwrap_or_default();
        ensure!(password.starts_with(['!', '*']), "an account with a password: {line}");
    }
    Ok(())
}

/// How exposed `systemd-analyze` finds a unit.
fn exposure(bench: &Bench, place: &Path, root: &Path, unit: &str) -> anyhow::Result<f64> {
    let mut analyze = bench.tree.command(&[place], "systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager"]);
    analyze.arg(format!("--root={}", root.display())).arg(unit);
    let said = String::from_utf8(tree::output(&mut analyze)?)?;
    // `→ Overall exposure level for hufu.service: 1.1 OK :-)`
    let number = said
        .rsplit("exposure level for")
        .next()
        .and_then(|rest| rest.split_once(": "))
        .and_then(|(_, rest)| rest.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("systemd-analyze says no score of {unit}"))
}

/// What `kernel-hardening-checker` finds in the command line and in sysctl's
/// settings. The kernel's own configuration is Debian's, and is counted only.
fn hardening(bench: &Bench, place: &Path, root: &Path) -> anyhow::Result<()> {
    let modules = root.join("usr/lib/modules");
    let kernel = fs::read_dir(&modules)?.next().context("the image has no kernel modules")??;
    let line = place.join("cmdline");
    fs::write(&line, command_line(&bench.image.uki)?)?;
    let settings = place.join("sysctl");
    fs::write(&settings, fs::read(root.join("usr/lib/sysctl.d/90-hufu.conf"))?)?;
    let mut check = bench.tree.command(&[place], "kernel-hardening-checker");
    check.args(["-m", "json", "-c"]).arg(kernel.path().join("config"));
    check.arg("-l").arg(&line).arg("-s").arg(&settings);
    let said = String::from_utf8(tree::output(&mut check)?)?;
    let start = said.find('[').context("kernel-hardening-checker gave no JSON")?;
    let results: Vec<Value> =
        serde_json::from_str(said[start..].trim()).context("what kernel-hardening-checker gave")?;
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut failed = Vec::new();
    for result in &results {
        let text = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
        let passed = result["check_result_bool"]
            .as_bool()
            .unwrap_or_else(|| text("check_result").starts_with("OK"));
        let count = counts.entry(text("type")).or_default();
        if passed {
            count.0 += 1;
        } else {
            count.1 += 1;
            if text("type") != "kconfig" {
                failed.push((text("option_name"), text("desired_val"), text("check_result")));
            }
        }
    }
    for (kind, (passed, rest)) in &counts {
        println!("kernel-hardening-checker, {kind:<8} {passed} ok, {rest} not");
    }
    for (name, wanted, found) in &failed {
        match EXCEPTIONS.iter().find(|(exception, _)| exception == name) {
            Some((_, reason)) => println!("{name} (wanted: {wanted}): {reason}"),
            None => println!("{name} (wanted: {wanted}): {found}"),
        }
    }
    let unexplained: Vec<&String> = failed
        .iter()
        .map(|(name, ..)| name)
        .filter(|name| !EXCEPTIONS.iter().any(|(exception, _)| exception == name))
        .collect();
    ensure!(unexplained.is_empty(), "settings without a reason: {unexplained:?}");
    Ok(())
}

/// The command line in a unified kernel image.
fn command_line(uki: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = fs::read(uki)?;
    let at = bytes
        .windows(9)
        .position(|window| window == b"roothash=")
        .context("the kernel image has no command line")?;
    let length = bytes[at..].iter().position(|byte| *byte == 0).unwrap_or(0);
    Ok(bytes[at..at + length].to_vec())
}

/// The bill of materials against what dpkg had on record, and every program and
/// library in the image against both.
fn bill(
    bench: &Bench,
    packages: &Path,
    files: &[(PathBuf, u32)],
    root: &Path,
) -> anyhow::Result<()> {
    let bill: Value = serde_json::from_slice(&fs::read(&bench.image.sbom)?)?;
    let components = bill["components"].as_array().context("a bill without components")?;
    let listed: BTreeSet<(String, String)> = components
        .iter()
        .filter(|one| one["purl"].as_str().unwrap_or_default().starts_with("pkg:deb/"))
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            (text("name"), text("version"))
        })
        .collect();
    let status = fs::read_to_string(packages.join("status")).context("dpkg's records")?;
    let installed: BTreeSet<(String, String)> = status
        .split("\n\n")
        .filter(|stanza| stanza.contains("Status: install ok installed"))
        .filter_map(|stanza| {
            let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
            Some((field("Package: ")?.to_owned(), field("Version: ")?.to_owned()))
        })
        .collect();
    let missing: Vec<_> = installed.difference(&listed).collect();
    ensure!(missing.is_empty(), "installed and not on the bill: {missing:?}");

    let mut owned = BTreeSet::new();
    for entry in fs::read_dir(packages.join("info"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "list") {
            owned.extend(fs::read_to_string(&path)?.lines().map(plain));
        }
    }
    let mut strays = Vec::new();
    let mut counted = 0;
    for (path, _) in files {
        if !is_program(path)? {
            continue;
        }
        counted += 1;
        let inside = format!("/{}", path.strip_prefix(root)?.display());
        if !owned.contains(&plain(&inside)) && inside != "/usr/bin/hufu" {
            strays.push(inside);
        }
    }
    ensure!(strays.is_empty(), "programs of no package: {strays:?}");
    println!(
        "{} packages and {} crates on the bill; of {counted} programs and libraries all are a \
         package's, or hufu",
        listed.len(),
        components.len() - listed.len()
    );
    Ok(())
}

/// A path with `/bin`, `/lib` and so on under `/usr`, where they are.
fn plain(path: &str) -> String {
    match path {
        path if path.starts_with("/usr/") => path.to_owned(),
        path if ["/bin/", "/sbin/", "/lib/", "/lib64/"].iter().any(|top| path.starts_with(top)) => {
            format!("/usr{path}")
        }
        path => path.to_owned(),
    }
}

/// Whether a file is an ELF file.
fn is_program(path: &Path) -> anyhow::Result<bool> {
    let mut start = [0; 4];
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(file.read(&mut start)? == 4 && &start == b"\x7fELF")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_a_merged_usr() {
        assert_eq!(plain("/lib/x86_64-linux-gnu/libc.so.6"), "/usr/lib/x86_64-linux-gnu/libc.so.6");
        assert_eq!(plain("/usr/bin/nft"), "/usr/bin/nft");
        assert_eq!(plain("/library"), "/library");
    }
}
