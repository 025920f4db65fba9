//! The node looks at itself; metrics and health for others.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hufu_door::{Form, Metrics, Route, Rule, route};

use crate::clock;
use crate::disk;
use crate::governance;
use crate::health::State;
use crate::node::Node;
use crate::renewal;

type EngineMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Every route of the metrics' door.
pub const ROUTES: &[Route] = &[
    Route::new("GET", "/metrics", Rule::Anyone),
    Route::new("GET", "/healthz", Rule::Anyone),
    Route::new("GET", "/readyz", Rule::Anyone),
];

#[derive(Clone)]
struct Watched {
    node: Arc<Node>,
    engine: EngineMetrics,
    doors: Metrics,
}

/// The router.
pub fn router(node: Arc<Node>, engine: EngineMetrics, doors: Metrics) -> Router {
    let own = node.config.member.name.clone();
    route::router(ROUTES, Some(&own), Form::Json, |route| match route.path {
        "/metrics" => get(metrics),
        "/healthz" => get(healthz),
        _ => get(readyz),
    })
    .with_state(Watched { node, engine, doors })
}

/// Alive: the process answers and has not failed.
async fn healthz(Shared(Watched { node, .. }): Shared<Watched>) -> Response {
    let condition = node.health.condition();
    let status = match condition.state {
        State::Failed => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    (status, axum::Json(condition)).into_response()
}

/// Ready: it does everything it is configured for.
async fn readyz(Shared(Watched { node, .. }): Shared<Watched>) -> Response {
    let condition = node.health.condition();
    let status = match condition.state {
        State::Operational => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, axum::Json(condition)).into_response()
}

/// Looks at the parts and reports how the node is.
pub fn look(node: &Node) {
    let mut reasons = Vec::new();
    let shortage = disk::shortage(&node.config.paths.data);
    node.ledger.take_in(shortage.is_none());
    reasons.extend(shortage);
    if !node.custody.status().accepts_requests() {
        reasons.push(format!(
            "token `{}`: {}; see that it is connected, the node recovers by itself",
            node.config.token.label,
            node.custody.status().name()
        ));
    }
    reasons.extend(node.cluster.as_ref().and_then(|cluster| cluster.reason()));
    if let Some(fault) = node.ledger.followed().and_then(|followed| followed.fault) {
        reasons.push(format!("the record is not followed: {fault}"));
    }
    let ordering = node.ledger.status().ordering;
    if let Some(restored_ms) = ordering.restored_ms {
        reasons.push(format!(
            "restored from a backup at {}: waits for the ledger to move on before it votes again",
            hufu_configuration::time::utc(restored_ms)
        ));
    }
    reasons.extend(governance::said_of_own(node));
    let clock = clock::said(&ordering.clocks());
    reasons.extend(clock.reasons);
    let mut warnings = clock.warnings;
    if let Some(found) = ordering.went_back {
        warnings.push(format!(
            "data directory: it was put back from an older copy; it was at height {} when this \
             node started, and this validator knew height {} before. Nothing final is lost; if \
             nobody did that, see that its vote key is used by no other machine",
            found.started, found.known
        ));
    }
    node.health.warn(warnings);
    let missing = node.missing();
    if !missing.is_empty() {
        let tolerated = ordering.members.len().saturating_sub(1) / 3;
        let consequence = if missing.len() > tolerated {
            "no progress until enough of them return"
        } else {
            "the ledger goes on without them"
        };
        reasons.push(format!("validators missing: {}; {consequence}", missing.join(", ")));
    }
    if let Some(error) = node.supervision.fault() {
        reasons.push(format!("read model: {error}"));
    }
    if let Some(error) = node.growth.fault() {
        reasons.push(format!("retention: {error}"));
    }
    let services = &node.config.services;
    if (services.gateway.is_some() || services.est.is_some())
        && node.certificate.current().is_none()
    {
        reasons.push(
            "no TLS certificate: have tls.csr certified and run `hufu cert install`".to_owned(),
        );
    }
    reasons.extend(renewal::reasons(node));
    let state = match node.custody.status() {
        hufu_keys::Status::PinRefused { .. } => State::Locked,
        _ if reasons.is_empty() => State::Operational,
        _ => State::Degraded,
    };
    node.health.report(state, reasons);
}

/// Consensus has ended by itself: nothing is taken in any more.
pub fn failed(node: &Node) {
    node.ledger.take_in(false);
    let mut reasons = vec![
        "consensus ended by itself; the log says why. What is recorded can be read; mend the cause \
         and start the node again, and it goes on from the last final height"
            .to_owned(),
    ];
    reasons.extend(disk::shortage(&node.config.paths.data));
    node.health.report(State::Failed, reasons);
}

/// Prometheus text (exposition format 0.0.4).
async fn metrics(Shared(watched): Shared<Watched>) -> Response {
    let Watched { node, engine, doors } = watched;
    let ledger = node.ledger.status();
    let applied = node.ledger.committed();
    let counters = node.custody.counters();
    let operational = u64::from(node.health.condition().state == State::Operational);
    let mut text = String::new();
    for (name, kind, help, value) in [
        (
            "hufu_operational",
            "gauge",
            "Whether the node does all it is configured for.",
            operational,
        ),
        ("hufu_ledger_height", "gauge", "Last executed height.", applied.height.get()),
        (
            "hufu_ledger_final_height",
            "gauge",
            "Last height known to be final.",
            node.final_height().get(),
        ),
        ("hufu_ledger_view", "gauge", "Last finalized view.", ledger.ordering.view),
        ("hufu_ledger_transactions_total", "counter", "Transactions in the log.", applied.log_size),
        (
            "hufu_ledger_waiting",
            "gauge",
            "Transactions that wait for a block.",
            ledger.waiting as u64,
        ),
        ("hufu_ledger_waiting_bytes", "gauge", "Bytes of them.", ledger.waiting_bytes as u64),
        (
            "hufu_validators_missing",
            "gauge",
            "Validators that have not voted lately.",
            node.missing().len() as u64,
        ),
        ("hufu_read_model_height", "gauge", "Height of the read model.", node.supervision.height()),
        ("hufu_token_signatures_total", "counter", "Signatures by the token.", counters.signatures),
        (
            "hufu_token_recoveries_total",
            "counter",
            "Times the token was lost and came back.",
            counters.recoveries,
        ),
        (
            "hufu_token_queue_length",
            "gauge",
            "Requests that wait for the token.",
            counters.queue_length as u64,
        ),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    let clocks = ledger.ordering.clocks();
    let _ = write!(
        text,
        "# HELP hufu_clock_ahead_seconds By how much this node's clock is ahead of the median \
         of the members'.\n# TYPE hufu_clock_ahead_seconds gauge\n\
         hufu_clock_ahead_seconds {:.3}\n",
        clocks.own_ahead_ms as f64 / 1000.0
    );
    text += "# HELP hufu_member_clock_ahead_seconds By how much a member's clock is ahead of \
             this node's.\n# TYPE hufu_member_clock_ahead_seconds gauge\n";
    for member in &ledger.ordering.members {
        if let Some(clock) = member.clock {
            let name = &member.member;
            let ahead = clock.ahead_ms as f64 / 1000.0;
            let _ =
                writeln!(text, "hufu_member_clock_ahead_seconds{{member=\"{name}\"}} {ahead:.3}");
        }
    }
    if let Ok(today) = node.ledger.recorded_today() {
        text += "# HELP hufu_member_recorded_bytes Bytes that were recorded of a member today, \
                 UTC.\n# TYPE hufu_member_recorded_bytes gauge\n";
        for (name, bytes) in &today.members {
            let _ = writeln!(text, "hufu_member_recorded_bytes{{member=\"{name}\"}} {bytes}");
        }
        let _ = write!(
            text,
            "# HELP hufu_member_budget_bytes Bytes that may be recorded of a member in a day.\n\
             # TYPE hufu_member_budget_bytes gauge\nhufu_member_budget_bytes {}\n",
            today.budget.member_bytes
        );
    }
    text += &doors.text();
    text += "# HELP hufu_certificate_seconds_left How long a certificate that the node stands on is good.\n\
             # TYPE hufu_certificate_seconds_left gauge\n";
    let now = hufu_issuance::UnixTime::from(hufu_configuration::time::now_ms());
    for one in renewal::standing(&node) {
        let (name, left) = (one.name, one.left(now).as_secs());
        let _ = writeln!(text, "hufu_certificate_seconds_left{{certificate=\"{name}\"}} {left}");
    }
    text += &engine();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
