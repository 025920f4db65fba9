//! What is agreed of a member: who it is, what it may see, which names and keys
//! are its own.
//!
//! [`MemberV1`] is the form of consortia that were founded with version 1 of
//! the genesis file. It says what a regulator may see by a list, and *whole* by
//! leaving the list empty; read as a [`Member`], an empty list of a regulator is
//! [`Jurisdictions::Whole`], as its founders meant it, and of anybody else
//! [`Jurisdictions::None`]. Such members own no names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::genesis::{Constitution, GenesisError};
use crate::identifier::Name;
use crate::key::{Algorithm, PublicKey};
use crate::names::NetworkName;

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
    /// What it may see as a regulator.
    pub jurisdictions: Jurisdictions,
    /// The names on the network that are its own; nobody else is certified for
    /// them, nor for what is below them.
    pub names: BTreeSet<NetworkName>,
    /// Verifies its votes and names it on the network.
    pub vote_key: PublicKey,
    /// Verifies its transactions, receipts and reports.
    pub statement_key: PublicKey,
    /// The key of its node in TLS, which may act for it in all roles but
    /// `administrator` without further approval.
    pub node_key: Option<PublicKey>,
}

/// What a regulator may see.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Jurisdictions {
    /// Nothing: whoever is no regulator, and a regulator that was given none.
    #[default]
    None = 0,
    /// What is of these, at least one.
    Only(BTreeSet<Name>) = 1,
    /// The whole consortium.
    Whole = 2,
}

impl Jurisdictions {
    /// Most jurisdictions of a member.
    pub const MAX: usize = 256;

    /// Those that are named: none for [`Self::None`] and for [`Self::Whole`].
    pub fn named(&self) -> impl Iterator<Item = &Name> {
        match self {
            Self::Only(names) => Some(names.iter()),
            Self::None | Self::Whole => None,
        }
        .into_iter()
        .flatten()
    }
}

impl fmt::Display for Jurisdictions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("none"),
            Self::Whole => formatter.write_str("whole"),
            Self::Only(names) => {
                let names: Vec<&str> = names.iter().map(Name::as_str).collect();
                formatter.write_str(&names.join(", "))
            }
        }
    }
}

/// A member in the form of version 1.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberV1 {
    /// As [`Member::name`].
    pub name: Name,
    /// As [`Member::title`].
    pub title: BTreeMap<String, String>,
    /// As [`Member::kinds`].
    pub kinds: BTreeSet<Name>,
    /// What it may see as a regulator; everything where there are none.
    pub jurisdictions: BTreeSet<Name>,
    /// As [`Member::vote_key`].
    pub vote_key: PublicKey,
    /// As [`Member::statement_key`].
    pub statement_key: PublicKey,
}

impl Jurisdictions {
    /// What version 1 means by a list, of a member of these kinds.
    pub fn from_v1(kinds: &BTreeSet<Name>, listed: BTreeSet<Name>) -> Self {
        match (listed.is_empty(), kinds.contains("regulator")) {
            (false, _) => Self::Only(listed),
            (true, true) => Self::Whole,
            (true, false) => Self::None,
        }
    }
}

impl From<MemberV1> for Member {
    fn from(member: MemberV1) -> Self {
        let MemberV1 { name, title, kinds, jurisdictions, vote_key, statement_key } = member;
        let jurisdictions = Jurisdictions::from_v1(&kinds, jurisdictions);
        let names = BTreeSet::new();
        Self { name, title, kinds, jurisdictions, names, vote_key, statement_key, node_key: None }
    }
}

impl Member {
    /// Most names that it owns.
    pub const MAX_NAMES: usize = 64;

    /// It in the form of version 1, where that can say all of it.
    pub fn to_v1(&self) -> Option<MemberV1> {
        let member = MemberV1 {
            name: self.name.clone(),
            title: self.title.clone(),
            kinds: self.kinds.clone(),
            jurisdictions: self.jurisdictions.named().cloned().collect(),
            vote_key: self.vote_key.clone(),
            statement_key: self.statement_key.clone(),
        };
        (Self::from(member.clone()) == *self).then_some(member)
    }

