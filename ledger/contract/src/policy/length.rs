//! How long a policy may be.
//!
//! Cedar's parser recurses as deep as its input nests, and looks at its stack
//! only in some places. A policy of so many tokens cannot nest deeper than the
//! stack that it is parsed on ([`super::STACK`]) has room for.

/// Most tokens of a policy: a word, a number, a string or a sign.
pub(super) const MAX_TOKENS: usize = 4_096;

/// Where the first policy begins that is too long, in bytes.
pub(super) fn too_long(source: &str) -> Option<usize> {
    let (mut begin, mut tokens) = (0, 0);
    let mut rest = source.char_indices().peekable();
    while let Some((at, one)) = rest.next() {
        match one {
            _ if one.is_whitespace() => continue,
            '/' if rest.next_if(|(_, next)| *next == '/').is_some() => {
                while rest.next_if(|(_, next)| *next != '\n').is_some() {}
                continue;
            }
            '"' => {
                // An escape takes the quote after it; what has no end is no
                // policy, whatever else it is.
                while let Some((_, next)) = rest.next() {
                    match next {
                        '\\' => drop(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            _ if is_word(one) => while rest.next_if(|(_, next)| is_word(*next)).is_some() {},
            _ => {}
        }
        tokens += 1;
        if tokens > MAX_TOKENS {
            return Some(begin);
        }
        if one == ';' {
            (begin, tokens) = (at + 1, 0);
        }
    }
    None
}

fn is_word(one: char) -> bool {
    one.is_alphanumeric() || one == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tokens: usize) -> String {
        format!("{} ;", "a ".repeat(tokens - 1))
    }

    #[test]
    fn each_policy_counts_by_itself() {
        assert_eq!(too_long(&of(MAX_TOKENS)), None);
        assert_eq!(too_long(&of(MAX_TOKENS).repeat(3)), None);
        let first = of(7);
        assert_eq!(too_long(&format!("{first}{}", of(MAX_TOKENS + 1))), Some(first.len()));
    }

    #[test]
    fn strings_and_comments_hide_what_is_in_them() {
        let string = format!("permit \"{}\\\"\" ;", "( ".repeat(MAX_TOKENS));
        assert_eq!(too_long(&string), None);
        let comment = format!("permit // {}\n ;", "( ".repeat(MAX_TOKENS));
        assert_eq!(too_long(&comment), None);
        // And nothing else does.
        assert_eq!(too_long(&format!("\"a\" {}", "(".repeat(MAX_TOKENS))), Some(0));
        assert_eq!(too_long(&format!("// a\n/ {}", "(".repeat(MAX_TOKENS))), Some(0));
        assert_eq!(too_long(&format!("\"\\\\\" {}", "(".repeat(MAX_TOKENS))), Some(0));
        assert_eq!(too_long("\"no end"), None);
    }
}
