//! The rows of the ledger's own tables, as they are written and as they must be.

use hufu_machine::event::PayloadKind;
use hufu_proof::{Digest, Header, Height, Name, Outcome, Payload, Transaction, UnixMillis, codec};

use crate::cell::Cell;

/// Where something was recorded.
#[derive(Clone, Copy)]
pub(crate) struct Recorded {
    pub(crate) height: Height,
    pub(crate) time: UnixMillis,
    pub(crate) log_index: u64,
}

impl Recorded {
    /// What the tables of contracts begin with.
    pub(crate) fn cells(self) -> Vec<Cell> {
        vec![Cell::number(self.height.get()), Cell::time(self.time), Cell::number(self.log_index)]
    }
}

/// A row of `blocks.parquet`.
pub(crate) fn block(header: &Header, transactions: u64) -> Vec<Cell> {
    let executed = &header.executed;
    vec![
        Cell::number(header.height.get()),
        Cell::time(header.time_ms),
        Cell::text(header.digest()),
        Cell::text(header.parent),
        Cell::number(u64::from(header.version)),
        Cell::number(transactions),
        Cell::text(header.transactions_root),
        Cell::number(executed.height.get()),
        Cell::text(executed.state_root),
        Cell::number(executed.log_size),
        Cell::text(executed.log_root),
    ]
}

/// A row of `transactions.parquet`.
pub(crate) fn transaction(
    at: Recorded,
    position: u32,
    transaction: &Transaction,
    (id, outcome, member): (&Digest, Outcome, Option<&Name>),
) -> Vec<Cell> {
    let body = &transaction.body;
    let (contract, action, asset) = match &body.payload {
        Payload::Invoke(call) => (Some(&call.contract), Some(&call.action), Some(&call.asset)),
        Payload::Append(batch) => (Some(&batch.contract), Some(&batch.stream), None),
        _ => (None, None, None),
    };
    vec![
        Cell::number(at.height.get()),
        Cell::number(u64::from(position)),
        Cell::number(at.log_index),
        Cell::time(at.time),
        Cell::text(id),
        Cell::text(outcome.code()),
        Cell::text(body.signer.identity()),
        Cell::optional(member),
        Cell::text(PayloadKind::of(&body.payload)),
        Cell::optional(contract),
        Cell::optional(action),
        Cell::optional(asset),
        Cell::Bytes(codec::encode(transaction)),
    ]
}
