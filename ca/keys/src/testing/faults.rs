//! Control of the fault layer, see `faults.c`.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

/// For ever, for the knobs that count down.
pub const ALWAYS: u64 = u64::MAX;

/// What can be made to go wrong. All are 0 (off) at first.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Knob {
    /// CKR code that C_Sign answers with, while [`Knob::SignTimes`] lasts.
    SignCode = 0,
    /// So many C_Sign fail.
    SignTimes = 1,
    /// Each C_Sign takes this much longer, in microseconds.
    SignDelayMicros = 2,
    /// Most sessions open at a time; then CKR_SESSION_COUNT.
    SessionLimit = 3,
    /// At the next C_SignInit, C_CloseAllSessions on its token; then 0 again.
    CloseAll = 4,
    /// At the next C_SignInit, C_Logout by another session; then 0 again.
    LogOut = 5,
    /// CKR code that C_Login answers with, while [`Knob::LoginTimes`] lasts.
    LoginCode = 6,
    /// So many C_Login fail without reaching the token.
    LoginTimes = 7,
    /// CKR code that C_OpenSession answers with, while [`Knob::OpenTimes`] lasts.
    OpenCode = 8,
    /// So many C_OpenSession fail.
    OpenTimes = 9,
    /// C_Sign does not return while this is not 0.
    Hang = 10,
    /// No token is present while this is not 0.
    Unplugged = 11,
    /// What C_Sign returns is spoilt: 1 one byte short, 2 all zeros, 3 in DER.
    Spoil = 12,
    /// C_GenerateKeyPair makes extractable keys.
    Weaken = 13,
    /// C_GetTokenInfo fills the label up with NUL instead of blanks.
    NulLabels = 14,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Meter {
    /// C_Login calls.
    Logins = 32,
    /// C_Initialize calls.
    Initialisations = 33,
    /// C_Finalize calls.
    Finalisations = 34,
    /// C_Sign calls that were to return a signature.
    Signatures = 35,
    /// C_FindObjectsInit calls.
    Searches = 36,
    /// Sessions open now.
    Sessions = 37,
    /// Most sessions ever open at a time.
    MostSessions = 38,
    /// C_Initialize calls while initialised.
    DoubleInitialisations = 39,
}

/// A running fault layer. Reaches across processes.
#[derive(Debug)]
pub struct Faults {
    control: File,
    module: PathBuf,
}

impl Faults {
    pub(super) const MODULE_VARIABLE: &str = "HUFU_FAULTS_MODULE";
    pub(super) const CONTROL_VARIABLE: &str = "HUFU_FAULTS_CONTROL";

    pub(super) fn control_file(directory: &Path) -> PathBuf {
        directory.join("faults.control")
    }

    /// Makes the control file in `directory`, all off.
    pub(super) fn prepare(directory: &Path) -> io::Result<()> {
        std::fs::write(Self::control_file(directory), [0; 64 * 8])
    }

    /// Compiles the layer into `directory` with the system's C compiler.
    pub(super) fn build(directory: &Path) -> io::Result<Self> {
        let source = directory.join("faults.c");
        let module = directory.join("libfaults.so");
        std::fs::write(&source, include_str!("faults.c"))?;
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&module, &source])
            .args(["-ldl", "-lpthread"])
            .status()?;
        if !status.success() {
            return Err(io::Error::other("the fault layer does not compile"));
        }
        let control = File::options().read(true).write(true).open(Self::control_file(directory))?;
        Ok(Self { control, module })
    }

    /// Path of the PKCS#11 module to open tokens through.
    #[must_use]
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// Turns a knob.
    ///
    /// # Panics
    /// If the control file is gone.
    pub fn set(&self, knob: Knob, value: u64) {
        self.control.write_all_at(&value.to_ne_bytes(), knob as u64 * 8).expect("control file");
    }

    /// Reads a meter.
    ///
    /// # Panics
    /// If the control file is gone.
    #[must_use]
    pub fn read(&self, meter: Meter) -> u64 {
        let mut value = [0; 8];
        self.control.read_exact_at(&mut value, meter as u64 * 8).expect("control file");
        u64::from_ne_bytes(value)
    }
}
