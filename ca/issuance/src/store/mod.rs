//! The authority's own durable record: what is pending, what was issued, and
//! the last CRL number. One SQLite file, one process.
//!
//! A row is written before its entry goes to the ledger and completed with the
//! signature before the certificate is answered, so that a crash at any point
//! leaves either nothing or something that [`crate::Issuance`] brings to an
//! end. Writes are batched, `synchronous = FULL`: one fsync a batch.
//!
//! A failed write poisons the store: nothing more is written until it is
//! opened again (what a failed fsync left behind is unknown). Reading goes on.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use crate::algorithm::SignatureAlgorithm;
use crate::build;
use crate::error::CaError;
use crate::serial::Serial;
use crate::time::UnixTime;
use crate::tokens::Token;

/// Version of the tables, in `PRAGMA user_version`.
const SCHEMA: i64 = 2;

const TABLES: &str = "
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
    signature   BLOB
) STRICT;
CREATE INDEX issuance_by_request ON issuance (request);
CREATE INDEX issuance_by_key ON issuance (key);
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
PRAGMA user_version = 2;
";

/// Numbers of revocation lists that a restored store leaves out: more than can
/// have been made since.
const SKIPPED: i64 = 1 << 32;

/// From version 1: tokens that are for one device.
const FROM_1: &str = "ALTER TABLE token ADD COLUMN device TEXT; PRAGMA user_version = 2;";

/// One issuance, pending or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Serial number.
    pub serial: Serial,
    /// Digest of the request: profile, owner, key, names.
    pub request: [u8; 32],
    /// SHA-256 of the SubjectPublicKeyInfo, DER.
    pub key: [u8; 32],
    /// Profile.
    pub profile: String,
    /// Member that it belongs to.
    pub owner: String,
    /// Subject, RFC 4514 text.
    pub subject: String,
    /// End of validity.
    pub not_after: UnixTime,
    /// Digest of the attestation's evidence.
    pub attestation: Option<[u8; 32]>,
    /// When the request was accepted.
    pub created: UnixTime,
    /// TBSCertificate, DER.
    pub tbs: Vec<u8>,
    /// Where it stands on the ledger, once that is final.
    pub recorded: Option<(u64, [u8; 32])>,
    /// The certificate, DER, once signed.
    pub certificate: Option<Vec<u8>>,
}

/// What completes a row.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) serial: Serial,
    pub(crate) height: u64,
    pub(crate) transaction: [u8; 32],
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) signature: Vec<u8>,
}

/// How much a member issued under a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) owner: String,
    pub(crate) profile: String,
    pub(crate) total: u64,
    pub(crate) since: u64,
}

/// The store.
pub struct Store {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    poisoned: AtomicBool,
}

const COLUMNS: &str = "serial, request, key, profile, owner, subject, not_after, attestation, \
                       created, tbs, height, transaction_id, algorithm, signature";

