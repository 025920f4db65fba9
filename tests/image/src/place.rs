//! Where things are kept, and small things that several files do.

use std::fs::File;
use std::path::PathBuf;

use anyhow::Context as _;
use xtask::command;

/// Where the tree of tools, keys, caches and machines are kept.
pub fn cache() -> anyhow::Result<PathBuf> {
    Ok(command::cache_directory().map_err(anyhow::Error::msg)?.join("image"))
}

/// Where what is built goes.
pub fn output() -> anyhow::Result<PathBuf> {
    Ok(command::target_directory().map_err(anyhow::Error::msg)?.join("image"))
}

/// The source tree.
pub fn source() -> anyhow::Result<PathBuf> {
    command::root().map_err(anyhow::Error::msg)
}

/// Runs a command that is shown as it was typed.
pub fn shown(command: &mut std::process::Command) -> anyhow::Result<()> {
    command::run(command).map_err(anyhow::Error::msg)
}

/// Waits until nobody else does `what` in the cache; ends when it is dropped.
pub fn turn(what: &str) -> anyhow::Result<File> {
    let cache = cache()?;
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let path = cache.join(format!("{what}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if file.try_lock().is_err() {
        println!("waiting for another `cargo xtask image` ({})", path.display());
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// The value after an option.
pub fn value<'a>(
    option: &str,
    rest: &mut impl Iterator<Item = &'a String>,
) -> anyhow::Result<&'a String> {
    rest.next().with_context(|| format!("{option} takes a value; see `cargo xtask image help`"))
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
