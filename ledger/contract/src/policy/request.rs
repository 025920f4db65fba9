//! One decision: the entities a guard needs, the request, the answer.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::str::FromStr;
use std::sync::LazyLock;

use cedar_policy::{
    Authorizer, Context as CedarContext, Decision, Entities, Entity, EntityId, EntityTypeName,
    EntityUid, Request, RestrictedExpression,
};
use hufu_proof::{Height, Name, UnixMillis, Value};

use super::schema::{namespace, type_name};
use super::{Guard, MAX_LEVEL, Policies};
use crate::package::{Action, AssetType, AssetTypes, Package};
use crate::types::{Type, hex_text};
use crate::world::{Asset, Member, Principal, PrincipalKind, World};

/// Most assets that one decision may look up.
const MAX_LOOKUPS: usize = 64;

static AUTHORIZER: LazyLock<Authorizer> = LazyLock::new(Authorizer::new);

/// Cedar's names, parsed once.
#[derive(Debug)]
pub(crate) struct Names {
    contract: Name,
    member: EntityTypeName,
    identity: EntityTypeName,
    role: EntityTypeName,
    action: EntityTypeName,
    /// Types of this contract's assets and streams.
    own: BTreeMap<Name, EntityTypeName>,
    /// Types of required contracts' assets.
    others: BTreeMap<Name, BTreeMap<Name, EntityTypeName>>,
}

impl Names {
    pub(crate) fn new(
        package: &Package,
        dependencies: &BTreeMap<&Name, &BTreeMap<Name, AssetType>>,
    ) -> Option<Self> {
        let parse = |text: &str| EntityTypeName::from_str(text).ok();
        let mut own = BTreeMap::new();
        for name in package.type_names() {
            own.insert(name.clone(), parse(&type_name(name))?);
        }
        let mut others = BTreeMap::new();
        for (contract, assets) in dependencies {
            let mut types = BTreeMap::new();
            for name in assets.keys() {
                let full = format!("{}::{}", namespace(contract), type_name(name));
                types.insert(name.clone(), parse(&full)?);
            }
            others.insert((*contract).clone(), types);
        }
        Some(Self {
            contract: package.name.clone(),
            member: parse("Member")?,
            identity: parse("Identity")?,
            role: parse("Role")?,
            action: parse("Action")?,
            own,
            others,
        })
    }

    /// The type of an asset or stream of this contract.
    pub(crate) fn type_of(&self, name: &Name) -> Option<&EntityTypeName> {
        self.own.get(name)
    }

    fn reference(&self, contract: &Name, asset: &Name) -> Option<&EntityTypeName> {
        if *contract == self.contract {
            self.own.get(asset)
        } else {
            self.others.get(contract)?.get(asset)
        }
    }

    fn role_uids(&self, roles: &BTreeSet<Name>) -> HashSet<EntityUid> {
        roles.iter().map(|role| uid(&self.role, role.as_str())).collect()
    }
}

/// What is asked about.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// An asset of this contract.
    Asset { key: &'a str, asset: &'a Asset },
    /// A stream, and the key of the asset that signs.
    Stream { contract: &'a Name, asset_type: &'a Name, device: &'a str },
}

/// What goes into `context`.
#[derive(Clone, Copy)]
pub(crate) enum Circumstances<'a> {
    Action {
        declared: &'a Action,
        params: &'a BTreeMap<Name, Value>,
        via: Option<&'a str>,
        height: Height,
        time_ms: UnixMillis,
    },
    Append {
        rows: usize,
        height: Height,
        time_ms: UnixMillis,
    },
    Read,
}

/// Everything of one decision.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) action: &'a str,
    /// The asset type or stream.
    pub(crate) on: &'a Name,
    pub(crate) subject: Subject<'a>,
    pub(crate) circumstances: Circumstances<'a>,
    pub(crate) world: &'a dyn World,
    pub(crate) catalogue: &'a dyn AssetTypes,
}

impl Policies {
    /// Whether the policies permit it.
    pub(crate) fn permits(&self, question: &Question<'_>) -> bool {
        let Some(guard) = self.guard(question.action, question.on) else { return false };
        // Whatever cannot be put to Cedar is not permitted.
        let ask = |question: &Question<'_>| decide(&self.names, guard, question).unwrap_or(false);
        // With the circumstances no two questions are alike.
        if guard.asks_context { ask(question) } else { self.memo.decide(question, ask) }
    }
}

fn decide<'a>(names: &'a Names, guard: &'a Guard, question: &'a Question<'a>) -> Option<bool> {
    let mut builder = Builder {
        names,
        guard,
        question,
        entities: Vec::new(),
        members: BTreeSet::new(),
        pending: VecDeque::new(),
        loaded: BTreeSet::new(),
    };
    let context = builder.context()?;
    let principal = builder.principal()?;
    let resource = builder.resource()?;
    builder.load()?;
    let action = uid(&names.action, question.action);
    let request = Request::new(principal, action, resource, context, None).ok()?;
    let entities = Entities::from_entities(builder.entities, None).ok()?;
    let response = AUTHORIZER.is_authorized(&request, &guard.policies, &entities);
    let failed = response.diagnostics().errors().next().is_some();
    Some(response.decision() == Decision::Allow && !failed)
}