impl Store {
    /// Opens or creates the store in the file `path`.
    ///
    /// # Errors
    /// The file cannot be opened, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Store, CaError> {
        let writer = Connection::open(path)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        writer.pragma_update(None, "foreign_keys", true)?;
        writer.busy_timeout(std::time::Duration::from_secs(5))?;
        let version: i64 = writer.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match version {
            0 => writer.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} COMMIT;"))?,
            1 => writer.execute_batch(&format!("BEGIN IMMEDIATE; {FROM_1} COMMIT;"))?,
            SCHEMA => {}
            _ => {
                return Err(CaError::Internal(
                    "the certificate store was written by a newer version; upgrade first",
                ));
            }
        }
        let reader = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        reader.busy_timeout(std::time::Duration::from_secs(5))?;
        Ok(Store {
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            poisoned: AtomicBool::new(false),
        })
    }

    /// Copies the store in the file `from`, which a running authority may have
    /// open, to the new file `to`, for a backup: as it is at one moment, and fit
    /// to go on from. What is handed out later is not known to it: numbers of
    /// revocation lists go on far above all that are used until then, and
    /// enrolment tokens, which may be spent by then, are left out.
    ///
    /// # Errors
    /// The file cannot be read, or the copy cannot be written.
    pub fn back_up(from: &Path, to: &Path) -> Result<(), CaError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let source = Connection::open_with_flags(from, flags)?;
        source.busy_timeout(std::time::Duration::from_secs(5))?;
        source.execute("VACUUM INTO ?1", params![to.to_string_lossy()])?;
        let copy = Connection::open(to)?;
        copy.pragma_update(None, "journal_mode", "DELETE")?;
        copy.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             DELETE FROM token_key;
             DELETE FROM token;
             INSERT INTO counter (name, value) VALUES ('{}', {SKIPPED})
             ON CONFLICT (name) DO UPDATE SET value = value + {SKIPPED};
             COMMIT;",
            crate::crl::COUNTER
        ))?;
        Ok(())
    }

    /// Whether a write failed, so that nothing more is issued.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// The certificate or pending row with that serial.
    pub fn by_serial(&self, serial: &Serial) -> Result<Option<Issued>, CaError> {
        self.read_one("serial = ?1", serial.as_bytes())
    }

    /// The newest row for a request.
    pub(crate) fn by_request(&self, request: &[u8; 32]) -> Result<Option<Issued>, CaError> {
        self.read_one("request = ?1", request)
    }

    /// All rows for a key, newest first, at most 64.
    pub(crate) fn by_key(&self, key: &[u8; 32]) -> Result<Vec<Issued>, CaError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM issuance WHERE key = ?1 ORDER BY id DESC LIMIT 64"
        ))?;
        let rows = statement.query_map([key.as_slice()], issued)?;
        rows.collect::<Result<_, _>>().map_err(CaError::from)
    }

    /// Rows without a signature, oldest first, at most `limit`.
    pub(crate) fn pending(&self, limit: usize) -> Result<Vec<Issued>, CaError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM issuance WHERE signature IS NULL ORDER BY id LIMIT ?1"
        ))?;
        let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], issued)?;
        rows.collect::<Result<_, _>>().map_err(CaError::from)
    }

    /// Certificates in order of issuance, `limit` (at most 1000) of them after
    /// the position `after` (0 to begin); each with its position.
    pub fn page(&self, after: i64, limit: usize) -> Result<Vec<(i64, Issued)>, CaError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS}, id FROM issuance WHERE id > ?1 AND signature IS NOT NULL \
             ORDER BY id LIMIT ?2"
        ))?;
        let limit = i64::try_from(limit.min(1000)).unwrap_or(1000);
        let rows = statement.query_map([after, limit], |row| Ok((row.get(14)?, issued(row)?)))?;
        rows.collect::<Result<_, _>>().map_err(CaError::from)
    }

    /// How many certificates were issued and how many are pending.
    pub fn counts(&self) -> Result<(u64, u64), CaError> {
        let reader = self.reader();
        let (all, pending): (i64, i64) = reader.query_row(
            "SELECT (SELECT COUNT(*) FROM issuance), \
                    (SELECT COUNT(*) FROM issuance WHERE signature IS NULL)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok((u64::try_from(all - pending).unwrap_or(0), u64::try_from(pending).unwrap_or(0)))
    }

    /// How much each member issued under each profile: in all and since `day`.
    pub(crate) fn usage(&self, day: UnixTime) -> Result<Vec<Usage>, CaError> {
        let reader = self.reader();
        let mut statement = reader.prepare(
            "SELECT owner, profile, COUNT(*), SUM(created >= ?1) FROM issuance GROUP BY owner, profile",
        )?;
        let rows = statement.query_map([signed(day.seconds())], |row| {
            Ok(Usage {
                owner: row.get(0)?,
                profile: row.get(1)?,
                total: unsigned(row.get(2)?),
                since: unsigned(row.get(3)?),
            })
        })?;
        rows.collect::<Result<_, _>>().map_err(CaError::from)
    }

    /// Writes pending rows, all or none.
    pub(crate) fn insert_pending(&self, rows: &[Issued]) -> Result<(), CaError> {
        self.write(|connection| {
            let mut statement = connection.prepare_cached(
                "INSERT INTO issuance (serial, request, key, profile, owner, subject, not_after, \
                 attestation, created, tbs) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?;
            for row in rows {
                statement.execute(params![
                    row.serial.as_bytes(),
                    row.request.as_slice(),
                    row.key.as_slice(),
                    row.profile,
                    row.owner,
                    row.subject,
                    signed(row.not_after.seconds()),
                    row.attestation.as_ref().map(<[u8; 32]>::as_slice),
                    signed(row.created.seconds()),
                    row.tbs,
                ])?;
            }
            Ok(())
        })
    }

    /// Completes rows, all or none.
    pub(crate) fn complete(&self, completions: &[Completion]) -> Result<(), CaError> {
        self.write(|connection| {
            let mut statement = connection.prepare_cached(
                "UPDATE issuance SET height = ?2, transaction_id = ?3, algorithm = ?4, signature = ?5 \
                 WHERE serial = ?1 AND signature IS NULL",
            )?;
            for completion in completions {
                statement.execute(params![
                    completion.serial.as_bytes(),
                    signed(completion.height),
                    completion.transaction.as_slice(),
                    algorithm_name(completion.algorithm),
                    completion.signature,
                ])?;
            }
            Ok(())
        })
    }

    /// Forgets pending rows that the ledger did not take.
    pub(crate) fn forget(&self, serials: &[Serial]) -> Result<(), CaError> {
        self.write(|connection| {
            let mut statement = connection
                .prepare_cached("DELETE FROM issuance WHERE serial = ?1 AND signature IS NULL")?;
            for serial in serials {
                statement.execute([serial.as_bytes()])?;
            }
            Ok(())
        })
    }

    /// The next value of a counter, durable before it is returned; 1 first.
    pub(crate) fn next(&self, counter: &str) -> Result<u64, CaError> {
        self.write(|connection| {
            connection
                .query_row(
                    "INSERT INTO counter (name, value) VALUES (?1, 1) \
                     ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
                    [counter],
                    |row| row.get(0),
                )
                .map(unsigned)
        })
    }

    pub(crate) fn add_token(&self, token: &Token) -> Result<(), CaError> {
        self.write(|connection| {
            connection.execute(
                "INSERT INTO token (digest, member, profile, keys, expires, device) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    token.digest.as_slice(),
                    token.member,
                    token.profile,
                    token.keys,
                    signed(token.expires.seconds()),
                    token.device
                ],
            )?;
            Ok(())
        })
    }

    pub(crate) fn token(&self, digest: &[u8; 32]) -> Result<Option<Token>, CaError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(
            "SELECT member, profile, keys, expires, device FROM token WHERE digest = ?1",
        )?;
        let token = statement.query_row([digest.as_slice()], |row| {
            Ok(Token {
                digest: *digest,
                member: row.get(0)?,
                profile: row.get(1)?,
                keys: row.get(2)?,
                expires: UnixTime::from_seconds(unsigned(row.get(3)?)),
                device: row.get(4)?,
            })
        });
        token.optional().map_err(CaError::from)
    }

    /// Counts a key as enrolled by a token; false if it has enrolled `most`
    /// others already.
    pub(crate) fn claim_token(
        &self,
        digest: &[u8; 32],
        key: &[u8; 32],
        most: u32,
    ) -> Result<bool, CaError> {
        self.write(|connection| {
            connection.execute(
                "INSERT OR IGNORE INTO token_key (digest, key) SELECT ?1, ?2 \
                 WHERE (SELECT COUNT(*) FROM token_key WHERE digest = ?1) < ?3",
                params![digest.as_slice(), key.as_slice(), most],
            )?;
            connection.query_row(
                "SELECT EXISTS (SELECT 1 FROM token_key WHERE digest = ?1 AND key = ?2)",
                params![digest.as_slice(), key.as_slice()],
                |row| row.get(0),
            )
        })
    }

    fn read_one(&self, condition: &str, key: &[u8]) -> Result<Option<Issued>, CaError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM issuance WHERE {condition} ORDER BY id DESC LIMIT 1"
        ))?;
        statement.query_row([key], issued).optional().map_err(CaError::from)
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, CaError> {
        if self.is_poisoned() {
            return Err(CaError::StorePoisoned);
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = (|| {
            let transaction =
                writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })();
        outcome.map_err(|error: rusqlite::Error| {
            self.poisoned.store(true, Ordering::Release);
            tracing::error!(%error, "the certificate store failed; nothing more is issued");
            CaError::Store(error)
        })
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn issued(row: &Row<'_>) -> Result<Issued, rusqlite::Error> {
    let serial: Vec<u8> = row.get(0)?;
    let height: Option<i64> = row.get(10)?;
    let transaction: Option<[u8; 32]> = row.get(11)?;
    let algorithm: Option<String> = row.get(12)?;
    let signature: Option<Vec<u8>> = row.get(13)?;
    let tbs: Vec<u8> = row.get(9)?;
    let certificate = match (algorithm.as_deref().and_then(algorithm_named), signature) {
        (Some(algorithm), Some(signature)) => Some(build::assemble(&tbs, algorithm, &signature)),
        _ => None,
    };
    Ok(Issued {
        serial: Serial::from_bytes(&serial).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(
                0,
                rusqlite::types::Type::Blob,
                Box::new(error),
            )
        })?,
        request: row.get(1)?,
        key: row.get(2)?,
        profile: row.get(3)?,
        owner: row.get(4)?,
        subject: row.get(5)?,
        not_after: UnixTime::from_seconds(unsigned(row.get(6)?)),
        attestation: row.get(7)?,
        created: UnixTime::from_seconds(unsigned(row.get(8)?)),
        tbs,
        recorded: height.map(unsigned).zip(transaction),
        certificate,
    })
}

