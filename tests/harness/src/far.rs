//! Members whose records are on FoundationDB: on the cluster that
//! `FDB_CLUSTER_FILE` names, or on a double of one.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use hufu_fdb_double::{Cluster, LIBRARY};

use crate::consortium::Consortium;

/// A cluster. The double ends with it, and what is on it too.
pub struct Far {
    cluster_file: PathBuf,
    library: Option<PathBuf>,
    double: Option<Cluster>,
}

impl Far {
    /// The real one where there is one, else a double whose socket is in the
    /// consortium's directory.
    ///
    /// # Errors
    /// When the double does not start, or its library is not beside this program.
    pub fn any(consortium: &Consortium) -> anyhow::Result<Self> {
        if let Some(file) = std::env::var_os("FDB_CLUSTER_FILE") {
            return Ok(Self { cluster_file: file.into(), library: None, double: None });
        }
        let program = std::env::current_exe().context("this program's path")?;
        // Cargo puts it beside tests, and for other programs one folder below.
        let places =
            [program.with_file_name(LIBRARY), program.with_file_name("deps").join(LIBRARY)];
        let library = places.into_iter().find(|place| place.exists());
        let library = library.with_context(|| format!("{LIBRARY} is not beside this program"))?;
        let directory = consortium.path("cluster");
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let cluster = Cluster::start(&directory)?;
        let cluster_file = cluster.file().to_owned();
        Ok(Self { cluster_file, library: Some(library), double: Some(cluster) })
    }

    /// Which it is, for people.
    pub fn said(&self) -> String {
        match &self.double {
            Some(_) => "a test double of FoundationDB (FDB_CLUSTER_FILE is not set)".to_owned(),
            None => format!("the FoundationDB cluster of {}", self.cluster_file.display()),
        }
    }

    /// The double, to be looked at.
    pub fn double(&self) -> Option<&Cluster> {
        self.double.as_ref()
    }

    /// What the keys of a member's record begin with: a cluster that lasts has
    /// those of other consortia.
    pub fn prefix(consortium: &Consortium, member: &str) -> String {
        let directory = consortium.settings.directory.file_name().unwrap_or_default();
        let accepted = |one: &char| one.is_ascii_alphanumeric() || "-_.".contains(*one);
        let name: String = directory.to_string_lossy().chars().filter(accepted).take(32).collect();
        format!("hufu-test/{name}-{member}")
    }

    /// Puts the record of a member there. Before its node's first start.
    ///
    /// # Errors
    /// When its configuration cannot be written, or says where the record is.
    pub fn keep(&self, consortium: &Consortium, member: &str) -> anyhow::Result<()> {
        let config = consortium.member(member)?.config();
        let text = fs::read_to_string(&config).context("the configuration")?;
        ensure!(!text.contains("\n[store]\n"), "{} has a `[store]`", config.display());
        let (file, prefix) = (&self.cluster_file, Self::prefix(consortium, member));
        let mut store = format!(
            "\n[store]\nengine = \"foundationdb\"\ncluster_file = {file:?}\nprefix = {prefix:?}\n"
        );
        if let Some(library) = &self.library {
            store += &format!("library = {library:?}\n");
        }
        OpenOptions::new().append(true).open(config)?.write_all(store.as_bytes())?;
        Ok(())
    }
}
