//! Reads `contract.toml`.

mod action;
mod call;
mod types;

use std::collections::BTreeMap;

use hufu_proof::Name;

pub(crate) use self::types::read_type;

use self::action::read_action;
use self::call::read_trigger;
use self::types::{TYPE_HINTS, read_target};
use crate::expression::parse;
use crate::package::{
    AssetType, Field, Invariant, Package, Requirement, Role, STREAM_COLUMNS, Source, Stream, Title,
    Version,
};
use crate::problem::Problem;
use crate::reader::{Document, Node, Section};
use crate::sources::{CONTRACT, Sources};
use crate::types::Type;

/// Most asset types, actions, streams, roles or invariants.
const MAX_DECLARATIONS: usize = 128;
/// Most fields of an asset, parameters of an action or columns of a stream.
const MAX_FIELDS: usize = 64;
/// Most states of an asset.
const MAX_STATES: usize = 32;
/// Most actions that one action calls.
const MAX_CALLS: usize = 16;
/// Most rows in a batch that a stream may allow.
pub const MAX_ROWS: u32 = 10_000;
/// Longest title in bytes.
const MAX_TITLE: usize = 200;

/// The name, version and requirements of a package: what is needed to find the
/// packages a check wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The contract's name.
    pub name: Name,
    /// Its version.
    pub version: Version,
    /// Packages it refers to.
    pub requires: BTreeMap<Name, Requirement>,
}

/// Reads the `[package]` table alone.
///
/// # Errors
/// What is wrong with it.
pub fn header(text: &str) -> Result<Header, Vec<Problem>> {
    let document = Document::new(CONTRACT, text);
    let header = document.parse().and_then(|table| {
        let root = Section::root(&document, &table);
        let package = root.required("package")?.table()?;
        let (name, version) = (package.required("name"), package.required("version"));
        Some(Header {
            name: name?.name()?,
            version: read_version(&version?)?,
            requires: package
                .optional("requires")
                .map(|node| requirements(&node))
                .unwrap_or_default(),
        })
    });
    let problems = document.into_problems();
    match header {
        Some(header) if problems.is_empty() => Ok(header),
        _ => Err(problems),
    }
}

/// The names of the packages that a package requires; none when its manifest
/// cannot be read.
pub fn required_names(sources: &Sources) -> Vec<Name> {
    let header = header(sources.text(CONTRACT).unwrap_or_default());
    header.map(|header| header.requires.into_keys().collect()).unwrap_or_default()
}

/// Reads the whole file. The package is there when enough was understood to
/// check the other files against it; it is valid only without problems.
pub(crate) fn read(text: &str) -> (Option<Package>, Vec<Problem>) {
    let document = Document::new(CONTRACT, text);
    let package = document.parse().and_then(|table| {
        let root = Section::root(&document, &table);
        read_package(&root)
    });
    (package, document.into_problems())
}

fn read_package(root: &Section<'_, '_>) -> Option<Package> {
    let head = root.required("package").and_then(|node| node.table());
    let mut package = Package {
        // Replaced below; a package whose name cannot be read is not returned.
        name: Name::new("unnamed").ok()?,
        version: Version { major: 0, minor: 0, patch: 0 },
        title: Title::default(),
        implements: Vec::new(),
        requires: BTreeMap::new(),
        roles: BTreeMap::new(),
        assets: BTreeMap::new(),
        actions: BTreeMap::new(),
        streams: BTreeMap::new(),
        triggers: BTreeMap::new(),
        invariants: BTreeMap::new(),
    };
    let named = head.is_some_and(|head| read_head(&head, &mut package).is_some());
    declarations(root, "roles", |node| {
        let (name, role) = read_role(&node)?;
        package.roles.insert(name, role);
        Some(())
    });
    let mut assets = BTreeMap::new();
    declarations(root, "asset", |node| {
        let asset = read_asset(&node, &package)?;
        assets.insert(asset.name.clone(), asset);
        Some(())
    });
    package.assets = assets;
    let mut streams = BTreeMap::new();
    declarations(root, "stream", |node| {
        let stream = read_stream(&node, &package)?;
        streams.insert(stream.name.clone(), stream);
        Some(())
    });
    package.streams = streams;
    let mut actions = BTreeMap::new();
    declarations(root, "action", |node| {
        let action = read_action(&node, &package)?;
        actions.insert(action.name.clone(), action);
        Some(())
    });
    package.actions = actions;
    let mut triggers = BTreeMap::new();
    declarations(root, "trigger", |node| {
        let trigger = read_trigger(&node, &package)?;
        triggers.insert(trigger.name.clone(), trigger);
        Some(())
    });
    package.triggers = triggers;
    let mut invariants = BTreeMap::new();
    declarations(root, "invariant", |node| {
        let invariant = read_invariant(&node, &package)?;
        invariants.insert(invariant.name.clone(), invariant);
        Some(())
    });
    package.invariants = invariants;
    root.finish(&[
        ("assets", "unknown key; write [asset.NAME]"),
        ("actions", "unknown key; write [action.NAME]"),
        ("role", "unknown key; write [roles]"),
        ("triggers", "unknown key; write [trigger.NAME]"),
    ]);
    named.then_some(package)
}

