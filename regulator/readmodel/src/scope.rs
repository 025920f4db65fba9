//! Of which rows somebody may see anything: the one place where SQL learns it.
//!
//! Every table that a query or control names is asked here, under the scope of who
//! asks. A table is shown whole, or its rows that are in the scope are, or it is
//! refused by name ([`Problem::Withheld`]): a table without a rule is not shown
//! to who does not see the whole consortium.
//!
//! - A contract's table by what its package says of its rows ([`Telling`]): their
//!   own column, or the device that they lead to, as it is as of the height.
//! - The ledger's own tables by the member they name. What a device's key signed or
//!   was certified for is the device's: the register of devices says whose that is
//!   as of the height, and where; only of a device that it does not have, the
//!   member counts that the ledger names.
//! - `ledger.blocks` and `ledger.contracts` are everybody's (`/v1/blocks`,
//!   `/v1/contracts`); members, proposals and roles are the members' own business,
//!   of which each sees all.

use std::collections::BTreeSet;

use hufu_contract::belonging::REGISTRY;
use hufu_contract::{Lead, Telling};
use hufu_proof::Name;
use serde::{Deserialize, Serialize};

use crate::catalogue::{LEDGER, Table, TableKind, height_of};
use crate::error::{Problem, Untold};

/// Of what somebody sees the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Of everything.
    Whole,
    /// Of what is in one of these jurisdictions.
    Within(BTreeSet<String>),
    /// Of what is this member's.
    OwnedBy(Name),
}

impl Scope {
    /// Of what is in this jurisdiction; of everything where none is named.
    pub fn narrowed_to(jurisdiction: Option<&str>) -> Self {
        match jurisdiction {
            None => Self::Whole,
            Some(one) => Self::Within(BTreeSet::from([one.to_owned()])),
        }
    }
}

/// How a table is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Which of its rows; all when absent.
    pub(crate) rows: Option<String>,
    /// Physical names of other tables that this looks into.
    pub(crate) looks_into: BTreeSet<String>,
}

/// The tables of a height, as a scope looks at them.
pub(crate) struct Ground<'a> {
    pub(crate) tables: &'a [Table],
    pub(crate) height: u64,
    pub(crate) scope: &'a Scope,
}

/// A condition on rows, and the tables that it looks into.
type Condition = (String, BTreeSet<String>);

