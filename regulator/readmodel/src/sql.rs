//! The words of a query: a tokenizer for SQLite's SQL, and nothing of its
//! grammar beyond parentheses.
//!
//! SQLite itself parses and judges the query ([`crate::authorize`]); this
//! module finds where tables are named, so that each name can be replaced by a
//! view of one height.

use crate::error::Problem;

/// Longest query in bytes.
pub const MAX_QUERY: usize = 64 * 1024;

/// What marks the names of views that a query never writes itself.
pub const RESERVED: &str = "hufu:";

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bare word: keyword or identifier.
    Word,
    /// An identifier in quotes, back-quotes or brackets.
    Quoted,
    /// A text or blob literal.
    Literal,
    /// A number.
    Number,
    /// A parameter.
    Parameter,
    /// One character of punctuation or an operator.
    Mark,
}

/// A token, by its place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// First byte.
    pub begin: usize,
    /// One past the last byte.
    pub end: usize,
    /// How many parentheses are open around it.
    pub depth: usize,
}

/// A text with its tokens; comments and white space are left out.
#[derive(Debug)]
pub struct Tokens<'a> {
    /// The text.
    pub text: &'a str,
    /// The tokens.
    pub tokens: Vec<Token>,
}

impl<'a> Tokens<'a> {
    /// Splits `text`.
    ///
    /// # Errors
    /// [`Problem`] when it is too long, a quote or comment does not end, a
    /// character has no place in SQL, parentheses do not match, or there is
    /// more than one statement.
    pub fn new(text: &'a str) -> Result<Self, Problem> {
        if text.len() > MAX_QUERY {
            return Err(Problem::TooLong { size: text.len(), limit: MAX_QUERY });
        }
        let bytes = text.as_bytes();
        let mut tokens = Vec::new();
        let (mut at, mut depth, mut ended) = (0, 0usize, None);
        while at < bytes.len() {
            let begin = at;
            let syntax = |message: &str| Problem::Syntax { at: begin, message: message.into() };
            let next = bytes.get(at + 1).copied();
            let kind = match bytes[at] {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0c => {
                    at += 1;
                    continue;
                }
                b'-' if next == Some(b'-') => {
                    at = find(bytes, at, b"\n").unwrap_or(bytes.len());
                    continue;
                }
                b'/' if next == Some(b'*') => {
                    at = find(bytes, at + 2, b"*/")
                        .ok_or_else(|| syntax("the comment does not end"))?
                        + 2;
                    continue;
                }
                b'\'' => {
                    at = quoted(bytes, at, b'\'').ok_or_else(|| syntax("the text does not end"))?;
                    Kind::Literal
                }
                b'x' | b'X' if next == Some(b'\'') => {
                    at = quoted(bytes, at + 1, b'\'')
                        .ok_or_else(|| syntax("the blob does not end"))?;
                    Kind::Literal
                }
                quote @ (b'"' | b'`') => {
                    at = quoted(bytes, at, quote).ok_or_else(|| syntax("the name does not end"))?;
                    Kind::Quoted
                }
                b'[' => {
                    at = find(bytes, at, b"]").ok_or_else(|| syntax("the name does not end"))? + 1;
                    Kind::Quoted
                }
                b'0'..=b'9' => {
                    at = run(bytes, at, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
                    if bytes.get(at) == Some(&b'.') {
                        return Err(syntax(
                            "a number with a fraction; there are only whole numbers",
                        ));
                    }
                    let digits = &text[begin..at];
                    let whole = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
                    if !whole && !digits.starts_with("0x") && !digits.starts_with("0X") {
                        return Err(syntax("not a whole number"));
                    }
                    Kind::Number
                }
                b':' | b'@' | b'$' | b'?' => {
                    at = run(bytes, at + 1, is_word);
                    if bytes[begin] != b':' || at == begin + 1 {
                        return Err(syntax("parameters are written `:name`"));
                    }
                    Kind::Parameter
                }
                byte if is_word(byte) => {
                    at = run(bytes, at, is_word);
                    Kind::Word
                }
                b';' => {
                    // Nothing but space and comments may follow.
                    ended.get_or_insert(at);
                    at += 1;
                    continue;
                }
                b'(' | b')' | b',' | b'.' | b'+' | b'-' | b'*' | b'/' | b'%' | b'&' | b'|'
                | b'~' | b'<' | b'>' | b'=' | b'!' => {
                    at += 1;
                    Kind::Mark
                }
                _ => return Err(syntax("a character that has no place in a query")),
            };
            if ended.is_some() {
                return Err(syntax("there is a second statement; a query is one SELECT"));
            }
            let shown = &text[begin..at];
            if matches!(kind, Kind::Word | Kind::Quoted)
                && shown.to_ascii_lowercase().contains(RESERVED)
            {
                return Err(syntax("a name that is reserved"));
            }
            if shown == "." && bytes.get(at).is_some_and(u8::is_ascii_digit) {
                return Err(syntax("a number with a fraction; there are only whole numbers"));
            }
            if shown == ")" {
                depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| syntax("a parenthesis closes that was not opened"))?;
            }
            tokens.push(Token { kind, begin, end: at, depth });
            if shown == "(" {
                depth += 1;
            }
        }
        if depth > 0 {
            let message = "a parenthesis is not closed".into();
            return Err(Problem::Syntax { at: text.len(), message });
        }
        // What SQLite is given ends where the query does.
        Ok(Self { text: &text[..ended.unwrap_or(text.len())], tokens })
    }

