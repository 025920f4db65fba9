//! Running other programs: printed first, with an error that names them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The workspace's root: this crate is `tests/xtask`.
pub fn root() -> Result<PathBuf, String> {
    let here = PathBuf::from(
        std::env::var_os("CARGO_MANIFEST_DIR")
            .ok_or("run this through cargo: `cargo xtask ...` in the source tree")?,
    );
    here.ancestors()
        .nth(2)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{} is not tests/xtask of the source tree", here.display()))
}

/// Where cargo puts what it builds.
pub fn target_directory() -> Result<PathBuf, String> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => Ok(root()?.join(directory)),
        None => Ok(root()?.join("target")),
    }
}

/// Where tools go that are not Debian packages.
pub fn cache_directory() -> Result<PathBuf, String> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .ok_or("HOME is not set; set it, or XDG_CACHE_HOME, to a directory that can be written")?;
    Ok(base.join("hufu"))
}

/// The cargo that runs us.
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    // Cargo sets these for `cargo run`; a nested cargo must find its own.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// The cargo that runs us, with these compiler flags in place of those of
/// `.cargo/config.toml`.
pub fn cargo_with_flags(flags: &[&str]) -> Command {
    let mut command = cargo();
    // It would take precedence.
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", flags.join(" "));
    command
}

/// The command as a person would type it.
pub fn shown(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let variables = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}={}", name.to_string_lossy(), quoted(&value?.to_string_lossy())))
    });
    let arguments = command.get_args().map(|argument| quoted(&argument.to_string_lossy()));
    let program = std::iter::once(program.to_string_lossy().into_owned());
    variables.chain(program).chain(arguments).collect::<Vec<String>>().join(" ")
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains([' ', '\'', '"', '$', ';']) {
        format!("'{}'", word.replace('\'', "'\\''"))
    } else {
        word.to_owned()
    }
}

/// Runs `command` with our own output, printing it first.
pub fn run(command: &mut Command) -> Result<(), String> {
    println!("$ {}", shown(command));
    let status =
        command.status().map_err(|error| format!("`{}` did not start: {error}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", shown(command))) }
}

/// Runs `command` silently and gives its standard output when it succeeds.
pub fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `program` is in `PATH`.
pub fn is_in_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    })
}

/// Seconds with one decimal.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::shown;

    #[test]
    fn commands_are_shown_as_they_are_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "", "it's"]).env("RUSTFLAGS", "--cfg x").env_remove("OTHER");
        assert_eq!(shown(&command), r"RUSTFLAGS='--cfg x' cargo test '' 'it'\''s'");
    }
}
