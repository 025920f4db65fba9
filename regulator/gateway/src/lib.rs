//! The regulator's HTTP interface: state and receipts to read, queries and reports
//! as of a height. What devices and companies send comes in at the same door and
//! is `hufu_intake`'s.
//!
//! [`router`] gives an axum router. TLS is terminated by the appliance, which
//! tells who asks by a [`hufu_door::Peer`] in the request's extensions; the ledger is
//! behind [`LedgerAccess`], which the appliance implements over its node.
//! `openapi.json` beside this crate's manifest describes the interface and is
//! served at `/openapi.json`; a test holds the two together.
//!
//! Rules it keeps:
//! - Nobody is anonymous, and only a regulator queries and gets reports.
//! - A regulator's look, by query or by identifier, is recorded on the ledger before
//!   it is answered; one that got no answer, because it needed too much or nobody
//!   waited, is recorded too.
//! - What callers write in SQL, and controls, run in a process of their own
//!   ([`hufu_query`]).
//! - Every error is a problem document with a code of [`problem::CODES`].
//! - Every body, query and report is bounded ([`GatewayLimits`]).

use std::sync::Arc;
use std::time::Duration;

use hufu_proof::{Genesis, Name, Signer};
use hufu_query::{Bounds, Workers};
use hufu_readmodel::{Limits, Reader};

mod answer;
mod earlier;
pub mod ledger;
pub mod metrics;
pub mod problem;
pub mod routes;
pub mod run;
pub mod shown;
pub mod sight;
pub mod tiles;

pub use answer::{
    Numbers, digest as answer_digest, look_subject, look_subject_of_query, look_subject_unanswered,
};
pub use hufu_report as report;
pub use hufu_report::{Checked, ReportError, verify_report};
pub use ledger::{
    Asker, AssetView, BlockSummary, LedgerAccess, LedgerFault, LedgerStatus, ProvedAsset, Recorded,
};
pub use metrics::Metrics;
pub use problem::{ApiProblem, CODES};
pub use routes::{ROUTES, busy, router};
pub use run::{Ran, Run, RunError, run};
pub use sight::{Seen, Viewer};

/// The interface's description (OpenAPI 3.1).
pub const OPENAPI: &str = include_str!("../openapi.json");

/// What requests may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayLimits {
    /// Largest body of a request, in bytes.
    pub body: usize,
    /// What a query may use up, on any machine.
    pub query: Limits,
    /// What a query may use up of this machine.
    pub query_bounds: Bounds,
    /// What all controls of a report may use up of this machine.
    pub report_bounds: Bounds,
    /// How long the record of a look may take to be final.
    pub patience: Duration,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            body: 256 * 1024,
            query: Limits::INTERACTIVE,
            query_bounds: Bounds::QUERY,
            report_bounds: Bounds::REPORT,
            patience: Duration::from_secs(15),
        }
    }
}

/// Everything the interface works with; shared by all requests.
pub struct Gateway {
    ledger: Arc<dyn LedgerAccess>,
    reader: Reader,
    genesis: Arc<Genesis>,
    member: Name,
    signer: Arc<dyn Signer>,
    metrics: Metrics,
    limits: GatewayLimits,
    workers: Workers,
    checkpoint: tiles::Signed,
}

impl Gateway {
    /// A gateway of `member`, whose statement key is `signer`'s; `workers` run what
    /// callers ask.
    #[expect(clippy::too_many_arguments, reason = "what a gateway is made of")]
    pub fn new(
        ledger: Arc<dyn LedgerAccess>,
        reader: Reader,
        genesis: Arc<Genesis>,
        member: Name,
        signer: Arc<dyn Signer>,
        metrics: Metrics,
        limits: GatewayLimits,
        workers: Workers,
    ) -> Self {
        let checkpoint = tiles::Signed::default();
        Self { ledger, reader, genesis, member, signer, metrics, limits, workers, checkpoint }
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Gateway").field("member", &self.member).finish_non_exhaustive()
    }
}
