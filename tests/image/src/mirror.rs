//! Where Debian is: the mirror that this machine uses itself.

use std::fs;
use std::path::Path;

/// Where there is none in the machine's own sources.
const DEFAULT: &str = "http://deb.debian.org/debian";
const DEFAULT_SECURITY: &str = "http://deb.debian.org/debian-security";

/// The archive's addresses.
#[derive(Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The archive.
    pub archive: String,
    /// Its security updates.
    pub security: String,
}

/// The release that image and tools are made of.
pub const RELEASE: &str = "trixie";

impl Mirror {
    /// That of this machine.
    pub fn of_this_machine() -> Self {
        let mut texts = Vec::new();
        let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
        let mut files: Vec<_> = parts.map(|entry| entry.path()).collect();
        files.push(Path::new("/etc/apt/sources.list").to_owned());
        files.sort();
        texts.extend(files.iter().filter_map(|path| fs::read_to_string(path).ok()));
        Self::in_sources(&texts)
    }

    /// The first addresses that end as the archive's do, in either form of
    /// sources file.
    fn in_sources(texts: &[String]) -> Self {
        let words = || {
            texts
                .iter()
                .flat_map(|text| text.lines())
                .map(str::trim)
                .filter(|line| line.starts_with("URIs:") || line.starts_with("deb "))
                .flat_map(str::split_whitespace)
                .map(|word| word.trim_end_matches('/'))
        };
        let ending = |end: &str| words().find(|word| word.ends_with(end)).map(str::to_owned);
        Self {
            archive: ending("/debian").unwrap_or_else(|| DEFAULT.to_owned()),
            security: ending("/debian-security").unwrap_or_else(|| DEFAULT_SECURITY.to_owned()),
        }
    }

    /// Sources for `mmdebstrap`: one line each. Backports are there for what is
    /// not in the release, and are not preferred.
    pub fn lines(&self) -> Vec<String> {
        let Self { archive, security } = self;
        vec![
            format!("deb {archive} {RELEASE} main"),
            format!("deb {archive} {RELEASE}-updates main"),
            format!("deb {security} {RELEASE}-security main"),
            format!("deb {archive} {RELEASE}-backports main"),
        ]
    }

    /// The sources file for what goes into the image: no backports. Firmware is
    /// for real hardware, whose processors want their microcode.
    pub fn sources(&self) -> String {
        let stanza = |uri: &str, suites: &str| {
            format!(
                "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main non-free-firmware\n\
                 Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
            )
        };
        format!(
            "{}\n{}",
            stanza(&self.archive, &format!("{RELEASE} {RELEASE}-updates")),
            stanza(&self.security, &format!("{RELEASE}-security"))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(text: &str) -> Mirror {
        Mirror::in_sources(&[text.to_owned()])
    }

    #[test]
    fn the_machines_own_mirror_is_taken() {
        let expected = Mirror {
            archive: "http://mirror.example/debian".to_owned(),
            security: "http://mirror.example/debian-security".to_owned(),
        };
        assert_eq!(
            mirror(
                "Types: deb\n# http://old.example/debian\nURIs: http://mirror.example/debian/\n\n\
                 URIs: http://mirror.example/debian-security\n"
            ),
            expected
        );
        assert_eq!(
            mirror(
                "#deb http://old.example/debian bookworm main\n\
                 deb [arch=amd64] http://mirror.example/debian bookworm main\n\
                 deb http://mirror.example/debian-security bookworm-security main\n"
            ),
            expected
        );
        assert_eq!(mirror("deb http://other.example/apt stable main").archive, DEFAULT);
    }
}
