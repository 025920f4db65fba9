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

mod schema;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use crate::algorithm::SignatureAlgorithm;
use crate::build;
use crate::record::{Completion, Issued, Token, Usage};
use crate::serial::Serial;
use crate::time::UnixTime;

/// The store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It failed; nothing more is written until it is opened again.
    #[error("the certificate store failed; nothing is issued until it is reopened")]
    Failed(#[from] rusqlite::Error),
    /// A former failure stopped it.
    #[error(
        "the certificate store stopped after a failure; nothing is issued until it is reopened"
    )]
    Poisoned,
    /// Its file is of a later version of this program.
    #[error("the certificate store was written by a newer version; upgrade first")]
    Newer,
    /// A task ended without an answer: a defect.
    #[error("a storage task ended without an answer")]
    Task,
}

/// Runs blocking work off the runtime's workers.
///
/// # Errors
/// Those of the work, or that its task ended.
pub async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(StoreError::Task.into()))
}

/// Counter of the numbers of revocation lists.
const REVOCATION_LISTS: &str = "crl_number";

/// When the last revocation list was made, in seconds since the epoch.
const LAST_LIST: &str = "crl_made";

/// Numbers of revocation lists that a restored store leaves out: more than can
/// have been made since.
const SKIPPED: i64 = 1 << 32;

/// The store.
pub struct Store {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    poisoned: AtomicBool,
}

const COLUMNS: &str = "serial, request, key, profile, owner, subject, not_after, attestation, \
                       created, tbs, height, transaction_id, algorithm, signature, device, token";

