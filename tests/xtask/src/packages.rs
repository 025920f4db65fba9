//! The Debian packages that the build, the demonstration and the tests need.

use std::process::Command;

use crate::command;

/// What the packages are wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Build and demonstrate.
    Demo,
    /// Build the program and the image.
    Image,
    /// All of that, and the tests.
    Test,
}

struct Package {
    name: &'static str,
    why: &'static str,
    wanted: Wanted,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Always,
    ForImage,
    ForTests,
}

const fn always(name: &'static str, why: &'static str) -> Package {
    Package { name, why, wanted: Wanted::Always }
}

const fn for_image(name: &'static str, why: &'static str) -> Package {
    Package { name, why, wanted: Wanted::ForImage }
}

const fn for_tests(name: &'static str, why: &'static str) -> Package {
    Package { name, why, wanted: Wanted::ForTests }
}

const PACKAGES: &[Package] = &[
    always("build-essential", "C and C++ compiler for the cryptography and SQLite sources"),
    always("cmake", "builds aws-lc"),
    always("pkg-config", "finds the tss2 libraries"),
    always("libtss2-dev", "TPM 2.0 software stack"),
    always("libtss2-tcti-swtpm0", "lets the TPM stack talk to a software TPM"),
    always("softhsm2", "PKCS#11 token in software, one for each member"),
    always("swtpm", "software TPM 2.0, one for each TPM device"),
    always("swtpm-tools", "makes endorsement key certificates for the software TPMs"),
    always("openssl", "checks certificates, CRL and OCSP independently"),
    always("curl", "talks to the services as any client does"),
    for_image("mmdebstrap", "makes the tree of tools that builds and boots the image"),
    for_tests("libengine-pkcs11-openssl", "lets openssl sign with a token what must be refused"),
    for_tests("systemd", "seals PINs as an appliance does (systemd-creds)"),
    for_tests("opensc", "makes keys in a token that are not ours (pkcs11-tool)"),
    for_tests("tpm2-tools", "fills a TPM as a crashed program leaves it"),
    for_tests("libfaketime", "gives a node a clock that is wrong"),
    for_tests("strongswan-pki", "an EST client that is not ours"),
    for_tests("libstrongswan-standard-plugins", "elliptic curves for it"),
    for_tests("python3-venv", "holds pkilint, the certificate linter"),
];

/// Installs what is missing. Touches neither apt nor the network when nothing
/// is.
pub fn install(purpose: Purpose) -> Result<(), String> {
    let wanted = || {
        PACKAGES.iter().filter(|package| match package.wanted {
            Wanted::Always => true,
            Wanted::ForImage => purpose != Purpose::Demo,
            Wanted::ForTests => purpose == Purpose::Test,
        })
    };
    if !command::is_in_path("dpkg-query") {
        // Another distribution: its package names differ, so say what is
        // needed and let the build say what is not there.
        println!("this is not Debian; see to it that what these Debian packages hold is there:");
        for package in wanted() {
            println!("  {:<22} {}", package.name, package.why);
        }
        return Ok(());
    }
    let missing: Vec<&Package> = wanted().filter(|package| !is_installed(package.name)).collect();
    if missing.is_empty() {
        println!("Debian packages: all {} are installed", wanted().count());
        return Ok(());
    }
    println!("These Debian packages are missing:");
    for package in &missing {
        println!("  {:<22} {}", package.name, package.why);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let prefix = privilege().ok_or_else(|| {
        format!(
            "installing packages needs root, and neither are we root nor does `sudo` work without \
             a password; run this as root and try again:\n  apt-get update && apt-get install -y \
             --no-install-recommends {}",
            names.join(" ")
        )
    })?;
    println!("They are installed now.");
    let apt = |arguments: &[&str]| {
        let mut words = prefix.clone();
        // Through env(1), because sudo drops our environment.
        words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
        words.extend(arguments);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    };
    command::run(&mut apt(&["update"]))?;
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(&names);
    command::run(&mut apt(&install))?;
    match missing.iter().find(|package| !is_installed(package.name)) {
        None => Ok(()),
        Some(package) => Err(format!(
            "apt-get succeeded but the package `{}` is not installed; install it by hand",
            package.name
        )),
    }
}

fn is_installed(package: &str) -> bool {
    command::output_of(Command::new("dpkg-query").args([
        "--show",
        "--showformat=${db:Status-Status}",
        package,
    ]))
    .is_some_and(|status| status.trim() == "installed")
}

/// What to put before a command that needs root: nothing, or sudo that asks
/// no questions.
fn privilege() -> Option<Vec<&'static str>> {
    let is_root = command::output_of(Command::new("id").arg("-u"))
        .is_some_and(|identifier| identifier.trim() == "0");
    if is_root {
        return Some(Vec::new());
    }
    command::output_of(Command::new("sudo").args(["-n", "true"])).map(|_| vec!["sudo", "-n"])
}
