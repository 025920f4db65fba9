//! FoundationDB's C interface, as far as the store uses it, behind types that
//! are safe to use.
//!
//! The client library is opened when the first store of a process asks for it,
//! and stays open: its network thread can be started once in a process and
//! never again. Everything here is what `fdb_c.h` of version 7.3 says of its
//! functions; what an `unsafe` block relies on is said at it.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// The version of the interface that is asked for; client libraries from 7.3 on
/// have it.
pub(super) const API_VERSION: c_int = 730;

/// What `fdb_error_predicate` is asked: whether the transaction has certainly
/// not happened, and can be tried again.
const RETRYABLE_NOT_COMMITTED: c_int = 50_002;

const OPTION_READ_YOUR_WRITES_DISABLE: c_int = 51;
const OPTION_TIMEOUT: c_int = 500;

const MODE_WANT_ALL: c_int = -2;
const MODE_EXACT: c_int = 0;

/// A setting of TLS, for the whole client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TlsOption {
    Certificate(PathBuf),
    Key(PathBuf),
    Authorities(PathBuf),
    VerifyPeers(String),
}

impl TlsOption {
    fn code_and_value(&self) -> (c_int, &[u8]) {
        match self {
            Self::Certificate(path) => (43, path.as_os_str().as_bytes()),
            Self::Key(path) => (46, path.as_os_str().as_bytes()),
            Self::VerifyPeers(pattern) => (47, pattern.as_bytes()),
            Self::Authorities(path) => (53, path.as_os_str().as_bytes()),
        }
    }
}

/// An error code of the client library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub(super) c_int);

impl Code {
    /// The time of the transaction is over.
    pub(super) const TIMED_OUT: Self = Self(1031);

    fn check(code: c_int) -> Result<(), Self> {
        if code == 0 { Ok(()) } else { Err(Self(code)) }
    }
}

/// Why the client library is not at hand.
pub(super) enum Unusable {
    /// There is none, or something else.
    Library(libloading::Error),
    /// It said no when it was asked for this.
    Refused { what: &'static str, code: Code, said: String },
    /// It is open already, with other settings.
    Other,
    /// Its thread cannot be started.
    Thread(std::io::Error),
}

macro_rules! functions {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions, with the types that `fdb_c.h` gives them.
        struct Functions {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            /// Finds them by their names.
            ///
            /// # Safety
            /// `library` is FoundationDB's client library, or has functions of
            /// the same names and types.
            unsafe fn find(library: &Library) -> Result<Self, libloading::Error> {
                // SAFETY: what the caller promises.
                unsafe {
                    Ok(Self {
                        $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)*
                    })
                }
            }
        }
    };
}

functions! {
    fdb_select_api_version_impl(c_int, c_int) -> c_int;
    fdb_get_client_version() -> *const c_char;
    fdb_get_error(c_int) -> *const c_char;
    fdb_error_predicate(c_int, c_int) -> c_int;
    fdb_network_set_option(c_int, *const u8, c_int) -> c_int;
    fdb_setup_network() -> c_int;
    fdb_run_network() -> c_int;
    fdb_stop_network() -> c_int;
    fdb_create_database(*const c_char, *mut *mut RawDatabase) -> c_int;
    fdb_database_destroy(*mut RawDatabase);
    fdb_database_create_transaction(*mut RawDatabase, *mut *mut RawTransaction) -> c_int;
    fdb_transaction_destroy(*mut RawTransaction);
    fdb_transaction_set_option(*mut RawTransaction, c_int, *const u8, c_int) -> c_int;
    fdb_transaction_get(*mut RawTransaction, *const u8, c_int, c_int) -> *mut RawFuture;
    fdb_transaction_get_range(
        *mut RawTransaction, *const u8, c_int, c_int, c_int, *const u8, c_int, c_int, c_int,
        c_int, c_int, c_int, c_int, c_int, c_int
    ) -> *mut RawFuture;
    fdb_transaction_set(*mut RawTransaction, *const u8, c_int, *const u8, c_int);
    fdb_transaction_clear(*mut RawTransaction, *const u8, c_int);
    fdb_transaction_clear_range(*mut RawTransaction, *const u8, c_int, *const u8, c_int);
    fdb_transaction_commit(*mut RawTransaction) -> *mut RawFuture;
    fdb_transaction_on_error(*mut RawTransaction, c_int) -> *mut RawFuture;
    fdb_future_destroy(*mut RawFuture);
    fdb_future_block_until_ready(*mut RawFuture) -> c_int;
    fdb_future_get_error(*mut RawFuture) -> c_int;
    fdb_future_get_value(*mut RawFuture, *mut c_int, *mut *const u8, *mut c_int) -> c_int;
    fdb_future_get_keyvalue_array(
        *mut RawFuture, *mut *const RawRow, *mut c_int, *mut c_int
    ) -> c_int;
}

