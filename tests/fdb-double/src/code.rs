//! FoundationDB's error codes, of which the double gives some by itself and a
//! test may ask for any.

/// What goes wrong in the double by itself.
pub(crate) const TRANSACTION_TOO_OLD: i32 = 1007;
pub(crate) const NOT_COMMITTED: i32 = 1020;
pub(crate) const TRANSACTION_TIMED_OUT: i32 = 1031;
pub(crate) const NO_CLUSTER_FILE: i32 = 1515;
pub(crate) const KEY_OUTSIDE_LEGAL_RANGE: i32 = 2004;
pub(crate) const INVERTED_RANGE: i32 = 2005;
pub(crate) const INVALID_OPTION_VALUE: i32 = 2006;
pub(crate) const INVALID_OPTION: i32 = 2007;
pub(crate) const NETWORK_NOT_SETUP: i32 = 2008;
pub(crate) const NETWORK_ALREADY_SETUP: i32 = 2009;
pub(crate) const FUTURE_NOT_SET: i32 = 2015;
pub(crate) const USED_DURING_COMMIT: i32 = 2017;
pub(crate) const NETWORK_CANNOT_BE_RESTARTED: i32 = 2025;
pub(crate) const TRANSACTION_TOO_LARGE: i32 = 2101;
pub(crate) const KEY_TOO_LARGE: i32 = 2102;
pub(crate) const VALUE_TOO_LARGE: i32 = 2103;
pub(crate) const CONNECTION_STRING_INVALID: i32 = 2104;
pub(crate) const API_VERSION_UNSET: i32 = 2200;
pub(crate) const API_VERSION_ALREADY_SET: i32 = 2201;
pub(crate) const API_VERSION_NOT_SUPPORTED: i32 = 2203;
pub(crate) const INTERNAL_ERROR: i32 = 4100;

/// Codes after which a transaction may have happened, and is tried again.
pub(crate) fn maybe_committed(code: i32) -> bool {
    matches!(code, 1021 | 1039)
}

/// Codes after which a transaction has not happened, and is tried again.
pub(crate) fn not_committed(code: i32) -> bool {
    matches!(code, 1007 | 1009 | 1020 | 1037 | 1038 | 1042 | 1051 | 1078 | 1213)
}

/// The text of a code, with a zero at its end.
pub(crate) fn text(code: i32) -> &'static [u8] {
    match code {
        0 => b"success\0",
        1004 => b"double: timed_out\0",
        TRANSACTION_TOO_OLD => b"double: transaction_too_old\0",
        1009 => b"double: future_version\0",
        NOT_COMMITTED => b"double: not_committed\0",
        1021 => b"double: commit_unknown_result\0",
        TRANSACTION_TIMED_OUT => b"double: transaction_timed_out\0",
        1037 => b"double: process_behind\0",
        1039 => b"double: cluster_version_changed\0",
        TRANSACTION_TOO_LARGE => b"double: transaction_too_large\0",
        KEY_TOO_LARGE => b"double: key_too_large\0",
        VALUE_TOO_LARGE => b"double: value_too_large\0",
        _ => b"double: an error without a text\0",
    }
}
