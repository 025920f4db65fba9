//! Real tokens for tests: SoftHSM2 in a temporary directory, one process per
//! test, and a layer that injects faults. Feature `testing`.
//!
//! SoftHSM2 reads its configuration from the environment variable
//! `SOFTHSM2_CONF`, once per process. Tests of one binary share a process and
//! must not set variables in it, so [`isolated`] runs each test again, alone,
//! in a child process with the variable set:
//!
//! ```no_run
//! use hufu_keys::{Custody, KeyAlgorithm, testing::isolated};
//!
//! # #[allow(clippy::test_attr_in_doctest)]
//! #[test]
//! fn signs() {
//!     isolated(|site| {
//!         site.create_token("member-a");
//!         let custody = Custody::open(site.config("member-a"), site.pin()).unwrap();
//!         custody.generate("vote", KeyAlgorithm::P256).unwrap();
//!     });
//! }
//! ```
//!
//! Whoever starts whole processes instead makes a [`Site`] and passes
//! [`Site::environment`] to them.

mod faults;

use std::{
    any::type_name,
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use zeroize::Zeroizing;

pub use self::faults::{ALWAYS, Faults, Knob, Meter};
use crate::{Pin, SOFTHSM2_MODULE, TokenConfig, TokenDescription, initialise_token};

/// The user's PIN of every token made here.
pub const USER_PIN: &str = "user-1234";
/// The security officer's PIN of every token made here.
pub const SO_PIN: &str = "officer-5678";

/// Set in a child process: the directory of its site.
const SITE_VARIABLE: &str = "HUFU_TEST_SITE";
/// A child that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// A directory with SoftHSM2 tokens of its own.
#[derive(Debug)]
pub struct Site {
    directory: PathBuf,
    /// Removes the directory; the child of [`isolated`] leaves that to the
    /// parent.
    _owned: Option<TempDir>,
}

impl Site {
    /// A new site in the system's temporary directory, removed on drop.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn new() -> io::Result<Self> {
        let owned = tempfile::Builder::new().prefix("hufu-token-").tempdir()?;
        let directory = owned.path().to_owned();
        fs::create_dir(directory.join("tokens"))?;
        fs::write(
            directory.join("softhsm2.conf"),
            format!(
                "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
                directory.join("tokens").display()
            ),
        )?;
        Faults::prepare(&directory)?;
        Ok(Self { directory, _owned: Some(owned) })
    }

    /// The site of the parent process, in a child of [`isolated`] or
    /// [`rerun`].
    fn inherited() -> Option<Self> {
        env::var_os(SITE_VARIABLE)
            .map(|directory| Self { directory: directory.into(), _owned: None })
    }

    /// Where everything of the site is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where SoftHSM2 keeps the tokens, a directory each.
    #[must_use]
    pub fn tokens(&self) -> PathBuf {
        self.directory.join("tokens")
    }

    /// Environment of a process that is to use the site's tokens.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("SOFTHSM2_CONF", self.directory.join("softhsm2.conf")),
            (Faults::MODULE_VARIABLE, SOFTHSM2_MODULE.into()),
            (Faults::CONTROL_VARIABLE, Faults::control_file(&self.directory)),
        ]
    }

    /// Makes a token with [`USER_PIN`] and [`SO_PIN`], in this process.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn create_token(&self, label: &str) -> TokenDescription {
        initialise_token(Path::new(SOFTHSM2_MODULE), label, &pin(SO_PIN), &pin(USER_PIN))
            .expect("a SoftHSM2 token; is the Debian package `softhsm2` installed?")
    }

    /// Configuration of a token, straight on SoftHSM2.
    #[must_use]
    pub fn config(&self, label: &str) -> TokenConfig {
        TokenConfig::new(SOFTHSM2_MODULE, label)
    }

    /// The user's PIN.
    #[must_use]
    pub fn pin(&self) -> Pin {
        pin(USER_PIN)
    }

    /// Starts the fault layer: open tokens through [`Faults::module`].
    ///
    /// # Panics
    /// If it does not compile.
    #[must_use]
    pub fn faults(&self) -> Faults {
        Faults::build(&self.directory).expect("a fault layer; is there a C compiler `cc`?")
    }
}

/// A PIN from a constant.
///
/// # Panics
/// If it is no PIN.
#[must_use]
pub fn pin(text: &str) -> Pin {
    Pin::new(Zeroizing::new(text.to_owned())).expect("a PIN")
}

/// Runs the body of a benchmark's or example's `main` in a child process with
/// a [`Site`], passing on arguments, output and exit code.
///
/// # Panics
/// If the child cannot be started or is killed.
pub fn rerun(body: impl FnOnce(&Site)) {
    if let Some(site) = Site::inherited() {
        return body(&site);
    }
    let site = Site::new().expect("a temporary directory");
    let status = Command::new(env::current_exe().expect("the program's own path"))
        .args(env::args_os().skip(1))
        .env(SITE_VARIABLE, &site.directory)
        .envs(site.environment())
        .status()
        .expect("a child process");
    assert!(status.success(), "child process: {status}");
}

/// Runs the body of a test alone in a process of its own, with a [`Site`].
///
/// Call it as the whole of a `#[test]` function: the test to run again is
/// found by the name of the closure's type.
///
/// # Panics
/// If the body does, or the process crashes, hangs, or ends without having
/// run the body.
pub fn isolated<F: FnOnce(&Site)>(body: F) {
    if let Some(directory) = env::var_os(SITE_VARIABLE) {
        let site = Site { directory: directory.into(), _owned: None };
        body(&site);
        fs::write(site.directory.join("done"), "").expect("a mark");
        return;
    }
    let site = Site::new().expect("a temporary directory");
    // `crate::module::test::{{closure}}`; the harness leaves out the crate.
    let path = type_name::<F>().trim_end_matches("::{{closure}}");
    let test = path.split_once("::").map_or(path, |(_, rest)| rest);
    let log = site.directory.join("log");
    let file = fs::File::create(&log).expect("a log file");
    let mut child = Command::new(env::current_exe().expect("the test's own path"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(SITE_VARIABLE, &site.directory)
        .envs(site.environment())
        .stdout(file.try_clone().expect("a log file"))
        .stderr(file)
        .spawn()
        .expect("a child process");
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().expect("a child process") {
            Some(status) => break Some(status),
            None if Instant::now() >= until => {
                child.kill().expect("a child process");
                child.wait().expect("a child process");
                break None;
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let done = site.directory.join("done").exists();
    if !done || !status.is_some_and(|status| status.success()) {
        panic!(
            "{test} in its own process: {}, body {}\n{}",
            status.map_or("hung, killed".to_owned(), |status| status.to_string()),
            if done { "done" } else { "not done" },
            fs::read_to_string(log).unwrap_or_default()
        );
    }
}
