//! Issuance against a ledger that fails, keys in SoftHSM2: what is promised
//! about duplicates, crashes, refusals and limits.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::clients::{quick_request, quick_request_for, request};
use common::ledger::Mishap;
use common::{MAKER, World, block_on, member, registration_authority};
use hufu_issuance::*;
use hufu_keys::testing::isolated;

async fn enrol(issuance: &Issuance, csr: &[u8], profile: &str) -> Result<Certificate, CaError> {
    let request = CertificationRequest::from_der(csr)?;
    let issued = issuance.enrol(&request, profile, &registration_authority(), None).await?;
    Ok(Certificate::from_der(issued.certificate.as_ref().unwrap())?)
}

#[test]
fn a_certificate_is_on_the_ledger_before_it_is_signed() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let signed_before = world.custody.counters().signatures;
            world.ledger.next(Mishap::Hang);
            let csr = quick_request("SN-1");
            let waiting = tokio::spawn({
                let (issuance, csr) = (issuance.clone(), csr.clone());
                async move { enrol(&issuance, &csr, "idevid").await }
            });
            while world.ledger.hanging.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // Not final yet: pending in the store, not signed.
            assert_eq!(issuance.store().counts().unwrap(), (0, 1));
            assert_eq!(world.custody.counters().signatures, signed_before);
            world.ledger.release();
            let certificate = waiting.await.unwrap().unwrap();
            assert_eq!(world.custody.counters().signatures, signed_before + 1);
            let line = world.ledger.line(certificate.serial()).unwrap();
            assert_eq!(line.entry.unwrap().tbs, certificate.tbs());
            assert_eq!(certificate.not_after(), UnixTime::NEVER);
            let row = issuance.store().by_serial(certificate.serial()).unwrap().unwrap();
            assert_eq!(row.certificate.unwrap(), certificate.der());
            assert_eq!(row.recorded.unwrap().0, line.height);
            let (summary, tbs) = check_certificate(
                certificate.der(),
                world.issuer.certificate().der(),
                world.root.der(),
            )
            .unwrap();
            assert_eq!(summary.subject, "serialNumber=SN-1");
            assert_eq!(tbs, certificate.tbs());
        });
    });
}

#[test]
fn every_byte_of_a_certificate_counts() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let certificate = enrol(&issuance, &quick_request("SN-1"), "idevid").await.unwrap();
            let (issuing, root) = (world.issuer.certificate(), world.root.der());
            for position in 0..certificate.der().len() {
                let mut altered = certificate.der().to_vec();
                altered[position] ^= 1;
                assert!(
                    check_certificate(&altered, issuing.der(), root).is_err(),
                    "byte {position}"
                );
            }
        });
    });
}

#[test]
fn the_same_request_gets_the_first_certificate() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let key = rcgen::KeyPair::generate().unwrap();
            let csr = quick_request_for(&key, "SN-1");
            // Twenty at once, then one after the other, signed anew each time.
            let at_once =
                futures::future::join_all((0..20).map(|_| enrol(&issuance, &csr, "idevid"))).await;
            let first = at_once[0].as_ref().unwrap().clone();
            assert!(at_once.into_iter().all(|other| other.unwrap() == first));
            for _ in 0..3 {
                let again = quick_request_for(&key, "SN-1");
                assert_eq!(enrol(&issuance, &again, "idevid").await.unwrap(), first);
            }
            assert_eq!(world.ledger.issued(), 1);
            assert_eq!(world.quotas.used(MAKER, "idevid", world.clock.now()).0, 1);
            // After a restart, too.
            issuance.stop().await;
            assert_eq!(
                enrol(&issuance, &quick_request("SN-2"), "idevid").await.unwrap_err().code(),
                "stopping"
            );
            drop(issuance);
            let issuance = world.start();
            assert_eq!(enrol(&issuance, &csr, "idevid").await.unwrap(), first);
            assert_eq!(world.ledger.issued(), 1);
        });
    });
}

