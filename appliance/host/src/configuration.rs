//! Another configuration for a machine that is set up, without anybody at the
//! machine.
//!
//! A wrong one could leave it out of reach, so that a new configuration is on
//! trial until an administrator confirms it through the node that runs with it.
//! When the node ends, or nobody confirms in time, or the power goes, the one
//! before comes back by itself.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hufu_configuration::config::{self, Config};
use hufu_door::{Code, Problem};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::conditions::{check_config, peer_without_address, same_keys};
use crate::problem;
use crate::site::Site;

/// How long a new configuration may wait to be confirmed.
pub const TRIAL: Duration = Duration::from_secs(120);

/// The machine's configuration, and the one before while a new one is on trial.
pub struct Settings {
    site: Site,
    trial: Duration,
    inner: Mutex<Inner>,
    /// Rings when the node is to start again.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Inner {
    /// Until when the new one may be confirmed.
    until: Option<Instant>,
    /// The node is to start again.
    restart: bool,
    /// The node runs with what is there now.
    runs: bool,
    /// Why the last new one was not kept.
    not_kept: Option<String>,
}

impl Settings {
    /// Of the machine at `site`, with a trial of so long.
    pub fn new(site: Site, trial: Duration, changed: Arc<Notify>) -> Self {
        let inner = Mutex::new(Inner {
            // The machine was switched off in the middle of a trial.
            until: before(&site).exists().then(|| Instant::now() + trial),
            ..Inner::default()
        });
        Self { site, trial, inner, changed }
    }

    /// The configuration, whether it is on trial, and why the last new one was
    /// not kept.
    ///
    /// # Errors
    /// [`Problem`], when there is none.
    pub fn show(&self) -> Result<Value, Problem> {
        self.set_up()?;
        let text = config::text(&self.site.config()).map_err(|error| problem::internal(&error))?;
        let inner = self.lock();
        let left = inner.until.map(|until| until.saturating_duration_since(Instant::now()));
        Ok(json!({
            "config": text,
            "trial_seconds": left.map(|left| left.as_secs()),
            "not_kept": inner.not_kept,
        }))
    }

    /// Puts another configuration on trial; the node starts again with it.
    ///
    /// # Errors
    /// [`Problem`]; then nothing was changed.
    pub fn change(&self, text: &str) -> Result<Value, Problem> {
        self.set_up()?;
        let config = check_config(&self.site, text)?;
        let mut inner = self.lock();
        if inner.until.is_some() {
            let detail = "confirm the one on trial first, or wait until it is given up";
            return Err(Problem::new(Code::ConfigurationOnTrial, detail));
        }
        let path = self.site.config();
        let internal = |error: anyhow::Error| problem::internal(&error);
        let old = config::text(&path).map_err(internal)?;
        if !same_keys(&Config::parse(&old, "hufu.toml").map_err(internal)?, &config) {
            let detail = "member, token.module and token.label stay as they were in the ceremony; \
                          another ceremony needs a factory reset";
            return Err(Problem::new(Code::ConfigurationRefused, detail));
        }
        if Config::parse(&old, "hufu.toml").map_err(internal)?.backup != config.backup {
            let detail = "backup stays as it was in the ceremony: who opens backups is changed by \
                          them, with a factory reset and a restore with `--new-config`";
            return Err(Problem::new(Code::ConfigurationRefused, detail));
        }
        let genesis = config::read_genesis(&self.site.genesis()).map_err(internal)?;
        if let Some(member) = peer_without_address(&genesis, &config) {
            let detail = format!("in hufu.toml: network.peers has no address of member `{member}`");
            return Err(Problem::new(Code::ConfigurationRefused, detail));
        }
        self.site.write(&before(&self.site), old.as_bytes()).map_err(internal)?;
        self.site.write(&path, text.as_bytes()).map_err(internal)?;
        tracing::info!("a new configuration is on trial");
        *inner =
            Inner { until: Some(Instant::now() + self.trial), restart: true, ..Inner::default() };
        drop(inner);
        self.changed.notify_one();
        Ok(json!({ "trial_seconds": self.trial.as_secs() }))
    }

    /// Keeps the configuration that is on trial.
    ///
    /// # Errors
    /// [`Problem`], when none is, or the node does not run with it yet.
    pub fn confirm(&self) -> Result<Value, Problem> {
        let mut inner = self.lock();
        // The node that is being stopped may still pass this on.
        if inner.until.is_none() || !inner.runs {
            return Err(Problem::new(Code::NoTrial, "no configuration runs that is on trial"));
        }
        fs::remove_file(before(&self.site))
            .context("the configuration before")
            .map_err(|error| problem::internal(&error))?;
        inner.until = None;
        tracing::info!("the new configuration is kept");
        Ok(json!({ "kept": true }))
    }

