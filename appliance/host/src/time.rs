//! The time servers of the configuration, and whether any has set the clock.
//!
//! chronyd reads its servers from a file that is a function of the configuration;
//! where there is none, it asks those of the image.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hufu_configuration::config::{Config, Time};
use hufu_configuration::files;

use crate::site;
use crate::unit::systemctl;

/// What chronyd reads; the image's own has the same name elsewhere.
const SERVERS: &str = "servers.conf";

/// Who signs the servers' certificates.
const AUTHORITIES: &str = "authorities.pem";

/// Ends when the kernel says that its clock was set by a time server.
const UNIT: &str = "hufu-time.service";

/// How often it is asked whether it has ended.
const ASK: Duration = Duration::from_secs(10);

/// Largest file of ours that is read again, in bytes.
const MAX_FILE: u64 = 512 * 1024;

/// The machine's clock.
#[derive(Debug)]
pub struct Clock {
    /// Where chronyd reads; nobody does where it is `None`.
    directory: Option<PathBuf>,
    /// What chronyd was told last.
    followed: Option<Option<Time>>,
    /// Its files are others than those that it read.
    stale: bool,
    asked: Option<Instant>,
    set: bool,
}

impl Clock {
    /// Of a chronyd that reads in `directory`.
    pub const fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, followed: None, stale: false, asked: None, set: false }
    }

    /// Has chronyd ask the servers of `config`.
    ///
    /// # Errors
    /// A sentence with the path, or what the service manager said.
    pub async fn follow(&mut self, config: Option<&Config>) -> anyhow::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let time = config.and_then(|config| config.time.as_ref());
        if self.followed.as_ref().is_some_and(|followed| followed.as_ref() == time) {
            return Ok(());
        }
        self.stale |= write(directory, time)?;
        if self.stale {
            systemctl(&["restart", "chrony.service"]).await.context("time servers")?;
            self.stale = false;
        }
        self.followed = Some(time.cloned());
        Ok(())
    }

    /// What people should know of it.
    pub async fn notice(&mut self) -> Option<String> {
        self.directory.as_ref()?;
        let due = self.asked.is_none_or(|asked| asked.elapsed() >= ASK);
        if !self.set && due {
            self.asked = Some(Instant::now());
            // One that does not run cannot say so.
            let state = systemctl(&["show", "--property=SubState,Result", UNIT]).await;
            self.set = state.is_ok_and(|state| has_ended_well(&state));
        }
        let notice = "no time server has set the clock since the start: the machine goes by its \
                      own; see to `time.servers` or the way to them";
        (!self.set).then(|| notice.to_owned())
    }
}

fn has_ended_well(shown: &str) -> bool {
    let has = |wanted: &str| shown.lines().any(|line| line == wanted);
    has("SubState=exited") && has("Result=success")
}

/// Brings the files in `directory` to what `time` says; whether they were not.
fn write(directory: &Path, time: Option<&Time>) -> anyhow::Result<bool> {
    let authorities = directory.join(AUTHORITIES);
    let wanted = [
        (directory.join(SERVERS), time.map(|time| servers(time, &authorities))),
        (authorities.clone(), time.and_then(|time| time.authorities.clone())),
    ];
    let mut changed = false;
    for (path, text) in wanted {
        changed |= match text {
            Some(text) => {
                site::directory(directory, 0o755, None)?;
                files::publish(&path, text.as_bytes(), MAX_FILE)?
            }
            None => files::remove(&path)?,
        };
    }
    Ok(changed)
}

/// As chrony.conf(5) has it.
fn servers(time: &Time, authorities: &Path) -> String {
    let mut text = "# Written by `hufu appliance run`; changes are lost.\n".to_owned();
    for server in &time.servers {
        let port = server.port.map(|port| format!(" ntsport {port}")).unwrap_or_default();
        text += &format!("server {} iburst nts{port}\n", server.host);
    }
    let trusted = match time.authorities {
        Some(_) => authorities,
        None => Path::new("/etc/ssl/certs/ca-certificates.crt"),
    };
    // Two that agree, where there are two.
    text + &format!(
        "ntstrustedcerts {}\nminsources {}\n",
        trusted.display(),
        time.servers.len().min(2)
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn time(servers: &[&str], authorities: Option<&str>) -> Time {
        Time {
            servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
            authorities: authorities.map(str::to_owned),
        }
    }

    #[test]
    fn chronyd_gets_what_the_configuration_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("time");
        assert!(!write(&path, None).unwrap(), "there was nothing");
        let one = time(&["192.0.2.9:4461", "time.example.org"], Some("PEM"));
        assert!(write(&path, Some(&one)).unwrap());
        assert!(!write(&path, Some(&one)).unwrap(), "twice");
        assert_eq!(
            fs::read_to_string(path.join(SERVERS)).unwrap(),
            format!(
                "# Written by `hufu appliance run`; changes are lost.\n\
                 server 192.0.2.9 iburst nts ntsport 4461\n\
                 server time.example.org iburst nts\n\
                 ntstrustedcerts {}/authorities.pem\nminsources 2\n",
                path.display()
            )
        );
        assert_eq!(fs::read_to_string(path.join(AUTHORITIES)).unwrap(), "PEM");
        // Others' authorities, and one server only.
        assert!(write(&path, Some(&time(&["[2001:db8::9]:4460"], None))).unwrap());
        assert_eq!(
            fs::read_to_string(path.join(SERVERS)).unwrap(),
            "# Written by `hufu appliance run`; changes are lost.\n\
             server 2001:db8::9 iburst nts ntsport 4460\n\
             ntstrustedcerts /etc/ssl/certs/ca-certificates.crt\nminsources 1\n"
        );
        assert!(!path.join(AUTHORITIES).exists());
        assert!(write(&path, None).unwrap());
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }

    #[test]
    fn only_a_unit_that_ended_well_has_seen_the_clock_set() {
        for (shown, set) in [
            ("Result=success\nSubState=exited\n", true),
            ("Result=success\nSubState=running\n", false),
            ("Result=exit-code\nSubState=failed\n", false),
            ("Result=success\nSubState=dead\n", false),
            ("", false),
        ] {
            assert_eq!(has_ended_well(shown), set, "{shown}");
        }
    }

    #[tokio::test]
    async fn a_machine_with_another_clock_says_nothing_of_it() {
        let mut clock = Clock::new(None);
        clock.follow(None).await.unwrap();
        assert_eq!(clock.notice().await, None);
    }
}
