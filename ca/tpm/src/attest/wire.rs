//! Bounded reading and writing of TPM 2.0 structures (TPM 2.0 Part 2, §4:
//! big-endian integers, `TPM2B_*` with a 16-bit size).
//!
//! The reader never allocates by a declared size: a buffer is a slice of the
//! input, so what is kept is never longer than what arrived.

/// Why a TPM structure cannot be read. Positions are byte offsets from the
/// start of the structure that was handed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The input ends inside a field.
    #[error("{field} at byte {position} needs {needed} more bytes than there are")]
    Truncated {
        /// The field.
        field: &'static str,
        /// Where it begins.
        position: usize,
        /// How many bytes are missing.
        needed: usize,
    },
    /// The input goes on after the structure.
    #[error("{remaining} bytes follow the structure, which ends at byte {position}")]
    Trailing {
        /// Where the structure ends.
        position: usize,
        /// How many bytes follow.
        remaining: usize,
    },
    /// A size is out of bounds.
    #[error("{field} at byte {position} has {size} bytes, allowed are {least} to {most}")]
    Size {
        /// The field.
        field: &'static str,
        /// Where it begins.
        position: usize,
        /// What it has.
        size: usize,
        /// The least allowed.
        least: usize,
        /// The most allowed.
        most: usize,
    },
    /// A value is outside what is accepted.
    #[error("{field} at byte {position} has the value {value:#x}, which is not accepted")]
    Value {
        /// The field.
        field: &'static str,
        /// Where it begins.
        position: usize,
        /// The value found.
        value: u64,
    },
}

/// Reads big-endian fields off a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`, of which there may be `most`.
    ///
    /// # Errors
    /// [`WireError::Size`] when there are more.
    pub fn new(bytes: &'a [u8], field: &'static str, most: usize) -> Result<Self, WireError> {
        if bytes.len() > most {
            return Err(WireError::Size { field, position: 0, size: bytes.len(), least: 0, most });
        }
        Ok(Self { bytes, position: 0 })
    }

    /// Where the next field begins.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Takes `length` bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], WireError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let Some(taken) = rest.get(..length) else {
            return Err(WireError::Truncated {
                field,
                position: self.position,
                needed: length - rest.len(),
            });
        };
        self.position += length;
        Ok(taken)
    }

    /// Takes a fixed number of bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(field, N)?);
        Ok(array)
    }

    /// Takes a `UINT8`.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        Ok(u8::from_be_bytes(self.array(field)?))
    }

    /// Takes a `UINT16`.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u16(&mut self, field: &'static str) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.array(field)?))
    }

    /// Takes a `UINT32`.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array(field)?))
    }

    /// Takes a `UINT64`.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array(field)?))
    }

    /// Takes a `TPM2B_*`: a 16-bit size, then as many bytes.
    ///
    /// # Errors
    /// [`WireError::Size`] when the size is not within `least..=most`,
    /// [`WireError::Truncated`] when the bytes are not there.
    pub fn sized(
        &mut self,
        field: &'static str,
        least: usize,
        most: usize,
    ) -> Result<&'a [u8], WireError> {
        let position = self.position;
        let size = usize::from(self.u16(field)?);
        if size < least || size > most {
            return Err(WireError::Size { field, position, size, least, most });
        }
        self.take(field, size)
    }

    /// Refuses a value just read, whose field began at `position`.
    #[must_use]
    pub fn refuse(field: &'static str, position: usize, value: u64) -> WireError {
        WireError::Value { field, position, value }
    }

    /// Ends the structure.
    ///
    /// # Errors
    /// [`WireError::Trailing`] when bytes remain.
    pub fn finish(self) -> Result<(), WireError> {
        match self.bytes.len() - self.position {
            0 => Ok(()),
            remaining => Err(WireError::Trailing { position: self.position, remaining }),
        }
    }
}

/// Writes big-endian fields. Only for values this crate holds, all of which
/// are far below the 65,535 bytes a `TPM2B_*` can carry.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty structure.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a `UINT8`.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    /// Appends a `UINT16`.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Appends a `UINT32`.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Appends a `UINT64`.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(value);
        self
    }

    /// Appends a `TPM2B_*`. A value that no `TPM2B_*` can carry is cut at
    /// 65,535 bytes, which no reader of ours accepts.
    pub fn sized(&mut self, value: &[u8]) -> &mut Self {
        let size = u16::try_from(value.len()).unwrap_or(u16::MAX);
        let value = value.get(..usize::from(size)).unwrap_or(value);
        self.u16(size).raw(value)
    }

    /// The structure.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Takes the content out of a lone `TPM2B_*`.
///
/// # Errors
/// [`WireError`] when the size is out of bounds or not exactly that of what
/// follows.
pub fn unwrap_sized<'a>(
    bytes: &'a [u8],
    field: &'static str,
    least: usize,
    most: usize,
) -> Result<&'a [u8], WireError> {
    let mut reader = Reader::new(bytes, field, most + 2)?;
    let content = reader.sized(field, least, most)?;
    reader.finish()?;
    Ok(content)
}

/// Makes a lone `TPM2B_*` of `content`.
#[must_use]
pub fn wrap_sized(content: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.sized(content);
    writer.finish()
}
