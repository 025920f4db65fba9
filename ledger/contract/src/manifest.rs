//! Reads `contract.toml`.

use std::collections::BTreeMap;

use hufu_proof::Name;

use crate::expression::parse;
use crate::package::{
    Action, AssetType, Field, Invariant, Package, Parameter, Requirement, Role, STREAM_COLUMNS,
    Source, Start, Stream, Title, Version,
};
use crate::problem::Problem;
use crate::reader::{Document, Node, Section};
use crate::sources::{CONTRACT, Sources};
use crate::types::{Clock, MAX_ITEMS, MAX_SCALE, MAX_TEXT, Type, parse_decimal};
use crate::unit::Unit;

/// Most asset types, actions, streams, roles or invariants.
const MAX_DECLARATIONS: usize = 128;
/// Most fields of an asset, parameters of an action or columns of a stream.
const MAX_FIELDS: usize = 64;
/// Most states of an asset.
const MAX_STATES: usize = 32;
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
    let mut invariants = BTreeMap::new();
    declarations(root, "invariant", |node| {
        let invariant = read_invariant(&node, &package)?;
        invariants.insert(invariant.name.clone(), invariant);
        Some(())
    });
    package.invariants = invariants;
    root.finish(&[
        (
            "trigger",
            "triggers are not supported yet; remove the table, and open the work by an action",
        ),
        ("assets", "unknown key; write [asset.NAME]"),
        ("actions", "unknown key; write [action.NAME]"),
        ("role", "unknown key; write [roles]"),
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
    Some(Title { en: en?, zh: zh? })
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
    let mut key_type = None;
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
                    node.problem("is the key; write { type = \"id\" } and nothing else");
                }
                key_type = Some(());
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
    Some(AssetType { name, title, key: key?, fields, states: states? })
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

const TYPE_HINTS: &[(&str, &str)] = &[
    (
        "private",
        "private fields are not supported yet; remove the key, or keep the text off the ledger \
         and record its digest",
    ),
    ("min", "bounds are for int and decimal"),
    ("max", "bounds are for int, decimal, text, bytes, list and set"),
    ("unit", "units are for int and decimal"),
    ("scale", "a scale is for decimal"),
    ("clock", "a clock is for time"),
    ("of", "the type of items is for list and set"),
    ("to", "the target is for ref"),
    ("initial", "an initial value is for fields of assets"),
    ("optional", "columns always have a value"),
];

/// Reads the keys of a type from the table it stands in.
pub(crate) fn read_type(table: &Section<'_, '_>, package: &Package) -> Option<Type> {
    let node = table.required("type")?;
    let size = |default: u32, most: u32| {
        table.optional("max").map_or(Some(default), |node| node.bounded(1, most))
    };
    let unit = || {
        table.optional("unit").map_or(Some(Unit::count()), |node| {
            Unit::parse(node.text()?).map_err(|message| node.problem(message)).ok()
        })
    };
    let bound = |key: &'static str, scale: u8, default: i64| {
        table.optional(key).map_or(Some(default), |node| {
            let json = node.json()?;
            let text = match &json {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Number(number) => number.to_string(),
                _ => return node.refuse("is not a number"),
            };
            parse_decimal(&text, scale).map_err(|message| node.problem(message)).ok()
        })
    };
    let bounds = |scale: u8| {
        let (min, max) = (bound("min", scale, i64::MIN), bound("max", scale, i64::MAX));
        let (min, max) = (min?, max?);
        if min > max {
            table.problem("min", "is over max");
            return None;
        }
        Some((min, max))
    };
    Some(match node.text()? {
        "bool" => Type::Bool,
        "int" => {
            let (unit, bounds) = (unit(), bounds(0));
            let (min, max) = bounds?;
            Type::Int { unit: unit?, min, max }
        }
        "decimal" => {
            let scale =
                table.required("scale").and_then(|node| node.bounded(0, u32::from(MAX_SCALE)));
            let unit = unit();
            let scale = u8::try_from(scale?).ok()?;
            let (min, max) = bounds(scale)?;
            Type::Decimal { scale, unit: unit?, min, max }
        }
        "text" => Type::Text { max: size(1024, MAX_TEXT)? },
        "symbol" => Type::Symbol,
        "id" => Type::Id,
        "bytes" => Type::Bytes { max: size(1024, MAX_TEXT)? },
        "digest" => Type::Digest,
        "time" => Type::Time {
            clock: match table.optional("clock") {
                None => Clock::Signer,
                Some(node) => match node.text()? {
                    "block" => Clock::Block,
                    "signer" => Clock::Signer,
                    _ => return node.refuse("is not a clock; there are \"block\" and \"signer\""),
                },
            },
        },
        "member" => Type::Member,
        "identity" => Type::Identity,
        "ref" => {
            let (contract, asset) = read_target(&table.required("to")?, package)?;
            Type::Ref { contract, asset }
        }
        kind @ ("list" | "set") => {
            let max = size(16, MAX_ITEMS);
            let of = table.required("of").and_then(|node| {
                if node.is_table() {
                    let inner = node.table()?;
                    let of = read_type(&inner, package);
                    inner.finish(TYPE_HINTS);
                    return of;
                }
                plain_type(&node)
            })?;
            if !of.is_scalar() {
                return node.refuse("items must be scalars, not lists or sets");
            }
            let (of, max) = (Box::new(of), max?);
            if kind == "list" { Type::List { of, max } } else { Type::Set { of, max } }
        }
        "float" | "double" | "number" => {
            return node
                .refuse("is not exact; use \"int\" with a unit, or \"decimal\" with a scale");
        }
        _ => {
            return node.refuse(
                "is not a type; there are bool, int, decimal, text, symbol, id, bytes, digest, \
                 time, member, identity, ref, list and set",
            );
        }
    })
}