impl Store {
    /// Opens or creates the store in the file `path`.
    ///
    /// # Errors
    /// The file cannot be opened, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let mut writer = Connection::open(path)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        writer.pragma_update(None, "foreign_keys", true)?;
        writer.busy_timeout(std::time::Duration::from_secs(5))?;
        schema::prepare(&mut writer)?;
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
    pub fn back_up(from: &Path, to: &Path) -> Result<(), StoreError> {
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
             INSERT INTO counter (name, value) VALUES ('{REVOCATION_LISTS}', {SKIPPED})
             ON CONFLICT (name) DO UPDATE SET value = value + {SKIPPED};
             COMMIT;"
        ))?;
        Ok(())
    }

    /// Whether a write failed, so that nothing more is issued.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// The certificate or pending row with that serial.
    pub fn by_serial(&self, serial: &Serial) -> Result<Option<Issued>, StoreError> {
        self.read_one("serial = ?1", serial.as_bytes())
    }

    /// The newest row for a request.
    pub(crate) fn by_request(&self, request: &[u8; 32]) -> Result<Option<Issued>, StoreError> {
        self.read_one("request = ?1", request)
    }

    /// All rows for a key, newest first, at most 64.
    pub(crate) fn by_key(&self, key: &[u8; 32]) -> Result<Vec<Issued>, StoreError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM issuance WHERE key = ?1 ORDER BY id DESC LIMIT 64"
        ))?;
        let rows = statement.query_map([key.as_slice()], issued)?;
        rows.collect::<Result<_, _>>().map_err(StoreError::from)
    }

    /// Rows without a signature, oldest first, at most `limit`.
    pub(crate) fn pending(&self, limit: usize) -> Result<Vec<Issued>, StoreError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM issuance WHERE signature IS NULL ORDER BY id LIMIT ?1"
        ))?;
        let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], issued)?;
        rows.collect::<Result<_, _>>().map_err(StoreError::from)
    }

    /// Certificates in order of issuance, `limit` (at most 1000) of them after
    /// the position `after` (0 to begin); each with its position.
    pub fn page(&self, after: i64, limit: usize) -> Result<Vec<(i64, Issued)>, StoreError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS}, id FROM issuance WHERE id > ?1 AND signature IS NOT NULL \
             ORDER BY id LIMIT ?2"
        ))?;
        let limit = i64::try_from(limit.min(1000)).unwrap_or(1000);
        let rows = statement.query_map([after, limit], |row| Ok((row.get(16)?, issued(row)?)))?;
        rows.collect::<Result<_, _>>().map_err(StoreError::from)
    }

    /// How many certificates were issued and how many are pending.
    pub fn counts(&self) -> Result<(u64, u64), StoreError> {
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
    pub(crate) fn usage(&self, day: UnixTime) -> Result<Vec<Usage>, StoreError> {
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
        rows.collect::<Result<_, _>>().map_err(StoreError::from)
    }

    /// Writes pending rows, all or none.
    pub(crate) fn insert_pending(&self, rows: &[Issued]) -> Result<(), StoreError> {
        self.write(|connection| {
            let mut statement = connection.prepare_cached(
                "INSERT INTO issuance (serial, request, key, profile, owner, subject, not_after, \
                 attestation, created, tbs, device, token) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?;
            let mut spend = connection
                .prepare_cached("INSERT OR IGNORE INTO token_key (digest, key) VALUES (?1, ?2)")?;
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
                    row.device,
                    row.enrolment_token.as_ref().map(<[u8; 32]>::as_slice),
                ])?;
                if let Some(token) = &row.enrolment_token {
                    spend.execute(params![token.as_slice(), row.key.as_slice()])?;
                }
            }
            Ok(())
        })
    }

    /// Completes rows, all or none.
    pub(crate) fn complete(&self, completions: &[Completion]) -> Result<(), StoreError> {
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

    /// Forgets pending rows that the ledger did not take; what they had spent
    /// of an enrolment token is free again.
    pub(crate) fn forget(&self, serials: &[Serial]) -> Result<(), StoreError> {
        self.write(|connection| {
            let mut free = connection.prepare_cached(
                "DELETE FROM token_key WHERE (digest, key) IN \
                     (SELECT token, key FROM issuance WHERE serial = ?1 AND signature IS NULL) \
                 AND NOT EXISTS (SELECT 1 FROM issuance WHERE token = token_key.digest \
                     AND issuance.key = token_key.key AND serial <> ?1)",
            )?;
            let mut delete = connection
                .prepare_cached("DELETE FROM issuance WHERE serial = ?1 AND signature IS NULL")?;
            for serial in serials {
                free.execute([serial.as_bytes()])?;
                delete.execute([serial.as_bytes()])?;
            }
            Ok(())
        })
    }

    /// The number of the next revocation list, durable before it is returned, and
    /// when the one before was made. `now` is when this one is. Numbers go by the
    /// clock, in microseconds, so that the lists of several nodes that have the key
    /// are in order, whoever is asked.
    ///
    /// # Errors
    /// The store failed.
    pub fn next_revocation_list(
        &self,
        now: UnixTime,
    ) -> Result<(u64, Option<UnixTime>), StoreError> {
        self.write(|connection| {
            let before: Option<i64> = connection
                .query_row("SELECT value FROM counter WHERE name = ?1", [LAST_LIST], |row| {
                    row.get(0)
                })
                .optional()?;
            let number = connection.query_row(
                "INSERT INTO counter (name, value) VALUES (?1, ?2) \
                 ON CONFLICT (name) DO UPDATE SET value = max(value + 1, ?2) RETURNING value",
                params![REVOCATION_LISTS, signed(now.seconds().saturating_mul(1_000_000))],
                |row| row.get(0),
            )?;
            connection.execute(
                "INSERT INTO counter (name, value) VALUES (?1, ?2) \
                 ON CONFLICT (name) DO UPDATE SET value = ?2",
                params![LAST_LIST, signed(now.seconds())],
            )?;
            let before = before.map(|seconds| UnixTime::from_seconds(unsigned(seconds)));
            Ok((unsigned(number), before))
        })
    }

    pub(crate) fn add_token(&self, token: &Token) -> Result<(), StoreError> {
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

    pub(crate) fn token(&self, digest: &[u8; 32]) -> Result<Option<Token>, StoreError> {
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
        token.optional().map_err(StoreError::from)
    }

    /// How many keys a token has enrolled or is enrolling, by rows in the store.
    pub(crate) fn token_keys(&self, digest: &[u8; 32]) -> Result<u64, StoreError> {
        let reader = self.reader();
        let mut statement =
            reader.prepare_cached("SELECT COUNT(*) FROM token_key WHERE digest = ?1")?;
        let keys = statement.query_row([digest.as_slice()], |row| row.get(0))?;
        Ok(unsigned(keys))
    }

    /// Whether a key is among those that a token has enrolled or is enrolling.
    pub(crate) fn token_has(&self, digest: &[u8; 32], key: &[u8; 32]) -> Result<bool, StoreError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM token_key WHERE digest = ?1 AND key = ?2)",
        )?;
        Ok(statement.query_row(params![digest.as_slice(), key.as_slice()], |row| row.get(0))?)
    }

    /// The newest certificates and pending rows that name a device, at most 64.
    pub(crate) fn by_device(&self, device: &str) -> Result<Vec<Issued>, StoreError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM issuance WHERE device = ?1 ORDER BY id DESC LIMIT 64"
        ))?;
        let rows = statement.query_map([device], issued)?;
        rows.collect::<Result<_, _>>().map_err(StoreError::from)
    }

    fn read_one(&self, condition: &str, key: &[u8]) -> Result<Option<Issued>, StoreError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM issuance WHERE {condition} ORDER BY id DESC LIMIT 1"
        ))?;
        statement.query_row([key], issued).optional().map_err(StoreError::from)
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        if self.is_poisoned() {
            return Err(StoreError::Poisoned);
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
            StoreError::Failed(error)
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
        device: row.get(14)?,
        enrolment_token: row.get(15)?,
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
mod tests;
