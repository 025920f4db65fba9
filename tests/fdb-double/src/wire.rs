//! What a client and the cluster say to each other over the socket: frames of a
//! length (four bytes, little-endian) and that many bytes of borsh.

use std::io::{Error, ErrorKind, Read, Result, Write};

use borsh::{BorshDeserialize, BorshSerialize};

/// Far above a transaction, so that a frame over it is a mistake.
const MAX_FRAME: usize = 64 * 1024 * 1024;

/// From `.0` (included) to `.1` (excluded).
pub(crate) type Range = (Vec<u8>, Vec<u8>);

/// A key with its value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

#[derive(BorshSerialize, BorshDeserialize)]
pub(crate) enum Mutation {
    Set(Vec<u8>, Vec<u8>),
    Clear(Range),
}

#[derive(BorshSerialize, BorshDeserialize)]
pub(crate) struct Request {
    /// What the answer will name.
    pub(crate) number: u64,
    /// The transaction, whose first read settles its read version.
    pub(crate) transaction: u64,
    /// How often the client has waited before it asked this.
    pub(crate) round: u64,
    pub(crate) ask: Ask,
}

#[derive(BorshSerialize, BorshDeserialize)]
pub(crate) enum Ask {
    Hello { options: Vec<(i32, Vec<u8>)> },
    Get { key: Vec<u8> },
    Range { range: Range, rows: u64, bytes: u64, reverse: bool },
    Commit { reads: Vec<Range>, writes: Vec<Range>, mutations: Vec<Mutation> },
    Forget,
}

#[derive(BorshSerialize, BorshDeserialize)]
pub(crate) struct Reply {
    pub(crate) number: u64,
    pub(crate) answer: std::result::Result<Answer, i32>,
}

#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub(crate) enum Answer {
    Done,
    Value(Option<Vec<u8>>),
    Rows { rows: Vec<Row>, more: bool },
}

pub(crate) fn write<T: BorshSerialize>(to: &mut impl Write, message: &T) -> Result<()> {
    let bytes = borsh::to_vec(message)?;
    let length = u32::try_from(bytes.len()).map_err(|_| ErrorKind::InvalidInput)?;
    to.write_all(&[&length.to_le_bytes()[..], &bytes].concat())
}

pub(crate) fn read<T: BorshDeserialize>(from: &mut impl Read) -> Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(Error::from(ErrorKind::InvalidData));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    borsh::from_slice(&bytes)
}
