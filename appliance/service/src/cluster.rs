//! How a member's FoundationDB cluster is, as its client sees it: asked for a
//! value every few seconds, by everybody who has the record open.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use hufu_store::FoundationStore;
use serde_json::{Value, json};

/// How often the cluster is asked.
const ASK: Duration = Duration::from_secs(5);

/// An answer that takes longer than this is said to be slow. A transaction of a
/// block waits for several, one after the other.
const SLOW: Duration = Duration::from_millis(100);

/// Without an answer for so long, the node says that something is wrong.
const SILENCE: Duration = Duration::from_secs(10);

/// What is known of the cluster.
pub struct Cluster {
    client: String,
    deadline: Duration,
    seen: Mutex<Seen>,
}

/// What was seen of it.
#[derive(Clone)]
struct Seen {
    /// When it last answered, and how long that took.
    answered: Instant,
    took: Duration,
    /// What it said since, where it did not answer as it must.
    fault: Option<String>,
}

impl Cluster {
    /// Watches the cluster of a store on a thread of its own, for as long as the
    /// store is open.
    ///
    /// # Errors
    /// When the thread does not start.
    pub fn watch(store: &Arc<FoundationStore>, deadline: Duration) -> std::io::Result<Arc<Self>> {
        // It has just been opened.
        let seen = Seen { answered: Instant::now(), took: Duration::ZERO, fault: None };
        let client = store.client_version().split(',').next().unwrap_or_default().to_owned();
        let cluster = Arc::new(Self { client, deadline, seen: Mutex::new(seen) });
        let (watched, store) = (Arc::downgrade(&cluster), Arc::downgrade(store));
        std::thread::Builder::new()
            .name("cluster".to_owned())
            .spawn(move || ask(&watched, &store))?;
        Ok(cluster)
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What `hufu status` shows of it.
    pub fn shown(&self) -> Value {
        let seen = self.seen();
        json!({
            "engine": "foundationdb",
            "health": said(&seen),
            "milliseconds": (seen.took.as_secs_f64() * 10_000.0).round() / 10.0,
            "seconds_since_answer": seen.answered.elapsed().as_secs(),
            "fault": seen.fault,
            "deadline_seconds": self.deadline.as_secs(),
            "client": self.client,
        })
    }

    /// What is wrong with it, for the node's reasons.
    pub fn reason(&self) -> Option<String> {
        let seen = self.seen();
        let silent = seen.answered.elapsed() > SILENCE;
        silent.then(|| {
            format!(
                "FoundationDB: {}; look at the cluster (`fdbcli --exec status`), the node goes on by \
                 itself when it answers",
                said(&seen)
            )
        })
    }
}

/// How the cluster is, in words.
fn said(seen: &Seen) -> String {
    let took = seen.took.as_secs_f64() * 1_000.0;
    let silent = seen.answered.elapsed();
    match &seen.fault {
        Some(fault) => format!("no answer for {} s: {fault}", silent.as_secs()),
        None if silent > SILENCE => format!("no answer for {} s", silent.as_secs()),
        None if seen.took > SLOW => format!("answers slowly, in {took:.0} ms"),
        None => format!("answers in {took:.1} ms"),
    }
}

fn ask(cluster: &Weak<Cluster>, store: &Weak<FoundationStore>) {
    while let (Some(cluster), Some(store)) = (cluster.upgrade(), store.upgrade()) {
        let began = Instant::now();
        let answer = store.epoch_now();
        // Nobody is kept from closing it by who only looks.
        drop(store);
        let mut seen = cluster.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(_) => {
                *seen = Seen { answered: Instant::now(), took: began.elapsed(), fault: None };
            }
            Err(error) => seen.fault = Some(error.to_string()),
        }
        drop(seen);
        drop(cluster);
        std::thread::sleep(ASK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_said_to_answer_to_be_slow_or_to_be_silent() {
        let long_ago = Instant::now().checked_sub(Duration::from_secs(40)).unwrap();
        let seen = |answered, took, fault: Option<&str>| {
            let took = Duration::from_micros(took);
            said(&Seen { answered, took, fault: fault.map(str::to_owned) })
        };
        let now = Instant::now();
        assert_eq!(seen(now, 1_340, None), "answers in 1.3 ms");
        assert_eq!(seen(now, 250_000, None), "answers slowly, in 250 ms");
        assert_eq!(seen(long_ago, 1_340, None), "no answer for 40 s");
        assert_eq!(seen(long_ago, 1_340, Some("gone")), "no answer for 40 s: gone");
    }
}
