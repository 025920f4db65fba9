//! Times as people write them, without a calendar library: milliseconds since
//! 1970, or a date and time with its offset from UTC (ISO 8601, RFC 3339).
//!
//! What is exact is taken, what could mean two things is refused by name: a time
//! without an offset, a leap second (RFC 3339 has it, milliseconds since 1970
//! do not), a fraction finer than a millisecond.

use crate::types::MAX_TIME;

/// What a time looks like, for messages.
const TAKES: &str = "write milliseconds since 1970, or 2026-01-31T08:00:00+08:00";
/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// Reads milliseconds since 1970, or `YYYY-MM-DDThh:mm[:ss[.fff]]` with `Z` or
/// an offset; a space may stand for the `T`.
///
/// # Errors
/// What is wrong with it, and how to write it.
pub fn parse(text: &str) -> Result<u64, String> {
    let shown: String = text.chars().take(40).collect();
    let wrong = |why: &str| format!("`{shown}` {why}; {TAKES}");
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let time = text.parse::<u64>().ok().filter(|time| *time <= MAX_TIME);
        return time.ok_or_else(|| {
            let meant = text.parse().ok().and_then(guess).unwrap_or_default();
            wrong(&format!("ms is after the year 9999{meant}"))
        });
    }
    let no_time = || wrong("is not a time");
    let (date, rest) = text.split_at_checked(10).ok_or_else(no_time)?;
    let date = digits(date, "dddd-dd-dd").ok_or_else(no_time)?;
    let [year, month, day] = date[..] else { return Err(no_time()) };
    let Some(time) = rest.strip_prefix(['T', 't', ' ']) else {
        return Err(wrong(if rest.is_empty() { "has no time of day" } else { "is not a time" }));
    };
    let (hour, minute, time) = match (time.get(..5).and_then(|time| digits(time, "dd:dd")), time) {
        (Some(numbers), time) => (numbers[0], numbers[1], &time[5..]),
        (None, _) => return Err(no_time()),
    };
    let (second, time) = match time.get(..3).and_then(|time| digits(time, ":dd")) {
        Some(numbers) => (numbers[0], &time[3..]),
        None => (0, time),
    };
    let (milliseconds, offset) = match time.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (fraction, rest) = rest.split_at(end);
            let kept = fraction.trim_end_matches('0');
            if fraction.is_empty() {
                return Err(no_time());
            }
            if kept.len() > 3 {
                return Err(wrong("is finer than a millisecond"));
            }
            (format!("{kept:0<3}").parse::<u64>().unwrap_or_default(), rest)
        }
        None => (0, time),
    };
    let minutes_ahead = match offset {
        "" => return Err(wrong("has no offset from UTC (Z, +08:00)")),
        "Z" | "z" => 0,
        _ => {
            let (sign, offset) = match offset.split_at_checked(1) {
                Some(("+", offset)) => (1, offset),
                Some(("-", offset)) => (-1, offset),
                _ => return Err(no_time()),
            };
            let numbers = digits(offset, "dd:dd").or_else(|| digits(offset, "dddd").map(split));
            match numbers.as_deref() {
                Some([hours, minutes]) if *hours < 24 && *minutes < 60 => {
                    sign * i64::try_from(hours * 60 + minutes).unwrap_or_default()
                }
                _ => return Err(wrong("has no offset from UTC of the form +08:00")),
            }
        }
    };
    if second == 60 {
        return Err(wrong("is a leap second, which has no number of its own; use the next second"));
    }
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_of_month = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=12).contains(&month) || !(1..=days_of_month).contains(&day) {
        return Err(wrong("is no day of the calendar"));
    }
    if hour > 23 || minute > 59 || second > 59 {
        return Err(wrong("is no time of a day"));
    }
    // Days since 1970-01-01 by counting years from March, so that the leap day
    // is last. Signed: an offset may lead over the beginning.
    let (year, month) =
        if month > 2 { (year, month - 3) } else { (year.wrapping_sub(1), month + 9) };
    if year > 9999 {
        return Err(wrong("is before 1970"));
    }
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let minutes = (days * 24 + hour) * 60 + minute;
    let local = (minutes * 60 + second) * 1000 + milliseconds;
    i64::try_from(local)
        .ok()
        .map(|local| local - 719_468 * DAY as i64 - minutes_ahead * 60_000)
        .and_then(|time| u64::try_from(time).ok())
        .filter(|time| *time <= MAX_TIME)
        .ok_or_else(|| wrong("is not between the years 1970 and 9999"))
}

