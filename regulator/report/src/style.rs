//! How values are written for people, in a language and a local time.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::message::Language;
use crate::shown::Form;
use crate::time::UtcOffset;
use hufu_proof::text::shown as visible;

/// For whom a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Style {
    /// In which language.
    pub language: Language,
    /// In which local time.
    pub utc_offset: UtcOffset,
}

impl From<Language> for Style {
    /// English in UTC; Chinese in the one local time of China.
    fn from(language: Language) -> Self {
        let utc_offset = match language {
            Language::En => UtcOffset::UTC,
            Language::Zh => UtcOffset::CHINA,
        };
        Self { language, utc_offset }
    }
}

impl Default for Style {
    fn default() -> Self {
        Language::default().into()
    }
}

/// Keeps a number and its unit on one line.
const NO_BREAK: char = '\u{a0}';

impl Style {
    /// `cell` as people read it, with its unit: `92.408 °C`, `5 min 12 s`,
    /// `2026-11-20 22:05:09`. `beside` is a unit that another column tells.
    pub fn value(self, cell: &Cell, form: &Form, beside: Option<&str>) -> String {
        let number = match (form, cell) {
            (_, Cell::Null) => return "–".to_owned(),
            (Form::Time, Cell::Integer(time)) => {
                let (date, time) = self.utc_offset.date_and_time(*time);
                return format!("{date} {time}");
            }
            (Form::Bool, Cell::Integer(0)) => return self.pick("no", "否").to_owned(),
            (Form::Bool, Cell::Integer(1)) => return self.pick("yes", "是").to_owned(),
            (Form::List, Cell::Text(list)) => return self.list(list),
            (Form::Int { .. } | Form::Decimal { .. }, Cell::Integer(number)) => *number,
            (_, other) => return visible(&other.to_string()).into_owned(),
        };
        self.number(number.into(), form, beside)
    }

    /// A number of the form `form`, with its unit.
    pub fn number(self, number: i128, form: &Form, beside: Option<&str>) -> String {
        let unit = unit(form).or(beside);
        if unit == Some("ms") && scale(form) == 0 {
            return self.duration(number);
        }
        let (scale, unit) = scaled(scale(form), unit);
        let digits = decimal(number, scale);
        match unit {
            None => digits,
            // Chinese has no blank there.
            Some("%") if self.language == Language::Zh => format!("{digits}%"),
            Some(unit) => {
                let one = number.unsigned_abs() == 10u128.pow(u32::from(scale));
                format!("{digits}{NO_BREAK}{}", self.unit(unit, one))
            }
        }
    }

    /// The unit for the heading of a column of bare numbers, such as a spreadsheet
    /// has: lengths of time are in seconds there, and times are local.
    pub fn heading_unit(self, form: &Form) -> Option<String> {
        if matches!(form, Form::Time) {
            return Some(format!("UTC{}", self.utc_offset));
        }
        match unit(form)? {
            "ms" => Some(self.unit("s", false)),
            unit => scaled(scale(form), Some(unit)).1.map(|unit| self.unit(unit, false)),
        }
    }

    /// `text` with `more` in the parentheses of the language.
    pub fn with_more(self, text: &str, more: &str) -> String {
        match self.language {
            Language::En => format!("{text} ({more})"),
            Language::Zh => format!("{text}（{more}）"),
        }
    }

    fn pick<'a>(self, english: &'a str, chinese: &'a str) -> &'a str {
        match self.language {
            Language::En => english,
            Language::Zh => chinese,
        }
    }

    /// What people call a unit that contracts write as a word.
    pub fn unit(self, unit: &str, one: bool) -> String {
        let (single, several, chinese) = match unit {
            "day" => ("day", "days", "天"),
            "hour" => ("hour", "hours", "小时"),
            "minute" | "min" => ("min", "min", "分钟"),
            "s" if self.language == Language::Zh => ("s", "s", "秒"),
            other => return visible(other).into_owned(),
        };
        self.pick(if one { single } else { several }, chinese).to_owned()
    }

    /// A length of time in its two largest units.
    fn duration(self, milliseconds: i128) -> String {
        let units: [(u128, &str, &str); 4] = [
            (86_400_000, "d", "天"),
            (3_600_000, "h", "小时"),
            (60_000, "min", "分"),
            (1000, "s", "秒"),
        ];
        let size = milliseconds.unsigned_abs();
        let sign = if milliseconds < 0 { "−" } else { "" };
        let part = |count: u128, english: &str, chinese: &str| {
            format!("{count}{NO_BREAK}{}", self.pick(english, chinese))
        };
        let Some(first) = units.iter().position(|(unit, ..)| size >= *unit) else {
            return format!("{sign}{}", part(size, "ms", "毫秒"));
        };
        let (unit, english, chinese) = units[first];
        let mut text = format!("{sign}{}", part(size / unit, english, chinese));
        if let Some((next, english, chinese)) = units.get(first + 1)
            && size % unit / next > 0
        {
            text.push(NO_BREAK);
            text.push_str(&part(size % unit / next, english, chinese));
        }
        text
    }

