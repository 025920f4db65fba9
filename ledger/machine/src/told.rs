//! What a height's events are stored as: what neither its block nor the log has.
//!
//! Of a transaction that is the member that answers for its signer, and what it
//! changed. Identifiers of transactions are left out, and what a batch of rows
//! says of itself.

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::{Block, Digest, IdentityId, LogIndex, Name, Outcome, Payload, Transaction, codec};
use hufu_store::large;

use crate::error::MachineError;
use crate::event::Event;

/// Most bytes that are accepted of a height's events.
const MAX_TOLD: usize = large::MAX_LARGE;

#[derive(BorshSerialize, BorshDeserialize)]
struct Told {
    /// Every member that answers for a signer, once.
    members: Vec<Name>,
    /// What happened before the first transaction: at genesis, all.
    before: Vec<Event>,
    transactions: Vec<OfTransaction>,
}

#[derive(Default, BorshSerialize, BorshDeserialize)]
struct OfTransaction {
    /// Number of the member that answers for the signer.
    member: Option<u16>,
    changes: Vec<Change>,
}

#[derive(BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
enum Change {
    /// Those of the transaction; the asset that signed.
    Rows(String) = 0,
    /// Another event, with an identifier of zeros.
    Other(Box<Event>) = 1,
}

/// The events of `block` as they are stored.
pub(crate) fn encode(block: &Block, events: &[Event]) -> Vec<u8> {
    let mut told = Told { members: Vec::new(), before: Vec::new(), transactions: Vec::new() };
    let mut present: Option<Logged<'_>> = None;
    for event in events {
        match event {
            Event::Block { .. } => {}
            Event::Transaction { id, index, signer, member, .. } => {
                let transaction = block.transactions.get(*index as usize);
                let logged =
                    |transaction| Logged { transaction, id: *id, signer: *signer, index: *index };
                present = transaction.map(logged);
                let member = member.as_ref().and_then(|member| number(&mut told.members, member));
                told.transactions.push(OfTransaction { member, changes: Vec::new() });
            }
            event => match (told.transactions.last_mut(), &present) {
                (Some(of), Some(logged)) => of.changes.push(logged.change(event)),
                _ => told.before.push(event.clone()),
            },
        }
    }
    codec::encode(&told)
}

/// The place of a name in a list; `None` in one that is full, which no
/// consortium's is.
fn number(members: &mut Vec<Name>, member: &Name) -> Option<u16> {
    let place = members.iter().position(|one| one == member).unwrap_or_else(|| {
        members.push(member.clone());
        members.len() - 1
    });
    u16::try_from(place).ok()
}

/// A transaction whose changes follow.
struct Logged<'a> {
    transaction: &'a Transaction,
    id: Digest,
    /// Whose key is in it.
    signer: IdentityId,
    /// Its place in the block.
    index: u32,
}

impl Logged<'_> {
    fn change(&self, event: &Event) -> Change {
        if let Event::Rows { device, .. } = event
            && self.rows(device.clone()).as_ref() == Some(event)
        {
            return Change::Rows(device.clone());
        }
        let mut event = event.clone();
        if let Some(of) = event.transaction_mut().filter(|of| **of == self.id) {
            *of = Digest::default();
        }
        Change::Other(Box::new(event))
    }

    /// The event of a batch of rows that was taken in.
    fn rows(&self, device: String) -> Option<Event> {
        let Payload::Append(batch) = &self.transaction.body.payload else { return None };
        Some(Event::Rows {
            transaction: self.id,
            index: self.index,
            contract: batch.contract.clone(),
            stream: batch.stream.clone(),
            signer: self.signer,
            device,
            sequence: batch.sequence,
            // Bounded by the size of a transaction.
            rows: batch.rows.len() as u32,
        })
    }
}

/// The events of `block`, whose transactions became `outcomes` from the entry
/// `first` of the log on, from what is stored of them.
///
/// # Errors
/// [`MachineError::Damaged`] when they do not fit together.
pub(crate) fn decode(
    row: &[u8],
    block: &Block,
    first: LogIndex,
    outcomes: &[Outcome],
) -> Result<Vec<Event>, MachineError> {
    let height = block.header.height;
    let damaged = || MachineError::damaged(format!("events of height {height}"));
    let Told { members, before, transactions } = codec::decode("events", row, MAX_TOLD)
        .map_err(|error| MachineError::undecodable("events", error))?;
    let count = block.transactions.len();
    if transactions.len() != count || outcomes.len() != count {
        return Err(damaged());
    }
    let mut events = vec![Event::block(block)];
    events.extend(before);
    let told = block.transactions.iter().zip(transactions).zip(outcomes);
    for (index, ((transaction, OfTransaction { member, changes }), outcome)) in told.enumerate() {
        let member = match member {
            None => None,
            Some(number) => Some(members.get(usize::from(number)).ok_or_else(damaged)?.clone()),
        };
        let (id, signer) = (transaction.id(), transaction.body.signer.identity());
        let log_index = LogIndex(first.get() + index as u64);
        // A block has far fewer than 2^32 transactions.
        let index = index as u32;
        let logged = Logged { transaction, id, signer, index };
        events.push(Event::transaction(
            transaction,
            id,
            signer,
            index,
            log_index,
            *outcome,
            member,
        ));
        for change in changes {
            events.push(match change {
                Change::Rows(device) => logged.rows(device).ok_or_else(damaged)?,
                Change::Other(mut event) => {
                    if let Some(of) = event.transaction_mut().filter(|of| of.0 == [0; 32]) {
                        *of = id;
                    }
                    *event
                }
            });
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hufu_proof::{
        Algorithm, Body, Commitment, Header, Height, PublicKey, Signature, UnixMillis,
    };
    use proptest::prelude::*;

    fn block() -> Block {
        let executed = Commitment {
            height: Height::ZERO,
            state_root: Digest::default(),
            log_size: 0,
            log_root: Digest::default(),
        };
        let header = Header {
            version: 1,
            chain: Digest::default(),
            height: Height(1),
            parent: Digest::default(),
            time_ms: UnixMillis::ZERO,
            transactions_root: Digest::default(),
            executed,
        };
        let body = Body {
            chain: Digest::default(),
            signer: PublicKey::new(Algorithm::Ed25519, &[1; 32]).unwrap(),
            nonce: 0,
            expires: Height(9),
            payload: Payload::Approve(Digest::default()),
        };
        let signature = Signature::new(Algorithm::Ed25519, &[3; 64]).unwrap();
        Block { header, transactions: vec![Transaction { body, signature }] }
    }

    #[test]
    fn what_does_not_fit_the_block_is_refused() {
        let block = block();
        let transaction = &block.transactions[0];
        let accepted = [Outcome::Accepted];
        let (id, member) = (transaction.id(), Name::new("maker").unwrap());
        let first = LogIndex(7);
        let signer = transaction.body.signer.identity();
        let of =
            Event::transaction(transaction, id, signer, 0, first, Outcome::Accepted, Some(member));
        let events = vec![Event::block(&block), of];
        let row = encode(&block, &events);
        assert_eq!(decode(&row, &block, first, &accepted).unwrap(), events);
        assert!(decode(&row, &block, first, &[]).is_err());
        let rows = Change::Rows("device".to_owned());
        let transactions = vec![OfTransaction { member: None, changes: vec![rows] }];
        let told = Told { members: Vec::new(), before: Vec::new(), transactions };
        assert!(decode(&codec::encode(&told), &block, first, &accepted).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_rows_do_not_panic(row in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&row, &block(), LogIndex::ZERO, &[Outcome::Accepted]);
        }
    }
}