/// The numbers of a text that has the shape of `shape`, in which `d` is a digit
/// and everything else itself; digits that follow each other are one number.
fn digits(text: &str, shape: &str) -> Option<Vec<u64>> {
    if text.len() != shape.len() {
        return None;
    }
    let mut numbers = Vec::new();
    let mut last = b' ';
    for (byte, expected) in text.bytes().zip(shape.bytes()) {
        if expected != b'd' {
            if byte != expected {
                return None;
            }
        } else if !byte.is_ascii_digit() {
            return None;
        } else if last == b'd' {
            let number = numbers.last_mut()?;
            *number = *number * 10 + u64::from(byte - b'0');
        } else {
            numbers.push(u64::from(byte - b'0'));
        }
        last = expected;
    }
    Some(numbers)
}

/// `0800` as hours and minutes.
fn split(numbers: Vec<u64>) -> Vec<u64> {
    numbers.into_iter().flat_map(|number| [number / 100, number % 100]).collect()
}

/// A time as [`parse`] reads it, in UTC: `2026-01-31T08:00:00Z`, with
/// milliseconds where there are some.
pub fn format(time: u64) -> String {
    let (days, rest) = (time / DAY, time % DAY);
    // As above, the other way: years from March, in cycles of 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400, if month < 10 { month + 3 } else { month - 9 });
    let year = if month <= 2 { year + 1 } else { year };
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    let clock = format!("{hour:02}:{minute:02}:{second:02}");
    match rest % 1000 {
        0 => format!("{year:04}-{month:02}-{day:02}T{clock}Z"),
        milliseconds => format!("{year:04}-{month:02}-{day:02}T{clock}.{milliseconds:03}Z"),
    }
}

