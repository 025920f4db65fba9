//! Token PINs: where they come from and how they are kept.
//!
//! A PIN enters the process through a file descriptor, a file (which is how
//! systemd hands over credentials) or a prompt of the binary; never through an
//! argument, an environment variable or the configuration. It has no `Debug`
//! or `Display` that shows it, and its memory is zeroed when it goes.

use std::{
    fmt,
    fs::File,
    hash::{BuildHasher, RandomState},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Longest PIN that is read, in bytes. Tokens stop well below (SoftHSM2: 255).
pub const MAX_PIN_LEN: usize = 255;

/// A token PIN. Zeroed on drop; never shown.
#[derive(Clone)]
pub struct Pin(Zeroizing<Box<str>>);

impl Pin {
    /// Takes a PIN that the caller already holds, for instance from a prompt.
    ///
    /// # Errors
    /// [`Error::Pin`] if it is empty, longer than [`MAX_PIN_LEN`] bytes, or has
    /// a control character in it.
    pub fn new(pin: Zeroizing<String>) -> Result<Self> {
        Self::parse(&pin, "the PIN")
    }

    /// Reads a PIN from an inherited file descriptor, to its end, and closes it:
    /// nobody who gets into this process later can read it again there.
    ///
    /// As [`take_descriptor`] does it, so a pipe or a file works, a socket does
    /// not.
    ///
    /// # Errors
    /// [`Error::Pin`] if it cannot be read or holds no PIN.
    pub fn from_fd(fd: u32) -> Result<Self> {
        let origin = format!("file descriptor {fd}");
        let file = take_descriptor(fd)
            .map_err(|source| Error::PinSource { origin: origin.clone(), source })?;
        Self::read(file, &origin)
    }

    /// Reads a PIN from a file, to its end. One line break at the end is not
    /// part of the PIN.
    ///
    /// # Errors
    /// [`Error::Pin`] if the file is open to others (any permission for
    /// others, or writable by the group) or holds no PIN;
    /// [`Error::PinSource`] if it cannot be read.
    pub fn from_file(path: &Path) -> Result<Self> {
        let origin = path.display().to_string();
        let unreadable = |source| Error::PinSource { origin: origin.clone(), source };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        // Group-read is let through: systemd credentials with an ACL show the
        // ACL's mask there.
        if mode & 0o027 != 0 {
            return Err(Error::Pin {
                origin,
                reason: "others can read or write it; run `chmod 0400` on it and change the PIN",
            });
        }
        Self::read(file, &origin)
    }

    /// Reads a PIN from the systemd credential `name`, which is the file
    /// `$CREDENTIALS_DIRECTORY/name` (systemd.exec(5), `LoadCredential=`).
    ///
    /// # Errors
    /// [`Error::Pin`] if there is no credentials directory or `name` is not a
    /// plain file name; otherwise as [`Self::from_file`].
    pub fn from_credential(name: &str) -> Result<Self> {
        let origin = format!("systemd credential {name}");
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return Err(Error::Pin { origin, reason: "a credential's name is a plain file name" });
        }
        let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
            return Err(Error::Pin {
                origin,
                reason: "CREDENTIALS_DIRECTORY is not set; add LoadCredential= or \
                         LoadCredentialEncrypted= to the unit",
            });
        };
        Self::from_file(&PathBuf::from(directory).join(name))
    }

    fn read(file: File, origin: &str) -> Result<Self> {
        // Capacity up front, so that no copy is left behind by a growing buffer.
        let mut text = Zeroizing::new(String::with_capacity(MAX_PIN_LEN + 4));
        file.take(MAX_PIN_LEN as u64 + 3)
            .read_to_string(&mut text)
            .map_err(|source| Error::PinSource { origin: origin.to_owned(), source })?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        Self::parse(line, origin)
    }

    fn parse(pin: &str, origin: &str) -> Result<Self> {
        let reason = if pin.is_empty() {
            "it is empty"
        } else if pin.len() > MAX_PIN_LEN {
            "it is longer than 255 bytes"
        } else if pin.chars().any(char::is_control) {
            "it holds a control character or more than one line"
        } else {
            return Ok(Self(Zeroizing::new(pin.into())));
        };
        Err(Error::Pin { origin: origin.to_owned(), reason })
    }

    pub(crate) fn as_auth(&self) -> AuthPin {
        AuthPin::from(Box::<str>::from(&**self.0))
    }

    /// Tells PINs apart within this process without keeping them: a keyed
    /// hash whose key never leaves the process.
    pub(crate) fn fingerprint(&self) -> u64 {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        KEY.hash_one(&**self.0)
    }
}

/// Takes over an inherited file descriptor: it is opened again through
/// `/proc/self/fd`, and closed. Standard input, output and error stay open, as a
/// program expects them to be.
///
/// The caller names a number that it was given, and holds nothing that owns it.
///
/// # Errors
/// What the operating system says.
pub fn take_descriptor(fd: u32) -> io::Result<File> {
    let file = File::open(format!("/proc/self/fd/{fd}"))?;
    match i32::try_from(fd) {
        Ok(number) if number > 2 => nix::unistd::close(number)?,
        _ => {}
    }
    Ok(file)
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write, os::fd::IntoRawFd};

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pin");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    fn same(left: &Pin, right: &str) -> bool {
        left.fingerprint() == Pin::new(Zeroizing::new(right.to_owned())).unwrap().fingerprint()
    }

    #[test]
    fn a_file_is_read_without_its_line_break() {
        for content in ["1234", "1234\n", "1234\r\n"] {
            let (_keep, path) = file(content.as_bytes(), 0o400);
            assert!(same(&Pin::from_file(&path).unwrap(), "1234"));
        }
        let (_keep, path) = file(b" 12 34 \n", 0o440);
        assert!(same(&Pin::from_file(&path).unwrap(), " 12 34 "));
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_closed() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"9876\n").unwrap();
        drop(writer);
        let fd = u32::try_from(reader.into_raw_fd()).unwrap();
        let pipe = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        assert!(same(&Pin::from_fd(fd).unwrap(), "9876"));
        // Another test may have the number by now, but nobody this pipe.
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
        assert!(open.filter_map(|one| fs::read_link(one.path()).ok()).all(|one| one != pipe));
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        let long = "x".repeat(MAX_PIN_LEN + 1);
        for content in ["", "\n", "12\n34\n", "12\0", &long, &format!("{long}\n")] {
            let (_keep, path) = file(content.as_bytes(), 0o600);
            assert!(matches!(Pin::from_file(&path), Err(Error::Pin { .. })), "{content:?}");
        }
        let longest = "x".repeat(MAX_PIN_LEN);
        let (_keep, path) = file(format!("{longest}\r\n").as_bytes(), 0o600);
        assert!(same(&Pin::from_file(&path).unwrap(), &longest));
        let (_keep, path) = file(&[0xff, 0xfe], 0o600);
        assert!(matches!(Pin::from_file(&path), Err(Error::PinSource { .. })));
    }

    #[test]
    fn an_open_file_is_refused() {
        for mode in [0o644, 0o604, 0o620, 0o602] {
            let (_keep, path) = file(b"1234", mode);
            let error = Pin::from_file(&path).unwrap_err();
            assert!(error.to_string().contains("chmod"), "{error}");
        }
    }

    #[test]
    fn nothing_shows_it() {
        let pin = Pin::new(Zeroizing::new("s3cret".to_owned())).unwrap();
        assert_eq!(format!("{pin:?}"), "Pin(..)");
        assert!(Pin::from_credential("../x").is_err());
    }
}
