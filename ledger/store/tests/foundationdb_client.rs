//! FoundationDB's client library is opened when a store asks for it: what is
//! said where it is missing, and that TLS is asked of it. One test, because a
//! process opens it once.

mod bed;

use std::error::Error as _;

use bed::Bed;
use hufu_store::foundationdb::{Options, Tls};
use hufu_store::{FoundationStore, StoreError};

#[test]
fn the_client_library_is_asked_for_by_the_store_and_named_where_it_is_missing() {
    let bed = Bed::double();
    let good = bed.options();
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("libfdb_c.so");
    std::fs::write(&text, "no library").unwrap();
    // No file, no library, and a library with other functions.
    for library in ["/nowhere/libfdb_c.so".into(), text, "libm.so.6".into()] {
        let options = Options { library, ..good.clone() };
        let error = FoundationStore::open(&options).err().unwrap();
        assert!(matches!(error, StoreError::ClientLibrary { .. }), "{error}");
        assert!(error.source().is_some());
        let said = error.to_string();
        for part in ["`foundationdb-clients`", "7.3.x", options.library.to_str().unwrap()] {
            assert!(said.contains(part), "{said}");
        }
    }

    let file = |name: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, name).unwrap();
        path
    };
    let tls = Tls {
        certificate: file("certificate.pem"),
        key: file("key.pem"),
        authorities: file("authorities.pem"),
        verify: Some("Check.Valid=1".into()),
    };
    // The same cluster, whose coordinators ask for TLS.
    let in_clear = std::fs::read_to_string(&good.cluster_file).unwrap();
    let by_tls = directory.path().join("tls.cluster");
    std::fs::write(&by_tls, format!("# by TLS\n\n{}:tls\n", in_clear.trim())).unwrap();
    let missing = Tls { key: directory.path().join("missing.pem"), ..tls.clone() };
    let options =
        |tls: Tls| Options { tls: Some(tls), cluster_file: by_tls.clone(), ..good.clone() };
    let error = FoundationStore::open(&options(missing.clone())).err().unwrap();
    assert!(matches!(error, StoreError::File { path, .. } if path == missing.key));

    // Files for TLS, and coordinators that would be spoken to in clear; and
    // coordinators that ask for TLS, and no files.
    let clear = Options { cluster_file: good.cluster_file.clone(), ..options(tls.clone()) };
    let error = FoundationStore::open(&clear).err().unwrap();
    assert!(matches!(error, StoreError::Tls { tls: true, .. }), "{error}");
    assert!(error.to_string().contains("in clear"), "{error}");
    let none = Options { tls: None, ..options(tls.clone()) };
    let error = FoundationStore::open(&none).err().unwrap();
    assert!(matches!(error, StoreError::Tls { tls: false, .. }), "{error}");

    let store = FoundationStore::open(&options(tls.clone())).unwrap();
    assert!(store.client_version().contains("double"));
    let mut asked = bed.cluster().options();
    asked.sort();
    let bytes = |path: &std::path::Path| path.to_str().unwrap().as_bytes().to_vec();
    // TLS_cert_path, TLS_key_path, TLS_verify_peers, TLS_ca_path.
    let expected = vec![
        (43, bytes(&tls.certificate)),
        (46, bytes(&tls.key)),
        (47, b"Check.Valid=1".to_vec()),
        (53, bytes(&tls.authorities)),
    ];
    assert_eq!(asked, expected);

    // The same again is accepted, also for another store; others are not.
    FoundationStore::open(&Options { prefix: "other".into(), ..options(tls.clone()) }).unwrap();
    for other in [good.clone(), options(Tls { verify: None, ..tls })] {
        let error = FoundationStore::open(&other).err().unwrap();
        assert!(matches!(error, StoreError::ClientInUse), "{error}");
    }
}
