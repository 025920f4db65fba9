//! This machine's clock, and times as people read them.

use std::time::SystemTime;

use hufu_proof::UnixMillis;
use hufu_report::time::iso_time;

/// Now, by this machine's clock: for people and logs.
pub fn now_ms() -> UnixMillis {
    SystemTime::now().into()
}

/// `2026-11-20 14:05:09 UTC`.
pub fn utc(time: UnixMillis) -> String {
    let text = iso_time(i64::try_from(time.get()).unwrap_or(i64::MAX));
    let text = text.split('.').next().unwrap_or_default().replace('T', " ");
    format!("{text} UTC")
}
