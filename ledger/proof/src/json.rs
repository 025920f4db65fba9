//! JSON from outside: read strictly.
//!
//! RFC 8259 §4 leaves open what an object means that has a member twice, and
//! readers differ: what was signed may not be what was checked. I-JSON (RFC 7493
//! §2.3) forbids it, and so does this, at any depth, before anything is made of
//! the text.

use std::collections::HashSet;
use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};

/// Deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 48;

/// Most characters of a member's name that a message repeats.
const SHOWN: usize = 80;

/// Why a text is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// A member stands twice in one object.
    #[error("member `{member}` stands twice in {place}; send it once")]
    Twice {
        /// Its name, shortened and escaped.
        member: String,
        /// The object that has it, from the outside in.
        place: String,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} arrays and objects")]
    Deep,
    /// Not JSON, or not what is asked for.
    #[error("{0}")]
    Other(#[from] serde_json::Error),
}

/// Reads one value, and nothing behind it.
///
/// # Errors
/// [`JsonError`]; it names the place.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    check(text)?;
    Ok(serde_json::from_slice(text)?)
}

/// As [`from_slice`].
///
/// # Errors
/// [`JsonError`]; it names the place.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    from_slice(text.as_bytes())
}

/// Looks whether `text` is one JSON value without a member that stands twice,
/// and is nested no deeper than it may.
///
/// # Errors
/// [`JsonError`]; it names the place.
pub fn check(text: &[u8]) -> Result<(), JsonError> {
    let mut walk = Walk { path: Vec::new(), depth: 0, found: None };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let walked = Any(&mut walk).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match (walk.found, walked) {
        (Some(found), _) => Err(found),
        (None, walked) => Ok(walked?),
    }
}

/// Where the walk is, and what stopped it.
struct Walk {
    path: Vec<String>,
    depth: usize,
    found: Option<JsonError>,
}

impl Walk {
    fn place(&self) -> String {
        match self.path.is_empty() {
            true => "the outermost object".to_owned(),
            false => format!("`{}`", self.path.join(".")),
        }
    }

    fn deeper<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth <= MAX_DEPTH {
            return Ok(());
        }
        self.found = Some(JsonError::Deep);
        Err(E::custom("too deep"))
    }
}

/// A name as a message may repeat it.
fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Any value: looked at and thrown away.
struct Any<'a>(&'a mut Walk);

impl<'de> DeserializeSeed<'de> for Any<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.deeper()?;
        let mut index = 0_usize;
        loop {
            self.0.path.push(index.to_string());
            let more = items.next_element_seed(Any(self.0))?;
            self.0.path.pop();
            if more.is_none() {
                break;
            }
            index += 1;
        }
        self.0.depth -= 1;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        self.0.deeper()?;
        let mut seen = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if seen.contains(&name) {
                let (member, place) = (shown(&name), self.0.place());
                self.0.found = Some(JsonError::Twice { member, place });
                return Err(A::Error::custom("a member stands twice"));
            }
            self.0.path.push(shown(&name));
            members.next_value_seed(Any(self.0))?;
            self.0.path.pop();
            seen.insert(name);
        }
        self.0.depth -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn said(text: &str) -> String {
        check(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_member_that_stands_twice_is_named_with_its_place() {
        for (text, member, place) in [
            (r#"{"a":1,"a":1}"#, "`a`", "outermost"),
            (r#"{"limits":{"tolerance":0,"tolerance":999999}}"#, "`tolerance`", "`limits`"),
            (r#"[{"x":{"y":[0,{"k":1,"b":2,"k":3}]}}]"#, "`k`", "`0.x.y.1`"),
            // However it is spelt.
            (r#"{"tolerance":0,"tol\u0065rance":1}"#, "`tolerance`", "outermost"),
            (r#"{"\u001b[31m":0,"\u001B[31m":1}"#, "`\\u{1b}[31m`", "outermost"),
        ] {
            let said = said(text);
            assert!(said.contains(member) && said.contains(place), "{text}: {said}");
            assert!(from_str::<Value>(text).is_err());
        }
    }

    #[test]
    fn the_same_name_in_two_objects_is_no_repetition() {
        let text = r#"[{"a":{"a":1}},{"a":2.5,"b":null,"c":-1,"d":true,"e":"x"}]"#;
        assert_eq!(from_str::<Value>(text).unwrap()[0]["a"]["a"], 1);
    }

    #[test]
    fn depth_and_form_are_checked() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(said(&nested(MAX_DEPTH + 1)).contains("48"));
        assert!(said(&"[".repeat(1 << 20)).contains("48"));
        assert!(said("{} {}").contains("trailing"));
        assert!(said("").contains("line 1"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_it_takes_serde_takes(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            near in "[\\[{\"ab:,0-9\\]}]{0,40}",
        ) {
            for text in [&bytes[..], near.as_bytes()] {
                if check(text).is_ok() {
                    prop_assert!(serde_json::from_slice::<Value>(text).is_ok());
                }
            }
        }
    }
}
