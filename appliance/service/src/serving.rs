//! What a node is to its member's record.

/// What a node is to its member's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// It votes, executes and writes.
    Validator,
    /// It reads what the validator writes.
    FrontEnd,
}