    /// The query, without what follows it.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The text of token number `index`, empty past the end.
    pub fn shown(&self, index: usize) -> &'a str {
        self.tokens.get(index).map_or("", |token| &self.text[token.begin..token.end])
    }

    /// Whether token number `index` is this mark.
    pub fn is_mark(&self, index: usize, mark: &str) -> bool {
        self.tokens.get(index).is_some_and(|token| token.kind == Kind::Mark)
            && self.shown(index) == mark
    }

    /// Whether token number `index` is this keyword.
    pub fn is_word(&self, index: usize, word: &str) -> bool {
        self.tokens.get(index).is_some_and(|token| token.kind == Kind::Word)
            && self.shown(index).eq_ignore_ascii_case(word)
    }

    /// The identifier that token number `index` is, in lower case (SQLite does
    /// not distinguish cases), without quotes.
    pub fn identifier(&self, index: usize) -> Option<String> {
        let token = self.tokens.get(index)?;
        let shown = self.shown(index);
        match token.kind {
            Kind::Word => Some(shown.to_ascii_lowercase()),
            Kind::Quoted => {
                let inner = &shown[1..shown.len() - 1];
                let quote = &shown[..1];
                Some(inner.replace(&quote.repeat(2), quote).to_ascii_lowercase())
            }
            _ => None,
        }
    }

    /// The first token at depth 0 that is this keyword, from token `from` on.
    pub fn top_level(&self, from: usize, word: &str) -> Option<usize> {
        (from..self.tokens.len())
            .find(|&index| self.tokens[index].depth == 0 && self.is_word(index, word))
    }

    /// Names of the parameters, each once, without the colon.
    pub fn parameters(&self) -> Vec<&'a str> {
        let mut names = Vec::new();
        for token in self.tokens.iter().filter(|token| token.kind == Kind::Parameter) {
            let name = &self.text[token.begin + 1..token.end];
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn run(bytes: &[u8], from: usize, accept: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|byte| !accept(*byte)).map_or(bytes.len(), |length| from + length)
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    bytes.get(from..)?.windows(what.len()).position(|window| window == what).map(|at| from + at)
}

/// One past the closing quote of what opens at `from`; a doubled quote is one
/// of its characters.
fn quoted(bytes: &[u8], from: usize, quote: u8) -> Option<usize> {
    let mut at = from + 1;
    loop {
        if *bytes.get(at)? != quote {
            at += 1;
        } else if bytes.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            return Some(at + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Vec<&str> {
        let tokens = Tokens::new(text).unwrap();
        (0..tokens.tokens.len()).map(|index| tokens.shown(index)).collect()
    }

    #[test]
    fn words_quotes_comments_and_marks() {
        assert_eq!(
            shown(
                "SELECT a.\"b\"\"c\", 'it''s -- not', x'0a' /* ( */ FROM [t] -- ;\n WHERE `x`>=:p;  "
            ),
            [
                "SELECT",
                "a",
                ".",
                "\"b\"\"c\"",
                ",",
                "'it''s -- not'",
                ",",
                "x'0a'",
                "FROM",
                "[t]",
                "WHERE",
                "`x`",
                ">",
                "=",
                ":p"
            ]
        );
        let tokens = Tokens::new("SELECT \"B\"\"c\", (1) FROM t").unwrap();
        assert_eq!(tokens.identifier(1).unwrap(), "b\"c");
        assert_eq!(tokens.top_level(0, "from"), Some(6));
    }

    #[test]
    fn what_is_not_one_query_is_refused() {
        for text in [
            "SELECT 1; SELECT 2",
            "SELECT (1",
            "SELECT 1)",
            "SELECT 'a",
            "SELECT \"a",
            "SELECT [a",
            "SELECT /* a",
            "SELECT 1.5",
            "SELECT .5",
            "SELECT 1e3",
            "SELECT ?1",
            "SELECT @a",
            "SELECT $a",
            "SELECT :",
            "SELECT #",
            "SELECT \\",
            "SELECT \"hufu:x\"",
            "SELECT \0",
            "SELECT [HUFU:x]",
        ] {
            assert!(Tokens::new(text).is_err(), "{text}");
        }
        assert!(Tokens::new(&" ".repeat(MAX_QUERY + 1)).is_err());
        assert!(Tokens::new("SELECT 0x1F, 1_000").is_ok());
        // However many ends there are.
        assert!(Tokens::new(&format!("SELECT 1{}", ";".repeat(60_000))).is_ok());
        assert!(Tokens::new(&format!("SELECT 1{} SELECT 2", ";".repeat(60_000))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_split_or_refused(text in ".{0,60}") {
            if let Ok(tokens) = Tokens::new(&text) {
                for index in 0..tokens.tokens.len() {
                    let _ = (tokens.identifier(index), tokens.shown(index));
                }
                for pair in tokens.tokens.windows(2) {
                    prop_assert!(pair[0].end <= pair[1].begin && pair[0].begin < pair[0].end);
                }
            }
        }

        #[test]
        fn sql_like_text_does_not_panic(text in "[a-z\\[\\]\"'`().,;:*/ -]{0,40}") {
            let _ = Tokens::new(&text);
        }
    }
}
