//! Times as people write them, without a calendar library: milliseconds since
//! 1970, or RFC 3339 in UTC.

use crate::types::MAX_TIME;

/// Reads milliseconds since 1970, or `YYYY-MM-DDThh:mm:ss[.mmm]Z`.
///
/// # Errors
/// When it is neither, or not between 1970 and 9999.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || {
        let shown: String = text.chars().take(40).collect();
        format!("`{shown}` is not a time; write milliseconds since 1970 or 2026-01-31T08:00:00Z")
    };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let time: u64 = text.parse().map_err(|_| wrong())?;
        return if time > MAX_TIME { Err(wrong()) } else { Ok(time) };
    }
    let bytes = text.as_bytes();
    let shape = match bytes.len() {
        20 => "dddd-dd-ddTdd:dd:ddZ",
        24 => "dddd-dd-ddTdd:dd:dd.dddZ",
        _ => return Err(wrong()),
    };
    let fits = bytes.iter().zip(shape.bytes()).all(|(byte, expected)| match expected {
        b'd' => byte.is_ascii_digit(),
        _ => *byte == expected,
    });
    if !fits {
        return Err(wrong());
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().fold(0_u64, |number, byte| number * 10 + u64::from(byte - b'0'))
    };
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
    let milliseconds = if bytes.len() == 24 { number(20, 23) } else { 0 };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_of_month = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let valid = year >= 1970
        && (1..=12).contains(&month)
        && (1..=days_of_month).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return Err(wrong());
    }
    // Days since 1970 by counting years from March, so that the leap day is last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let days = days - 719_468;
    Ok((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(parse("2000-02-29T12:34:56.789Z"), Ok(951_827_696_789));
        assert_eq!(parse("2026-11-20T15:00:00Z"), Ok(1_795_186_800_000));
        assert_eq!(parse("9999-12-31T23:59:59.999Z"), Ok(MAX_TIME));
        assert_eq!(parse("1234"), Ok(1234));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00+08:00",
            "1969-12-31T23:59:59Z",
            "253402300800000",
            "-1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
