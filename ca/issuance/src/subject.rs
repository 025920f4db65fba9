//! Subject names: which attributes, which characters, how long.
//!
//! A requested name is taken apart attribute by attribute and put together
//! again by this crate, so nothing of a request reaches a certificate that
//! was not looked at. Values are in Unicode's normal form C, so that one name has
//! one spelling, and hold nothing that does not show. Departures from RFC 5280:
//! only PrintableString and UTF8String are written (section 4.1.2.4 asks the
//! same of new certificates); what Windows writes for others (BMPString,
//! TeletexString, IA5String) is read; one attribute to each RDN, each attribute
//! once.

use der::asn1::{Any, ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use der::{Decode, Encode, Tag, Tagged};
use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization, is_nfc};
use x509_cert::name::Name;

use crate::form::FormError;
use crate::{limits, oid, tlv};

/// Attributes that a subject may hold here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Attribute {
    /// `countryName`: two letters (ISO 3166-1).
    C,
    /// `stateOrProvinceName`.
    ST,
    /// `localityName`.
    L,
    /// `organizationName`: the member.
    O,
    /// `organizationalUnitName`.
    OU,
    /// `commonName`.
    CN,
    /// `serialNumber`: the device's (IEEE 802.1AR section 8.6).
    #[serde(rename = "serialNumber")]
    SerialNumber,
}

impl Attribute {
    const ALL: [Attribute; 7] =
        [Self::C, Self::ST, Self::L, Self::O, Self::OU, Self::CN, Self::SerialNumber];

    /// The name in messages, profiles and RFC 4514 text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::C => "C",
            Self::ST => "ST",
            Self::L => "L",
            Self::O => "O",
            Self::OU => "OU",
            Self::CN => "CN",
            Self::SerialNumber => "serialNumber",
        }
    }

    /// Its object identifier.
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::C => oid::COUNTRY,
            Self::ST => oid::STATE,
            Self::L => oid::LOCALITY,
            Self::O => oid::ORGANIZATION,
            Self::OU => oid::ORGANIZATIONAL_UNIT,
            Self::CN => oid::COMMON_NAME,
            Self::SerialNumber => oid::SERIAL_NUMBER,
        }
    }

    /// X.520 defines these two as PrintableString only.
    const fn printable_only(self) -> bool {
        matches!(self, Self::C | Self::SerialNumber)
    }

    /// Checks a value by the rules of the attribute.
    pub(crate) fn check(self, value: &str) -> Result<(), FormError> {
        let wrong = |detail: &str| {
            Err(FormError::Subject { field: self.name().to_owned(), detail: detail.to_owned() })
        };
        let characters = value.chars().count();
        if characters == 0 {
            return wrong("is empty; leave it out or give it a value");
        }
        if characters > limits::SUBJECT_VALUE {
            return wrong("is longer than 64 characters; shorten it");
        }
        if self == Self::C {
            if value.len() != 2 || !value.bytes().all(|b| b.is_ascii_uppercase()) {
                return wrong("must be two capital letters, a country code of ISO 3166-1");
            }
            return Ok(());
        }
        if value.trim() != value {
            return wrong("begins or ends with a space; remove it");
        }
        if let Some(hidden) = value.chars().find(|c| does_not_show(*c)) {
            return wrong(&format!(
                "holds U+{:04X}, which is a control or direction character or does not show; remove it",
                u32::from(hidden)
            ));
        }
        if let Some(space) = value.chars().find(|c| *c != ' ' && c.is_whitespace()) {
            return wrong(&format!(
                "holds U+{:04X}, a space that looks like another; use a plain one",
                u32::from(space)
            ));
        }
        if !is_nfc(value) {
            return wrong("is not in Unicode's normal form C");
        }
        if self.printable_only() && !value.bytes().all(is_printable) {
            return wrong("may hold only letters, digits, space and '()+,-./:=? (PrintableString)");
        }
        Ok(())
    }
}

/// Characters that a reader does not see, so that two names would look alike:
/// controls, directions, joiners, fillers, variation selectors and tags
/// (Unicode's Default_Ignorable_Code_Point, and interlinear annotations).
fn does_not_show(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Characters of PrintableString (X.680 section 41.4).
fn is_printable(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte)
}

/// A distinguished name that keeps the rules above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(Vec<(Attribute, Value)>);

/// A value and the string type it came in, so that a requested name comes
/// back byte for byte where it was in order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    text: String,
    printable: bool,
}

impl Subject {
    /// From attributes and values, most significant (country) first by
    /// custom. C and serialNumber become PrintableString, others UTF8String.
    pub fn new<'a>(
        attributes: impl IntoIterator<Item = (Attribute, &'a str)>,
    ) -> Result<Subject, FormError> {
        let mut subject = Subject(Vec::new());
        for (attribute, value) in attributes {
            subject.push(attribute, value.to_owned(), attribute.printable_only())?;
        }
        Ok(subject)
    }

