//! What a Parquet file says of itself, in its key-value metadata under `hufu`: whose
//! it is and what its columns are, for who has nothing but the file.

use hufu_proof::{Digest, Height, Name};
use serde::{Deserialize, Serialize};

use crate::error::ArchiveError;
use crate::manifest::{FORMAT, Manifest};
use crate::schema::{Column, Kind};

/// The key.
pub(crate) const KEY: &str = "hufu";

/// Most bytes of it.
const MAX_ABOUT: usize = 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    pub(crate) format: String,
    pub(crate) member: Name,
    pub(crate) genesis: Digest,
    pub(crate) first: Height,
    pub(crate) last: Height,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<OfContract>,
    pub(crate) columns: Vec<Described>,
}

/// Which table of a contract it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfContract {
    pub(crate) kind: TableKind,
    pub(crate) contract: Name,
    pub(crate) name: Name,
    /// The contract's version, in words.
    pub(crate) version: String,
    /// The digest of its package.
    pub(crate) package: Digest,
    /// 1, or more where the columns changed within the partition.
    pub(crate) part: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TableKind {
    Asset,
    Stream,
}

impl TableKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Asset => "asset",
            Self::Stream => "stream",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Described {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) optional: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<String>,
}

impl OfContract {
    /// The name of its file.
    pub(crate) fn file(&self) -> String {
        let Self { kind, contract, name, part, .. } = self;
        let kind = kind.as_str();
        match part {
            1 => format!("{kind}.{contract}.{name}.parquet"),
            part => format!("{kind}.{contract}.{name}.{part}.parquet"),
        }
    }
}

impl Described {
    pub(crate) fn new(column: &Column, unit: Option<String>) -> Self {
        let Column { name, kind, optional } = column.clone();
        Self { name, kind: kind.name(), optional, unit }
    }
}

impl About {
    /// Reads what the file called `file` says of itself.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, ArchiveError> {
        if text.len() > MAX_ABOUT {
            return Err(ArchiveError::file(
                file,
                format!("its description is over {MAX_ABOUT} bytes"),
            ));
        }
        hufu_proof::json::from_str(text)
            .map_err(|error| ArchiveError::file(file, format!("its description: {error}")))
    }

    /// That the file is one of this manifest's.
    pub(crate) fn check(&self, file: &str, manifest: &Manifest) -> Result<(), ArchiveError> {
        let same = [
            ("format", self.format == FORMAT),
            ("member", self.member == manifest.member),
            ("genesis", self.genesis == manifest.genesis),
            ("first", self.first == manifest.first),
            ("last", self.last == manifest.last),
        ];
        if let Some((what, _)) = same.into_iter().find(|(_, same)| !same) {
            let problem = format!("its `{what}` is not the one in manifest.json");
            return Err(ArchiveError::file(file, problem));
        }
        if self.table.as_ref().is_some_and(|table| table.file() != file) {
            return Err(ArchiveError::file(file, "it is another table than its name says"));
        }
        Ok(())
    }

    /// The columns.
    pub(crate) fn columns(&self, file: &str) -> Result<Vec<Column>, ArchiveError> {
        let column = |described: &Described| {
            let kind = Kind::named(&described.kind).ok_or_else(|| {
                ArchiveError::file(file, format!("no column has the type `{}`", described.kind))
            })?;
            Ok(Column { name: described.name.clone(), kind, optional: described.optional })
        };
        self.columns.iter().map(column).collect()
    }
}