#[test]
fn a_request_gets_a_new_certificate_when_that_is_due_or_wished_for() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let day = Duration::from_secs(86_400);
            // A node's own certificate (397 days), asked for with one request.
            let csr = request(
                &world.directory,
                "node",
                "P-256",
                "/CN=node",
                Some("subjectAltName=DNS:node.example.org"),
            );
            let csr = CertificationRequest::from_der(&csr).unwrap();
            let ask = async |renew: bool| {
                let on_behalf = OnBehalf { member: "plant", roles: &[Role::Operator], renew };
                let issued = issuance
                    .enrol(&csr, "member-node", &Requester::Ceremony, Some(on_behalf))
                    .await
                    .unwrap();
                Certificate::from_der(issued.certificate.as_ref().unwrap()).unwrap()
            };
            let first = ask(false).await;
            assert_eq!(ask(false).await, first);
            world.clock.forward(day);
            assert_eq!(ask(false).await, first, "not due");
            // With an explicit wish at once, and the same again for minutes.
            let wished = ask(true).await;
            assert_ne!(wished.serial(), first.serial());
            assert!(wished.not_after() > first.not_after());
            world.clock.forward(Duration::from_secs(120));
            assert_eq!(ask(true).await, wished);
            assert_eq!(ask(false).await, wished, "the newest of the same request");
            world.clock.forward(AGAIN);
            assert_ne!(ask(true).await.serial(), wished.serial());
            // That the first is replaced does not hinder what comes after.
            issuance.revoke(first.serial(), RevocationReason::Superseded).await.unwrap();
            // When a part of its life is over, without a wish; old and new stand.
            let newest = ask(false).await;
            world.clock.forward(day * 60);
            let renewed = ask(false).await;
            assert_ne!(renewed.serial(), newest.serial());
            assert!(renewed.not_after() > newest.not_after());
            assert_eq!(ask(false).await, renewed);
            assert_eq!(world.ledger.issued(), 4);

            // A device that renews so, and one whose certificate has no end.
            let device = quick_request("SN-1");
            let (local, initial) = (
                enrol(&issuance, &device, "ldevid").await.unwrap(),
                enrol(&issuance, &device, "idevid").await.unwrap(),
            );
            world.clock.forward(day * 200);
            assert_ne!(enrol(&issuance, &device, "ldevid").await.unwrap(), local);
            assert_eq!(enrol(&issuance, &device, "idevid").await.unwrap(), initial);
        });
    });
}

#[test]
fn a_refusal_spends_neither_token_nor_quota() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let key = rcgen::KeyPair::generate().unwrap();
            let lost = enrol(&issuance, &quick_request_for(&key, "SN-0"), "ldevid").await.unwrap();
            issuance.revoke(lost.serial(), RevocationReason::KeyCompromise).await.unwrap();
            let life = Duration::from_secs(3600);
            let token = issuance.tokens().create(MAKER, "idevid", 1, life, None).await.unwrap();
            let basic = {
                use base64::Engine as _;
                let pair = format!("{}:{}", token.user, token.password);
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            };
            let token = issuance.tokens().authenticate(&basic).unwrap();
            let requester = Requester::Token(token);
            let ask = async |csr: &[u8]| {
                let csr = CertificationRequest::from_der(csr).unwrap();
                issuance
                    .enrol(&csr, "idevid", &requester, None)
                    .await
                    .map(|issued| issued.serial.clone())
            };
            // Refused: a revoked key, a subject that breaks a rule, a ledger that
            // refuses, one that is away.
            let error = ask(&quick_request_for(&key, "SN-1")).await.unwrap_err();
            assert_eq!(error.code(), "key-revoked");
            let wrong = request(&world.directory, "wrong", "P-256", "/CN=no serial", None);
            assert_eq!(ask(&wrong).await.unwrap_err().code(), "csr-subject-invalid");
            world.ledger.refused.lock().unwrap().push("serialNumber=SN-2".to_owned());
            assert_eq!(ask(&quick_request("SN-2")).await.unwrap_err().code(), "ledger-refused");
            world.ledger.next(Mishap::Unavailable);
            assert_eq!(ask(&quick_request("SN-3")).await.unwrap_err().code(), "ledger-unavailable");
            assert_eq!(world.quotas.used(MAKER, "idevid", world.clock.now()).0, 0);
            // The first good one has it, and has it again; another does not.
            let good = quick_request("SN-4");
            let serial = ask(&good).await.unwrap();
            assert_eq!(ask(&good).await.unwrap(), serial);
            let error = ask(&quick_request("SN-5")).await.unwrap_err();
            assert_eq!(error.code(), "enrolment-token-spent");
            // Many at once get no more than it is for.
            let most = 5;
            let token = issuance.tokens().create(MAKER, "idevid", most, life, None).await.unwrap();
            let pair = format!("{}:{}", token.user, token.password);
            let basic = {
                use base64::Engine as _;
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            };
            let requester = Requester::Token(issuance.tokens().authenticate(&basic).unwrap());
            let requests: Vec<CertificationRequest> = (10..30)
                .map(|number| quick_request(&format!("SN-{number}")))
                .map(|csr| CertificationRequest::from_der(&csr).unwrap())
                .collect();
            let outcomes = futures::future::join_all(
                requests.iter().map(|csr| issuance.enrol(csr, "idevid", &requester, None)),
            )
            .await;
            let issued = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            assert_eq!(issued, most as usize);
            for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
                assert_eq!(error.code(), "enrolment-token-spent");
            }
        });
    });
}

