//! What devices and companies send, into this node's ledger: who answers for
//! whose transactions.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hufu_contract::World as _;
use hufu_contract::belonging;
use hufu_door::Caller;
use hufu_intake::{Intake, IntakeFault, StreamState};
use hufu_machine::MachineError;
use hufu_proof::{Digest, IdentityId, LogEntry, Name, Outcome, Transaction};

use crate::node::Node;

/// [`Intake`] over a node.
pub struct NodeIntake {
    node: Arc<Node>,
}

impl NodeIntake {
    /// Of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Whether the caller has to do with the signer of a transaction: it is the
    /// signer, or speaks for the member that answers for it, or for the present
    /// owner of the device that signed.
    fn answers_for(&self, caller: &Caller, transaction: &Transaction) -> Result<(), IntakeFault> {
        let signer = transaction.body.signer.identity();
        if caller.identity == Some(signer) {
            return Ok(());
        }
        let height = self.node.ledger.committed().height;
        let record = self.reader().signer(&signer, height).map_err(broken)?;
        let record = record.ok_or(IntakeFault::Refused(Outcome::UnknownSigner))?;
        if caller.speaks_for_member() {
            // Most often, and without a look at the state.
            if record.owner == caller.member {
                return Ok(());
            }
            let state = self.reader().state().map_err(broken)?;
            let present = belonging::of_signer(&state, record.kind, &record.owner, &record.subject);
            state.check().map_err(broken)?;
            if present.owner.as_ref() == Some(&caller.member) {
                return Ok(());
            }
        }
        Err(IntakeFault::ForeignSigner { signer, member: record.owner.clone() })
    }

    fn reader(&self) -> &hufu_machine::Reader {
        self.node.ledger.reader()
    }
}

fn broken(error: MachineError) -> IntakeFault {
    IntakeFault::Unavailable(error.to_string())
}

fn fault(error: hufu_node::Error) -> IntakeFault {
    match error {
        hufu_node::Error::Refused(outcome) => IntakeFault::Refused(outcome),
        hufu_node::Error::Busy { retry_after } => IntakeFault::Busy { retry_after },
        hufu_node::Error::OverBudget(spent) => IntakeFault::OverBudget {
            detail: spent.to_string(),
            ends_ms: spent.ends_ms,
            retry_after: spent.retry_after,
        },
        hufu_node::Error::Pending => IntakeFault::Pending,
        // It left the queue, and can be in no block after that.
        hufu_node::Error::Expired => IntakeFault::Refused(Outcome::Expired),
        hufu_node::Error::FrontEnd => IntakeFault::FrontEnd(error.to_string()),
        other => IntakeFault::Unavailable(other.to_string()),
    }
}

impl Intake for NodeIntake {
    fn stream(
        &self,
        contract: &Name,
        stream: &Name,
        identity: &IdentityId,
    ) -> Result<StreamState, IntakeFault> {
        let view = self.reader().state().map_err(broken)?;
        let compiled =
            view.compiled(contract).map_err(broken)?.ok_or(IntakeFault::NotFound("contract"))?;
        let sequence = view.stream_sequence(contract, stream, identity);
        view.check().map_err(broken)?;
        Ok(StreamState { contract: compiled, sequence })
    }

    fn submit<'a>(
        &'a self,
        caller: &'a Caller,
        transactions: Vec<Transaction>,
        patience: Duration,
    ) -> BoxFuture<'a, Vec<Result<LogEntry, IntakeFault>>> {
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
            let unanswered = || IntakeFault::Unavailable("it gave no answer".to_owned());
            answers
                .into_iter()
                .map(|answer| answer.and_then(|entry| entry.ok_or_else(unanswered)))
                .collect()
        }
        .boxed()
    }

    fn log_index(&self, id: &Digest) -> Result<u64, IntakeFault> {
        let entry = self.reader().entry(id).map_err(broken)?;
        entry.map(|(log_index, _)| log_index.get()).ok_or(IntakeFault::NotFound("transaction"))
    }
}