/// `FDBDatabase`, known to the library alone.
#[repr(C)]
struct RawDatabase([u8; 0]);

/// `FDBTransaction`, known to the library alone.
#[repr(C)]
struct RawTransaction([u8; 0]);

/// `FDBFuture`, known to the library alone.
#[repr(C)]
struct RawFuture([u8; 0]);

/// `FDBKeyValue`, which the header packs to four bytes.
#[repr(C, packed(4))]
struct RawRow {
    key: *const u8,
    key_length: c_int,
    value: *const u8,
    value_length: c_int,
}

/// The client library of this process.
pub(super) struct Client {
    functions: Functions,
    library: PathBuf,
    options: Vec<TlsOption>,
}

static CLIENT: OnceLock<Client> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());
static NETWORK: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);

unsafe extern "C" {
    // Of the C library, which every program here has.
    safe fn atexit(function: extern "C" fn()) -> c_int;
}

/// Stops the network thread at the end of the process: the library takes its
/// data down then, and the thread would still use them. Registered after the
/// library was opened, it is called before that.
extern "C" fn stop_network() {
    if let Some(client) = CLIENT.get() {
        // SAFETY: the network was set up. Nothing can be done about an error.
        unsafe { (client.functions.fdb_stop_network)() };
    }
    let thread = NETWORK.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(thread) = thread {
        let _ = thread.join();
    }
}

