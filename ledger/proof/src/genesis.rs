//! The genesis file: what the founders agree on, and all that a verifier needs
//! to be given.
//!
//! The file is JSON in one exact form (pretty-printed, fields in order, no
//! other white space), so that two people who compare the digest compare the
//! file. Network addresses are not part of it: they change.
//!
//! A file of version 1 is read, and keeps its digest; its members are of the
//! form of then ([`MemberV1`]).

use std::collections::BTreeSet;
use std::io::Write;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::codec::{self, MAX_GENESIS};
use crate::identifier::{Digest, Name};
use crate::json::{self, JsonError};
use crate::key::Algorithm;
pub use crate::member::{Jurisdictions, Member, MemberV1};
use crate::number::UnixMillis;

/// The format version written now.
pub const GENESIS_VERSION: u8 = 2;

/// Most members of a consortium.
pub const MAX_MEMBERS: usize = 100;

/// What the founders agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// [`GENESIS_VERSION`], or 1.
    pub version: u8,
    /// The consortium's name, for people.
    pub consortium: Name,
    /// When it was made: the time of block 0.
    pub created_ms: UnixMillis,
    /// The founders, in the order of their names.
    pub members: Vec<Member>,
    /// The certification authority.
    pub authority: Authority,
    /// How the consortium changes what all share.
    pub constitution: Constitution,
}

/// The file with members of a version's form.
#[derive(BorshSerialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File<M> {
    version: u8,
    consortium: Name,
    created_ms: UnixMillis,
    members: Vec<M>,
    authority: Authority,
    constitution: Constitution,
}

/// What says of which version a file is; the rest is read by that.
#[derive(Deserialize)]
struct Versioned {
    version: u8,
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

impl Constitution {
    /// How far ahead a new one may come into force, in blocks.
    pub const MAX_AHEAD: u64 = 100_000_000;

    /// Whether so many members can decide anything under it.
    pub fn lets_decide(&self, members: usize) -> bool {
        (1..=members).contains(&usize::from(self.approvals))
    }
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
        let malformed = |error: JsonError| GenesisError::Malformed(error.to_string());
        let Versioned { version } = json::from_slice(bytes).map_err(malformed)?;
        let genesis = match version {
            1 => Self::of(json::from_slice::<File<MemberV1>>(bytes).map_err(malformed)?),
            _ => Self::of(json::from_slice::<File<Member>>(bytes).map_err(malformed)?),
        };
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
        if !(1..=GENESIS_VERSION).contains(&self.version) {
            return invalid("version", format!("must be 1 to {GENESIS_VERSION}"));
        }
        if self.version == 1 && self.members.iter().any(|member| member.to_v1().is_none()) {
            return invalid("version", "must be 2 for what its members have".into());
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
            for key in [&member.vote_key, &member.statement_key].into_iter().chain(&member.node_key)
            {
                if !keys.insert(key.clone()) {
                    return invalid("members", format!("use a key twice: {key}"));
                }
            }
        }
        for (place, member) in self.members.iter().enumerate() {
            for other in &self.members[..place] {
                if let Some((own, theirs)) = member.name_shared_with(&other.names) {
                    return invalid(
                        "names",
                        format!(
                            "of `{}` and `{}` overlap ({own} and {theirs}); a name has one owner",
                            member.name, other.name
                        ),
                    );
                }
            }
        }
        if self.member(&self.authority.member).is_none() {
            return invalid("authority", "must be one of the members".into());
        }
        if !self.constitution.lets_decide(self.members.len()) {
            return invalid("approvals", format!("must be 1 to {}", self.members.len()));
        }
        Ok(())
    }

    /// The member called `name`.
    pub fn member(&self, name: &Name) -> Option<&Member> {
        self.members.iter().find(|member| member.name == *name)
    }
}

impl Genesis {
    fn of<M: Into<Member>>(file: File<M>) -> Self {
        let File { version, consortium, created_ms, members, authority, constitution } = file;
        let members = members.into_iter().map(Into::into).collect();
        Self { version, consortium, created_ms, members, authority, constitution }
    }

