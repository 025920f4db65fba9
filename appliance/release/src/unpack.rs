//! An update, as it comes in.

use std::io;

use sha2::{Digest as _, Sha256};

use crate::error::ReleaseError;
use crate::head::{ReleaseKey, parse};
use crate::manifest::{Manifest, Part};

/// Where the parts of an update go. Nothing is called before the signature was
/// good; what was written is to be thrown away when unpacking fails.
pub trait Sink {
    /// Whether the machine takes this release at all.
    ///
    /// # Errors
    /// Why it does not.
    fn accept(&mut self, manifest: &Manifest) -> Result<(), io::Error>;

    /// The next bytes of `part`.
    ///
    /// # Errors
    /// When they cannot be stored.
    fn write(&mut self, manifest: &Manifest, part: &Part, bytes: &[u8]) -> io::Result<()>;

    /// `part` is complete, and its digest is the one that was signed.
    ///
    /// # Errors
    /// When it cannot be made durable.
    fn end(&mut self, manifest: &Manifest, part: &Part) -> io::Result<()>;
}

/// Takes an update piece by piece.
pub struct Unpacker<S> {
    key: ReleaseKey,
    sink: S,
    /// What came before the signature could be checked.
    head: Vec<u8>,
    manifest: Option<Manifest>,
    /// The part that comes in.
    part: usize,
    received: u64,
    hasher: Sha256,
}

impl<S: Sink> Unpacker<S> {
    /// Will take an update signed by `key`.
    pub fn new(key: ReleaseKey, sink: S) -> Self {
        let (head, hasher) = (Vec::new(), Sha256::new());
        Self { key, sink, head, manifest: None, part: 0, received: 0, hasher }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`ReleaseError`]; the update is then to be given up.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ReleaseError> {
        if let Some(manifest) = self.manifest.take() {
            let taken = self.parts(&manifest, bytes);
            self.manifest = Some(manifest);
            return taken;
        }
        self.head.extend_from_slice(bytes);
        let Some((manifest, length)) = parse(&self.head, &self.key)? else { return Ok(()) };
        let manifest_part = manifest.parts.first().map_or("manifest", |part| part.name.text());
        self.sink
            .accept(&manifest)
            .map_err(|source| ReleaseError::Sink { part: manifest_part, source })?;
        let head = std::mem::take(&mut self.head);
        let taken = self.parts(&manifest, head.get(length..).unwrap_or_default());
        self.manifest = Some(manifest);
        taken
    }

    fn parts(&mut self, manifest: &Manifest, mut bytes: &[u8]) -> Result<(), ReleaseError> {
        while let Some(part) = manifest.parts.get(self.part) {
            let name = part.name.text();
            let sink = |source| ReleaseError::Sink { part: name, source };
            let missing = part.size - self.received;
            let count = bytes.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
            let (now, later) = bytes.split_at(count);
            if !now.is_empty() {
                self.hasher.update(now);
                self.sink.write(manifest, part, now).map_err(sink)?;
                self.received += now.len() as u64;
            }
            bytes = later;
            if self.received < part.size {
                return Ok(());
            }
            let found: [u8; 32] = self.hasher.finalize_reset().into();
            if found != part.digest()? {
                return Err(ReleaseError::Part(name));
            }
            self.sink.end(manifest, part).map_err(sink)?;
            self.part += 1;
            self.received = 0;
        }
        if bytes.is_empty() { Ok(()) } else { Err(ReleaseError::Trailing) }
    }

    /// The update has ended.
    ///
    /// # Errors
    /// [`ReleaseError::Truncated`] when something is missing.
    pub fn finish(self) -> Result<(Manifest, S), ReleaseError> {
        let Some(manifest) = self.manifest else {
            return Err(ReleaseError::Truncated("manifest"));
        };
        match manifest.parts.get(self.part) {
            Some(part) => Err(ReleaseError::Truncated(part.name.text())),
            None => Ok((manifest, self.sink)),
        }
    }
}
