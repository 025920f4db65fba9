//! One consortium for all tests of a file: it takes a while to found one.

#![allow(dead_code)] // Not every file of tests uses everything.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::Context as _;
use hufu_harness::job::{Fleet, enrol, record};
use hufu_harness::readings::{self, Reading};
use hufu_harness::{Consortium, Gateway, Settings, binaries};

/// Devices with keys in software.
pub const SIMULATED: usize = 10;
/// Devices with a TPM.
pub const TPM: usize = 2;

/// A consortium at work.
pub struct World {
    /// The members and their nodes.
    pub consortium: Consortium,
    /// Enrolled and registered devices.
    pub fleet: Fleet,
    /// The operator's gateway, as the operator.
    pub gateway: Gateway,
    /// The readings that ship with the demonstration.
    pub readings: Vec<Reading>,
    /// What was recorded to begin with.
    pub recorded: record::Recorded,
}

/// The consortium of this file of tests, for one test at a time.
///
/// # Errors
/// When it could not be founded; then every test says so.
pub fn world() -> anyhow::Result<MutexGuard<'static, World>> {
    static WORLD: OnceLock<Result<Mutex<World>, String>> = OnceLock::new();
    let world =
        WORLD.get_or_init(|| World::found().map(Mutex::new).map_err(|error| format!("{error:#}")));
    match world {
        // A test that failed leaves the consortium running for the others.
        Ok(world) => Ok(world.lock().unwrap_or_else(PoisonError::into_inner)),
        Err(error) => anyhow::bail!("the consortium was not founded: {error}"),
    }
}

/// Settings of a consortium in a new directory, which goes when the tests end.
pub fn settings(tpm_devices: usize) -> anyhow::Result<Settings> {
    let directory = tempfile::Builder::new().prefix("hufu-test-").tempdir()?.keep();
    Ok(Settings { directory, hufu: binaries::hufu()?, remove: true, tpm_devices })
}

/// A file with the readings that ship with the demonstration, of today.
///
/// # Errors
/// When it cannot be written.
pub fn readings_file(consortium: &Consortium) -> anyhow::Result<PathBuf> {
    let path = consortium.path("readings.csv");
    readings::save(&readings::recent()?, &path)?;
    Ok(path)
}

impl World {
    fn found() -> anyhow::Result<Self> {
        let consortium = Consortium::ready(settings(TPM)?)?;
        let mut fleet = enrol::assemble(&consortium, SIMULATED)?;
        let est = consortium.est()?;
        enrol::simulated(&est, &mut fleet, |_| ()).context("EST")?;
        enrol::attested(&consortium, &fleet, |_| ()).context("TPM")?;
        record::register(&consortium, &fleet, |_| ()).context("registry")?;
        record::watch(&consortium, &fleet, |_| ()).context("watches")?;
        let gateway = consortium.gateway("operator", "maker", "operator")?;
        let readings = readings::recent()?;
        let recorded = record::simulated(&gateway, &mut fleet, &readings, |_| ())?;
        Ok(Self { consortium, fleet, gateway, readings, recorded })
    }
}
