//! `hufu store copy`: a member's record from the store of one configuration into
//! that of another, while no node runs on either.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use hufu_configuration::store::Store as Named;
use hufu_configuration::{Config, files};
use hufu_machine::Machine;
use hufu_proof::Commitment;
pub use hufu_store::copy::Work;
use hufu_store::copy::{Copied, Portable, copy};
use hufu_store::foundationdb::Options;
use hufu_store::{Applied, EmbeddedStore, FoundationStore, Store, StoreError};

use crate::store;

/// A record that is in two stores.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Where it was.
    pub from: String,
    /// Where it is as well.
    pub to: String,
    /// Height, state root and log, which the target was opened with and checked
    /// against.
    pub commitment: Commitment,
    /// What went over.
    pub copied: Copied,
}

/// An open store.
enum Opened {
    Near(EmbeddedStore),
    Far(Box<FoundationStore>),
}

impl Opened {
    fn portable(&self) -> &dyn Portable {
        match self {
            Self::Near(store) => store,
            Self::Far(store) => &**store,
        }
    }

    fn store(self) -> Arc<dyn Store> {
        match self {
            Self::Near(store) => Arc::new(store),
            Self::Far(store) => Arc::new(*store),
        }
    }
}

/// Where a store is; two that are the same are one store.
fn place(config: &Config) -> String {
    match &config.store {
        Named::Embedded => config.data("state").display().to_string(),
        Named::FoundationDb(named) => {
            let options = store::options(named, config.member.name.as_str());
            format!("{} under `{}`", options.cluster_file.display(), options.prefix)
        }
    }
}

/// Copies the record and verifies the copy. `told` hears what is done, with rows
/// and bytes until then.
///
/// # Errors
/// A node that runs, configurations that are not of one member and consortium, a
/// target that has something else, and what either store meets. What was copied
/// until then stays, and the next call goes on there.
pub fn move_record(
    from: &Config,
    to: &Config,
    told: &mut dyn FnMut(Work, u64, u64),
) -> anyhow::Result<Moved> {
    let (member, other) = (&from.member.name, &to.member.name);
    anyhow::ensure!(
        member == other,
        "--to: it is the configuration of member `{other}`, and this one is of `{member}`"
    );
    let genesis = from.genesis()?;
    anyhow::ensure!(
        genesis.digest() == to.genesis()?.digest(),
        "--to: it names the genesis file of another consortium"
    );
    let (source_place, target_place) = (place(from), place(to));
    anyhow::ensure!(
        source_place != target_place,
        "--to: it names the same store, {source_place}; change `[store]` in it"
    );
    for socket in [from.admin_socket(), to.admin_socket()] {
        check_stopped(socket)?;
    }
    files::close_to_others();
    let source = match &from.store {
        Named::Embedded => {
            let path = from.data("state");
            anyhow::ensure!(path.is_dir(), "{}: there is no store to copy", path.display());
            EmbeddedStore::open(path).map(Opened::Near)
        }
        Named::FoundationDb(named) => {
            let opened = FoundationStore::open_reader(&store::options(named, member.as_str()));
            opened.map(|store| Opened::Far(Box::new(store)))
        }
    };
    let source = source.with_context(|| format!("the store to copy, {source_place}"))?;
    let target = match &to.store {
        Named::Embedded => {
            files::close_directory(&to.paths.data)?;
            EmbeddedStore::open_target(to.data("state")).map(Opened::Near)
        }
        Named::FoundationDb(named) => {
            let options = store::options(named, member.as_str());
            let opened = far_target(&options, source.portable().applied()?);
            opened.map(|store| Opened::Far(Box::new(store)))
        }
    };
    let target = target.with_context(|| format!("the store to copy into, {target_place}"))?;
    let epoch = source.portable().fence();
    let copied = copy(source.portable(), target.portable(), told)
        .with_context(|| format!("copying {source_place} into {target_place}"))?;
    if let Opened::Far(source) = &source {
        // A directory is locked; a cluster is not, by who only reads.
        anyhow::ensure!(
            !source.refresh()? && source.epoch_now()? == epoch,
            "a node has written {source_place} meanwhile; stop it, remove the copy and copy again"
        );
    }
    let machine = Machine::open(target.store(), genesis)
        .with_context(|| format!("the copy in {target_place}"))?;
    Ok(Moved { from: source_place, to: target_place, commitment: machine.applied(), copied })
}

/// The store on a cluster to copy into. One that has a record is only read: to take
/// it over would stop a node that runs on it, on any machine.
fn far_target(options: &Options, source: Option<Applied>) -> Result<FoundationStore, StoreError> {
    match FoundationStore::open_reader(options) {
        Ok(there) => match there.applied()? {
            Some(applied) if Some(&applied) == source.as_ref() => return Ok(there),
            Some(applied) => return Err(StoreError::Occupied { height: Some(applied.height) }),
            None => {}
        },
        Err(StoreError::NothingToRead) => {}
        Err(error) => return Err(error),
    }
    FoundationStore::open_target(options)
}

/// Nobody serves at a socket.
fn check_stopped(socket: PathBuf) -> anyhow::Result<()> {
    anyhow::ensure!(
        UnixStream::connect(&socket).is_err(),
        "a node runs ({} answers); stop it first: a record has one writer",
        socket.display()
    );
    Ok(())
}
