//! A backup of the machine: what the ledger does not keep, sealed to m of n
//! operators ([`hufu_backup`], docs/decisions/0012).
//!
//! It is made and sealed as it is sent: what is on a disk of it is where it was
//! before, or sealed.

mod contents;
mod restore;
mod staging;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use hufu_backup::{BackupError, Plan, Sealer, TokenPart};
use hufu_configuration::config::{self, Config, Operators};
use hufu_configuration::time::now_ms;
use hufu_door::{Code, Problem};
use serde::Deserialize;
use tokio::sync::{Mutex, mpsc};

use crate::backup::contents::Contents;
use crate::problem;
use crate::site::Site;
use crate::spawn;
use crate::unit::as_node;
use crate::vault::Vault;

pub use restore::{Restores, ShareRequest};
pub use staging::finish;

/// Pieces of a backup that wait to be sent.
const WAITING: usize = 16;

/// Bytes of a piece.
const PIECE: usize = 64 * 1024;

/// What an administrator asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// The operators' age recipients; those of the configuration where there
    /// are none.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// How many of them it takes to open it; as the configuration says where it
    /// is left out.
    pub threshold: Option<u8>,
}

impl BackupRequest {
    /// Who is to open it, and how many of them it takes. An administrator alone
    /// must not take the machine's keys away, so that nobody is let in whom the
    /// configuration leaves out, where it names them.
    fn operators(self, config: &Config) -> Result<Operators, Problem> {
        let refuse = |detail: &str| Err(Problem::new(Code::BackupRefused, detail));
        match &config.backup {
            None => match self.threshold {
                Some(threshold) if !self.recipients.is_empty() => {
                    Ok(Operators { operators: self.recipients, threshold })
                }
                _ => refuse(
                    "recipients, threshold: the configuration names no operators ([backup]); name \
                     them, and how many of them open the backup",
                ),
            },
            Some(set) => {
                let mut given = self.recipients;
                let mut all = set.operators.clone();
                given.sort_unstable();
                all.sort_unstable();
                if !given.is_empty() && given != all {
                    return refuse("recipients: they are not the operators of the configuration");
                }
                if self.threshold.is_some_and(|threshold| threshold != set.threshold) {
                    return refuse("threshold: it is not the one of the configuration");
                }
                Ok(set.clone())
            }
        }
    }
}

/// Makes backups, one at a time.
pub struct Backups {
    site: Site,
    vault: Vault,
    program: PathBuf,
    turn: Arc<Mutex<()>>,
}

impl Backups {
    /// Of the machine at `site`.
    ///
    /// # Errors
    /// When our own path is not known.
    pub fn new(site: Site, vault: Vault) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("our own path is not known")?;
        Ok(Self { site, vault, program, turn: Arc::default() })
    }

    /// A backup, as it is made.
    ///
    /// # Errors
    /// [`Problem`], as long as nothing was sent; later, the answer breaks off.
    pub async fn make(&self, request: BackupRequest) -> Result<Response, Problem> {
        let turn = self.turn.clone().lock_owned().await;
        if !self.site.ceremony_held() || !self.site.genesis().exists() {
            return Err(Problem::new(
                Code::TooEarly,
                "the machine is not set up: there is nothing yet",
            ));
        }
        let config =
            Config::load(&self.site.config()).map_err(|error| problem::internal(&error))?;
        let operators = request.operators(&config)?;
        let contents = self.collect(&config).await.map_err(|error| problem::internal(&error))?;
        let plan =
            self.plan(&config, &operators, &contents).map_err(|error| problem::internal(&error))?;
        let token = plan.token;
        let (pipe, mut pieces) = mpsc::channel(WAITING);
        // Heads are written in small pieces, before anything is sent.
        let into = io::BufWriter::with_capacity(PIECE, Pipe(pipe.clone()));
        let entries = contents.entries();
        let sealer = tokio::task::spawn_blocking(move || Sealer::new(&plan, entries, into))
            .await
            .map_err(|error| problem::internal(&error.into()))?
            .map_err(|error| Problem::new(Code::BackupRefused, error.to_string()))?;
        let id = sealer.head().id.clone();
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            match write(sealer, &contents, &pipe) {
                Ok(()) => tracing::info!(
                    id, threshold = operators.threshold, operators = ?operators.operators, ?token,
                    "a backup was made"
                ),
                Err(error) => tracing::error!(id, error = format!("{error:#}"), "no backup"),
            }
        });
        let body = futures::stream::poll_fn(move |context| pieces.poll_recv(context));
        let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
        Ok((kind, Body::from_stream(body)).into_response())
    }

    async fn collect(&self, config: &Config) -> anyhow::Result<Contents> {
        let pins = contents::pins(&self.vault).await?;
        let mut copied = None;
        if config.data("ca.sqlite").exists() {
            // By the node's user: what it wrote is not read here with our rights.
            let mut command = as_node(&self.site, self.program.clone());
            command.args(["appliance", "part", "copy-store"]);
            spawn::run(command, b"").await.context("the authority's records")?;
            copied = Some(config.data(COPY));
        }
        let site = self.site.clone();
        let exportable = is_exportable(config);
        tokio::task::spawn_blocking(move || Contents::collect(&site, pins, copied, exportable))
            .await?
    }

    fn plan(
        &self,
        config: &Config,
        operators: &Operators,
        contents: &Contents,
    ) -> anyhow::Result<Plan> {
        let token = if contents.has_token { TokenPart::Included } else { TokenPart::NotExportable };
        Ok(Plan {
            member: config.member.name.to_string(),
            genesis: config::read_genesis(&self.site.genesis())?.digest().to_string(),
            created_ms: now_ms().get(),
            software: format!("hufu {}", env!("CARGO_PKG_VERSION")),
            token,
            threshold: operators.threshold,
            recipients: operators.operators.clone(),
        })
    }
}

