//! Setup from a volume that somebody plugs in, for a machine that no
//! workstation reaches: what is on it is given as `hufu setup` would give it.
//!
//! | file | for |
//! |---|---|
//! | `hufu.toml`, `witnesses.txt` (a name a line) | the ceremony |
//! | `genesis.json` | the genesis file |
//! | `genesis.admitted.json` | the same, where the consortium has admitted the machine's keys since (`--admitted`) |
//! | `tls.pem` | the TLS certificate chain |
//!
//! The volume gets `join.json`, `tls.csr` and the transcript, and `refused.txt`
//! with the reason when something is refused. Whoever may plug it in stands in
//! front of the machine, as whoever reads the code does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hufu_configuration::files;
use hufu_door::Problem;
use hufu_proof::Digest;
use hufu_proof::codec::MAX_GENESIS;

use crate::provision::{Ceremony, Progress, Provisioner};
use crate::site::Stage;

/// The genesis file, where the machine's member founded the consortium.
const GENESIS: &str = "genesis.json";

/// Largest other file that is read, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// The place where such a volume is mounted, or not.
#[derive(Debug)]
pub struct Volume {
    directory: PathBuf,
    /// What was refused last, and why.
    refused: Option<(Digest, String)>,
}

impl Volume {
    /// Looks into `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, refused: None }
    }

    /// Gives the machine what is missing next, if it is there. Why that was
    /// refused, until something else is there.
    pub async fn give(&mut self, machine: &Provisioner, missing: &[Stage]) -> Option<String> {
        let (digest, given) = match self.read(missing.first()?) {
            Ok(Some(given)) => given,
            Ok(None) => {
                self.refused = None;
                return None;
            }
            Err(error) => return Some(format!("the setup volume: {error:#}")),
        };
        if let Some((before, reason)) = &self.refused
            && *before == digest
        {
            return Some(reason.clone());
        }
        self.refused = None;
        let outcome = match given {
            Given::Ceremony(ceremony) => machine.ceremony(ceremony).await,
            Given::Genesis { bytes, admitted } => machine.genesis(&bytes, admitted).await,
            Given::Chain(chain) => machine.certificate(&chain).await,
        };
        let written = match &outcome {
            Ok(progress) => self.answer(progress),
            // It is tried again, and no news.
            Err(problem) if problem.is_temporary() => return Some(reason_of(problem)),
            Err(problem) => {
                let reason = reason_of(problem);
                self.refused = Some((digest, reason.clone()));
                files::write(&self.directory.join("refused.txt"), format!("{reason}\n").as_bytes())
            }
        };
        if let Err(error) = written {
            tracing::warn!(error = format!("{error:#}"), "the setup volume takes no answer");
        }
        self.refused.as_ref().map(|(_, reason)| reason.clone())
    }

    fn read(&self, stage: &Stage) -> anyhow::Result<Option<(Digest, Given)>> {
        let admitted = *stage == Stage::Genesis && !self.directory.join(GENESIS).exists();
        let name = match stage {
            Stage::Ceremony => "hufu.toml",
            Stage::Genesis if admitted => "genesis.admitted.json",
            Stage::Genesis => GENESIS,
            Stage::Certificate => "tls.pem",
        };
        let limit = if *stage == Stage::Genesis { MAX_GENESIS as u64 } else { MAX_FILE };
        let Some(bytes) = plain_file(&self.directory.join(name), limit)? else { return Ok(None) };
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).with_context(|| format!("{name} is not text"))
        };
        Ok(Some(match stage {
            Stage::Ceremony => {
                let list = plain_file(&self.directory.join("witnesses.txt"), MAX_FILE)?;
                let list = list.unwrap_or_default();
                let digest = Digest::of(&[bytes.as_slice(), b"\0", &list].concat());
                let witnesses = String::from_utf8(list).context("witnesses.txt is not text")?;
                let names = witnesses.lines().map(str::trim).filter(|name| !name.is_empty());
                let witnesses = names.map(str::to_owned).collect();
                (digest, Given::Ceremony(Ceremony { config: text(bytes)?, witnesses, pin: None }))
            }
            Stage::Genesis => (
                Digest::of(&[name.as_bytes(), &bytes].concat()),
                Given::Genesis { bytes, admitted },
            ),
            Stage::Certificate => (Digest::of(&bytes), Given::Chain(text(bytes)?)),
        }))
    }

    fn answer(&self, progress: &Progress) -> anyhow::Result<()> {
        files::remove(&self.directory.join("refused.txt"))?;
        let Some(documents) = &progress.documents else { return Ok(()) };
        for (name, content) in [
            ("join.json", &documents.join),
            ("tls.csr", &documents.certificate_request),
            ("transcript.txt", &documents.transcript),
            ("transcript.json", &documents.transcript_json),
        ] {
            files::write_new(&self.directory.join(name), content.as_bytes())?;
        }
        Ok(())
    }
}

enum Given {
    Ceremony(Ceremony),
    Genesis { bytes: Vec<u8>, admitted: bool },
    Chain(String),
}

fn reason_of(problem: &Problem) -> String {
    format!("the setup volume: {problem}")
}

/// A file's bytes, when there is one and it is no link to elsewhere.
fn plain_file(path: &Path, limit: u64) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => files::read(path, limit).map(Some),
        Ok(_) => anyhow::bail!("{} is not a file", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Site;
    use crate::vault::{Seal, Vault};

    #[tokio::test]
    async fn what_is_refused_is_told_once_and_taken_when_it_is_mended() {
        let root = tempfile::tempdir().unwrap();
        let site = Site::new(&root.path().join("root"), None);
        site.prepare().unwrap();
        let vault = Vault::new(Seal::Null, site.credentials());
        let machine = Provisioner::new(site.clone(), vault).unwrap();
        let mut volume = Volume::new(root.path().join("volume"));
        let missing = site.missing().unwrap();
        assert_eq!(volume.give(&machine, &missing).await, None, "no volume");
        let directory = root.path().join("volume");
        fs::create_dir(&directory).unwrap();
        assert_eq!(volume.give(&machine, &missing).await, None, "an empty one");

        fs::write(directory.join("hufu.toml"), "x = ").unwrap();
        for _ in 0..2 {
            let reason = volume.give(&machine, &missing).await.unwrap();
            assert!(reason.contains("line 1"), "{reason}");
        }
        let told = fs::read_to_string(directory.join("refused.txt")).unwrap();
        assert!(told.contains("line 1"), "{told}");
        let good = format!(
            "[member]\nname = \"maker\"\nkinds = [\"maker\"]\n[paths]\ndata = {:?}\n\
             genesis = {:?}\n[token]\nmodule = \"/nonexistent.so\"\nlabel = \"maker\"\n\
             [network]\nlisten = \"127.0.0.1:1\"\npeers = {{}}\n",
            site.data(""),
            site.genesis()
        );
        fs::write(directory.join("hufu.toml"), &good).unwrap();
        let reason = volume.give(&machine, &missing).await.unwrap();
        assert!(reason.contains("witnesses"), "{reason}");

        // A link leads out of the volume.
        fs::remove_file(directory.join("hufu.toml")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", directory.join("hufu.toml")).unwrap();
        let reason = volume.give(&machine, &missing).await.unwrap();
        assert!(reason.contains("is not a file"), "{reason}");
        fs::remove_file(directory.join("hufu.toml")).unwrap();
        assert_eq!(volume.give(&machine, &missing).await, None, "taken out");
    }
}
