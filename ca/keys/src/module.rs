//! One PKCS#11 module per process, however many tokens are opened through it.
//!
//! Rules kept here:
//! - A module is initialised by its first user and finalised, explicitly, by
//!   its last. Initialising twice crashes some modules (SoftHSM2 among them),
//!   so both happen under one process-wide lock.
//! - The library is never unloaded: modules that registered exit handlers
//!   crash the process when they are.
//! - Every call into the module happens inside [`Module::enter`]. A reload
//!   (finalise, initialise) waits until nobody is inside, and raises the epoch,
//!   by which users know that their session handles mean nothing any more.
//! - A handle of an older epoch is never used, not even to close it: modules
//!   count handles from the start again, and it may be another's by now.
//! - A PIN that a token refused is remembered, as a keyed hash, until the
//!   process ends, and is not shown to that token again.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error as TokenError, RvError},
};

use crate::error::{Error, Result};

/// How long a reload waits for calls in progress to come back. Other tokens of
/// the module wait with it.
const RELOAD_PATIENCE: Duration = Duration::from_millis(500);

/// A token, across slots and modules: canonical module path, label, serial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TokenId {
    pub module: PathBuf,
    pub label: String,
    pub serial: String,
}

/// What this process knows about all modules and tokens.
#[derive(Default)]
struct Process {
    /// Libraries, loaded once and for good.
    libraries: HashMap<PathBuf, Pkcs11>,
    /// Initialised modules and the number of their users.
    active: HashMap<PathBuf, (Arc<Module>, usize)>,
    /// Refused PINs.
    refused: HashSet<(TokenId, u64)>,
}

static PROCESS: LazyLock<Mutex<Process>> = LazyLock::new(Mutex::default);

/// Nothing in this file leaves a lock's content half changed, so a panic of
/// another thread does not spoil it.
fn process() -> MutexGuard<'static, Process> {
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who is logged in to a token of this module, as far as this process goes.
/// Login belongs to the process, not to the session (PKCS#11 §5.6).
struct Login {
    fingerprint: u64,
    users: usize,
}

struct Gate {
    pkcs11: Pkcs11,
    initialised: bool,
}

/// An initialised module.
pub(crate) struct Module {
    path: PathBuf,
    gate: RwLock<Gate>,
    epoch: AtomicU64,
    /// Held while reloading; when that was done last.
    reloaded: Mutex<Option<Instant>>,
    /// A reload wants in. Without it, busy workers of a healthy token would
    /// keep the gate taken for good.
    reloading: AtomicBool,
    logins: Mutex<HashMap<TokenId, Login>>,
}

/// Proof of being inside the module: no reload happens while it lives.
///
/// Never hold two in one thread; a waiting reload between them is a deadlock.
pub(crate) struct Inside<'a> {
    gate: RwLockReadGuard<'a, Gate>,
    pub epoch: u64,
}

impl Inside<'_> {
    pub fn pkcs11(&self) -> &Pkcs11 {
        &self.gate.pkcs11
    }
}

