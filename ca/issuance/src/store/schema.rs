//! The tables, and how those of older versions are brought up to them.

use rusqlite::Connection;
use x509_cert::TbsCertificate;

use super::StoreError;
use crate::algorithm::strict;
use crate::subject::{Attribute, Subject};

/// Version of the tables, in `PRAGMA user_version`.
pub(super) const VERSION: i64 = 3;

/// The tables of [`VERSION`].
pub(super) const TABLES: &str = "
CREATE TABLE issuance (
    id          INTEGER PRIMARY KEY,
    serial      BLOB NOT NULL UNIQUE,
    request     BLOB NOT NULL,
    key         BLOB NOT NULL,
    profile     TEXT NOT NULL,
    owner       TEXT NOT NULL,
    subject     TEXT NOT NULL,
    not_after   INTEGER NOT NULL,
    attestation BLOB,
    created     INTEGER NOT NULL,
    tbs         BLOB NOT NULL,
    height      INTEGER,
    transaction_id BLOB,
    algorithm   TEXT,
    signature   BLOB,
    device      TEXT,
    token       BLOB
) STRICT;
CREATE INDEX issuance_by_request ON issuance (request);
CREATE INDEX issuance_by_key ON issuance (key);
CREATE INDEX issuance_by_device ON issuance (device) WHERE device IS NOT NULL;
CREATE INDEX issuance_pending ON issuance (id) WHERE signature IS NULL;
CREATE TABLE counter (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
CREATE TABLE token (
    digest  BLOB PRIMARY KEY,
    member  TEXT NOT NULL,
    profile TEXT NOT NULL,
    keys    INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    device  TEXT
) STRICT;
CREATE TABLE token_key (
    digest BLOB NOT NULL REFERENCES token,
    key    BLOB NOT NULL,
    PRIMARY KEY (digest, key)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 3;
";

/// From version 1: tokens that are for one device.
const FROM_1: &str = "ALTER TABLE token ADD COLUMN device TEXT; PRAGMA user_version = 2;";

/// From version 2: what device a certificate names, and what token it spent.
const FROM_2: &str = "
ALTER TABLE issuance ADD COLUMN device TEXT;
ALTER TABLE issuance ADD COLUMN token BLOB;
CREATE INDEX issuance_by_device ON issuance (device) WHERE device IS NOT NULL;
PRAGMA user_version = 3;
";

/// Makes the tables, or brings them up to date.
///
/// # Errors
/// The file cannot be written, or is of a newer version.
pub(super) fn prepare(writer: &mut Connection) -> Result<(), StoreError> {
    let transaction = writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        0 => transaction.execute_batch(TABLES)?,
        VERSION => {}
        1 | 2 => {
            if version == 1 {
                transaction.execute_batch(FROM_1)?;
            }
            transaction.execute_batch(FROM_2)?;
            name_devices(&transaction)?;
        }
        _ => return Err(StoreError::Newer),
    }
    transaction.commit()?;
    Ok(())
}

/// Fills in the devices of certificates that were issued before the column was.
fn name_devices(connection: &Connection) -> Result<(), StoreError> {
    let mut rows = connection.prepare("SELECT id, tbs FROM issuance")?;
    let mut update = connection.prepare("UPDATE issuance SET device = ?2 WHERE id = ?1")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (id, tbs): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let named = strict::<TbsCertificate>("stored TBSCertificate", &tbs)
            .and_then(|tbs| Subject::from_name(tbs.subject()));
        if let Ok(subject) = named
            && let Some(device) = subject.value(Attribute::SerialNumber)
        {
            update.execute(rusqlite::params![id, device])?;
        }
    }
    Ok(())
}
