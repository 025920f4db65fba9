//! The Cedar schema that a contract's declarations mean.
//!
//! - `Role`: the contract's roles, all enumerated, so that a misspelt role is an
//!   error.
//! - `Member`, in its roles: `kinds`, `jurisdictions`.
//! - `Identity`, the principal of everything: `member`, `kind` (`"member"`,
//!   `"device"`, ..., `"clock"` where a date has come), `id` (64 hexadecimal digits), `subject`,
//!   `jurisdictions`. A member's own keys and clients are in the member's roles;
//!   **a device is in none**, so that a policy lets devices act only by saying
//!   so.
//! - One type per asset type (`work-order` is `WorkOrder`): its key, its fields,
//!   `state`. References are entities, so `resource.device.owner` works; assets
//!   of a required contract are in its namespace (`device_registry::Device`).
//! - One type per stream: `device`, the asset that signs.
//! - One action per action, with `context.params`, `context.block`, and, where a
//!   contract calls it by itself, `context.via`, the action or trigger that calls
//!   (`"maintenance/overheat"`); `append`
//!   for streams, with `context.rows`, the number of rows; `read` for assets and
//!   streams.
//!
//! Numbers and times are `Long` in the units of the declaration, digests, bytes
//! and identities are `String` in hexadecimal, lists are `Set`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hufu_proof::Name;

use crate::package::{AssetType, Package, Parameter, Start};
use crate::types::Type;

/// The schema as text.
pub(crate) fn text(
    package: &Package,
    dependencies: &BTreeMap<&Name, &BTreeMap<Name, AssetType>>,
) -> String {
    let types = Types { package, dependencies };
    let mut schema = String::new();
    let roles: Vec<String> = package.roles.keys().map(|role| format!("\"{role}\"")).collect();
    // An enumeration cannot be empty.
    if roles.is_empty() {
        schema.push_str("entity Role;\n");
    } else {
        line(&mut schema, format_args!("entity Role enum [{}];", roles.join(", ")));
    }
    schema.push_str(
        "entity Member in [Role] { kinds: Set<String>, jurisdictions: Set<String> };\n\
         entity Identity in [Role] { member: Member, kind: String, id: String, subject: String, \
         jurisdictions: Set<String> };\n",
    );
    for asset in package.assets.values() {
        line(&mut schema, format_args!("entity {}", types.asset(asset)));
    }
    for (name, stream) in &package.streams {
        let device = types.reference(&stream.signer_contract, &stream.signer_asset);
        line(&mut schema, format_args!("entity {} {{ device: {device} }};", type_name(name)));
    }
    const BLOCK: &str = "block: { height: Long, time: Long }";
    for (name, action) in &package.actions {
        let params: Vec<String> =
            action.params.iter().map(|(name, param)| types.parameter(name, param)).collect();
        // What a creating action makes is the resource, as it would be.
        debug_assert!(action.start == Start::Nothing || !action.from.is_empty());
        line(
            &mut schema,
            format_args!(
                "action \"{name}\" appliesTo {{ principal: [Identity], resource: [{}], context: \
                 {{ params: {{ {} }}, via?: String, {BLOCK} }} }};",
                type_name(&action.asset),
                params.join(", "),
            ),
        );
    }
    let list =
        |names: Vec<&Name>| names.into_iter().map(type_name).collect::<Vec<String>>().join(", ");
    if !package.streams.is_empty() {
        line(
            &mut schema,
            format_args!(
                "action \"append\" appliesTo {{ principal: [Identity], resource: [{}], context: \
                 {{ rows: Long, {BLOCK} }} }};",
                list(package.streams.keys().collect()),
            ),
        );
    }
    let readable = list(package.type_names().into_iter().collect());
    if !readable.is_empty() {
        line(
            &mut schema,
            format_args!(
                "action \"read\" appliesTo {{ principal: [Identity], resource: [{readable}], \
                 context: {{}} }};"
            ),
        );
    }
    for (contract, assets) in dependencies {
        line(&mut schema, format_args!("namespace {} {{", namespace(contract)));
        for asset in assets.values() {
            line(&mut schema, format_args!("  entity {}", types.asset(asset)));
        }
        schema.push_str("}\n");
    }
    schema
}

fn line(schema: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(schema, "{text}");
}

/// `work-order` as `WorkOrder`.
pub(crate) fn type_name(name: &Name) -> String {
    let mut text = String::new();
    for part in name.as_str().split(['-', '_']) {
        let mut symbols = part.chars();
        if let Some(first) = symbols.next() {
            text.push(first.to_ascii_uppercase());
            text.push_str(symbols.as_str());
        }
    }
    text
}

/// `device-registry` as `device_registry`.
pub(crate) fn namespace(contract: &Name) -> String {
    contract.as_str().replace('-', "_")
}

/// Names that a type cannot have, because Cedar has them.
pub(crate) fn is_reserved_type(name: &Name) -> bool {
    const RESERVED: [&str; 14] = [
        "Action",
        "Bool",
        "Boolean",
        "Datetime",
        "Decimal",
        "Duration",
        "Entity",
        "Extension",
        "Identity",
        "Ipaddr",
        "Long",
        "Member",
        "Record",
        "Role",
    ];
    let name = type_name(name);
    RESERVED.contains(&name.as_str()) || name == "Set" || name == "String"
}

struct Types<'a> {
    package: &'a Package,
    dependencies: &'a BTreeMap<&'a Name, &'a BTreeMap<Name, AssetType>>,
}

impl Types<'_> {
    fn asset(&self, asset: &AssetType) -> String {
        let mut attributes = vec![format!("{}: String", asset.key), "state: String".to_owned()];
        for (name, field) in &asset.fields {
            let mark = if field.optional { "?" } else { "" };
            attributes.push(format!("{name}{mark}: {}", self.cedar(&field.ty)));
        }
        format!("{} {{ {} }};", type_name(&asset.name), attributes.join(", "))
    }

    fn parameter(&self, name: &Name, parameter: &Parameter) -> String {
        let mark = if parameter.optional { "?" } else { "" };
        format!("{name}{mark}: {}", self.cedar(&parameter.ty))
    }

    fn cedar(&self, ty: &Type) -> String {
        match ty {
            Type::Bool => "Bool".into(),
            Type::Int { .. } | Type::Decimal { .. } | Type::Time { .. } => "Long".into(),
            Type::Text { .. }
            | Type::Symbol
            | Type::Id
            | Type::Bytes { .. }
            | Type::Digest
            | Type::Identity => "String".into(),
            Type::Member => "Member".into(),
            Type::Ref { contract, asset } => self.reference(contract, asset),
            Type::List { of, .. } | Type::Set { of, .. } => format!("Set<{}>", self.cedar(of)),
        }
    }

    fn reference(&self, contract: &Name, asset: &Name) -> String {
        if *contract == self.package.name {
            type_name(asset)
        } else if self.dependencies.get(contract).is_some_and(|types| types.contains_key(asset)) {
            format!("{}::{}", namespace(contract), type_name(asset))
        } else {
            // Of a contract that is only required by one that is required here.
            "String".into()
        }
    }
}