impl Module {
    /// Steps inside.
    ///
    /// # Errors
    /// CKR_CRYPTOKI_NOT_INITIALIZED after a reload that failed.
    pub fn enter(&self) -> Result<Inside<'_>, TokenError> {
        if self.reloading.load(Ordering::Acquire) {
            drop(self.reloaded.lock());
        }
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if !gate.initialised {
            return Err(TokenError::Pkcs11(
                RvError::CryptokiNotInitialized,
                cryptoki::context::Function::Initialize,
            ));
        }
        let epoch = self.epoch.load(Ordering::Acquire);
        Ok(Inside { gate, epoch })
    }

    /// Canonical path of the library.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finalises and initialises the module, unless that was done less than
    /// `interval` ago or a call inside does not come back. Returns whether
    /// the module is freshly initialised.
    pub fn reload(&self, interval: Duration) -> Result<bool> {
        let mut reloaded = self.reloaded.lock().unwrap_or_else(PoisonError::into_inner);
        if reloaded.is_some_and(|at| at.elapsed() < interval) {
            return Ok(false);
        }
        self.reloading.store(true, Ordering::Release);
        let outcome = self.reload_gate();
        self.reloading.store(false, Ordering::Release);
        if !matches!(outcome, Ok(false)) {
            *reloaded = Some(Instant::now());
        }
        outcome
    }

    fn reload_gate(&self) -> Result<bool> {
        let patience = Instant::now() + RELOAD_PATIENCE;
        let mut gate = loop {
            match self.gate.try_write() {
                Ok(gate) => break gate,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(TryLockError::WouldBlock) => return Ok(false),
            }
        };
        // Before anything else: from here on old handles are void.
        self.epoch.fetch_add(1, Ordering::AcqRel);
        if gate.initialised {
            gate.initialised = false;
            // A module in trouble may fail to finalise; initialising tells.
            if let Err(error) = gate.pkcs11.clone().finalize() {
                tracing::warn!(module = %self.path.display(), %error, "module does not finalise");
            }
        }
        initialise(&self.path, &gate.pkcs11)?;
        gate.initialised = true;
        Ok(true)
    }

    /// Runs `login` for a token unless the PIN is known to be refused, and
    /// remembers the outcome. `login` gets to know whether a user of this
    /// process is already registered with the same PIN.
    ///
    /// One login at a time per module: two custodies that open the same token
    /// together would otherwise both show it the PIN.
    pub fn login(
        &self,
        token: &TokenId,
        fingerprint: u64,
        login: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = || Error::WrongPin { label: token.label.clone() };
        if process().refused.contains(&(token.clone(), fingerprint)) {
            return Err(wrong());
        }
        // The token cannot be asked while another custody is logged in, but
        // that one's PIN was right.
        if let Some(known) = logins.get(token)
            && known.fingerprint != fingerprint
        {
            return Err(wrong());
        }
        match login() {
            Ok(()) => {
                logins.entry(token.clone()).or_insert(Login { fingerprint, users: 0 });
                Ok(())
            }
            Err(error) => {
                if matches!(error, Error::WrongPin { .. }) {
                    process().refused.insert((token.clone(), fingerprint));
                }
                Err(error)
            }
        }
    }

    /// Registers one more custody as user of a login.
    pub fn retain_login(&self, token: &TokenId) {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(login) = logins.get_mut(token) {
            login.users += 1;
        }
    }

    /// Takes one custody off a login. Returns whether it was the last, which
    /// then logs out: a logout by any session logs out all of them.
    pub fn release_login(&self, token: &TokenId) -> bool {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(login) = logins.get_mut(token) else {
            return true;
        };
        login.users = login.users.saturating_sub(1);
        let last = login.users == 0;
        if last {
            logins.remove(token);
        }
        last
    }
}

/// A counted use of a [`Module`]. The last one to go finalises it.
pub(crate) struct ModuleUse(Arc<Module>);

impl ModuleUse {
    /// Loads and initialises the module at `path`, or joins its users.
    pub fn acquire(path: &Path) -> Result<Self> {
        // Two names of one library must not initialise it twice.
        let path = path
            .canonicalize()
            .map_err(|source| Error::Module { path: path.to_owned(), source: source.into() })?;
        let mut process = process();
        if let Some((module, users)) = process.active.get_mut(&path) {
            *users += 1;
            return Ok(Self(Arc::clone(module)));
        }
        let pkcs11 = match process.libraries.get(&path) {
            Some(library) => library.clone(),
            None => {
                let library = Pkcs11::new(&path).map_err(|source| Error::Module {
                    path: path.clone(),
                    source: source.into(),
                })?;
                process.libraries.insert(path.clone(), library.clone());
                library
            }
        };
        initialise(&path, &pkcs11)?;
        let module = Arc::new(Module {
            path: path.clone(),
            gate: RwLock::new(Gate { pkcs11, initialised: true }),
            epoch: AtomicU64::new(1),
            reloaded: Mutex::new(None),
            reloading: AtomicBool::new(false),
            logins: Mutex::default(),
        });
        process.active.insert(path, (Arc::clone(&module), 1));
        Ok(Self(module))
    }
}

impl std::ops::Deref for ModuleUse {
    type Target = Module;

    fn deref(&self) -> &Module {
        &self.0
    }
}

impl Drop for ModuleUse {
    fn drop(&mut self) {
        let mut process = process();
        let Some((_, users)) = process.active.get_mut(&self.0.path) else {
            return;
        };
        *users -= 1;
        if *users > 0 {
            return;
        }
        process.active.remove(&self.0.path);
        // Nobody is inside: every user held a `ModuleUse`, and all are gone.
        let mut gate = self.0.gate.write().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut gate.initialised)
            && let Err(error) = gate.pkcs11.clone().finalize()
        {
            tracing::warn!(module = %self.0.path.display(), %error, "module does not finalise");
        }
    }
}

/// Forgets refused PINs of a token that was just made anew.
pub(crate) fn forget_refusals(module: &Path, label: &str) {
    process().refused.retain(|(token, _)| token.module != module || token.label != label);
}

fn initialise(path: &Path, pkcs11: &Pkcs11) -> Result<()> {
    pkcs11
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .map_err(|source| Error::Module { path: path.to_owned(), source: source.into() })
}
