//! Whose assets and rows are, and in which jurisdiction.
//!
//! - An asset says so itself, by a field `owner` of type `member` and a field
//!   `jurisdiction` of type `symbol` or `text`. For what it has no field of its
//!   own, the device says it to which a field `device` of type `ref` leads: one
//!   step, and not further.
//! - A row of a stream says nothing of itself, whatever its columns are called:
//!   its signer would. The device that signed it says it.
//! - What a device signed outside of streams is the device's, too: the register
//!   of devices ([`REGISTRY`]) says whose that is now.
//!
//! It is *not* a permission: that is the contract's `read` rule.

use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Name, Value};
use serde::{Deserialize, Serialize};

use crate::contract::{Contract, Table, TableKind};
use crate::types::Type;
use crate::world::{Asset, World};

/// Contract and asset type of the register of devices; the key of a device is
/// the subject of its certificates.
pub const REGISTRY: (&str, &str) = ("device-registry", "device");

const OWNER: &str = "owner";
const JURISDICTION: &str = "jurisdiction";
const DEVICE: &str = "device";

/// Whose something is, and in which jurisdiction, as far as anything says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belonging {
    /// The member.
    pub owner: Option<Name>,
    /// The jurisdiction.
    pub jurisdiction: Option<String>,
}

/// What of a table says whose its rows are, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telling {
    /// The column with the owner.
    pub owner: Option<String>,
    /// The column with the jurisdiction.
    pub jurisdiction: Option<String>,
    /// What leads to a device, which says what the row does not.
    pub device: Option<Lead>,
}

/// A column with the key of an asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// The column.
    pub column: String,
    /// The contract of the asset.
    pub contract: Name,
    /// Its type.
    pub asset: Name,
}

impl Telling {
    /// What the columns of a table say.
    pub fn of(table: &Table) -> Self {
        let all = || table.columns.iter().map(|column| (column.name.as_str(), &column.ty));
        match table.kind {
            TableKind::Asset => Self::of_fields(all()),
            // The first column is the device.
            TableKind::Stream => Self {
                device: all().next().and_then(|(name, ty)| lead(name, ty)),
                ..Self::default()
            },
        }
    }

    fn of_fields<'a>(fields: impl Iterator<Item = (&'a str, &'a Type)>) -> Self {
        let mut telling = Self::default();
        for (name, ty) in fields {
            match (name, ty) {
                (OWNER, Type::Member) => telling.owner = Some(name.to_owned()),
                (JURISDICTION, Type::Symbol | Type::Text { .. }) => {
                    telling.jurisdiction = Some(name.to_owned());
                }
                (DEVICE, ty) => telling.device = lead(name, ty),
                _ => {}
            }
        }
        telling
    }

    fn read(&self, asset: &Asset) -> Belonging {
        let value = |field: &Option<String>| asset.fields.get(field.as_ref()?.as_str());
        let owner = match value(&self.owner) {
            Some(Value::Member(owner)) => Some(owner.clone()),
            _ => None,
        };
        let jurisdiction = match value(&self.jurisdiction) {
            Some(Value::Symbol(place) | Value::Text(place)) => Some(place.clone()),
            _ => None,
        };
        Belonging { owner, jurisdiction }
    }
}

fn lead(column: &str, ty: &Type) -> Option<Lead> {
    let Type::Ref { contract, asset } = ty else { return None };
    let (contract, asset) = (contract.clone(), asset.clone());
    Some(Lead { column: column.to_owned(), contract, asset })
}

impl Contract {
    /// Whose an asset of this contract is, and where, in a state of the world.
    pub fn belonging(&self, asset_type: &Name, asset: &Asset, world: &impl World) -> Belonging {
        let Some(declared) = self.asset_type(asset_type.as_str()) else {
            return Belonging::default();
        };
        let fields = declared.fields.iter().map(|(name, field)| (name.as_str(), &field.ty));
        let telling = Telling::of_fields(fields);
        let own = telling.read(asset);
        let device = telling.device.as_ref().and_then(|lead| {
            let Some(Value::Ref(key)) = asset.fields.get(lead.column.as_str()) else { return None };
            of_device(world, &lead.contract, &lead.asset, key)
        });
        let device = device.unwrap_or_default();
        Belonging {
            owner: if telling.owner.is_some() { own.owner } else { device.owner },
            jurisdiction: match telling.jurisdiction {
                Some(_) => own.jurisdiction,
                None => device.jurisdiction,
            },
        }
    }
}

/// Whose a device is, and where, by its fields of the declared types.
fn of_device(world: &impl World, contract: &Name, asset: &Name, key: &str) -> Option<Belonging> {
    let device = world.asset(contract, asset, key)?;
    let [owner, jurisdiction] = [OWNER, JURISDICTION].map(|field| Some(field.to_owned()));
    Some(Telling { owner, jurisdiction, device: None }.read(&device))
}

/// Whose a device is, and where, by the register of devices.
pub fn of_registered(world: &impl World, subject: &str) -> Option<Belonging> {
    let (Ok(contract), Ok(asset)) = (Name::new(REGISTRY.0), Name::new(REGISTRY.1)) else {
        return None;
    };
    of_device(world, &contract, &asset, subject)
}

/// Whose the transactions of a signer are, and where: of a device whose subject
/// is in the register, what that says of it now; of everybody else, the member
/// that answers for it.
pub fn of_signer(world: &impl World, kind: IdentityKind, owner: &Name, subject: &str) -> Belonging {
    let answers = Belonging { owner: Some(owner.clone()), jurisdiction: None };
    match kind {
        IdentityKind::Device => of_registered(world, subject).unwrap_or(answers),
        _ => answers,
    }
}