#[test]
fn a_device_is_certified_for_whom_it_belongs_to() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let ask = async |member_name: &str, number: &str| {
                let csr = CertificationRequest::from_der(&quick_request(number)).unwrap();
                let requester = member(member_name, &[Role::RegistrationAuthority]);
                issuance.enrol(&csr, "idevid", &requester, None).await
            };
            // The registry says whose it is.
            world.ledger.owners.lock().unwrap().insert("REG-1".into(), "plant".into());
            let error = ask(MAKER, "REG-1").await.unwrap_err();
            assert_eq!(error.code(), "device-taken");
            assert!(error.to_string().contains("belongs to member plant"), "{error}");
            ask("plant", "REG-1").await.unwrap();
            // It is not registered yet: the certificate in force says so.
            let first = ask(MAKER, "NEW-1").await.unwrap();
            assert_eq!(ask("plant", "NEW-1").await.unwrap_err().code(), "device-taken");
            ask(MAKER, "NEW-1").await.unwrap();
            // Handed over: the registry counts before certificates.
            world.ledger.owners.lock().unwrap().insert("NEW-1".into(), "plant".into());
            ask("plant", "NEW-1").await.unwrap();
            assert_eq!(ask(MAKER, "NEW-1").await.unwrap_err().code(), "device-taken");
            // A device renews its own, whoever owns it by now.
            let certificate = Certificate::from_der(first.certificate.as_ref().unwrap()).unwrap();
            let csr = CertificationRequest::from_der(&quick_request("NEW-1")).unwrap();
            issuance.renew(&csr, &certificate, None).await.unwrap();
            // A certificate that was revoked holds nothing.
            let lost = ask(MAKER, "LOST-1").await.unwrap();
            issuance.revoke(&lost.serial, RevocationReason::KeyCompromise).await.unwrap();
            ask("plant", "LOST-1").await.unwrap();
        });
    });
}

