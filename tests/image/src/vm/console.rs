//! The serial console of a virtual machine: what it said, and what is typed.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Lines that an error quotes.
const QUOTED_LINES: usize = 40;

/// A console, read in a thread of its own and kept in a file.
pub struct Console {
    said: Arc<Said>,
    input: UnixStream,
    /// What is before has been waited for already.
    seen: usize,
}

#[derive(Default)]
struct Said {
    text: Mutex<Text>,
    more: Condvar,
}

#[derive(Default)]
struct Text {
    /// Without control sequences and carriage returns.
    plain: String,
    ended: bool,
}

impl Said {
    fn lock(&self) -> MutexGuard<'_, Text> {
        // Text is appended to; a panic leaves it whole.
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Console {
    /// The console that `stream` is connected to, kept in `log`.
    pub fn open(stream: UnixStream, log: &Path) -> anyhow::Result<Self> {
        let mut output = stream.try_clone()?;
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let said = Arc::new(Said::default());
        let ours = said.clone();
        std::thread::spawn(move || {
            let mut plain = Plain::default();
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut piece) {
                // The log is for people; a full disk shows elsewhere.
                let _ = file.write_all(&piece[..read]);
                plain.take(&piece[..read], &mut ours.lock().plain);
                ours.more.notify_all();
            }
            ours.lock().ended = true;
            ours.more.notify_all();
        });
        Ok(Self { said, input: stream, seen: 0 })
    }

    /// Waits for the first line that holds one of `patterns` after those that
    /// were waited for before; gives the line.
    pub fn wait_for(&mut self, patterns: &[&str], patience: Duration) -> anyhow::Result<String> {
        let deadline = Instant::now() + patience;
        let mut text = self.said.lock();
        loop {
            let new = &text.plain[self.seen..];
            let mut start = 0;
            for line in new.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
                start += line.len();
                if patterns.iter().any(|pattern| line.contains(pattern)) {
                    let line = line.trim_end().to_owned();
                    self.seen += start;
                    return Ok(line);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if text.ended || left.is_zero() {
                let why = if text.ended {
                    "the machine is off".to_owned()
                } else {
                    format!("waited {} s", patience.as_secs())
                };
                let lines: Vec<&str> = text.plain.lines().collect();
                let end = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n");
                bail!("{why}, and no line of the console has {patterns:?}; it ends:\n{end}");
            }
            text =
                self.said.more.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether a line held `pattern`, ever.
    pub fn has_said(&self, pattern: &str) -> bool {
        self.said.lock().plain.lines().any(|line| line.contains(pattern))
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) -> anyhow::Result<()> {
        self.press(&format!("{line}\r"))
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) -> anyhow::Result<()> {
        self.input.write_all(keys.as_bytes()).context("the console takes no input")
    }

    /// Chooses the second entry of the boot menu, while the machine starts.
    pub fn choose_second_entry(&mut self) -> anyhow::Result<()> {
        const DOWN: &str = "\x1b[B";
        // A key without meaning stops the menu's countdown, whenever it shows.
        for _ in 0..40 {
            self.press("x")?;
            std::thread::sleep(Duration::from_millis(250));
        }
        self.press(DOWN)?;
        std::thread::sleep(Duration::from_secs(1));
        self.press("\r")
    }
}

/// Takes control sequences out of a terminal's bytes.
#[derive(Default)]
struct Plain {
    state: State,
    /// Of a character that is not complete.
    partial: Vec<u8>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    /// `ESC [ ... letter`.
    Sequence,
    /// `ESC ] ... BEL` or `ESC P ... ESC \`.
    Words,
}

impl Plain {
    fn take(&mut self, bytes: &[u8], text: &mut String) {
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (_, 0x1b) => State::Escape,
                (State::Escape, b'[') => State::Sequence,
                (State::Escape, b']' | b'P') => State::Words,
                (State::Sequence, 0x40..=0x7e) | (State::Words, 0x07) | (State::Escape, _) => {
                    State::Text
                }
                (State::Text, b'\n' | b'\t' | 0x20..) => {
                    self.push(byte, text);
                    State::Text
                }
                (state, _) => state,
            };
        }
    }

    fn push(&mut self, byte: u8, text: &mut String) {
        self.partial.push(byte);
        match std::str::from_utf8(&self.partial) {
            Ok(whole) => text.push_str(whole),
            Err(error) if error.error_len().is_none() => return,
            Err(_) => text.push(char::REPLACEMENT_CHARACTER),
        }
        self.partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(pieces: &[&[u8]]) -> String {
        let (mut filter, mut text) = (Plain::default(), String::new());
        for piece in pieces {
            filter.take(piece, &mut text);
        }
        text
    }

    #[test]
    fn control_sequences_are_left_out() {
        assert_eq!(plain(&[b"\x1b[0;1;31mFAILED\x1b[0m x\r\n"]), "FAILED x\n");
        assert_eq!(plain(&[b"a\x1b]8;;file", b"://x\x07b\x1b[", b"2Jc\n"]), "abc\n");
        assert_eq!(plain(&[b"\x1bP+q\x1b\\d"]), "d");
        assert_eq!(plain(&["ü".as_bytes().split_at(1).0, "ü".as_bytes().split_at(1).1]), "ü");
        assert_eq!(plain(&[b"\xff\xfe"]), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn lines_are_waited_for_in_order() {
        let directory = std::env::temp_dir().join(format!("hufu-console-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (mut machine, terminal) = UnixStream::pair().unwrap();
        let mut console = Console::open(terminal, &directory.join("log")).unwrap();
        machine.write_all(b"one 1\r\ntwo 2\r\none 3\r\nunfinished").unwrap();
        let second = Duration::from_secs(5);
        assert_eq!(console.wait_for(&["one"], second).unwrap(), "one 1");
        assert_eq!(console.wait_for(&["none", "one"], second).unwrap(), "one 3");
        assert!(console.has_said("two") && !console.has_said("three"));
        console.type_line("yes").unwrap();
        let mut typed = [0; 4];
        machine.read_exact(&mut typed).unwrap();
        assert_eq!(&typed, b"yes\r");
        drop(machine);
        let error = console.wait_for(&["unfinished"], second).unwrap_err().to_string();
        assert!(error.contains("off") && error.contains("two 2"), "{error}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
