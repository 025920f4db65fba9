//! Times for people: proleptic Gregorian, no locale and no clock. Local time is
//! UTC with an offset that whoever asks names, so that it is the same everywhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How far local time is ahead of UTC, in minutes: at most 14 hours, either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UtcOffset(i16);

impl UtcOffset {
    /// UTC itself.
    pub const UTC: Self = Self(0);
    /// China, all the year.
    pub const CHINA: Self = Self(8 * 60);

    fn local(self, milliseconds: i64) -> i64 {
        milliseconds.saturating_add(i64::from(self.0) * 60_000)
    }

    /// `2026-11-20 22:05:09`: local date and time.
    pub fn date_and_time(self, milliseconds: i64) -> (String, String) {
        let local = self.local(milliseconds);
        let seconds = local.div_euclid(1000).rem_euclid(86_400);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        (iso_date(local), format!("{hours:02}:{minutes:02}:{seconds:02}"))
    }

    /// `2026-11-20 22:05:09`, which spreadsheets take for a time: with an offset
    /// behind it they keep it as text, and with thousandths some show minutes and
    /// seconds alone.
    pub fn cell(self, milliseconds: i64) -> String {
        let (date, time) = self.date_and_time(milliseconds);
        format!("{date} {time}")
    }
}

impl fmt::Display for UtcOffset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        let minutes = self.0.unsigned_abs();
        write!(formatter, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

impl FromStr for UtcOffset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (sign, digits) = match text.split_at_checked(1)? {
                ("+", digits) => (1, digits),
                ("-", digits) => (-1, digits),
                _ => return None,
            };
            let (hours, minutes) = digits.split_once(':')?;
            let number = |text: &str| {
                let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
                plain.then(|| text.parse::<i16>().ok()).flatten()
            };
            let (hours, minutes) = (number(hours)?, number(minutes)?);
            let offset = hours * 60 + minutes;
            (minutes < 60 && offset <= 14 * 60).then_some(Self(sign * offset))
        };
        read().ok_or_else(|| {
            "the offset from UTC is written like +08:00, at most 14 hours".to_owned()
        })
    }
}

impl TryFrom<String> for UtcOffset {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<UtcOffset> for String {
    fn from(offset: UtcOffset) -> Self {
        offset.to_string()
    }
}

/// `2026-11-20T14:05:09.123Z` for milliseconds since 1970. Years past 9999 are
/// written with as many digits as they have.
pub fn iso_time(milliseconds: i64) -> String {
    let (days, rest) = (milliseconds.div_euclid(86_400_000), milliseconds.rem_euclid(86_400_000));
    let (hours, minutes) = (rest / 3_600_000, rest / 60_000 % 60);
    let (seconds, thousandths) = (rest / 1000 % 60, rest % 1000);
    format!("{}T{hours:02}:{minutes:02}:{seconds:02}.{thousandths:03}Z", date(days))
}

/// `2026-11-20` for milliseconds since 1970.
pub fn iso_date(milliseconds: i64) -> String {
    date(milliseconds.div_euclid(86_400_000))
}

/// The date of a day counted from 1970-01-01: years begin in March, so that
/// the leap day is the last of a year; 146,097 days make 400 years.
fn date(days: i64) -> String {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        for (milliseconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_795_183_509_123, "2026-11-20T14:05:09.123Z"),
        ] {
            assert_eq!(iso_time(milliseconds), expected);
            assert_eq!(iso_date(milliseconds), &expected[..10]);
        }
        // The extremes of the type do not overflow.
        let _ = (iso_time(i64::MIN), iso_time(i64::MAX));
        let _ = (UtcOffset::CHINA.cell(i64::MAX), UtcOffset(-840).cell(i64::MIN));
    }

    #[test]
    fn local_times_name_their_offset() {
        assert_eq!(UtcOffset::CHINA.cell(1_795_183_509_123), "2026-11-20 22:05:09");
        let west: UtcOffset = "-03:30".parse().unwrap();
        assert_eq!(west.cell(0), "1969-12-31 20:30:00");
        assert_eq!(UtcOffset::UTC.to_string(), "+00:00");
        for text in ["", "8", "+8:00", "+08:60", "+15:00", "+14:01", "08:00", "+0800", "＋08:00"] {
            assert!(text.parse::<UtcOffset>().is_err(), "{text}");
        }
    }
}
