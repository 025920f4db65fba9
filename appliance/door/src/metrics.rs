//! What the doors count, for Prometheus.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A door.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DoorLabels {
    /// Its name.
    pub door: &'static str,
}

/// How a request at a door ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AnswerLabels {
    /// The door's name.
    pub door: &'static str,
    /// The HTTP status.
    pub status: u16,
}

/// Why a door ended a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndLabels {
    /// The door's name.
    pub door: &'static str,
    /// `handshake`, `silent`, `idle`, `stalled` or `evicted`.
    pub why: &'static str,
}

/// Counters of all doors of a process. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    pub(crate) connections: Family<DoorLabels, Gauge>,
    pub(crate) working: Family<DoorLabels, Gauge>,
    pub(crate) answers: Family<AnswerLabels, Counter>,
    pub(crate) ended: Family<EndLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let (connections, working) = (Family::default(), Family::default());
        let (answers, ended) = (Family::default(), Family::default());
        let doors = registry.sub_registry_with_prefix("hufu_door");
        doors.register("connections", "Open connections", Family::clone(&connections));
        doors.register("requests_in_work", "Requests not answered yet", Family::clone(&working));
        doors.register("requests", "Requests by status", Family::clone(&answers));
        doors.register("connections_ended", "Connections the door ended", Family::clone(&ended));
        Self { registry: Arc::new(Mutex::new(registry)), connections, working, answers, ended }
    }
}

impl Metrics {
    /// Lets others register their own counters beside these.
    pub fn register(&self, more: impl FnOnce(&mut Registry)) {
        more(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All of them in the text form (OpenMetrics 1.0, without its last line, so
    /// that others may be written behind).
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail.
        let _ = text::encode_registry(&mut text, &registry);
        text
    }
}

/// One more in a gauge, as long as this lives.
pub(crate) struct Counting(Gauge);

impl Counting {
    pub(crate) fn new(gauges: &Family<DoorLabels, Gauge>, door: &'static str) -> Self {
        let gauge = gauges.get_or_create_owned(&DoorLabels { door });
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.0.dec();
    }
}
