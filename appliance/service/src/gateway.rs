//! The gateway over this node's ledger, and who asks it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hufu_contract::{Belonging, Contract, World as _, belonging};
use hufu_door::Caller;
use hufu_gateway::{
    ApiProblem, Asker, AssetView, BlockSummary, Gateway, GatewayLimits, LedgerAccess, LedgerFault,
    LedgerStatus, Metrics, ProvedAsset, Recorded,
};
use hufu_machine::{MachineError, key};
use hufu_proof::transaction::{Look, Payload};
use hufu_proof::{
    Digest, FinalityProof, Handover, Header, Height, IdentityId, LogEntry, LogIndex, Name, Receipt,
    Signer, Transaction,
};

use crate::admin;
use crate::intake::NodeIntake;
use crate::node::{Node, RECEIPT};

/// How long what is submitted waits for finality.
const PATIENCE: Duration = Duration::from_secs(15);

/// The gateway's router.
pub fn router(node: Arc<Node>, signer: Arc<dyn Signer>, metrics: &hufu_door::Metrics) -> Router {
    let counted = Metrics::default();
    let gateway = Gateway::new(
        Arc::new(NodeLedger { node: node.clone() }),
        node.supervision.reader().clone(),
        Arc::new(node.genesis.clone()),
        node.config.member.name.clone(),
        signer,
        counted.clone(),
        GatewayLimits { patience: PATIENCE, ..GatewayLimits::default() },
        node.supervision.workers().clone(),
    );
    metrics.register(|registry| counted.register(registry));
    let sent = hufu_intake::part(Arc::new(NodeIntake::new(node.clone())), PATIENCE);
    hufu_gateway::router(Arc::new(gateway), vec![sent]).nest("/admin", admin::router(node))
}

/// [`LedgerAccess`] over a node.
struct NodeLedger {
    node: Arc<Node>,
}

impl NodeLedger {
    fn reader(&self) -> &hufu_machine::Reader {
        self.node.ledger.reader()
    }
}

/// The member that answers for a signer, and whose its transactions are now, and
/// where.
fn belongs(
    reader: &hufu_machine::Reader,
    signer: &IdentityId,
) -> Result<(Option<Name>, Belonging), MachineError> {
    let state = reader.state()?;
    let Some(record) = state.identity(signer)? else {
        return Ok((None, Belonging::default()));
    };
    let belongs = belonging::of_signer(&state, record.kind, &record.owner, &record.subject);
    state.check()?;
    Ok((Some(record.owner), belongs))
}

/// A transaction with whose it is.
///
/// # Errors
/// When the store fails.
pub fn recorded(
    reader: &hufu_machine::Reader,
    transaction: Transaction,
    entry: LogEntry,
    log_index: LogIndex,
) -> Result<Recorded, MachineError> {
    let (member, belongs) = belongs(reader, &transaction.body.signer.identity())?;
    let log_index = log_index.get();
    Ok(Recorded { transaction, entry, log_index, member, belongs })
}

/// What an asset was, or that there was none, as [`LedgerAccess::prove_asset`].
///
/// # Errors
/// As there.
pub fn prove_asset(
    reader: &hufu_machine::Reader,
    asker: &Asker,
    (contract, asset_type, asset): (&Name, &Name, &str),
    as_of: Height,
) -> Result<ProvedAsset, LedgerFault> {
    // What is not executed yet is told as that, and not as what is soon final.
    reader.state_at(as_of).map_err(broken)?;
    let key = key::asset(contract, asset_type, asset);
    let proof = reader.state_proof(&key, as_of).map_err(broken)?.ok_or(LedgerFault::Pending)?;
    let state = reader.state_at(proof.as_of()).map_err(broken)?;
    let compiled =
        state.compiled(contract).map_err(broken)?.ok_or(LedgerFault::NotFound("contract"))?;
    // That there is nothing of a misspelt type would be no news.
    if compiled.asset_type(asset_type.as_str()).is_none() {
        return Err(LedgerFault::NotFound("type of asset"));
    }
    let view = state
        .asset(contract, asset_type, asset)
        .map(|found| AssetView::read(&compiled, asker, asset_type, asset, &found, &state));
    state.check().map_err(broken)?;
    Ok(ProvedAsset { proof, view: view.transpose()? })
}

/// The same as of the newest height that can be proved, or the first at or after
/// `as_of`. One that was executed just now is waited for.
///
/// # Errors
/// The same, as problems of a door; when no header covers the height in time.
pub async fn proved(
    node: &Node,
    asker: &Asker,
    asset: (&Name, &Name, &str),
    as_of: Option<u64>,
) -> anyhow::Result<ProvedAsset> {
    let reader = node.ledger.reader();
    let as_of = match as_of {
        Some(height) => Height(height),
        None => {
            let anchor = reader.latest_anchor()?;
            anchor.map_or(Height::ZERO, |(header, _)| header.executed.height)
        }
    };
    let mut applied = node.ledger.applied();
    let proved = async {
        loop {
            match prove_asset(reader, asker, asset, as_of) {
                Err(LedgerFault::Pending) => applied.changed().await.context("the node stops")?,
                told => return told.map_err(|fault| ApiProblem::from(fault).0.into()),
            }
        }
    };
    tokio::time::timeout(RECEIPT, proved)
        .await
        .unwrap_or_else(|_| Err(hufu_node::Error::Pending.into()))
}