/// Reads every entry of a table of declarations.
fn declarations(
    root: &Section<'_, '_>,
    key: &'static str,
    mut read: impl FnMut(Node<'_, '_>) -> Option<()>,
) {
    let Some(section) = root.optional(key).and_then(|node| node.table()) else { return };
    for (count, node) in section.entries().enumerate() {
        if count == MAX_DECLARATIONS {
            section.problem("", format!("more than {MAX_DECLARATIONS} entries"));
            return;
        }
        read(node);
    }
}

fn read_head(head: &Section<'_, '_>, package: &mut Package) -> Option<()> {
    let name = head.required("name").and_then(|node| {
        let name = node.name()?;
        if matches!(name.as_str(), "main" | "temp") {
            return node.refuse("is a name of the query engine; choose another");
        }
        Some(name)
    });
    let version = head.required("version").and_then(|node| read_version(&node));
    if let Some(title) = head.required("title").and_then(|node| read_title(&node)) {
        package.title = title;
    }
    if let Some(items) = head.optional("implements") {
        let items = items.items().unwrap_or_default();
        package.implements =
            items.iter().filter_map(|item| item.text().map(str::to_owned)).collect();
    }
    if let Some(node) = head.optional("requires") {
        package.requires = requirements(&node);
    }
    head.finish(&[]);
    package.name = name?;
    package.version = version?;
    if package.requires.contains_key(&package.name) {
        head.problem("requires", "names the package itself");
    }
    Some(())
}

fn read_version(node: &Node<'_, '_>) -> Option<Version> {
    node.text()?.parse().map_err(|message: String| node.problem(message)).ok()
}

fn requirements(node: &Node<'_, '_>) -> BTreeMap<Name, Requirement> {
    let mut requires = BTreeMap::new();
    for item in node.items().unwrap_or_default() {
        let Some(text) = item.text() else { continue };
        let requirement = text.split_once('@').and_then(|(name, major)| {
            let name = Name::new(name).ok()?;
            Some(Requirement { name, major: major.parse().ok()? })
        });
        match requirement {
            Some(requirement) => {
                requires.insert(requirement.name.clone(), requirement);
            }
            None => item.problem(
                "is not a requirement; write \"NAME@MAJOR\", such as \"device-registry@1\"",
            ),
        }
    }
    requires
}

pub(crate) fn read_title(node: &Node<'_, '_>) -> Option<Title> {
    let table = node.table()?;
    let text = |node: Option<Node<'_, '_>>| {
        let node = node?;
        let text = node.text()?;
        if text.is_empty() || text.len() > MAX_TITLE {
            return node.refuse(format!("{} bytes; 1 to {MAX_TITLE} are accepted", text.len()));
        }
        Some(text.to_owned())
    };
    let (en, zh) = (text(table.required("en")), text(table.required("zh")));
    table.finish(&[]);
    let title = Title { en: en?, zh: zh? };
    if let Err(message) = title.check() {
        table.problem("zh", message);
    }
    Some(title)
}

fn optional_title(section: &Section<'_, '_>) -> Option<Title> {
    section.optional("title").and_then(|node| read_title(&node))
}

fn read_role(node: &Node<'_, '_>) -> Option<(Name, Role)> {
    let (name, table) = (node.key_name(), node.table()?);
    let role = Role {
        title: optional_title(&table),
        jurisdiction: table
            .optional("jurisdiction")
            .and_then(|node| node.boolean())
            .unwrap_or(false),
    };
    table.finish(&[]);
    Some((name?, role))
}