/// What a number that is no plausible time in milliseconds would mean in
/// another unit, or as a date without separators: the end of a sentence, or
/// `None` when it would mean nothing of this century.
pub fn guess(number: u128) -> Option<String> {
    const CENTURY: std::ops::RangeInclusive<u64> = 946_684_800_000..=4_102_444_800_000;
    let text = number.to_string();
    // 20261120, 202611201500, 20261120150000, 20261120150000000.
    if matches!(text.len(), 8 | 12 | 14 | 17) {
        let (date, clock) = text.split_at(8);
        let clock = format!("{clock:0<9}");
        let written = format!(
            "{}-{}-{}T{}:{}:{}.{}Z",
            &date[..4],
            &date[4..6],
            &date[6..],
            &clock[..2],
            &clock[2..4],
            &clock[4..6],
            &clock[6..]
        );
        if parse(&written).is_ok_and(|time| CENTURY.contains(&time)) {
            let date = format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..]);
            return Some(format!(", and looks like the date {date} without separators"));
        }
    }
    let units: [(&str, Option<u128>); 3] = [
        ("seconds", number.checked_mul(1000)),
        ("microseconds", Some(number / 1000)),
        ("nanoseconds", Some(number / 1_000_000)),
    ];
    units.into_iter().find_map(|(unit, time)| {
        let time = u64::try_from(time?).ok().filter(|time| CENTURY.contains(time))?;
        Some(format!("; in {unit} it would be {}", format(time)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        for (text, time) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56.789Z", 951_827_696_789),
            ("2026-11-20T15:00:00Z", 1_795_186_800_000),
            ("2026-11-20T15:00:00+08:00", 1_795_158_000_000),
            ("2026-11-20T15:00:00+0800", 1_795_158_000_000),
            ("2026-11-20 15:00:00-05:30", 1_795_206_600_000),
            ("2026-11-20t15:00:00.5z", 1_795_186_800_500),
            ("2026-11-20T15:00:00.120000Z", 1_795_186_800_120),
            ("2026-11-20T15:00Z", 1_795_186_800_000),
            ("1970-01-01T08:00:00+08:00", 0),
            ("1969-12-31T23:59:59-00:01", 59_000),
            ("9999-12-31T23:59:59.999Z", MAX_TIME),
            ("1234", 1234),
        ] {
            assert_eq!(parse(text), Ok(time), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_by_name() {
        for (text, words) in [
            ("", "not a time"),
            ("now", "not a time"),
            ("2026/11/20 15:00", "not a time"),
            ("2026-11-20", "no time of day"),
            ("2026-11-20T15:00:00", "no offset"),
            ("2026-11-20 15:00:00", "no offset"),
            ("2026-11-20T15:00:00 08:00", "not a time"),
            ("2026-11-20T15:00:00+25:00", "no offset"),
            ("2026-11-20T15:00:00.1234Z", "finer than a millisecond"),
            ("2016-12-31T23:59:60Z", "leap second"),
            ("2026-02-29T00:00:00Z", "no day"),
            ("2026-13-01T00:00:00Z", "no day"),
            ("2026-01-00T00:00:00Z", "no day"),
            ("2026-01-01T24:00:00Z", "no time of a day"),
            ("1969-12-31T23:59:59Z", "1970"),
            ("1970-01-01T00:00:00+08:00", "1970"),
            ("0000-01-01T00:00:00Z", "1970"),
            ("9999-12-31T23:59:59-00:01", "9999"),
            ("253402300800000", "9999"),
            ("1795186800000000", "in microseconds it would be 2026-11-20T15:00:00Z"),
            ("1795186800000000000", "in nanoseconds it would be 2026-11-20T15:00:00Z"),
            ("99999999999999999999999999999999999999999999", "9999"),
            ("-1", "not a time"),
            ("２０２６-11-20T15:00:00Z", "not a time"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_number_of_another_unit_is_guessed() {
        let seen = |number| guess(number).unwrap_or_default();
        assert_eq!(seen(1_795_186_800), "; in seconds it would be 2026-11-20T15:00:00Z");
        assert!(seen(20_261_120).contains("the date 2026-11-20 without separators"));
        assert!(seen(202_611_201_500).contains("the date 2026-11-20"));
        assert!(seen(20_261_120_150_000).contains("the date 2026-11-20"));
        assert!(seen(20_261_120_150_000_999).contains("the date 2026-11-20"));
        assert_eq!(seen(9_999_999_999_999), "");
        assert_eq!(seen(1), "");
    }

    proptest! {
        #[test]
        fn times_are_read_as_they_are_shown(time in 0..=MAX_TIME, ahead in -1439_i64..1440) {
            prop_assert_eq!(parse(&format(time)), Ok(time));
            // The same moment on a clock elsewhere.
            let local = i64::try_from(time).unwrap() + ahead * 60_000;
            if let Ok(local) = u64::try_from(local) && local <= MAX_TIME {
                let sign = if ahead < 0 { '-' } else { '+' };
                let offset = format!("{sign}{:02}:{:02}", ahead.abs() / 60, ahead.abs() % 60);
                prop_assert_eq!(parse(&format(local).replace('Z', &offset)), Ok(time));
            }
        }

        #[test]
        fn any_text_is_a_time_or_not(text in "[0-9TZtz:. +-]{0,40}|.{0,40}") {
            if let Ok(time) = parse(&text) {
                prop_assert_eq!(parse(&format(time)), Ok(time));
            }
        }
    }
}
