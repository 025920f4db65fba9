//! A block's bytes, its transactions' identifiers and leaf hashes, in one pass.

use hufu_proof::transaction::DOMAIN;
use hufu_proof::{Block, Digest, Header, Transaction, codec, merkle};

/// What is computed once for each transaction of a block.
pub(crate) struct Encoded {
    /// [`Transaction::id`].
    pub(crate) id: Digest,
    /// Where it begins in the encoded block.
    pub(crate) offset: u32,
    /// Its encoded length in bytes.
    pub(crate) length: u32,
}

/// A block as it is stored.
pub(crate) struct EncodedBlock {
    /// Borsh of the block.
    pub(crate) bytes: Vec<u8>,
    pub(crate) transactions: Vec<Encoded>,
    /// [`Block::transactions_root`].
    pub(crate) transactions_root: Digest,
}

/// Encodes `block`; `None` if it is larger than 4 GiB, which no block that was
/// decoded is.
pub(crate) fn encode(block: &Block) -> Option<EncodedBlock> {
    let mut bytes = codec::encode::<Header>(&block.header);
    bytes.extend_from_slice(&u32::try_from(block.transactions.len()).ok()?.to_le_bytes());
    let mut leaves = Vec::with_capacity(block.transactions.len());
    let mut transactions = Vec::with_capacity(block.transactions.len());
    for transaction in &block.transactions {
        let Transaction { body, signature } = transaction;
        let offset = bytes.len();
        // Writing to a vector does not fail.
        borsh::to_writer(&mut bytes, body).ok()?;
        let id = Digest::of_parts(&[DOMAIN.as_bytes(), &[0], &bytes[offset..]]);
        borsh::to_writer(&mut bytes, signature).ok()?;
        leaves.push(merkle::leaf_hash(&bytes[offset..]));
        let length = u32::try_from(bytes.len() - offset).ok()?;
        transactions.push(Encoded { id, offset: u32::try_from(offset).ok()?, length });
    }
    Some(EncodedBlock { bytes, transactions, transactions_root: merkle::root(&leaves) })
}
