//! Back to the factory state, keys first.
//!
//! The wish is noted on disk before anything is done, and each step can be done
//! again, so that a machine that loses its power goes on with it. As long as the
//! keys are there nothing else is touched: a reset whose token does not answer is
//! given up, and the node starts again, unless whoever asked said that the token
//! is to be left.

pub mod wipe;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use hufu_configuration::Config;
use hufu_configuration::files;
use hufu_door::{Code, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::backup::is_exportable;
use crate::problem;
use crate::site::Site;
use crate::spawn;
use crate::unit::as_node;
use crate::vault::{self, Vault};

/// What is typed at the console, with the member's name behind it where there is
/// one.
const WORDS: &str = "factory reset";

/// What is typed behind that, to leave a token that does not answer.
const WITHOUT_TOKEN: &str = "without token";

/// Most bytes of the note.
const MAX_NOTE: u64 = 4096;

/// What an administrator asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetRequest {
    /// The member's name, so that nobody resets another machine.
    pub confirm: String,
    /// Go on where the keys cannot be destroyed.
    #[serde(default)]
    pub without_token: bool,
}

/// What is noted on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    without_token: bool,
    keys_destroyed: bool,
}

/// What somebody typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Nothing about a reset.
    Other,
    /// A reset, and the words that it takes.
    Nearly(String),
    /// A reset.
    Reset {
        /// Whether the token is left.
        without_token: bool,
    },
}

/// Resets of the machine.
pub struct Resets {
    site: Site,
    vault: Vault,
    program: PathBuf,
    given_up: Mutex<Option<String>>,
    /// Rings when there is something to do.
    changed: Arc<Notify>,
}

impl Resets {
    /// Of the machine at `site`.
    ///
    /// # Errors
    /// When our own path is not known.
    pub fn new(site: Site, vault: Vault, changed: Arc<Notify>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("our own path is not known")?;
        Ok(Self { site, vault, program, given_up: Mutex::default(), changed })
    }

    /// Notes that an administrator wants it.
    ///
    /// # Errors
    /// [`Problem`], when it is not for this machine.
    pub fn ask(&self, request: &ResetRequest) -> Result<Value, Problem> {
        let Some(member) = self.member() else {
            return Err(Problem::new(Code::TooEarly, "the machine is not set up"));
        };
        if request.confirm != member {
            let detail = format!("confirm: this machine is of member `{member}`");
            return Err(Problem::new(Code::ResetRefused, detail));
        }
        self.begin(request.without_token).map_err(|error| problem::internal(&error))?;
        Ok(json!({
            "member": member,
            "without_token": request.without_token,
            "next": "the node stops, its keys are destroyed, and then all that the machine keeps; \
                     the console shows how far it is, and `Unprovisioned` at the end",
        }))
    }

    /// What a line at the console means.
    pub fn typed(&self, line: &str) -> Typed {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(rest) = words.strip_prefix(["factory", "reset"].as_slice()) else {
            return Typed::Other;
        };
        let rest = rest.join(" ");
        let member = self.member().unwrap_or_default();
        let (name, without_token) = match rest.strip_suffix(WITHOUT_TOKEN) {
            Some(name) => (name.trim_end(), true),
            None => (rest.as_str(), false),
        };
        if name == member {
            return Typed::Reset { without_token };
        }
        Typed::Nearly(format!("{WORDS} {member}").trim_end().to_owned())
    }

