//! Checks a contract package and runs its cases on a real machine.
