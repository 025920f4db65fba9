//! The genesis file: what the founders agree on, and all that a verifier needs
//! to be given.
//!
//! The file is JSON in one exact form (pretty-printed, fields in order, no
//! other white space), so that two people who compare the digest compare the
//! file. Network addresses are not part of it: they change.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::codec::{self, MAX_GENESIS};
use crate::identifier::{Digest, Name};
use crate::key::{Algorithm, PublicKey};

/// The format version written now.
pub const GENESIS_VERSION: u8 = 1;

/// Most members of a consortium.
pub const MAX_MEMBERS: usize = 100;

/// What the founders agree on.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// [`GENESIS_VERSION`].
    pub version: u8,
    /// The consortium's name, for people.
    pub consortium: Name,
    /// When it was made, milliseconds since 1970: the time of block 0.
    pub created_ms: u64,
    /// The founders, in the order of their names.
    pub members: Vec<Member>,
    /// The certification authority.
    pub authority: Authority,
    /// How the consortium changes what all share.
    pub constitution: Constitution,
}

/// A member, as the founders agree on it or as it comes later; each runs one
/// validator.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name everywhere on the ledger.
    pub name: Name,
    /// Its name for people, by language (`en`, `zh`).
    pub title: BTreeMap<String, String>,
    /// What it is to the consortium: `authority`, `regulator`, `maker`,
    /// `operator`.
    pub kinds: BTreeSet<Name>,
    /// What it may see as a regulator: values of the field `jurisdiction` of
    /// assets. Everything where there are none.
    pub jurisdictions: BTreeSet<Name>,
    /// Verifies its votes and names it on the network.
    pub vote_key: PublicKey,
    /// Verifies its transactions, receipts and reports.
    pub statement_key: PublicKey,
}

/// Who certifies, with what.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// The member that runs the CA.
    pub member: Name,
    /// The root certificate, DER in base64.
    #[serde(with = "crate::codec::base64_text")]
    pub root_certificate: Vec<u8>,
    /// The issuing certificate, DER in base64.
    #[serde(with = "crate::codec::base64_text")]
    pub issuing_certificate: Vec<u8>,
}

/// How the consortium changes what all share.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constitution {
    /// Approvals a proposal needs before it takes effect.
    pub approvals: u16,
    /// Signature algorithms accepted from senders of transactions.
    pub algorithms: BTreeSet<Algorithm>,
}

/// Why a genesis file is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GenesisError {
    /// Larger than a genesis file may be.
    #[error("the genesis file is {0} bytes; at most {MAX_GENESIS} are accepted")]
    TooLarge(usize),
    /// Not JSON of this form.
    #[error("the genesis file is malformed: {0}")]
    Malformed(String),
    /// The same content in another form; the digest is of one exact form.
    #[error(
        "the genesis file was reformatted or altered; use the file as the founders agreed on it"
    )]
    NotCanonical,
    /// The content contradicts itself.
    #[error("the genesis file's {field} {problem}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong and how to mend it.
        problem: String,
    },
}

impl Genesis {
    /// Reads a genesis file and checks all of it.
    ///
    /// # Errors
    /// [`GenesisError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, GenesisError> {
        if bytes.len() > MAX_GENESIS {
            return Err(GenesisError::TooLarge(bytes.len()));
        }
        let genesis: Self = serde_json::from_slice(bytes)
            .map_err(|error| GenesisError::Malformed(error.to_string()))?;
        genesis.check()?;
        if genesis.to_json() != bytes {
            return Err(GenesisError::NotCanonical);
        }
        Ok(genesis)
    }

    /// The file's bytes.
    pub fn to_json(&self) -> Vec<u8> {
        // Maps here have text keys and nothing fails to serialise.
        let mut bytes = serde_json::to_vec_pretty(self).expect("a genesis serialises");
        bytes.push(b'\n');
        bytes
    }

    /// What founders compare, and what every header and transaction names.
    pub fn digest(&self) -> Digest {
        codec::digest("hufu genesis v1", self)
    }

    /// Checks that the content is consistent.
    ///
    /// # Errors
    /// [`GenesisError::Invalid`].
    pub fn check(&self) -> Result<(), GenesisError> {
        let invalid = |field, problem: String| Err(GenesisError::Invalid { field, problem });
        if self.version != GENESIS_VERSION {
            return invalid("version", format!("must be {GENESIS_VERSION}"));
        }
        if self.members.is_empty() || self.members.len() > MAX_MEMBERS {
            return invalid("members", format!("must be 1 to {MAX_MEMBERS}"));
        }
        if !self.members.windows(2).all(|pair| pair[0].name < pair[1].name) {
            return invalid("members", "must be in the order of their names, each once".into());
        }
        let mut keys = BTreeSet::new();
        for member in &self.members {
            member.check(&self.constitution)?;
            for key in [&member.vote_key, &member.statement_key] {
                if !keys.insert(key.clone()) {
                    return invalid("members", format!("use a key twice: {key}"));
                }
            }
        }
        if self.member(&self.authority.member).is_none() {
            return invalid("authority", "must be one of the members".into());
        }
        let approvals = usize::from(self.constitution.approvals);
        if approvals == 0 || approvals > self.members.len() {
            return invalid("approvals", format!("must be 1 to {}", self.members.len()));
        }
        Ok(())
    }

    /// The member called `name`.
    pub fn member(&self, name: &Name) -> Option<&Member> {
        self.members.iter().find(|member| member.name == *name)
    }
}

impl Member {
    /// Checks what a member must be, apart from the others.
    ///
    /// # Errors
    /// [`GenesisError::Invalid`].
    pub fn check(&self, constitution: &Constitution) -> Result<(), GenesisError> {
        let invalid = |field, problem: String| Err(GenesisError::Invalid { field, problem });
        if !self.jurisdictions.is_empty() && !self.kinds.contains("regulator") {
            return invalid(
                "jurisdictions",
                format!(
                    "of `{}` are a regulator's; leave them out, or add the kind `regulator`",
                    self.name
                ),
            );
        }
        if self.vote_key.algorithm() != Algorithm::EcdsaP256 {
            return invalid("vote_key", format!("of `{}` must be ecdsa-p256", self.name));
        }
        if !constitution.algorithms.contains(&self.statement_key.algorithm()) {
            return invalid(
                "statement_key",
                format!("of `{}` is of an algorithm the constitution lacks", self.name),
            );
        }
        Ok(())
    }
}
