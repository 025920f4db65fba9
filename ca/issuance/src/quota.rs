//! How many certificates a member may issue under a profile, in all and in a
//! day (UTC). Counted from the store when it is opened, then in memory; a
//! request that fails gives its place back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::CaError;
use crate::store::Usage;
use crate::time::UnixTime;

const DAY: u64 = 86_400;

/// Limits; absent means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Certificates in all.
    #[serde(default)]
    pub total: Option<u64>,
    /// Certificates in a day that begins at midnight UTC.
    #[serde(default)]
    pub per_day: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    total: u64,
    day: u64,
    today: u64,
}

#[derive(Debug, Default)]
struct State {
    limits: HashMap<(String, String), Quota>,
    defaults: HashMap<String, Quota>,
    counts: HashMap<(String, String), Count>,
}

/// Quotas and what is used of them.
#[derive(Debug, Default)]
pub struct Quotas(Mutex<State>);

impl Quotas {
    /// No limits yet.
    pub fn new() -> Quotas {
        Quotas::default()
    }

    /// Sets what a member may issue under a profile.
    pub fn set(&self, member: &str, profile: &str, quota: Quota) {
        self.state().limits.insert((member.to_owned(), profile.to_owned()), quota);
    }

    /// Sets what any member without a quota of its own may issue under a
    /// profile.
    pub fn set_default(&self, profile: &str, quota: Quota) {
        self.state().defaults.insert(profile.to_owned(), quota);
    }

    /// What a member issued under a profile: in all, and on the day of `now`.
    pub fn used(&self, member: &str, profile: &str, now: UnixTime) -> (u64, u64) {
        let state = self.state();
        let count = state.counts.get(&(member.to_owned(), profile.to_owned()));
        let count = count.copied().unwrap_or_default();
        let today = if count.day == now.seconds() / DAY { count.today } else { 0 };
        (count.total, today)
    }

    pub(crate) fn load(&self, usage: Vec<Usage>, now: UnixTime) {
        let mut state = self.state();
        for row in usage {
            let count = Count { total: row.total, day: now.seconds() / DAY, today: row.since };
            state.counts.insert((row.owner, row.profile), count);
        }
    }

    /// Takes one place.
    pub(crate) fn take(&self, member: &str, profile: &str, now: UnixTime) -> Result<(), CaError> {
        let mut state = self.state();
        let key = (member.to_owned(), profile.to_owned());
        let quota = state
            .limits
            .get(&key)
            .or_else(|| state.defaults.get(profile))
            .copied()
            .unwrap_or_default();
        let day = now.seconds() / DAY;
        let count = state.counts.entry(key).or_default();
        if count.day != day {
            count.day = day;
            count.today = 0;
        }
        if let Some(limit) = quota.total.filter(|limit| count.total >= *limit) {
            return Err(CaError::QuotaExhausted {
                member: member.to_owned(),
                profile: profile.to_owned(),
                limit,
            });
        }
        if let Some(limit) = quota.per_day.filter(|limit| count.today >= *limit) {
            return Err(CaError::QuotaToday {
                member: member.to_owned(),
                profile: profile.to_owned(),
                limit,
                retry_after: Duration::from_secs(DAY - now.seconds() % DAY),
            });
        }
        count.total += 1;
        count.today += 1;
        Ok(())
    }

    /// Gives one place back that was taken at `taken`.
    pub(crate) fn give_back(&self, member: &str, profile: &str, taken: UnixTime) {
        let mut state = self.state();
        if let Some(count) = state.counts.get_mut(&(member.to_owned(), profile.to_owned())) {
            count.total = count.total.saturating_sub(1);
            if count.day == taken.seconds() / DAY {
                count.today = count.today.saturating_sub(1);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_in_all_and_by_day() {
        let quotas = Quotas::new();
        quotas.set_default("idevid", Quota { total: Some(3), per_day: Some(2) });
        let monday = UnixTime::from_seconds(100 * DAY + 10);
        let tuesday = UnixTime::from_seconds(101 * DAY);
        quotas.take("maker", "idevid", monday).unwrap();
        quotas.take("maker", "idevid", monday).unwrap();
        let error = quotas.take("maker", "idevid", monday).unwrap_err();
        assert_eq!(error.code(), "quota.today");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(DAY - 10)));
        quotas.take("other", "idevid", monday).unwrap();
        quotas.take("maker", "idevid", tuesday).unwrap();
        assert_eq!(quotas.take("maker", "idevid", tuesday).unwrap_err().code(), "quota.exhausted");
        quotas.give_back("maker", "idevid", tuesday);
        quotas.take("maker", "idevid", tuesday).unwrap();
        assert_eq!(quotas.used("maker", "idevid", tuesday), (3, 1));
        quotas.set("maker", "idevid", Quota::default());
        for _ in 0..10 {
            quotas.take("maker", "idevid", tuesday).unwrap();
        }
    }
}