    /// From a Name out of a request or certificate.
    pub fn from_name(name: &Name) -> Result<Subject, FormError> {
        let mut subject = Subject(Vec::new());
        for rdn in name.iter_rdn() {
            let mut attributes = rdn.iter();
            let (Some(attribute), None) = (attributes.next(), attributes.next()) else {
                return Err(FormError::Subject {
                    field: "RDN".to_owned(),
                    detail: "holds several attributes; give each its own RDN".to_owned(),
                });
            };
            let known = Attribute::ALL
                .into_iter()
                .find(|known| known.oid() == attribute.oid)
                .ok_or_else(|| FormError::Subject {
                    field: oid::name_of(&attribute.oid),
                    detail: "is not an attribute that this authority certifies; remove it"
                        .to_owned(),
                })?;
            let (text, printable) = text_of(known, &attribute.value)?;
            subject.push(known, text, printable || known.printable_only())?;
        }
        Ok(subject)
    }

    /// From a Name in DER.
    pub fn from_der(der: &[u8]) -> Result<Subject, FormError> {
        let name = Name::from_der(der).map_err(|error| FormError::malformed("name", error))?;
        Self::from_name(&name)
    }

    fn push(
        &mut self,
        attribute: Attribute,
        text: String,
        printable: bool,
    ) -> Result<(), FormError> {
        let text: String = text.nfc().collect();
        attribute.check(&text)?;
        if self.value(attribute).is_some() {
            return Err(FormError::Subject {
                field: attribute.name().to_owned(),
                detail: "stands twice; give it once".to_owned(),
            });
        }
        if self.0.len() >= limits::SUBJECT_ATTRIBUTES {
            return Err(FormError::Subject {
                field: "subject".to_owned(),
                detail: format!("holds more than {} attributes", limits::SUBJECT_ATTRIBUTES),
            });
        }
        self.0.push((attribute, Value { text, printable }));
        Ok(())
    }

    /// The value of an attribute.
    pub fn value(&self, attribute: Attribute) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == attribute).map(|(_, value)| value.text.as_str())
    }

    /// The attributes, in order.
    pub fn attributes(&self) -> impl Iterator<Item = (Attribute, &str)> {
        self.0.iter().map(|(attribute, value)| (*attribute, value.text.as_str()))
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This name with `attribute` set to `value`: replaced where it stands,
    /// or put first.
    pub(crate) fn with(mut self, attribute: Attribute, value: &str) -> Result<Subject, FormError> {
        let value: String = value.nfc().collect();
        attribute.check(&value)?;
        if self.value(attribute) == Some(value.as_str()) {
            return Ok(self);
        }
        let new = Value { text: value, printable: attribute.printable_only() };
        match self.0.iter_mut().find(|(known, _)| *known == attribute) {
            Some((_, old)) => *old = new,
            None => self.0.insert(0, (attribute, new)),
        }
        Ok(self)
    }

    /// Whether both hold the same attributes and values in the same order,
    /// whatever their string types.
    pub fn same_as(&self, other: &Subject) -> bool {
        self.attributes().eq(other.attributes())
    }

    /// The Name in DER.
    pub fn to_der(&self) -> Vec<u8> {
        let rdns: Vec<Vec<u8>> = self
            .0
            .iter()
            .map(|(attribute, value)| {
                let tag: u8 = if value.printable { 0x13 } else { 0x0c };
                let text = tlv::wrap(tag, &[value.text.as_bytes()]);
                tlv::wrap(tlv::SET, &[&tlv::sequence(&[&tlv::oid(&attribute.oid()), &text])])
            })
            .collect();
        let parts: Vec<&[u8]> = rdns.iter().map(Vec::as_slice).collect();
        tlv::sequence(&parts)
    }

    /// The attributes as they stand in the encoding, first one first, each with
    /// its name: `C=CN / O=maker / serialNumber=SN-1`.
    pub fn in_encoded_order(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(attribute, value)| format!("{}={}", attribute.name(), escaped(&value.text)))
            .collect();
        if parts.is_empty() { "empty".to_owned() } else { parts.join(" / ") }
    }

    /// RFC 4514 text: last attribute first, special characters escaped.
    pub fn to_text(&self) -> String {
        let mut parts: Vec<String> = self
            .0
            .iter()
            .map(|(attribute, value)| format!("{}={}", attribute.name(), escaped(&value.text)))
            .collect();
        parts.reverse();
        parts.join(",")
    }
}

fn text_of(attribute: Attribute, value: &Any) -> Result<(String, bool), FormError> {
    let wrong = |detail: String| FormError::Subject { field: attribute.name().to_owned(), detail };
    match value.tag() {
        Tag::PrintableString => {
            let text: PrintableStringRef<'_> =
                value.decode_as().map_err(|error| wrong(format!("does not decode: {error}")))?;
            Ok((text.as_str().to_owned(), true))
        }
        Tag::Utf8String => {
            let text: Utf8StringRef<'_> =
                value.decode_as().map_err(|error| wrong(format!("does not decode: {error}")))?;
            Ok((text.as_str().to_owned(), false))
        }
        // Two octets a character; a pair of surrogates is more than X.680 allows
        // and what Windows writes.
        Tag::BmpString => {
            let units =
                value.value().chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            let text: Result<String, _> = char::decode_utf16(units).collect();
            match text {
                Ok(text) if value.value().len().is_multiple_of(2) => Ok((text, false)),
                _ => Err(wrong("is a BMPString that does not decode; use UTF8String".to_owned())),
            }
        }
        // Of these only what they have in common with ASCII is certain.
        Tag::TeletexString | Tag::Ia5String if value.value().is_ascii() => {
            Ok((String::from_utf8_lossy(value.value()).into_owned(), false))
        }
        other => Err(wrong(format!("is a {other}; use UTF8String or PrintableString"))),
    }
}

