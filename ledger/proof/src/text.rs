//! Text from outside, shown so that nothing obeys it.
//!
//! What is on the ledger was written by somebody else. A terminal obeys control
//! characters, a page obeys the direction characters of Unicode, and a reader
//! does not see the ones that have no shape. [`shown`] puts an escape in the
//! place of each, so that the reader sees what is there.
//!
//! The list of characters is this module's own and does not change with a
//! version of Unicode: `hufu-contract` refuses the same characters in
//! identifiers, and validators must agree on that.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Characters without a shape of their own, or that move or hide others, beside
/// the control characters: ranges of code points, ascending, both ends included.
///
/// Unicode's format characters and default ignorable code points, line and
/// paragraph separators. Not the signs that stand before a number in Arabic,
/// Syriac and Kaithi (U+0600 and others): they are format characters, but seen.
const INVISIBLE: &[(u32, u32)] = &[
    (0x00AD, 0x00AD),   // soft hyphen
    (0x034F, 0x034F),   // combining grapheme joiner
    (0x061C, 0x061C),   // Arabic letter mark
    (0x115F, 0x1160),   // Hangul fillers
    (0x17B4, 0x17B5),   // Khmer inherent vowels
    (0x180B, 0x180F),   // Mongolian variation selectors
    (0x200B, 0x200F),   // zero width, direction marks
    (0x2028, 0x202E),   // line and paragraph separator, embeddings and overrides
    (0x2060, 0x206F),   // word joiner, invisible operators, isolates
    (0x3164, 0x3164),   // Hangul filler
    (0xFE00, 0xFE0F),   // variation selectors
    (0xFEFF, 0xFEFF),   // byte order mark
    (0xFFA0, 0xFFA0),   // half-width Hangul filler
    (0xFFF0, 0xFFFB),   // interlinear annotation, and not assigned
    (0x1BCA0, 0x1BCA3), // shorthand format controls
    (0x1D173, 0x1D17A), // musical format controls
    (0xE0000, 0xE0FFF), // tags, more variation selectors
];

/// Whether a character is a control character, has no shape of its own, or
/// changes how others are shown.
pub fn is_invisible(character: char) -> bool {
    if (' '..='~').contains(&character) {
        return false;
    }
    let code = u32::from(character);
    let place = INVISIBLE.partition_point(|(_, last)| *last < code);
    character.is_control() || INVISIBLE.get(place).is_some_and(|(first, _)| *first <= code)
}

/// The text with an escape (`\u{1b}`, `\n`) for every character that
/// [`is_invisible`]: one line, whatever is in it.
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, is_invisible, |character, out| out.extend(character.escape_default()))
}

/// As [`shown`], but line feeds and tabs stay: text of several lines, such as an
/// answer that this program put together.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    let hidden = |character| is_invisible(character) && !matches!(character, '\n' | '\t');
    escaped(text, hidden, |character, out| out.extend(character.escape_default()))
}

/// JSON text with the escape of JSON (`\u001b`) for every character that
/// [`is_invisible`]. Its meaning is the same: such characters stand in strings
/// only, but for the line feeds and tabs between members, which stay.
pub fn shown_json(json: &str) -> Cow<'_, str> {
    let hidden = |character| is_invisible(character) && !matches!(character, '\n' | '\t' | '\r');
    escaped(json, hidden, |character, out| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to text does not fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

fn escaped(
    text: &str,
    hidden: impl Fn(char) -> bool,
    escape: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if hidden(character) { escape(character, &mut out) } else { out.push(character) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ranges_ascend_and_do_not_touch() {
        for pair in INVISIBLE.windows(2) {
            assert!(pair[0].0 <= pair[0].1 && pair[0].1 < pair[1].0, "{pair:x?}");
        }
    }

    #[test]
    fn escapes_are_shown_and_not_obeyed() {
        for (text, seen) in [
            ("\x1b]0;pwned\x07\x1b[31mred", r"\u{1b}]0;pwned\u{7}\u{1b}[31mred"),
            ("\u{9b}2J", r"\u{9b}2J"),
            ("a\u{202e}b\u{2066}c\u{200b}d\u{feff}", r"a\u{202e}b\u{2066}c\u{200b}d\u{feff}"),
            ("one\ntwo\rthree\tfour", r"one\ntwo\rthree\tfour"),
            ("\u{e0041}tag", r"\u{e0041}tag"),
            ("92.408 °C 温度 é", "92.408 °C 温度 é"),
        ] {
            assert_eq!(shown(text), seen);
        }
        assert_eq!(shown_lines("one\n\ttwo\x1b\r"), "one\n\ttwo\\u{1b}\\r");
    }

    #[test]
    fn json_means_the_same_when_it_is_shown() {
        let value = serde_json::json!({ "a\u{9b}": "\x1b[2J\u{202e}\u{e0041}\n", "b": [1, "x"] });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let seen = shown_json(&text);
        assert!(seen.contains("\\u202e\\udb40\\udc41") && !seen.contains('\u{9b}'), "{seen}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&seen).unwrap(), value);
    }

    proptest! {
        #[test]
        fn nothing_that_is_shown_is_invisible(text in any::<String>()) {
            prop_assert!(!shown(&text).contains(is_invisible));
            prop_assert!(!shown_lines(&text).replace(['\n', '\t'], "").contains(is_invisible));
            // What needs no escape is what it was.
            prop_assert!(text.contains(is_invisible) || shown(&text) == text);
        }
    }
}
