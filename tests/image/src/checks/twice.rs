//! Whoever builds it again gets the same.

use anyhow::ensure;

use crate::build::{self, Options};
use crate::checks::bench::Bench;
use crate::release;

/// Root hash and root file system do not depend on when they are built.
pub fn same_root_hash(bench: &Bench) -> anyhow::Result<()> {
    let first = release::measure(&bench.image.root)?;
    // Nothing is taken from what the first build installed.
    build::forget(true)?;
    let image = build::image(&Options {
        version: Some(bench.image.version.clone()),
        // Somebody may commit in between.
        date: Some(bench.image.date.clone()),
        ..bench.options.clone()
    })?;
    ensure!(
        image.root_hash == bench.image.root_hash,
        "the root hash was {} and is {}",
        bench.image.root_hash,
        image.root_hash
    );
    ensure!(release::measure(&image.root)? == first, "the root file systems differ");
    Ok(())
}
