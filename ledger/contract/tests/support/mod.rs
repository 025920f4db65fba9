//! A world held in maps, and a leasing contract with a registry it requires.
#![allow(dead_code)] // Each test uses a part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hufu_contract::{
    Asset, Context, Contract, Contracts, Effects, Member, Principal, PrincipalKind, Problem,
    Sources, World, check,
};
use hufu_proof::transaction::{IdentityKind, Invocation};
use hufu_proof::{Digest, IdentityId, Name, Outcome, Sequence, UnixMillis, Value};
use serde_json::json;

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn sources(files: &[(&str, &str)]) -> Sources {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
    Sources::new(files.collect()).unwrap()
}

pub const REGISTRY: &str = r#"
[package]
name = "device-registry"
version = "1.2.0"
title = { en = "Registry", zh = "登记" }

[roles]
maker = {}

[asset.device]
key = "device_id"
fields.device_id = { type = "id" }
fields.identity = { type = "identity" }
fields.owner = { type = "member" }
states = ["active", "suspended"]

[action.register]
creates = "device"
params = ["device_id", "identity", "owner"]
"#;

pub const REGISTRY_POLICY: &str = r#"
permit (principal in Role::"maker", action == Action::"register", resource is Device);
"#;

pub const LEASING: &str = r#"
[package]
name = "equipment-leasing"
version = "1.0.0"
title = { en = "Equipment leasing", zh = "工业设备租赁" }
requires = ["device-registry@1"]

[roles]
lessor = {}
lessee = {}
regulator = { jurisdiction = true }

[asset.lease]
key = "lease_id"
fields.lease_id = { type = "id" }
fields.device = { type = "ref", to = "device-registry/device" }
fields.lessor = { type = "member" }
fields.lessee = { type = "member" }
fields.rate_per_hour = { type = "int", unit = "CNY 0.01 per hour", min = 0 }
fields.accrued = { type = "int", unit = "CNY 0.01", initial = 0 }
fields.paid = { type = "int", unit = "CNY 0.01", initial = 0 }
fields.note = { type = "text", max = 4096, optional = true }
states = ["offered", "active", "ended"]

[action.offer]
creates = "lease"
params = ["lease_id", "device", "lessee", "rate_per_hour"]
set.lessor = "principal.member"

[action.accept]
on = "lease"
from = ["offered"]
to = "active"
emit = "accepted"

[action.bill]
on = "lease"
from = ["active"]
params.hours = { type = "int", unit = "hour", min = 0, max = 744 }
set.accrued = "asset.accrued + params.hours * asset.rate_per_hour"
emit = "billed"

[action.pay]
on = "lease"
from = ["active"]
params.amount = { type = "int", unit = "CNY 0.01", min = 1 }
set.paid = "asset.paid + params.amount"

[action.annotate]
on = "lease"
from = ["offered", "active", "ended"]
params = ["note"]

[action.tick]               # a device bills by itself
on = "lease"
from = ["active"]
set.accrued = "asset.accrued + asset.rate_per_hour * 1 / 1 * params.hours"
params.hours = { type = "int", unit = "hour", min = 0, max = 24 }

[stream.reading]
signer = "device-registry/device"
sequence = "strict"
rows.metric = { type = "symbol" }
rows.value = { type = "decimal", scale = 3 }
max_rows = 3

[invariant.never-overpaid]
on = "lease"
holds = "asset.paid <= asset.accrued"

[invariant.plausible]
on = "reading"
holds = "row.value < 1000"
"#;

pub const LEASING_POLICY: &str = r#"
permit (principal in Role::"lessor", action == Action::"offer", resource is Lease)
when { resource.device.owner == principal.member && resource.lessee in Role::"lessee" };

permit (principal, action == Action::"accept", resource is Lease)
when { resource.lessee == principal.member && resource.state == "offered" };

permit (principal, action in [Action::"bill", Action::"annotate"], resource is Lease)
when { resource.lessor == principal.member };

permit (principal, action == Action::"pay", resource is Lease)
when { resource.lessee == principal.member };

permit (principal, action == Action::"tick", resource is Lease)
when { principal.kind == "device" && resource.device.identity == principal.id };

permit (principal, action == Action::"append", resource is Reading)
when { resource.device.state == "active" };

forbid (principal, action == Action::"annotate", resource is Lease)
when { context.params has note && context.params.note like "*forbidden*" };

permit (principal, action == Action::"read", resource is Lease)
when { principal.member in [resource.lessor, resource.lessee] };

permit (principal in Role::"regulator", action == Action::"read", resource)
when { principal.jurisdictions.contains("north") };
"#;

pub fn registry() -> Arc<Contract> {
    let files = [
        ("contract.toml", REGISTRY),
        ("policy.cedar", REGISTRY_POLICY),
        ("README.md", "# Registry\n"),
    ];
    Arc::new(check(&sources(&files), &BTreeMap::new()).unwrap())
}

