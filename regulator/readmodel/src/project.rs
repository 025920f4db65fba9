//! From the events of a block to rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use hufu_contract::{Asset, Cause};
use hufu_machine::event::Event;
use hufu_machine::record::{
    ApprovalRecord, CertificateRecord, CertificateStatus, DelegationRecord, IdentityRecord,
    IdentityStatus, MemberRecord,
};
use hufu_proof::{
    Block, Digest, IdentityId, Jurisdictions, Name, Payload, PublicKey, Sequence, UnixMillis,
};
use hufu_report::Cell;
use rusqlite::{Connection, params_from_iter};
use serde_json::Value as Json;

use crate::catalogue::{Packages, STATE, TableKind, height_of};
use crate::error::ReadModelError;
use crate::tables::{OPEN, declare, load_tables, schema_of};
use crate::target::{Target, Targets};
use crate::value::{Bound, cell, texts, time};

/// Writes one height in one transaction.
pub(crate) fn block(
    connection: &mut Connection,
    targets: &mut Targets,
    block: &Block,
    events: &[Event],
    packages: &dyn Packages,
) -> Result<(), ReadModelError> {
    let (height, time_ms) = (block.header.height.get(), block.header.time_ms);
    let fault = |source| ReadModelError::Storage { action: "write a height", source };
    match events.first() {
        Some(Event::Block { height: found, time_ms: at, .. })
            if found.get() == height && *at == time_ms => {}
        _ => return Err(disorder(height, "they do not begin with this block")),
    }
    let transaction = connection.transaction().map_err(fault)?;
    let mut writer = Writer {
        connection: &transaction,
        targets,
        block,
        height,
        time_ms,
        packages,
        log_index: None,
    };
    for event in events {
        writer.event(event)?;
    }
    transaction
        .execute(
            "INSERT INTO _height VALUES (?1, ?2)",
            (height_of(height), height_of(time_ms.get())),
        )
        .map_err(fault)?;
    transaction.commit().map_err(fault)
}

fn disorder(height: u64, problem: impl Into<String>) -> ReadModelError {
    ReadModelError::Events { height, problem: problem.into() }
}

struct Writer<'a> {
    connection: &'a Connection,
    targets: &'a mut Targets,
    block: &'a Block,
    height: u64,
    time_ms: UnixMillis,
    packages: &'a dyn Packages,
    /// Of the transaction whose changes follow.
    log_index: Option<u64>,
}

fn text(value: impl ToString) -> Cell {
    Cell::Text(value.to_string())
}

fn moment(at: UnixMillis) -> Cell {
    time(at.get())
}

fn optional<T: ToString>(value: Option<T>) -> Cell {
    value.map_or(Cell::Null, text)
}

/// The kebab-case name that serde gives a unit variant.
fn variant<T: serde::Serialize>(value: &T) -> Cell {
    match serde_json::to_value(value) {
        Ok(Json::String(name)) => Cell::Text(name),
        _ => Cell::Null,
    }
}

/// A row of `ledger.declarations`.
struct Declared<'a> {
    what: &'static str,
    member: &'a Name,
    identity: Option<IdentityId>,
    roles: Cell,
    delegated: Cell,
    until_ms: Option<UnixMillis>,
    transaction: Cell,
}

