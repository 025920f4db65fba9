//! How many certificates a member may issue under a profile, in all and in a
//! day (UTC). Counted from the store when it is opened, then in memory. A place
//! is a value: dropped, it is given back; [kept](QuotaPlace::keep), it counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::CaError;
use crate::record::Usage;
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
    pub(crate) fn take(
        self: &Arc<Self>,
        member: &str,
        profile: &str,
        now: UnixTime,
    ) -> Result<QuotaPlace, CaError> {
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
        drop(state);
        Ok(self.counted(member, profile, now))
    }

    /// A place that is counted already: that of a row in the store.
    pub(crate) fn counted(
        self: &Arc<Self>,
        member: &str,
        profile: &str,
        at: UnixTime,
    ) -> QuotaPlace {
        QuotaPlace {
            quotas: Some(self.clone()),
            member: member.to_owned(),
            profile: profile.to_owned(),
            at,
        }
    }

    fn give_back(&self, member: &str, profile: &str, at: UnixTime) {
        let mut state = self.state();
        if let Some(count) = state.counts.get_mut(&(member.to_owned(), profile.to_owned())) {
            count.total = count.total.saturating_sub(1);
            if count.day == at.seconds() / DAY {
                count.today = count.today.saturating_sub(1);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place of a quota, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct QuotaPlace {
    /// None once it is kept.
    quotas: Option<Arc<Quotas>>,
    member: String,
    profile: String,
    at: UnixTime,
}

impl QuotaPlace {
    /// It is used for good.
    pub(crate) fn keep(mut self) {
        self.quotas = None;
    }
}

impl Drop for QuotaPlace {
    fn drop(&mut self) {
        if let Some(quotas) = self.quotas.take() {
            quotas.give_back(&self.member, &self.profile, self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_in_all_and_by_day() {
        let quotas = Arc::new(Quotas::new());
        quotas.set_default("idevid", Quota { total: Some(3), per_day: Some(2) });
        let monday = UnixTime::from_seconds(100 * DAY + 10);
        let tuesday = UnixTime::from_seconds(101 * DAY);
        let take = |member: &str, at| quotas.take(member, "idevid", at);
        take("maker", monday).unwrap().keep();
        // A request that came to nothing used nothing.
        drop(take("maker", monday).unwrap());
        take("maker", monday).unwrap().keep();
        let error = take("maker", monday).unwrap_err();
        assert_eq!(error.code(), "quota-today");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(DAY - 10)));
        take("other", monday).unwrap().keep();
        take("maker", tuesday).unwrap().keep();
        assert_eq!(take("maker", tuesday).unwrap_err().code(), "quota-exhausted");
        drop(quotas.counted("maker", "idevid", tuesday));
        take("maker", tuesday).unwrap().keep();
        assert_eq!(quotas.used("maker", "idevid", tuesday), (3, 1));
        quotas.set("maker", "idevid", Quota::default());
        for _ in 0..10 {
            take("maker", tuesday).unwrap().keep();
        }
    }
}
