//! Actions and batches from what people and programs write: JSON by field name.

use std::collections::BTreeMap;

use hufu_proof::transaction::{Batch, Invocation};
use hufu_proof::{Name, Sequence, Value};
use serde_json::Value as Json;

use crate::contract::Contract;
use crate::package::Start;
use crate::spelling;
use crate::types::Type;

/// Why something written is not an action or batch of a contract. The writer is
/// at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The contract has no such action.
    #[error("{contract} has no action `{action}`; it has {known}")]
    NoAction {
        /// The contract.
        contract: Name,
        /// What was named.
        action: String,
        /// The actions there are.
        known: String,
    },
    /// The contract has no such stream.
    #[error("{contract} has no stream `{stream}`; it has {known}")]
    NoStream {
        /// The contract.
        contract: Name,
        /// What was named.
        stream: String,
        /// The streams there are.
        known: String,
    },
    /// The asset is not named.
    #[error("name the asset: its key, `{key}`")]
    NoKey {
        /// The field that is the key.
        key: Name,
    },
    /// A parameter or column that is not declared.
    #[error("there is no `{name}`; there are {known}")]
    Unknown {
        /// What was named.
        name: String,
        /// What there is.
        known: String,
    },
    /// A parameter or column without a value.
    #[error("`{name}` is missing")]
    Missing {
        /// Which.
        name: Name,
    },
    /// A value that is not of its type.
    #[error("`{name}` {reason}")]
    Value {
        /// Which.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

impl Contract {
    /// The invocation of `action` on the asset `on`, with parameters as
    /// [`Type::from_json`] reads them. For an action that creates, the key may
    /// stand among the parameters instead.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn invocation(
        &self,
        action: &str,
        on: Option<&str>,
        params: &BTreeMap<String, Json>,
    ) -> Result<Invocation, InputError> {
        let declared = self.package.actions.get(action);
        let asset = declared.and_then(|declared| self.package.assets.get(&declared.asset));
        let (Some(declared), Some(asset)) = (declared, asset) else {
            return Err(InputError::NoAction {
                contract: self.package.name.clone(),
                action: action.to_owned(),
                known: list(self.package.actions.keys()),
            });
        };
        let mut key = on.map(|key| spelling::normal(key).into_owned());
        let mut values = BTreeMap::new();
        for (name, json) in params {
            if *name == asset.key.as_str() && declared.start == Start::Nothing {
                if let Value::Id(value) = value(name, &Type::Id, json)? {
                    key = key.or(Some(value));
                }
                continue;
            }
            let Some((name, parameter)) = declared.params.get_key_value(name.as_str()) else {
                return Err(InputError::Unknown {
                    name: name.clone(),
                    known: list(declared.params.keys()),
                });
            };
            values.insert(name.clone(), value(name.as_str(), &parameter.ty, json)?);
        }
        for (name, parameter) in &declared.params {
            if !parameter.optional && !values.contains_key(name) {
                return Err(InputError::Missing { name: name.clone() });
            }
        }
        let Some(key) = key else { return Err(InputError::NoKey { key: asset.key.clone() }) };
        Ok(Invocation {
            contract: self.package.name.clone(),
            action: declared.name.clone(),
            asset: key,
            params: values,
        })
    }

    /// A batch of `stream`, with rows by column as [`Type::from_json`] reads
    /// them.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn batch<'a>(
        &self,
        stream: &str,
        sequence: Sequence,
        rows: impl IntoIterator<Item = &'a BTreeMap<String, Json>>,
    ) -> Result<Batch, InputError> {
        let Some(declared) = self.package.streams.get(stream) else {
            return Err(InputError::NoStream {
                contract: self.package.name.clone(),
                stream: stream.to_owned(),
                known: list(self.package.streams.keys()),
            });
        };
        let row = |row: &BTreeMap<String, Json>| {
            if let Some(name) =
                row.keys().find(|name| !declared.columns.contains_key(name.as_str()))
            {
                let known = list(declared.columns.keys());
                return Err(InputError::Unknown { name: name.clone(), known });
            }
            let columns = declared.columns.iter();
            columns
                .map(|(name, ty)| match row.get(name.as_str()) {
                    Some(json) => value(name.as_str(), ty, json),
                    None => Err(InputError::Missing { name: name.clone() }),
                })
                .collect::<Result<Vec<Value>, InputError>>()
        };
        Ok(Batch {
            contract: self.package.name.clone(),
            stream: declared.name.clone(),
            sequence,
            rows: rows.into_iter().map(row).collect::<Result<_, _>>()?,
        })
    }
}

fn value(name: &str, ty: &Type, json: &Json) -> Result<Value, InputError> {
    ty.from_json(json).map_err(|reason| InputError::Value { name: name.to_owned(), reason })
}

fn list<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    let names: Vec<&str> = names.map(Name::as_str).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
