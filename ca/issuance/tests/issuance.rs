//! Issuance against a ledger that fails, keys in SoftHSM2: what is promised
//! about duplicates, crashes, refusals and limits.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::clients::{quick_request, quick_request_for, request};
use common::ledger::Mishap;
use common::{MAKER, World, block_on, member, registration_authority};
use hufu_ca::*;
use hufu_keys::testing::isolated;

async fn enrol(issuance: &Issuance, csr: &[u8], profile: &str) -> Result<Certificate, CaError> {
    let request = CertificationRequest::from_der(csr)?;
    let issued = issuance.enrol(&request, profile, &registration_authority(), None).await?;
    Certificate::from_der(issued.certificate.as_ref().unwrap())
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
            let (issuing, root) = (world.issuer.certificate().der(), world.root.der());
            for position in 0..certificate.der().len() {
                let mut altered = certificate.der().to_vec();
                altered[position] ^= 1;
                assert!(check_certificate(&altered, issuing, root).is_err(), "byte {position}");
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
                "service.stopping"
            );
            drop(issuance);
            let issuance = world.start();
            assert_eq!(enrol(&issuance, &csr, "idevid").await.unwrap(), first);
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
                assert_eq!(error.code(), "ledger.unavailable");
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
            assert_eq!(error.code(), "ledger.refused");
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
            assert_eq!(error.code(), "quota.exhausted");
            issuance.stop().await;
            drop(issuance);
            let issuance = world.start();
            let error = enrol(&issuance, &quick_request("MORE"), "idevid").await.unwrap_err();
            assert_eq!(error.code(), "quota.exhausted");
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
            let outcomes = futures::future::join_all(
                requests.iter().map(|csr| enrol(&issuance, csr, "idevid")),
            )
            .await;
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
                (made("rsa", "RSA", serial, None), "idevid", "csr.algorithm-refused"),
                (made("p521", "P-521", serial, None), "idevid", "csr.algorithm-refused"),
                (
                    made("ca", "P-256", serial, Some("basicConstraints=CA:TRUE")),
                    "idevid",
                    "csr.extension-refused",
                ),
                (
                    made("sign", "P-256", serial, Some("keyUsage=keyCertSign")),
                    "idevid",
                    "csr.extension-refused",
                ),
                (
                    made("mail", "P-256", serial, Some("subjectAltName=email:a@example.org")),
                    "idevid",
                    "csr.extension-refused",
                ),
                (
                    made("dns", "P-256", serial, Some("subjectAltName=DNS:a.example.org")),
                    "idevid",
                    "csr.extension-refused",
                ),
                (
                    made("policy", "P-256", serial, Some("certificatePolicies=1.2.3.4")),
                    "idevid",
                    "csr.extension-refused",
                ),
                (made("none", "P-256", "/CN=no serial", None), "idevid", "csr.subject-invalid"),
                (
                    made("other", "P-256", "/O=other/serialNumber=SN-1", None),
                    "idevid",
                    "csr.subject-invalid",
                ),
                (
                    made("long", "P-256", "/serialNumber=SN-1/CN=a", None),
                    "no-such",
                    "profile.unknown",
                ),
                (made("root", "P-256", "/O=a/CN=b", None), "issuing", "client.role-missing"),
                (made("tpm", "P-256", serial, None), "idevid-tpm", "attestation.missing"),
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
                "csr.signature-invalid"
            );
            // Cut short anywhere, and with something after the end.
            let fine = made("whole", "P-256", serial, None);
            for length in 0..fine.len() {
                assert_eq!(
                    CertificationRequest::from_der(&fine[..length]).unwrap_err().code(),
                    "request.malformed"
                );
            }
            let mut longer = fine.clone();
            longer.push(0);
            assert!(CertificationRequest::from_der(&longer).is_err());
            assert_eq!(
                CertificationRequest::from_der(&vec![0x30; limits::CSR_DER + 1])
                    .unwrap_err()
                    .code(),
                "request.too-large"
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
                assert_eq!(error.code(), "client.role-missing");
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
            assert_eq!(error.code(), "client.role-missing");
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
                    &wants("c", Role::Operator),
                    "operator-client",
                    &Requester::Ceremony,
                    Some(OnBehalf { member: "ministry", roles: &[Role::Regulator] }),
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
            assert_eq!(error.code(), "key.taken");
            // Another profile for the same member is fine.
            enrol(&issuance, &csr, "ldevid").await.unwrap();
            let mut changes = issuance.revocations();
            changes.mark_unchanged();
            issuance.revoke(first.serial(), RevocationReason::KeyCompromise).await.unwrap();
            assert!(changes.has_changed().unwrap());
            for number in ["SN-1", "SN-2"] {
                let csr = quick_request_for(&key, number);
                let error = enrol(&issuance, &csr, "idevid").await.unwrap_err();
                assert_eq!(error.code(), "key.revoked");
            }
            let unknown = Serial::random().unwrap();
            let error = issuance.revoke(&unknown, RevocationReason::Unspecified).await.unwrap_err();
            assert_eq!(error.code(), "resource.unknown");
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
            assert_eq!(error.code(), "attestation.missing");
            // Too old.
            let fresh = request(&world.directory, "late", "P-256", "/serialNumber=SN-3", None);
            let key = CertificationRequest::from_der(&fresh).unwrap().public_key().digest();
            issuance.attestations().remember(AttestedKey { key, ..attested }, now).unwrap();
            world.clock.forward(Duration::from_secs(601));
            let error = enrol(&issuance, &fresh, "idevid-tpm").await.unwrap_err();
            assert_eq!(error.code(), "attestation.missing");
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
            assert_eq!(error.code(), "token.unavailable");
            assert_eq!(error.status().as_u16(), 503);
            assert!(error.retry_after().is_some());
            assert_eq!(issuance.store().counts().unwrap(), (0, 1));
            assert_eq!(world.ledger.issued(), 1);
            issuance.stop().await;
            drop(issuance);
            // The token is back with the next start.
            let custody = hufu_keys::Custody::open(site.config("authority"), site.pin()).unwrap();
            let signer = TokenSigner::new(custody.key("issuing").unwrap()).unwrap();
            let issuer = Issuer::new(
                world.issuer.certificate().clone(),
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
            assert_eq!(error.code(), "store.failed");
            lock.execute_batch("ROLLBACK").unwrap();
            let error = enrol(&issuance, &quick_request("SN-3"), "idevid").await.unwrap_err();
            assert_eq!(error.code(), "store.failed");
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
            assert_eq!((late.code(), late.status().as_u16()), ("service.busy", 503));
            assert!(late.retry_after().is_some());
            // Let go until all are done.
            let mut busy = 0;
            world.ledger.mishaps.lock().unwrap().clear();
            for task in waiting {
                while !task.is_finished() {
                    world.ledger.release();
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                if task.await.unwrap().is_err_and(|error| error.code() == "service.busy") {
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
