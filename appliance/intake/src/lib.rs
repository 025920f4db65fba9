//! What devices and companies send to the ledger, over HTTP.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/transactions` | what became of one transaction |
//! | `POST /v1/transactions/bundle` | of each of many |
//! | `GET /v1/streams/{contract}/{stream}` | what a signer must know to append |
//!
//! The routes are a part of the gateway's door ([`part`]), whose description has
//! them too. Who asks comes in a request's extensions ([`hufu_door::Peer`]); the
//! ledger is behind [`Intake`].

mod fault;
mod stream;
mod submit;

use std::sync::Arc;
use std::time::Duration;

use axum::http::Extensions;
use axum::routing::{MethodRouter, get, post};
use futures::future::BoxFuture;
use hufu_contract::Contract;
use hufu_door::{Caller, Form, Part, Peer, Problem, Route, Rule};
use hufu_proof::{Digest, IdentityId, LogEntry, Name, Sequence, Transaction};

pub use self::fault::IntakeFault;
pub use self::submit::{MAX_BUNDLE, MAX_BUNDLE_BYTES};

/// Every route, as OpenAPI writes its path.
pub const ROUTES: &[Route] = &[
    Route::new("POST", "/v1/transactions", Rule::Caller),
    Route::new("POST", "/v1/transactions/bundle", Rule::Caller),
    Route::new("GET", "/v1/streams/{contract}/{stream}", Rule::Caller),
];

/// What the ledger knows of a signer's batches in a stream.
#[derive(Clone)]
pub struct StreamState {
    /// The active version of the contract that has the stream.
    pub contract: Arc<Contract>,
    /// Sequence of the signer's last batch; 0 before the first.
    pub sequence: Sequence,
}

/// The ledger, as far as it takes in. Methods that do not return a future may
/// read a disk; they are called on threads that may block.
pub trait Intake: Send + Sync + 'static {
    /// Of a stream of an active contract, the contract and where `identity` is
    /// in it.
    ///
    /// # Errors
    /// [`IntakeFault::NotFound`].
    fn stream(
        &self,
        contract: &Name,
        stream: &Name,
        identity: &IdentityId,
    ) -> Result<StreamState, IntakeFault>;

    /// Submits transactions for a caller and waits until each is final, at most
    /// `patience`. Of a signer that the ledger does not know, and of one for whom
    /// the caller does not answer ([`IntakeFault::ForeignSigner`]), none is taken:
    /// a device answers for itself, a client for its member's identities and for
    /// the devices that its member owns by the registry. What is not final then is
    /// [`IntakeFault::Pending`]. One answer for each, in their order, whatever
    /// becomes of the others. A transaction that was submitted before gets its
    /// first answer again.
    fn submit<'a>(
        &'a self,
        caller: &'a Caller,
        transactions: Vec<Transaction>,
        patience: Duration,
    ) -> BoxFuture<'a, Vec<Result<LogEntry, IntakeFault>>>;

    /// Place in the log of a transaction's entry.
    ///
    /// # Errors
    /// [`IntakeFault::NotFound`].
    fn log_index(&self, id: &Digest) -> Result<u64, IntakeFault>;
}

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Desk {
    intake: Arc<dyn Intake>,
    patience: Duration,
}

/// The routes with what answers them. A submission waits for finality no longer
/// than `patience`.
pub fn part(intake: Arc<dyn Intake>, patience: Duration) -> Part {
    Part::new(ROUTES, Form::Json, handler).with_state(Desk { intake, patience })
}

fn handler(route: &Route) -> MethodRouter<Desk> {
    match (route.method, route.path) {
        ("POST", "/v1/transactions") => post(submit::one),
        ("POST", "/v1/transactions/bundle") => post(submit::bundle),
        ("GET", "/v1/streams/{contract}/{stream}") => get(stream::state),
        // Every test of this part meets every row.
        _ => MethodRouter::new(),
    }
}

impl Desk {
    /// Runs what may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Intake) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let intake = Arc::clone(&self.intake);
        tokio::task::spawn_blocking(move || work(&*intake))
            .await
            .unwrap_or_else(|error| Err(Problem::internal("the request failed", &error)))
    }
}

fn caller(extensions: &Extensions) -> Result<Arc<Caller>, Problem> {
    Ok(Arc::clone(Peer::of(extensions).caller()?))
}