fn broken(error: MachineError) -> LedgerFault {
    match error {
        MachineError::NotExecuted { height, executed } => {
            LedgerFault::Future { asked: height.get(), executed: executed.get() }
        }
        MachineError::Pruned { height, kept_from } => {
            LedgerFault::Past { asked: height.get(), kept_from: kept_from.get() }
        }
        other => LedgerFault::Unavailable(other.to_string()),
    }
}

impl LedgerAccess for NodeLedger {
    fn status(&self) -> Result<LedgerStatus, LedgerFault> {
        let committed = self.node.ledger.committed();
        let header = self
            .reader()
            .header(committed.height)
            .map_err(broken)?
            .ok_or(LedgerFault::NotFound("block"))?;
        let anchor = self.reader().latest_anchor().map_err(broken)?;
        Ok(LedgerStatus {
            height: committed.height.get(),
            time_ms: header.time_ms.get(),
            anchored_height: anchor.map_or(0, |(header, _)| header.executed.height.get()),
            state_root: committed.state_root,
            log_size: committed.log_size,
            log_root: committed.log_root,
            waiting: self.node.ledger.status().waiting as u64,
        })
    }

    fn block(&self, height: u64) -> Result<BlockSummary, LedgerFault> {
        let block = self
            .node
            .block(Height(height))
            .map_err(broken)?
            .ok_or(LedgerFault::NotFound("block"))?;
        let finality = match height {
            0 => None,
            _ => self.reader().finality_proof(&block.header).map_err(broken)?,
        };
        Ok(BlockSummary {
            digest: block.digest(),
            finality,
            transactions: block.transactions.iter().map(Transaction::id).collect(),
            header: block.header,
        })
    }

    fn anchor(&self, height: u64) -> Result<(Header, FinalityProof), LedgerFault> {
        self.reader()
            .anchor(Height(height))
            .map_err(broken)?
            .ok_or(LedgerFault::NotFound("final header"))
    }

    fn handovers(&self, epoch: u64) -> Result<Vec<Handover>, LedgerFault> {
        let all = self.reader().handovers(self.reader().epoch().number).map_err(broken)?;
        let all = all.ok_or(LedgerFault::NotFound("end of an epoch"))?;
        Ok(all.into_iter().skip(usize::try_from(epoch).unwrap_or(usize::MAX)).collect())
    }

    fn log_path(&self, log_index: u64, log_size: u64) -> Result<Vec<Digest>, LedgerFault> {
        self.reader()
            .log_path(LogIndex(log_index), log_size)
            .map_err(broken)?
            .ok_or(LedgerFault::NotFound("log entry"))
    }

    fn tile(&self, level: u8, begin: u64, width: u64) -> Result<Vec<Digest>, LedgerFault> {
        let tile = self.reader().tile(level, begin, width).map_err(broken)?;
        tile.ok_or(LedgerFault::NotFound("tile of the log"))
    }

    fn entries(&self, begin: u64, count: u64) -> Result<Vec<LogEntry>, LedgerFault> {
        let size = self.node.ledger.committed().log_size;
        let end = begin.checked_add(count).filter(|end| *end <= size);
        let end = end.ok_or(LedgerFault::NotFound("tile of the log"))?;
        self.reader().entries(LogIndex(begin), LogIndex(end)).map_err(broken)
    }

    fn transaction(&self, id: &Digest) -> Result<Recorded, LedgerFault> {
        let found = self
            .node
            .transaction(id)
            .map_err(broken)?
            .ok_or(LedgerFault::NotFound("transaction"))?;
        recorded(self.reader(), found.transaction, found.entry, found.log_index).map_err(broken)
    }

    fn receipt(&self, id: &Digest) -> Result<Receipt, LedgerFault> {
        let found = self.node.transaction(id).map_err(broken)?;
        let found = found.ok_or(LedgerFault::NotFound("transaction"))?;
        self.reader().receipt_of(found).map_err(broken)?.ok_or(LedgerFault::Pending)
    }

    fn contract(&self, package: &Digest) -> Result<Arc<Contract>, LedgerFault> {
        self.reader()
            .compiled_package(package)
            .map_err(broken)?
            .ok_or(LedgerFault::NotFound("contract"))
    }

    fn read_asset(
        &self,
        caller: &Caller,
        contract: &Name,
        asset_type: &Name,
        key: &str,
        as_of: u64,
    ) -> Result<AssetView, LedgerFault> {
        let view = self.reader().state_at(Height(as_of)).map_err(broken)?;
        let compiled =
            view.compiled(contract).map_err(broken)?.ok_or(LedgerFault::NotFound("contract"))?;
        let asset = view.asset(contract, asset_type, key).ok_or(LedgerFault::NotFound("asset"))?;
        let shown = AssetView::read(&compiled, &Asker::of(caller), asset_type, key, &asset, &view);
        view.check().map_err(broken)?;
        shown
    }

    fn prove_asset(
        &self,
        caller: &Caller,
        contract: &Name,
        asset_type: &Name,
        key: &str,
        as_of: u64,
    ) -> Result<ProvedAsset, LedgerFault> {
        let asset = (contract, asset_type, key);
        prove_asset(self.reader(), &Asker::of(caller), asset, Height(as_of))
    }

    fn record_look(&self, look: Look) -> BoxFuture<'_, Result<Digest, LedgerFault>> {
        async move {
            let entry = self.node.submitter.submit(Payload::Look(look)).await;
            entry.map(|entry| entry.transaction).map_err(|error| match error {
                hufu_node::Error::Pending => LedgerFault::Pending,
                other => LedgerFault::Unavailable(other.to_string()),
            })
        }
        .boxed()
    }
}
