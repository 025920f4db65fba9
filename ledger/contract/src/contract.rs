//! A checked, compiled contract.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hufu_proof::{Digest, Name};

use crate::control::{Control, ControlSet, Controls};
use crate::expression::Checked;
use crate::package::{Action, AssetType, AssetTypes, Package, Stream, Title, Version};
use crate::policy::Policies;
use crate::shown::Words;
use crate::trigger::{CheckedCall, CheckedTrigger};
use crate::types::Type;

/// A checked, compiled contract: cheap to share behind an [`Arc`]. Made by
/// [`check`](crate::check()).
#[derive(Debug)]
pub struct Contract {
    pub(crate) package: Package,
    pub(crate) digest: Digest,
    pub(crate) policies: Policies,
    /// Asset types of the contracts it requires.
    pub(crate) dependencies: BTreeMap<Name, Arc<Contract>>,
    /// Expressions by action and field.
    pub(crate) effects: BTreeMap<Name, BTreeMap<Name, Checked>>,
    /// What actions call, by action.
    pub(crate) calls: BTreeMap<Name, Vec<CheckedCall>>,
    /// What happens by itself, by name.
    pub(crate) triggers: BTreeMap<Name, CheckedTrigger>,
    /// Invariants by asset type or stream.
    pub(crate) invariants: BTreeMap<Name, Vec<(Name, Checked)>>,
    pub(crate) controls: Controls,
}

/// A table of the read model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The contract's name with `_` for `-`.
    pub schema: String,
    /// The asset type's or stream's name with `_` for `-`.
    pub name: String,
    /// The asset type or stream.
    pub of: Name,
    /// Whether its rows are assets or rows of a stream.
    pub kind: TableKind,
    /// Columns in order.
    pub columns: Vec<Column>,
}

/// What the rows of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// One asset each: the key, `state`, then the fields by name.
    Asset,
    /// One row of a batch each: `device`, `sequence`, `position`,
    /// `recorded_height`, `recorded_time`, then the columns by name.
    Stream,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Whether it may be NULL.
    pub optional: bool,
    /// Whether it is the asset's key.
    pub key: bool,
    /// What people call it.
    pub title: Option<Title>,
}

impl Table {
    /// `schema.name`, as controls write it.
    pub fn qualified(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

impl Contract {
    /// Its name.
    pub fn name(&self) -> &Name {
        &self.package.name
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.package.version
    }

    /// Its title.
    pub fn title(&self) -> &Title {
        &self.package.title
    }

    /// The digest of the package it was made from.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// All its declarations.
    pub fn package(&self) -> &Package {
        &self.package
    }

    /// The contracts it requires.
    pub fn dependencies(&self) -> &BTreeMap<Name, Arc<Contract>> {
        &self.dependencies
    }

    /// The asset type called `name`.
    pub fn asset_type(&self, name: &str) -> Option<&AssetType> {
        self.package.assets.get(name)
    }

    /// The action called `name`.
    pub fn action(&self, name: &str) -> Option<&Action> {
        self.package.actions.get(name)
    }

    /// The other contracts whose assets and streams it has triggers on.
    pub fn subscribes_to(&self) -> BTreeSet<Name> {
        let others = self.package.triggers.values().map(|trigger| &trigger.contract);
        others.filter(|other| **other != self.package.name).cloned().collect()
    }

    /// The stream called `name`.
    pub fn stream(&self, name: &str) -> Option<&Stream> {
        self.package.streams.get(name)
    }

    /// Whether `role` is one of its roles; a member's kind of the same name
    /// counts as the role.
    pub fn has_role(&self, role: &str) -> bool {
        self.package.roles.contains_key(role)
    }

    /// Its controls, in the order of their files' names.
    pub fn controls(&self) -> &[Control] {
        &self.controls.controls
    }

    /// The control called `id`.
    pub fn control(&self, id: &str) -> Option<&Control> {
        self.controls.controls.iter().find(|control| control.id.as_str() == id)
    }

    /// Its control sets by name.
    pub fn control_sets(&self) -> &BTreeMap<Name, ControlSet> {
        &self.controls.sets
    }

    /// Words for the symbols in its results, by the name of their list.
    pub fn words(&self) -> &BTreeMap<Name, Words> {
        &self.controls.words
    }

    /// The tables of the read model: one for each asset type, then one for each
    /// stream, by name.
    pub fn tables(&self) -> Vec<Table> {
        let column = |name: &str, ty: Type| Column {
            name: name.to_owned(),
            ty,
            optional: false,
            key: false,
            title: None,
        };
        let table = |of: &Name, kind, columns| Table {
            schema: sql_name(&self.package.name),
            name: sql_name(of),
            of: of.clone(),
            kind,
            columns,
        };
        let mut tables = Vec::new();
        for (name, asset) in &self.package.assets {
            let title = asset.key_title.clone();
            let key = Column { key: true, title, ..column(asset.key.as_str(), Type::Id) };
            let mut columns = vec![key, column("state", Type::Symbol)];
            columns.extend(asset.fields.iter().map(|(name, field)| Column {
                optional: field.optional,
                title: field.title.clone(),
                ..column(name.as_str(), field.ty.clone())
            }));
            tables.push(table(name, TableKind::Asset, columns));
        }
        for (name, stream) in &self.package.streams {
            let block = crate::types::Clock::Block;
            let mut columns = vec![
                column(
                    "device",
                    Type::Ref {
                        contract: stream.signer_contract.clone(),
                        asset: stream.signer_asset.clone(),
                    },
                ),
                column("sequence", Type::int()),
                column("position", Type::int()),
                column("recorded_height", Type::int()),
                column("recorded_time", Type::time(block)),
            ];
            columns.extend(stream.columns.iter().map(|(name, ty)| Column {
                title: stream.column_titles.get(name).cloned(),
                ..column(name.as_str(), ty.clone())
            }));
            tables.push(table(name, TableKind::Stream, columns));
        }
        tables
    }
}

impl AssetTypes for Contract {
    fn asset_type(&self, contract: &Name, asset: &Name) -> Option<&AssetType> {
        let catalogue = Catalogue { package: &self.package, dependencies: &self.dependencies };
        catalogue.find(contract, asset)
    }
}

/// The asset types that a package can name: its own and those of the contracts
/// it requires.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Catalogue<'a> {
    pub(crate) package: &'a Package,
    pub(crate) dependencies: &'a BTreeMap<Name, Arc<Contract>>,
}

impl<'a> Catalogue<'a> {
    /// The asset type called `asset` of `contract`.
    fn find(&self, contract: &Name, asset: &Name) -> Option<&'a AssetType> {
        if *contract == self.package.name {
            self.package.assets.get(asset)
        } else {
            self.dependencies.get(contract)?.package.assets.get(asset)
        }
    }
}

impl AssetTypes for Catalogue<'_> {
    fn asset_type(&self, contract: &Name, asset: &Name) -> Option<&AssetType> {
        self.find(contract, asset)
    }
}

/// A name as SQL has it: `_` for `-`.
pub fn sql_name(name: &Name) -> String {
    name.as_str().replace('-', "_")
}