    /// Whether the node is to start again now.
    ///
    /// # Errors
    /// When the configuration before cannot be brought back.
    pub fn due(&self, now: Instant) -> anyhow::Result<bool> {
        let mut inner = self.lock();
        if inner.until.is_some_and(|until| now >= until) {
            self.give_up(&mut inner, "nobody confirmed it in time")?;
        }
        Ok(std::mem::take(&mut inner.restart))
    }

    /// The node does not run, for this reason. Ends a trial.
    ///
    /// # Errors
    /// As [`Self::due`].
    pub fn node_ended(&self, why: &str) -> anyhow::Result<()> {
        let mut inner = self.lock();
        match inner.until {
            Some(_) => self.give_up(&mut inner, why),
            None => Ok(()),
        }
    }

    /// The machine begins anew.
    pub fn forget(&self) {
        *self.lock() = Inner::default();
    }

    /// The node that was started last runs.
    pub fn node_runs(&self) {
        let mut inner = self.lock();
        inner.runs = !inner.restart;
    }

    /// What people should know of it.
    pub fn notice(&self) -> Option<String> {
        let inner = self.lock();
        match (&inner.until, &inner.not_kept) {
            (Some(_), _) => Some(
                "a new configuration is on trial; `hufu config confirm` keeps it, otherwise the \
                 one before comes back"
                    .to_owned(),
            ),
            (None, Some(why)) => Some(format!(
                "the last new configuration was not kept, the one before is back: {why}"
            )),
            (None, None) => None,
        }
    }

    fn give_up(&self, inner: &mut Inner, why: &str) -> anyhow::Result<()> {
        let before = before(&self.site);
        let old = config::text(&before)?;
        self.site.write(&self.site.config(), old.as_bytes())?;
        fs::remove_file(&before).with_context(|| format!("cannot remove {}", before.display()))?;
        tracing::warn!(why, "the new configuration is given up");
        *inner = Inner { restart: true, not_kept: Some(why.to_owned()), ..Inner::default() };
        self.changed.notify_one();
        Ok(())
    }

    fn set_up(&self) -> Result<(), Problem> {
        if self.site.ceremony_held() && self.site.genesis().exists() {
            return Ok(());
        }
        Err(Problem::new(Code::TooEarly, "the machine is not set up; `hufu setup` gives it all"))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Files are changed before what stands here, and both can be done again.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the configuration before is, while a new one is on trial.
fn before(site: &Site) -> PathBuf {
    site.config().with_extension("toml.before")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A machine without genesis file: what only a real one has is tested with
    /// real ones (`tests/harness/tests/appliance.rs`).
    fn on_trial() -> (tempfile::TempDir, Site, Settings) {
        let root = tempfile::tempdir().unwrap();
        let site = Site::new(root.path(), None);
        site.prepare().unwrap();
        site.write(&site.config(), b"new").unwrap();
        site.write(&before(&site), b"old").unwrap();
        let settings = Settings::new(site.clone(), SECOND, Arc::default());
        (root, site, settings)
    }

    #[test]
    fn what_nobody_confirms_is_given_up_also_after_the_power_was_gone() {
        let (_root, site, settings) = on_trial();
        assert!(settings.notice().unwrap().contains("on trial"));
        assert!(!settings.due(Instant::now()).unwrap());
        assert!(settings.due(Instant::now() + SECOND).unwrap());
        assert_eq!(fs::read(site.config()).unwrap(), b"old");
        assert!(settings.notice().unwrap().contains("nobody confirmed"));
        assert!(!settings.due(Instant::now() + 9 * SECOND).unwrap(), "once");
        assert!(settings.confirm().is_err());
    }

    #[test]
    fn what_the_node_does_not_run_with_is_given_up_at_once() {
        let (_root, site, settings) = on_trial();
        settings.node_ended("because").unwrap();
        assert!(settings.due(Instant::now()).unwrap());
        assert_eq!(fs::read(site.config()).unwrap(), b"old");
        assert!(settings.notice().unwrap().contains("because"));
        settings.node_ended("again").unwrap();
        assert!(settings.notice().unwrap().contains("because"));
    }

    #[test]
    fn what_is_confirmed_stays() {
        let (_root, site, settings) = on_trial();
        assert_eq!(
            settings.confirm().unwrap_err().code().as_str(),
            "no-trial",
            "it does not run yet"
        );
        settings.node_runs();
        settings.confirm().unwrap();
        assert!(!settings.due(Instant::now() + 9 * SECOND).unwrap());
        settings.node_ended("later").unwrap();
        assert_eq!(fs::read(site.config()).unwrap(), b"new");
        assert_eq!(settings.notice(), None);
        assert_eq!(settings.confirm().unwrap_err().code().as_str(), "no-trial");
    }

    #[test]
    fn a_machine_that_is_not_set_up_has_none() {
        let (_root, _site, settings) = on_trial();
        assert_eq!(settings.show().unwrap_err().code().as_str(), "too-early");
        assert_eq!(settings.change("").unwrap_err().code().as_str(), "too-early");
    }
}
