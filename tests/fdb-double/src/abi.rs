//! The functions of the C interface, as FoundationDB declares them.
//!
//! Pointers come from the program under test. What the interface says of them
//! is what is relied on: a handle is one that a function here gave out and that
//! was not destroyed, a length belongs to its pointer, an out-pointer can be
//! written. Each function's safety is that, and nothing more.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::client::{Connection, Future, NETWORK, Transaction};
use crate::code;
use crate::wire::Answer;

const API_VERSION: c_int = 730;

static SELECTED: AtomicI32 = AtomicI32::new(0);

/// `FDBDatabase`.
struct Database(Arc<Connection>);

/// `FDBFuture`, with what was read from it: that stays until it is destroyed.
struct Handle {
    future: Future,
    read: OnceLock<Result<Answer, i32>>,
    rows: OnceLock<Box<[KeyValue]>>,
}

/// `FDBKeyValue`.
#[repr(C, packed(4))]
struct KeyValue {
    key: *const u8,
    key_length: c_int,
    value: *const u8,
    value_length: c_int,
}

impl Handle {
    fn give(future: Future) -> *mut Self {
        Box::into_raw(Box::new(Self { future, read: OnceLock::new(), rows: OnceLock::new() }))
    }

    fn read(&self) -> Result<&Answer, i32> {
        if self.read.get().is_none() {
            let answer = self.future.answer();
            if matches!(answer, Err(code::FUTURE_NOT_SET)) {
                return Err(code::FUTURE_NOT_SET);
            }
            let _ = self.read.set(answer);
        }
        self.read.get().ok_or(code::FUTURE_NOT_SET)?.as_ref().map_err(|code| *code)
    }
}

fn code(result: Result<(), i32>) -> c_int {
    result.err().unwrap_or(0)
}

fn length(bytes: &[u8]) -> c_int {
    // Within limits, or written by this crate.
    c_int::try_from(bytes.len()).unwrap_or(c_int::MAX)
}

