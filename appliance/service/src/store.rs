//! Opens the store that the configuration names.

use std::sync::Arc;

use anyhow::Context as _;
use hufu_configuration::Config;
use hufu_configuration::store::{FoundationDb, Store as Named, StoreTls};
use hufu_store::foundationdb::{LIBRARY, Options, Tls};
use hufu_store::{EmbeddedStore, FoundationStore, Store};

/// Opens it, and takes it over from whoever had it. On a cluster that does not
/// answer, this takes as long as the configuration allows.
///
/// # Errors
/// What keeps the store from being opened, with what to do.
pub fn open(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    let named = match &config.store {
        Named::Embedded => {
            let store = EmbeddedStore::open(config.data("state"));
            return Ok(Arc::new(store.context("the store in the data directory")?));
        }
        Named::FoundationDb(named) => named,
    };
    let options = options(named, config.member.name.as_str());
    if options.tls.is_none() {
        tracing::warn!(
            "the record goes to FoundationDB in clear: whoever is on the network between reads \
             and changes it; name TLS files in `[store.tls]`"
        );
    }
    let store = FoundationStore::open(&options).with_context(|| {
        format!("the store on the FoundationDB cluster of {}", options.cluster_file.display())
    })?;
    tracing::info!(
        cluster_file = %options.cluster_file.display(),
        prefix = options.prefix,
        client = store.client_version(),
        epoch = store.fence(),
        "the record is on FoundationDB"
    );
    Ok(Arc::new(store))
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
