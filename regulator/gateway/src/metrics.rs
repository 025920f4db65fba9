//! Counters that the appliance exports.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What a request was, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route, as OpenAPI writes it; `other` for what is none.
    pub route: String,
    /// The HTTP status.
    pub status: u16,
}

/// Counters of the gateway. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Requests by route and status.
    pub requests: Family<RequestLabels, Counter>,
    /// Looks of regulators that were recorded on the ledger.
    pub looks: Counter,
    /// Reports given out.
    pub reports: Counter,
    /// Findings in them.
    pub findings: Counter,
}

impl Metrics {
    /// Registers all of them under `hufu_gateway`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("hufu_gateway");
        registry.register("requests", "Requests by route and status", self.requests.clone());
        registry.register("looks", "Looks recorded on the ledger", self.looks.clone());
        registry.register("reports", "Reports given out", self.reports.clone());
        registry.register("findings", "Findings in reports given out", self.findings.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_exported_by_name() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        metrics.looks.inc();
        let labels = RequestLabels { route: "/v1/status".into(), status: 200 };
        metrics.requests.get_or_create(&labels).inc();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("hufu_gateway_looks_total 1"));
        assert!(
            text.contains("hufu_gateway_requests_total{route=\"/v1/status\",status=\"200\"} 1")
        );
    }
}
