//! The machine's console: what it shows, and what somebody types there.

use std::io::{self, Read as _, Write as _};

use hufu_proof::text::shown_lines;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// Longest line that is read from the console, in bytes.
const MAX_LINE: usize = 160;

/// Standard output, written by a thread of its own: a terminal that was told to
/// wait must not hold up the machine.
pub struct Console(std::sync::mpsc::SyncSender<Zeroizing<String>>);

impl Console {
    /// Opens it.
    ///
    /// # Errors
    /// When the thread does not start.
    pub fn open() -> anyhow::Result<Self> {
        let (sender, blocks) = std::sync::mpsc::sync_channel::<Zeroizing<String>>(16);
        std::thread::Builder::new().name("console-out".to_owned()).spawn(move || {
            for block in blocks {
                let mut out = io::stdout().lock();
                let shown =
                    out.write_all(shown_lines(&block).as_bytes()).and_then(|()| out.flush());
                // Whoever reads may have heard enough.
                if let Err(error) = shown.or_else(ended) {
                    tracing::warn!(%error, "the console does not take what is said");
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Shows a block, unless so many wait already that nobody reads.
    pub fn show(&self, block: String) {
        if self.0.try_send(Zeroizing::new(block)).is_err() {
            tracing::warn!("the console does not take what is said");
        }
    }
}

/// Lines from the console, as long as there is one.
pub fn typed_lines() -> mpsc::Receiver<String> {
    let (typed, lines) = mpsc::channel(1);
    // A thread of its own, because reading a terminal cannot be given up.
    let spawned = std::thread::Builder::new().name("console".to_owned()).spawn(move || {
        let mut line = String::new();
        for byte in io::stdin().lock().bytes() {
            match byte {
                Ok(b'\n' | b'\r') => {
                    if typed.blocking_send(std::mem::take(&mut line)).is_err() {
                        break;
                    }
                }
                Ok(byte) if line.len() < MAX_LINE => line.push(char::from(byte)),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "the console is not read");
    }
    lines
}

fn ended(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}
