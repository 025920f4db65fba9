//! What stands for something else in a story: names that each play makes its own,
//! parties, times from now on, digests, and the identities of devices.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use hufu_proof::{Digest, IdentityId};
use serde_json::Value;

use super::file::Story;

/// What stands for what in one play.
#[derive(Clone, Debug)]
pub struct Names {
    /// What a name becomes, longest first.
    replaced: Vec<(String, String)>,
    /// What this play's names end with.
    pub ending: String,
    /// When it began.
    start: SystemTime,
    /// Who signs as which device.
    pub identities: BTreeMap<String, IdentityId>,
}

/// Digits of an ending: few enough to be read, and enough for half a day of
/// milliseconds.
const ENDING: u32 = 5;

/// What comes before a device whose identity is meant.
const IDENTITY: &str = "identity:";
/// What comes before a text whose digest is meant.
const SHA256: &str = "sha256:";

impl Names {
    /// The names of a play that begins now: no other of the same half day has them,
    /// unless it began in the same millisecond.
    ///
    /// # Errors
    /// When the clock is before 1970.
    pub fn of(story: &Story, now: SystemTime) -> anyhow::Result<Self> {
        let since = now.duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let ending = ending(since.as_millis());
        let own = story.ids.iter().map(|id| (id.clone(), format!("{id}.{ending}")));
        let parts = story.cast.iter().map(|part| (part.id.clone(), part.member.clone()));
        let mut replaced: Vec<_> = own.chain(parts).collect();
        replaced.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Ok(Self { replaced, ending, start: now, identities: BTreeMap::new() })
    }

    /// A text with everything replaced that stands for something.
    ///
    /// # Errors
    /// When a time or a device is not one.
    pub fn text(&self, text: &str, now: SystemTime) -> anyhow::Result<String> {
        if let Some(device) = text.strip_prefix(IDENTITY) {
            let identity = self.identities.get(device);
            return Ok(identity.with_context(|| format!("`{device}` is no device"))?.to_string());
        }
        if let Some(content) = text.strip_prefix(SHA256) {
            return Ok(Digest::of(self.named(content)?.as_bytes()).to_string());
        }
        if let Some(rest) = text.strip_prefix("now")
            && (rest.is_empty() || rest.starts_with(['+', '-']))
        {
            return moment(rest, now).with_context(|| format!("`{text}` is no time"));
        }
        self.named(text)
    }

    /// A text with names replaced, and times that count from the play's start: between
    /// hyphens, as contracts join them.
    fn named(&self, text: &str) -> anyhow::Result<String> {
        let mut made = String::new();
        let mut rest = text;
        loop {
            let known = self.replaced.iter().find_map(|(name, by)| {
                let after = rest.strip_prefix(name.as_str())?;
                (after.is_empty() || after.starts_with('-')).then_some((by.as_str(), after))
            });
            let (by, after) = known.unwrap_or_else(|| {
                let end = rest.find('-').unwrap_or(rest.len());
                rest.split_at(end)
            });
            match by.strip_prefix("start").filter(|rest| rest.is_empty() || rest.starts_with('+')) {
                Some(offset) => {
                    made += &moment(offset, self.start).with_context(|| format!("`{by}`"))?;
                }
                None => made += by,
            }
            let Some(next) = after.strip_prefix('-') else { return Ok(made) };
            made.push('-');
            rest = next;
        }
    }

    /// A value, all texts in it replaced.
    ///
    /// # Errors
    /// As for [`Names::text`].
    pub fn value(&self, value: &Value, now: SystemTime) -> anyhow::Result<Value> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(text, now)?),
            Value::Array(items) => Value::Array(
                items.iter().map(|one| self.value(one, now)).collect::<Result<_, _>>()?,
            ),
            other => other.clone(),
        })
    }

    /// Values by name, all texts in them replaced.
    ///
    /// # Errors
    /// As for [`Names::text`].
    pub fn values(
        &self,
        values: &BTreeMap<String, Value>,
        now: SystemTime,
    ) -> anyhow::Result<BTreeMap<String, Value>> {
        values.iter().map(|(name, value)| Ok((name.clone(), self.value(value, now)?))).collect()
    }

    /// Whether a subject is one of this play's own names.
    pub fn owns(&self, subject: &str) -> bool {
        let ending = format!(".{}", self.ending);
        subject.split('-').any(|part| part.ends_with(&ending))
    }
}

/// Milliseconds since 1970 of a time so far from now: `+30d`, `-90m`, nothing.
fn moment(offset: &str, now: SystemTime) -> anyhow::Result<String> {
    let then = match offset.split_at_checked(1) {
        None => now,
        Some((sign, length)) => {
            let (count, unit) =
                length.split_at_checked(length.len().saturating_sub(1)).context("no unit")?;
            let seconds = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                "d" => 86_400,
                _ => anyhow::bail!("the unit is s, m, h or d"),
            };
            let by = Duration::from_secs(u64::from(count.parse::<u32>()?) * seconds);
            let then = if sign == "+" { now.checked_add(by) } else { now.checked_sub(by) };
            then.context("too far away")?
        }
    };
    Ok(then.duration_since(UNIX_EPOCH)?.as_millis().to_string())
}

/// The last digits of a number in base 36.
fn ending(number: u128) -> String {
    let digit = |place: u32| (number / 36_u128.pow(place) % 36) as u32;
    (0..ENDING).rev().filter_map(|place| char::from_digit(digit(place), 36)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::file::parse;

    const STORY: &str = r#"
        title = { en = "t", zh = "t" }
        text = { en = "t", zh = "t" }
        ids = ["M1", "D1"]
        [[cast]]
        id = "mill"
        member = "maker"
        title = { en = "Mill", zh = "M" }
        [[cast]]
        id = "mill-two"
        member = "operator"
        title = { en = "Mill 2", zh = "M" }
        [[step]]
        say = { en = "s", zh = "s" }
        wrong = true
        look = [{ asset = "a/b", key = "M1", by = ["mill"] }]
        [[report]]
        set = "a/b"
        finding = []
    "#;

    fn names() -> Names {
        let then = UNIX_EPOCH + Duration::from_millis(36 * 36 + 35);
        Names::of(&parse("a", STORY).unwrap(), then).unwrap()
    }

    #[test]
    fn what_stands_for_something_is_replaced_and_nothing_else() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let names = names();
        for (from, to) in [
            ("M1", "M1.0010z"),
            ("M10", "M10"),
            ("meter-D1", "meter-D1.0010z"),
            ("M1-mill-two-3", "M1.0010z-operator-3"),
            ("mill", "maker"),
            ("mill-3", "maker-3"),
            ("mills", "mills"),
            ("auto-M1-start+2s", "auto-M1.0010z-3331"),
            ("start", "1331"),
            ("starting", "starting"),
            ("now", "1000000000"),
            ("now+2m", "1000120000"),
            ("now-1d", "913600000"),
            ("nowhere", "nowhere"),
            ("", ""),
        ] {
            assert_eq!(names.text(from, now).unwrap(), to, "{from}");
        }
        // echo -n 'maker-7' | sha256sum
        assert_eq!(names.text("sha256:mill-7", now).unwrap(), Digest::of(b"maker-7").to_string());
        for wrong in ["now+", "now+3", "now+3y", "now-x", "identity:D1"] {
            assert!(names.text(wrong, now).is_err(), "{wrong}");
        }
        assert!(names.owns("join-M1.0010z-7") && !names.owns("M1.00111") && !names.owns("maker"));
    }
}
