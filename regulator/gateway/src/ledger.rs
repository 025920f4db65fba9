//! What the gateway asks of the ledger. The appliance implements it over its
//! node; the gateway knows no node, store or network.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use hufu_contract::{Asset, Belonging, Contract, Principal, PrincipalKind, World};
use hufu_door::Caller;
use hufu_proof::transaction::{IdentityKind, Look};
use hufu_proof::{
    Digest, FinalityProof, Handover, Header, IdentityId, LogEntry, Name, Receipt, StateProof,
    Transaction, Value,
};
use serde::Serialize;

/// How the ledger is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerStatus {
    /// The last executed height.
    pub height: u64,
    /// Its block time, milliseconds since 1970.
    pub time_ms: u64,
    /// The highest height that a final header commits to: reports can be made
    /// as of this one.
    pub anchored_height: u64,
    /// The state root after the last executed height.
    pub state_root: Digest,
    /// Entries in the log.
    pub log_size: u64,
    /// Its root.
    pub log_root: Digest,
    /// Transactions that wait for a block.
    pub waiting: u64,
}

/// A final block, without its transactions' content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockSummary {
    /// Its digest.
    pub digest: Digest,
    /// Its header.
    pub header: Header,
    /// Proof that it is final. The genesis block has none.
    pub finality: Option<FinalityProof>,
    /// Identifiers of its transactions, in order.
    pub transactions: Vec<Digest>,
}

/// A transaction and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The transaction.
    pub transaction: Transaction,
    /// What became of it.
    pub entry: LogEntry,
    /// Its place in the log.
    pub log_index: u64,
    /// The member that answers for its signer, if the signer is registered.
    pub member: Option<Name>,
    /// Whose it is now, and where: of a device's, what the register of devices
    /// says.
    pub belongs: Belonging,
}

/// Who asks for an asset, as its contract's policy is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Whom the policy decides about.
    pub principal: Principal,
    /// Whether it acts as a regulator.
    pub regulator: bool,
}

impl Asker {
    /// A caller.
    pub fn of(caller: &Caller) -> Self {
        let principal = Principal {
            identity: caller.identity.unwrap_or(IdentityId(Digest::default())),
            member: Some(caller.member.clone()),
            kind: PrincipalKind::Signer(match caller.kind {
                IdentityKind::Device => IdentityKind::Device,
                _ => IdentityKind::Member,
            }),
            subject: caller.subject.clone(),
        };
        Self { principal, regulator: caller.is_regulator() }
    }
}

/// What an asset was as of a height, or that there was none, with the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedAsset {
    /// The proof. [`StateProof::as_of`] says of which height it is.
    pub proof: StateProof,
    /// The asset, where there was one.
    pub view: Option<AssetView>,
}

/// An asset as the caller may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AssetView {
    /// Its state.
    pub state: Name,
    /// Its fields, as their declared types write them in JSON.
    pub fields: BTreeMap<Name, serde_json::Value>,
    /// Whose it is, and where.
    #[serde(skip)]
    pub belongs: Belonging,
}

impl AssetView {
    /// An asset of a type of `contract` in a state of the world, where the
    /// contract's policy lets the asker read it. Of a regulator, who does not act
    /// as one sees what is the member's own: the policy knows members, not what
    /// a client may do for them.
    ///
    /// # Errors
    /// [`LedgerFault::NotPermitted`], and those of [`AssetView::new`].
    pub fn read(
        contract: &Contract,
        asker: &Asker,
        asset_type: &Name,
        key: &str,
        asset: &Asset,
        world: &impl World,
    ) -> Result<Self, LedgerFault> {
        let Asker { principal, regulator } = asker;
        let belongs = contract.belonging(asset_type, asset, world);
        let member = principal.member.as_ref();
        let supervisors = member
            .and_then(|member| world.member(contract.name(), member))
            .is_some_and(|member| member.kinds.contains("regulator"));
        let own = member.is_some() && belongs.owner.as_ref() == member;
        if !contract.visible(principal, asset_type, key, asset, world)
            || (supervisors && !regulator && !own)
        {
            return Err(LedgerFault::NotPermitted(contract.name().clone()));
        }
        Self::new(contract, asset_type, asset, belongs)
    }

    /// An asset of a type of `contract`.
    ///
    /// # Errors
    /// [`LedgerFault::Unavailable`] when it has a field that the type does not
    /// declare: store and contract do not belong together.
    pub fn new(
        contract: &Contract,
        asset_type: &Name,
        asset: &Asset,
        belongs: Belonging,
    ) -> Result<Self, LedgerFault> {
        let declared = contract.asset_type(asset_type.as_str());
        let field = |(name, value): (&Name, &Value)| {
            let field =
                declared.and_then(|declared| declared.fields.get(name)).ok_or_else(|| {
                    LedgerFault::Unavailable(format!("`{asset_type}` declares no field `{name}`"))
                })?;
            Ok((name.clone(), field.ty.to_json(value)))
        };
        let fields = asset.fields.iter().map(field).collect::<Result<_, LedgerFault>>()?;
        Ok(Self { state: asset.state.clone(), fields, belongs })
    }
}