/// The bytes at `pointer`.
///
/// # Safety
/// `length` bytes can be read there, or it is null.
unsafe fn bytes(pointer: *const u8, length: c_int) -> Vec<u8> {
    match usize::try_from(length) {
        Ok(length) if !pointer.is_null() => {
            unsafe { std::slice::from_raw_parts(pointer, length) }.to_vec()
        }
        _ => Vec::new(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn fdb_select_api_version_impl(runtime: c_int, header: c_int) -> c_int {
    if runtime != API_VERSION || header != API_VERSION {
        return code::API_VERSION_NOT_SUPPORTED;
    }
    match SELECTED.swap(API_VERSION, Ordering::Relaxed) {
        0 => 0,
        _ => code::API_VERSION_ALREADY_SET,
    }
}

#[unsafe(no_mangle)]
extern "C" fn fdb_get_max_api_version() -> c_int {
    API_VERSION
}

#[unsafe(no_mangle)]
extern "C" fn fdb_get_client_version() -> *const c_char {
    c"7.3.0,double,double".as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn fdb_get_error(code: c_int) -> *const c_char {
    code::text(code).as_ptr().cast()
}

#[unsafe(no_mangle)]
extern "C" fn fdb_error_predicate(predicate: c_int, code: c_int) -> c_int {
    c_int::from(match predicate {
        50000 => code::maybe_committed(code) || code::not_committed(code),
        50001 => code::maybe_committed(code),
        50002 => code::not_committed(code),
        _ => false,
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_network_set_option(
    option: c_int,
    value: *const u8,
    value_length: c_int,
) -> c_int {
    code(NETWORK.set_option(option, unsafe { bytes(value, value_length) }))
}

#[unsafe(no_mangle)]
extern "C" fn fdb_setup_network() -> c_int {
    match SELECTED.load(Ordering::Relaxed) {
        0 => code::API_VERSION_UNSET,
        _ => code(NETWORK.set_up()),
    }
}

#[unsafe(no_mangle)]
extern "C" fn fdb_run_network() -> c_int {
    code(NETWORK.run())
}

#[unsafe(no_mangle)]
extern "C" fn fdb_stop_network() -> c_int {
    code(NETWORK.stop())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_create_database(file: *const c_char, out: *mut *mut Database) -> c_int {
    if file.is_null() {
        return code::NO_CLUSTER_FILE;
    }
    let file = unsafe { CStr::from_ptr(file) };
    match Connection::open(Path::new(OsStr::from_bytes(file.to_bytes()))) {
        Ok(connection) => {
            unsafe { *out = Box::into_raw(Box::new(Database(Arc::new(connection)))) };
            0
        }
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_database_destroy(database: *mut Database) {
    drop(unsafe { Box::from_raw(database) });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_database_create_transaction(
    database: *mut Database,
    out: *mut *mut Transaction,
) -> c_int {
    let transaction = Transaction::new(unsafe { &(*database).0 });
    unsafe { *out = Box::into_raw(Box::new(transaction)) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_transaction_destroy(transaction: *mut Transaction) {
    drop(unsafe { Box::from_raw(transaction) });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_transaction_set_option(
    transaction: *mut Transaction,
    option: c_int,
    value: *const u8,
    value_length: c_int,
) -> c_int {
    let value = unsafe { bytes(value, value_length) };
    code(unsafe { &*transaction }.set_option(option, &value))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_transaction_get(
    transaction: *mut Transaction,
    key: *const u8,
    key_length: c_int,
    snapshot: c_int,
) -> *mut Handle {
    let key = unsafe { bytes(key, key_length) };
    Handle::give(unsafe { &*transaction }.get(key, snapshot != 0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_transaction_get_range(
    transaction: *mut Transaction,
    begin: *const u8,
    begin_length: c_int,
    begin_or_equal: c_int,
    begin_offset: c_int,
    end: *const u8,
    end_length: c_int,
    end_or_equal: c_int,
    end_offset: c_int,
    limit: c_int,
    target_bytes: c_int,
    mode: c_int,
    _iteration: c_int,
    snapshot: c_int,
    reverse: c_int,
) -> *mut Handle {
    let range = unsafe { (bytes(begin, begin_length), bytes(end, end_length)) };
    // Only `first greater or equal` is known here.
    if [begin_or_equal, begin_offset, end_or_equal, end_offset] != [0, 1, 0, 1] {
        std::process::abort();
    }
    // All that is wanted comes in answers of this size; exactly so many rows do not.
    let most = if mode == 0 { 0 } else { 80_000 };
    let bytes = match u64::try_from(target_bytes) {
        Ok(bytes) if bytes > 0 && most > 0 => bytes.min(most),
        Ok(bytes) if bytes > 0 => bytes,
        _ => most,
    };
    let rows = u64::try_from(limit).unwrap_or(0);
    Handle::give(unsafe { &*transaction }.range(range, (rows, bytes), snapshot != 0, reverse != 0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_transaction_set(
    transaction: *mut Transaction,
    key: *const u8,
    key_length: c_int,
    value: *const u8,
    value_length: c_int,
) {
    let (key, value) = unsafe { (bytes(key, key_length), bytes(value, value_length)) };
    unsafe { &*transaction }.set(key, value);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_transaction_clear(
    transaction: *mut Transaction,
    key: *const u8,
    key_length: c_int,
) {
    let key = unsafe { bytes(key, key_length) };
    let end = [&key[..], &[0]].concat();
    unsafe { &*transaction }.clear((key, end));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_transaction_clear_range(
    transaction: *mut Transaction,
    begin: *const u8,
    begin_length: c_int,
    end: *const u8,
    end_length: c_int,
) {
    let range = unsafe { (bytes(begin, begin_length), bytes(end, end_length)) };
    unsafe { &*transaction }.clear(range);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_transaction_commit(transaction: *mut Transaction) -> *mut Handle {
    Handle::give(unsafe { &*transaction }.commit())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_transaction_on_error(
    transaction: *mut Transaction,
    error: c_int,
) -> *mut Handle {
    Handle::give(unsafe { &*transaction }.on_error(error))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_future_destroy(future: *mut Handle) {
    drop(unsafe { Box::from_raw(future) });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_future_block_until_ready(future: *mut Handle) -> c_int {
    unsafe { &*future }.future.wait();
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_future_get_error(future: *mut Handle) -> c_int {
    unsafe { &*future }.read().err().unwrap_or(0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_future_get_value(
    future: *mut Handle,
    present: *mut c_int,
    value: *mut *const u8,
    value_length: *mut c_int,
) -> c_int {
    match unsafe { &*future }.read() {
        Ok(Answer::Value(found)) => unsafe {
            *present = c_int::from(found.is_some());
            if let Some(found) = found {
                *value = found.as_ptr();
                *value_length = length(found);
            }
            0
        },
        Ok(_) => code::INTERNAL_ERROR,
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdb_future_get_keyvalue_array(
    future: *mut Handle,
    rows: *mut *const KeyValue,
    count: *mut c_int,
    out_more: *mut c_int,
) -> c_int {
    let handle = unsafe { &*future };
    match handle.read() {
        Ok(Answer::Rows { rows: found, more }) => {
            let array = handle.rows.get_or_init(|| {
                let row = |(key, value): &(Vec<u8>, Vec<u8>)| KeyValue {
                    key: key.as_ptr(),
                    key_length: length(key),
                    value: value.as_ptr(),
                    value_length: length(value),
                };
                found.iter().map(row).collect()
            });
            unsafe {
                *rows = array.as_ptr();
                *count = c_int::try_from(array.len()).unwrap_or(c_int::MAX);
                *out_more = c_int::from(*more);
            }
            0
        }
        Ok(_) => code::INTERNAL_ERROR,
        Err(code) => code,
    }
}