pub fn leasing_with(contract: &str, policy: &str) -> Result<Contract, Vec<Problem>> {
    let files =
        [("contract.toml", contract), ("policy.cedar", policy), ("README.md", "# Leasing\n")];
    let registry = registry();
    check(&sources(&files), &BTreeMap::from([(registry.name().clone(), registry)]))
}

pub fn leasing() -> Contract {
    leasing_with(LEASING, LEASING_POLICY).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

/// A world held in maps.
#[derive(Default)]
pub struct Maps {
    pub assets: BTreeMap<(Name, Name, String), Asset>,
    pub members: BTreeMap<Name, Member>,
    pub sequences: BTreeMap<(Name, IdentityId), Sequence>,
    pub contracts: BTreeMap<Name, Arc<Contract>>,
}

impl World for Maps {
    fn asset(&self, contract: &Name, asset_type: &Name, key: &str) -> Option<Asset> {
        self.assets.get(&(contract.clone(), asset_type.clone(), key.to_owned())).cloned()
    }

    fn member(&self, _: &Name, member: &Name) -> Option<Member> {
        self.members.get(member).cloned()
    }

    fn stream_sequence(&self, _: &Name, stream: &Name, identity: &IdentityId) -> Sequence {
        self.sequences.get(&(stream.clone(), *identity)).copied().unwrap_or_default()
    }
}

impl Contracts for Maps {
    fn contract(&self, name: &Name) -> Option<Arc<Contract>> {
        self.contracts.get(name).cloned()
    }

    fn subscribers(&self, contract: &Name) -> BTreeSet<Name> {
        let others = self.contracts.values().filter(|one| one.subscribes_to().contains(contract));
        others.map(|one| one.name().clone()).collect()
    }
}

impl Maps {
    /// Takes over what an action did.
    pub fn write(&mut self, effects: &Effects) {
        for write in &effects.writes {
            let place = (write.contract.clone(), write.asset_type.clone(), write.key.clone());
            self.assets.insert(place, write.asset.clone());
        }
    }

    pub fn lease(&self, key: &str) -> Asset {
        self.asset(&name("equipment-leasing"), &name("lease"), key).unwrap()
    }
}

pub fn identity(of: &str) -> IdentityId {
    IdentityId(Digest::of(of.as_bytes()))
}

pub fn context(member: &str) -> Context {
    Context {
        principal: Principal {
            identity: identity(member),
            member: Some(name(member)),
            kind: PrincipalKind::Signer(IdentityKind::Member),
            subject: member.to_owned(),
        },
        via: None,
        block_height: hufu_proof::Height(10),
        block_time_ms: UnixMillis(1_800_000_000_000),
    }
}

pub fn device(subject: &str, owner: &str) -> Context {
    let mut context = context(owner);
    context.principal.identity = identity(subject);
    context.principal.kind = PrincipalKind::Signer(IdentityKind::Device);
    context.principal.subject = subject.to_owned();
    context
}

/// Members plant (lessee), maker (lessor), watcher (regulator of the north),
/// stranger; device D1 of the maker.
pub fn world() -> Maps {
    let member = |roles: &[&str], jurisdictions: &[&str]| Member {
        kinds: BTreeSet::new(),
        roles: roles.iter().map(|role| name(role)).collect(),
        jurisdictions: jurisdictions.iter().map(|place| name(place)).collect(),
    };
    let members = BTreeMap::from([
        (name("plant"), member(&["lessee"], &[])),
        (name("maker"), member(&["lessor"], &[])),
        (name("watcher"), member(&["regulator"], &["north"])),
        (name("southern"), member(&["regulator"], &["south"])),
        (name("stranger"), member(&[], &[])),
    ]);
    let device = Asset {
        state: name("active"),
        fields: BTreeMap::from([
            (name("identity"), Value::Identity(identity("D1"))),
            (name("owner"), Value::Member(name("maker"))),
        ]),
    };
    let place = (name("device-registry"), name("device"), "D1".to_owned());
    Maps { assets: BTreeMap::from([(place, device)]), members, ..Maps::default() }
}

pub fn offer(contract: &Contract, lessee: &str, rate: i64) -> Invocation {
    let params = json!({
        "lease_id": "L1", "device": "D1", "lessee": lessee, "rate_per_hour": rate,
    });
    invoke(contract, "offer", None, params)
}

pub fn invoke(
    contract: &Contract,
    action: &str,
    on: Option<&str>,
    params: serde_json::Value,
) -> Invocation {
    let params = serde_json::from_value(params).unwrap();
    contract.invocation(action, on, &params).unwrap()
}

/// Applies and writes.
pub fn run(
    contract: &Contract,
    world: &mut Maps,
    context: &Context,
    invocation: &Invocation,
) -> Outcome {
    match contract.apply(invocation, context, world) {
        Ok(effects) => {
            world.write(&effects);
            Outcome::Accepted
        }
        Err(outcome) => outcome,
    }
}