    /// Notes that it is wanted.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub fn begin(&self, without_token: bool) -> anyhow::Result<()> {
        self.note(Note { without_token, keys_destroyed: false })?;
        *self.given_up.lock().unwrap_or_else(PoisonError::into_inner) = None;
        tracing::warn!(without_token, "a factory reset is wanted");
        self.changed.notify_one();
        Ok(())
    }

    fn note(&self, note: Note) -> anyhow::Result<()> {
        files::write(&self.site.reset_note(), &serde_json::to_vec(&note)?)
    }

    /// Whose machine it is, as far as it is known.
    fn member(&self) -> Option<String> {
        Config::load(&self.site.config()).ok().map(|config| config.member.name.to_string())
    }

    /// What was noted, if anything was.
    ///
    /// # Errors
    /// When the note cannot be read.
    pub fn wanted(&self) -> anyhow::Result<Option<Note>> {
        let path = self.site.reset_note();
        if !path.exists() {
            return Ok(None);
        }
        let bytes = files::read(&path, MAX_NOTE)?;
        serde_json::from_slice(&bytes).map(Some).with_context(|| format!("in {}", path.display()))
    }

    /// Why the last one was given up.
    pub fn notice(&self) -> Option<String> {
        let given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.as_ref().map(|why| format!("the factory reset was given up: {why}"))
    }

    /// Destroys the member's keys. To be called when the node does not run.
    ///
    /// # Errors
    /// When some may be left, and the token is not to be left.
    pub async fn keys(&self, note: Note) -> anyhow::Result<()> {
        if note.keys_destroyed || !self.site.config().exists() {
            return Ok(());
        }
        match self.destroy().await {
            Ok(()) => {}
            Err(error) if note.without_token => {
                tracing::warn!(error = format!("{error:#}"), "the token keeps keys of the member");
            }
            Err(error) => return Err(error),
        }
        self.note(Note { keys_destroyed: true, ..note })
    }

    async fn destroy(&self) -> anyhow::Result<()> {
        // SoftHSM2 removes the files of keys, and leaves what was in them.
        let held = wipe::hold(&self.site.tokens())?;
        let destroyed = async {
            let pin = self.vault.open(vault::PIN).await?;
            // A module is initialised once in a process, and this one has one.
            let said = spawn::run_with(&[&pin], |numbers| {
                let mut command = as_node(&self.site, self.program.clone());
                command.args(["--pin-fd", &numbers[0], "appliance", "part", "destroy-keys"]);
                command
            })
            .await?;
            anyhow::Ok(String::from_utf8_lossy(&said).trim().to_owned())
        }
        .await;
        let soft = Config::load(&self.site.config()).is_ok_and(|config| is_exportable(&config));
        match destroyed {
            Ok(labels) => tracing::warn!(labels, "the member's keys are destroyed"),
            // It is files of this machine, which go in any case.
            Err(error) if soft => {
                tracing::warn!(error = format!("{error:#}"), "the soft token goes as it is");
            }
            Err(error) => {
                return Err(error).context(
                    "the keys in the token cannot be destroyed; see that it is connected, or have \
                     it left as it is (`--without-token`, at the console `without token` behind the \
                     member's name) and destroy them with its maker's tool",
                );
            }
        }
        for file in &held {
            wipe::overwrite(file).context("the files of keys that are removed")?;
        }
        wipe::tree(&self.site.tokens())
    }

    /// Gives it up: nothing but keys is gone.
    ///
    /// # Errors
    /// When the note stays.
    pub fn give_up(&self, why: &anyhow::Error) -> anyhow::Result<()> {
        tracing::error!(error = format!("{why:#}"), "the factory reset is given up");
        fs::remove_file(self.site.reset_note()).context("the note of the reset")?;
        *self.given_up.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{why:#}"));
        Ok(())
    }

    /// Takes everything away that the machine keeps, the note last. To be called
    /// when the keys are gone.
    ///
    /// # Errors
    /// A sentence with the path.
    pub fn everything(&self) -> anyhow::Result<()> {
        wipe::tree(&self.site.credentials())?;
        let (kept, note) = (self.site.kept(), self.site.reset_note());
        let what = || format!("cannot empty {}", kept.display());
        for entry in fs::read_dir(&kept).with_context(what)? {
            let path = entry.with_context(what)?.path();
            if path == note {
                continue;
            }
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
        fs::File::open(&kept).and_then(|kept| kept.sync_all()).with_context(what)?;
        fs::remove_file(&note).with_context(what)?;
        fs::File::open(&kept).and_then(|kept| kept.sync_all()).with_context(what)?;
        tracing::warn!("the machine is as from the factory");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Seal;

    fn resets() -> (tempfile::TempDir, Site, Resets) {
        let root = tempfile::tempdir().unwrap();
        let site = Site::new(root.path(), None);
        site.prepare().unwrap();
        let vault = Vault::new(Seal::Null, site.credentials());
        let resets = Resets::new(site.clone(), vault, Arc::default()).unwrap();
        (root, site, resets)
    }

    fn set_up(site: &Site, module: &str) {
        let config = format!(
            "[member]\nname = \"maker\"\nkinds = [\"maker\"]\n[paths]\ndata = \"/x\"\n\
             genesis = \"/y\"\n[token]\nmodule = {module:?}\nlabel = \"maker\"\n[network]\n\
             listen = \"127.0.0.1:7000\"\npeers = {{ maker = \"127.0.0.1:7000\" }}\n"
        );
        site.write(&site.config(), config.as_bytes()).unwrap();
    }

    #[test]
    fn the_words_are_those_of_this_machine() {
        let (_root, site, resets) = resets();
        assert_eq!(resets.typed("factory reset"), Typed::Reset { without_token: false });
        set_up(&site, "/nonexistent.so");
        assert_eq!(resets.typed(" factory  reset maker "), Typed::Reset { without_token: false });
        let left = resets.typed("factory reset maker without token");
        assert_eq!(left, Typed::Reset { without_token: true });
        for nearly in ["factory reset", "factory reset taker", "factory reset without token"] {
            assert_eq!(resets.typed(nearly), Typed::Nearly("factory reset maker".to_owned()));
        }
        for other in ["", "again", "factory", "reset maker"] {
            assert_eq!(resets.typed(other), Typed::Other, "{other}");
        }
    }

    #[test]
    fn it_is_asked_for_by_name_and_noted() {
        let (_root, site, resets) = resets();
        let ask = |name: &str| {
            resets.ask(&ResetRequest { confirm: name.to_owned(), without_token: false })
        };
        assert_eq!(ask("maker").unwrap_err().code().as_str(), "too-early");
        set_up(&site, "/nonexistent.so");
        assert_eq!(ask("taker").unwrap_err().code().as_str(), "reset-refused");
        assert_eq!(resets.wanted().unwrap(), None);
        ask("maker").unwrap();
        let note = Note { without_token: false, keys_destroyed: false };
        assert_eq!(resets.wanted().unwrap(), Some(note));
        fs::write(site.reset_note(), "{").unwrap();
        assert!(resets.wanted().is_err());
    }

    #[tokio::test]
    async fn a_token_that_does_not_answer_ends_it_unless_it_is_to_be_left() {
        let (_root, site, resets) = resets();
        set_up(&site, "/nonexistent.so");
        resets.begin(false).unwrap();
        let error = resets.keys(resets.wanted().unwrap().unwrap()).await.unwrap_err();
        resets.give_up(&error).unwrap();
        assert!(resets.notice().unwrap().contains("--without-token"));
        assert!(site.config().exists() && resets.wanted().unwrap().is_none());
        resets.begin(true).unwrap();
        assert_eq!(resets.notice(), None);
        resets.keys(resets.wanted().unwrap().unwrap()).await.unwrap();
        // Once they are gone, they are not asked for again.
        assert!(resets.wanted().unwrap().unwrap().keys_destroyed);
        resets.everything().unwrap();
        assert_eq!(fs::read_dir(site.kept()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_soft_token_goes_in_any_case() {
        let (_root, site, resets) = resets();
        set_up(&site, "/nonexistent/libsofthsm2.so");
        fs::create_dir(site.tokens().join("a")).unwrap();
        fs::write(site.tokens().join("a/token.object"), "key").unwrap();
        resets.begin(false).unwrap();
        resets.keys(resets.wanted().unwrap().unwrap()).await.unwrap();
        assert_eq!(fs::read_dir(site.tokens()).unwrap().count(), 0);
    }
}
