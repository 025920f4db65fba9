//! Transactions on their way into the ledger, and what their senders were told.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_zebra::SigningKey;
use hufu_consensus::testing::Random;
use hufu_machine::{MachineError, Reader};
use hufu_proof::transaction::{Certification, IdentityKind, Issuance};
use hufu_proof::{
    Algorithm, Body, Digest, Height, LogEntry, LogIndex, Name, Outcome, Payload, PublicKey, Serial,
    Signature, Transaction, UnixMillis,
};
use tokio::sync::oneshot;

use crate::error::Error;
use crate::ledger::Ledger;
use crate::shared::{Admission, Committed};

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn member(number: u8) -> String {
    format!("member-{number}")
}

fn statement_key(member: &str) -> SigningKey {
    SigningKey::from(Digest::of(member.as_bytes()).0)
}

pub fn statement_public(member: &str) -> PublicKey {
    let key = statement_key(member).verification_key();
    PublicKey::new(Algorithm::Ed25519, key.as_ref()).unwrap()
}

/// The issuance of certificate number `serial` to `device`, by the authority.
pub fn issue(chain: Digest, serial: u64, device: &str) -> Transaction {
    let authority = member(0);
    sign(
        chain,
        &authority,
        serial,
        Payload::Certify(vec![Certification {
            roles: BTreeSet::new(),
            hosts: BTreeSet::new(),
            issuance: Issuance {
                // Of four bytes, the first of which is not zero.
                serial: Serial::new(&(serial | 1 << 24).to_be_bytes()[4..]).unwrap(),
                profile: name("device"),
                kind: IdentityKind::Device,
                tbs: serial.to_be_bytes().to_vec(),
                key: statement_public(device),
                subject: format!("CN={device}"),
                owner: name(&authority),
                not_before: UnixMillis::ZERO,
                not_after: UnixMillis(4_000_000_000_000),
                attestation: None,
            },
        }]),
    )
}

/// A transaction whose signer has no certificate.
pub fn by_stranger(chain: Digest) -> Transaction {
    sign(chain, "stranger", 0, Payload::Approve(Digest::default()))
}

/// What a member signs.
pub fn by_member(chain: Digest, number: u8, nonce: u64, payload: Payload) -> Transaction {
    sign(chain, &member(number), nonce, payload)
}

/// A transaction of a member.
fn sign(chain: Digest, member: &str, nonce: u64, payload: Payload) -> Transaction {
    let body =
        Body { chain, signer: statement_public(member), nonce, expires: Height(10_000), payload };
    let signature = statement_key(member).sign(&body.message()).to_bytes();
    Transaction { signature: Signature::new(Algorithm::Ed25519, &signature).unwrap(), body }
}

struct Waiting {
    id: Digest,
    node: u8,
    answer: oneshot::Receiver<Result<Committed, Error>>,
}

/// What was sent, and what the nodes said to it.
#[derive(Default)]
pub struct Traffic {
    /// By certificate number; of several for one number, one is to succeed.
    sent: BTreeMap<u64, Vec<Transaction>>,
    /// What changes the members, by the member that signed; each is to succeed.
    governance: Vec<(u8, Transaction)>,
    waiting: Vec<Waiting>,
    answered: BTreeMap<Digest, LogEntry>,
    /// Which node acknowledged what.
    told: BTreeSet<(u8, Digest)>,
}

impl Traffic {
    /// Makes `count` transactions and sends each to one node or two. Some have
    /// a rival for the same serial number.
    pub fn submit(
        &mut self,
        chain: Digest,
        nodes: &[(u8, &Ledger)],
        random: &mut Random,
        count: u64,
    ) {
        for _ in 0..count {
            let serial = self.sent.len() as u64;
            let rivals = 1 + random.below(8) / 7;
            for rival in 0..rivals {
                let transaction = issue(chain, serial, &format!("device {serial} {rival}"));
                self.sent.entry(serial).or_default().push(transaction.clone());
                for _ in 0..1 + random.below(4) / 3 {
                    self.send(nodes, random, &transaction);
                }
            }
        }
    }

    /// Makes a transaction of a member; [`Self::send_governance`] sends it.
    pub fn govern(&mut self, chain: Digest, number: u8, payload: Payload) -> Digest {
        let nonce = self.governance.len() as u64;
        let transaction = sign(chain, &member(number), nonce, payload);
        let id = transaction.id();
        self.governance.push((number, transaction));
        id
    }

    /// Sends to a member's node what the member has signed and nobody answered.
    pub fn send_governance(&mut self, (number, ledger): (u8, &Ledger)) {
        let open = self
            .governance
            .iter()
            .filter(|(signer, one)| *signer == number && !self.answered.contains_key(&one.id()));
        for (_, transaction) in open.cloned().collect::<Vec<_>>() {
            self.send_to(number, ledger, &transaction);
        }
    }