fn algorithm_name(algorithm: SignatureAlgorithm) -> String {
    algorithm.oid().to_string()
}

fn algorithm_named(name: &str) -> Option<SignatureAlgorithm> {
    [SignatureAlgorithm::EcdsaSha256, SignatureAlgorithm::EcdsaSha384, SignatureAlgorithm::Ed25519]
        .into_iter()
        .find(|algorithm| algorithm_name(*algorithm) == name)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u8) -> Issued {
        Issued {
            serial: Serial::from_bytes(&[number; 17]).unwrap(),
            request: [number; 32],
            key: [7; 32],
            profile: "idevid".to_owned(),
            owner: "maker".to_owned(),
            subject: format!("serialNumber={number}"),
            not_after: UnixTime::NEVER,
            attestation: (number == 2).then_some([9; 32]),
            created: UnixTime::from_seconds(1000 + u64::from(number)),
            tbs: vec![0x30, 0],
            recorded: None,
            certificate: None,
        }
    }

    #[test]
    fn a_copy_of_an_open_store_goes_on_where_nobody_was() {
        let directory = tempfile::tempdir().unwrap();
        let (path, copy) = (directory.path().join("ca.sqlite"), directory.path().join("copy"));
        let store = Store::open(&path).unwrap();
        store.insert_pending(&[row(1)]).unwrap();
        assert_eq!(store.next(crate::crl::COUNTER).unwrap(), 1);
        Store::back_up(&path, &copy).unwrap();
        // What comes later is not in it.
        store.insert_pending(&[row(2)]).unwrap();
        let names = std::fs::read_dir(directory.path()).unwrap();
        let beside = names
            .filter(|one| one.as_ref().unwrap().file_name().to_string_lossy().starts_with("copy-"));
        assert_eq!(beside.count(), 0);
        let restored = Store::open(&copy).unwrap();
        assert_eq!(restored.pending(10).unwrap(), [row(1)]);
        assert!(restored.next(crate::crl::COUNTER).unwrap() > 1 << 32);
        assert!(Store::back_up(&path, &copy).is_err(), "nothing is overwritten");
        assert!(Store::back_up(&directory.path().join("none"), &path).is_err());
    }

    #[test]
    fn rows_go_from_pending_to_issued_and_survive_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.sqlite");
        let store = Store::open(&path).unwrap();
        store.insert_pending(&[row(1), row(2), row(3)]).unwrap();
        assert_eq!(store.pending(10).unwrap(), [row(1), row(2), row(3)]);
        store.forget(&[row(3).serial]).unwrap();
        store
            .complete(&[Completion {
                serial: row(1).serial,
                height: 5,
                transaction: [4; 32],
                algorithm: SignatureAlgorithm::EcdsaSha256,
                signature: vec![1, 2, 3],
            }])
            .unwrap();
        assert_eq!(store.next("crl").unwrap(), 1);
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.pending(10).unwrap(), [row(2)]);
        assert_eq!(store.counts().unwrap(), (1, 1));
        let done = store.by_request(&[1; 32]).unwrap().unwrap();
        assert_eq!(done.recorded, Some((5, [4; 32])));
        assert!(done.certificate.is_some());
        assert_eq!(store.by_key(&[7; 32]).unwrap().len(), 2);
        assert_eq!(store.page(0, 10).unwrap().len(), 1);
        assert_eq!(store.next("crl").unwrap(), 2);
        let usage = store.usage(UnixTime::from_seconds(1002)).unwrap();
        assert_eq!((usage[0].total, usage[0].since), (2, 1));
        // What was signed is not forgotten.
        store.forget(&[row(1).serial]).unwrap();
        assert!(store.by_serial(&row(1).serial).unwrap().is_some());
    }

    #[test]
    fn a_store_of_version_1_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.sqlite");
        let old = TABLES
            .replace(",\n    device  TEXT", "")
            .replace("user_version = 2", "user_version = 1");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(&old).unwrap();
        let digest = [5u8; 32];
        connection
            .execute(
                "INSERT INTO token (digest, member, profile, keys, expires) \
                 VALUES (?1, 'maker', 'idevid', 1, 99)",
                [digest.as_slice()],
            )
            .unwrap();
        drop(connection);
        for _ in 0..2 {
            let store = Store::open(&path).unwrap();
            let token = store.token(&digest).unwrap().unwrap();
            assert_eq!((token.member.as_str(), token.device), ("maker", None));
        }
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 3).unwrap();
        assert!(matches!(Store::open(&path), Err(CaError::Internal(_))));
    }

    #[test]
    fn a_serial_stands_once_and_a_failed_write_poisons() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("ca.sqlite")).unwrap();
        store.insert_pending(&[row(1)]).unwrap();
        assert!(matches!(store.insert_pending(&[row(2), row(1)]), Err(CaError::Store(_))));
        assert!(store.is_poisoned());
        assert!(matches!(store.insert_pending(&[row(3)]), Err(CaError::StorePoisoned)));
        assert!(store.by_serial(&row(2).serial).unwrap().is_none());
        assert!(store.by_serial(&row(1).serial).unwrap().is_some());
    }

    #[test]
    fn a_newer_store_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.sqlite");
        drop(Store::open(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        assert!(Store::open(&path).is_err());
    }
}
