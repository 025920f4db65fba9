//! Text from the ledger, shown and not obeyed.
//!
//! Control characters move a terminal's cursor, direction characters turn the
//! order of what follows, and invisible ones make two names look alike. Whatever
//! people read goes through [`visible`], which writes each of them as its code
//! point. JSON, which is for machines, keeps text as it is.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with everything that is not seen, or that changes how its neighbours
/// are seen, written as `⟨U+202E⟩`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_hidden(character) {
            // Writing to a string does not fail.
            let _ = write!(out, "⟨U+{:04X}⟩", u32::from(character));
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// Whether a character is not seen as itself: the controls (C0, DEL, C1), and of
/// Unicode 17 the format characters (Cf: direction, joiners, zero width, tags),
/// line and paragraph separators, blanks other than U+0020 and U+3000, the
/// fillers and joiners that have no form, variation selectors, and what is not a
/// character.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}'
            | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}'
            | '\u{1680}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_seen_is_shown() {
        for (text, shown) in [
            ("\u{1b}]0;pwned\u{7}", "⟨U+001B⟩]0;pwned⟨U+0007⟩"),
            ("a\u{202e}b\u{2066}c", "a⟨U+202E⟩b⟨U+2066⟩c"),
            ("zero\u{200b}width\u{feff}", "zero⟨U+200B⟩width⟨U+FEFF⟩"),
            (
                "line\r\nfeed\ttab\u{85}\u{2028}",
                "line⟨U+000D⟩⟨U+000A⟩feed⟨U+0009⟩tab⟨U+0085⟩⟨U+2028⟩",
            ),
            ("\u{e0041}\u{ad}\u{3164}", "⟨U+E0041⟩⟨U+00AD⟩⟨U+3164⟩"),
            ("\u{9b}31m", "⟨U+009B⟩31m"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn what_is_seen_stays() {
        for text in ["泵 7，温度 92.408 °C", "naïve – Größe", "a b　c", "שלום", "=1+1", "⟨U+202E⟩"]
        {
            assert!(matches!(visible(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left(text: String) {
            let shown = visible(&text);
            prop_assert!(!shown.chars().any(is_hidden));
            prop_assert_eq!(visible(&shown), shown.clone());
        }
    }
}
