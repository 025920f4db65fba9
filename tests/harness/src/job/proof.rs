//! Step 7: anyone verifies offline, and notices any change.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::consortium::Consortium;

/// Verifies `file`, given only the genesis file; gives what `hufu verify` said
/// it checked.
///
/// # Errors
/// When it does not verify.
pub fn holds(consortium: &Consortium, file: &Path) -> anyhow::Result<String> {
    Ok(consortium.verify(file)?.success()?.stdout)
}

/// Changes one byte of a copy of `file`, at `place` of its length, and gives
/// the reason for which it does not verify any more.
///
/// # Errors
/// When it still verifies, or fails with another status than 1.
pub fn notices_a_change(
    consortium: &Consortium,
    file: &Path,
    place: f64,
) -> anyhow::Result<String> {
    let mut bytes = fs::read(file)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let at = ((bytes.len() as f64 * place) as usize).min(bytes.len().saturating_sub(1));
    // Another printable byte, so that it is the content that is noticed.
    bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
    let name = file.file_name().and_then(|name| name.to_str()).context("a file has a name")?;
    let changed = consortium.path(&format!("changed-{name}"));
    fs::write(&changed, bytes)?;
    let answer = consortium.verify(&changed)?;
    fs::remove_file(&changed)?;
    ensure!(
        answer.status.code() == Some(1),
        "{} with byte {at} changed: `hufu verify` ended with {}: {}{}",
        file.display(),
        answer.status,
        answer.stdout,
        answer.stderr
    );
    let reason = answer.stderr.lines().find(|line| !line.trim().is_empty());
    Ok(reason.context("it was refused without a reason")?.trim().to_owned())
}
