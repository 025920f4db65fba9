//! A package as canonical data: the files it consists of, in the order of their
//! paths, and nothing else.

use std::collections::BTreeMap;
use std::io::Read;

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::codec::{self, DecodeError};
use hufu_proof::{Digest, Name};

use crate::problem::Problem;

/// Most files in a package.
pub const MAX_FILES: usize = 128;
/// Largest file in bytes.
pub const MAX_FILE: usize = 128 * 1024;
/// Largest package in bytes, encoded. It has to fit into a transaction.
pub const MAX_PACKAGE: usize = 384 * 1024;
/// Longest path in bytes.
pub const MAX_PATH: usize = 128;

/// The contract: roles, assets, streams, actions, invariants.
pub const CONTRACT: &str = "contract.toml";
/// Who may do and see what.
pub const POLICY: &str = "policy.cedar";
/// Parameters of controls, and control sets.
pub const CONTROLS: &str = "controls.toml";
/// For people.
pub const README: &str = "README.md";

/// The files of a package. Encodes to what `Proposal::Deploy` carries: borsh of
/// the map from path to bytes, in the order of the paths.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Sources {
    files: BTreeMap<String, Vec<u8>>,
}

impl Sources {
    /// A package of these files.
    ///
    /// # Errors
    /// When a path is not one of a package, a file is not UTF-8, or a size is
    /// over its limit: all such problems.
    pub fn new(files: BTreeMap<String, Vec<u8>>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if files.len() > MAX_FILES {
            let message = format!("{} files; a package has at most {MAX_FILES}", files.len());
            return Err(vec![Problem::new("", 0, "package", message)]);
        }
        for (path, bytes) in &files {
            let mut problem = |message: String| {
                let path: String = path.chars().take(MAX_PATH).collect();
                problems.push(Problem::new(path, 0, "", message));
            };
            if !is_package_path(path) {
                problem(
                    "not a file of a package; it has contract.toml, policy.cedar, controls.toml, \
                     controls/NAME.sql, cases/NAME.toml and README.md"
                        .into(),
                );
            }
            if bytes.len() > MAX_FILE {
                problem(format!("{} bytes; at most {MAX_FILE} are accepted", bytes.len()));
            }
            if let Err(error) = std::str::from_utf8(bytes) {
                problem(format!("not UTF-8 at byte {}", error.valid_up_to()));
            }
        }
        let size: usize = files.iter().map(|(path, bytes)| path.len() + bytes.len() + 8).sum();
        if size + 4 > MAX_PACKAGE {
            let message = format!("{} bytes; at most {MAX_PACKAGE} are accepted", size + 4);
            problems.push(Problem::new("", 0, "package", message));
        }
        if problems.is_empty() { Ok(Self { files }) } else { Err(problems) }
    }

    /// Reads the canonical encoding.
    ///
    /// # Errors
    /// When the bytes are too large, not canonical or not a package.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode("contract package", bytes, MAX_PACKAGE)
    }

    /// The canonical encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// What identifies the package beside its name and version.
    pub fn digest(&self) -> Digest {
        codec::digest("hufu package v1", self)
    }

    /// The text of the file at `path`.
    pub fn text(&self, path: &str) -> Option<&str> {
        // Every file was checked to be UTF-8.
        self.files.get(path).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// All files in the order of their paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.keys().filter_map(|path| Some((path.as_str(), self.text(path)?)))
    }
}

impl BorshDeserialize for Sources {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        // The whole input is bounded before it gets here; borsh itself allocates
        // no more than it reads.
        let files = BTreeMap::deserialize_reader(reader)?;
        Self::new(files).map_err(|problems| {
            let first = problems.into_iter().next().map(|problem| problem.to_string());
            std::io::Error::new(std::io::ErrorKind::InvalidData, first.unwrap_or_default())
        })
    }
}

/// Whether a package may have a file of this path.
pub fn is_package_path(path: &str) -> bool {
    if path.len() > MAX_PATH {
        return false;
    }
    let named = |folder: &str, ending: &str| {
        path.strip_prefix(folder)
            .and_then(|rest| rest.strip_suffix(ending))
            .is_some_and(|name| Name::new(name).is_ok())
    };
    [CONTRACT, POLICY, CONTROLS, README].contains(&path)
        || named("controls/", ".sql")
        || named("cases/", ".toml")
}