impl Writer<'_> {
    fn event(&mut self, event: &Event) -> Result<(), ReadModelError> {
        let (height, now) = (time(self.height), moment(self.time_ms));
        match event {
            Event::Block { digest, transactions, .. } => self.append_ledger(
                "blocks",
                vec![height, text(digest), now, Cell::Integer(i64::from(*transactions))],
            ),
            Event::Transaction {
                id,
                index,
                log_index,
                outcome,
                signer,
                member,
                kind,
                contract,
                action,
            } => {
                self.log_index = Some(log_index.get());
                self.append_ledger(
                    "transactions",
                    vec![
                        time(log_index.get()),
                        text(id),
                        height,
                        Cell::Integer(i64::from(*index)),
                        now,
                        text(outcome.code()),
                        text(signer),
                        optional(member.as_ref()),
                        text(kind),
                        optional(contract.as_ref()),
                        optional(action.as_ref()),
                    ],
                )
            }
            Event::Member { name, record, transaction } => {
                self.member(name, record, optional(transaction.as_ref()))
            }
            Event::Approval { transaction, member, key, record } => {
                self.approval(member, *key, record, text(transaction))
            }
            Event::Delegation { transaction, member, record } => {
                self.delegation(member, record, text(transaction))
            }
            Event::Issuing { transaction, member } => self.declared(Declared {
                what: "issuing-certificate",
                member,
                identity: None,
                roles: texts(std::iter::empty::<Name>()),
                delegated: texts(std::iter::empty::<Name>()),
                until_ms: None,
                transaction: text(transaction),
            }),
            Event::Archive { transaction, member, .. } => self.declared(Declared {
                what: "archive",
                member,
                identity: None,
                roles: texts(std::iter::empty::<Name>()),
                delegated: texts(std::iter::empty::<Name>()),
                until_ms: None,
                transaction: text(transaction),
            }),
            Event::Standing { transaction, member, standing, reason } => self.put_ledger(
                "standings",
                member.as_str(),
                vec![text(standing.as_str()), text(reason), now, text(transaction)],
            ),
            Event::Address { transaction, member, at } => self.put_ledger(
                "addresses",
                member.as_str(),
                vec![optional(at.as_ref()), text(transaction)],
            ),
            Event::Constitution { transaction, from, constitution } => self.append_ledger(
                "constitutions",
                vec![
                    time(from.get()),
                    Cell::Integer(i64::from(constitution.approvals)),
                    texts(constitution.algorithms.iter().map(|one| one.name())),
                    text(transaction),
                ],
            ),
            Event::Role { contract, role, member, held, .. } => self.put_ledger(
                "roles",
                &format!("{contract}/{role}/{member}"),
                vec![text(contract), text(role), text(member), Cell::Integer(i64::from(*held))],
            ),
            Event::Device { transaction, device, owner } => {
                self.put_ledger("device_identifiers", device, vec![text(owner), text(transaction)])
            }
            Event::Identity { identity, record, .. } => {
                self.put_ledger("identities", &identity.to_string(), self::identity(record))
            }
            Event::Certificate { serial, record, .. } => {
                self.put_ledger("certificates", &serial.to_string(), certificate(record))
            }
            Event::Rights { transaction, serial, rights } => self.put_ledger(
                "certificate_rights",
                &serial.to_string(),
                vec![
                    texts(rights.roles.iter()),
                    texts(rights.hosts.iter()),
                    text(transaction),
                    self.log_index.map_or(Cell::Null, time),
                ],
            ),
            Event::Look { transaction, member, subject, height, answer } => {
                let (subject, height) = (text(subject), time(height.get()));
                let row = vec![text(transaction), text(member), subject, height, text(answer), now];
                self.append_ledger("looks", row)
            }
            Event::Proposal { proposal, kind, contract, proposer, approvals, enacted, .. } => {
                let (approvals, enacted) = (texts(approvals.iter()), i64::from(*enacted));
                let (kind, contract, proposer) = (text(kind), text(contract), text(proposer));
                let row = vec![kind, contract, proposer, approvals, Cell::Integer(enacted)];
                self.put_ledger("proposals", &proposal.to_string(), row)
            }
            Event::Contract { contract, version, digest, .. } => {
                self.deploy(contract, version, digest)
            }
            Event::Emitted { transaction, contract, name, asset_type, key } => {
                let what = [text(transaction), text(contract), text(name), text(asset_type)];
                let row = what.into_iter().chain([text(key), height, now]).collect();
                self.append_ledger("events", row)
            }
            Event::Fired { transaction, contract, trigger, cause, outcome } => {
                let Cause { contract: of, asset_type, key } = cause;
                let what = [text(transaction), text(contract), text(trigger), text(of)];
                let became = [text(asset_type), text(key), text(outcome.code()), height, now];
                self.append_ledger("triggered", what.into_iter().chain(became).collect())
            }
            Event::Asset { contract, asset_type, key, asset, .. } => {
                self.asset(contract, asset_type, key, asset)
            }
            Event::Rows { contract, stream, index, device, sequence, .. } => {
                let table = self.table_of(contract, stream, TableKind::Stream)?;
                self.rows(&table, *index, device, *sequence)
            }
        }
    }

    fn member(
        &self,
        name: &Name,
        record: &MemberRecord,
        transaction: Cell,
    ) -> Result<(), ReadModelError> {
        self.declared(Declared {
            what: "node-key",
            member: name,
            identity: record.node_key.as_ref().map(PublicKey::identity),
            roles: texts(std::iter::empty::<Name>()),
            delegated: texts(std::iter::empty::<Name>()),
            until_ms: None,
            transaction,
        })?;
        let title = hufu_report::canonical::encode(&record.title).unwrap_or_default();
        self.put_ledger(
            "members",
            name.as_str(),
            vec![
                Cell::Text(String::from_utf8_lossy(&title).into_owned()),
                texts(record.kinds.iter()),
                text(&record.vote_key),
                text(&record.statement_key),
                texts(record.jurisdictions.named()),
                text(match record.jurisdictions {
                    Jurisdictions::None => "none",
                    Jurisdictions::Only(_) => "named",
                    Jurisdictions::Whole => "whole",
                }),
                texts(record.names.iter()),
                optional(record.node_key.as_ref()),
            ],
        )
    }

    fn approval(
        &self,
        member: &Name,
        key: IdentityId,
        record: &ApprovalRecord,
        transaction: Cell,
    ) -> Result<(), ReadModelError> {
        self.declared(Declared {
            what: "approval",
            member,
            identity: Some(key),
            roles: texts(record.roles.iter()),
            delegated: texts(record.delegated.iter()),
            until_ms: record.until_ms,
            transaction: transaction.clone(),
        })?;
        self.put_ledger(
            "approvals",
            &format!("{member}/{key}"),
            vec![
                text(member),
                text(key),
                texts(record.roles.iter()),
                record.until_ms.map_or(Cell::Null, moment),
                texts(record.delegated.iter()),
                transaction,
            ],
        )
    }

    fn delegation(
        &self,
        member: &Name,
        record: &DelegationRecord,
        transaction: Cell,
    ) -> Result<(), ReadModelError> {
        self.declared(Declared {
            what: "delegation",
            member,
            identity: None,
            roles: texts(record.roles.iter()),
            delegated: texts(std::iter::empty::<Name>()),
            until_ms: record.until_ms,
            transaction: transaction.clone(),
        })?;
        let until = record.until_ms.map_or(Cell::Null, moment);
        let row = vec![texts(record.roles.iter()), until, transaction];
        self.put_ledger("delegations", member.as_str(), row)
    }

    fn asset(
        &self,
        contract: &Name,
        asset_type: &Name,
        key: &str,
        asset: &Asset,
    ) -> Result<(), ReadModelError> {
        let table = self.table_of(contract, asset_type, TableKind::Asset)?;
        let mut values = BTreeMap::new();
        // The key's column is the first of the table.
        if let Some(column) = table.table.columns.first() {
            values.insert(column.name.as_str(), Cell::Text(key.to_owned()));
        }
        values.insert(STATE, text(&asset.state));
        for (name, value) in &asset.fields {
            values.insert(name.as_str(), cell(value));
        }
        let row = self.row(&table, values)?;
        self.put(&table, key, &row)
    }

    /// The rows that the block's transaction at `index` carries.
    fn rows(
        &self,
        target: &Target,
        index: u32,
        device: &str,
        sequence: Sequence,
    ) -> Result<(), ReadModelError> {
        let payload = self.block.transactions.get(index as usize);
        match payload.map(|one| &one.body.payload) {
            Some(Payload::Append(batch)) => self.append_rows(target, device, sequence, &batch.rows),
            _ => Err(disorder(self.height, format!("transaction {index} has no rows"))),
        }
    }

    fn declared(&self, declared: Declared<'_>) -> Result<(), ReadModelError> {
        let Declared { what, member, identity, roles, delegated, until_ms, transaction } = declared;
        self.append_ledger(
            "declarations",
            vec![
                self.log_index.map_or(Cell::Null, time),
                text(what),
                text(member),
                optional(identity),
                roles,
                delegated,
                until_ms.map_or(Cell::Null, moment),
                moment(self.time_ms),
                transaction,
            ],
        )
    }

    /// Rows of a stream, whose values are in the order of the columns' names.
    fn append_rows(
        &self,
        target: &Target,
        device: &str,
        sequence: Sequence,
        rows: &[Vec<hufu_proof::Value>],
    ) -> Result<(), ReadModelError> {
        let mut row = vec![Cell::Null; target.table.columns.len()];
        for (position, values) in rows.iter().enumerate() {
            if values.len() != target.declared.len() {
                return Err(self.other_columns(target));
            }
            for (index, value) in target.declared.iter().zip(values) {
                row[*index] = cell(value);
            }
            let added = [
                Cell::Text(device.to_owned()),
                time(sequence.get()),
                time(position as u64),
                time(self.height),
                moment(self.time_ms),
            ];
            for (index, value) in target.added.iter().zip(added) {
                if let Some(index) = index {
                    row[*index] = value;
                }
            }
            self.append(target, &row)?;
        }
        Ok(())
    }

    fn other_columns(&self, target: &Target) -> ReadModelError {
        let table = &target.table;
        disorder(
            self.height,
            format!("a row of {}/{} has other columns", table.contract, table.name),
        )
    }

    fn deploy(
        &mut self,
        contract: &Name,
        version: &str,
        digest: &Digest,
    ) -> Result<(), ReadModelError> {
        let fault =
            |source| ReadModelError::Storage { action: "declare a contract's tables", source };
        let specs = self.packages.tables(contract, digest).ok_or_else(|| {
            ReadModelError::NoPackage { contract: contract.clone(), digest: *digest }
        })?;
        let schema = schema_of(self.connection, contract).map_err(fault)?;
        for spec in &specs {
            declare(self.connection, contract, &schema, spec, self.height).map_err(fault)?;
        }
        let tables = load_tables(self.connection, u64::MAX).map_err(fault)?;
        *self.targets = Targets::new(tables);
        let row = vec![text(version), text(digest), Cell::Text(schema)];
        self.put_ledger("contracts", contract.as_str(), row)
    }

    fn table_of(
        &self,
        contract: &Name,
        name: &Name,
        kind: TableKind,
    ) -> Result<Arc<Target>, ReadModelError> {
        self.targets.of(contract, name, kind).ok_or_else(|| {
            disorder(self.height, format!("no active contract declares {contract}/{name}"))
        })
    }

    /// The cells in the order of the table's columns.
    fn row(
        &self,
        target: &Target,
        mut values: BTreeMap<&str, Cell>,
    ) -> Result<Vec<Cell>, ReadModelError> {
        let table = &target.table;
        let row = table
            .columns
            .iter()
            .map(|column| values.remove(column.name.as_str()).unwrap_or(Cell::Null))
            .collect();
        match values.keys().next() {
            None => Ok(row),
            Some(unknown) => Err(disorder(
                self.height,
                format!("{}/{} has no column `{unknown}`", table.contract, table.name),
            )),
        }
    }

    fn ledger_table(&self, name: &str, kind: TableKind) -> Result<Arc<Target>, ReadModelError> {
        self.targets
            .ledger(name, kind)
            .ok_or_else(|| disorder(self.height, format!("there is no table ledger.{name}")))
    }

    fn append_ledger(&self, name: &str, row: Vec<Cell>) -> Result<(), ReadModelError> {
        self.append(&*self.ledger_table(name, TableKind::Stream)?, &row)
    }

    /// `row` is without the key, which is the first column.
    fn put_ledger(&self, name: &str, key: &str, row: Vec<Cell>) -> Result<(), ReadModelError> {
        let row: Vec<Cell> = std::iter::once(Cell::Text(key.to_owned())).chain(row).collect();
        self.put(&*self.ledger_table(name, TableKind::Asset)?, key, &row)
    }

    fn append(&self, target: &Target, row: &[Cell]) -> Result<(), ReadModelError> {
        let fixed = [time(self.height), self.log_index.map_or(Cell::Null, time)];
        self.insert(target, &fixed, row)
    }

    fn put(&self, target: &Target, key: &str, row: &[Cell]) -> Result<(), ReadModelError> {
        let fault = |source| ReadModelError::Storage { action: "end a version", source };
        self.connection
            .prepare_cached(&target.close)
            .and_then(|mut statement| statement.execute((height_of(self.height), key)))
            .map_err(fault)?;
        let fixed = [
            Cell::Text(key.to_owned()),
            time(self.height),
            Cell::Integer(OPEN),
            self.log_index.map_or(Cell::Null, time),
        ];
        self.insert(target, &fixed, row)
    }

    fn insert(&self, target: &Target, fixed: &[Cell], row: &[Cell]) -> Result<(), ReadModelError> {
        if row.len() != target.table.columns.len() {
            return Err(self.other_columns(target));
        }
        self.connection
            .prepare_cached(&target.insert)
            .and_then(|mut statement| {
                statement.execute(params_from_iter(fixed.iter().chain(row).map(Bound)))
            })
            .map_err(|source| ReadModelError::Storage { action: "write a row", source })?;
        Ok(())
    }
}