#[test]
fn names_that_would_be_dropped_are_refused_by_name() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let operator = member("plant", &[Role::Operator]);
            let ask = async |name: &str, uris: &str| {
                let san = format!("subjectAltName={uris}");
                let csr = request(&world.directory, name, "P-256", "/CN=someone", Some(&san));
                let csr = CertificationRequest::from_der(&csr).unwrap();
                issuance.enrol(&csr, "operator-client", &operator, None).await
            };
            for (name, uri) in [
                ("other", "URI:urn:hufu:member:regulator"),
                ("role", "URI:urn:hufu:role:emperor"),
                ("neither", "URI:urn:hufu:colour:red"),
            ] {
                let error = ask(name, uri).await.unwrap_err();
                assert_eq!(error.code(), "csr-extension-refused");
                assert!(error.to_string().contains(uri), "{error}");
            }
            ask("own", "URI:urn:hufu:member:plant,URI:urn:hufu:role:operator").await.unwrap();
            // From the command line, too.
            let csr = request(
                &world.directory,
                "line",
                "P-256",
                "/CN=someone",
                Some("subjectAltName=URI:urn:hufu:role:regulator"),
            );
            let csr = CertificationRequest::from_der(&csr).unwrap();
            let roles: &[Role] = &[Role::Operator];
            let on_behalf = OnBehalf { member: "plant", roles, renew: false };
            let error = issuance
                .enrol(&csr, "operator-client", &Requester::Ceremony, Some(on_behalf))
                .await
                .unwrap_err();
            assert!(error.to_string().contains("given: operator"), "{error}");
            // What no certificate could name is no token's device either.
            let life = Duration::from_secs(60);
            for device in ["", "a\0b", "a\nb", "a\u{202e}b", "PUMP*", &"x".repeat(65)] {
                let made = issuance.tokens().create(MAKER, "idevid", 1, life, Some(device)).await;
                assert_eq!(made.err().unwrap().code(), "csr-subject-invalid", "{device:?}");
            }
        });
    });
}

#[test]
fn one_name_in_two_spellings_is_one_request() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let key = "cafe.key";
            let (composed, decomposed) =
                ("/CN=caf\u{e9}/serialNumber=SN-1", "/CN=cafe\u{301}/serialNumber=SN-1");
            let one = request(&world.directory, "cafe", "P-256", composed, None);
            let other =
                common::clients::request_for(&world.directory, "cafe2", key, decomposed, None);
            let first = enrol(&issuance, &one, "idevid").await.unwrap();
            assert_eq!(enrol(&issuance, &other, "idevid").await.unwrap(), first);
            assert_eq!(world.ledger.issued(), 1);
        });
    });
}

#[test]
fn an_unknown_outcome_ends_with_one_certificate() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            for (number, mishap) in
                [Mishap::UnknownButRecorded, Mishap::UnknownNotRecorded].into_iter().enumerate()
            {
                let csr = quick_request(&format!("SN-{number}"));
                world.ledger.next(mishap);
                let error = enrol(&issuance, &csr, "idevid").await.unwrap_err();
                assert_eq!(error.code(), "ledger-unavailable");
                assert!(error.retry_after().is_some());
                let certificate = enrol(&issuance, &csr, "idevid").await.unwrap();
                assert!(world.ledger.line(certificate.serial()).is_some());
                assert_eq!(world.ledger.issued(), number + 1);
            }
            assert_eq!(world.quotas.used(MAKER, "idevid", world.clock.now()).0, 2);
        });
    });
}

#[test]
fn a_crash_between_ledger_and_signature_is_mended_at_the_next_start() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let csr = quick_request("SN-1");
            // The entry is recorded, and then the process is gone: the store
            // is copied as it is at this moment.
            world.ledger.next(Mishap::Hang);
            let waiting = tokio::spawn({
                let (issuance, csr) = (issuance.clone(), csr.clone());
                async move { enrol(&issuance, &csr, "idevid").await }
            });
            while world.ledger.hanging.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let copy = world.path("crash");
            std::fs::create_dir(&copy).unwrap();
            for name in ["ca.sqlite", "ca.sqlite-wal"] {
                std::fs::copy(world.path(name), copy.join(name)).unwrap();
            }
            world.ledger.release();
            let first = waiting.await.unwrap().unwrap();
            issuance.stop().await;
            drop(issuance);

            let store = std::sync::Arc::new(Store::open(&copy.join("ca.sqlite")).unwrap());
            assert_eq!(store.counts().unwrap(), (0, 1));
            let issuance = world.start_with(store.clone());
            for _ in 0..1000 {
                if store.counts().unwrap() == (1, 0) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let again = enrol(&issuance, &csr, "idevid").await.unwrap();
            assert_eq!(again.tbs(), first.tbs());
            assert_eq!(world.ledger.issued(), 1);
        });
    });
}

