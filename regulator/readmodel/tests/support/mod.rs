//! Blocks and events made by hand, for a contract `equipment-leasing` with one
//! asset type and one stream.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::collections::BTreeMap;

use hufu_contract::belonging::REGISTRY;
use hufu_contract::{Lead, Telling};
use hufu_machine::Event;
use hufu_machine::event::PayloadKind;
use hufu_machine::record::{IdentityRecord, IdentityStatus};
use hufu_proof::transaction::{Batch, Body, IdentityKind, Transaction};
use hufu_proof::{
    Algorithm, Block, Commitment, Digest, Header, Height, IdentityId, LogIndex, Name, Outcome,
    Payload, PublicKey, Sequence, Signature, UnixMillis, Value,
};
use hufu_readmodel::{ColumnType, Packages, ReadModel, TableKind, TableSpec};

pub const CHAIN: Digest = Digest([7; 32]);

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn asset(table: &str, columns: &[(&str, ColumnType)]) -> TableSpec {
    let head = [("id", ColumnType::Text), ("@state", ColumnType::Text)];
    spec(table, TableKind::Asset, &[&head, columns].concat())
}

pub fn stream(table: &str, columns: &[(&str, ColumnType)]) -> TableSpec {
    let head = [
        ("@device", ColumnType::Text),
        ("@sequence", ColumnType::Int),
        ("@position", ColumnType::Int),
        ("@recorded_height", ColumnType::Int),
        ("@recorded_time", ColumnType::Time),
    ];
    spec(table, TableKind::Stream, &[&head, columns].concat())
}

fn spec(table: &str, kind: TableKind, columns: &[(&str, ColumnType)]) -> TableSpec {
    let named =
        |column: &str| columns.iter().any(|(name, _)| *name == column).then(|| column.to_owned());
    let lead = |column| Lead { column, contract: name(REGISTRY.0), asset: name(REGISTRY.1) };
    let telling = Telling {
        owner: named("owner"),
        jurisdiction: named("jurisdiction"),
        device: named("device").or_else(|| named("@device")).map(lead),
    };
    let columns = columns.iter().map(|(name, of)| ((*name).to_owned(), *of)).collect();
    TableSpec { name: name(table), kind, columns, telling }
}

#[derive(Debug, Default)]
pub struct Deployed(pub BTreeMap<Digest, Vec<TableSpec>>);

impl Packages for Deployed {
    fn tables(&self, _: &Name, digest: &Digest) -> Option<Vec<TableSpec>> {
        self.0.get(digest).cloned()
    }
}

pub fn leasing() -> Vec<TableSpec> {
    vec![
        asset(
            "lease",
            &[
                ("lessee", ColumnType::Text),
                ("owed", ColumnType::Int),
                ("tags", ColumnType::List),
                ("jurisdiction", ColumnType::Text),
            ],
        ),
        stream("reading", &[("metric", ColumnType::Text), ("value", ColumnType::Int)]),
    ]
}

