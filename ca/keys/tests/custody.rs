//! Custody on a healthy SoftHSM2 token.

use std::{collections::HashSet, fs, path::Path, process::Command, sync::Mutex, thread};

use hufu_keys::{
    Custody, Error, KeyAlgorithm, Pin, SOFTHSM2_MODULE, Status, TokenConfig, destroy_keys,
    initialise_token,
    testing::{Meter, SO_PIN, Site, USER_PIN, isolated, pin},
};

fn open(site: &Site, label: &str) -> Custody {
    site.create_token(label);
    Custody::open(site.config(label), site.pin()).unwrap()
}

/// Runs a tool that must succeed, in the site's directory.
fn run(site: &Site, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(site.directory())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn pkcs11_tool(site: &Site, token: &str, arguments: &[&str]) -> String {
    let login = ["--module", SOFTHSM2_MODULE, "--token-label", token, "--login", "--pin", USER_PIN];
    run(site, "pkcs11-tool", &[&login, arguments].concat())
}

#[test]
fn destroyed_keys_are_gone_and_others_stay() {
    isolated(|site| {
        let custody = open(site, "member-a");
        for label in ["vote", "tls", "another's"] {
            custody.generate(label, KeyAlgorithm::P256).unwrap();
        }
        custody.close();
        drop(custody);
        let module = Path::new(SOFTHSM2_MODULE);
        let destroy =
            |pin: Pin| destroy_keys(module, "member-a", &pin, &["vote", "tls", "root-ca"]);
        assert!(matches!(destroy(pin("wrong-pin")), Err(Error::WrongPin { .. })));
        assert_eq!(destroy(site.pin()).unwrap(), ["vote", "tls"]);
        assert_eq!(destroy(site.pin()).unwrap(), Vec::<String>::new());
        let listed = pkcs11_tool(site, "member-a", &["-O"]);
        assert!(listed.contains("another's"), "{listed}");
        assert!(!listed.contains("vote") && !listed.contains("tls"), "{listed}");
        let gone = destroy_keys(module, "member-b", &site.pin(), &["vote"]);
        assert!(matches!(gone, Err(Error::NoSuchToken { .. })));
    });
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
        let public: Vec<_> = KeyAlgorithm::ALL
            .map(|algorithm| custody.key(algorithm.name()).unwrap().public_key().to_vec())
            .into();
        custody.close();
        assert_eq!(custody.status(), Status::Closed);
        assert!(matches!(custody.key("other"), Err(Error::Closed)));
        let known = custody.key("p256").unwrap();
        assert!(matches!(known.sign(b"x"), Err(Error::Closed)));

        // Another opening of the token finds them again.
        let again = Custody::open(site.config("member-a"), site.pin()).unwrap();
        for (algorithm, public) in KeyAlgorithm::ALL.into_iter().zip(public) {
            let key = again.key(algorithm.name()).unwrap();
            assert_eq!(key.public_key(), public);
            assert!(key.verify(b"x", &key.sign(b"x").unwrap()));
        }
        assert_eq!(again.status(), Status::Ready);
        assert_eq!(again.counters().signatures, 3);
        assert_eq!(again.counters().logins, 1);
        assert!(matches!(
            again.key("nobody"),
            Err(Error::NoSuchKey { label, .. }) if label == "nobody"
        ));
    });
}

#[test]
fn openssl_agrees_about_keys_and_signatures() {
    isolated(|site| {
        let custody = open(site, "member-a");
        fs::write(site.directory().join("message"), b"to be signed").unwrap();
        for algorithm in KeyAlgorithm::ALL {
            let key = custody.generate(algorithm.name(), algorithm).unwrap();
            fs::write(site.directory().join("key.der"), key.spki_der()).unwrap();
            // Many, because DER lengths vary with the leading bytes.
            for _ in 0..20 {
                let signature = key.sign_der(b"to be signed").unwrap();
                fs::write(site.directory().join("signature"), signature).unwrap();
                let common = ["-sigfile", "signature", "-inkey", "key.der"];
                let mut arguments = vec!["pkeyutl", "-verify", "-rawin", "-in", "message"];
                arguments.extend(["-pubin", "-keyform", "DER"]);
                arguments.extend(common);
                match algorithm {
                    KeyAlgorithm::P256 => arguments.extend(["-digest", "sha256"]),
                    KeyAlgorithm::P384 => arguments.extend(["-digest", "sha384"]),
                    _ => {}
                }
                run(site, "openssl", &arguments);
            }
        }
    });
}