#[test]
fn a_refusal_leaves_nothing_and_does_not_touch_neighbours() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            world.quotas.set_default("idevid", Quota { total: Some(19), per_day: None });
            let issuance = world.start();
            world.ledger.refused.lock().unwrap().push("serialNumber=BAD".to_owned());
            let mut requests: Vec<Vec<u8>> =
                (0..19).map(|number| quick_request(&format!("SN-{number}"))).collect();
            // The refused one takes no quota in the end.
            let bad = quick_request("BAD");
            let error = enrol(&issuance, &bad, "idevid").await.unwrap_err();
            assert_eq!(error.code(), "ledger-refused");
            assert!(error.sentence().contains("contract.refused"), "{}", error.sentence());
            requests.insert(7, quick_request("OTHER"));
            world.ledger.refused.lock().unwrap().push("serialNumber=OTHER".to_owned());
            world.quotas.set_default("idevid", Quota { total: Some(20), per_day: None });
            let outcomes = futures::future::join_all(
                requests.iter().map(|csr| enrol(&issuance, csr, "idevid")),
            )
            .await;
            for (position, outcome) in outcomes.iter().enumerate() {
                assert_eq!(outcome.is_err(), position == 7, "{position}: {outcome:?}");
            }
            assert_eq!(issuance.store().counts().unwrap(), (19, 0));
            assert_eq!(world.quotas.used(MAKER, "idevid", world.clock.now()).0, 19);
            // Away: nothing stays, and the same request works later.
            world.ledger.next(Mishap::Unavailable);
            let csr = quick_request("LATER");
            let error = enrol(&issuance, &csr, "idevid").await.unwrap_err();
            assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
            assert_eq!(issuance.store().counts().unwrap(), (19, 0));
            enrol(&issuance, &csr, "idevid").await.unwrap();
            // And now the quota is used up, also after a restart.
            let error = enrol(&issuance, &quick_request("MORE"), "idevid").await.unwrap_err();
            assert_eq!(error.code(), "quota-exhausted");
            issuance.stop().await;
            drop(issuance);
            let issuance = world.start();
            let error = enrol(&issuance, &quick_request("MORE"), "idevid").await.unwrap_err();
            assert_eq!(error.code(), "quota-exhausted");
        });
    });
}

#[test]
fn many_at_once_share_few_batches() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let requests: Vec<Vec<u8>> =
                (0..600).map(|number| quick_request(&format!("SN-{number}"))).collect();
            // The ledger is slow for as many batches as may be under way.
            (0..limits::BATCHES).for_each(|_| world.ledger.next(Mishap::Hang));
            let all = futures::future::join_all(
                requests.iter().map(|csr| enrol(&issuance, csr, "idevid")),
            );
            let release = async {
                while world.ledger.hanging.load(Ordering::SeqCst) < limits::BATCHES {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
                world.ledger.release();
            };
            let (outcomes, ()) = futures::future::join(all, release).await;
            assert!(outcomes.iter().all(Result::is_ok));
            let batches = world.ledger.batches.lock().unwrap().clone();
            assert!(batches.len() < 60, "{batches:?}");
            assert_eq!(batches.iter().sum::<usize>(), 600);
            assert_eq!(issuance.store().counts().unwrap(), (600, 0));
        });
    });
}

