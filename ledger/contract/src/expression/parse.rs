//! Reads expressions: operator precedence by Pratt's method, bounded in length
//! and depth.

use super::ast::{At, Binary, Expression, Node, Unary};
use super::{ExpressionError, MAX_DEPTH, MAX_SOURCE};
use crate::types::MAX_SCALE;

/// Reads all of `source` as one expression.
///
/// # Errors
/// What is wrong, with its byte offset.
pub fn parse(source: &str) -> Result<Expression, ExpressionError> {
    if source.len() > MAX_SOURCE {
        let message = format!("{} bytes; at most {MAX_SOURCE} are accepted", source.len());
        return Err(ExpressionError { at: 0, message });
    }
    let mut parser = Parser { source, at: 0, token: Token::End, token_at: 0 };
    parser.advance()?;
    let (expression, _) = parser.expression(0)?;
    match parser.token {
        Token::End => Ok(expression),
        _ => parser.unexpected("an operator or the end"),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number { digits: i64, scale: u8 },
    Text(String),
    Word(String),
    Symbol(&'static str),
    End,
}

struct Parser<'a> {
    source: &'a str,
    /// Where the text behind the token begins.
    at: usize,
    token: Token,
    token_at: usize,
}

/// An expression with its depth.
type Deep = (Expression, u16);

const SYMBOLS: [&str; 23] = [
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", "(", ")",
    "[", "]", ",", ".", "=",
];

impl Parser<'_> {
    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Result<T, ExpressionError> {
        Err(ExpressionError { at, message: message.into() })
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T, ExpressionError> {
        let found = match &self.token {
            Token::End => "the end".to_owned(),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::Word(word) => format!("`{word}`"),
            Token::Text(_) => "text".to_owned(),
            Token::Number { .. } => "a number".to_owned(),
        };
        self.fail(self.token_at, format!("found {found} where {wanted} is wanted"))
    }

    /// Reads the next token.
    fn advance(&mut self) -> Result<(), ExpressionError> {
        let rest = &self.source[self.at..];
        let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.at += rest.len() - trimmed.len();
        self.token_at = self.at;
        let Some(first) = trimmed.chars().next() else {
            self.token = Token::End;
            return Ok(());
        };
        if first.is_ascii_digit() {
            return self.number(trimmed);
        }
        if first == '\'' || first == '"' {
            return self.quoted(trimmed, first);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let end = trimmed
                .find(|symbol: char| !symbol.is_ascii_alphanumeric() && symbol != '_')
                .unwrap_or(trimmed.len());
            self.token = Token::Word(trimmed[..end].to_owned());
            self.at += end;
            return Ok(());
        }
        match SYMBOLS.iter().find(|symbol| trimmed.starts_with(**symbol)) {
            Some(&"=") => self.fail(self.at, "`=` is not an operator; compare with `==`"),
            Some(symbol) => {
                self.token = Token::Symbol(symbol);
                self.at += symbol.len();
                Ok(())
            }
            None => self.fail(self.at, format!("`{}` has no meaning here", first.escape_debug())),
        }
    }

    fn number(&mut self, text: &str) -> Result<(), ExpressionError> {
        let mut scale = 0_u8;
        let mut digits = 0_i64;
        let mut point = false;
        let mut length = 0;
        let bytes = text.as_bytes();
        while let Some(byte) = bytes.get(length) {
            if byte.is_ascii_digit() {
                let Some(next) = digits
                    .checked_mul(10)
                    .and_then(|digits| digits.checked_add(i64::from(byte - b'0')))
                else {
                    return self.fail(self.at, "the number does not fit into 64 bits");
                };
                digits = next;
                scale += u8::from(point);
                if scale > MAX_SCALE {
                    return self.fail(self.at, format!("more than {MAX_SCALE} decimals"));
                }
            } else if *byte == b'.' && !bytes.get(length + 1).is_some_and(u8::is_ascii_digit) {
                // The point before a field, which the types will refuse.
                break;
            } else if *byte == b'.' && !point {
                point = true;
            } else if byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'.' {
                return self.fail(
                    self.at + length,
                    "a number has decimal digits and at most one point between them",
                );
            } else {
                break;
            }
            length += 1;
        }
        self.token = Token::Number { digits, scale };
        self.at += length;
        Ok(())
    }

    fn quoted(&mut self, text: &str, quote: char) -> Result<(), ExpressionError> {
        let mut value = String::new();
        let mut symbols = text.char_indices().skip(1);
        while let Some((position, symbol)) = symbols.next() {
            match symbol {
                _ if symbol == quote => {
                    self.token = Token::Text(value);
                    self.at += position + 1;
                    return Ok(());
                }
                '\\' => match symbols.next() {
                    Some((_, '\\')) => value.push('\\'),
                    Some((_, '\'')) => value.push('\''),
                    Some((_, '"')) => value.push('"'),
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 'r')) => value.push('\r'),
                    Some((_, 't')) => value.push('\t'),
                    _ => {
                        let message = "after a backslash come \\ ' \" n r or t";
                        return self.fail(self.at + position, message);
                    }
                },
                _ if symbol.is_control() => {
                    return self
                        .fail(self.at + position, "a control character in text; write \\n \\t");
                }
                _ => value.push(symbol),
            }
        }
        self.fail(self.at, format!("the text has no closing {quote}"))
    }

    fn accept(&mut self, symbol: &str) -> Result<bool, ExpressionError> {
        let found = matches!(&self.token, Token::Symbol(found) if *found == symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), ExpressionError> {
        if self.accept(symbol)? { Ok(()) } else { self.unexpected(&format!("`{symbol}`")) }
    }

    fn deepen(&self, at: usize, depth: u16) -> Result<u16, ExpressionError> {
        if depth >= MAX_DEPTH {
            return self.fail(at, format!("nested deeper than {MAX_DEPTH} operators"));
        }
        Ok(depth + 1)
    }

    /// Reads an expression at nesting `outer`; the depth returned is that of
    /// its tree.
    fn expression(&mut self, outer: u16) -> Result<Deep, ExpressionError> {
        let inner = self.deepen(self.token_at, outer)?;
        let (condition, depth) = self.binary(inner, 0)?;
        let at = self.token_at;
        if !self.accept("?")? {
            return Ok((condition, depth));
        }
        let (one, one_depth) = self.expression(inner)?;
        self.expect(":")?;
        let (other, other_depth) = self.expression(inner)?;
        let depth = self.deepen(at, depth.max(one_depth).max(other_depth))?;
        let node = Node::Choice(Box::new(condition), Box::new(one), Box::new(other));
        Ok((Expression { node, at: At(at) }, depth))
    }

    fn binary(&mut self, outer: u16, least: u8) -> Result<Deep, ExpressionError> {
        let inner = self.deepen(self.token_at, outer)?;
        let (mut left, mut depth) = self.unary(inner)?;
        while let Some(operator) = self.operator() {
            if operator.strength() < least {
                break;
            }
            let at = self.token_at;
            self.advance()?;
            let (right, right_depth) = self.binary(inner, operator.strength() + 1)?;
            depth = self.deepen(at, depth.max(right_depth))?;
            let node = Node::Binary(operator, Box::new(left), Box::new(right));
            left = Expression { node, at: At(at) };
        }
        Ok((left, depth))
    }

    fn operator(&self) -> Option<Binary> {
        Some(match &self.token {
            Token::Symbol("||") => Binary::Or,
            Token::Symbol("&&") => Binary::And,
            Token::Symbol("==") => Binary::Equal,
            Token::Symbol("!=") => Binary::Unequal,
            Token::Symbol("<") => Binary::Less,
            Token::Symbol("<=") => Binary::LessOrEqual,
            Token::Symbol(">") => Binary::Greater,
            Token::Symbol(">=") => Binary::GreaterOrEqual,
            Token::Symbol("+") => Binary::Add,
            Token::Symbol("-") => Binary::Subtract,
            Token::Symbol("*") => Binary::Multiply,
            Token::Symbol("/") => Binary::Divide,
            Token::Symbol("%") => Binary::Remainder,
            Token::Word(word) if word == "in" => Binary::In,
            _ => return None,
        })
    }

    fn unary(&mut self, outer: u16) -> Result<Deep, ExpressionError> {
        let at = self.token_at;
        let operator = match &self.token {
            Token::Symbol("-") => Unary::Negate,
            Token::Symbol("!") => Unary::Not,
            _ => return self.postfix(outer),
        };
        self.advance()?;
        let inner = self.deepen(at, outer)?;
        let (operand, depth) = self.unary(inner)?;
        let depth = self.deepen(at, depth)?;
        Ok((Expression { node: Node::Unary(operator, Box::new(operand)), at: At(at) }, depth))
    }

    fn postfix(&mut self, outer: u16) -> Result<Deep, ExpressionError> {
        let (mut expression, mut depth) = self.primary(outer)?;
        loop {
            let at = self.token_at;
            if !self.accept(".")? {
                return Ok((expression, depth));
            }
            let Token::Word(field) = &self.token else {
                return self.unexpected("the name of a field");
            };
            let field = field.clone();
            self.advance()?;
            depth = self.deepen(at, depth)?;
            let node = Node::Field(Box::new(expression), field);
            expression = Expression { node, at: At(at) };
        }
    }

    fn primary(&mut self, outer: u16) -> Result<Deep, ExpressionError> {
        let at = self.token_at;
        let leaf = |node| Ok((Expression { node, at: At(at) }, 1));
        match self.token.clone() {
            Token::Number { digits, scale } => {
                self.advance()?;
                leaf(Node::Number { digits, scale })
            }
            Token::Text(text) => {
                self.advance()?;
                leaf(Node::Text(text))
            }
            Token::Word(word) if word == "in" => self.unexpected("a value"),
            Token::Word(word) => {
                self.advance()?;
                match word.as_str() {
                    "true" => leaf(Node::Bool(true)),
                    "false" => leaf(Node::Bool(false)),
                    _ if self.token == Token::Symbol("(") => {
                        self.advance()?;
                        let (arguments, depth) = self.items(")", outer)?;
                        let depth = self.deepen(at, depth)?;
                        Ok((Expression { node: Node::Call(word, arguments), at: At(at) }, depth))
                    }
                    _ => leaf(Node::Name(word)),
                }
            }
            Token::Symbol("(") => {
                self.advance()?;
                let inner = self.expression(outer)?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol("[") => {
                self.advance()?;
                let (items, depth) = self.items("]", outer)?;
                let depth = self.deepen(at, depth)?;
                Ok((Expression { node: Node::List(items), at: At(at) }, depth))
            }
            _ => self.unexpected("a value"),
        }
    }

    fn items(
        &mut self,
        close: &'static str,
        outer: u16,
    ) -> Result<(Vec<Expression>, u16), ExpressionError> {
        let mut items = Vec::new();
        let mut depth = 0;
        if self.accept(close)? {
            return Ok((items, depth));
        }
        loop {
            let (item, item_depth) = self.expression(outer)?;
            items.push(item);
            depth = depth.max(item_depth);
            if self.accept(close)? {
                return Ok((items, depth));
            }
            self.expect(",")?;
        }
    }
}
