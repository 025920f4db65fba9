//! Room on the disk of the data directory.

use std::path::Path;

use hufu_configuration::files;

/// With less room than this, in bytes, the node takes no transactions in. What
/// is left is for blocks: they come as long as the others go on, and a node
/// that cannot write one stops.
const RESERVE: u64 = 64 * 1024 * 1024;

/// Why nothing may be taken in, if there is too little room in `data`.
pub fn shortage(data: &Path) -> Option<String> {
    let mebibytes = |bytes: u64| bytes / (1024 * 1024);
    match files::free(data) {
        Ok(free) => (free < RESERVE).then(|| {
            format!(
                "disk: {} MiB are free for {}; nothing is taken in until {} MiB are",
                mebibytes(free),
                data.display(),
                mebibytes(RESERVE)
            )
        }),
        Err(error) => Some(format!("disk: {}: {error}; nothing is taken in", data.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let said = shortage(Path::new("/nonexistent/hufu")).unwrap();
        assert!(said.contains("/nonexistent/hufu"), "{said}");
    }
}
