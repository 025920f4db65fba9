//! What custody needs to know about a token. No secret is in here.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::error::{Error, Result};

/// Where Debian's `softhsm2` package puts its PKCS#11 module.
pub const SOFTHSM2_MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Longest token label, in bytes (PKCS#11 §3.4, `CK_TOKEN_INFO`).
pub const MAX_LABEL_LEN: usize = 32;

/// A PKCS#11 token and how custody uses it.
///
/// Every field but `module` and `label` has a default; unknown fields are
/// refused. Durations are written in milliseconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Path of the vendor's PKCS#11 module (a shared library). One path is
    /// initialised once per process however many tokens are opened through it.
    pub module: PathBuf,
    /// The token's label (CKA_LABEL of the token, ≤ 32 bytes). Tokens are found
    /// by label and not by slot, because slots move.
    pub label: String,
    /// Worker threads, each with one session. More than the token has cores
    /// gains nothing; more than its session limit (this + 2) degrades the pool.
    /// Default: 2. Range: 1 to 64.
    #[serde(default = "defaults::workers")]
    pub workers: usize,
    /// Requests that may wait before [`Error::Busy`] is answered. Too small
    /// refuses bursts, too large lets them wait in vain. Default: 1024. Range:
    /// 1 to 65,536.
    #[serde(default = "defaults::queue_depth")]
    pub queue_depth: usize,
    /// How long one request may take, waiting and recovery included. Default:
    /// 10 s.
    #[serde(
        rename = "request_timeout_ms",
        default = "defaults::request_timeout",
        deserialize_with = "milliseconds"
    )]
    pub request_timeout: Duration,
    /// Idle sessions are touched this often; a network HSM that drops idle
    /// sessions sooner (15 s has been seen) costs a reconnect each time.
    /// Default: 10 s.
    #[serde(
        rename = "keep_alive_ms",
        default = "defaults::keep_alive",
        deserialize_with = "milliseconds"
    )]
    pub keep_alive: Duration,
    /// First pause after a failed recovery; doubles each time. Default: 100 ms.
    #[serde(
        rename = "backoff_first_ms",
        default = "defaults::backoff_first",
        deserialize_with = "milliseconds"
    )]
    pub backoff_first: Duration,
    /// Longest pause between recovery attempts. Default: 10 s.
    #[serde(
        rename = "backoff_longest_ms",
        default = "defaults::backoff_longest",
        deserialize_with = "milliseconds"
    )]
    pub backoff_longest: Duration,
    /// The module is finalised and initialised again at most this often, and
    /// only when nothing less helped: it interrupts every token opened through
    /// it. Default: 30 s.
    #[serde(
        rename = "reload_interval_ms",
        default = "defaults::reload_interval",
        deserialize_with = "milliseconds"
    )]
    pub reload_interval: Duration,
}

impl TokenConfig {
    /// A token with all defaults.
    pub fn new(module: impl Into<PathBuf>, label: impl Into<String>) -> Self {
        Self {
            module: module.into(),
            label: label.into(),
            workers: defaults::workers(),
            queue_depth: defaults::queue_depth(),
            request_timeout: defaults::request_timeout(),
            keep_alive: defaults::keep_alive(),
            backoff_first: defaults::backoff_first(),
            backoff_longest: defaults::backoff_longest(),
            reload_interval: defaults::reload_interval(),
        }
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and the range.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field, reason: &str| Err(Error::Config { field, reason: reason.to_owned() });
        check_token_label(&self.label)?;
        if self.module.as_os_str().is_empty() {
            return refuse("module", "give the path of the PKCS#11 module");
        }
        if !(1..=64).contains(&self.workers) {
            return refuse("workers", "must be 1 to 64");
        }
        if !(1..=65_536).contains(&self.queue_depth) {
            return refuse("queue_depth", "must be 1 to 65536");
        }
        for (field, duration, shortest, longest) in [
            ("request_timeout_ms", self.request_timeout, 10, 600_000),
            ("keep_alive_ms", self.keep_alive, 10, 3_600_000),
            ("backoff_first_ms", self.backoff_first, 1, 60_000),
            ("backoff_longest_ms", self.backoff_longest, 1, 600_000),
            ("reload_interval_ms", self.reload_interval, 0, 86_400_000),
        ] {
            if !(shortest..=longest).contains(&duration.as_millis()) {
                return refuse(field, &format!("must be {shortest} to {longest}"));
            }
        }
        if self.backoff_longest < self.backoff_first {
            return refuse("backoff_longest_ms", "must not be less than backoff_first_ms");
        }
        Ok(())
    }
}