#[test]
fn requests_that_break_a_rule_are_refused_by_name() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let made = |name: &str, algorithm: &str, subject: &str, extension: Option<&str>| {
                request(&world.directory, name, algorithm, subject, extension)
            };
            let serial = "/serialNumber=SN-1";
            let cases: Vec<(Vec<u8>, &str, &str)> = vec![
                (made("rsa", "RSA", serial, None), "idevid", "csr-algorithm-refused"),
                (made("p521", "P-521", serial, None), "idevid", "csr-algorithm-refused"),
                (
                    made("ca", "P-256", serial, Some("basicConstraints=CA:TRUE")),
                    "idevid",
                    "csr-extension-refused",
                ),
                (
                    made("sign", "P-256", serial, Some("keyUsage=keyCertSign")),
                    "idevid",
                    "csr-extension-refused",
                ),
                (
                    made("mail", "P-256", serial, Some("subjectAltName=email:a@example.org")),
                    "idevid",
                    "csr-extension-refused",
                ),
                (
                    made("dns", "P-256", serial, Some("subjectAltName=DNS:a.example.org")),
                    "idevid",
                    "csr-extension-refused",
                ),
                (
                    made("policy", "P-256", serial, Some("certificatePolicies=1.2.3.4")),
                    "idevid",
                    "csr-extension-refused",
                ),
                (made("none", "P-256", "/CN=no serial", None), "idevid", "csr-subject-invalid"),
                (
                    made("other", "P-256", "/O=other/serialNumber=SN-1", None),
                    "idevid",
                    "csr-subject-invalid",
                ),
                (
                    made("long", "P-256", "/serialNumber=SN-1/CN=a", None),
                    "no-such",
                    "profile-unknown",
                ),
                (made("root", "P-256", "/O=a/CN=b", None), "issuing", "role-missing"),
                (made("tpm", "P-256", serial, None), "idevid-tpm", "attestation-missing"),
            ];
            for (csr, profile, code) in cases {
                let error = enrol(&issuance, &csr, profile).await.unwrap_err();
                assert_eq!(error.code(), code, "{error}");
            }
            // Signed by another key than the one inside.
            let mut forged = made("fine", "P-256", serial, None);
            let last = forged.len() - 1;
            forged[last] ^= 1;
            assert_eq!(
                CertificationRequest::from_der(&forged).unwrap_err().code(),
                "csr-signature-invalid"
            );
            // Cut short anywhere, and with something after the end.
            let fine = made("whole", "P-256", serial, None);
            for length in 0..fine.len() {
                assert_eq!(
                    CertificationRequest::from_der(&fine[..length]).unwrap_err().code(),
                    "request-malformed"
                );
            }
            let mut longer = fine.clone();
            longer.push(0);
            assert!(CertificationRequest::from_der(&longer).is_err());
            assert_eq!(
                CertificationRequest::from_der(&vec![0x30; limits::CSR_DER + 1])
                    .unwrap_err()
                    .code(),
                "request-too-large"
            );
            // Every flipped bit of a request is noticed.
            for position in 0..fine.len() {
                let mut altered = fine.clone();
                altered[position] ^= 0x20;
                assert!(CertificationRequest::from_der(&altered).is_err(), "byte {position}");
            }
            // Nothing of all this was stored or counted.
            assert_eq!(issuance.store().counts().unwrap(), (0, 0));
            assert_eq!(world.ledger.issued(), 0);
            for profile in ["idevid", "idevid-tpm"] {
                assert_eq!(world.quotas.used(MAKER, profile, world.clock.now()).0, 0);
            }
        });
    });
}

#[test]
fn who_may_ask_for_what() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let csr = CertificationRequest::from_der(&quick_request("SN-1")).unwrap();
            for requester in [
                member(MAKER, &[]),
                member(MAKER, &[Role::Regulator, Role::Operator]),
                Requester::Ceremony,
            ] {
                let error = issuance.enrol(&csr, "idevid", &requester, None).await.unwrap_err();
                assert_eq!(error.code(), "role-missing");
            }
            // An operator passes on only roles that it has.
            let urn = |role: Role| format!("subjectAltName=URI:{}", role.urn());
            let operator = member("plant", &[Role::Operator]);
            let wants = |name: &str, role: Role| {
                let csr = request(&world.directory, name, "P-256", "/CN=someone", Some(&urn(role)));
                CertificationRequest::from_der(&csr).unwrap()
            };
            let error = issuance
                .enrol(&wants("a", Role::Regulator), "operator-client", &operator, None)
                .await
                .unwrap_err();
            assert_eq!(error.code(), "role-missing");
            let issued = issuance
                .enrol(&wants("b", Role::Operator), "operator-client", &operator, None)
                .await
                .unwrap();
            let certificate = Certificate::from_der(issued.certificate.as_ref().unwrap()).unwrap();
            assert_eq!(
                member_and_roles(&certificate).unwrap(),
                Some(("plant".to_owned(), vec![Role::Operator]))
            );
            assert_eq!(certificate.subject().unwrap().to_text(), "CN=someone,O=plant");
            // The command line gives any role to any member.
            let issued = issuance
                .enrol(
                    &wants("c", Role::Regulator),
                    "operator-client",
                    &Requester::Ceremony,
                    Some(OnBehalf { member: "ministry", roles: &[Role::Regulator], renew: false }),
                )
                .await
                .unwrap();
            let certificate = Certificate::from_der(issued.certificate.as_ref().unwrap()).unwrap();
            assert_eq!(
                member_and_roles(&certificate).unwrap(),
                Some(("ministry".to_owned(), vec![Role::Regulator]))
            );
        });
    });
}

