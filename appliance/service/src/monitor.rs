//! The node looks at itself; metrics and health for others.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::disk;
use crate::health::State;
use crate::node::Node;
use crate::renewal;

type EngineMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// `/metrics`, `/healthz`, `/readyz`.
pub fn router(node: Arc<Node>, engine: EngineMetrics) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state((node, engine))
}

/// Alive: the process answers and has not failed.
async fn healthz(Shared((node, _)): Shared<(Arc<Node>, EngineMetrics)>) -> Response {
    let condition = node.health.condition();
    let status = match condition.state {
        State::Failed => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    (status, axum::Json(condition)).into_response()
}

/// Ready: it does everything it is configured for.
async fn readyz(Shared((node, _)): Shared<(Arc<Node>, EngineMetrics)>) -> Response {
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
    let ordering = node.ledger.status().ordering;
    if let Some(restored_ms) = ordering.restored_ms {
        reasons.push(format!(
            "restored from a backup at {}: waits for the ledger to move on before it votes again",
            hufu_configuration::time::utc(restored_ms)
        ));
    }
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
async fn metrics(Shared((node, engine)): Shared<(Arc<Node>, EngineMetrics)>) -> Response {
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
        ("hufu_ledger_height", "gauge", "Last executed height.", applied.height),
        (
            "hufu_ledger_final_height",
            "gauge",
            "Last height known to be final.",
            ledger.ordering.final_height,
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
    text += "# HELP hufu_certificate_seconds_left How long a certificate that the node stands on is good.\n\
             # TYPE hufu_certificate_seconds_left gauge\n";
    let now = hufu_issuance::UnixTime::from_seconds(hufu_configuration::time::now_ms() / 1000);
    for one in renewal::standing(&node) {
        let (name, left) = (one.name, one.left(now).as_secs());
        let _ = writeln!(text, "hufu_certificate_seconds_left{{certificate=\"{name}\"}} {left}");
    }
    text += &engine();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
