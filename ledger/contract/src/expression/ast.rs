//! The syntax tree of an expression, and how it is written.

use std::fmt;

/// A byte offset in the source. All are equal: two trees are the same whatever
/// the spacing they were read from.
#[derive(Clone, Copy, Debug, Default)]
pub struct At(pub usize);

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for At {}

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// What it is.
    pub node: Node,
    /// Where it is: its operator, name or literal.
    pub at: At,
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A number: `digits` units of 10^-`scale`. Never negative; that is a
    /// [`Unary::Negate`].
    Number {
        /// All its digits.
        digits: i64,
        /// How many of them are behind the point.
        scale: u8,
    },
    /// Text in quotes.
    Text(String),
    /// True or false.
    Bool(bool),
    /// One of the names that are given.
    Name(String),
    /// A field of something.
    Field(Box<Expression>, String),
    /// An operator before its operand.
    Unary(Unary, Box<Expression>),
    /// An operator between its operands.
    Binary(Binary, Box<Expression>, Box<Expression>),
    /// `condition ? one : other`.
    Choice(Box<Expression>, Box<Expression>, Box<Expression>),
    /// `[a, b]`.
    List(Vec<Expression>),
    /// A function's call.
    Call(String, Vec<Expression>),
}

/// Operators before an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// `-`
    Negate,
    /// `!`
    Not,
}

/// Operators between operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `||`
    Or,
    /// `&&`
    And,
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `in`
    In,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
}

impl Binary {
    /// How tightly it binds; operators of one strength associate to the left.
    pub fn strength(self) -> u8 {
        match self {
            Self::Or => 2,
            Self::And => 3,
            Self::Equal
            | Self::Unequal
            | Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual
            | Self::In => 4,
            Self::Add | Self::Subtract => 5,
            Self::Multiply | Self::Divide | Self::Remainder => 6,
        }
    }

    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

const CHOICE: u8 = 1;
const UNARY: u8 = 7;
const POSTFIX: u8 = 8;

impl Expression {
    fn strength(&self) -> u8 {
        match &self.node {
            Node::Choice(..) => CHOICE,
            Node::Binary(operator, ..) => operator.strength(),
            Node::Unary(..) => UNARY,
            _ => POSTFIX,
        }
    }

    /// Writes it in parentheses when it binds less than `least`.
    fn write(&self, formatter: &mut fmt::Formatter<'_>, least: u8) -> fmt::Result {
        if self.strength() < least {
            formatter.write_str("(")?;
            self.write(formatter, 0)?;
            return formatter.write_str(")");
        }
        match &self.node {
            Node::Number { digits, scale } => {
                formatter.write_str(&crate::number::decimal_text(*digits, *scale))
            }
            Node::Text(text) => {
                formatter.write_str("'")?;
                for symbol in text.chars() {
                    match symbol {
                        '\'' => formatter.write_str("\\'")?,
                        '\\' => formatter.write_str("\\\\")?,
                        '\n' => formatter.write_str("\\n")?,
                        '\r' => formatter.write_str("\\r")?,
                        '\t' => formatter.write_str("\\t")?,
                        other => write!(formatter, "{other}")?,
                    }
                }
                formatter.write_str("'")
            }
            Node::Bool(value) => write!(formatter, "{value}"),
            Node::Name(name) => formatter.write_str(name),
            Node::Field(of, field) => {
                of.write(formatter, POSTFIX)?;
                write!(formatter, ".{field}")
            }
            Node::Unary(operator, operand) => {
                formatter.write_str(match operator {
                    Unary::Negate => "-",
                    Unary::Not => "!",
                })?;
                operand.write(formatter, UNARY)
            }
            Node::Binary(operator, left, right) => {
                left.write(formatter, operator.strength())?;
                write!(formatter, " {} ", operator.symbol())?;
                right.write(formatter, operator.strength() + 1)
            }
            Node::Choice(condition, one, other) => {
                condition.write(formatter, CHOICE + 1)?;
                formatter.write_str(" ? ")?;
                one.write(formatter, CHOICE)?;
                formatter.write_str(" : ")?;
                other.write(formatter, CHOICE)
            }
            Node::List(items) => {
                formatter.write_str("[")?;
                write_items(formatter, items)?;
                formatter.write_str("]")
            }
            Node::Call(name, arguments) => {
                write!(formatter, "{name}(")?;
                write_items(formatter, arguments)?;
                formatter.write_str(")")
            }
        }
    }
}

fn write_items(formatter: &mut fmt::Formatter<'_>, items: &[Expression]) -> fmt::Result {
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            formatter.write_str(", ")?;
        }
        item.write(formatter, 0)?;
    }
    Ok(())
}

impl fmt::Display for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(formatter, 0)
    }
}
