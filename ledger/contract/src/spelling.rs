//! How identifiers and symbols are spelt, so that what looks the same is the
//! same.
//!
//! A reading whose metric is spelt otherwise than in the limit escapes the
//! limit. So there is one spelling (decision 29):
//!
//! - Unicode's normal form C, and only characters that Unicode has assigned:
//!   for those it promises that the normal form never changes;
//! - no character that is not seen ([`hufu_proof::text`]);
//! - no space but the plain one, single, and not at an end;
//! - no full-width letters and digits, which are the half-width ones again.
//!
//! It is *not* a guard against letters of other scripts that look alike (Latin
//! and Cyrillic `a`): which of them is meant cannot be known here.

use std::borrow::Cow;

use hufu_proof::text::is_invisible;
use unicode_normalization::char::is_public_assigned;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc, is_nfc_quick};

/// The text in normal form C, as it has to be signed. What else is wrong with
/// it is not mended: [`check`] names it.
pub fn normal(text: &str) -> Cow<'_, str> {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        _ => Cow::Owned(text.nfc().collect()),
    }
}

/// Checks the spelling of an identifier or symbol of at most `max` bytes.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn check(text: &str, max: usize) -> Result<(), String> {
    if text.is_empty() || text.len() > max {
        return Err(format!("has {} bytes; 1 to {max} are accepted", text.len()));
    }
    // Nearly everything.
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    for character in text.chars() {
        refuse(character)?;
    }
    if text.starts_with(' ') || text.ends_with(' ') || text.contains("  ") {
        return Err("has a space at an end, or two in a row; take it out".into());
    }
    if !is_nfc(text) {
        return Err("is not in Unicode's normal form C (NFC); write letters and their accents as \
                    one character"
            .into());
    }
    Ok(())
}

fn refuse(character: char) -> Result<(), String> {
    let code = u32::from(character);
    if is_invisible(character) {
        Err(format!("has a character that is not seen (U+{code:04X}); take it out"))
    } else if is_space(character) {
        Err(format!("has a space of another kind (U+{code:04X}); write a plain one, or none"))
    } else if matches!(character, '０'..='９' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ') {
        Err(format!(
            "has the full-width character `{character}` (U+{code:04X}); write it half \
                     width"
        ))
    } else if !is_public_assigned(character) {
        Err(format!("has U+{code:04X}, which is not a character of Unicode; take it out"))
    } else {
        Ok(())
    }
}

/// White space that is not the plain space; control characters and separators
/// of lines are among the invisible.
pub(crate) fn is_space(character: char) -> bool {
    matches!(
        character,
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use hufu_proof::Digest;
    use proptest::prelude::*;

    #[test]
    fn one_name_has_one_spelling() {
        let (composed, decomposed) = ("temp\u{e9}rature", "tempe\u{301}rature");
        assert_eq!(check(composed, 64), Ok(()));
        assert!(check(decomposed, 64).unwrap_err().contains("NFC"));
        assert_eq!(normal(decomposed), composed);
        // One sign for ohm, kelvin and ångström, whatever the keyboard has.
        assert_eq!(normal("\u{2126}\u{212a}\u{212b}"), "\u{3a9}K\u{c5}");
        for fine in ["温度（室内）", "CO₂", "m²/s", "SN 12-34", "가", "Ω", "🌡"] {
            assert_eq!(check(fine, 64), Ok(()), "{fine}");
        }
    }

    #[test]
    fn what_is_not_seen_or_looks_the_same_is_named() {
        for (text, words) in [
            ("", "1 to 64"),
            ("a\u{200b}b", "U+200B"),
            ("a\u{202e}b", "U+202E"),
            ("\u{feff}a", "U+FEFF"),
            ("a\nb", "U+000A"),
            ("a\u{a0}b", "U+00A0"),
            ("a\u{3000}b", "U+3000"),
            (" a", "at an end"),
            ("a ", "at an end"),
            ("a  b", "two in a row"),
            ("ｔemp", "half width"),
            ("１", "half width"),
            ("a\u{378}", "U+0378"),
            ("a\u{e000}", "U+E000"),
            ("\u{2126}", "NFC"),
        ] {
            let error = check(text, 64).unwrap_err();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }

    /// Validators execute this. If it fails, the tables are those of another
    /// version of Unicode: see decision 29 before changing the figures.
    #[test]
    fn the_tables_are_those_that_every_validator_has() {
        assert_eq!(unicode_normalization::UNICODE_VERSION, (18, 0, 0));
        let mut all = String::new();
        for character in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let text = character.to_string();
            let sound = check(&text, 64).is_ok();
            all.push_str(&format!("{:x} {sound} {}\n", u32::from(character), normal(&text)));
        }
        assert_eq!(
            Digest::of(all.as_bytes()).to_string(),
            "d7d7abc8b5372a938b3857af793128d1d427fe9224ae7d63e7df289d9e65dacf"
        );
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_its_own_normal_form(text in any::<String>()) {
            if check(&text, usize::MAX).is_ok() {
                prop_assert_eq!(normal(&text), text.as_str());
            }
            let once = normal(&text).into_owned();
            prop_assert_eq!(normal(&once), once.as_str());
        }
    }
}