    /// Whether a transaction was answered.
    pub fn has_answer(&self, id: &Digest) -> bool {
        self.answered.contains_key(id)
    }

    /// Sends again what has had no answer, as a client does whose node died.
    pub fn send_again(&mut self, nodes: &[(u8, &Ledger)], random: &mut Random) {
        for transaction in self.sent.values().flatten().cloned().collect::<Vec<_>>() {
            if !self.answered.contains_key(&transaction.id()) {
                self.send(nodes, random, &transaction);
            }
        }
    }

    fn send(&mut self, nodes: &[(u8, &Ledger)], random: &mut Random, transaction: &Transaction) {
        let (node, ledger) = nodes[random.below(nodes.len() as u64) as usize];
        self.send_to(node, ledger, transaction);
    }

    fn send_to(&mut self, node: u8, ledger: &Ledger, transaction: &Transaction) {
        let id = transaction.id();
        match ledger.enqueue(vec![transaction.clone()]).remove(0) {
            Ok(Admission::Waiting(answer)) => self.waiting.push(Waiting { id, node, answer }),
            Ok(Admission::Done(committed)) => self.answer(node, id, committed.entry),
            Err(error) => panic!("a good transaction is refused: {error}"),
        }
    }

    /// Hears the answers that have come.
    pub fn collect(&mut self) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            match waiting.answer.try_recv() {
                Ok(Ok(committed)) => self.answer(waiting.node, waiting.id, committed.entry),
                Ok(Err(error)) => panic!("not taken: {error}"),
                Err(oneshot::error::TryRecvError::Empty) => self.waiting.push(waiting),
                // The node was killed: nothing was promised.
                Err(oneshot::error::TryRecvError::Closed) => {}
            }
        }
    }

    fn answer(&mut self, node: u8, id: Digest, entry: LogEntry) {
        assert_eq!(entry.transaction, id);
        let first = *self.answered.entry(id).or_insert(entry);
        assert_eq!(first, entry, "node {node} says something else than another did");
        self.told.insert((node, id));
    }

    pub fn is_answered(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn answers(&self) -> usize {
        self.answered.len()
    }

    /// Whether the node still has everything that it acknowledged.
    pub fn check_kept(&self, node: u8, reader: &Reader) {
        for (_, id) in self.told.iter().filter(|(teller, _)| *teller == node) {
            let (_, entry) = reader.entry(id).unwrap().expect("acknowledged and lost");
            assert_eq!(entry, self.answered[id]);
        }
    }

    /// Whether every transaction was answered and took effect once, and the
    /// node knows it.
    pub fn check_all(&self, reader: &Reader) {
        let size = |height| reader.commitment(height).unwrap().unwrap().log_size;
        // Identifiers of what has left are found one by one.
        let kept_from = reader.kept_from();
        let mut first: BTreeMap<Digest, LogEntry> = BTreeMap::new();
        for (id, entry) in self.answered.iter().filter(|(_, entry)| entry.height < kept_from) {
            assert_eq!(reader.entry(id).unwrap().map(|(_, entry)| entry), Some(*entry));
            first.insert(*id, *entry);
        }
        let begin = kept_from.previous().map_or(0, size);
        let end = size(reader.height().unwrap());
        for entry in reader.entries(LogIndex(begin), LogIndex(end)).unwrap() {
            match entry.outcome {
                Outcome::Duplicate => assert!(first.contains_key(&entry.transaction)),
                _ => assert_eq!(first.insert(entry.transaction, entry), None, "took effect twice"),
            }
        }
        assert_eq!(first, self.answered, "the log and the acknowledgements differ");
        for (_, transaction) in &self.governance {
            assert_eq!(self.answered[&transaction.id()].outcome, Outcome::Accepted);
        }
        for (serial, rivals) in &self.sent {
            let outcomes: Vec<Outcome> =
                rivals.iter().map(|one| self.answered[&one.id()].outcome).collect();
            let accepted = outcomes.iter().filter(|outcome| outcome.is_accepted()).count();
            let conflicts = outcomes.iter().filter(|one| **one == Outcome::Conflict).count();
            assert_eq!((accepted, conflicts), (1, rivals.len() - 1), "{serial}: {outcomes:?}");
        }
    }

    /// Verifies the node's receipts, of every eighth transaction that it keeps.
    pub fn check_receipts(&self, node: u8, reader: &Reader) {
        for (id, entry) in self.answered.iter().skip(usize::from(node)).step_by(8) {
            if entry.height < reader.kept_from() {
                let refused = reader.receipt(id);
                assert!(matches!(refused, Err(MachineError::Pruned { .. })), "{refused:?}");
                continue;
            }
            let receipt = reader.receipt(id).unwrap().expect("a header covers it");
            receipt.verify(reader.genesis()).unwrap();
        }
    }
}
