//! The manifest of a partition: the one file whose digest says everything.

use std::collections::BTreeMap;

use hufu_proof::{Digest, Height, Name};
use serde::{Deserialize, Serialize};

use crate::error::ArchiveError;
use crate::limits::{MAX_FILE, MAX_FILES, MAX_HEIGHTS, MAX_MANIFEST, MAX_TRANSACTIONS};

/// The manifest's file.
pub const MANIFEST: &str = "manifest.json";

/// What the format is called.
pub(crate) const FORMAT: &str = "hufu-archive-v1";

pub(crate) const PROOF: &str = "proof.bin";
pub(crate) const BLOCKS: &str = "blocks.parquet";
pub(crate) const TRANSACTIONS: &str = "transactions.parquet";

/// Which heights of which consortium a partition has, and in which files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `hufu-archive-v1`.
    pub format: String,
    /// Whose archive it is from.
    pub member: Name,
    /// The consortium's name.
    pub consortium: Name,
    /// The digest of its genesis file.
    pub genesis: Digest,
    /// The first height.
    pub first: Height,
    /// The last height.
    pub last: Height,
    /// The digest of the block before the first one.
    pub before: Digest,
    /// The digest of the last block.
    pub block: Digest,
    /// The state root after the last block.
    pub state_root: Digest,
    /// The root of the log after the last block.
    pub log_root: Digest,
    /// The place in the log of the first transaction.
    pub log_begin: u64,
    /// The place after the last one, which is the log's size then.
    pub log_end: u64,
    /// The hashes of the complete subtrees that the log before `log_begin` consists
    /// of, the largest first.
    pub log_left: Vec<Digest>,
    /// All files but this one, by name.
    pub files: BTreeMap<String, FileEntry>,
}

/// A file of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its SHA-256.
    pub sha256: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// Rows in it, of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

impl Manifest {
    /// As it is written: JSON, two blanks, fields in the order of the type, a line feed
    /// at the end.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A struct of texts and numbers has no failing serializer.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// What the member declares: SHA-256 of [`Self::to_bytes`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// Reads what [`Self::to_bytes`] wrote, and nothing else.
    ///
    /// # Errors
    /// [`ArchiveError::File`] says what does not fit.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let refused = |problem: String| ArchiveError::file(MANIFEST, problem);
        if bytes.len() as u64 > MAX_MANIFEST {
            let size = bytes.len();
            return Err(refused(format!("{size} bytes; at most {MAX_MANIFEST} are accepted")));
        }
        let manifest: Self =
            hufu_proof::json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
        manifest.check().map_err(refused)?;
        if manifest.to_bytes() != bytes {
            return Err(refused("it is not exactly as the member wrote it".to_owned()));
        }
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let Self { format, first, last, log_begin, log_end, log_left, files, .. } = self;
        if format != FORMAT {
            return Err(format!(
                "format: `{format}`; this version of hufu reads {FORMAT}: use the one that wrote it"
            ));
        }
        if first.get() == 0 || last < first || last.since(*first) >= MAX_HEIGHTS {
            return Err(format!(
                "first, last: {first} to {last} are no heights of a partition: from 1 on, at most \
                 {MAX_HEIGHTS}"
            ));
        }
        let count = log_end.checked_sub(*log_begin);
        let Some(count) = count.filter(|count| *count <= MAX_TRANSACTIONS) else {
            return Err(format!(
                "log_begin, log_end: {log_begin} to {log_end} are not at most {MAX_TRANSACTIONS} \
                 transactions"
            ));
        };
        if log_left.len() != log_begin.count_ones() as usize {
            return Err(format!(
                "log_left: {} hashes, and a log of {log_begin} entries has {}",
                log_left.len(),
                log_begin.count_ones()
            ));
        }
        if files.len() > MAX_FILES {
            return Err(format!("files: {}; at most {MAX_FILES} are accepted", files.len()));
        }
        for (name, file) in files {
            let table = is_table(name);
            if !table && name != PROOF {
                return Err(format!("files: `{name}` is no file of a partition"));
            }
            if file.bytes > MAX_FILE {
                return Err(format!("files: {name} is over {MAX_FILE} bytes"));
            }
            if table != file.rows.is_some() {
                return Err(format!("files: {name} has rows if it is a table, and only then"));
            }
        }
        let blocks = last.since(*first) + 1;
        for (name, rows) in [(PROOF, None), (BLOCKS, Some(blocks)), (TRANSACTIONS, Some(count))] {
            let file = files.get(name).ok_or_else(|| format!("files: {name} is missing"))?;
            if file.rows != rows {
                let [has, needs] =
                    [file.rows, rows].map(|rows| rows.unwrap_or_default().to_string());
                return Err(format!("files: {name} has {has} rows, and there are {needs}"));
            }
        }
        Ok(())
    }

    /// The names of the contracts' tables.
    pub(crate) fn contract_files(&self) -> impl Iterator<Item = &str> {
        let own = |name: &&String| ![PROOF, BLOCKS, TRANSACTIONS].contains(&name.as_str());
        self.files.keys().filter(own).map(String::as_str)
    }
}