fn identity(record: &IdentityRecord) -> Vec<Cell> {
    let status = match record.status {
        IdentityStatus::Active => "active",
        IdentityStatus::Suspended => "suspended",
        IdentityStatus::Revoked => "revoked",
    };
    vec![
        text(&record.key),
        variant(&record.kind),
        text(&record.owner),
        text(&record.subject),
        text(status),
        optional(record.serial.as_ref()),
        moment(record.not_before),
        moment(record.not_after),
    ]
}

fn certificate(record: &CertificateRecord) -> Vec<Cell> {
    let (status, reason, since) = match record.status {
        CertificateStatus::Good => ("good", Cell::Null, Cell::Null),
        CertificateStatus::Held { at_ms } => ("held", Cell::Integer(6), moment(at_ms)),
        CertificateStatus::Revoked { reason, at_ms } => {
            ("revoked", Cell::Integer(i64::from(reason)), moment(at_ms))
        }
    };
    vec![
        text(status),
        reason,
        since,
        text(record.identity),
        text(&record.profile),
        variant(&record.kind),
        text(&record.owner),
        text(&record.subject),
        moment(record.not_before),
        moment(record.not_after),
        text(record.tbs),
        optional(record.attestation),
        text(record.transaction),
        moment(record.recorded_ms),
    ]
}
