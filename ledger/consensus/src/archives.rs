//! The engine's archives: final blocks, and the certificates that made them
//! final, by height.

use std::num::NonZeroUsize;
use std::sync::Arc;

use commonware_consensus::simplex::types::Finalization;
use commonware_cryptography::certificate::Verifier as _;
use commonware_cryptography::sha256;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_storage::archive::{Archive as _, Error as ArchiveError, Identifier, prunable};
use commonware_storage::translator::EightCap;
use commonware_utils::{NZU16, NZU64, NZUsize};

use crate::application::Application;
use crate::config::Config;
use crate::driver::Body;
use crate::environment::Environment;
use crate::error::Error;
use crate::scheme::VoteScheme;

/// Heights in one file of an archive.
pub(crate) const SECTION: std::num::NonZeroU64 = NZU64!(4096);
/// Bytes that are read or written at a time.
pub(crate) const BUFFER: NonZeroUsize = NZUsize!(1024 * 1024);
/// A page of the cache and its checksum fill a page of the disk.
const PAGE: std::num::NonZeroU16 = NZU16!(4084);
const PAGES: NonZeroUsize = NZUsize!(2048);

type Certified = Finalization<VoteScheme, sha256::Digest>;
type Certificates<E> = prunable::Archive<EightCap, E, sha256::Digest, Certified>;
type Blocks<E, A> = prunable::Archive<EightCap, E, sha256::Digest, Arc<Body<A>>>;

/// Pages of files that are kept in memory.
pub(crate) fn pages() -> CacheRef {
    CacheRef::new(PAGE, PAGES)
}

/// The opened archives.
pub(crate) struct Archives<E: Environment, A: Application> {
    pub(crate) certificates: Certificates<E>,
    pub(crate) blocks: Blocks<E, A>,
}

impl<E: Environment, A: Application> Archives<E, A> {
    pub(crate) async fn open(
        context: &E,
        config: &Config,
        pages: &CacheRef,
    ) -> Result<Self, Error> {
        let certificates = settings(
            config,
            pages,
            "certificates",
            VoteScheme::certificate_codec_config_unbounded(),
        );
        let certificates = prunable::Archive::init(context.child("certificates"), certificates);
        let blocks = settings(config, pages, "blocks", config.max_block);
        Ok(Self {
            certificates: certificates.await.map_err(|error| failed("certificates", &error))?,
            blocks: prunable::Archive::init(context.child("blocks"), blocks)
                .await
                .map_err(|error| failed("blocks", &error))?,
        })
    }

    /// The latest certificate.
    pub(crate) async fn latest(&self) -> Result<Option<Certified>, Error> {
        let Some(index) = self.certificates.last_index() else { return Ok(None) };
        let found = self.certificates.get(Identifier::Index(index)).await;
        found.map_err(|error| failed("certificates", &error))
    }
}

fn failed(part: &'static str, error: &ArchiveError) -> Error {
    Error::Storage { part, reason: error.to_string() }
}

fn settings<C>(
    config: &Config,
    pages: &CacheRef,
    name: &str,
    codec: C,
) -> prunable::Config<EightCap, C> {
    let partition = &config.partition;
    prunable::Config {
        translator: EightCap,
        metadata_partition: format!("{partition}-{name}-metadata"),
        key_partition: format!("{partition}-{name}-keys"),
        key_page_cache: pages.clone(),
        value_partition: format!("{partition}-{name}-values"),
        compression: None,
        codec_config: codec,
        items_per_section: SECTION,
        key_write_buffer: BUFFER,
        value_write_buffer: BUFFER,
        replay_buffer: BUFFER,
    }
}
