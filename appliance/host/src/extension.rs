//! Signed extensions of the image: an HSM maker's PKCS#11 module
//! (image/README.md).
//!
//! The service manager merges them over `/usr` when the machine starts, and takes
//! only what is signed by the image's maker. One that is not is refused when it
//! comes in, and leaves nothing.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use axum::body::Body;
use futures::StreamExt as _;
use hufu_configuration::files;
use hufu_door::{Code, Problem};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;

use crate::problem;
use crate::site::{self, Site};
use crate::unit::systemctl;
use crate::upgrade::Running;

/// Largest extension, in bytes.
const MAX: u64 = 256 * 1024 * 1024;

/// Room in `/var` that is left to the node, in bytes.
const SPARE: u64 = 64 * 1024 * 1024;

/// Merges what is signed.
const MERGE: &str = "systemd-sysext.service";

/// Where modules are in an extension, below the root.
const MODULES: &str = "usr/lib/hufu/modules";

/// Takes extensions, one at a time.
pub struct Extensions {
    site: Site,
    turn: Mutex<()>,
}

impl Extensions {
    /// Of the machine at `site`.
    pub fn new(site: Site) -> Self {
        Self { site, turn: Mutex::default() }
    }

    /// Takes the extension called `name`, in place of one with that name.
    ///
    /// # Errors
    /// [`Problem`]; then the machine is as it was.
    pub async fn add(&self, name: &str, body: Body) -> Result<Value, Problem> {
        let refused = |detail: String| Problem::new(Code::ExtensionRefused, detail);
        if Running::read(&self.site).is_err() {
            return Err(refused("this machine does not run an image".to_owned()));
        }
        let character = |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'-';
        if !(1..=32).contains(&name.len()) || !name.bytes().all(character) {
            let what = "has up to 32 lower-case letters, digits and `-`";
            return Err(refused(format!("the name of an extension {what}, not `{name}`")));
        }
        let _turn = self.turn.lock().await;
        let internal = |error: anyhow::Error| problem::internal(&error);
        let directory = self.site.extensions();
        site::directory(&directory, 0o755, None).map_err(internal)?;
        // The service manager looks at none of the first two names.
        let (part, old, path) = (
            directory.join(format!(".{name}.part")),
            directory.join(format!(".{name}.old")),
            directory.join(format!("{name}.raw")),
        );
        let received = self.receive(&part, body).await;
        if let Err(error) = received {
            let _ = fs::remove_file(&part);
            return Err(refused(format!("{error:#}")));
        }
        let named = |done: std::io::Result<()>, path: &PathBuf| {
            done.with_context(|| format!("cannot give {} its name", path.display()))
        };
        let had = path.exists();
        if had {
            // What a power failure left.
            let _ = fs::remove_file(&old);
            named(fs::hard_link(&path, &old), &old).map_err(internal)?;
        }
        // One or the other is always in its place.
        named(fs::rename(&part, &path), &path).map_err(internal)?;
        let merged = self.merge(name).await;
        if let Err(error) = merged {
            let back = if had { fs::rename(&old, &path) } else { fs::remove_file(&path) };
            named(back, &path).map_err(internal)?;
            systemctl(&["restart", MERGE]).await.map_err(internal)?;
            return Err(refused(format!(
                "it is damaged, or not signed by the maker of this image: {error:#}"
            )));
        }
        let _ = fs::remove_file(&old);
        tracing::info!(name, "an extension was taken");
        Ok(json!({ "name": name, "modules": self.modules(name) }))
    }

    async fn receive(&self, part: &PathBuf, body: Body) -> anyhow::Result<()> {
        let mut file = tokio::fs::File::create(part)
            .await
            .with_context(|| format!("cannot write {}", part.display()))?;
        let mut left = files::free(part)?.saturating_sub(SPARE).min(MAX);
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.context("it stopped coming in; send it again")?;
            left = left.checked_sub(piece.len() as u64).with_context(|| {
                format!("it is larger than {} MiB, or than the room in /var", MAX / (1024 * 1024))
            })?;
            file.write_all(&piece).await?;
        }
        file.sync_all().await?;
        Ok(())
    }

    /// Has everything merged that is there.
    async fn merge(&self, name: &str) -> anyhow::Result<()> {
        systemctl(&["restart", MERGE]).await?;
        let released = format!("usr/lib/extension-release.d/extension-release.{name}");
        let merged = self.site.root().join(released).exists();
        anyhow::ensure!(merged, "it is not an extension called `{name}`");
        Ok(())
    }

    /// Where its modules are, for `[token] module`.
    fn modules(&self, name: &str) -> Vec<String> {
        let directory = format!("{MODULES}/{name}");
        let entries = fs::read_dir(self.site.root().join(&directory)).into_iter().flatten();
        let mut found: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .map(|file| format!("/{directory}/{file}"))
            .collect();
        found.sort();
        found
    }
}