#[test]
fn a_key_belongs_to_one_member_and_a_revoked_key_to_nobody() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let key = rcgen::KeyPair::generate().unwrap();
            let csr = quick_request_for(&key, "SN-1");
            let first = enrol(&issuance, &csr, "idevid").await.unwrap();
            let parsed = CertificationRequest::from_der(&csr).unwrap();
            let other = member("other", &[Role::RegistrationAuthority]);
            let error = issuance.enrol(&parsed, "idevid", &other, None).await.unwrap_err();
            assert_eq!(error.code(), "key-taken");
            // Another profile for the same member is fine.
            enrol(&issuance, &csr, "ldevid").await.unwrap();
            let mut changes = issuance.revocations();
            changes.mark_unchanged();
            issuance.revoke(first.serial(), RevocationReason::KeyCompromise).await.unwrap();
            assert!(changes.has_changed().unwrap());
            for number in ["SN-1", "SN-2"] {
                let csr = quick_request_for(&key, number);
                let error = enrol(&issuance, &csr, "idevid").await.unwrap_err();
                assert_eq!(error.code(), "key-revoked");
            }
            let unknown = Serial::random().unwrap();
            let error = issuance.revoke(&unknown, RevocationReason::Unspecified).await.unwrap_err();
            assert_eq!(error.code(), "not-found");
        });
    });
}

#[test]
fn an_attested_key_enrols_once() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let csr = request(&world.directory, "tpm", "P-256", "/serialNumber=SN-1", None);
            let key = CertificationRequest::from_der(&csr).unwrap().public_key().digest();
            let now = world.clock.now();
            let attested = AttestedKey { key, evidence: [5; 32], member: MAKER.into(), at: now };
            issuance.attestations().remember(attested.clone(), now).unwrap();
            // A ledger that is away does not spend it.
            world.ledger.next(Mishap::Unavailable);
            assert!(enrol(&issuance, &csr, "idevid-tpm").await.is_err());
            let certificate = enrol(&issuance, &csr, "idevid-tpm").await.unwrap();
            let line = world.ledger.line(certificate.serial()).unwrap();
            assert_eq!(line.entry.unwrap().attestation, Some([5; 32]));
            // The same request: the first answer. Another: no attestation left.
            assert_eq!(enrol(&issuance, &csr, "idevid-tpm").await.unwrap(), certificate);
            let other = common::clients::request_for(
                &world.directory,
                "tpm2",
                "tpm.key",
                "/serialNumber=SN-2",
                None,
            );
            let error = enrol(&issuance, &other, "idevid-tpm").await.unwrap_err();
            assert_eq!(error.code(), "attestation-missing");
            // Too old.
            let fresh = request(&world.directory, "late", "P-256", "/serialNumber=SN-3", None);
            let key = CertificationRequest::from_der(&fresh).unwrap().public_key().digest();
            issuance.attestations().remember(AttestedKey { key, ..attested }, now).unwrap();
            world.clock.forward(Duration::from_secs(601));
            let error = enrol(&issuance, &fresh, "idevid-tpm").await.unwrap_err();
            assert_eq!(error.code(), "attestation-missing");
        });
    });
}

