//! What a store on FoundationDB is after its process died, or another took it
//! over; on a real cluster if there is one.

mod bed;
mod crash;

use std::path::PathBuf;

use bed::Bed;
use crash::{Place, check, go_on, lines, spawn};
use hufu_store::foundationdb::Options;
use hufu_store::{FoundationStore, Store};

const CLUSTER: &str = "HUFU_STORE_FAULT_CLUSTER";
const LIBRARY: &str = "HUFU_STORE_FAULT_LIBRARY";
const PREFIX: &str = "HUFU_STORE_FAULT_PREFIX";

/// A store, with the cluster where that is a double.
struct Placed {
    options: Options,
    _bed: Bed,
}

impl Placed {
    fn new() -> Self {
        let bed = Bed::any();
        Self { options: bed.options(), _bed: bed }
    }
}

impl Place for Placed {
    fn open(&self) -> Box<dyn Store> {
        Box::new(FoundationStore::open(&self.options).unwrap())
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            (CLUSTER, self.options.cluster_file.to_str().unwrap().to_owned()),
            (LIBRARY, self.options.library.to_str().unwrap().to_owned()),
            (PREFIX, self.options.prefix.clone()),
        ]
    }
}

/// Not a test of its own: what the other tests' child processes do.
#[test]
fn child() {
    let Some(cluster) = std::env::var_os(CLUSTER) else { return };
    let options = Options {
        library: PathBuf::from(std::env::var_os(LIBRARY).unwrap()),
        ..Options::new(cluster, std::env::var(PREFIX).unwrap())
    };
    let store = FoundationStore::open(&options).unwrap();
    crash::perform(&std::env::var(crash::TASK).unwrap(), &store);
}

#[test]
fn killed_between_stage_and_flip() {
    crash::killed_between_stage_and_flip(&Placed::new());
}

#[test]
fn killed_at_any_point_of_a_run() {
    crash::killed_at_any_point_of_a_run(|| Box::new(Placed::new()));
}

#[test]
fn a_process_whose_store_was_taken_over_stops_and_says_so() {
    let place = Placed::new();
    let mut child = spawn(&place, "run", None);
    let mut said = lines(&mut child);
    assert_eq!(said.next().as_deref(), Some("flipped 0"));
    let store = place.open();
    let height = store.applied().unwrap().unwrap().height;
    check(&*store, height);
    go_on(&*store, height + 1);
    // The child ends by itself, at the first write after that.
    let said: Vec<String> = said.collect();
    assert!(child.wait().unwrap().success(), "{said:?}");
    let (last, flips) = said.split_last().unwrap();
    assert!(last.contains("epoch 1, and epoch 2 has taken over"), "{last}");
    assert!(flips.len() as u64 <= height, "it flipped nothing after that: {said:?}");
    check(&*store, height + 1);
}