impl Client {
    /// The client library `library`, opened and with its network running, which
    /// happens at the first call.
    pub(super) fn start(
        library: &Path,
        options: Vec<TlsOption>,
    ) -> Result<&'static Self, Unusable> {
        let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = CLIENT.get() {
            let same = client.library == library && client.options == options;
            return if same { Ok(client) } else { Err(Unusable::Other) };
        }
        // SAFETY: opening a library runs its constructors. The file is the one
        // that the configuration of this node names, as trusted as the program.
        let opened = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_LOCAL) };
        let opened = opened.map_err(Unusable::Library)?;
        // SAFETY: as above; a library that lacks one of the names is refused.
        let functions = unsafe { Functions::find(&opened) }.map_err(Unusable::Library)?;
        // Never closed: its thread runs until the process ends.
        std::mem::forget(opened);
        let client = Self { functions, library: library.to_owned(), options };
        client.set_up()?;
        let client = CLIENT.get_or_init(|| client);
        let run = client.functions.fdb_run_network;
        let thread = std::thread::Builder::new().name("foundationdb".into()).spawn(move || {
            // SAFETY: called once, after the network was set up. It returns
            // when the network is stopped; an error ends it earlier, and then
            // transactions time out.
            unsafe { run() };
        });
        *NETWORK.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(thread.map_err(Unusable::Thread)?);
        atexit(stop_network);
        Ok(client)
    }

    fn set_up(&self) -> Result<(), Unusable> {
        let refused = |what| move |code| Unusable::Refused { what, code, said: self.text(code) };
        // SAFETY: no pointers, and the first call into the library.
        let selected =
            unsafe { (self.functions.fdb_select_api_version_impl)(API_VERSION, API_VERSION) };
        Code::check(selected).map_err(refused("API version 730"))?;
        for option in &self.options {
            let (code, value) = option.code_and_value();
            // SAFETY: the library copies the bytes.
            let set = unsafe {
                (self.functions.fdb_network_set_option)(code, value.as_ptr(), length(value))
            };
            Code::check(set).map_err(refused("its TLS settings"))?;
        }
        // SAFETY: no pointers; the version is selected.
        Code::check(unsafe { (self.functions.fdb_setup_network)() }).map_err(refused("its network"))
    }

    /// What the library says of itself: version, source, protocol.
    pub(super) fn version(&self) -> String {
        // SAFETY: a constant of the library that ends with a zero.
        let text = unsafe { CStr::from_ptr((self.functions.fdb_get_client_version)()) };
        text.to_string_lossy().into_owned()
    }

    /// What a code means, in the words of the library.
    pub(super) fn text(&self, code: Code) -> String {
        // SAFETY: any code is accepted, and answered with a constant of the
        // library that ends with a zero.
        let text = unsafe { CStr::from_ptr((self.functions.fdb_get_error)(code.0)) };
        text.to_string_lossy().into_owned()
    }

    /// Whether a transaction that ended with `code` has certainly not happened.
    pub(super) fn has_not_happened(&self, code: Code) -> bool {
        // SAFETY: no pointers.
        unsafe { (self.functions.fdb_error_predicate)(RETRYABLE_NOT_COMMITTED, code.0) != 0 }
    }

    /// The database that a cluster file names. Nothing is sent to it.
    pub(super) fn database(&'static self, cluster_file: &CStr) -> Result<Database, Code> {
        let mut out = std::ptr::null_mut();
        // SAFETY: a string that ends with a zero, and a place for the answer.
        let code =
            unsafe { (self.functions.fdb_create_database)(cluster_file.as_ptr(), &raw mut out) };
        Code::check(code)?;
        let raw = NonNull::new(out).ok_or(Code(NULL))?;
        Ok(Database { client: self, raw })
    }
}

/// `internal_error`, for a handle that the library owes.
const NULL: c_int = 4100;

/// The path as the interface takes it; `None` for one with a zero in it.
pub(super) fn path(path: &OsStr) -> Option<CString> {
    CString::new(path.as_bytes()).ok()
}

/// A length as the interface takes it. Callers keep to limits far below; a
/// length over `c_int` is cut, which leaves out bytes and reads none too many.
fn length(bytes: &[u8]) -> c_int {
    c_int::try_from(bytes.len()).unwrap_or(c_int::MAX)
}

/// A database of the client library.
pub(super) struct Database {
    client: &'static Client,
    raw: NonNull<RawDatabase>,
}

// SAFETY: the interface's handles may be used by any thread, and by several.
unsafe impl Send for Database {}
// SAFETY: as above.
unsafe impl Sync for Database {}

impl Database {
    /// A transaction that is over after `timeout`, its retries included.
    pub(super) fn transaction(&self, timeout: Duration) -> Result<Transaction, Code> {
        let mut out = std::ptr::null_mut();
        // SAFETY: the handle is ours until it is dropped.
        let code = unsafe {
            (self.client.functions.fdb_database_create_transaction)(self.raw.as_ptr(), &raw mut out)
        };
        Code::check(code)?;
        let raw = NonNull::new(out).ok_or(Code(NULL))?;
        let transaction = Transaction { client: self.client, raw };
        let timeout = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        transaction.set_option(OPTION_TIMEOUT, &timeout.clamp(1, i32::MAX.into()).to_le_bytes())?;
        Ok(transaction)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: the last use of the handle.
        unsafe { (self.client.functions.fdb_database_destroy)(self.raw.as_ptr()) };
    }
}

/// A transaction. Dropping it cancels what is under way in it.
pub(super) struct Transaction {
    client: &'static Client,
    raw: NonNull<RawTransaction>,
}

// SAFETY: the interface's handles may be used by any thread, and by several.
unsafe impl Send for Transaction {}
// SAFETY: as above.
unsafe impl Sync for Transaction {}