#[test]
fn an_existing_label_is_refused_also_in_a_race() {
    isolated(|site| {
        let custody = open(site, "member-a");
        let outcomes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| custody.generate("vote", KeyAlgorithm::P256)))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(made, 1, "{outcomes:?}");
        for outcome in outcomes {
            assert!(matches!(outcome, Ok(_) | Err(Error::KeyExists(_))));
        }
        let first = custody.key("vote").unwrap();
        assert!(matches!(
            custody.generate("vote", KeyAlgorithm::Ed25519),
            Err(Error::KeyExists(label)) if label == "vote"
        ));
        assert!(first.verify(b"x", &first.sign(b"x").unwrap()));
        for label in ["", "a\nb", &"x".repeat(129)] {
            assert!(matches!(
                custody.generate(label, KeyAlgorithm::P256),
                Err(Error::Config { .. })
            ));
        }
    });
}

#[test]
fn a_token_is_never_made_twice() {
    isolated(|site| {
        let description = site.create_token("member-a");
        assert_eq!(description.label, "member-a");
        assert!(!description.serial.is_empty());
        let module = Path::new(SOFTHSM2_MODULE);
        let again = initialise_token(module, "member-a", &pin(SO_PIN), &pin("other-pin"));
        assert!(matches!(again, Err(Error::TokenExists(_))), "{again:?}");
        // The first one is as it was.
        Custody::open(site.config("member-a"), site.pin()).unwrap();

        assert!(matches!(
            Custody::open(site.config("member-b"), site.pin()),
            Err(Error::NoSuchToken { .. })
        ));
        for module in ["/nonexistent.so", "/etc/passwd", "/usr/lib"] {
            let error =
                Custody::open(TokenConfig::new(module, "member-a"), site.pin()).unwrap_err();
            assert!(matches!(error, Error::Module { .. }), "{error:?}");
        }
    });
}

#[test]
fn one_initialisation_for_all_tokens_of_a_module() {
    isolated(|site| {
        let faults = site.faults();
        // The same library by another name must not be initialised again.
        let alias = site.directory().join("alias.so");
        std::os::unix::fs::symlink(faults.module(), &alias).unwrap();
        for label in ["member-a", "member-b"] {
            initialise_token(faults.module(), label, &pin(SO_PIN), &pin(USER_PIN)).unwrap();
        }
        // SoftHSM2 does not make keys of two tokens at the same time.
        let making = Mutex::new(());
        for _ in 0..3 {
            thread::scope(|scope| {
                let making = &making;
                for (label, module) in [
                    ("member-a", faults.module()),
                    ("member-b", &alias),
                    ("member-a", &alias),
                    ("member-b", faults.module()),
                ] {
                    scope.spawn(move || {
                        let config = TokenConfig::new(module, label);
                        let custody = Custody::open(config, pin(USER_PIN)).unwrap();
                        let name = format!("{:?}", thread::current().id());
                        let made = {
                            let _one = making.lock().unwrap();
                            custody.generate(&name, KeyAlgorithm::P256)
                        };
                        let key = made.unwrap();
                        assert!(key.verify(b"x", &key.sign(b"x").unwrap()));
                    });
                }
            });
        }
        assert_eq!(faults.read(Meter::DoubleInitialisations), 0);
        assert_eq!(faults.read(Meter::Initialisations), faults.read(Meter::Finalisations));
        assert_eq!(faults.read(Meter::Sessions), 0);
    });
}

#[test]
fn another_custody_of_the_token_stays_logged_in() {
    isolated(|site| {
        let first = open(site, "member-a");
        let key = first.generate("vote", KeyAlgorithm::P256).unwrap();
        for _ in 0..3 {
            let second = Custody::open(site.config("member-a"), site.pin()).unwrap();
            second.key("vote").unwrap().sign(b"x").unwrap();
            second.close();
        }
        key.sign(b"x").unwrap();
        assert_eq!(first.counters().recoveries, 0);
        // Its PIN cannot be asked of the token, but it is not the right one.
        assert!(matches!(
            Custody::open(site.config("member-a"), pin("wrong")),
            Err(Error::WrongPin { .. })
        ));
    });
}

