//! The one authenticator: TLS session to [`Caller`], for every door.
//!
//! The certificate has been judged when the connection came up
//! ([`crate::tls`]); for each request the ledger's word on it is read as of the
//! newest height this node has. The order: is it valid now, is it recorded, is it
//! the one that is recorded, is it revoked or on hold; then who answers for it and
//! what it may do. A record that is missing or cannot be read refuses.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures::future::BoxFuture;
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Digest, IdentityId, Name, Role, Serial, UnixMillis};
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::caller::{Caller, Jurisdictions, Peer};
use crate::problem::{Code, Problem};
use crate::tls::{Presented, Shown};

/// Whether a certificate counts, by the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does, within its validity.
    Good,
    /// It is on hold.
    Held,
    /// It is revoked for good.
    Revoked,
    /// Its member was dismissed, and all that acted for it with it.
    Dismissed,
}

/// What the ledger says of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// As of which height.
    pub height: u64,
    /// SHA-256 of the to-be-signed certificate.
    pub tbs: Digest,
    /// Whether it counts.
    pub standing: Standing,
    /// What its holder is.
    pub kind: IdentityKind,
    /// The member that answers for it.
    pub owner: Name,
    /// Its subject, for people.
    pub subject: String,
    /// Whose key it certifies.
    pub identity: IdentityId,
    /// What that member is to the consortium; `None` when it has no record,
    /// which refuses.
    pub member: Option<Membership>,
    /// Roles it names that its member has agreed to; the others count for
    /// nothing.
    pub approved: Approved,
}

/// Which of the roles that a certificate names its member has agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approved {
    /// All of them: the consortium asks for no approval.
    All,
    /// These.
    These(BTreeSet<Role>),
}

/// What a member is to the consortium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Its kinds.
    pub kinds: BTreeSet<Name>,
    /// What it may see as a supervisor.
    pub jurisdictions: Jurisdictions,
}

/// The ledger cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// The ledger, as far as callers are concerned.
pub trait Records: Send + Sync + 'static {
    /// The newest height this node has.
    fn height(&self) -> u64;

    /// What the ledger says of a certificate as of that height; `None` when
    /// nothing.
    ///
    /// # Errors
    /// When it cannot be read.
    fn certificate(&self, serial: &Serial) -> Result<Option<Record>, Unreadable>;

    /// Waits for a height above `height`.
    ///
    /// # Errors
    /// When there will be none: the node stops.
    fn above(&self, height: u64) -> BoxFuture<'_, Result<(), Unreadable>>;
}

/// How long a certificate that is not on the ledger is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long a request waits for this node to reach the block that has it.
    pub wait: Duration,
    /// Requests that wait at a time, in all.
    pub waiting: usize,
    /// Requests with one certificate that wait at a time.
    pub waiting_per_caller: usize,
    /// How long one that was waited for in vain is not waited for again.
    pub remember: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(15),
            waiting: 64,
            waiting_per_caller: 4,
            remember: Duration::from_secs(60),
        }
    }
}

/// Certificates whose waiting is remembered; the oldest are forgotten.
const REMEMBERED: usize = 4096;

/// A certificate that was looked for in vain.
#[derive(Clone, Copy)]
struct Vain {
    height: u64,
    until: Instant,
}

/// Tells callers from what TLS saw.
pub struct Authenticator {
    records: Arc<dyn Records>,
    patience: Patience,
    clock: Box<dyn Fn() -> UnixMillis + Send + Sync>,
    vain: Cache<[u8; 32], Vain>,
    places: Semaphore,
    waiting: Mutex<HashMap<[u8; 32], usize>>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

/// This machine's time.
fn now() -> UnixMillis {
    SystemTime::now().into()
}

impl Authenticator {
    /// Over this node's ledger.
    pub fn new(records: Arc<dyn Records>) -> Arc<Self> {
        Self::with(records, Patience::default(), now)
    }