/// How much of a range is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// So many rows at most, in as many answers as that takes.
    Exactly(u32),
    /// So many rows at most, and as many of them as one answer holds.
    Page(u32),
}

impl Transaction {
    fn set_option(&self, option: c_int, value: &[u8]) -> Result<(), Code> {
        // SAFETY: the handle is ours, and the library copies the bytes.
        Code::check(unsafe {
            (self.client.functions.fdb_transaction_set_option)(
                self.raw.as_ptr(),
                option,
                value.as_ptr(),
                length(value),
            )
        })
    }

    /// Makes it one that only reads, and keeps nothing of what it read.
    pub(super) fn read_only(self) -> Result<Self, Code> {
        self.set_option(OPTION_READ_YOUR_WRITES_DISABLE, &[])?;
        Ok(self)
    }

    /// Asks for the value of a key. With `snapshot`, others may write it
    /// meanwhile; without, the commit then fails.
    pub(super) fn get(&self, key: &[u8], snapshot: bool) -> Future<Value> {
        // SAFETY: the handle is ours, and the library copies the bytes.
        Future::new(self.client, unsafe {
            (self.client.functions.fdb_transaction_get)(
                self.raw.as_ptr(),
                key.as_ptr(),
                length(key),
                snapshot.into(),
            )
        })
    }

    /// Asks for rows from `begin` (included) to `end` (excluded), as a
    /// snapshot.
    pub(super) fn range(&self, begin: &[u8], end: &[u8], wanted: Wanted) -> Future<Rows> {
        let (mode, limit) = match wanted {
            Wanted::Exactly(rows) => (MODE_EXACT, rows),
            Wanted::Page(rows) => (MODE_WANT_ALL, rows),
        };
        // Of 0 all would come.
        let limit = c_int::try_from(limit.max(1)).unwrap_or(c_int::MAX);
        // SAFETY: the handle is ours, and the library copies the bytes. Both
        // ends are the first key that is not less: not `or equal`, offset 1.
        Future::new(self.client, unsafe {
            (self.client.functions.fdb_transaction_get_range)(
                self.raw.as_ptr(),
                begin.as_ptr(),
                length(begin),
                0,
                1,
                end.as_ptr(),
                length(end),
                0,
                1,
                limit,
                0,
                mode,
                0,
                1,
                0,
            )
        })
    }

    /// Sets a key.
    pub(super) fn set(&self, key: &[u8], value: &[u8]) {
        // SAFETY: the handle is ours, and the library copies the bytes.
        unsafe {
            (self.client.functions.fdb_transaction_set)(
                self.raw.as_ptr(),
                key.as_ptr(),
                length(key),
                value.as_ptr(),
                length(value),
            );
        }
    }

    /// Removes a key.
    pub(super) fn clear(&self, key: &[u8]) {
        // SAFETY: the handle is ours, and the library copies the bytes.
        unsafe {
            (self.client.functions.fdb_transaction_clear)(
                self.raw.as_ptr(),
                key.as_ptr(),
                length(key),
            );
        }
    }

    /// Removes the keys from `begin` (included) to `end` (excluded).
    pub(super) fn clear_range(&self, begin: &[u8], end: &[u8]) {
        // SAFETY: the handle is ours, and the library copies the bytes.
        unsafe {
            (self.client.functions.fdb_transaction_clear_range)(
                self.raw.as_ptr(),
                begin.as_ptr(),
                length(begin),
                end.as_ptr(),
                length(end),
            );
        }
    }

    /// Commits.
    pub(super) fn commit(&self) -> Future<Nothing> {
        // SAFETY: the handle is ours.
        Future::new(self.client, unsafe {
            (self.client.functions.fdb_transaction_commit)(self.raw.as_ptr())
        })
    }

    /// After `code`: waits as long as the library finds right and makes the
    /// transaction new, or fails where trying again is no use.
    pub(super) fn on_error(&self, code: Code) -> Future<Nothing> {
        // SAFETY: the handle is ours.
        Future::new(self.client, unsafe {
            (self.client.functions.fdb_transaction_on_error)(self.raw.as_ptr(), code.0)
        })
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // SAFETY: the last use of the handle.
        unsafe { (self.client.functions.fdb_transaction_destroy)(self.raw.as_ptr()) };
    }
}

