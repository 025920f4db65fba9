//! Times for people: UTC, proleptic Gregorian, no locale and no clock.

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
    }
}
