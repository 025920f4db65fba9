//! The store, its old versions and its faults.

use super::*;

fn row(number: u8) -> Issued {
    Issued {
        serial: Serial::from_bytes(&[number; 17]).unwrap(),
        request: [number; 32],
        key: [7; 32],
        profile: "idevid".to_owned(),
        owner: "maker".to_owned(),
        subject: format!("serialNumber={number}"),
        not_after: UnixTime::NEVER,
        attestation: (number == 2).then_some([9; 32]),
        created: UnixTime::from_seconds(1000 + u64::from(number)),
        tbs: vec![0x30, 0],
        recorded: None,
        certificate: None,
    }
}

#[test]
fn a_copy_of_an_open_store_goes_on_where_nobody_was() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("ca.sqlite"), directory.path().join("copy"));
    let store = Store::open(&path).unwrap();
    store.insert_pending(&[row(1)]).unwrap();
    assert_eq!(store.next(crate::crl::COUNTER).unwrap(), 1);
    Store::back_up(&path, &copy).unwrap();
    // What comes later is not in it.
    store.insert_pending(&[row(2)]).unwrap();
    let names = std::fs::read_dir(directory.path()).unwrap();
    let beside = names
        .filter(|one| one.as_ref().unwrap().file_name().to_string_lossy().starts_with("copy-"));
    assert_eq!(beside.count(), 0);
    let restored = Store::open(&copy).unwrap();
    assert_eq!(restored.pending(10).unwrap(), [row(1)]);
    assert!(restored.next(crate::crl::COUNTER).unwrap() > 1 << 32);
    assert!(Store::back_up(&path, &copy).is_err(), "nothing is overwritten");
    assert!(Store::back_up(&directory.path().join("none"), &path).is_err());
}

#[test]
fn rows_go_from_pending_to_issued_and_survive_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.sqlite");
    let store = Store::open(&path).unwrap();
    store.insert_pending(&[row(1), row(2), row(3)]).unwrap();
    assert_eq!(store.pending(10).unwrap(), [row(1), row(2), row(3)]);
    store.forget(&[row(3).serial]).unwrap();
    store
        .complete(&[Completion {
            serial: row(1).serial,
            height: 5,
            transaction: [4; 32],
            algorithm: SignatureAlgorithm::EcdsaSha256,
            signature: vec![1, 2, 3],
        }])
        .unwrap();
    assert_eq!(store.next("crl").unwrap(), 1);
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.pending(10).unwrap(), [row(2)]);
    assert_eq!(store.counts().unwrap(), (1, 1));
    let done = store.by_request(&[1; 32]).unwrap().unwrap();
    assert_eq!(done.recorded, Some((5, [4; 32])));
    assert!(done.certificate.is_some());
    assert_eq!(store.by_key(&[7; 32]).unwrap().len(), 2);
    assert_eq!(store.page(0, 10).unwrap().len(), 1);
    assert_eq!(store.next("crl").unwrap(), 2);
    let usage = store.usage(UnixTime::from_seconds(1002)).unwrap();
    assert_eq!((usage[0].total, usage[0].since), (2, 1));
    // What was signed is not forgotten.
    store.forget(&[row(1).serial]).unwrap();
    assert!(store.by_serial(&row(1).serial).unwrap().is_some());
}

#[test]
fn a_store_of_version_1_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.sqlite");
    let old =
        TABLES.replace(",\n    device  TEXT", "").replace("user_version = 2", "user_version = 1");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(&old).unwrap();
    let digest = [5u8; 32];
    connection
        .execute(
            "INSERT INTO token (digest, member, profile, keys, expires) \
             VALUES (?1, 'maker', 'idevid', 1, 99)",
            [digest.as_slice()],
        )
        .unwrap();
    drop(connection);
    for _ in 0..2 {
        let store = Store::open(&path).unwrap();
        let token = store.token(&digest).unwrap().unwrap();
        assert_eq!((token.member.as_str(), token.device), ("maker", None));
    }
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 3).unwrap();
    assert!(matches!(Store::open(&path), Err(CaError::Internal(_))));
}

#[test]
fn a_serial_stands_once_and_a_failed_write_poisons() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("ca.sqlite")).unwrap();
    store.insert_pending(&[row(1)]).unwrap();
    assert!(matches!(store.insert_pending(&[row(2), row(1)]), Err(CaError::Store(_))));
    assert!(store.is_poisoned());
    assert!(matches!(store.insert_pending(&[row(3)]), Err(CaError::StorePoisoned)));
    assert!(store.by_serial(&row(2).serial).unwrap().is_none());
    assert!(store.by_serial(&row(1).serial).unwrap().is_some());
}

#[test]
fn a_newer_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.sqlite");
    drop(Store::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    assert!(Store::open(&path).is_err());
}