/// What a future brings: the value of a key.
pub(super) enum Value {}
/// What a future brings: rows, and whether there may be more.
pub(super) enum Rows {}
/// What a future brings: that it is done.
pub(super) enum Nothing {}

/// An answer that arrives later. It has its own memory, apart from its
/// transaction's.
pub(super) struct Future<T> {
    client: &'static Client,
    raw: NonNull<RawFuture>,
    brings: PhantomData<T>,
}

impl<T> Future<T> {
    fn new(client: &'static Client, raw: *mut RawFuture) -> Self {
        // The interface answers errors with a future too; without memory for
        // one, it ends the process itself.
        let raw = NonNull::new(raw).unwrap_or_else(|| std::process::abort());
        Self { client, raw, brings: PhantomData }
    }

    fn wait(&self) -> Result<(), Code> {
        let raw = self.raw.as_ptr();
        // SAFETY: the handle is ours, and this is not the network thread.
        Code::check(unsafe { (self.client.functions.fdb_future_block_until_ready)(raw) })?;
        // SAFETY: the handle is ours.
        Code::check(unsafe { (self.client.functions.fdb_future_get_error)(raw) })
    }
}

impl Future<Nothing> {
    /// Waits until it is done.
    pub(super) fn done(self) -> Result<(), Code> {
        self.wait()
    }
}

impl Future<Value> {
    /// Waits for the value.
    pub(super) fn value(self) -> Result<Option<Vec<u8>>, Code> {
        self.wait()?;
        let (mut present, mut value, mut value_length) = (0, std::ptr::null(), 0);
        // SAFETY: the handle is ours and ready, of a read of a key, and there
        // is a place for each answer.
        Code::check(unsafe {
            (self.client.functions.fdb_future_get_value)(
                self.raw.as_ptr(),
                &raw mut present,
                &raw mut value,
                &raw mut value_length,
            )
        })?;
        if present == 0 {
            return Ok(None);
        }
        // SAFETY: present, so the library says where the value is; it stays
        // there until the future is destroyed.
        Ok(Some(unsafe { copy(value, value_length) }))
    }
}

impl Future<Rows> {
    /// Waits for the rows; also whether the range may have more.
    pub(super) fn rows(self) -> Result<(Vec<crate::Row>, bool), Code> {
        self.wait()?;
        let (mut rows, mut count, mut more) = (std::ptr::null::<RawRow>(), 0, 0);
        // SAFETY: the handle is ours and ready, of a read of a range, and there
        // is a place for each answer.
        Code::check(unsafe {
            (self.client.functions.fdb_future_get_keyvalue_array)(
                self.raw.as_ptr(),
                &raw mut rows,
                &raw mut count,
                &raw mut more,
            )
        })?;
        let count = usize::try_from(count).unwrap_or(0);
        let row = |at: usize| {
            // SAFETY: the library says that `count` rows are there, packed as
            // `RawRow` is, with the memory that they point to, until the future
            // is destroyed. The row is copied, for it may not be aligned.
            unsafe {
                let row = rows.add(at).read_unaligned();
                (copy(row.key, row.key_length), copy(row.value, row.value_length))
            }
        };
        Ok(((0..count).map(row).collect(), more != 0))
    }
}

impl<T> Drop for Future<T> {
    fn drop(&mut self) {
        // SAFETY: the last use of the handle.
        unsafe { (self.client.functions.fdb_future_destroy)(self.raw.as_ptr()) };
    }
}

/// The bytes at `pointer`.
///
/// # Safety
/// `length` bytes can be read there; of none, it may be anything.
unsafe fn copy(pointer: *const u8, length: c_int) -> Vec<u8> {
    match usize::try_from(length) {
        // SAFETY: what the caller promises.
        Ok(length) if length > 0 => unsafe { std::slice::from_raw_parts(pointer, length) }.to_vec(),
        _ => Vec::new(),
    }
}