/// How the ledger's tables tell whose their rows are.
enum Rule {
    /// They are everybody's.
    Public,
    /// They are every member's.
    Members,
    /// By a column with a member.
    Member(&'static str),
    /// By a column with an identity, and one with the member that answers for it
    /// where it is no registered device's.
    Signer(&'static str, &'static str),
    /// By a row of another of the ledger's tables, with the same key.
    Same(&'static str),
    /// By the asset that they name with contract, type and key.
    Asset,
}

fn rule(table: &str) -> Option<Rule> {
    Some(match table {
        "blocks" | "contracts" => Rule::Public,
        "members" | "proposals" | "roles" | "standings" | "addresses" | "constitutions" => {
            Rule::Members
        }
        "approvals" | "delegations" | "declarations" | "looks" => Rule::Member("member"),
        "device_identifiers" => Rule::Member("owner"),
        "transactions" => Rule::Signer("signer", "member"),
        "identities" => Rule::Signer("identity", "owner"),
        "certificates" => Rule::Signer("identity", "owner"),
        "certificate_rights" => Rule::Same("certificates"),
        "events" | "triggered" => Rule::Asset,
        _ => return None,
    })
}

impl Ground<'_> {
    /// How a table is shown.
    ///
    /// # Errors
    /// [`Problem::Withheld`].
    pub(crate) fn shown(&self, table: &Table) -> Result<Shown, Problem> {
        if *self.scope == Scope::Whole {
            return Ok(Shown::default());
        }
        let condition = if table.sql_schema == LEDGER {
            match (rule(table.name.as_str()), self.scope) {
                (Some(Rule::Public), _) | (Some(Rule::Members), Scope::OwnedBy(_)) => {
                    return Ok(Shown::default());
                }
                (Some(rule), _) => self.by_rule(table, &rule),
                (None, _) => None,
            }
        } else {
            self.by_telling(table)
        };
        let withheld = || Problem::Withheld {
            table: format!("{}.{}", table.sql_schema, table.sql_name),
            untold: match self.scope {
                Scope::OwnedBy(_) => Untold::Owner,
                Scope::Whole | Scope::Within(_) => Untold::Jurisdiction,
            },
        };
        let (rows, looks_into) = condition.ok_or_else(withheld)?;
        Ok(Shown { rows: Some(rows), looks_into })
    }

    fn by_telling(&self, table: &Table) -> Option<Condition> {
        match (self.own(table, &table.telling), &table.telling.device) {
            (Some(own), _) => Some((own, BTreeSet::new())),
            (None, Some(lead)) => self.by_device(table, lead),
            (None, None) => None,
        }
    }

    /// By the row's own column.
    fn own(&self, table: &Table, telling: &Telling) -> Option<String> {
        match self.scope {
            Scope::Whole => None,
            Scope::Within(places) => {
                let column = table.physical_column(telling.jurisdiction.as_deref()?)?;
                Some(one_of(column, places.iter().map(String::as_str)))
            }
            Scope::OwnedBy(member) => {
                let column = table.physical_column(telling.owner.as_deref()?)?;
                Some(one_of(column, [member.as_str()]))
            }
        }
    }

    /// By the device that the row leads to, as it is as of the height.
    fn by_device(&self, table: &Table, lead: &Lead) -> Option<Condition> {
        let device = self.asset_table(&lead.contract, lead.asset.as_str())?;
        let column = table.physical_column(&lead.column)?;
        let keys = self.keys(device, Some(&self.own(device, &device.telling)?));
        Some((format!("{column} IN ({keys})"), BTreeSet::from([device.physical.clone()])))
    }

    fn by_rule(&self, table: &Table, rule: &Rule) -> Option<Condition> {
        match rule {
            Rule::Public | Rule::Members => None,
            Rule::Member(column) => {
                let condition = one_of(table.physical_column(column)?, [self.member()?]);
                Some((condition, BTreeSet::new()))
            }
            Rule::Signer(identity, member) => self.by_signer(table, identity, member),
            Rule::Same(other) => {
                let other = self.ledger_table(other)?;
                let (condition, mut looks_into) = self.shown(other).ok()?.condition()?;
                looks_into.insert(other.physical.clone());
                Some((format!("_key IN ({})", self.keys(other, Some(&condition))), looks_into))
            }
            Rule::Asset => self.by_asset(table),
        }
    }

    fn member(&self) -> Option<&str> {
        match self.scope {
            Scope::OwnedBy(member) => Some(member.as_str()),
            Scope::Whole | Scope::Within(_) => None,
        }
    }

    /// Rows of the identities of devices in the scope, and those of the member
    /// whose identities are no registered device's.
    fn by_signer(&self, table: &Table, identity: &str, member: &str) -> Option<Condition> {
        let signer = table.physical_column(identity)?;
        let answers = |column| Some(one_of(table.physical_column(column)?, [self.member()?]));
        let registered = self.asset_table(&Name::new(REGISTRY.0).ok()?, REGISTRY.1);
        let Some(device) = registered else { return Some((answers(member)?, BTreeSet::new())) };
        let identities = self.ledger_table("identities")?;
        let looks_into = BTreeSet::from([device.physical.clone(), identities.physical.clone()]);
        let kind = one_of(identities.physical_column("kind")?, ["device"]);
        let subject = identities.physical_column("subject")?;
        let holders = |devices: Option<&str>| {
            let devices = self.keys(device, devices);
            self.keys(identities, Some(&format!("{kind} AND {subject} IN ({devices})")))
        };
        let own = self.own(device, &device.telling);
        let condition = match (own, answers(member)) {
            (Some(own), Some(answers)) => format!(
                "({signer} IN ({}) OR ({answers} AND {signer} NOT IN ({})))",
                holders(Some(&own)),
                holders(None)
            ),
            (Some(own), None) => format!("{signer} IN ({})", holders(Some(&own))),
            (None, answers) => answers?,
        };
        Some((condition, looks_into))
    }

    /// Rows that name an asset in the scope.
    fn by_asset(&self, table: &Table) -> Option<Condition> {
        let [contract, asset_type, key] =
            ["contract", "asset_type", "key"].map(|column| table.physical_column(column));
        let (contract, asset_type, key) = (contract?, asset_type?, key?);
        let (mut any, mut looks_into) = (Vec::new(), BTreeSet::new());
        for asset in self.tables.iter().filter(|table| is_asset(table)) {
            let Some((condition, deeper)) = self.by_telling(asset) else { continue };
            any.push(format!(
                "({} AND {} AND {key} IN ({}))",
                one_of(contract, [asset.contract.as_str()]),
                one_of(asset_type, [asset.name.as_str()]),
                self.keys(asset, Some(&condition))
            ));
            looks_into.extend(deeper);
            looks_into.insert(asset.physical.clone());
        }
        (!any.is_empty()).then(|| (format!("({})", any.join(" OR ")), looks_into))
    }

    /// The SELECT of the keys of an asset type's or the ledger's table as of the
    /// height.
    fn keys(&self, table: &Table, rows: Option<&str>) -> String {
        let (physical, height) = (&table.physical, height_of(self.height));
        let rows = rows.map(|rows| format!(" AND {rows}")).unwrap_or_default();
        format!("SELECT _key FROM main.{physical} WHERE _from <= {height} AND _to > {height}{rows}")
    }

    fn asset_table(&self, contract: &Name, asset: &str) -> Option<&Table> {
        let found = |table: &&Table| table.contract == *contract && table.name.as_str() == asset;
        self.tables.iter().filter(|table| is_asset(table)).find(found)
    }

    fn ledger_table(&self, name: &str) -> Option<&Table> {
        let found = |table: &&Table| table.sql_schema == LEDGER && table.name.as_str() == name;
        self.tables.iter().find(found)
    }
}

impl Shown {
    fn condition(self) -> Option<Condition> {
        Some((self.rows?, self.looks_into))
    }
}

fn is_asset(table: &Table) -> bool {
    table.sql_schema != LEDGER && table.kind == TableKind::Asset
}

/// Whether a column has one of these texts. What has a NUL in it is nowhere: no
/// value of the ledger has one.
fn one_of<'t>(column: &str, texts: impl IntoIterator<Item = &'t str>) -> String {
    let literals: Vec<String> = texts
        .into_iter()
        .filter(|text| !text.contains('\0'))
        .map(|text| format!("'{}'", text.replace('\'', "''")))
        .collect();
    format!("{column} IN ({})", literals.join(", "))
}
