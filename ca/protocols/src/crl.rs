//! The issuing authority's revocation list, kept current.
//!
//! It is made again when a revocation is announced, when half its life is
//! over, and when the ledger was changed by someone else within a minute. Its
//! number is taken from the store before it is signed, so that two lists never
//! have the same. While the ledger or the token is away the last list stays.
//!
//! A certificate whose end is past leaves the list after one that was made
//! beyond its end (RFC 5280 section 3.3).

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hufu_issuance::{CaError, Issuance, Revocation, RevocationList, UnixTime, blocking};

/// How often the ledger is asked whether something was revoked elsewhere.
const LOOK: Duration = Duration::from_secs(60);

/// A list, and what it was made from.
struct Made {
    list: Arc<RevocationList>,
    /// When; its own date may lie back.
    at: UnixTime,
    /// All that the ledger held then, by serial number.
    held: Vec<Revocation>,
}

/// Makes and holds the list.
pub struct CrlPublisher {
    issuance: Issuance,
    life: Duration,
    current: RwLock<Option<Made>>,
    /// One list is made at a time.
    making: tokio::sync::Mutex<()>,
}

impl CrlPublisher {
    /// Lists live for `life` (from their making to nextUpdate); half of that is
    /// their usual age at most. At least a minute.
    pub fn new(issuance: Issuance, life: Duration) -> Arc<CrlPublisher> {
        Arc::new(CrlPublisher {
            issuance,
            life: life.max(Duration::from_secs(60)),
            current: RwLock::new(None),
            making: tokio::sync::Mutex::new(()),
        })
    }

    /// The current list; made now if there is none yet or it is past its half
    /// life.
    ///
    /// # Errors
    /// There is none and none can be made: ledger, token or store are away.
    pub async fn current(&self) -> Result<Arc<RevocationList>, CaError> {
        let now = self.issuance.clock().now();
        match self.fresh(now) {
            Some((list, true)) => Ok(list),
            Some((list, false)) => Ok(self.make(false).await.unwrap_or(list)),
            None => self.make(false).await,
        }
    }

    /// Makes a list now if the ledger holds other revocations than for the last
    /// one, or that is past its half life; or in any case with `force`.
    ///
    /// # Errors
    /// Ledger, token or store are away.
    pub async fn make(&self, force: bool) -> Result<Arc<RevocationList>, CaError> {
        let _one = self.making.lock().await;
        let now = self.issuance.clock().now();
        let mut held = self.issuance.ledger().revoked().await.map_err(CaError::Ledger)?;
        held.sort_by(|a, b| a.serial.cmp(&b.serial));
        if !force
            && let Some((list, true)) = self.fresh(now)
            && self.made_from(&held)
        {
            return Ok(list);
        }
        let store = self.issuance.store().clone();
        let (number, before) = blocking(move || store.next_revocation_list(now)).await?;
        let entries = in_force(&held, before);
        let issuer = self.issuance.issuer();
        let list = RevocationList::sign(
            &**issuer.signer(),
            issuer.public_key(),
            (issuer.subject_der(), issuer.key_identifier()),
            number,
            (now, self.life),
            entries,
        )
        .await?;
        let list = Arc::new(list);
        tracing::info!(number, entries = list.len(), "certificate revocation list made");
        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
            Some(Made { list: list.clone(), at: now, held });
        Ok(list)
    }

    /// Keeps the list new until the returned task is aborted.
    pub fn keep_current(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        let publisher = self.clone();
        tokio::spawn(async move {
            let mut revocations = publisher.issuance.revocations();
            loop {
                if let Err(error) = publisher.make(false).await {
                    tracing::warn!(%error, "no new certificate revocation list");
                }
                tokio::select! {
                    changed = revocations.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        })
    }

    /// The list that is held, and whether it is before its half life.
    fn fresh(&self, now: UnixTime) -> Option<(Arc<RevocationList>, bool)> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let made = current.as_ref()?;
        Some((made.list.clone(), now < made.at.plus(self.life / 2)))
    }

    fn made_from(&self, held: &[Revocation]) -> bool {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().is_some_and(|made| made.held == held)
    }
}

/// What belongs on a list when the one before was made at `before`: without the
/// certificates that had ended by then, since that list still had them.
fn in_force(held: &[Revocation], before: Option<UnixTime>) -> Vec<Revocation> {
    let ended = |entry: &Revocation| before.is_some_and(|before| entry.not_after < before);
    held.iter().filter(|entry| !ended(entry)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hufu_issuance::{RevocationReason, Serial};

    #[test]
    fn what_ended_stands_on_one_list_more() {
        let at = UnixTime::from_seconds;
        let entry = |serial: u8, end: u64| Revocation {
            serial: Serial::from_bytes(&[serial]).unwrap(),
            at: at(100),
            reason: RevocationReason::Unspecified,
            not_after: at(end),
        };
        let held = [entry(1, 1_000), entry(2, 5_000)];
        let serials = |before| {
            in_force(&held, before).iter().map(|one| one.serial.as_bytes()[0]).collect::<Vec<_>>()
        };
        assert_eq!(serials(None), [1, 2]);
        // The list before was made while it was valid, and then in its last second.
        assert_eq!(serials(Some(at(900))), [1, 2]);
        assert_eq!(serials(Some(at(1_000))), [1, 2]);
        assert_eq!(serials(Some(at(1_001))), [2]);
    }
}