    /// With another patience, and a clock of its own.
    pub fn with(
        records: Arc<dyn Records>,
        patience: Patience,
        clock: impl Fn() -> UnixMillis + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            records,
            patience,
            clock: Box::new(clock),
            vain: Cache::new(REMEMBERED),
            places: Semaphore::new(patience.waiting),
            waiting: Mutex::default(),
        })
    }

    /// Puts who asks into each request's extensions ([`Peer`]).
    pub fn before(self: &Arc<Self>, router: Router) -> Router {
        router.layer(from_fn_with_state(Arc::clone(self), identify))
    }

    /// Who a client is by what it showed.
    pub async fn peer(&self, shown: &Shown) -> Peer {
        let presented = match shown {
            Shown::Nothing => return Peer::Anonymous,
            Shown::Refused(problem) => return Peer::Refused(problem.clone()),
            Shown::Certificate(presented) => presented,
        };
        match self.caller(presented).await {
            Ok(caller) => Peer::Known(Arc::new(caller)),
            Err(problem) => {
                tracing::warn!(
                    serial = %presented.serial, code = %problem.code(), "client certificate refused"
                );
                Peer::Refused(problem)
            }
        }
    }

    async fn caller(&self, presented: &Presented) -> Result<Caller, Problem> {
        let serial = &presented.serial;
        let refused =
            |code, why: &str| Err(Problem::new(code, format!("client certificate {serial} {why}")));
        let now = (self.clock)();
        let (not_before, not_after) = presented.validity();
        if now < not_before {
            return refused(Code::CertificateExpired, "is not valid yet; check the clocks");
        }
        if now > not_after {
            return refused(Code::CertificateExpired, "has expired; ask for a new one");
        }
        let record = self.record(presented).await?;
        if record.tbs != presented.tbs {
            return refused(Code::CertificateRefused, "is not the one on the ledger");
        }
        match record.standing {
            Standing::Good => {}
            Standing::Held => {
                return refused(Code::CertificateRevoked, "is on hold; have the hold lifted");
            }
            Standing::Revoked => {
                return refused(Code::CertificateRevoked, "is revoked; ask for a new one");
            }
            Standing::Dismissed => {
                let why = "is of a member that was dismissed from the consortium";
                return refused(Code::CertificateRefused, why);
            }
        }
        if presented.member.as_ref().is_some_and(|member| *member != record.owner) {
            return refused(Code::CertificateRefused, "names another member than the ledger");
        }
        let Some(member) = record.member else {
            return refused(Code::CertificateRefused, "is of a member that the ledger has not");
        };
        let named = presented.roles.iter().copied();
        let roles: BTreeSet<Role> = match (&record.kind, &record.approved) {
            // A device speaks for itself, not with its owner's powers.
            (IdentityKind::Device, _) => BTreeSet::new(),
            (_, Approved::All) => named.collect(),
            (_, Approved::These(approved)) => {
                named.filter(|role| approved.contains(role)).collect()
            }
        };
        // Who has no role in its member's name does not speak in it: otherwise the
        // authority alone could make somebody who reads as that member.
        if record.kind != IdentityKind::Device
            && roles.is_empty()
            && matches!(record.approved, Approved::These(_))
        {
            let detail = format!(
                "member `{}` has not approved the key of client certificate {serial} for any role \
                 that it names: on its node, `hufu member approve --key {} --role ROLE`",
                record.owner, record.identity
            );
            return Err(Problem::new(Code::CertificateRefused, detail));
        }
        let mut kinds = member.kinds;
        let mut jurisdictions = member.jurisdictions;
        if record.kind == IdentityKind::Device {
            kinds.clear();
        }
        // Not everyone at a regulator supervises.
        if !roles.contains(&Role::Regulator) {
            kinds.remove("regulator");
        }
        if !kinds.contains("regulator") {
            jurisdictions = Jurisdictions::None;
        }
        Ok(Caller {
            member: record.owner,
            kind: record.kind,
            kinds,
            roles,
            jurisdictions,
            subject: record.subject,
            identity: Some(record.identity),
            serial: presented.serial.clone(),
            height: record.height,
        })
    }

    /// What the ledger says of a certificate. What an authority signs is on the
    /// ledger before: if it is not here, this node is a little behind, or it was
    /// not made by rule.
    async fn record(&self, presented: &Presented) -> Result<Record, Problem> {
        let key = presented.digest();
        let vain = self.vain.get(&key).filter(|vain| Instant::now() < vain.until);
        let height = self.records.height();
        // As of the same height, it is the same answer.
        if vain.is_none_or(|vain| vain.height != height)
            && let Some(record) = self.read(presented)?
        {
            self.vain.remove(&key);
            return Ok(record);
        }
        if vain.is_some() {
            self.remember(key, height, vain);
            return Err(unknown(presented, height));
        }
        let Some(_waiting) = Waiting::enter(self, key) else {
            let detail = "as many requests as may wait for this node to reach a certificate's \
                          block are waiting";
            return Err(Problem::new(Code::Busy, detail).retry_after(Duration::from_secs(1)));
        };
        let Ok(_place) = self.places.try_acquire() else {
            let detail = "as many requests as may wait for this node to reach a certificate's \
                          block are waiting";
            return Err(Problem::new(Code::Busy, detail).retry_after(Duration::from_secs(5)));
        };
        let found = async {
            let mut height = height;
            loop {
                self.records.above(height).await.map_err(unreadable)?;
                height = self.records.height();
                if let Some(record) = self.read(presented)? {
                    return Ok(record);
                }
            }
        };
        tokio::time::timeout(self.patience.wait, found).await.unwrap_or_else(|_| {
            let height = self.records.height();
            self.remember(key, height, None);
            Err(unknown(presented, height))
        })
    }

    fn read(&self, presented: &Presented) -> Result<Option<Record>, Problem> {
        self.records.certificate(&presented.serial).map_err(unreadable)
    }

    /// Remembers that a certificate is not there as of a height, no longer than
    /// `before` was remembered.
    fn remember(&self, key: [u8; 32], height: u64, before: Option<Vain>) {
        let until =
            before.map_or_else(|| Instant::now() + self.patience.remember, |vain| vain.until);
        self.vain.insert(key, Vain { height, until });
    }
}

