//! `[store]`: where the ledger's record is kept.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

/// Where the ledger's record is kept: in the data directory, unless it is said
/// otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Store {
    /// In the data directory.
    #[default]
    Embedded,
    /// On a FoundationDB cluster of the member's own.
    FoundationDb(FoundationDb),
}

/// A store on a FoundationDB cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundationDb {
    /// The file that names the cluster's coordinators. FoundationDB's client
    /// library rewrites it when they change: the node may write it and its
    /// directory.
    pub cluster_file: PathBuf,
    /// What the store's keys begin with. Default: the member's name. Two nodes
    /// with one prefix on one cluster take the store from each other.
    pub prefix: Option<String>,
    /// FoundationDB's client library. Default: `libfdb_c.so`, as the system
    /// finds it.
    pub library: Option<PathBuf>,
    /// How long a transaction may take before the cluster counts as
    /// unavailable: 5 to 600 seconds.
    pub deadline: Duration,
    /// TLS to the cluster. Without it, whoever is on the network between reads
    /// and changes the record.
    pub tls: Option<StoreTls>,
}

/// TLS to a FoundationDB cluster: PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreTls {
    /// The node's certificate for the cluster, with those between it and an
    /// authority.
    pub certificate: PathBuf,
    /// Its private key. It opens the cluster and nothing else; the client
    /// library takes it from a file alone.
    pub key: PathBuf,
    /// The authorities that the cluster's certificates come from.
    pub authorities: PathBuf,
    /// What else is asked of the cluster's certificates, as FoundationDB writes
    /// it (`S.CN=...`). Default: that they are valid.
    pub verify: Option<String>,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    engine: Engine,
    cluster_file: Option<PathBuf>,
    prefix: Option<String>,
    library: Option<PathBuf>,
    deadline: Option<u64>,
    tls: Option<StoreTls>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Engine {
    Embedded,
    FoundationDb,
}

impl TryFrom<Written> for Store {
    type Error = anyhow::Error;

    fn try_from(written: Written) -> anyhow::Result<Self> {
        let Written { engine, cluster_file, prefix, library, deadline, tls } = written;
        let Engine::FoundationDb = engine else {
            let others = [
                cluster_file.is_some(),
                prefix.is_some(),
                library.is_some(),
                deadline.is_some(),
                tls.is_some(),
            ];
            anyhow::ensure!(
                !others.contains(&true),
                "store: the engine `embedded` has no other keys; it keeps the record in \
                 `paths.data`"
            );
            return Ok(Self::Embedded);
        };
        let cluster_file = cluster_file.context(
            "store.cluster_file: name the file that FoundationDB's administrator gives out, often \
             /etc/foundationdb/fdb.cluster",
        )?;
        if let Some(prefix) = &prefix {
            let accepted = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
            anyhow::ensure!(
                (1..=64).contains(&prefix.len()) && prefix.bytes().all(accepted),
                "store.prefix: 1 to 64 letters, digits and `-_./`"
            );
        }
        let deadline = deadline.unwrap_or(30);
        anyhow::ensure!((5..=600).contains(&deadline), "store.deadline: 5 to 600 seconds");
        let deadline = Duration::from_secs(deadline);
        Ok(Self::FoundationDb(FoundationDb { cluster_file, prefix, library, deadline, tls }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Store, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    const GOOD: &str = "engine = \"foundationdb\"\ncluster_file = \"/etc/fdb.cluster\"\n";

    #[test]
    fn a_cluster_file_is_enough() {
        assert_eq!(parse("engine = \"embedded\""), Ok(Store::Embedded));
        let expected = FoundationDb {
            cluster_file: "/etc/fdb.cluster".into(),
            prefix: None,
            library: None,
            deadline: Duration::from_secs(30),
            tls: None,
        };
        assert_eq!(parse(GOOD), Ok(Store::FoundationDb(expected)));
    }

    #[test]
    fn everything_can_be_said() {
        let text = format!(
            "{GOOD}prefix = \"maker/1\"\nlibrary = \"/opt/libfdb_c.so\"\ndeadline = 5\n[tls]\n\
             certificate = \"c\"\nkey = \"k\"\nauthorities = \"a\"\nverify = \"S.CN=fdb\"\n"
        );
        let Store::FoundationDb(found) = parse(&text).unwrap() else { panic!("{text}") };
        assert_eq!(found.prefix.as_deref(), Some("maker/1"));
        assert_eq!(found.library, Some("/opt/libfdb_c.so".into()));
        assert_eq!(found.deadline, Duration::from_secs(5));
        let tls = found.tls.unwrap();
        assert_eq!([tls.certificate, tls.key, tls.authorities], ["c", "k", "a"].map(PathBuf::from));
        assert_eq!(tls.verify.as_deref(), Some("S.CN=fdb"));
    }

    #[test]
    fn what_cannot_be_is_named_with_what_to_do() {
        for (text, words) in [
            ("engine = \"redb\"", "expected `embedded` or `foundationdb`"),
            ("cluster_file = \"x\"", "missing field `engine`"),
            ("engine = \"foundationdb\"", "store.cluster_file: name the file"),
            ("engine = \"embedded\"\nprefix = \"x\"", "has no other keys"),
            (&format!("{GOOD}clusterfile = \"x\""), "unknown field `clusterfile`"),
            (&format!("{GOOD}prefix = \"a b\""), "store.prefix: 1 to 64"),
            (&format!("{GOOD}prefix = \"\""), "store.prefix: 1 to 64"),
            (&format!("{GOOD}deadline = 4"), "store.deadline: 5 to 600"),
            (&format!("{GOOD}deadline = 601"), "store.deadline: 5 to 600"),
            (
                &format!("{GOOD}[tls]\ncertificate = \"c\"\nkey = \"k\""),
                "missing field `authorities`",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
