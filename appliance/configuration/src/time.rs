//! This machine's clock, and times as people read them.

use std::time::{SystemTime, UNIX_EPOCH};

use hufu_report::time::iso_time;

/// Milliseconds since 1970 by this machine's clock, for people and logs.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// `2026-11-20 14:05:09 UTC`.
pub fn utc(milliseconds: u64) -> String {
    let text = iso_time(i64::try_from(milliseconds).unwrap_or(i64::MAX));
    let text = text.split('.').next().unwrap_or_default().replace('T', " ");
    format!("{text} UTC")
}
