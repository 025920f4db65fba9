//! The expression language of `set` and `holds`: the integer-only subset of
//! [CEL](https://github.com/google/cel-spec/blob/master/doc/langdef.md).
//!
//! What there is: whole and exact decimal numbers, text, `true`, `false`; names
//! `asset`, `params`, `row`, `principal`, `block` and their fields; fields of
//! assets that a `ref` points to; `! -`, `* / %`, `+ -`, `== != < <= > >= in`,
//! `&&`, `||`, `? :`, lists `[a, b]`; and the functions
//!
//! | call | result |
//! |---|---|
//! | `size(x)` | bytes of a text, items of a list or set |
//! | `has(x.field)` | whether an optional field has a value |
//! | `min(a, b, ...)`, `max(a, b, ...)` | of numbers or times of one kind |
//! | `abs(x)` | magnitude of a number |
//! | `truncate(x, n)` | the number with `n` decimals, cut off towards zero |
//! | `join(a, b, ...)` | the identifier `a-b`, of names, texts, whole numbers and times |
//! | `digest(x)` | SHA-256 of bytes, or of a text as it is written |
//! | `with(set, x)`, `without(set, x)` | the set with or without an item |
//!
//! What there is not: floats, regular expressions, comprehensions, functions of
//! one's own, recursion. So every expression ends, and its worst-case cost is
//! known before it runs.
//!
//! Departures from CEL: arithmetic on decimals is exact; `&&`, `||` and `?:`
//! evaluate left to right and stop at what decides (CEL may absorb an error of
//! the left side); comparison of different types is refused at check.
//!
//! Evaluation refuses on overflow, division by zero, and whatever is not there.

pub mod ast;
mod coerce;
pub mod evaluate;
mod kind;
pub mod parse;
#[cfg(test)]
mod tests;
pub mod typing;

pub use ast::Expression;
pub use evaluate::{Fault, Scope};
pub use kind::Kind;
pub use typing::{Checked, Environment};

/// Longest expression in bytes.
pub const MAX_SOURCE: usize = 4096;
/// Deepest nesting, counting operators.
pub const MAX_DEPTH: u16 = 64;
/// Highest worst-case cost of one expression.
pub const MAX_COST: u64 = 10_000;

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// Byte offset in the expression.
    pub at: usize,
    /// What is wrong, and what to do.
    pub message: String,
}