fn read_asset(node: &Node<'_, '_>, package: &Package) -> Option<AssetType> {
    let (name, table) = (node.key_name()?, node.table()?);
    if matches!(name.as_str(), "member" | "identity" | "role" | "action") {
        node.problem("is a type that every contract has; choose another name");
    }
    let title = optional_title(&table);
    let key = table.required("key").and_then(|node| node.name());
    let mut fields = BTreeMap::new();
    let (mut key_type, mut key_title) = (None, None);
    if let Some(section) = table.required("fields").and_then(|node| node.table()) {
        for node in section.entries() {
            if fields.len() >= MAX_FIELDS {
                section.problem("", format!("more than {MAX_FIELDS} fields"));
                break;
            }
            let Some(name) = node.key_word() else { continue };
            let Some(field) = read_field(&node, package) else { continue };
            if Some(&name) == key.as_ref() {
                if field.ty != Type::Id || field.optional || field.initial.is_some() {
                    node.problem("is the key; write { type = \"id\" }, and a title");
                }
                (key_type, key_title) = (Some(()), field.title);
            } else {
                fields.insert(name, field);
            }
        }
        if let (Some(key), None) = (&key, key_type) {
            section.problem(key.as_str(), "the key must be a field: { type = \"id\" }");
        }
    }
    let states = table.required("states").and_then(|node| {
        let states = node.names()?;
        let distinct: std::collections::BTreeSet<&Name> = states.iter().collect();
        if states.is_empty() || states.len() > MAX_STATES || distinct.len() != states.len() {
            return node.refuse(format!("must be 1 to {MAX_STATES} different states"));
        }
        Some(states)
    });
    table.finish(&[]);
    Some(AssetType { name, title, key: key?, key_title, fields, states: states? })
}

fn read_field(node: &Node<'_, '_>, package: &Package) -> Option<Field> {
    let table = node.table()?;
    let ty = read_type(&table, package);
    let optional = table.optional("optional").and_then(|node| node.boolean()).unwrap_or(false);
    let title = optional_title(&table);
    let initial = table.optional("initial").and_then(|node| {
        let json = node.json()?;
        ty.as_ref()?.from_json(&json).map_err(|message| node.problem(message)).ok()
    });
    table.finish(TYPE_HINTS);
    Some(Field { ty: ty?, optional, initial, title })
}

fn read_stream(node: &Node<'_, '_>, package: &Package) -> Option<Stream> {
    let (name, table) = (node.key_name()?, node.table()?);
    if package.assets.contains_key(&name) {
        node.problem("has the name of an asset type; choose another");
    }
    let title = optional_title(&table);
    let signer = table.required("signer").and_then(|node| read_target(&node, package));
    if let Some(node) = table.required("sequence")
        && node.text().is_some_and(|text| text != "strict")
    {
        node.problem("must be \"strict\": every batch once, in order");
    }
    let max_rows = table.required("max_rows").and_then(|node| node.bounded(1, MAX_ROWS));
    let mut columns = BTreeMap::new();
    let mut column_titles = BTreeMap::new();
    if let Some(rows) = table.required("rows").and_then(|node| node.table()) {
        for node in rows.entries() {
            if columns.len() >= MAX_FIELDS {
                rows.problem("", format!("more than {MAX_FIELDS} columns"));
                break;
            }
            let Some(name) = node.key_word() else { continue };
            if STREAM_COLUMNS.contains(&name.as_str()) {
                node.problem("is a column that every stream has; choose another name");
            }
            let Some(column) = node.table() else { continue };
            let ty = read_type(&column, package);
            if let Some(title) = optional_title(&column) {
                column_titles.insert(name.clone(), title);
            }
            column.finish(TYPE_HINTS);
            if let Some(ty) = ty {
                columns.insert(name, ty);
            }
        }
        if columns.is_empty() {
            rows.problem("", "must have a column");
        }
    }
    table.finish(&[]);
    let (signer_contract, signer_asset) = signer?;
    Some(Stream {
        name,
        title,
        signer_contract,
        signer_asset,
        columns,
        column_titles,
        max_rows: max_rows?,
    })
}

fn read_invariant(node: &Node<'_, '_>, package: &Package) -> Option<Invariant> {
    let (name, table) = (node.key_name()?, node.table()?);
    let on = table.required("on").and_then(|node| {
        let on = node.name()?;
        if !package.assets.contains_key(&on) && !package.streams.contains_key(&on) {
            return node.refuse(format!("no valid asset type or stream `{on}`"));
        }
        Some(on)
    });
    let holds = table.required("holds").and_then(|node| read_expression(&node));
    table.finish(&[]);
    let on = on?;
    let on_stream = package.streams.contains_key(&on);
    Some(Invariant { name, on, on_stream, holds: holds? })
}

fn read_expression(node: &Node<'_, '_>) -> Option<Source> {
    let (text, at) = node.text_at()?;
    match parse::parse(text) {
        Ok(expression) => Some(Source { expression, at }),
        Err(error) => {
            node.document().report(at + error.at, node.path(), error.message);
            None
        }
    }
}
