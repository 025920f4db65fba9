//! A checked, compiled contract.

use std::collections::BTreeMap;
use std::sync::Arc;

use hufu_proof::transaction::{Batch, Invocation};
use hufu_proof::{Name, Outcome};

use crate::problem::Problem;
use crate::sources::Sources;
use crate::world::{Asset, Context, Effects, Principal, StreamEffects, World};

/// A checked, compiled contract: cheap to share behind an [`Arc`].
#[derive(Debug)]
pub struct Contract {}

/// Checks a package and compiles it. `dependencies` are the active contracts by
/// name; those the package requires must be among them.
///
/// # Errors
/// Everything that is wrong with the package, each with its file and line.
pub fn check(
    sources: &Sources,
    dependencies: &BTreeMap<Name, Arc<Contract>>,
) -> Result<Contract, Vec<Problem>> {
    let _ = (sources, dependencies);
    Err(Vec::new())
}

impl Contract {
    /// Executes an action, from the check of its asset and state on.
    ///
    /// # Errors
    /// The outcome that goes into the receipt; nothing is to be written.
    pub fn apply(
        &self,
        invocation: &Invocation,
        context: &Context,
        world: &dyn World,
    ) -> Result<Effects, Outcome> {
        let _ = (invocation, context, world);
        Err(Outcome::NoAction)
    }

    /// Checks a batch of a stream.
    ///
    /// # Errors
    /// The outcome that goes into the receipt; nothing is to be written.
    pub fn append(
        &self,
        batch: &Batch,
        context: &Context,
        world: &dyn World,
    ) -> Result<StreamEffects, Outcome> {
        let _ = (batch, context, world);
        Err(Outcome::NoAction)
    }

    /// Whether `principal` may read the asset.
    pub fn visible(
        &self,
        principal: &Principal,
        asset_type: &Name,
        key: &str,
        asset: &Asset,
        world: &dyn World,
    ) -> bool {
        let _ = (principal, asset_type, key, asset, world);
        false
    }
}
