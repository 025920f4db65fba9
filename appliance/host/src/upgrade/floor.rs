//! The floor: the least sequence number of a release that still runs here.
//!
//! It is the distance of the TPM's counter from where the counter began, which
//! is kept in `/var`. The counter goes up and never down; the volume is sealed
//! to the TPM and to releases of ours, so that nobody else changes where it
//! began. A machine whose volume was wiped begins anew, with nothing to protect.

use std::time::Duration;

use anyhow::Context as _;
use hufu_configuration::files;
use hufu_tpm::device::{Counter, DeviceError};

use super::release::Running;
use crate::site::Site;

/// The machine's TPM, through the kernel's resource manager.
const TPM: &str = "device:/dev/tpmrm0";

/// How often a TPM is asked that does not answer as it should, and how long
/// after another: right after a start, others use it too.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(3);

/// Most bytes of the file that says where the counter began.
const MAX: u64 = 32;

/// The floor; 0 where none was ever set.
///
/// # Errors
/// When the TPM does not answer, or the file is not what it was.
pub fn read(site: &Site) -> anyhow::Result<u32> {
    patiently(PAUSE, || Floor::of(site).read())
}

/// Refuses to run a release below the floor.
///
/// # Errors
/// A sentence for the console; the machine is then to boot something else.
pub fn check(site: &Site) -> anyhow::Result<()> {
    let running = Running::read(site)?;
    let floor = read(site)?;
    anyhow::ensure!(
        running.sequence >= floor,
        "version {} (sequence number {}) is below the floor of this machine, {floor}: it does not \
         run here any more",
        running.version,
        running.sequence
    );
    Ok(())
}

/// Raises the floor to what the running release asks for. It never comes down.
///
/// # Errors
/// When the TPM or the volume does not take it.
pub fn raise(site: &Site) -> anyhow::Result<u32> {
    let running = Running::read(site)?;
    patiently(PAUSE, || Floor::of(site).raise(running.floor))
}

/// Tries again where it is the TPM that failed: a machine should not restart
/// because of one busy moment.
fn patiently(pause: Duration, mut ask: impl FnMut() -> anyhow::Result<u32>) -> anyhow::Result<u32> {
    let mut attempt = 1;
    loop {
        match ask() {
            Err(error) if attempt < ATTEMPTS && error.is::<DeviceError>() => {
                tracing::warn!(attempt, error = format!("{error:#}"), "the TPM; trying again");
                attempt += 1;
                std::thread::sleep(pause);
            }
            answer => return answer,
        }
    }
}

struct Floor<'a> {
    tcti: &'a str,
    site: &'a Site,
}

impl<'a> Floor<'a> {
    fn of(site: &'a Site) -> Self {
        Self { tcti: TPM, site }
    }

    /// The counter's value below which it never was.
    fn base(&self) -> anyhow::Result<Option<u64>> {
        let path = self.site.floor();
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read(&path, MAX)?;
        let text = String::from_utf8_lossy(&text);
        let base = text.trim().parse().with_context(|| {
            format!("{} is not the number that was written there", path.display())
        })?;
        Ok(Some(base))
    }

    fn read(&self) -> anyhow::Result<u32> {
        let Some(base) = self.base()? else { return Ok(0) };
        let counter = Counter::find(self.tcti)?;
        let mut counter = counter.context(
            "the TPM's counter is gone: it was cleared, or it is another TPM; restore a backup",
        )?;
        distance(base, counter.value()?)
    }

    fn raise(&self, floor: u32) -> anyhow::Result<u32> {
        let mut counter = Counter::open(self.tcti)?;
        let mut value = counter.value()?;
        let base = match self.base()? {
            Some(base) => base,
            None => {
                files::write(&self.site.floor(), format!("{value}\n").as_bytes())?;
                value
            }
        };
        while distance(base, value)? < floor {
            counter.increment()?;
            value = counter.value()?;
        }
        distance(base, value)
    }
}

fn distance(base: u64, value: u64) -> anyhow::Result<u32> {
    let distance = value.checked_sub(base).context(
        "the TPM's counter is below where it began: it is another TPM; restore a backup",
    )?;
    u32::try_from(distance).context("the TPM's counter went up by more than any release asks for")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hufu_tpm::swtpm::{Manufacturer, Swtpm};

    use super::*;

    fn site(root: &Path) -> Site {
        let site = Site::new(root, None);
        site.prepare().unwrap();
        site
    }

    #[test]
    fn a_tpm_that_stumbles_is_asked_again() {
        let ask = |failures: u32| {
            let mut asked = 0;
            let answer = patiently(Duration::ZERO, || {
                asked += 1;
                // Nothing is there: the error of a TPM that does not answer.
                if asked <= failures {
                    Counter::find("swtpm:path=/nonexistent")?;
                }
                Ok(7)
            });
            (answer.is_ok(), asked)
        };
        assert_eq!(ask(0), (true, 1));
        assert_eq!(ask(2), (true, 3));
        assert_eq!(ask(99), (false, ATTEMPTS));
        let mut asked = 0;
        let refused = patiently(Duration::ZERO, || {
            asked += 1;
            anyhow::bail!("not the TPM")
        });
        assert!(refused.is_err() && asked == 1);
    }

    #[test]
    fn it_goes_up_and_never_comes_down() {
        let directory = tempfile::tempdir().unwrap();
        let manufacturer = Manufacturer::open(&directory.path().join("manufacturer")).unwrap();
        let state = directory.path().join("tpm");
        manufacturer.make(&state).unwrap();
        let tpm = Swtpm::start(&state).unwrap();
        let site = site(directory.path());
        let tcti = tpm.tcti();
        let floor = Floor { tcti: &tcti, site: &site };
        assert_eq!(floor.read().unwrap(), 0);
        assert_eq!(floor.raise(0).unwrap(), 0);
        assert_eq!(floor.raise(3).unwrap(), 3);
        assert_eq!(floor.raise(2).unwrap(), 3);
        assert_eq!(floor.read().unwrap(), 3);

        // Whoever takes the counter away does not get the machine to run less.
        Counter::open(&tcti).unwrap().remove().unwrap();
        assert!(floor.read().is_err());
        assert!(floor.raise(3).unwrap() >= 3);
        // The file is on a sealed volume; damaged, it is no reason to run.
        std::fs::write(site.floor(), "nonsense").unwrap();
        assert!(floor.read().is_err());
        std::fs::write(site.floor(), u64::MAX.to_string()).unwrap();
        assert!(floor.read().is_err());
    }
}