/// Whether a file with this name is a table: it has no way out of its folder.
fn is_table(name: &str) -> bool {
    let plain = |symbol: u8| {
        symbol.is_ascii_lowercase() || symbol.is_ascii_digit() || b"-_.".contains(&symbol)
    };
    name.strip_suffix(".parquet").is_some_and(|stem| {
        !stem.is_empty() && !stem.starts_with('.') && name.len() <= 255 && stem.bytes().all(plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let digest = |byte| Digest([byte; 32]);
        let file = |rows| FileEntry { sha256: digest(9), bytes: 100, rows };
        Manifest {
            format: FORMAT.to_owned(),
            member: Name::new("maker").unwrap(),
            consortium: Name::new("pumps").unwrap(),
            genesis: digest(1),
            first: Height(11),
            last: Height(20),
            before: digest(2),
            block: digest(3),
            state_root: digest(4),
            log_root: digest(5),
            log_begin: 5,
            log_end: 8,
            log_left: vec![digest(6), digest(7)],
            files: BTreeMap::from([
                (PROOF.to_owned(), file(None)),
                (BLOCKS.to_owned(), file(Some(10))),
                (TRANSACTIONS.to_owned(), file(Some(3))),
                ("stream.cold-chain.readings.parquet".to_owned(), file(Some(7))),
            ]),
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let manifest = manifest();
        let bytes = manifest.to_bytes();
        // Written by hand; the fuzzer begins with it.
        assert_eq!(bytes, include_bytes!("../fuzz/corpus/manifest/usual"));
        assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
        for length in 0..bytes.len() {
            assert!(Manifest::parse(&bytes[..length]).is_err(), "{length}");
        }
        let text = String::from_utf8(bytes).unwrap();
        for (from, to, says) in [
            ("\"first\": 11", "\"first\":  11", "exactly as"),
            ("\"first\": 11", "\"first\": 0", "no heights of a partition"),
            ("\"last\": 20", "\"last\": 10", "no heights of a partition"),
            ("\"last\": 20", "\"last\": 21", "blocks.parquet has 10 rows, and there are 11"),
            ("\"log_end\": 8", "\"log_end\": 4", "log_begin, log_end"),
            ("\"log_begin\": 5", "\"log_begin\": 7", "log_left: 2 hashes"),
            ("hufu-archive-v1", "hufu-archive-v9", "use the one that wrote it"),
            ("\"proof.bin\"", "\"../proof.bin\"", "no file of a partition"),
            ("\"stream.cold", "\"stream/../cold", "no file of a partition"),
            ("\"member\"", "\"first\"", "stands twice"),
            ("\"bytes\": 100", "\"bytes\": 100, \"more\": 1", "unknown field"),
        ] {
            let error = Manifest::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(says), "{to}: {error}");
            assert!(error.to_string().starts_with("manifest.json: "), "{error}");
        }
    }
}