#[test]
fn many_threads_share_few_sessions_and_no_look_ups() {
    isolated(|site| {
        let faults = site.faults();
        site.create_token("member-a");
        let config = TokenConfig { workers: 3, ..TokenConfig::new(faults.module(), "member-a") };
        let custody = Custody::open(config, site.pin()).unwrap();
        let keys = ["vote", "tls", "report"]
            .map(|label| custody.generate(label, KeyAlgorithm::P256).unwrap());
        // Each worker finds each key once.
        for key in &keys {
            thread::scope(|scope| {
                for _ in 0..64 {
                    scope.spawn(|| key.sign(b"warm up").unwrap());
                }
            });
        }
        let searches = faults.read(Meter::Searches);
        let signatures: HashSet<Vec<u8>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|thread| {
                    let key = &keys[thread % keys.len()];
                    scope.spawn(move || {
                        (0..100)
                            .map(|number| {
                                let message = format!("{thread} {number}");
                                let signature = key.sign(message.as_bytes()).unwrap();
                                assert!(key.verify(message.as_bytes(), &signature));
                                signature
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(signatures.len(), 1600);
        // At most what a worker that slept through the warm-up still has to do.
        assert!(faults.read(Meter::Searches) - searches <= 9);
        // Workers, the anchor, and one that made keys.
        assert!(faults.read(Meter::MostSessions) <= 5);
        assert_eq!(faults.read(Meter::Logins), 1);
        let counters = custody.counters();
        assert_eq!(counters.signatures, 3 * 64 + 1600);
        assert!(counters.failures.iter().all(|(_, count)| *count == 0));
        assert!(counters.queue_time <= counters.signature_time);
    });
}

#[test]
fn signing_needs_no_particular_runtime() {
    isolated(|site| {
        let custody = open(site, "member-a");
        let key = custody.generate("vote", KeyAlgorithm::P256).unwrap();
        drop(custody);
        // The key keeps the token open.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let many: Vec<_> = (0..50u8).map(|n| (n, key.sign_async(&[n]))).collect();
            for (n, signing) in many {
                assert!(key.verify(&[n], &signing.await.unwrap()));
            }
            // Dropping one in flight harms nobody.
            drop(key.sign_async(b"abandoned"));
            key.sign_der_async(b"x").await.unwrap();
        });
        let digest = [7; 32];
        key.sign_digest(&digest).unwrap();
        assert!(matches!(key.sign_digest(&digest[1..]), Err(Error::Unsupported(_))));
    });
}

#[test]
fn a_foreign_public_key_is_not_believed() {
    isolated(|site| {
        let custody = open(site, "member-a");
        custody.generate("vote", KeyAlgorithm::P256).unwrap();
        let other = custody.generate("other", KeyAlgorithm::P256).unwrap();
        fs::write(site.directory().join("other.der"), other.spki_der()).unwrap();
        drop((custody, other));

        let delete = ["--delete-object", "--type", "pubkey", "--label", "vote"];
        pkcs11_tool(site, "member-a", &delete);
        let write = ["--write-object", "other.der", "--type", "pubkey"];
        pkcs11_tool(site, "member-a", &[&write[..], &["--label", "vote"]].concat());

        let custody = Custody::open(site.config("member-a"), site.pin()).unwrap();
        assert!(matches!(
            custody.key("vote"),
            Err(Error::KeyMismatch(label)) if label == "vote"
        ));
        custody.key("other").unwrap();
    });
}

#[test]
fn keys_of_other_makers_are_told_apart() {
    isolated(|site| {
        site.create_token("member-a");
        let pair = ["--keypairgen", "--usage-sign", "--key-type"];
        for (label, kind, id) in [
            ("rsa", "rsa:1024", "01"),
            ("k1", "EC:secp256k1", "02"),
            ("twice", "EC:prime256v1", "03"),
            ("twice", "EC:prime256v1", "04"),
            ("theirs", "EC:secp384r1", "05"),
        ] {
            let rest = [kind, "--label", label, "--id", id];
            pkcs11_tool(site, "member-a", &[&pair[..], &rest].concat());
        }
        run(
            site,
            "openssl",
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-out",
                "soft.pem",
            ],
        );
        run(
            site,
            "softhsm2-util",
            &[
                "--import", "soft.pem", "--token", "member-a", "--label", "imported", "--id", "06",
                "--pin", USER_PIN,
            ],
        );
        let custody = Custody::open(site.config("member-a"), site.pin()).unwrap();
        for label in ["rsa", "k1"] {
            let outcome = custody.key(label);
            assert!(matches!(outcome, Err(Error::Unsupported(_))), "{outcome:?}");
        }
        assert!(matches!(custody.key("twice"), Err(Error::AmbiguousKey { count: 2, .. })));
        let theirs = custody.key("theirs").unwrap();
        assert_eq!(theirs.algorithm(), KeyAlgorithm::P384);
        assert!(theirs.verify(b"x", &theirs.sign(b"x").unwrap()));
        // An imported key works, and says that it is not fit for a ceremony.
        let imported = custody.key("imported").unwrap();
        assert!(imported.verify(b"x", &imported.sign(b"x").unwrap()));
        assert_eq!(imported.description().weakness(), Some("CKA_ALWAYS_SENSITIVE"));
        assert!(!imported.description().local);
    });
}