/// A token label as PKCS#11 stores it: 32 bytes, padded with blanks.
pub(crate) fn check_token_label(label: &str) -> Result<()> {
    let reason = if label.is_empty() || label.len() > MAX_LABEL_LEN {
        "must be 1 to 32 bytes long"
    } else if label.ends_with(' ') || label.chars().any(char::is_control) {
        "must not end in a blank or hold control characters"
    } else {
        return Ok(());
    };
    Err(Error::Config { field: "label", reason: reason.to_owned() })
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let value = i64::deserialize(deserializer)?;
    u64::try_from(value)
        .map(Duration::from_millis)
        .map_err(|_| D::Error::custom("a duration in milliseconds cannot be negative"))
}

mod defaults {
    use std::time::Duration;

    pub fn workers() -> usize {
        2
    }
    pub fn queue_depth() -> usize {
        1024
    }
    pub fn request_timeout() -> Duration {
        Duration::from_secs(10)
    }
    pub fn keep_alive() -> Duration {
        Duration::from_secs(10)
    }
    pub fn backoff_first() -> Duration {
        Duration::from_millis(100)
    }
    pub fn backoff_longest() -> Duration {
        Duration::from_secs(10)
    }
    pub fn reload_interval() -> Duration {
        Duration::from_secs(30)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fields_are_enough_and_unknown_ones_are_refused() {
        let config: TokenConfig =
            toml::from_str("module = \"/usr/lib/x.so\"\nlabel = \"member\"").unwrap();
        config.validate().unwrap();
        assert_eq!(config.workers, 2);
        assert_eq!(config.keep_alive, Duration::from_secs(10));

        let error = toml::from_str::<TokenConfig>("module = \"x\"\nlabel = \"y\"\npin = \"1234\"")
            .unwrap_err();
        assert!(error.to_string().contains("pin"), "{error}");
        let config: TokenConfig =
            toml::from_str("module = \"x\"\nlabel = \"y\"\nrequest_timeout_ms = 250").unwrap();
        assert_eq!(config.request_timeout, Duration::from_millis(250));
        assert!(
            toml::from_str::<TokenConfig>("module=\"x\"\nlabel=\"y\"\nkeep_alive_ms=-1").is_err()
        );
    }

    #[test]
    fn each_range_names_its_field() {
        let good = TokenConfig::new("/m.so", "t");
        let cases: [(&str, TokenConfig); 7] = [
            ("label", TokenConfig { label: String::new(), ..good.clone() }),
            ("label", TokenConfig { label: "x".repeat(33), ..good.clone() }),
            ("label", TokenConfig { label: "x ".into(), ..good.clone() }),
            ("module", TokenConfig { module: PathBuf::new(), ..good.clone() }),
            ("workers", TokenConfig { workers: 0, ..good.clone() }),
            ("queue_depth", TokenConfig { queue_depth: 0, ..good.clone() }),
            (
                "backoff_longest_ms",
                TokenConfig { backoff_longest: Duration::from_millis(1), ..good.clone() },
            ),
        ];
        good.validate().unwrap();
        for (field, config) in cases {
            match config.validate() {
                Err(Error::Config { field: named, .. }) => assert_eq!(named, field),
                other => panic!("{field}: {other:?}"),
            }
        }
    }
}
