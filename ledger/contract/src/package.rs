//! What `contract.toml` declares, after it has been read: data without checks
//! across files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use hufu_proof::{Name, Value};
use serde::Serialize;

use crate::expression::Expression;
use crate::types::Type;

/// A title for people, by language: `en` and `zh`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Title {
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
}

impl Title {
    /// Checks that the Chinese is one: it has a Chinese character, or is an
    /// abbreviation that is the same in both languages.
    ///
    /// # Errors
    /// What to do.
    pub fn check(&self) -> Result<(), &'static str> {
        let chinese = self.zh.chars().any(|one| {
            matches!(one, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
        });
        let abbreviation = self.zh == self.en && !self.zh.contains(char::is_lowercase);
        if chinese || abbreviation { Ok(()) } else { Err("is not Chinese; translate it") }
    }
}

/// `major.minor.patch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Changes when what others rely on changes.
    pub major: u32,
    /// Changes when something is added.
    pub minor: u32,
    /// Changes when something is corrected.
    pub patch: u32,
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.').map(|part| {
            let plain = part.bytes().all(|byte| byte.is_ascii_digit())
                && (part == "0" || !part.starts_with('0'));
            part.parse::<u32>().ok().filter(|_| plain)
        });
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
                Ok(Self { major, minor, patch })
            }
            _ => Err("is not a version; write three numbers, such as \"1.0.0\"".into()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Another package that this one refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Its name.
    pub name: Name,
    /// Its major version.
    pub major: u32,
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.name, self.major)
    }
}

/// A whole `contract.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The contract's name.
    pub name: Name,
    /// Its version.
    pub version: Version,
    /// Its title.
    pub title: Title,
    /// The rules and paragraphs it implements.
    pub implements: Vec<String>,
    /// Packages it refers to, by name.
    pub requires: BTreeMap<Name, Requirement>,
    /// Roles that members hold.
    pub roles: BTreeMap<Name, Role>,
    /// Asset types.
    pub assets: BTreeMap<Name, AssetType>,
    /// Actions on assets.
    pub actions: BTreeMap<Name, Action>,
    /// Streams of rows.
    pub streams: BTreeMap<Name, Stream>,
    /// What happens by itself.
    pub triggers: BTreeMap<Name, Trigger>,
    /// What must hold after every action or for every row.
    pub invariants: BTreeMap<Name, Invariant>,
}

/// A role of members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// What people call it.
    pub title: Option<Title>,
    /// Whether it sees by jurisdiction.
    pub jurisdiction: bool,
}

/// A type of asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetType {
    /// Its name.
    pub name: Name,
    /// What people call it.
    pub title: Option<Title>,
    /// The field that is the key, of type `id`; not among `fields`.
    pub key: Name,
    /// What people call the key.
    pub key_title: Option<Title>,
    /// Fields but the key.
    pub fields: BTreeMap<Name, Field>,
    /// States; a new asset is in the first.
    pub states: Vec<Name>,
}

/// Asset types by contract and name: a package's own, and those of the contracts
/// that it requires.
pub(crate) trait AssetTypes {
    /// The asset type called `asset` of `contract`.
    fn asset_type(&self, contract: &Name, asset: &Name) -> Option<&AssetType>;
}

/// A field of an asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its type.
    pub ty: Type,
    /// Whether it may have no value.
    pub optional: bool,
    /// Its value in a new asset.
    pub initial: Option<Value>,
    /// What people call it.
    pub title: Option<Title>,
}

/// A parameter of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its type.
    pub ty: Type,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether the field of the same name takes its value.
    pub sets_field: bool,
    /// What people call it; that of the field when it sets one.
    pub title: Option<Title>,
}

/// What an action starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From nothing: it makes the asset.
    Nothing,
    /// From an asset.
    Asset,
}

/// An action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its name.
    pub name: Name,
    /// What people call it.
    pub title: Option<Title>,
    /// The asset type it makes or changes.
    pub asset: Name,
    /// Whether it makes it.
    pub start: Start,
    /// States it starts from; empty when it makes the asset.
    pub from: Vec<Name>,
    /// The state it leads to; `None` when the state stays.
    pub to: Option<Name>,
    /// Parameters but the key.
    pub params: BTreeMap<Name, Parameter>,
    /// Fields and the expressions for their new values.
    pub set: BTreeMap<Name, Source>,
    /// The event it emits.
    pub emit: Option<Name>,
    /// What it does besides, in this order, in the same transaction: all of it
    /// happens or nothing.
    pub then: Vec<Call>,
}

/// An action that a contract calls by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Byte offset of the table in `contract.toml`.
    pub at: usize,
    /// The contract that has the action: this one, or one it requires.
    pub contract: Name,
    /// The action.
    pub action: Name,
    /// The asset it acts on, or the key of the one it makes.
    pub target: Source,
    /// Its parameters.
    pub with: BTreeMap<Name, Source>,
    /// Only then; always when `None`.
    pub when: Option<Source>,
}

/// What happens by itself: a row, a change of an asset or a date calls an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Its name.
    pub name: Name,
    /// What people call it.
    pub title: Option<Title>,
    /// Byte offset of the table in `contract.toml`.
    pub at: usize,
    /// The contract of what it waits for: this one, or one it requires.
    pub contract: Name,
    /// The stream or asset type.
    pub on: Name,
    /// Of a stream: the asset that is `asset` in its expressions.
    pub find: Option<Find>,
    /// Of an asset: the states that it waits for the asset to enter; any change
    /// when empty.
    pub to: Vec<Name>,
    /// Of a date: the states in which it counts; all when empty.
    pub from: Vec<Name>,
    /// The date, when it waits for one.
    pub due: Option<Source>,
    /// What it calls.
    pub call: Call,
}

/// How a trigger on a stream finds the asset that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// The contract of the asset.
    pub contract: Name,
    /// Its type.
    pub asset: Name,
    /// Its key.
    pub key: Source,
}

/// An expression with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The expression.
    pub expression: Expression,
    /// Byte offset of the expression's text in `contract.toml`.
    pub at: usize,
}

/// A stream of rows, appended in batches under one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its name.
    pub name: Name,
    /// What people call it.
    pub title: Option<Title>,
    /// Which contract has the type of the assets that sign.
    pub signer_contract: Name,
    /// The type of the assets that sign.
    pub signer_asset: Name,
    /// Columns by name.
    pub columns: BTreeMap<Name, Type>,
    /// What people call the columns.
    pub column_titles: BTreeMap<Name, Title>,
    /// Most rows in a batch.
    pub max_rows: u32,
}

/// What must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invariant {
    /// Its name.
    pub name: Name,
    /// The asset type or stream.
    pub on: Name,
    /// Whether `on` is a stream: it must hold for every row.
    pub on_stream: bool,
    /// The condition.
    pub holds: Source,
}

/// Names of columns that every stream's table has beside the declared ones.
pub const STREAM_COLUMNS: [&str; 5] =
    ["device", "sequence", "position", "recorded_height", "recorded_time"];

impl Package {
    /// All names in the package that Cedar knows as a type.
    pub fn type_names(&self) -> BTreeSet<&Name> {
        self.assets.keys().chain(self.streams.keys()).collect()
    }
}
