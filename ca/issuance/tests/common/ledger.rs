//! A double of the ledger: keeps what it is told in memory, and fails on
//! demand the ways a ledger fails.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hufu_issuance::*;
use tokio::sync::Notify;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub entry: Option<IssuanceEntry>,
    pub status: CertificateStatus,
    pub height: u64,
}

/// What the next `record` does instead of recording.
#[derive(Clone, Debug)]
pub enum Mishap {
    Unavailable,
    /// Recorded, but nobody can tell.
    UnknownButRecorded,
    /// Not recorded, and nobody can tell.
    UnknownNotRecorded,
    /// Waits until `release` is called, then records.
    Hang,
}

#[derive(Default)]
pub struct TestLedger {
    lines: Mutex<BTreeMap<Serial, Line>>,
    admitted: Mutex<BTreeMap<Serial, Certificate>>,
    pub mishaps: Mutex<VecDeque<Mishap>>,
    /// Subjects that are refused.
    pub refused: Mutex<Vec<String>>,
    pub batches: Mutex<Vec<usize>>,
    pub away: std::sync::atomic::AtomicBool,
    /// What the registry says of devices.
    pub owners: Mutex<BTreeMap<String, String>>,
    release: Arc<Notify>,
    pub hanging: AtomicUsize,
}

impl TestLedger {
    /// Knows a certificate from genesis.
    pub fn admit(&self, certificate: &Certificate) {
        let line = Line { entry: None, status: CertificateStatus::Good, height: 0 };
        let serial = certificate.serial();
        self.lines.lock().unwrap().insert(serial.clone(), line);
        self.admitted.lock().unwrap().insert(serial.clone(), certificate.clone());
    }

    /// A certificate that it knows from genesis.
    pub fn admitted(&self, serial: &Serial) -> Option<Certificate> {
        self.admitted.lock().unwrap().get(serial).cloned()
    }

    /// Never heard of it.
    pub fn forget(&self, serial: &Serial) {
        self.lines.lock().unwrap().remove(serial);
    }

    pub fn height(&self) -> u64 {
        self.lines.lock().unwrap().len() as u64
    }

    pub fn line(&self, serial: &Serial) -> Option<Line> {
        self.lines.lock().unwrap().get(serial).cloned()
    }

    pub fn issued(&self) -> usize {
        self.lines.lock().unwrap().values().filter(|line| line.entry.is_some()).count()
    }

    pub fn next(&self, mishap: Mishap) {
        self.mishaps.lock().unwrap().push_back(mishap);
    }

    pub fn release(&self) {
        self.release.notify_waiters();
    }

    fn fault() -> LedgerFault {
        LedgerFault::Unavailable { reason: "test".to_owned(), retry_after: Duration::from_secs(3) }
    }

    fn write(&self, entries: Vec<IssuanceEntry>) -> Result<Vec<Recorded>, LedgerFault> {
        let mut lines = self.lines.lock().unwrap();
        let height = lines.values().map(|line| line.height).max().unwrap_or(0) + 1;
        for entry in &entries {
            let known = lines.get(&entry.serial).and_then(|line| line.entry.as_ref());
            if known.is_some_and(|known| known.tbs != entry.tbs) {
                return Err(LedgerFault::Refused {
                    code: "serial.taken".to_owned(),
                    reason: "another certificate has this serial".to_owned(),
                });
            }
        }
        Ok(entries
            .into_iter()
            .map(|entry| {
                let serial = entry.serial.clone();
                let line = lines.entry(serial.clone()).or_insert(Line {
                    entry: Some(entry),
                    status: CertificateStatus::Good,
                    height,
                });
                Recorded { serial, height: line.height, transaction: [7; 32] }
            })
            .collect())
    }
}

impl IssuanceLedger for TestLedger {
    fn permits(&self, _: &IssuanceEntry) -> Result<(), LedgerFault> {
        Ok(())
    }

    fn record(
        &self,
        entries: Vec<IssuanceEntry>,
    ) -> BoxFuture<'_, Result<Vec<Recorded>, LedgerFault>> {
        async move {
            assert!(!entries.is_empty() && entries.len() <= limits::BATCH);
            self.batches.lock().unwrap().push(entries.len());
            let mishap = self.mishaps.lock().unwrap().pop_front();
            let unknown = || LedgerFault::Unknown { reason: "test".to_owned() };
            match mishap {
                Some(Mishap::Unavailable) => return Err(Self::fault()),
                Some(Mishap::UnknownNotRecorded) => return Err(unknown()),
                Some(Mishap::UnknownButRecorded) => {
                    self.write(entries)?;
                    return Err(unknown());
                }
                Some(Mishap::Hang) => {
                    let released = self.release.notified();
                    self.hanging.fetch_add(1, Ordering::SeqCst);
                    released.await;
                    self.hanging.fetch_sub(1, Ordering::SeqCst);
                }
                None => {}
            }
            let refused = self.refused.lock().unwrap().clone();
            if entries.iter().any(|entry| refused.contains(&entry.subject)) {
                return Err(LedgerFault::Refused {
                    code: "contract.refused".to_owned(),
                    reason: "the registry does not take this device".to_owned(),
                });
            }
            self.write(entries)
        }
        .boxed()
    }

    fn revoke(
        &self,
        serial: Serial,
        reason: RevocationReason,
        at: UnixTime,
    ) -> BoxFuture<'_, Result<Recorded, LedgerFault>> {
        async move {
            let mut lines = self.lines.lock().unwrap();
            let line = lines.get_mut(&serial).expect("a known serial");
            // As the ledger does: another reason keeps the date.
            let at = match line.status {
                CertificateStatus::Revoked { at, reason: stands } => {
                    assert!(stands.may_become(reason));
                    at
                }
                _ => at,
            };
            line.status = CertificateStatus::Revoked { at, reason };
            Ok(Recorded { serial, height: 99, transaction: [8; 32] })
        }
        .boxed()
    }

    fn status(&self, serial: Serial) -> BoxFuture<'_, Result<CertificateStatus, LedgerFault>> {
        async move {
            if self.away.load(Ordering::SeqCst) {
                return Err(Self::fault());
            }
            Ok(self.line(&serial).map_or(CertificateStatus::Unknown, |line| line.status))
        }
        .boxed()
    }

    fn device_owner(&self, device: String) -> BoxFuture<'_, Result<Option<String>, LedgerFault>> {
        let owner = self.owners.lock().unwrap().get(&device).cloned();
        async move { Ok(owner) }.boxed()
    }

    fn revoked(&self) -> BoxFuture<'_, Result<Vec<Revocation>, LedgerFault>> {
        async move {
            if self.away.load(Ordering::SeqCst) {
                return Err(Self::fault());
            }
            let lines = self.lines.lock().unwrap();
            Ok(lines
                .iter()
                .filter_map(|(serial, line)| match line.status {
                    CertificateStatus::Revoked { at, reason } => {
                        let not_after =
                            line.entry.as_ref().map_or(UnixTime::NEVER, |entry| entry.not_after);
                        Some(Revocation { serial: serial.clone(), at, reason, not_after })
                    }
                    _ => None,
                })
                .collect())
        }
        .boxed()
    }
}