fn escaped(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for (position, character) in text.chars().enumerate() {
        if matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=')
            || (position == 0 && character == '#')
        {
            output.push('\\');
        }
        output.push(character);
    }
    output
}

/// A Name of any shape in DER from its parsed form.
pub(crate) fn name_der(name: &Name) -> Result<Vec<u8>, FormError> {
    name.to_der().map_err(FormError::encoding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_reversed_and_escaped() {
        let subject = Subject::new([
            (Attribute::C, "CN"),
            (Attribute::O, "Valve, Pump & Co"),
            (Attribute::SerialNumber, "SN-1"),
        ])
        .unwrap();
        assert_eq!(subject.to_text(), r"serialNumber=SN-1,O=Valve\, Pump & Co,C=CN");
    }

    #[test]
    fn rules_name_the_field() {
        let message =
            |attribute, value: &str| Subject::new([(attribute, value)]).unwrap_err().to_string();
        assert!(message(Attribute::C, "china").contains("field C"));
        assert!(message(Attribute::SerialNumber, "a*b").contains("serialNumber"));
        assert!(message(Attribute::CN, "").contains("empty"));
        assert!(message(Attribute::CN, &"x".repeat(65)).contains("64"));
        assert!(message(Attribute::CN, "a\u{0}b").contains("control"));
        assert!(message(Attribute::CN, "a\u{202e}b").contains("direction"));
        for hidden in ["a\u{200b}b", "a\u{ad}b", "a\u{2060}b", "a\u{fe0f}", "a\u{e0041}"] {
            assert!(message(Attribute::CN, hidden).contains("does not show"), "{hidden:?}");
        }
        assert!(message(Attribute::CN, "a\u{a0}b").contains("plain"));
        let twice = Subject::new([(Attribute::CN, "a"), (Attribute::CN, "b")]);
        assert!(twice.unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn one_name_has_one_spelling() {
        let composed = Subject::new([(Attribute::CN, "caf\u{e9}")]).unwrap();
        let decomposed = Subject::new([(Attribute::CN, "cafe\u{301}")]).unwrap();
        assert_eq!(composed, decomposed);
        assert_eq!(decomposed.value(Attribute::CN), Some("caf\u{e9}"));
        let name = |tag: u8, value: &[u8]| {
            let value = tlv::wrap(tag, &[value]);
            let attribute = tlv::sequence(&[&tlv::oid(&oid::COMMON_NAME), &value]);
            Subject::from_der(&tlv::sequence(&[&tlv::wrap(tlv::SET, &[&attribute])]))
        };
        let utf8 = name(0x0c, "cafe\u{301}".as_bytes()).unwrap();
        assert_eq!(utf8.to_der(), composed.to_der());
        // As Windows writes it, and old tools.
        let bmp: Vec<u8> = "cafe\u{301}".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(name(0x1e, &bmp).unwrap().to_der(), composed.to_der());
        assert_eq!(name(0x14, b"pump_1").unwrap().value(Attribute::CN), Some("pump_1"));
        assert_eq!(name(0x16, b"pump_1").unwrap().value(Attribute::CN), Some("pump_1"));
        assert!(name(0x14, b"caf\xe9").unwrap_err().to_string().contains("UTF8String"));
        assert!(name(0x1e, &bmp[1..]).is_err());
        assert!(name(0x1e, &[0xd8, 0]).is_err());
    }

    #[test]
    fn two_orders_can_be_told_apart() {
        let one = Subject::new([(Attribute::O, "maker"), (Attribute::CN, "pump")]).unwrap();
        let other = Subject::new([(Attribute::CN, "pump"), (Attribute::O, "maker")]).unwrap();
        assert_eq!(one.in_encoded_order(), "O=maker / CN=pump");
        assert_eq!(other.in_encoded_order(), "CN=pump / O=maker");
    }

    proptest! {
        #[test]
        fn der_round_trips(cn in "[a-zA-Z0-9虎符 ._-]{1,20}[a-z]", serial in "[A-Z0-9]{1,64}") {
            let cn = cn.trim();
            let subject =
                Subject::new([(Attribute::CN, cn), (Attribute::SerialNumber, &serial)]).unwrap();
            let again = Subject::from_der(&subject.to_der()).unwrap();
            prop_assert!(again.same_as(&subject));
            prop_assert_eq!(again.to_der(), subject.to_der());
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Subject::from_der(&bytes);
        }
    }
}