    fn file<M>(&self, members: Vec<M>) -> File<M> {
        File {
            version: self.version,
            consortium: self.consortium.clone(),
            created_ms: self.created_ms,
            members,
            authority: self.authority.clone(),
            constitution: self.constitution.clone(),
        }
    }

    /// The members in the form of version 1, if this is of version 1 and they
    /// have one ([`Self::check`] sees to that).
    fn members_v1(&self) -> Option<Vec<MemberV1>> {
        if self.version == 1 { self.members.iter().map(Member::to_v1).collect() } else { None }
    }
}

impl BorshSerialize for Genesis {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        match self.members_v1() {
            Some(members) => BorshSerialize::serialize(&self.file(members), writer),
            None => BorshSerialize::serialize(&self.file(self.members.clone()), writer),
        }
    }
}

impl Serialize for Genesis {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.members_v1() {
            Some(members) => Serialize::serialize(&self.file(members), serializer),
            None => Serialize::serialize(&self.file(self.members.clone()), serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of version 1, from a run of the demonstration of then.
    const FOUNDED_V1: &[u8] = include_bytes!("../fuzz/corpus/genesis/founded.json");
    /// The same consortium as it would be founded now.
    const FOUNDED: &[u8] = include_bytes!("../fuzz/corpus/genesis/founded-2.json");

    #[test]
    fn a_file_of_version_1_is_read_and_keeps_its_digest() {
        let genesis = Genesis::from_json(FOUNDED_V1).unwrap();
        assert_eq!(genesis.version, 1);
        assert_eq!(genesis.to_json(), FOUNDED_V1);
        let digest = "f9af7f2d2306e9cfcd8d04d03234587df6fe277a6e9dcb79745ec6dadbf5c237";
        assert_eq!(genesis.digest().to_string(), digest);
        for member in &genesis.members {
            let whole = member.name.as_str() == "regulator";
            let expected = if whole { Jurisdictions::Whole } else { Jurisdictions::None };
            assert_eq!(member.jurisdictions, expected, "{}", member.name);
            assert!(member.names.is_empty() && member.node_key.is_none());
        }
    }

    #[test]
    fn version_2_says_what_a_regulator_sees_and_whose_a_name_is() {
        let genesis = Genesis::from_json(FOUNDED).unwrap();
        assert_eq!(genesis.version, 2);
        assert_eq!(
            genesis.digest().to_string(),
            "5d3744361c1afa63bc0cb147a2c41456cae6fc4846b1dcc138b76d76a8a72c39"
        );
        let regulator = genesis.member(&Name::new("regulator").unwrap()).unwrap();
        assert_eq!(regulator.jurisdictions, Jurisdictions::Whole);
        assert!(!regulator.names.is_empty());
        // What one version has, the other does not take.
        let text = String::from_utf8(FOUNDED.to_vec()).unwrap();
        for (from, to, words) in [
            ("\"version\": 2", "\"version\": 1", "malformed"),
            ("\"version\": 2", "\"version\": 3", "1 to 2"),
            ("\"version\": 2", "\"version\": 0", "1 to 2"),
            ("\"whole\"", "[]", "malformed"),
            ("\"whole\"", "{\n        \"only\": []\n      }", "1 to 256"),
            ("maker.example\"", "Maker.example\"", "reformatted"),
            ("maker.example\"", "localhost\"", "no member"),
        ] {
            assert!(text.contains(from), "{from}");
            let error = Genesis::from_json(text.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(words), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn two_founders_never_own_one_name() {
        let mut genesis = Genesis::from_json(FOUNDED).unwrap();
        genesis.members[1].names = ["node.example".parse().unwrap()].into();
        for (name, shared) in [
            ("node.example", true),
            ("a.node.example", true),
            ("example", true),
            ("b.example", false),
        ] {
            genesis.members[3].names = [name.parse().unwrap()].into();
            let error = genesis.check().err().map(|error| error.to_string());
            assert_eq!(error.is_some_and(|error| error.contains("overlap")), shared, "{name}");
        }
    }
}
