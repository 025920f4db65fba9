//! Units of measure as part of a number's type.
//!
//! A unit is written as its factors: `hour`, `CNY 0.01`, `kWh * hour`,
//! `CNY 0.01 per hour`. A factor is any short text; factors before `per` count
//! up, factors after it count down. A number without a unit is a plain count.
//!
//! The rules: `+ - %`, comparison, choice, `min` and `max` want the same unit on
//! both sides; `*` and `/` combine units (a rate in `CNY 0.01 per hour` times
//! `hour` is `CNY 0.01`; a plain count times any unit keeps the unit). A number
//! written out in an expression has no unit of its own: beside `+ - %` and
//! comparisons it takes the unit of the other side, in a product it is a count.

use std::collections::BTreeMap;
use std::fmt;

/// A product of powers of named factors; empty for a plain count.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unit(BTreeMap<String, i8>);

/// Longest unit in bytes.
pub const MAX_UNIT: usize = 64;
/// Most distinct factors, so that arithmetic on units stays small.
const MAX_FACTORS: usize = 8;
/// Highest power of a factor.
const MAX_POWER: i8 = 8;

impl Unit {
    /// No unit: a count.
    pub fn count() -> Self {
        Self::default()
    }

    /// Milliseconds: the difference of two times.
    pub fn milliseconds() -> Self {
        Self(BTreeMap::from([("ms".to_owned(), 1)]))
    }

    /// Whether it is a plain count.
    pub fn is_count(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a unit.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_UNIT {
            return Err(format!("a unit has at most {MAX_UNIT} bytes"));
        }
        let mut unit = Self::count();
        let (above, below) = match text.split_once(" per ") {
            Some((above, below)) => (above, Some(below)),
            None => (text, None),
        };
        let factors = |text: &str, power: i8, unit: &mut Self| {
            for factor in text.split('*').map(str::trim) {
                // `1 per hour` has nothing above.
                if factor == "1" && power > 0 && below.is_some() {
                    continue;
                }
                let odd = |symbol: char| symbol.is_control() || "'\"\\".contains(symbol);
                let reserved = factor.split(' ').any(|word| word == "per" || word.is_empty());
                if factor.is_empty() || factor.contains(odd) || reserved {
                    return Err(format!(
                        "`{text}` is not a unit; write factors with `*` and one `per` between \
                         them, such as \"CNY 0.01 per hour\""
                    ));
                }
                unit.multiply_factor(factor, power)?;
            }
            Ok(())
        };
        factors(above, 1, &mut unit)?;
        if let Some(below) = below {
            factors(below, -1, &mut unit)?;
        }
        Ok(unit)
    }

    /// The unit of a product.
    ///
    /// # Errors
    /// When it has too many factors.
    pub fn times(&self, other: &Self) -> Result<Self, String> {
        self.combine(other, 1)
    }

    /// The unit of a quotient.
    ///
    /// # Errors
    /// When it has too many factors.
    pub fn per(&self, other: &Self) -> Result<Self, String> {
        self.combine(other, -1)
    }

    fn combine(&self, other: &Self, sign: i8) -> Result<Self, String> {
        let mut unit = self.clone();
        for (factor, power) in &other.0 {
            unit.multiply_factor(factor, power * sign)?;
        }
        Ok(unit)
    }

    fn multiply_factor(&mut self, factor: &str, power: i8) -> Result<(), String> {
        let sum = self.0.get(factor).copied().unwrap_or(0) + power;
        if sum == 0 {
            self.0.remove(factor);
        } else {
            self.0.insert(factor.to_owned(), sum);
        }
        if self.0.len() > MAX_FACTORS || sum.abs() > MAX_POWER {
            return Err(format!(
                "the unit has more than {MAX_FACTORS} factors or a power over {MAX_POWER}"
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |positive: bool| {
            let mut factors = Vec::new();
            for (factor, power) in &self.0 {
                if (*power > 0) == positive {
                    for _ in 0..power.unsigned_abs() {
                        factors.push(factor.as_str());
                    }
                }
            }
            factors.join(" * ")
        };
        let (above, below) = (side(true), side(false));
        match (above.is_empty(), below.is_empty()) {
            (true, true) => Ok(()),
            (false, true) => formatter.write_str(&above),
            (true, false) => write!(formatter, "1 per {below}"),
            (false, false) => write!(formatter, "{above} per {below}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_times_its_divisor_is_the_amount() {
        let rate = Unit::parse("CNY 0.01 per hour").unwrap();
        let hours = Unit::parse("hour").unwrap();
        let amount = Unit::parse("CNY 0.01").unwrap();
        assert_eq!(rate.times(&hours).unwrap(), amount);
        assert_eq!(amount.per(&hours).unwrap(), rate);
        assert_eq!(rate.times(&Unit::count()).unwrap(), rate);
        assert_eq!(amount.per(&amount).unwrap(), Unit::count());
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["hour", "CNY 0.01", "hour * kWh", "CNY 0.01 per hour", "1 per s * s", "°C"] {
            let unit = Unit::parse(text).unwrap();
            assert_eq!(unit.to_string(), text);
        }
        for text in ["", " ", "a * ", "per", "a per", "a per b per c", "a'b", "1"] {
            // A bare `1` is a factor of that name, all others are refused.
            assert_eq!(Unit::parse(text).is_ok(), text == "1", "{text}");
        }
    }
}
