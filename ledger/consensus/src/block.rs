//! Blocks, of which this layer knows only the links.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use commonware_codec::{
    Buf, BufsMut, EncodeSize, Error as CodecError, RangeCfg, Read, Write, varint,
};
use commonware_consensus::types::Height;
use commonware_consensus::{Block, BoundedBlock, Heightable};
use commonware_cryptography::{Digestible, sha256};
use hufu_proof::{Digest, Height as LedgerHeight, UnixMillis};

/// What ordering must know of a block.
///
/// [`OrderedBlock::digest`] binds everything else: two blocks with equal digests
/// are the same block.
pub trait OrderedBlock: Clone + Debug + Send + Sync + Sized + 'static {
    /// The digest that validators vote on.
    fn digest(&self) -> Digest;

    /// The digest of its parent.
    fn parent(&self) -> Digest;

    /// One more than its parent's; 0 for the genesis block.
    fn height(&self) -> LedgerHeight;

    /// Its agreed time: not ahead of the clocks of those who voted for it.
    fn time_ms(&self) -> UnixMillis;

    /// Its canonical bytes.
    fn encode(&self) -> Vec<u8>;

    /// Reads canonical bytes from a stranger. Must bound what it allocates,
    /// must not panic, and must refuse bytes that it would encode otherwise.
    /// What makes the digest bind the content must be checked here too.
    ///
    /// # Errors
    /// A text for the log, saying what is wrong.
    fn decode(bytes: &[u8]) -> Result<Self, String>;
}

impl OrderedBlock for hufu_proof::Block {
    fn digest(&self) -> Digest {
        self.header.digest()
    }

    fn parent(&self) -> Digest {
        self.header.parent
    }

    fn height(&self) -> LedgerHeight {
        self.header.height
    }

    fn time_ms(&self) -> UnixMillis {
        self.header.time_ms
    }

    fn encode(&self) -> Vec<u8> {
        hufu_proof::codec::encode(self)
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        use hufu_proof::codec;
        let block: Self =
            codec::decode("block", bytes, codec::MAX_BLOCK).map_err(|error| error.to_string())?;
        // The digest is the header's, so the transactions must be bound to it.
        if Self::transactions_root(&block.transactions) != block.header.transactions_root {
            return Err("the transactions are not those of the header".to_owned());
        }
        Ok(block)
    }
}

/// A block on its way through the engine: decoded once, encoded once.
#[derive(Clone, Debug)]
pub(crate) struct Carried<B> {
    block: Arc<B>,
    bytes: Bytes,
    digest: sha256::Digest,
}

impl<B: OrderedBlock> Carried<B> {
    pub(crate) fn new(block: B) -> Self {
        let bytes = Bytes::from(block.encode());
        let digest = sha256::Digest(block.digest().0);
        Self { block: Arc::new(block), bytes, digest }
    }

    pub(crate) fn block(&self) -> &Arc<B> {
        &self.block
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl<B: OrderedBlock> Write for Carried<B> {
    fn write(&self, buffer: &mut impl BufMut) {
        self.bytes.write(buffer);
    }

    fn write_bufs(&self, buffer: &mut impl BufsMut) {
        self.bytes.write_bufs(buffer);
    }
}

impl<B: OrderedBlock> EncodeSize for Carried<B> {
    fn encode_size(&self) -> usize {
        self.bytes.encode_size()
    }

    fn encode_inline_size(&self) -> usize {
        self.bytes.encode_inline_size()
    }
}

impl<B: OrderedBlock> Read for Carried<B> {
    /// Largest block in bytes.
    type Cfg = usize;

    fn read_cfg(buffer: &mut impl Buf, limit: &usize) -> Result<Self, CodecError> {
        let bytes = Bytes::read_cfg(buffer, &RangeCfg::from(..=*limit))?;
        let block = B::decode(&bytes).map_err(|reason| {
            tracing::debug!(reason, "a block from a peer does not decode");
            CodecError::Invalid("Block", "does not decode")
        })?;
        let digest = sha256::Digest(block.digest().0);
        Ok(Self { block: Arc::new(block), bytes, digest })
    }
}

impl<B: OrderedBlock> Digestible for Carried<B> {
    type Digest = sha256::Digest;

    fn digest(&self) -> sha256::Digest {
        self.digest
    }
}

impl<B: OrderedBlock> Heightable for Carried<B> {
    fn height(&self) -> Height {
        Height::new(self.block.height().get())
    }
}

impl<B: OrderedBlock> Block for Carried<B> {
    fn parent(&self) -> sha256::Digest {
        sha256::Digest(self.block.parent().0)
    }
}

impl<B: OrderedBlock> BoundedBlock for Carried<B> {
    fn max_encode_size(limit: &usize) -> usize {
        varint::MAX_U32_VARINT_SIZE + *limit
    }
}
