//! Points in time as X.509 knows them: whole seconds, UTC.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use der::asn1::{GeneralizedTime, UtcTime};
use der::{DateTime, Encode};
use hufu_proof::UnixMillis;
use x509_cert::time::Time;

use crate::form::FormError;

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

/// The whole seconds of a moment on the ledger's clock.
impl From<UnixMillis> for UnixTime {
    fn from(time: UnixMillis) -> UnixTime {
        UnixTime::from_seconds(time.get() / 1000)
    }
}

impl From<UnixTime> for UnixMillis {
    fn from(time: UnixTime) -> UnixMillis {
        UnixMillis::ZERO.plus(Duration::from_secs(time.0))
    }
}

impl UnixTime {
    /// 9999-12-31T23:59:59Z: "no well-defined expiration date" (RFC 5280
    /// section 4.1.2.5), which IEEE 802.1AR asks of an IDevID.
    pub const NEVER: UnixTime = UnixTime(253_402_300_799);

    /// From seconds since the epoch; anything later than [`UnixTime::NEVER`]
    /// becomes that, since X.509 cannot say more.
    pub const fn from_seconds(seconds: u64) -> UnixTime {
        if seconds > Self::NEVER.0 { Self::NEVER } else { UnixTime(seconds) }
    }

    /// Seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// This time and `duration` more (whole seconds), at most [`UnixTime::NEVER`].
    #[must_use]
    pub const fn plus(self, duration: Duration) -> UnixTime {
        Self::from_seconds(self.0.saturating_add(duration.as_secs()))
    }

    /// This time less `duration` (whole seconds), at least the epoch.
    #[must_use]
    pub const fn minus(self, duration: Duration) -> UnixTime {
        UnixTime(self.0.saturating_sub(duration.as_secs()))
    }

    /// How long from this time to `later`; zero if it is not later.
    pub const fn until(self, later: UnixTime) -> Duration {
        Duration::from_secs(later.0.saturating_sub(self.0))
    }

    /// From an X.509 time.
    pub fn from_x509(time: &Time) -> UnixTime {
        UnixTime(time.to_unix_duration().as_secs())
    }

    /// As an X.509 time: UTCTime through 2049, GeneralizedTime after (RFC
    /// 5280 section 4.1.2.5).
    pub fn to_x509(self) -> Result<Time, FormError> {
        let at = self.date_time()?;
        Ok(if at.year() <= UtcTime::MAX_YEAR {
            Time::UtcTime(UtcTime::from_date_time(at).map_err(FormError::encoding)?)
        } else {
            Time::GeneralTime(GeneralizedTime::from_date_time(at))
        })
    }

    /// As a DER GeneralizedTime, which is all that OCSP knows.
    pub fn to_generalized_der(self) -> Result<Vec<u8>, FormError> {
        GeneralizedTime::from_date_time(self.date_time()?).to_der().map_err(FormError::encoding)
    }

    /// As an HTTP date (RFC 9110 section 5.6.7), for `Last-Modified` and `Expires`.
    pub fn to_http_date(self) -> String {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let Ok(at) = self.date_time() else { return String::new() };
        let day = DAYS[usize::try_from((self.0 / 86_400) % 7).unwrap_or(0)];
        let month = MONTHS[usize::from(at.month().saturating_sub(1)).min(11)];
        format!(
            "{day}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT",
            at.day(),
            at.year(),
            at.hour(),
            at.minutes(),
            at.seconds()
        )
    }

    fn date_time(self) -> Result<DateTime, FormError> {
        DateTime::from_unix_duration(Duration::from_secs(self.0)).map_err(FormError::encoding)
    }
}

impl fmt::Display for UnixTime {
    /// RFC 3339, UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_unix_duration(Duration::from_secs(self.0)) {
            Ok(at) => write!(f, "{at}"),
            Err(_) => write!(f, "@{}", self.0),
        }
    }
}

/// Where the current time comes from; tests give one that they move.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> UnixTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        UnixTime::from_seconds(
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_the_last_second_of_9999_as_generalized_time() {
        let der = UnixTime::NEVER.to_generalized_der().unwrap();
        assert_eq!(&der[2..], b"99991231235959Z");
        assert_eq!(UnixTime::NEVER.to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(UnixTime::from_seconds(u64::MAX), UnixTime::NEVER);
    }

    #[test]
    fn utc_time_ends_with_2049() {
        let last = UnixTime::from_seconds(2_524_607_999);
        assert!(matches!(last.to_x509().unwrap(), Time::UtcTime(_)));
        let next = last.plus(Duration::from_secs(1));
        assert!(matches!(next.to_x509().unwrap(), Time::GeneralTime(_)));
        assert_eq!(UnixTime::from_x509(&next.to_x509().unwrap()), next);
    }

    #[test]
    fn http_dates_name_the_day() {
        assert_eq!(
            UnixTime::from_seconds(784_111_777).to_http_date(),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
    }
}
