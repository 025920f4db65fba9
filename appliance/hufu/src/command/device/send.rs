//! `hufu device send`: readings from a file, signed in batches by the device's
//! TPM, each row recorded once however often the command is run.

use anyhow::{Context as _, ensure};
use hufu_client::device_key::{self, DeviceKey};
use hufu_client::sent::{Acknowledged, Journal, Running, Underway};
use hufu_client::submission::{self, Submitted};
use hufu_client::{Client, tls};
use hufu_configuration::time::now_ms;
use hufu_configuration::{Ending, Exit, certificates, config, files, no, sentence, unavailable};
use hufu_contract::ColumnDescription;
use hufu_proof::transaction::{Batch, MAX_LIFETIME, Payload};
use hufu_proof::{Body, Digest, Genesis, Height, Sequence, Signer as _, Value};
use hufu_readings::{MAX_CSV, Period, Readings, from_csv};
use serde::{Deserialize, Serialize};

use super::{CHAIN, open};
use crate::cli::Send;
use crate::output;

/// What a gateway says of a stream.
#[derive(Deserialize)]
struct StreamDescription {
    columns: Vec<ColumnDescription>,
    /// Most rows in a batch.
    max_rows: usize,
    /// The sequence of this signer's last batch; 0 before the first.
    sequence: Sequence,
}

/// A batch that was recorded.
#[derive(Serialize)]
struct Sent {
    transaction: Digest,
    sequence: Sequence,
    rows: usize,
    outcome: String,
    height: Height,
}

/// Where readings go, and who sends them.
struct Sender {
    arguments: Send,
    genesis: Genesis,
    key: DeviceKey,
    client: Client,
    journal: Journal,
}

