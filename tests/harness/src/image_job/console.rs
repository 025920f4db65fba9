//! What the image's console showed.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// The text without control sequences.
fn plain(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw.chars().filter(|one| *one != '\r').peekable();
    while let Some(one) = rest.next() {
        if one != '\u{1b}' {
            text.push(one);
        } else if rest.next_if_eq(&'[').is_some() {
            // A control sequence ends with a letter or one of `@` to `~`.
            while rest.next().is_some_and(|one| !('@'..='~').contains(&one)) {}
        }
    }
    text
}

/// The last value that the console showed after `name`.
pub fn last(file: &Path, name: &str) -> anyhow::Result<String> {
    let raw = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = plain(&String::from_utf8_lossy(&raw));
    text.lines()
        .rev()
        .find_map(|line| line.strip_prefix(name))
        .map(|value| value.trim().to_owned())
        .with_context(|| format!("the console shows no `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_no_part_of_what_is_said() {
        assert_eq!(plain("\u{1b}[0;32mCode:\u{1b}[0m  A\r\n"), "Code:  A\n");
    }
}
