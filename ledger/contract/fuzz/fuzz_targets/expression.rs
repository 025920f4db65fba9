//! The expression parser: never a panic, and what it read is written and read
//! back the same.

#![no_main]

use hufu_contract::expression::parse::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(expression) = parse(text) {
        let written = expression.to_string();
        // Writing may add parentheses and spaces, so only what stays within the
        // bounds is read back.
        if let Ok(again) = parse(&written) {
            assert_eq!(again, expression, "{written}");
        }
    }
});
