//! Opens the store that the configuration names.

use std::sync::Arc;

use anyhow::Context as _;
use hufu_configuration::Config;
use hufu_configuration::store::{FoundationDb, Store as Named, StoreTls};
use hufu_store::foundationdb::{LIBRARY, Options, Tls};
use hufu_store::{EmbeddedStore, FoundationStore, Store, StoreError};

use crate::cluster::Cluster;
use crate::yielding::Yielding;

/// An open store.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// How its cluster is, where it is on one.
    pub cluster: Option<Arc<Cluster>>,
}

/// Opens it, and takes it over from whoever had it. On a cluster that does not
/// answer, this takes as long as the configuration allows.
///
/// # Errors
/// What keeps the store from being opened, with what to do.
pub fn open(config: &Config) -> anyhow::Result<Opened> {
    match &config.store {
        Named::Embedded => {
            let store = EmbeddedStore::open(config.data("state"));
            let store = Arc::new(store.context("the store in the data directory")?);
            Ok(Opened { store, cluster: None })
        }
        Named::FoundationDb(named) => far(config, named, FoundationStore::open),
    }
}

/// Opens it to read what the member's validator writes, on any machine.
///
/// # Errors
/// As [`open`]; a store in a data directory, which one process has.
pub fn open_reader(config: &Config) -> anyhow::Result<Opened> {
    match &config.store {
        Named::Embedded => anyhow::bail!(
            "serve --read-only: the record is in a data directory, which one process has; a \
             front-end reads a cluster (`engine = \"foundationdb\"` in `[store]`)"
        ),
        Named::FoundationDb(named) => far(config, named, FoundationStore::open_reader),
    }
}

fn far(
    config: &Config,
    named: &FoundationDb,
    open: impl FnOnce(&Options) -> Result<FoundationStore, StoreError>,
) -> anyhow::Result<Opened> {
    let options = options(named, config.member.name.as_str());
    if options.tls.is_none() {
        tracing::warn!(
            "the record goes to FoundationDB in clear: whoever is on the network between reads \
             and changes it; name TLS files in `[store.tls]`"
        );
    }
    let store = open(&options).with_context(|| {
        format!("the store on the FoundationDB cluster of {}", options.cluster_file.display())
    })?;
    tracing::info!(
        cluster_file = %options.cluster_file.display(),
        prefix = options.prefix,
        client = store.client_version(),
        epoch = store.fence(),
        "the record is on FoundationDB"
    );
    let store = Arc::new(store);
    let cluster = Some(Cluster::watch(&store, options.deadline)?);
    Ok(Opened { store: Arc::new(Yielding(store)), cluster })
}

pub(crate) fn options(named: &FoundationDb, member: &str) -> Options {
    let FoundationDb { cluster_file, prefix, library, deadline, tls } = named.clone();
    let tls = tls.map(|StoreTls { certificate, key, authorities, verify }| Tls {
        certificate,
        key,
        authorities,
        verify,
    });
    Options {
        cluster_file,
        prefix: prefix.unwrap_or_else(|| member.to_owned()),
        library: library.unwrap_or_else(|| LIBRARY.into()),
        tls,
        deadline,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_not_said_has_a_default() {
        let mut named = FoundationDb {
            cluster_file: "/etc/fdb.cluster".into(),
            prefix: None,
            library: None,
            deadline: Duration::from_secs(7),
            tls: None,
        };
        let found = options(&named, "maker");
        assert_eq!((found.prefix.as_str(), found.deadline), ("maker", named.deadline));
        assert_eq!(found.library.as_os_str(), LIBRARY);
        named.prefix = Some("other".into());
        named.library = Some("/opt/libfdb_c.so".into());
        let found = options(&named, "maker");
        assert_eq!(found.prefix, "other");
        assert_eq!(found.library.as_os_str(), "/opt/libfdb_c.so");
    }
}