/// Why the ledger does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerFault {
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The height is not executed yet.
    #[error("height {asked} is not executed yet; the last one is {executed}")]
    Future {
        /// The height asked for.
        asked: u64,
        /// The last one that there is.
        executed: u64,
    },
    /// The height is not kept any more.
    #[error(
        "height {asked} is not kept here any more; this member keeps what is from height \
         {kept_from} on: ask its archive, or a member that keeps more"
    )]
    Past {
        /// The height asked for.
        asked: u64,
        /// The earliest one that is kept.
        kept_from: u64,
    },
    /// The policy does not permit the caller to see it.
    #[error("the policy of contract `{0}` does not permit it")]
    NotPermitted(Name),
    /// It was taken in or executed, but no final header commits to it yet.
    #[error("it is not final yet")]
    Pending,
    /// The node stops, or lost its store, token or quorum.
    #[error("the ledger does not answer: {0}")]
    Unavailable(String),
}

/// The ledger, as the gateway needs it. Methods that do not return a future may
/// read a disk; the gateway calls them on threads that may block.
pub trait LedgerAccess: Send + Sync + 'static {
    /// How it is.
    ///
    /// # Errors
    /// [`LedgerFault::Unavailable`].
    fn status(&self) -> Result<LedgerStatus, LedgerFault>;

    /// A final block.
    ///
    /// # Errors
    /// [`LedgerFault::NotFound`] when the height is not executed yet.
    fn block(&self, height: u64) -> Result<BlockSummary, LedgerFault>;

    /// The first header whose `executed.height` is at least `height`, and proof
    /// that it is final. The same header on every node.
    ///
    /// # Errors
    /// [`LedgerFault::NotFound`] when no final header commits to it yet.
    fn anchor(&self, height: u64) -> Result<(Header, FinalityProof), LedgerFault>;

    /// How the epochs from `epoch` on gave way each to the next.
    ///
    /// # Errors
    /// [`LedgerFault::NotFound`] when there was no such epoch.
    fn handovers(&self, epoch: u64) -> Result<Vec<Handover>, LedgerFault>;

    /// Inclusion path of an entry in the log of the first `log_size` entries
    /// (RFC 9162 §2.1.3).
    ///
    /// # Errors
    /// [`LedgerFault::NotFound`] when `log_index` is not below `log_size`.
    fn log_path(&self, log_index: u64, log_size: u64) -> Result<Vec<Digest>, LedgerFault>;

    /// Hashes `begin..begin + width` of level 8 × `level` of the log: those of one tile.
    ///
    /// # Errors
    /// [`LedgerFault::NotFound`] when the log does not have them all.
    fn tile(&self, level: u8, begin: u64, width: u64) -> Result<Vec<Digest>, LedgerFault>;

    /// Entries `begin..begin + count` of the log.
    ///
    /// # Errors
    /// [`LedgerFault::NotFound`] when the log does not have them all.
    fn entries(&self, begin: u64, count: u64) -> Result<Vec<LogEntry>, LedgerFault>;

    /// A transaction.
    ///
    /// # Errors
    /// [`LedgerFault::NotFound`].
    fn transaction(&self, id: &Digest) -> Result<Recorded, LedgerFault>;

    /// A transaction's receipt.
    ///
    /// # Errors
    /// [`LedgerFault::NotFound`]; [`LedgerFault::Pending`] while no final header
    /// commits to its block.
    fn receipt(&self, id: &Digest) -> Result<Receipt, LedgerFault>;

    /// The compiled contract of a deployed package.
    ///
    /// # Errors
    /// [`LedgerFault::NotFound`].
    fn contract(&self, package: &Digest) -> Result<Arc<Contract>, LedgerFault>;

    /// An asset as of a height, where the contract's policy lets the caller
    /// read it; fields that it may not read are left out.
    ///
    /// # Errors
    /// [`LedgerFault::NotFound`], [`LedgerFault::NotPermitted`];
    /// [`LedgerFault::Future`] when the height is not executed yet.
    fn read_asset(
        &self,
        caller: &Caller,
        contract: &Name,
        asset_type: &Name,
        key: &str,
        as_of: u64,
    ) -> Result<AssetView, LedgerFault>;

    /// What an asset was, or that there was none, with the proof: as of the first
    /// height at or after `as_of` that a final header commits to, and where the
    /// contract's policy lets the caller read it as of that height.
    ///
    /// # Errors
    /// As [`Self::read_asset`], but that there is no such asset is none;
    /// [`LedgerFault::NotFound`] when the contract has no such type;
    /// [`LedgerFault::Pending`] while no final header commits to the height.
    fn prove_asset(
        &self,
        caller: &Caller,
        contract: &Name,
        asset_type: &Name,
        key: &str,
        as_of: u64,
    ) -> Result<ProvedAsset, LedgerFault>;

    /// Records a regulator's look, signed by this node's member, and waits until
    /// it is final; gives the transaction's identifier. The gateway answers only
    /// after that: no look goes unrecorded.
    fn record_look(&self, look: Look) -> BoxFuture<'_, Result<Digest, LedgerFault>>;
}
