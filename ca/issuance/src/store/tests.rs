//! The store, its old versions and its faults.

use super::*;

const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

/// The number of a list that is made then, where there was none.
const FIRST_LIST: u64 = 1_800_000_000_000_000;

fn row(number: u8) -> Issued {
    Issued {
        serial: Serial::from_bytes(&[number; 17]).unwrap(),
        request: [number; 32],
        key: [7; 32],
        profile: "idevid".to_owned(),
        owner: "maker".to_owned(),
        subject: format!("serialNumber={number}"),
        device: Some(number.to_string()),
        enrolment_token: None,
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
    assert_eq!(store.next_revocation_list(NOW).unwrap(), (FIRST_LIST, None));
    Store::back_up(&path, &copy).unwrap();
    // What comes later is not in it.
    store.insert_pending(&[row(2)]).unwrap();
    let names = std::fs::read_dir(directory.path()).unwrap();
    let beside = names
        .filter(|one| one.as_ref().unwrap().file_name().to_string_lossy().starts_with("copy-"));
    assert_eq!(beside.count(), 0);
    let restored = Store::open(&copy).unwrap();
    assert_eq!(restored.pending(10).unwrap(), [row(1)]);
    let (number, before) = restored.next_revocation_list(NOW).unwrap();
    assert!(number > FIRST_LIST + (1 << 32));
    assert_eq!(before, Some(NOW));
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
    assert_eq!(store.next_revocation_list(NOW).unwrap(), (FIRST_LIST, None));
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.pending(10).unwrap(), [row(2)]);
    assert_eq!(store.counts().unwrap(), (1, 1));
    let done = store.by_request(&[1; 32]).unwrap().unwrap();
    assert_eq!(done.recorded, Some((5, [4; 32])));
    assert!(done.certificate.is_some());
    assert_eq!(store.by_key(&[7; 32]).unwrap().len(), 2);
    assert_eq!(store.page(0, 10).unwrap().len(), 1);
    assert_eq!(store.next_revocation_list(NOW).unwrap(), (FIRST_LIST + 1, Some(NOW)));
    let later = UnixTime::from_seconds(NOW.seconds() + 60);
    let number = FIRST_LIST + 60_000_000;
    assert_eq!(store.next_revocation_list(later).unwrap(), (number, Some(NOW)));
    assert_eq!(store.by_device("1").unwrap().len(), 1);
    let usage = store.usage(UnixTime::from_seconds(1002)).unwrap();
    assert_eq!((usage[0].total, usage[0].since), (2, 1));
    // What was signed is not forgotten.
    store.forget(&[row(1).serial]).unwrap();
    assert!(store.by_serial(&row(1).serial).unwrap().is_some());
}

/// The tables of version 1, before tokens for one device and rows that name
/// their device and token.
fn version_1() -> String {
    schema::TABLES
        .replace(",\n    device  TEXT\n", "\n")
        .replace(",\n    device      TEXT,\n    token       BLOB", "")
        .replace(
            "CREATE INDEX issuance_by_device ON issuance (device) WHERE device IS NOT NULL;\n",
            "",
        )
        .replace("user_version = 3", "user_version = 1")
}

#[test]
fn a_store_of_version_1_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.sqlite");
    let connection = Connection::open(&path).unwrap();
    let old = version_1();
    assert!(!old.contains("issuance_by_device") && !old.contains("token       BLOB"), "{old}");
    connection.execute_batch(&old).unwrap();
    let digest = [5u8; 32];
    connection
        .execute(
            "INSERT INTO token (digest, member, profile, keys, expires) \
             VALUES (?1, 'maker', 'idevid', 1, 99)",
            [digest.as_slice()],
        )
        .unwrap();
    connection
        .execute(
            "INSERT INTO issuance (serial, request, key, profile, owner, subject, not_after, \
             created, tbs) VALUES (x'41', x'00', x'01', 'idevid', 'maker', 'CN=a', 1, 1, x'3000')",
            [],
        )
        .unwrap();
    drop(connection);
    for _ in 0..2 {
        let store = Store::open(&path).unwrap();
        let token = store.token(&digest).unwrap().unwrap();
        assert_eq!((token.member.as_str(), token.device), ("maker", None));
        assert_eq!(store.counts().unwrap().1, 1);
    }
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 4).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Newer)));
}

#[test]
fn what_a_token_spent_is_free_again_when_its_row_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("ca.sqlite")).unwrap();
    let token = Token {
        digest: [6; 32],
        member: "maker".to_owned(),
        profile: "idevid".to_owned(),
        keys: 1,
        expires: UnixTime::NEVER,
        device: None,
    };
    store.add_token(&token).unwrap();
    let spent = Issued { enrolment_token: Some(token.digest), ..row(1) };
    store.insert_pending(std::slice::from_ref(&spent)).unwrap();
    assert_eq!(store.token_keys(&token.digest).unwrap(), 1);
    assert!(store.token_has(&token.digest, &spent.key).unwrap());
    store.forget(std::slice::from_ref(&spent.serial)).unwrap();
    assert_eq!(store.token_keys(&token.digest).unwrap(), 0);
    // Where another row of the same key stands, it stays spent.
    let again = Issued { serial: row(2).serial, request: [2; 32], ..spent.clone() };
    store.insert_pending(&[spent.clone(), again]).unwrap();
    store.forget(std::slice::from_ref(&spent.serial)).unwrap();
    assert_eq!(store.token_keys(&token.digest).unwrap(), 1);
}

#[test]
fn a_serial_stands_once_and_a_failed_write_poisons() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("ca.sqlite")).unwrap();
    store.insert_pending(&[row(1)]).unwrap();
    assert!(matches!(store.insert_pending(&[row(2), row(1)]), Err(StoreError::Failed(_))));
    assert!(store.is_poisoned());
    assert!(matches!(store.insert_pending(&[row(3)]), Err(StoreError::Poisoned)));
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
