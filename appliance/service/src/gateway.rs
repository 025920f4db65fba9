//! The gateway over this node's ledger, and who asks it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, header};
use axum::middleware::{self, Next};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hufu_contract::{Belonging, Contract, World as _, belonging};
use hufu_door::{Caller, Form, Peer, Shown};
use hufu_gateway::{
    AssetView, BlockSummary, Gateway, GatewayLimits, LedgerAccess, LedgerFault, LedgerStatus,
    Metrics, Recorded, StreamState, Viewer,
};
use hufu_machine::MachineError;
use hufu_proof::transaction::{Look, Payload};
use hufu_proof::{
    Digest, FinalityProof, Handover, Header, Height, IdentityId, LogEntry, LogIndex, Name, Outcome,
    Receipt, Signer, Transaction,
};

use crate::admin;
use crate::node::Node;

/// How long a submission waits for finality.
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
    hufu_gateway::router(Arc::new(gateway)).nest("/admin", admin::router(node))
}

/// Puts the certificate that counts where EST looks for it. One that does not is
/// told so, unless there is a token beside it, which then decides.
pub fn with_peer_certificate(router: Router) -> Router {
    router.layer(middleware::from_fn(|mut request: Request, next: Next| async move {
        let extensions = request.extensions();
        match (extensions.get::<Peer>(), extensions.get::<Shown>()) {
            (Some(Peer::Known(_)), Some(Shown::Certificate(shown))) => {
                let der = shown.der().to_vec();
                request.extensions_mut().insert(hufu_protocols::PeerCertificate(der));
            }
            (Some(Peer::Refused(problem)), _)
                if request.method() == Method::POST
                    && !request.headers().contains_key(header::AUTHORIZATION) =>
            {
                let json = request.uri().path().starts_with("/v1/");
                return if json { Form::Json } else { Form::Text }.refuse(problem.clone());
            }
            _ => {}
        }
        next.run(request).await
    }))
}

/// [`LedgerAccess`] over a node.
struct NodeLedger {
    node: Arc<Node>,
}

impl NodeLedger {
    /// Whether the caller has to do with the signer of a transaction: it is the
    /// signer, or acts for the member that answers for it, or for the owner of
    /// the device that signed.
    fn answers_for(&self, caller: &Caller, transaction: &Transaction) -> Result<(), LedgerFault> {
        let signer = transaction.body.signer.identity();
        if caller.identity == Some(signer) {
            return Ok(());
        }
        let height = self.node.ledger.committed().height;
        let record = self.reader().signer(&signer, height).map_err(broken)?;
        let record = record.ok_or(LedgerFault::Refused(Outcome::UnknownSigner))?;
        if Viewer::of(caller).for_member
            && (record.owner == caller.member
                || self.owner_now(&signer)?.as_ref() == Some(&caller.member))
        {
            return Ok(());
        }
        Err(LedgerFault::ForeignSigner { signer, member: record.owner.clone() })
    }

    fn owner_now(&self, signer: &IdentityId) -> Result<Option<Name>, LedgerFault> {
        Ok(belongs(self.reader(), signer).map_err(broken)?.1.owner)
    }

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

fn broken(error: MachineError) -> LedgerFault {
    match error {
        MachineError::NotExecuted { height, executed } => {
            LedgerFault::Future { asked: height.get(), executed: executed.get() }
        }
        other => LedgerFault::Unavailable(other.to_string()),
    }
}

fn fault(error: hufu_node::Error) -> LedgerFault {
    match error {
        hufu_node::Error::Refused(outcome) => LedgerFault::Refused(outcome),
        hufu_node::Error::Busy { retry_after } => LedgerFault::Busy { retry_after },
        hufu_node::Error::OverBudget(spent) => LedgerFault::OverBudget {
            detail: spent.to_string(),
            ends_ms: spent.ends_ms,
            retry_after: spent.retry_after,
        },
        hufu_node::Error::Pending => LedgerFault::Pending,
        // It left the queue, and can be in no block after that.
        hufu_node::Error::Expired => LedgerFault::Refused(Outcome::Expired),
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
            time_ms: header.time_ms,
            anchored_height: anchor.map_or(0, |(header, _)| header.executed.height.get()),
            state_root: committed.state_root,
            log_size: committed.log_size,
            log_root: committed.log_root,
            waiting: self.node.ledger.status().waiting as u64,
        })
    }

    fn block(&self, height: u64) -> Result<BlockSummary, LedgerFault> {
        let block = self
            .reader()
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

    fn transaction(&self, id: &Digest) -> Result<Recorded, LedgerFault> {
        let found = self
            .reader()
            .transaction(id)
            .map_err(broken)?
            .ok_or(LedgerFault::NotFound("transaction"))?;
        recorded(self.reader(), found.transaction, found.entry, found.log_index).map_err(broken)
    }

    fn receipt(&self, id: &Digest) -> Result<Receipt, LedgerFault> {
        if self.reader().entry(id).map_err(broken)?.is_none() {
            return Err(LedgerFault::NotFound("transaction"));
        }
        self.reader().receipt(id).map_err(broken)?.ok_or(LedgerFault::Pending)
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
        let shown = AssetView::read(&compiled, caller, asset_type, key, &asset, &view);
        view.check().map_err(broken)?;
        shown
    }

    fn stream(
        &self,
        contract: &Name,
        stream: &Name,
        identity: &IdentityId,
    ) -> Result<StreamState, LedgerFault> {
        let view = self.reader().state().map_err(broken)?;
        let compiled =
            view.compiled(contract).map_err(broken)?.ok_or(LedgerFault::NotFound("contract"))?;
        let sequence = view.stream_sequence(contract, stream, identity);
        view.check().map_err(broken)?;
        Ok(StreamState { contract: compiled, sequence })
    }

    fn submit<'a>(
        &'a self,
        caller: &'a Caller,
        transactions: Vec<Transaction>,
        patience: Duration,
    ) -> BoxFuture<'a, Vec<Result<LogEntry, LedgerFault>>> {
        async move {
            let mut answers: Vec<_> = transactions
                .iter()
                .map(|one| self.answers_for(caller, one).map(|()| None))
                .collect();
            let taken = answers.iter().map(Result::is_ok).collect::<Vec<_>>();
            let transactions = transactions.into_iter().zip(&taken);
            let transactions = transactions.filter_map(|(one, taken)| taken.then_some(one));
            let submitted = self.node.ledger.submit(transactions.collect(), patience).await;
            let places = answers.iter_mut().filter(|answer| answer.is_ok());
            for (place, answer) in places.zip(submitted) {
                *place = answer.map(|committed| Some(committed.entry)).map_err(fault);
            }
            let unanswered = || LedgerFault::Unavailable("it gave no answer".to_owned());
            answers
                .into_iter()
                .map(|answer| answer.and_then(|entry| entry.ok_or_else(unanswered)))
                .collect()
        }
        .boxed()
    }

    fn log_index(&self, id: &Digest) -> Result<u64, LedgerFault> {
        let entry = self.reader().entry(id).map_err(broken)?;
        entry.map(|(log_index, _)| log_index.get()).ok_or(LedgerFault::NotFound("transaction"))
    }

    fn record_look(&self, look: Look) -> BoxFuture<'_, Result<Digest, LedgerFault>> {
        async move {
            let entry = self.node.submitter.submit(Payload::Look(look)).await.map_err(fault)?;
            Ok(entry.transaction)
        }
        .boxed()
    }
}
