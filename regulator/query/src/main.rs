//! The process of a query, for tests that have no `hufu` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    hufu_query::child::main()
}
