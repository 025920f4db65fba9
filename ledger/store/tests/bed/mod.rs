//! The cluster that tests of the FoundationDB engine run on: the one that
//! `FDB_CLUSTER_FILE` names, through the client library of the system, or else
//! a double of both.
#![allow(dead_code, reason = "not every test program uses all of it")]

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hufu_fdb_double::{Cluster, LIBRARY};
use hufu_store::foundationdb::{self, Options};
use tempfile::TempDir;

/// A cluster.
pub struct Bed {
    cluster_file: PathBuf,
    library: PathBuf,
    double: Option<Cluster>,
    _directory: Option<TempDir>,
}

impl Bed {
    /// The real cluster if there is one.
    pub fn any() -> Self {
        static SAID: OnceLock<()> = OnceLock::new();
        let Some(cluster_file) = std::env::var_os("FDB_CLUSTER_FILE") else {
            SAID.get_or_init(|| say("a test double of FoundationDB (FDB_CLUSTER_FILE is not set)"));
            return Self::double();
        };
        let cluster_file = PathBuf::from(cluster_file);
        SAID.get_or_init(|| {
            say(&format!("the FoundationDB cluster of {}", cluster_file.display()));
        });
        let library = foundationdb::LIBRARY.into();
        Self { cluster_file, library, double: None, _directory: None }
    }

    /// The double, to be disturbed.
    pub fn double() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cluster = Cluster::start(directory.path()).unwrap();
        Self {
            cluster_file: cluster.file().to_owned(),
            library: double_library(),
            double: Some(cluster),
            _directory: Some(directory),
        }
    }

    /// The double's cluster.
    pub fn cluster(&self) -> &Cluster {
        self.double.as_ref().unwrap()
    }

    /// A store that nobody has used.
    pub fn options(&self) -> Options {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let random = tempfile::tempdir().unwrap();
        let random = random.path().file_name().unwrap().to_str().unwrap().to_owned();
        self.options_of(&format!("hufu-test/{random}-{number}"))
    }

    /// The store under a prefix.
    pub fn options_of(&self, prefix: &str) -> Options {
        Options { library: self.library.clone(), ..Options::new(&self.cluster_file, prefix) }
    }

    /// As [`Self::options`], with little patience.
    pub fn impatient(&self) -> Options {
        Options { deadline: Duration::from_secs(2), ..self.options() }
    }
}

/// Cargo puts the double's library beside the test programs.
pub fn double_library() -> PathBuf {
    std::env::current_exe().unwrap().with_file_name(LIBRARY)
}

/// Says it also where the output of a test that passes is not shown.
fn say(what: &str) {
    use std::io::Write as _;
    let line = format!("these tests run on {what}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
