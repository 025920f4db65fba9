//! The spaces of a store.

use std::fmt;

/// A set of rows with keys of its own. Codes are part of the stored format and
/// are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// The state, versioned by height.
    State = 1,
    /// Blocks in chunks.
    Blocks = 2,
    /// Headers by height.
    Headers = 3,
    /// Certificates of finality by height.
    Finality = 4,
    /// Where each transaction is, by its identifier.
    Transactions = 5,
    /// Entries of the Merkle log.
    Log = 6,
    /// Nodes of the authenticated state tree.
    Tree = 7,
    /// What read models are told, by height, in chunks.
    Events = 8,
    /// Contract packages and other large values by digest, in chunks.
    Packages = 9,
    /// Nodes of the Merkle log.
    Tiles = 10,
    /// Which certificates were ever revoked.
    Revoked = 11,
    /// Bytes that identities and members have put on the ledger, versioned by
    /// height.
    Usage = 12,
}

impl Space {
    /// Every space, in the order of the codes.
    pub const ALL: [Self; 12] = [
        Self::State,
        Self::Blocks,
        Self::Headers,
        Self::Finality,
        Self::Transactions,
        Self::Log,
        Self::Tree,
        Self::Events,
        Self::Packages,
        Self::Tiles,
        Self::Revoked,
        Self::Usage,
    ];

    /// Whether a key has a value per height.
    pub fn is_versioned(self) -> bool {
        matches!(self, Self::State | Self::Usage)
    }

    /// Its code.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Its name in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Blocks => "blocks",
            Self::Headers => "headers",
            Self::Finality => "finality",
            Self::Transactions => "transactions",
            Self::Log => "log",
            Self::Tree => "tree",
            Self::Events => "events",
            Self::Packages => "packages",
            Self::Tiles => "tiles",
            Self::Revoked => "revoked",
            Self::Usage => "usage",
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
