//! Messages over a pair of sockets: four bytes of length, then so many bytes of
//! JSON.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// One end.
#[derive(Debug)]
pub(crate) struct Channel {
    stream: Timed,
    /// Bytes of the largest message that is taken.
    most: usize,
}

impl Channel {
    pub(crate) fn new(stream: UnixStream, most: usize, end: Option<Instant>) -> Self {
        Self { stream: Timed { stream, end }, most }
    }

    pub(crate) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.stream.write_all(&length.to_be_bytes())?;
        self.stream.write_all(&bytes)
    }

    /// The next message; `None` when the other end is gone.
    ///
    /// # Errors
    /// [`io::ErrorKind::FileTooLarge`] when it is over the limit,
    /// [`io::ErrorKind::WouldBlock`] when the time is over.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::new();
        // It grows with what comes, not by what is announced.
        (&mut self.stream).take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&bytes)?))
    }
}

/// A stream of which every read and write ends with the time for all of them.
#[derive(Debug)]
struct Timed {
    stream: UnixStream,
    end: Option<Instant>,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        let Some(end) = self.end else { return Ok(None) };
        match end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::WouldBlock.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
