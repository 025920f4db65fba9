//! Numbers as people write them, exactly: a number has one meaning or is refused
//! by name.
//!
//! Taken: `12`, `+20.5`, `-0.0`, `1.2000`, `.5`, `5.`, `2.05e+01`. Refused: what
//! two readers could read in two ways (`1,000`, `20,5`, `1 000`), what is not
//! finite, other bases, other digits than `0` to `9`, and whatever has more
//! decimals than are kept. Nothing is rounded or cut off.

use crate::spelling::is_space;

/// Shows `value` units of 10^-`scale` with a decimal point.
pub fn decimal_text(value: i64, scale: u8) -> String {
    if scale == 0 {
        return value.to_string();
    }
    let width = usize::from(scale) + 1;
    let digits = format!("{:0width$}", value.unsigned_abs());
    let (whole, part) = digits.split_at(digits.len() - usize::from(scale));
    format!("{}{whole}.{part}", if value < 0 { "-" } else { "" })
}

/// Reads a decimal number into units of 10^-`scale`; with scale 0, a whole
/// number.
///
/// # Errors
/// When it is not one, has more decimals than `scale`, or is too large.
pub fn parse(text: &str, scale: u8) -> Result<i64, String> {
    let shown: String = text.chars().take(64).collect();
    let Some(Number { negative, whole, part, exponent }) = split(text) else {
        return Err(format!("`{shown}` {}", name(text, scale)));
    };
    let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
    if whole.is_empty() && part.bytes().all(|digit| digit == b'0') {
        return Ok(0);
    }
    // The number is the digits of both parts times ten to this.
    let exponent = exponent.saturating_sub(part.len() as i64).saturating_add(i64::from(scale));
    let digits = whole.len() + part.len();
    let cut = usize::try_from(exponent.saturating_neg()).unwrap_or(0);
    let zeros = usize::try_from(exponent).unwrap_or(0);
    let all = || whole.bytes().chain(part.bytes());
    if all().rev().take(cut).any(|digit| digit != b'0') || cut > digits {
        return Err(match scale {
            0 => format!("`{shown}` is not a whole number"),
            _ => format!("`{shown}` has more than {scale} decimals"),
        });
    }
    let large = || format!("`{shown}` is too large for 64 bits");
    // No number of 64 bits has more digits; nor are more zeros ever appended.
    if zeros > 20 {
        return Err(large());
    }
    all().take(digits - cut).chain(std::iter::repeat_n(b'0', zeros)).try_fold(
        0_i64,
        |number, digit| {
            let digit = i64::from(digit - b'0');
            let digit = if negative { -digit } else { digit };
            number.checked_mul(10).and_then(|number| number.checked_add(digit)).ok_or_else(large)
        },
    )
}

/// A number in its parts: digits before and after the point.
struct Number<'a> {
    negative: bool,
    whole: &'a str,
    part: &'a str,
    exponent: i64,
}