    fn list(self, list: &str) -> String {
        let Ok(items) = serde_json::from_str::<Vec<serde_json::Value>>(list) else {
            return visible(list).into_owned();
        };
        let items: Vec<String> = items
            .iter()
            .map(|item| match item {
                serde_json::Value::String(text) => visible(text).into_owned(),
                other => visible(&other.to_string()).into_owned(),
            })
            .collect();
        if items.is_empty() { "–".to_owned() } else { items.join(self.pick(", ", "、")) }
    }
}

/// The unit that a form has of its own.
pub(crate) fn unit(form: &Form) -> Option<&str> {
    match form {
        Form::Int { unit } | Form::Decimal { unit, .. } => unit.as_deref(),
        _ => None,
    }
}

pub(crate) fn scale(form: &Form) -> u8 {
    match form {
        Form::Decimal { scale, .. } => *scale,
        _ => 0,
    }
}

/// `CNY 0.01` counts hundredths: two decimals more, and `CNY`.
pub(crate) fn scaled(scale: u8, unit: Option<&str>) -> (u8, Option<&str>) {
    let smaller = unit.and_then(|unit| {
        let (name, part) = unit.rsplit_once(' ')?;
        let digits = part.strip_prefix("0.")?.strip_suffix('1')?;
        let zeros = digits.bytes().all(|byte| byte == b'0') && !name.contains(['*', ' ']);
        let more = u8::try_from(digits.len() + 1).ok()?;
        zeros.then_some((scale.checked_add(more).filter(|sum| *sum <= 30)?, Some(name)))
    });
    smaller.unwrap_or((scale, unit))
}

/// `number` in units of its last of `scale` decimals, with a point.
pub(crate) fn decimal(number: i128, scale: u8) -> String {
    let width = usize::from(scale) + 1;
    let digits = format!("{:0width$}", number.unsigned_abs());
    let sign = if number < 0 { "-" } else { "" };
    let (whole, part) = digits.split_at(digits.len() - usize::from(scale));
    if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

/// What a symbol is called.
pub(crate) fn word<'a>(
    words: Option<&'a crate::shown::Words>,
    symbol: &'a str,
    language: Language,
) -> Cow<'a, str> {
    match words.and_then(|words| words.get(symbol)) {
        Some(word) => visible(crate::message::title(&word.title, language, symbol)),
        None => visible(symbol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn english(cell: &Cell, form: &Form) -> String {
        Style::from(Language::En).value(cell, form, None).replace(NO_BREAK, " ")
    }

    fn chinese(cell: &Cell, form: &Form) -> String {
        Style::from(Language::Zh).value(cell, form, None).replace(NO_BREAK, " ")
    }

    #[test]
    fn numbers_have_their_point_and_unit() {
        let decimal =
            |unit: Option<&str>| Form::Decimal { scale: 3, unit: unit.map(str::to_owned) };
        let int = |unit: &str| Form::Int { unit: Some(unit.to_owned()) };
        for (number, form, text, other) in [
            (92_408, decimal(Some("°C")), "92.408 °C", "92.408 °C"),
            (94_993, decimal(None), "94.993", "94.993"),
            (-50, decimal(Some("%")), "-0.050 %", "-0.050%"),
            (i64::MIN, decimal(None), "-9223372036854775.808", "-9223372036854775.808"),
            (500_000, int("CNY 0.01"), "5000.00 CNY", "5000.00 CNY"),
            (7, int("CNY 0.01 per hour"), "7 CNY 0.01 per hour", "7 CNY 0.01 per hour"),
            (1, int("day"), "1 day", "1 天"),
            (30, int("day"), "30 days", "30 天"),
            (0, int("ms"), "0 ms", "0 毫秒"),
            (3_600_000, int("ms"), "1 h", "1 小时"),
            (312_999, int("ms"), "5 min 12 s", "5 分 12 秒"),
            (-90_000_000, int("ms"), "−1 d 1 h", "−1 天 1 小时"),
            (1_795_183_509_123, Form::Time, "2026-11-20 14:05:09", "2026-11-20 22:05:09"),
            (1, Form::Bool, "yes", "是"),
            (2, Form::Bool, "2", "2"),
            (42, Form::Plain, "42", "42"),
        ] {
            let cell = Cell::Integer(number);
            assert_eq!((english(&cell, &form), chinese(&cell, &form)), (text.into(), other.into()));
        }
        assert_eq!(english(&Cell::Null, &Form::Time), "–");
        assert_eq!(english(&Cell::Text("a\u{202e}".into()), &int("ms")), "a\\u{202e}");
        assert_eq!(chinese(&Cell::Text("[\"a\",1]".into()), &Form::List), "a、1");
        let beside = Style::default().value(&Cell::Integer(85_000), &decimal(None), Some("°C"));
        assert_eq!(beside, "85.000\u{a0}°C");
    }
}