/// Where the authority's records are copied to, in the data directory.
pub const COPY: &str = ".backup.sqlite";

/// Whether the token is files of this machine: SoftHSM2, which the node keeps
/// under the path that we set.
pub fn is_exportable(config: &Config) -> bool {
    config.token.module.file_name().is_some_and(|name| name == "libsofthsm2.so")
}

fn write(
    mut sealer: Sealer<io::BufWriter<Pipe>>,
    contents: &Contents,
    pipe: &mpsc::Sender<io::Result<Bytes>>,
) -> anyhow::Result<()> {
    let written = contents.write(&mut sealer).and_then(|()| Ok(sealer.finish()?.flush()?));
    if let Err(error) = &written {
        // The answer must not look whole to who reads it.
        let broken = io::Error::other(format!("{error:#}"));
        let _ = pipe.blocking_send(Err(broken));
    }
    written
}

/// Passes what is written to the answer's body.
struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        self.0.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What went wrong with a backup or share that somebody gave.
fn refused(error: &BackupError) -> Problem {
    match error {
        BackupError::ShareForm(_)
        | BackupError::OtherBackup { .. }
        | BackupError::ShareWrong { .. } => Problem::new(Code::ShareRefused, error.to_string()),
        other => {
            let mut said = other.to_string();
            if let Some(source) = std::error::Error::source(other) {
                said += &format!(": {source}");
            }
            Problem::new(Code::RestoreRefused, said)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(backup: &str) -> Config {
        let text = format!(
            "[member]\nname = \"maker\"\nkinds = [\"maker\"]\n[paths]\ndata = \"/x\"\n\
             genesis = \"/y\"\n[token]\nmodule = \"/m.so\"\nlabel = \"maker\"\n[network]\n\
             listen = \"127.0.0.1:7000\"\npeers = {{ maker = \"127.0.0.1:7000\" }}\n{backup}"
        );
        Config::parse(&text, "hufu.toml").unwrap()
    }

    #[test]
    fn an_administrator_does_not_add_himself_to_the_operators() {
        // Of the tests of age itself.
        let one = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
        let other = "age1wdsesvzgt7lfy3sk7dmsq0g94nmtvuljwm2v3qe5964fng3rdvasgf3zmc";
        let ask = |recipients: &[&str], threshold, config: &Config| {
            let recipients = recipients.iter().map(|one| (*one).to_owned()).collect();
            BackupRequest { recipients, threshold }.operators(config)
        };
        let open = config("");
        assert_eq!(ask(&[one], Some(1), &open).unwrap().operators, [one]);
        assert_eq!(ask(&[one], None, &open).unwrap_err().code().as_str(), "backup-refused");
        assert_eq!(ask(&[], Some(1), &open).unwrap_err().code().as_str(), "backup-refused");
        let set = config(&format!("[backup]\noperators = [{one:?}, {other:?}]\nthreshold = 2\n"));
        for (recipients, threshold) in
            [(vec![], None), (vec![other, one], Some(2)), (vec![one, other], None)]
        {
            let operators = ask(&recipients, threshold, &set).unwrap();
            assert_eq!((operators.operators.len(), operators.threshold), (2, 2));
        }
        for (recipients, threshold) in [
            (vec![one], None),
            (vec![one, other], Some(1)),
            (vec![], Some(1)),
            (vec![one, one], None),
        ] {
            let problem = ask(&recipients, threshold, &set).unwrap_err();
            assert_eq!(problem.code().as_str(), "backup-refused");
        }
    }
}
