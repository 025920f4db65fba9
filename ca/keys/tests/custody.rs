//! Custody on a healthy SoftHSM2 token.

use std::{collections::HashSet, path::Path, process::Command, thread};

use hufu_keys::{
    Custody, Error, KeyAlgorithm, SOFTHSM2_MODULE, Status, TokenConfig, initialise_token,
    testing::{SO_PIN, Site, USER_PIN, isolated, pin},
};

fn open(site: &Site, label: &str) -> Custody {
    site.create_token(label);
    Custody::open(site.config(label), site.pin()).unwrap()
}

#[test]
fn a_key_is_made_found_and_signs() {
    isolated(|site| {
        let custody = open(site, "member-a");
        for algorithm in KeyAlgorithm::ALL {
            let made = custody.generate(algorithm.name(), algorithm).unwrap();
            assert_eq!(made.algorithm(), algorithm);
            assert_eq!(made.public_key().len(), algorithm.public_key_len());
            let description = made.description();
            assert_eq!(description.weakness(), None, "{description:?}");
            let signature = made.sign(b"message").unwrap();
            assert_eq!(signature.len(), algorithm.signature_len());
            assert!(made.verify(b"message", &signature));
            assert!(!made.verify(b"massage", &signature));
        }
        custody.close();
        assert_eq!(custody.status(), Status::Closed);
        assert!(matches!(custody.key("other"), Err(Error::Closed)));
        let known = custody.key("p256").unwrap();
        assert!(matches!(known.sign(b"x"), Err(Error::Closed)));

        // Another opening of the token finds them again, with the same bytes.
        let again = Custody::open(site.config("member-a"), site.pin()).unwrap();
        for algorithm in KeyAlgorithm::ALL {
            let key = again.key(algorithm.name()).unwrap();
            assert!(key.verify(b"x", &key.sign(b"x").unwrap()));
        }
        assert_eq!(again.status(), Status::Ready);
        assert_eq!(again.counters().signatures, 3);
    });
}
