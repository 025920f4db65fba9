//! The counter against a software TPM.

mod common;

use common::World;
use hufu_tpm::device::Counter;

#[test]
fn it_goes_up_and_survives_everything() {
    let World { tpm, directory: _directory, .. } = World::new();
    assert!(Counter::find(&tpm.tcti()).unwrap().is_none());
    let mut counter = Counter::open(&tpm.tcti()).unwrap();
    let first = counter.value().unwrap();
    counter.increment().unwrap();
    counter.increment().unwrap();
    assert_eq!(counter.value().unwrap(), first + 2);
    drop(counter);

    let tpm = tpm.restart().unwrap();
    let mut counter = Counter::open(&tpm.tcti()).unwrap();
    assert_eq!(counter.value().unwrap(), first + 2);

    // Whoever takes it away does not turn it back.
    counter.remove().unwrap();
    assert!(Counter::find(&tpm.tcti()).unwrap().is_none());
    let again = Counter::open(&tpm.tcti()).unwrap().value().unwrap();
    assert!(again > first + 2, "{again}");
}