fn split(text: &str) -> Option<Number<'_>> {
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let signed = |text| match str::strip_prefix(text, '-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (negative, number) = signed(text);
    let (number, exponent) = match number.split_once(['e', 'E']) {
        Some((number, exponent)) => {
            let (negative, digits) = signed(exponent);
            if digits.is_empty() || !all_digits(digits) {
                return None;
            }
            // One that does not fit is beyond every number of 64 bits.
            let exponent = digits.parse().unwrap_or(i64::MAX);
            (number, if negative { -exponent } else { exponent })
        }
        None => (number, 0),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let some = !whole.is_empty() || !part.is_empty();
    (some && all_digits(whole) && all_digits(part)).then_some(Number {
        negative,
        whole,
        part,
        exponent,
    })
}

/// What is wrong with a text that is not a number: the end of a sentence.
fn name(text: &str, scale: u8) -> String {
    let takes = if scale == 0 { "a whole number" } else { "a decimal number" };
    let has = |characters: &[char]| text.contains(characters);
    let bare = text.trim_start_matches(['+', '-']);
    let lower = bare.to_ascii_lowercase();
    if text.is_empty() {
        format!("is empty; write {takes}")
    } else if let Some(minus) =
        text.chars().find(|c| matches!(c, '\u{2010}'..='\u{2015}' | '−' | '－' | '﹣'))
    {
        format!("has U+{:04X} for a minus sign; write `-`", u32::from(minus))
    } else if let Some(digit) = text.chars().find(|c| c.is_numeric() && !c.is_ascii()) {
        format!("has the digit `{digit}` (U+{:04X}); write 0 to 9", u32::from(digit))
    } else if let Some(space) = text.chars().find(|c| is_space(*c)) {
        format!(
            "has a space of another kind (U+{:04X}); write {takes} and nothing else",
            u32::from(space)
        )
    } else if lower.starts_with("0x") || lower.starts_with("0b") || lower.starts_with("0o") {
        "is of another base; write it in decimal digits".into()
    } else if matches!(lower.as_str(), "nan" | "inf" | "infinity" | "null" | "none" | "n/a" | "na")
    {
        "is not a finite number; leave the row out, or send another metric that says why".into()
    } else if let Some((before, after)) = bare.split_once(',')
        && before
            .bytes()
            .chain(after.bytes())
            .all(|byte| byte.is_ascii_digit() || b".,".contains(&byte))
    {
        "has a comma, which may part decimals or thousands; write a point before decimals, and \
         nothing between thousands"
            .into()
    } else if has(&['\'', '_', ' ', '’']) && bare.chars().any(|c| c.is_ascii_digit()) {
        format!("has something between or after its digits; write {takes} and nothing else")
    } else {
        format!("is not {takes}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MAX_SCALE;
    use num_bigint::BigInt;
    use proptest::prelude::*;

    /// The same by numbers of any size: what `text` says times 10^`scale`, when
    /// that is whole and has 64 bits. `None` also when it is not a number.
    fn oracle(text: &str, scale: u8) -> Option<i64> {
        let lower = text.to_lowercase();
        let (number, exponent) = match lower.split_once('e') {
            Some((number, exponent)) => (number, exponent.parse::<i64>().ok()?),
            None => (lower.as_str(), 0),
        };
        let places = number.split_once('.').map_or(0, |(_, part)| part.len() as i64);
        let digits: BigInt = number.replacen('.', "", 1).parse().ok()?;
        let power = exponent - places + i64::from(scale);
        let ten = BigInt::from(10).pow(u32::try_from(power.unsigned_abs()).ok()?);
        let value = if power >= 0 {
            digits * ten
        } else {
            let whole = &digits / &ten;
            (&whole * &ten == digits).then_some(whole)?
        };
        value.try_into().ok()
    }

    proptest! {
        #[test]
        fn decimals_are_read_as_they_are_shown(value in any::<i64>(), scale in 0..=MAX_SCALE) {
            prop_assert_eq!(parse(&decimal_text(value, scale), scale), Ok(value));
        }

        #[test]
        fn every_spelling_of_a_number_is_that_number(
            text in "[+-]?([0-9]{1,22}\\.?[0-9]{0,22}|\\.[0-9]{1,22})([eE][+-]?[0-9]{1,2})?",
            scale in 0..=MAX_SCALE,
        ) {
            prop_assert_eq!(parse(&text, scale).ok(), oracle(&text, scale));
        }

        #[test]
        fn one_number_in_many_spellings(
            value in any::<i64>(),
            scale in 0..=MAX_SCALE,
            shift in 0_usize..30,
            zeros in 0_usize..30,
            plus in any::<bool>(),
        ) {
            // 12.500 as +00125.00e-1.
            let plain = decimal_text(value, scale);
            let (sign, digits) = match plain.strip_prefix('-') {
                Some(digits) => ("-", digits),
                None => (if plus { "+" } else { "" }, plain.as_str()),
            };
            let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
            let part = format!("{part:0<shift$}");
            let (moved, rest) = part.split_at(shift.min(part.len()));
            let zeros = "0".repeat(zeros);
            let text = format!("{sign}{zeros}{whole}{moved}.{rest}{zeros}E-{}", moved.len());
            prop_assert_eq!(parse(&text, scale), Ok(value), "{}", text);
        }

        #[test]
        fn any_text_is_a_number_or_named(text in "[-+0-9.,eE ']{0,12}|.{0,40}", scale in 0..=MAX_SCALE) {
            match parse(&text, scale) {
                Ok(value) => prop_assert_eq!(parse(&decimal_text(value, scale), scale), Ok(value)),
                Err(message) => prop_assert!(message.len() > text.len().min(20)),
            }
        }
    }

    #[test]
    fn what_is_exact_is_taken() {
        for (text, value) in [
            ("1.2000", 1_200),
            ("+20.5", 20_500),
            ("2.05e+01", 20_500),
            ("2.05E1", 20_500),
            (".5", 500),
            ("5.", 5_000),
            ("-0.0", 0),
            ("-.0005e1", -5),
            ("0e99999999999999999999", 0),
            ("00012", 12_000),
            ("1500000e-6", 1_500),
        ] {
            assert_eq!(parse(text, 3), Ok(value), "{text}");
        }
        assert_eq!(parse("1e3", 0), Ok(1000));
        assert_eq!(parse("9223372036854775807", 0), Ok(i64::MAX));
        assert_eq!(parse("-9223372036854775808", 0), Ok(i64::MIN));
    }

    #[test]
    fn what_is_not_is_named() {
        for (text, words) in [
            ("", "is empty"),
            ("1.2345", "more than 3 decimals"),
            ("1e-4", "more than 3 decimals"),
            ("1e-99999999999999999999", "more than 3 decimals"),
            ("1e99999999999999999999", "too large"),
            ("9223372036854775.808", "too large"),
            ("1,000", "thousands"),
            ("20,5", "thousands"),
            ("1.000,5", "thousands"),
            ("1 000", "between or after"),
            ("1'000", "between or after"),
            ("1_000", "between or after"),
            ("20.5 °C", "between or after"),
            ("20.5%", "is not a decimal number"),
            ("0x1F", "another base"),
            ("NaN", "finite"),
            ("-inf", "finite"),
            ("\u{2212}5", "U+2212 for a minus"),
            ("２０.５", "U+FF12"),
            ("\u{a0}5", "U+00A0"),
            ("5\u{3000}", "U+3000"),
            (".", "is not a decimal number"),
            ("--1", "is not a decimal number"),
            ("+-1", "is not a decimal number"),
            ("1e", "is not a decimal number"),
            ("e5", "is not a decimal number"),
            ("1.2.3", "is not a decimal number"),
        ] {
            let error = parse(text, 3).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(parse("1.5", 0).unwrap_err().contains("whole number"));
    }
}