/// A type that needs no more than its name.
fn plain_type(node: &Node<'_, '_>) -> Option<Type> {
    Some(match node.text()? {
        "bool" => Type::Bool,
        "int" => Type::int(),
        "symbol" => Type::Symbol,
        "id" => Type::Id,
        "digest" => Type::Digest,
        "member" => Type::Member,
        "identity" => Type::Identity,
        _ => return node.refuse("write the type of items as a table: { type = ..., ... }"),
    })
}

/// Reads `contract/asset` or `asset`.
fn read_target(node: &Node<'_, '_>, package: &Package) -> Option<(Name, Name)> {
    let text = node.text()?;
    let (contract, asset) = match text.split_once('/') {
        Some((contract, asset)) => (Name::new(contract), Name::new(asset)),
        None => (Ok(package.name.clone()), Name::new(text)),
    };
    let (Ok(contract), Ok(asset)) = (contract, asset) else {
        return node.refuse("is not an asset type; write \"CONTRACT/ASSET\"");
    };
    if contract != package.name && !package.requires.contains_key(&contract) {
        return node.refuse(format!(
            "is of a contract that this one does not require; add \"{contract}@MAJOR\" to \
             package.requires"
        ));
    }
    Some((contract, asset))
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

fn read_action(node: &Node<'_, '_>, package: &Package) -> Option<Action> {
    let (name, table) = (node.key_name()?, node.table()?);
    if matches!(name.as_str(), "read" | "append") {
        node.problem("is an action that every contract has; choose another name");
    }
    let title = optional_title(&table);
    let (creates, on) = (table.optional("creates"), table.optional("on"));
    let (start, target) = match (&creates, &on) {
        (Some(node), None) => (Start::Nothing, node),
        (None, Some(node)) => (Start::Asset, node),
        _ => {
            table.problem("", "must have one of `creates` and `on`");
            return None;
        }
    };
    let asset_name = target.name()?;
    let Some(asset) = package.assets.get(&asset_name) else {
        return target
            .refuse(format!("no valid asset type `{asset_name}`; declare [asset.{asset_name}]"));
    };
    let from = read_from(&table, start, asset);
    let to = table.optional("to").and_then(|node| {
        let to = node.name()?;
        if start == Start::Nothing {
            return node
                .refuse(format!("a new asset is in its first state, `{}`", asset.states[0]));
        }
        known_state(&node, asset, &to).then_some(to)
    });
    let params = read_params(&table, start, asset, package);
    let set = read_set(&table, asset, &params);
    let emit = table.optional("emit").and_then(|node| node.name());
    table.finish(&[(
        "when",
        "conditions of actions are written in policy.cedar: permit (...) when { ... }",
    )]);
    if start == Start::Nothing {
        for (field, declared) in &asset.fields {
            let given = declared.optional
                || declared.initial.is_some()
                || set.contains_key(field)
                || params.get(field).is_some_and(|param| param.sets_field && !param.optional);
            if !given {
                table.problem(
                    "",
                    format!(
                        "gives field `{field}` no value; make it a parameter, set it, or give \
                         the field an initial value or `optional = true`"
                    ),
                );
            }
        }
    }
    Some(Action { name, title, asset: asset_name, start, from: from?, to, params, set, emit })
}

fn read_from(table: &Section<'_, '_>, start: Start, asset: &AssetType) -> Option<Vec<Name>> {
    match start {
        Start::Nothing => {
            if let Some(node) = table.optional("from") {
                node.problem("an action that creates starts from nothing; remove the key");
            }
            Some(Vec::new())
        }
        Start::Asset => {
            let node = table.required("from")?;
            let from = node.names()?;
            if from.is_empty() {
                return node.refuse("must name a state");
            }
            for state in &from {
                known_state(&node, asset, state);
            }
            Some(from)
        }
    }
}

fn known_state(node: &Node<'_, '_>, asset: &AssetType, state: &Name) -> bool {
    let known = asset.states.contains(state);
    if !known {
        let states: Vec<&str> = asset.states.iter().map(Name::as_str).collect();
        node.problem(format!(
            "{} has no state `{state}`; it has {}",
            asset.name,
            states.join(", ")
        ));
    }
    known
}

fn read_params(
    table: &Section<'_, '_>,
    start: Start,
    asset: &AssetType,
    package: &Package,
) -> BTreeMap<Name, Parameter> {
    let mut params = BTreeMap::new();
    let Some(node) = table.optional("params") else { return params };
    let of_field = |node: &Node<'_, '_>, name: &Name, optional: Option<bool>| {
        if *name == asset.key {
            if start == Start::Asset {
                node.problem("the key of an asset does not change");
            }
            // The key travels beside the parameters.
            return None;
        }
        let Some(field) = asset.fields.get(name) else {
            return node.refuse(format!(
                "{} has no field `{name}`; declare the parameter's type: params.{name} = {{ type \
                 = ... }}",
                asset.name
            ));
        };
        // An optional field's parameter may be left out, unless it says no.
        let optional = optional.unwrap_or(field.optional);
        let title = field.title.clone();
        Some(Parameter { ty: field.ty.clone(), optional, sets_field: true, title })
    };
    if node.is_array() {
        for item in node.items().unwrap_or_default() {
            let Some(name) = item.name() else { continue };
            if let Some(parameter) = of_field(&item, &name, None) {
                params.insert(name, parameter);
            }
        }
        return params;
    }
    let Some(section) = node.table() else { return params };
    for node in section.entries() {
        if params.len() >= MAX_FIELDS {
            section.problem("", format!("more than {MAX_FIELDS} parameters"));
            break;
        }
        let (Some(name), Some(inner)) = (node.key_word(), node.table()) else { continue };
        let optional = inner.optional("optional").and_then(|node| node.boolean());
        let title = optional_title(&inner);
        let is_field = inner.optional("field").and_then(|node| node.boolean()).unwrap_or(false);
        let parameter = if is_field {
            of_field(&node, &name, optional)
        } else {
            let optional = optional.unwrap_or(false);
            read_type(&inner, package).map(|ty| Parameter {
                ty,
                optional,
                sets_field: false,
                title,
            })
        };
        inner.finish(TYPE_HINTS);
        if let Some(parameter) = parameter {
            if let Type::Time { clock: Clock::Block } = parameter.ty {
                node.problem(
                    "a parameter is declared by its signer; it cannot be the block's time",
                );
            }
            params.insert(name, parameter);
        }
    }
    params
}

fn read_set(
    table: &Section<'_, '_>,
    asset: &AssetType,
    params: &BTreeMap<Name, Parameter>,
) -> BTreeMap<Name, Source> {
    let mut set = BTreeMap::new();
    let Some(section) = table.optional("set").and_then(|node| node.table()) else { return set };
    for node in section.entries() {
        let Some(name) = node.key_name() else { continue };
        if name == asset.key {
            node.problem("the key of an asset does not change");
        } else if !asset.fields.contains_key(&name) {
            node.problem(format!("{} has no field `{name}`", asset.name));
        } else if params.get(&name).is_some_and(|param| param.sets_field) {
            node.problem("the parameter of the same name sets this field already");
        } else if let Some(source) = read_expression(&node) {
            set.insert(name, source);
        }
    }
    set
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