/// What a transaction does.
#[derive(Clone, Debug)]
pub enum Deed {
    Deploy(&'static str, &'static str, Digest),
    Put(&'static str, &'static str, String, &'static str, Vec<(&'static str, Value)>),
    Rows(&'static str, &'static str, &'static str, u64, Vec<Vec<Value>>),
    Look(String),
    /// An asset that emitted an event.
    Emitted(&'static str, &'static str, &'static str),
    /// What else there is to tell.
    Told(Vec<Event>),
    Refused,
}

/// A chain of blocks with their events.
#[derive(Debug, Default)]
pub struct Chain {
    pub blocks: Vec<(Block, Vec<Event>)>,
    log: u64,
}

impl Chain {
    /// Adds a block; every deed is one transaction.
    pub fn block(&mut self, deeds: Vec<Deed>) -> u64 {
        let height = self.blocks.len() as u64;
        let time_ms = UnixMillis(1_790_000_000_000 + height * 1000);
        let mut transactions = Vec::new();
        let mut events = vec![Event::Block {
            height: Height(height),
            digest: Digest([height as u8; 32]),
            time_ms,
            transactions: deeds.len() as u32,
        }];
        for (index, deed) in deeds.into_iter().enumerate() {
            let id = Digest::of(&self.log.to_be_bytes());
            let outcome =
                if matches!(deed, Deed::Refused) { Outcome::Policy } else { Outcome::Accepted };
            events.push(Event::Transaction {
                id,
                index: index as u32,
                log_index: LogIndex(self.log),
                outcome,
                signer: IdentityId(Digest([1; 32])),
                member: Some(name("plant")),
                kind: PayloadKind::Invoke,
                contract: None,
                action: None,
            });
            self.log += 1;
            let mut payload = Payload::Approve(id);
            match deed {
                Deed::Refused => {}
                Deed::Deploy(contract, version, digest) => events.push(Event::Contract {
                    transaction: id,
                    contract: name(contract),
                    version: version.into(),
                    digest,
                }),
                Deed::Put(contract, table, key, state, fields) => events.push(Event::Asset {
                    transaction: id,
                    contract: name(contract),
                    asset_type: name(table),
                    key,
                    created: false,
                    asset: hufu_contract::Asset {
                        state: name(state),
                        fields: fields
                            .into_iter()
                            .map(|(field, value)| (name(field), value))
                            .collect(),
                    },
                }),
                Deed::Rows(contract, stream, device, sequence, rows) => {
                    events.push(Event::Rows {
                        transaction: id,
                        index: index as u32,
                        contract: name(contract),
                        stream: name(stream),
                        signer: IdentityId(Digest([2; 32])),
                        device: device.into(),
                        sequence: Sequence(sequence),
                        rows: rows.len() as u32,
                    });
                    payload = Payload::Append(Batch {
                        contract: name(contract),
                        stream: name(stream),
                        sequence: Sequence(sequence),
                        rows,
                    });
                }
                Deed::Told(told) => events.extend(told),
                Deed::Emitted(contract, table, key) => events.push(Event::Emitted {
                    transaction: id,
                    contract: name(contract),
                    name: name("happened"),
                    asset_type: name(table),
                    key: key.into(),
                }),
                Deed::Look(subject) => events.push(Event::Look {
                    transaction: id,
                    member: name("regulator"),
                    subject,
                    height: Height(1),
                    answer: id,
                }),
            }
            transactions.push(transaction(payload));
        }
        let header = Header {
            version: 1,
            chain: CHAIN,
            height: Height(height),
            parent: Digest::default(),
            time_ms,
            transactions_root: Block::transactions_root(&transactions),
            executed: Commitment::default(),
        };
        self.blocks.push((Block { header, transactions }, events));
        height
    }

    pub fn feed(&self, model: &mut ReadModel, packages: &dyn Packages) {
        for (block, events) in &self.blocks {
            model.apply(block, events, packages).unwrap();
        }
    }
}

fn transaction(payload: Payload) -> Transaction {
    let signer = PublicKey::new(Algorithm::Ed25519, &[3; 32]).unwrap();
    let body = Body { chain: CHAIN, signer, nonce: 0, expires: Height(10), payload };
    Transaction { body, signature: Signature::new(Algorithm::Ed25519, &[4; 64]).unwrap() }
}

pub fn identity_record(kind: IdentityKind, owner: &str, subject: &str) -> IdentityRecord {
    IdentityRecord {
        key: PublicKey::new(Algorithm::Ed25519, &[3; 32]).unwrap(),
        kind,
        owner: name(owner),
        subject: subject.into(),
        status: IdentityStatus::Active,
        serial: None,
        not_before: UnixMillis::ZERO,
        not_after: UnixMillis::MAX,
    }
}

/// A lease's fields.
pub fn lease(lessee: &str, owed: i64) -> Vec<(&'static str, Value)> {
    vec![
        ("lessee", Value::Member(name(lessee))),
        ("owed", Value::Int(owed)),
        ("jurisdiction", Value::Symbol(if owed % 2 == 0 { "north" } else { "south" }.into())),
    ]
}

pub fn put(key: &str, state: &'static str, lessee: &str, owed: i64) -> Deed {
    Deed::Put("equipment-leasing", "lease", key.into(), state, lease(lessee, owed))
}

pub fn rows(device: &'static str, sequence: u64, values: &[i64]) -> Deed {
    let rows = values
        .iter()
        .map(|value| vec![Value::Symbol("temperature".into()), Value::Int(*value)])
        .collect();
    Deed::Rows("equipment-leasing", "reading", device, sequence, rows)
}

pub fn package() -> Digest {
    Digest::of(b"leasing 1")
}

pub fn deployed() -> Deployed {
    Deployed(BTreeMap::from([(package(), leasing())]))
}

/// A model in a folder of its own, fed with `chain`.
pub fn model(chain: &Chain, packages: &dyn Packages) -> (tempfile::TempDir, ReadModel) {
    let folder = tempfile::tempdir().unwrap();
    let mut model = ReadModel::open(&folder.path().join("model.sqlite"), &CHAIN).unwrap();
    chain.feed(&mut model, packages);
    (folder, model)
}

/// Genesis, deployment, then three heights of leases and readings.
pub fn example() -> Chain {
    let mut chain = Chain::default();
    chain.block(Vec::new());
    chain.block(vec![Deed::Deploy("equipment-leasing", "1.0.0", package())]);
    chain.block(vec![put("L1", "active", "plant", 100), put("L2", "active", "yard", 7)]);
    chain.block(vec![put("L1", "active", "plant", 300), Deed::Refused, rows("D1", 1, &[20, 95])]);
    chain.block(vec![put("L1", "ended", "plant", 0), rows("D2", 1, &[30]), rows("D1", 2, &[99])]);
    chain
}