/// A reference to load: contract, asset type, key, and at which level.
type Pending = (Name, Name, String, u32);

struct Builder<'a> {
    names: &'a Names,
    guard: &'a Guard,
    question: &'a Question<'a>,
    entities: Vec<Entity>,
    members: BTreeSet<Name>,
    pending: VecDeque<Pending>,
    loaded: BTreeSet<(Name, Name, String)>,
}

type Attributes = HashMap<String, RestrictedExpression>;

impl Builder<'_> {
    fn wants(&self, attribute: &str) -> bool {
        self.guard.attributes.contains(attribute)
    }

    fn add(
        &mut self,
        uid: EntityUid,
        attributes: Attributes,
        parents: HashSet<EntityUid>,
    ) -> Option<()> {
        self.entities.push(if attributes.is_empty() {
            Entity::new_no_attrs(uid, parents)
        } else {
            Entity::new(uid, attributes, parents).ok()?
        });
        Some(())
    }

    fn principal(&mut self) -> Option<EntityUid> {
        let principal = self.question.principal;
        let names = self.names;
        // The clock is of no member.
        let member = principal.member.as_ref().map_or("", Name::as_str);
        let known = match &principal.member {
            Some(member) => self.question.world.member(&names.contract, member)?,
            None => Member::default(),
        };
        let id = principal.identity.to_string();
        let own = uid(&names.identity, &id);
        let mut attributes = Attributes::new();
        if self.wants("member") {
            let member = uid(&names.member, member);
            attributes.insert("member".into(), RestrictedExpression::new_entity_uid(member));
        }
        if self.wants("kind") {
            attributes.insert("kind".into(), text(principal.kind.as_str()));
        }
        if self.wants("id") {
            attributes.insert("id".into(), text(&id));
        }
        if self.wants("subject") {
            attributes.insert("subject".into(), text(&principal.subject));
        }
        if self.wants("jurisdictions") {
            attributes.insert("jurisdictions".into(), names_set(&known.jurisdictions));
        }
        use hufu_proof::transaction::IdentityKind as Kind;
        let parents = match principal.kind {
            PrincipalKind::Signer(Kind::Member | Kind::Client) => names.role_uids(&known.roles),
            PrincipalKind::Signer(Kind::Device | Kind::Server) | PrincipalKind::Clock => {
                HashSet::new()
            }
        };
        self.add(own.clone(), attributes, parents)?;
        if self.guard.asks_members
            && let Some(member) = &principal.member
        {
            self.member(member, Some(known))?;
        }
        Some(own)
    }

    fn member(&mut self, name: &Name, known: Option<Member>) -> Option<()> {
        if !self.members.insert(name.clone()) {
            return Some(());
        }
        let known = known.or_else(|| self.question.world.member(&self.names.contract, name));
        // A member that is not known is in no role and has no attributes.
        let Some(known) = known else { return Some(()) };
        let mut attributes = Attributes::new();
        if self.wants("kinds") {
            attributes.insert("kinds".into(), names_set(&known.kinds));
        }
        if self.wants("jurisdictions") {
            attributes.insert("jurisdictions".into(), names_set(&known.jurisdictions));
        }
        let parents = self.names.role_uids(&known.roles);
        self.add(uid(&self.names.member, name.as_str()), attributes, parents)
    }

    fn resource(&mut self) -> Option<EntityUid> {
        let question = self.question;
        let own_type = self.names.type_of(question.on)?;
        match &question.subject {
            Subject::Asset { key, asset } => {
                let own = uid(own_type, key);
                let declared = question.catalogue.asset_type(&self.names.contract, question.on)?;
                let identity =
                    (self.names.contract.clone(), question.on.clone(), (*key).to_owned());
                self.loaded.insert(identity);
                let attributes = self.attributes(declared, key, asset, 1)?;
                self.add(own.clone(), attributes, HashSet::new())?;
                Some(own)
            }
            Subject::Stream { contract, asset_type, device } => {
                // Streams have no key of their own; the device's tells them apart.
                let own = uid(own_type, device);
                let mut attributes = Attributes::new();
                let target = uid(self.names.reference(contract, asset_type)?, device);
                attributes.insert("device".into(), RestrictedExpression::new_entity_uid(target));
                self.pending.push_back((
                    (*contract).clone(),
                    (*asset_type).clone(),
                    (*device).to_owned(),
                    2,
                ));
                self.add(own.clone(), attributes, HashSet::new())?;
                Some(own)
            }
        }
    }

    fn context(&mut self) -> Option<CedarContext> {
        let block = |height: Height, time_ms: UnixMillis| {
            let fields = [
                ("height".to_owned(), long(height.get())?),
                ("time".to_owned(), long(time_ms.get())?),
            ];
            RestrictedExpression::new_record(fields).ok()
        };
        let pairs = match &self.question.circumstances {
            Circumstances::Action { declared, params, via, height, time_ms } => {
                let mut record = Vec::new();
                for (name, value) in *params {
                    // A repeated key is not among the declared parameters.
                    if self.wants(name.as_str())
                        && let Some(parameter) = declared.params.get(name)
                    {
                        let value = self.value(&parameter.ty, value, 1)?;
                        record.push((name.to_string(), value));
                    }
                }
                let params = RestrictedExpression::new_record(record).ok()?;
                let mut pairs = vec![
                    ("params".to_owned(), params),
                    ("block".to_owned(), block(*height, *time_ms)?),
                ];
                pairs.extend(via.map(|via| ("via".to_owned(), text(via))));
                pairs
            }
            Circumstances::Append { rows, height, time_ms } => vec![
                ("rows".to_owned(), RestrictedExpression::new_long(i64::try_from(*rows).ok()?)),
                ("block".to_owned(), block(*height, *time_ms)?),
            ],
            Circumstances::Read => Vec::new(),
        };
        CedarContext::from_pairs(pairs).ok()
    }

    fn attributes(
        &mut self,
        declared: &AssetType,
        key: &str,
        asset: &Asset,
        level: u32,
    ) -> Option<Attributes> {
        let mut attributes = Attributes::new();
        if self.wants(declared.key.as_str()) {
            attributes.insert(declared.key.to_string(), text(key));
        }
        if self.wants("state") {
            attributes.insert("state".into(), text(asset.state.as_str()));
        }
        for (name, value) in &asset.fields {
            if self.wants(name.as_str()) {
                let field = declared.fields.get(name)?;
                let value = self.value(&field.ty, value, level + 1)?;
                attributes.insert(name.to_string(), value);
            }
        }
        Some(attributes)
    }

    /// A value as Cedar has it. References are noted, to be loaded at `level`.
    fn value(&mut self, ty: &Type, value: &Value, level: u32) -> Option<RestrictedExpression> {
        Some(match (ty, value) {
            (_, Value::Bool(value)) => RestrictedExpression::new_bool(*value),
            (_, Value::Int(value) | Value::Decimal(value)) => {
                RestrictedExpression::new_long(*value)
            }
            (_, Value::Time(value)) => long(*value)?,
            (_, Value::Text(value) | Value::Symbol(value) | Value::Id(value)) => text(value),
            (_, Value::Bytes(bytes)) => text(&hex_text(bytes)),
            (_, Value::Digest(digest)) => text(&digest.to_string()),
            (_, Value::Identity(identity)) => text(&identity.to_string()),
            (_, Value::Member(name)) => {
                if self.guard.asks_members {
                    self.member(name, None)?;
                }
                RestrictedExpression::new_entity_uid(uid(&self.names.member, name.as_str()))
            }
            (Type::Ref { contract, asset }, Value::Ref(key)) => {
                match self.names.reference(contract, asset) {
                    Some(target) => {
                        self.pending.push_back((
                            contract.clone(),
                            asset.clone(),
                            key.clone(),
                            level,
                        ));
                        RestrictedExpression::new_entity_uid(uid(target, key))
                    }
                    None => text(key),
                }
            }
            (Type::List { of, .. }, Value::List(items)) => {
                let items =
                    items.iter().map(|item| self.item(of, item)).collect::<Option<Vec<_>>>();
                RestrictedExpression::new_set(items?)
            }
            (Type::Set { of, .. }, Value::Set(items)) => {
                let items =
                    items.iter().map(|item| self.item(of, item)).collect::<Option<Vec<_>>>();
                RestrictedExpression::new_set(items?)
            }
            _ => return None,
        })
    }

    /// An item of a list: Cedar cannot follow it, so it is never loaded.
    fn item(&mut self, of: &Type, item: &Value) -> Option<RestrictedExpression> {
        self.value(of, item, MAX_LEVEL + 1)
    }

    /// Loads what is referred to, level by level.
    fn load(&mut self) -> Option<()> {
        while let Some((contract, asset_type, key, level)) = self.pending.pop_front() {
            let identity = (contract, asset_type, key);
            if level > MAX_LEVEL || !self.loaded.insert(identity.clone()) {
                continue;
            }
            if self.loaded.len() > MAX_LOOKUPS {
                return None;
            }
            let (contract, asset_type, key) = identity;
            let Some(asset) = self.question.world.asset(&contract, &asset_type, &key) else {
                continue;
            };
            let declared = self.question.catalogue.asset_type(&contract, &asset_type)?;
            let own = uid(self.names.reference(&contract, &asset_type)?, &key);
            let attributes = self.attributes(declared, &key, &asset, level)?;
            self.add(own, attributes, HashSet::new())?;
        }
        Some(())
    }
}

fn uid(type_name: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(type_name.clone(), EntityId::new(id))
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn long(value: u64) -> Option<RestrictedExpression> {
    Some(RestrictedExpression::new_long(i64::try_from(value).ok()?))
}

fn names_set(names: &BTreeSet<Name>) -> RestrictedExpression {
    RestrictedExpression::new_set(names.iter().map(|name| text(name.as_str())))
}