    /// Checks what a member must be, apart from the others.
    ///
    /// # Errors
    /// [`GenesisError::Invalid`].
    pub fn check(&self, constitution: &Constitution) -> Result<(), GenesisError> {
        let invalid = |field, problem: String| Err(GenesisError::Invalid { field, problem });
        if self.jurisdictions != Jurisdictions::None && !self.kinds.contains("regulator") {
            return invalid(
                "jurisdictions",
                format!(
                    "of `{}` are a regulator's; leave them out, or add the kind `regulator`",
                    self.name
                ),
            );
        }
        if let Jurisdictions::Only(names) = &self.jurisdictions
            && !(1..=Jurisdictions::MAX).contains(&names.len())
        {
            return invalid(
                "jurisdictions",
                format!("of `{}` must be none, whole, or 1 to {}", self.name, Jurisdictions::MAX),
            );
        }
        if self.names.len() > Self::MAX_NAMES {
            return invalid(
                "names",
                format!("of `{}` must be at most {}", self.name, Self::MAX_NAMES),
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

    /// A name of this member that overlaps one of `others`.
    pub fn name_shared_with<'a>(
        &'a self,
        others: impl IntoIterator<Item = &'a NetworkName>,
    ) -> Option<(&'a NetworkName, &'a NetworkName)> {
        others.into_iter().find_map(|other| {
            let own = self.names.iter().find(|own| own.overlaps(other))?;
            Some((own, other))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn member(kinds: &[&str], jurisdictions: &[&str]) -> MemberV1 {
        let set = |texts: &[&str]| texts.iter().map(|text| name(text)).collect();
        let key = |one: u8| PublicKey::new(Algorithm::Ed25519, &[one; 32]).unwrap();
        MemberV1 {
            name: name("one"),
            title: BTreeMap::new(),
            kinds: set(kinds),
            jurisdictions: set(jurisdictions),
            vote_key: key(1),
            statement_key: key(2),
        }
    }

    #[test]
    fn only_a_regulator_of_version_1_without_a_list_sees_the_whole() {
        let seen =
            |kinds: &[&str], listed: &[&str]| Member::from(member(kinds, listed)).jurisdictions;
        assert_eq!(seen(&["regulator"], &[]), Jurisdictions::Whole);
        assert_eq!(seen(&["maker", "regulator"], &[]), Jurisdictions::Whole);
        assert_eq!(seen(&["maker"], &[]), Jurisdictions::None);
        assert_eq!(seen(&[], &[]), Jurisdictions::None);
        let north = Jurisdictions::Only([name("north")].into());
        assert_eq!(seen(&["regulator"], &["north"]), north);
        assert_eq!(Jurisdictions::default(), Jurisdictions::None);
        assert_eq!(north.named().count(), 1);
        assert_eq!(Jurisdictions::Whole.named().count(), 0);
    }

    #[test]
    fn version_1_says_nothing_of_what_came_later() {
        let old = Member::from(member(&["regulator"], &[]));
        assert_eq!(old.to_v1().unwrap(), member(&["regulator"], &[]));
        for newer in [
            Member { jurisdictions: Jurisdictions::None, ..old.clone() },
            Member { names: ["maker.example".parse().unwrap()].into(), ..old.clone() },
            Member { node_key: Some(old.vote_key.clone()), ..old.clone() },
        ] {
            assert_eq!(newer.to_v1(), None);
        }
    }

    proptest! {
        #[test]
        fn version_1_reads_as_it_was_written(
            kinds in prop::collection::btree_set("regulator|maker|operator", 0..3),
            listed in prop::collection::btree_set("[a-z]{1,3}", 0..3),
        ) {
            let texts = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
            let (kinds, listed) = (texts(&kinds), texts(&listed));
            let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
            let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
            let written = member(&kinds, &listed);
            prop_assert_eq!(Member::from(written.clone()).to_v1(), Some(written));
        }
    }
}