pub(super) async fn run(arguments: Send, json: bool) -> anyhow::Result<()> {
    ensure!(
        (1..=10_000).contains(&arguments.batch),
        "--batch is a number of rows from 1 to 10000, not {}",
        arguments.batch
    );
    let genesis = config::read_genesis(&arguments.genesis)?;
    let text = files::read(&arguments.file, MAX_CSV)?;
    let key = DeviceKey::new(open(&arguments.tcti, &arguments.state)?)?;
    let chain = certificates::read(&arguments.state.join(CHAIN))
        .context("the device is not enrolled; `hufu device enroll` does it")?;
    let leaf = chain.first().context("the device's certificate chain is empty")?;
    let began = match arguments.measured_from {
        Some(time) => time,
        None => device_key::began(leaf).context("the device's certificate")?,
    };
    let roots = certificates::roots(certificates::read(&arguments.ca)?)?;
    let wanted = arguments.member.as_ref();
    let tls = tls::client(roots, Some(key.certified(chain)?), wanted)?;
    let client = Client::tls(&arguments.gateway, tls)?;
    let journal = Journal::open(&arguments.state, &arguments.contract, &arguments.stream)?;
    let mut sender = Sender { arguments, genesis, key, client, journal };

    let stream = sender.stream().await?;
    let now = submission::progress(&sender.client).await?.time_ms.max(now_ms());
    let file = sender.arguments.file.display().to_string();
    let Readings { rows, notes } = from_csv(&text, &stream.columns, Period { began, now })
        .with_context(|| format!("in {file}, of which nothing was sent"))?;
    for note in notes {
        output::note(&format!("{file}: {note}"));
    }
    ensure!(!rows.is_empty(), "{file} has no rows under its header");

    sender.settle().await?;
    let sent = sender.send(&rows, stream.max_rows).await?;
    output::print(json, &sent, |sent| {
        if sent.is_empty() {
            return format!(
                "all {} rows of {file} were recorded before; nothing was sent",
                rows.len()
            );
        }
        let cells = |one: &Sent| {
            vec![
                one.sequence.to_string(),
                one.rows.to_string(),
                one.height.to_string(),
                one.transaction.to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = sent.iter().map(cells).collect();
        output::table(&["BATCH", "ROWS", "HEIGHT", "TRANSACTION"], &rows)
    })
}

impl Sender {
    async fn stream(&self) -> anyhow::Result<StreamDescription> {
        let Send { contract, stream, .. } = &self.arguments;
        let identity = self.key.public_key().identity();
        self.client.get(&format!("/v1/streams/{contract}/{stream}?identity={identity}")).await
    }

    /// Finds out what became of the batch that the last run sent without getting
    /// an answer: asks the ledger, and sends the same transaction again where the
    /// ledger does not have it.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let Some(underway) = self.journal.underway()? else { return Ok(()) };
        let Underway { sequence, transaction, .. } = &underway;
        if transaction.body.chain != self.genesis.digest() {
            return self.journal.forget();
        }
        let id = transaction.id();
        let found = match submission::recorded(&self.client, id).await? {
            Some(found) => Some(found),
            // It may still wait in a block that is being made, so it is not
            // given up before it can be in none.
            None => {
                let height = submission::progress(&self.client).await?.height;
                if height > transaction.body.expires {
                    None
                } else {
                    Some(submission::submit(&self.client, transaction).await?)
                }
            }
        };
        match found {
            Some(found) if found.outcome.is_accepted() => {
                output::note(&format!(
                    "batch {sequence}, which an earlier run sent without getting an answer, is \
                     recorded in block {}",
                    found.height
                ));
                self.journal.acknowledge(&underway)
            }
            // Refused or too late: nothing of it will ever be recorded.
            _ => self.journal.forget(),
        }
    }

    /// Sends the rows that were not recorded before.
    async fn send(&mut self, rows: &[Vec<Value>], most: usize) -> anyhow::Result<Vec<Sent>> {
        let Send { contract, stream, batch, again, .. } = &self.arguments;
        let (contract, stream, again) = (contract.clone(), stream.clone(), *again);
        let size = (*batch).min(most.max(1));
        let chain = self.genesis.digest();
        let mut running = Running::start(&chain, &contract, &stream);
        let mut sequence = self.stream().await?.sequence;
        let mut done = 0;
        if let Some(reached) = self.journal.reached(running, rows).filter(|_| !again) {
            self.confirm(&reached, sequence).await?;
            done = usize::try_from(reached.rows)?;
            running = running.with_all(&rows[..done]);
            output::note(&format!(
                "rows 1 to {done} of {} were recorded by an earlier run, up to batch {}; {}",
                rows.len(),
                reached.sequence,
                if done < rows.len() {
                    format!("going on with row {}", done + 1)
                } else {
                    "`--again` sends them once more".to_owned()
                }
            ));
        }
        let mut sent = Vec::new();
        for piece in rows[done..].chunks(size) {
            running = running.with_all(piece);
            sequence = sequence.next();
            let submitted = self.batch(piece, sequence, running).await;
            let Submitted { id, outcome, height } = submitted.map_err(|error| {
                ended(error, &format!("rows 1 to {done} of {} are recorded", rows.len()))
            })?;
            done += piece.len();
            let outcome = outcome.to_string();
            sent.push(Sent { transaction: id, sequence, rows: piece.len(), outcome, height });
        }
        Ok(sent)
    }

    /// Sees to it that the ledger has what the journal says that it has.
    async fn confirm(&self, reached: &Acknowledged, sequence: Sequence) -> anyhow::Result<()> {
        let transaction = reached.transaction;
        let behind =
            reached.identity == self.key.public_key().identity() && sequence < reached.sequence;
        match submission::recorded(&self.client, transaction).await? {
            Some(found) if found.outcome.is_accepted() && !behind => Ok(()),
            Some(found) if !found.outcome.is_accepted() => Err(no(format!(
                "the journal says that batch {} was recorded, and the ledger says of its \
                 transaction {transaction}: {}; move the journal `sent-*.jsonl` away only when you \
                 know which rows are recorded",
                reached.sequence, found.outcome
            ))),
            _ => Err(unavailable(format!(
                "this gateway does not have batch {} (transaction {transaction}), which was \
                 recorded: it is behind the others; try again later, or another gateway",
                reached.sequence
            ))),
        }
    }

    /// Signs and sends one batch, with which `running` ends.
    async fn batch(
        &mut self,
        rows: &[Vec<Value>],
        sequence: Sequence,
        running: Running,
    ) -> anyhow::Result<Submitted> {
        let height = submission::progress(&self.client).await?.height;
        let body = Body {
            chain: self.genesis.digest(),
            signer: self.key.public_key(),
            nonce: sequence.get(),
            expires: height.plus(MAX_LIFETIME / 2),
            payload: Payload::Append(Batch {
                contract: self.arguments.contract.clone(),
                stream: self.arguments.stream.clone(),
                sequence,
                rows: rows.to_vec(),
            }),
        };
        let transaction = body.sign(&self.key)?;
        let (rows, digest) = running.parts();
        let underway = Underway { rows, digest, sequence, transaction };
        self.journal.keep(&underway)?;
        let submitted = submission::submit(&self.client, &underway.transaction).await?;
        if submitted.outcome.is_accepted() {
            self.journal.acknowledge(&underway)?;
            return Ok(submitted);
        }
        // The ledger's last word: it will not be recorded.
        self.journal.forget()?;
        Err(no(format!(
            "batch {sequence} was {}: {}; transaction {}",
            submitted.outcome,
            submitted.outcome.meaning(),
            submitted.id
        )))
    }
}

/// Says how far a run came that ends.
fn ended(error: anyhow::Error, recorded: &str) -> anyhow::Error {
    let exit = error.chain().find_map(|cause| cause.downcast_ref::<Ending>());
    let exit = exit.map_or(Exit::Usage, |ending| ending.exit);
    let remedy = match exit {
        Exit::Unavailable => "; the same command goes on from there",
        _ => "",
    };
    Ending { exit, message: format!("{}; {recorded}{remedy}", sentence(&error)) }.into()
}