fn unknown(presented: &Presented, height: u64) -> Problem {
    let detail = format!(
        "the ledger has no entry for client certificate {} up to height {height}, where this node \
         is; ask later, or another node",
        presented.serial
    );
    Problem::new(Code::CertificateUnknown, detail)
}

fn unreadable(error: Unreadable) -> Problem {
    let detail = format!("what the ledger says of the client certificate cannot be read: {error}");
    Problem::new(Code::Unavailable, detail).retry_after(Duration::from_secs(5))
}

/// A request that waits for its certificate.
struct Waiting<'a> {
    of: &'a Authenticator,
    key: [u8; 32],
}

impl<'a> Waiting<'a> {
    fn enter(of: &'a Authenticator, key: [u8; 32]) -> Option<Self> {
        let mut waiting = of.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let own = waiting.entry(key).or_default();
        if *own >= of.patience.waiting_per_caller {
            return None;
        }
        *own += 1;
        Some(Self { of, key })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.of.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = waiting.get_mut(&self.key) {
            *own -= 1;
            if *own == 0 {
                waiting.remove(&self.key);
            }
        }
    }
}

async fn identify(
    State(authenticator): State<Arc<Authenticator>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(shown) = request.extensions().get::<Shown>().cloned()
        && !matches!(shown, Shown::Nothing)
    {
        let peer = authenticator.peer(&shown).await;
        request.extensions_mut().insert(peer);
    }
    next.run(request).await
}
