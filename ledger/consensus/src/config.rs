//! What a node must be told.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use hufu_proof::{Digest, FinalityCertificate, Height, finality};

use commonware_utils::TryFromIterator as _;
use commonware_utils::ordered::Set;

use crate::error::Error;
use crate::keys::PublicKey;

/// A member that votes.
#[derive(Clone, Debug)]
pub struct Validator {
    /// Its name, for logs, status and evidence.
    pub name: String,
    /// Its vote key, ECDSA P-256.
    pub key: hufu_proof::PublicKey,
}

/// An epoch that is over.
#[derive(Clone, Debug)]
pub struct PastEpoch {
    /// Who voted, in any order.
    pub validators: Vec<Validator>,
    /// Its last height.
    pub last: Height,
    /// The digest of its last block, on which the next epoch builds.
    pub block: Digest,
}

/// How long to wait. All validators should have the same; a shorter one gives
/// views up that others still work on.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From the start of a view to the leader's block. Must cover the pause an
    /// idle leader makes, the transfer of the largest block and its
    /// verification. Too short: no block ever; too long: a dead leader costs
    /// this much each time its turn comes.
    pub leader: Duration,
    /// From the start of a view to a notarization. More than `leader`.
    pub notarization: Duration,
    /// Between repetitions of a vote to give a view up.
    pub retry: Duration,
    /// For one peer's answer when something is fetched.
    pub fetch: Duration,
    /// How long a leader may be silent before its turns are skipped at once.
    /// More than `notarization` and `retry`.
    pub skip: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            leader: Duration::from_secs(2),
            notarization: Duration::from_secs(3),
            retry: Duration::from_secs(2),
            fetch: Duration::from_secs(2),
            skip: Duration::from_secs(6),
        }
    }
}

/// What a node must be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory for the double-sign guard and the evidence. One per vote key.
    pub directory: PathBuf,
    /// Prefix of the engine's partitions in the runtime's storage: letters,
    /// digits, `-` and `_`. Only deterministic tests, where nodes share one
    /// storage, need another than the default.
    pub partition: String,
    /// The consortium: digest of its genesis.
    pub chain: Digest,
    /// The epochs that are over, from epoch 0. One set of validators votes in
    /// an epoch; the next begins with a new engine.
    pub past: Vec<PastEpoch>,
    /// The validators of the present epoch, in any order.
    pub validators: Vec<Validator>,
    /// Largest encoded block in bytes. The same on every node, and never less
    /// than that of a block that was ever stored.
    pub max_block: usize,
    /// Largest message that nodes exchange outside consensus, in bytes.
    pub max_gossip: usize,
    /// Waits.
    pub timing: Timing,
    /// A certificate to start from instead of genesis, when the ledger's state
    /// came from a snapshot: of the last height the ledger has applied.
    pub floor: Option<FinalityCertificate>,
    /// By how many milliseconds this node's clock is ahead of its runtime's, in
    /// tests whose nodes share one.
    #[cfg(any(test, feature = "testing"))]
    pub clock_ahead_ms: i64,
}

impl Config {
    /// The usual settings.
    pub fn new(directory: PathBuf, chain: Digest, validators: Vec<Validator>) -> Self {
        Self {
            directory,
            partition: "ordering".to_owned(),
            chain,
            past: Vec::new(),
            validators,
            max_block: hufu_proof::codec::MAX_BLOCK,
            max_gossip: 1024 * 1024,
            timing: Timing::default(),
            floor: None,
            #[cfg(any(test, feature = "testing"))]
            clock_ahead_ms: 0,
        }
    }

    /// By how many milliseconds this node's clock is ahead of its runtime's.
    pub(crate) fn clock_ahead_ms(&self) -> i64 {
        #[cfg(any(test, feature = "testing"))]
        return self.clock_ahead_ms;
        #[cfg(not(any(test, feature = "testing")))]
        0
    }

    /// The present epoch.
    pub fn epoch(&self) -> u64 {
        self.past.len() as u64
    }

    /// What this consortium's votes are signed under.
    pub(crate) fn namespace(&self) -> Vec<u8> {
        finality::vote_namespace(&self.chain)
    }

    /// Checks everything the engine would panic on, and returns the validators'
    /// keys in the order of votes with their names.
    pub(crate) fn check(&self) -> Result<(Set<PublicKey>, Vec<String>), Error> {
        if !safe(&self.partition, b"-_") {
            return invalid("partition", "use letters, digits, `-` and `_`");
        }
        if !(1024..=64 * 1024 * 1024).contains(&self.max_block) {
            return invalid("max_block", "must be between 1 kiB and 64 MiB");
        }
        if !(1024..=64 * 1024 * 1024).contains(&self.max_gossip) {
            return invalid("max_gossip", "must be between 1 kiB and 64 MiB");
        }
        let timing = &self.timing;
        if timing.leader.is_zero() || timing.retry.is_zero() || timing.fetch.is_zero() {
            return invalid("timing", "no wait may be zero");
        }
        if timing.notarization <= timing.leader {
            return invalid("timing.notarization", "must be longer than timing.leader");
        }
        if timing.skip <= timing.notarization || timing.skip <= timing.retry {
            return invalid("timing.skip", "must be longer than the other waits");
        }
        if !self.past.windows(2).all(|pair| pair[0].last < pair[1].last) {
            return invalid("past", "each epoch ends after the one before it");
        }
        in_order(&self.validators)
    }

    /// The validators of the epochs that are over, as [`Self::check`] returns
    /// the present ones.
    pub(crate) fn past_validators(&self) -> Result<Vec<Set<PublicKey>>, Error> {
        self.past.iter().map(|epoch| Ok(in_order(&epoch.validators)?.0)).collect()
    }
}

/// The validators' keys in the order of votes, with their names.
fn in_order(validators: &[Validator]) -> Result<(Set<PublicKey>, Vec<String>), Error> {
    if validators.is_empty() || validators.len() > hufu_proof::genesis::MAX_MEMBERS {
        return invalid("validators", "must be between 1 and 100");
    }
    let mut pairs = Vec::with_capacity(validators.len());
    let mut names = BTreeSet::new();
    for validator in validators {
        if !safe(&validator.name, b"-_.") || !names.insert(&validator.name) {
            return invalid(
                "validators",
                "each needs a name of its own of letters, digits, `-`, `_` and `.`",
            );
        }
        pairs.push((PublicKey::try_from(&validator.key)?, validator.name.clone()));
    }
    pairs.sort_by(|one, other| one.0.cmp(&other.0));
    let (keys, names): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    match Set::try_from_iter(keys) {
        Ok(keys) => Ok((keys, names)),
        Err(_) => invalid("validators", "two have the same key"),
    }
}

fn invalid<T>(field: &'static str, problem: &str) -> Result<T, Error> {
    Err(Error::Config { field, problem: problem.to_owned() })
}

/// Whether a text is of letters, digits and `extra`.
fn safe(text: &str, extra: &[u8]) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
}
