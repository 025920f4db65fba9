//! The tree of tools: a Debian with mkosi, QEMU and all else that building and
//! booting the image needs, made once, entered by chroot.
//!
//! This way what runs here is the same everywhere, and the machine itself needs
//! `mmdebstrap` alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};

use crate::mirror::{Mirror, RELEASE};
use xtask::command;

const PACKAGES: &[&str] = &[
    // Builds.
    "ca-certificates",
    "cpio",
    "cryptsetup-bin",
    "debian-archive-keyring",
    "dosfstools",
    "e2fsprogs",
    "erofs-utils",
    "fdisk",
    "kmod",
    "mkosi",
    "mtools",
    "nftables",
    "openssl",
    "pkcs11-provider",
    "python3-cryptography",
    "python3-pefile",
    "sbsigntool",
    "systemd-boot",
    "systemd-boot-efi",
    "systemd-container",
    "systemd-cryptsetup",
    "systemd-repart",
    "systemd-ukify",
    "zstd",
    // Boots.
    "chrony",
    "ovmf",
    "qemu-system-x86",
    "swtpm",
    "swtpm-tools",
    // Judges.
    "kernel-hardening-checker",
    "opensc",
    "p11-kit",
    "p11-kit-modules",
    "softhsm2",
];

/// Goes into the tree: mounts what a chroot needs, and the directories that are
/// to be seen in it at their own paths. The tree must be a mount point, or
/// mkosi finds no root to make its own from.
const ENTER: &str = r#"
tree=$1
shift
mount --bind "$tree" "$tree"
mount --rbind /dev "$tree/dev"
mount -t proc proc "$tree/proc"
mount --rbind /sys "$tree/sys"
mount -t tmpfs tmpfs "$tree/run"
mount -t tmpfs tmpfs "$tree/tmp"
[ ! -e /etc/resolv.conf ] || mount --bind /etc/resolv.conf "$tree/etc/resolv.conf"
while [ "$1" != -- ]; do
    mkdir -p "$tree$1"
    mount --rbind "$1" "$tree$1"
    shift
done
shift
exec chroot "$tree" /usr/bin/env -i HOME=/root LANG=C.UTF-8 TERM=dumb \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
"#;

/// Why there can be no tree here, if so.
pub fn obstacle() -> Option<String> {
    let root = command::output_of(Command::new("id").arg("-u"));
    if root.is_none_or(|identifier| identifier.trim() != "0") {
        return Some("it takes root, to enter a tree of tools by chroot".to_owned());
    }
    if !cfg!(target_arch = "x86_64") {
        return Some("the image is for x86-64, and so are the tools".to_owned());
    }
    if !command::is_in_path("mmdebstrap") {
        return Some("mmdebstrap is missing: apt-get install mmdebstrap".to_owned());
    }
    let unshared = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "true"])
        .stderr(Stdio::null())
        .status();
    if !unshared.is_ok_and(|status| status.success()) {
        return Some("this machine gives no namespaces of its own (unshare --mount)".to_owned());
    }
    None
}

/// The tree.
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The tree, made now where it is missing.
    pub fn ready() -> anyhow::Result<Self> {
        let cache = crate::place::cache()?;
        // What it is made of; the mirror does not matter. Another recipe makes
        // another tree: the one before may be in use.
        let recipe = format!("{RELEASE}\n{}\n", PACKAGES.join("\n"));
        let name = crate::place::hex(&Sha256::digest(&recipe)[..4]);
        let root = cache.join(format!("tools-{name}"));
        let _turn = crate::place::turn("tools")?;
        if root.exists() {
            return Ok(Self { root });
        }
        println!("the tools are missing and are put into {}", root.display());
        let started = Instant::now();
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        let fresh = cache.join("tools.new");
        remove(&fresh)?;
        let log = cache.join("tools.log");
        let mut make = Command::new("nice");
        make.args(["-n", "10", "mmdebstrap", "--variant=apt", "--components=main"])
            .arg(format!("--include={}", PACKAGES.join(",")))
            .arg(RELEASE)
            .arg(&fresh)
            .args(Mirror::of_this_machine().lines());
        logged(&mut make, &log).context(
            "the tree of tools cannot be made; it comes from the Debian mirror that apt uses here",
        )?;
        if !fresh.join("etc/resolv.conf").exists() {
            fs::write(fresh.join("etc/resolv.conf"), "")?;
        }
        fs::rename(&fresh, &root)?;
        println!("made the tools in {}", command::seconds(started.elapsed()));
        Ok(Self { root })
    }

    /// A program of the tree, which sees `shared` at their own paths. It and
    /// all that it starts ends when the command is killed, and with us.
    pub fn command(&self, shared: &[&Path], program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "unshare"])
            .args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"])
            .args(["sh", "-euc", ENTER, "enter"])
            .arg(&self.root)
            .args(shared)
            .args(["--", program])
            .stdin(Stdio::null());
        command
    }

    /// A file of the tree, as seen from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }
}

/// Removes a directory, if it is there.
pub fn remove(directory: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// Runs a command with its output in a file, whose end is shown when it fails.
pub fn logged(command: &mut Command, log: &Path) -> anyhow::Result<()> {
    const SHOWN: usize = 25;
    let file = fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("`{}` did not start", command::shown(command)))?;
    let end = || {
        let bytes = fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    };
    ensure!(status.success(), "it ended with {status}; {} ends:\n{}", log.display(), end());
    Ok(())
}

/// Runs a command and gives what it printed.
pub fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("`{}` did not start", command::shown(command)))?;
    ensure!(
        output.status.success(),
        "`{}` ended with {}: {}",
        last_words(command),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}

/// What a command runs in the tree.
fn last_words(command: &Command) -> String {
    let words: Vec<String> =
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let from = words.iter().position(|word| word == "--").map_or(0, |at| at + 1);
    words[from..].join(" ")
}