#[test]
fn a_token_that_goes_away_loses_no_recorded_certificate() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            // Closed underneath: recorded, not signed.
            world.custody.close();
            let csr = quick_request("SN-1");
            let error = enrol(&issuance, &csr, "idevid").await.unwrap_err();
            assert_eq!(error.code(), "token-unavailable");
            assert!(error.retry_after().is_some());
            assert_eq!(issuance.store().counts().unwrap(), (0, 1));
            assert_eq!(world.ledger.issued(), 1);
            issuance.stop().await;
            drop(issuance);
            // The token is back with the next start.
            let custody = hufu_keys::Custody::open(site.config("authority"), site.pin()).unwrap();
            let signer = TokenSigner::new(custody.key("issuing").unwrap()).unwrap();
            let issuer = Issuer::new(
                Certificate::clone(&world.issuer.certificate()),
                world.root.clone(),
                std::sync::Arc::new(signer),
            )
            .unwrap();
            let world = World { issuer: std::sync::Arc::new(issuer), ..world };
            let issuance = world.start();
            let certificate = enrol(&issuance, &csr, "idevid").await.unwrap();
            assert_eq!(world.ledger.issued(), 1);
            assert!(world.ledger.line(certificate.serial()).is_some());
        });
    });
}

#[test]
fn a_failed_store_stops_issuance_and_keeps_answering() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let csr = quick_request("SN-1");
            let first = enrol(&issuance, &csr, "idevid").await.unwrap();
            // Another process holds the write lock for longer than we wait.
            let lock = rusqlite::Connection::open(world.path("ca.sqlite")).unwrap();
            lock.execute_batch("BEGIN IMMEDIATE").unwrap();
            let error = enrol(&issuance, &quick_request("SN-2"), "idevid").await.unwrap_err();
            assert_eq!(error.code(), "store-failed");
            lock.execute_batch("ROLLBACK").unwrap();
            let error = enrol(&issuance, &quick_request("SN-3"), "idevid").await.unwrap_err();
            assert_eq!(error.code(), "store-failed");
            assert!(issuance.store().is_poisoned());
            assert_eq!(enrol(&issuance, &csr, "idevid").await.unwrap(), first);
            assert_eq!(world.ledger.issued(), 1);
        });
    });
}

#[test]
fn more_than_may_wait_is_told_to_come_again() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            for _ in 0..=limits::IN_FLIGHT {
                world.ledger.next(Mishap::Hang);
            }
            let requests: Vec<Vec<u8>> = (0..limits::IN_FLIGHT + 50)
                .map(|number| quick_request(&format!("SN-{number}")))
                .collect();
            let waiting: Vec<_> = requests
                .iter()
                .cloned()
                .map(|csr| {
                    let issuance = issuance.clone();
                    tokio::spawn(async move { enrol(&issuance, &csr, "idevid").await })
                })
                .collect();
            // The places are taken, and whoever comes then is sent away.
            while waiting.iter().filter(|task| task.is_finished()).count() < 50 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(issuance.state().unwrap().in_flight, limits::IN_FLIGHT);
            let late = enrol(&issuance, &quick_request("LATE"), "idevid").await.unwrap_err();
            assert_eq!(late.code(), "busy");
            assert!(late.retry_after().is_some());
            // Let go until all are done.
            let mut busy = 0;
            world.ledger.mishaps.lock().unwrap().clear();
            for task in waiting {
                while !task.is_finished() {
                    world.ledger.release();
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                if task.await.unwrap().is_err_and(|error| error.code() == "busy") {
                    busy += 1;
                }
            }
            assert_eq!(busy, 50);
            let state = issuance.state().unwrap();
            assert_eq!((state.issued, state.pending), (limits::IN_FLIGHT as u64, 0));
            assert_eq!(
                world.quotas.used(MAKER, "idevid", world.clock.now()).0,
                limits::IN_FLIGHT as u64
            );
        });
    });
}
