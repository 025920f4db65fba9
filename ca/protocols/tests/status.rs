//! CRL and OCSP, judged by `openssl` and pkilint.

#[path = "../../issuance/tests/common/mod.rs"]
mod common;
#[path = "common/server.rs"]
mod server;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::clients::{lint, quick_request, run, succeed};
use common::{World, block_on, registration_authority};
use hufu_issuance::*;
use hufu_keys::testing::isolated;
use hufu_protocols::*;

struct Service {
    world: World,
    issuance: Issuance,
    crl: Arc<CrlPublisher>,
    base: String,
}

impl Service {
    async fn new(site: &hufu_keys::testing::Site) -> Service {
        let world = World::new(site).await;
        let issuance = world.start();
        let crl = CrlPublisher::new(issuance.clone(), Duration::from_secs(3600));
        let ocsp = ocsp::Responder::new(issuance.clone(), Duration::from_secs(600));
        let part = status::part(issuance.clone(), crl.clone(), Default::default(), ocsp);
        let address = server::plain(part).await;
        Service { world, issuance, crl, base: format!("http://{address}") }
    }

    async fn issue(&self, name: &str) -> Certificate {
        let csr = CertificationRequest::from_der(&quick_request(name)).unwrap();
        let issued =
            self.issuance.enrol(&csr, "idevid", &registration_authority(), None).await.unwrap();
        let der = issued.certificate.as_ref().unwrap();
        std::fs::write(self.world.path(&format!("{name}.pem")), pem::encode(der).unwrap()).unwrap();
        Certificate::from_der(der).unwrap()
    }

    /// Runs programs away from the runtime's threads.
    async fn shell(&self, script: String) -> (bool, String) {
        let directory = self.world.directory.clone();
        tokio::task::spawn_blocking(move || {
            let output = run(&directory, "sh", &["-c", &script]);
            let said = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&said).into_owned())
        })
        .await
        .unwrap()
    }

    async fn ocsp(&self, name: &str, options: &str) -> String {
        let (fine, said) = self
            .shell(format!(
                "openssl ocsp -issuer issuing.pem -CAfile root.pem -verify_other issuing.pem \
                 -url {}/ocsp {options} -cert {name}.pem",
                self.base
            ))
            .await;
        assert!(fine, "{said}");
        said
    }
}

#[test]
fn openssl_ocsp_agrees_with_the_ledger() {
    isolated(|site| {
        block_on(async {
            let service = Service::new(site).await;
            let certificate = service.issue("SN-1").await;
            for options in ["", "-no_nonce", "-sha256", "-sha256 -no_nonce"] {
                let said = service.ocsp("SN-1", options).await;
                assert!(said.contains("Response verify OK"), "{said}");
                assert!(said.contains("SN-1.pem: good"), "{said}");
                if !options.contains("no_nonce") {
                    assert!(!said.contains("no nonce"), "{said}");
                }
            }
            service
                .issuance
                .revoke(certificate.serial(), RevocationReason::CessationOfOperation)
                .await
                .unwrap();
            // At once, although the good answer was kept.
            for options in ["-no_nonce", ""] {
                let said = service.ocsp("SN-1", options).await;
                assert!(said.contains("SN-1.pem: revoked"), "{said}");
                assert!(said.contains("cessationOfOperation"), "{said}");
            }
            // A serial that nobody recorded, and another issuer's certificate.
            let (_, said) = service
                .shell(format!(
                    "openssl ocsp -issuer issuing.pem -CAfile root.pem -verify_other issuing.pem \
                     -url {}/ocsp -serial 0x123456789abcdef0",
                    service.base
                ))
                .await;
            assert!(said.contains("unknown") && said.contains("verify OK"), "{said}");
            let (_, said) = service
                .shell(format!(
                    "openssl ocsp -issuer root.pem -CAfile root.pem -url {}/ocsp -cert issuing.pem",
                    service.base
                ))
                .await;
            assert!(said.contains("unauthorized (6)"), "{said}");
        });
    });
}

#[test]
fn ocsp_over_get_lints_and_odd_requests_are_answered() {
    isolated(|site| {
        block_on(async {
            let service = Service::new(site).await;
            service.issue("SN-1").await;
            let (fine, said) = service
                .shell(format!(
                    "set -e
                     openssl ocsp -issuer issuing.pem -cert SN-1.pem -no_nonce -reqout req.der
                     B64=$(base64 -w0 req.der | sed 's|/|%2F|g; s|+|%2B|g; s|=|%3D|g')
                     curl -sS -D headers -o get.der {base}/ocsp/$B64
                     curl -sS -o raw.der {base}/ocsp/$(base64 -w0 req.der)
                     curl -sS -o post.der -H 'Content-Type: application/ocsp-request' --data-binary @req.der {base}/ocsp
                     cmp get.der post.der && cmp get.der raw.der
                     openssl ocsp -respin get.der -issuer issuing.pem -cert SN-1.pem -CAfile root.pem -verify_other issuing.pem",
                    base = service.base
                ))
                .await;
            assert!(fine && said.contains("SN-1.pem: good"), "{said}");
            let headers = std::fs::read_to_string(service.world.path("headers")).unwrap();
            assert!(
                headers.to_ascii_lowercase().contains("cache-control: public, max-age="),
                "{headers}"
            );
            let path = service.world.path("get.der");
            let findings = lint(
                &service.world.directory,
                "lint_ocsp_response",
                &["lint", "-s", "ERROR", &path.to_string_lossy()],
            );
            assert_eq!(findings.trim(), "");

            // malformedRequest is 30 03 0a 01 01.
            for (name, body) in [
                ("empty", &b""[..]),
                ("words", b"hello"),
                ("cut", &common::read(&service.world.path("req.der"))[..20]),
            ] {
                std::fs::write(service.world.path(name), body).unwrap();
                let (_, said) = service
                    .shell(format!(
                        "curl -sS -H 'Content-Type: application/ocsp-request' --data-binary @{name} {}/ocsp | od -An -tx1",
                        service.base
                    ))
                    .await;
                assert_eq!(
                    said.split_whitespace().collect::<Vec<_>>(),
                    ["30", "03", "0a", "01", "01"],
                    "{name}"
                );
            }
            let (_, said) = service
                .shell(format!("head -c 5000 /dev/zero > big; curl -sS -o /dev/null -w '%{{http_code}}' -H 'Content-Type: application/ocsp-request' --data-binary @big {}/ocsp", service.base))
                .await;
            assert_eq!(said, "413");
            // The ledger is away: tryLater, 3.
            service.world.ledger.away.store(true, Ordering::SeqCst);
            service.world.clock.forward(Duration::from_secs(60));
            let (_, said) = service
                .shell(format!("openssl ocsp -reqin req.der -url {}/ocsp", service.base))
                .await;
            assert!(said.contains("trylater (3)"), "{said}");
        });
    });
}

#[test]
fn the_crl_lists_what_is_revoked_and_counts_up() {
    isolated(|site| {
        block_on(async {
            let service = Service::new(site).await;
            let (one, two) = (service.issue("SN-1").await, service.issue("SN-2").await);
            let fetch = async |name: &str| {
                let (fine, said) = service
                    .shell(format!(
                        "set -e; curl -sSf -o {name} {}/crl/issuing.crl
                         openssl crl -inform DER -in {name} -CAfile chain.pem -noout -text 2>&1",
                        service.base
                    ))
                    .await;
                assert!(fine && said.contains("verify OK"), "{said}");
                let path = service.world.path(name);
                let findings = lint(
                    &service.world.directory,
                    "lint_crl",
                    &["lint", "-s", "ERROR", "-t", "CRL", "-p", "PKIX", &path.to_string_lossy()],
                );
                assert_eq!(findings.trim(), "", "{said}");
                said
            };
            let said = fetch("empty.crl").await;
            assert!(said.contains("No Revoked Certificates"), "{said}");
            let first = service.crl.current().await.unwrap();
            assert!(first.number > 0);
            assert!(first.is_empty());

            // The keeper makes a new one when a revocation is announced.
            let keeper = service.crl.keep_current();
            service.issuance.revoke(one.serial(), RevocationReason::KeyCompromise).await.unwrap();
            service.issuance.revoke(two.serial(), RevocationReason::Unspecified).await.unwrap();
            for _ in 0..500 {
                if service.crl.current().await.unwrap().len() == 2 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            keeper.abort();
            let said = fetch("two.crl").await;
            assert!(said.contains(&one.serial().to_string().to_uppercase()), "{said}");
            assert!(said.contains("Key Compromise"), "{said}");
            let second = service.crl.current().await.unwrap();
            assert!(second.number > first.number);
            assert_eq!(second.len(), 2);
            let (fine, said) = service
                .shell(
                    "openssl crl -inform DER -in two.crl -out two.pem
                     openssl verify -crl_check -CAfile root.pem -untrusted issuing.pem -CRLfile two.pem SN-1.pem"
                        .to_owned(),
                )
                .await;
            assert!(!fine && said.contains("certificate revoked"), "{said}");

            // Nothing new: the same list. Half its life later: another. While
            // the ledger is away: the old one.
            assert_eq!(service.crl.make(false).await.unwrap().number, second.number);
            service.world.clock.forward(Duration::from_secs(1900));
            let third = service.crl.current().await.unwrap();
            assert!(third.number > second.number);
            service.world.clock.forward(Duration::from_secs(1900));
            service.world.ledger.away.store(true, Ordering::SeqCst);
            assert_eq!(service.crl.current().await.unwrap().number, third.number);
            service.world.ledger.away.store(false, Ordering::SeqCst);

            // The number survives a restart.
            let issuance = service.world.start();
            let crl = CrlPublisher::new(issuance, Duration::from_secs(3600));
            assert!(crl.current().await.unwrap().number > third.number);
        });
    });
}

#[test]
fn lists_and_answers_are_dated_back_but_not_before_what_they_tell() {
    isolated(|site| {
        block_on(async {
            let service = Service::new(site).await;
            let one = service.issue("SN-1").await;
            let now = || service.world.clock.now();
            let list = service.crl.make(true).await.unwrap();
            // A device whose clock is four minutes late takes it.
            assert!(list.this_update <= now().minus(Duration::from_secs(240)));
            assert!(list.next_update >= now().plus(Duration::from_secs(3500)));
            let revoked = now();
            service.issuance.revoke(one.serial(), RevocationReason::Unspecified).await.unwrap();
            let list = service.crl.make(true).await.unwrap();
            assert!(list.this_update >= revoked, "{} {revoked}", list.this_update);
            let ocsp = async |options: &str| {
                let (_, said) = service
                    .shell(format!(
                        "openssl ocsp -issuer issuing.pem -CAfile root.pem -verify_other issuing.pem -url {}/ocsp -cert SN-1.pem {options}",
                        service.base
                    ))
                    .await;
                said
            };
            let said = ocsp("").await;
            assert!(said.contains("SN-1.pem: revoked") && !said.contains("Reason"), "{said}");

            // Compromise is found out later: the date stays, list and answer say so.
            service.world.clock.forward(Duration::from_secs(7200));
            service.issuance.revoke(one.serial(), RevocationReason::KeyCompromise).await.unwrap();
            let list = service.crl.make(false).await.unwrap();
            assert_eq!(list.entries()[0].reason, RevocationReason::KeyCompromise);
            assert!(list.entries()[0].at <= revoked.plus(Duration::from_secs(5)));
            let said = ocsp("").await;
            assert!(said.contains("Reason: keyCompromise"), "{said}");
            let error = service
                .issuance
                .revoke(one.serial(), RevocationReason::Superseded)
                .await
                .unwrap_err();
            assert_eq!(error.code(), "already-revoked");
            assert!(error.to_string().contains("keyCompromise"), "{error}");
        });
    });
}

#[test]
fn a_certificate_that_ended_leaves_the_list_after_one_more() {
    isolated(|site| {
        block_on(async {
            let service = Service::new(site).await;
            let csr = CertificationRequest::from_der(&quick_request("SN-1")).unwrap();
            let issued = service
                .issuance
                .enrol(&csr, "ldevid", &registration_authority(), None)
                .await
                .unwrap();
            service.issuance.revoke(&issued.serial, RevocationReason::Superseded).await.unwrap();
            assert_eq!(service.crl.make(true).await.unwrap().len(), 1);
            service.world.clock.forward(Duration::from_secs(731 * 86_400));
            // RFC 5280 section 3.3: one list beyond its end, also after a restart.
            let crl = CrlPublisher::new(service.world.start(), Duration::from_secs(3600));
            assert_eq!(crl.make(true).await.unwrap().len(), 1);
            service.world.clock.forward(Duration::from_secs(60));
            assert_eq!(crl.make(true).await.unwrap().len(), 0);
        });
    });
}

#[test]
fn nonces_of_one_to_128_octets_are_answered() {
    isolated(|site| {
        block_on(async {
            let service = Service::new(site).await;
            let certificate = service.issue("SN-1").await;
            let id = {
                let (fine, said) = service
                    .shell(
                        "openssl ocsp -issuer issuing.pem -cert SN-1.pem -no_nonce -reqout req.der"
                            .to_owned(),
                    )
                    .await;
                assert!(fine, "{said}");
                let request =
                    ocsp::Request::from_der(&common::read(&service.world.path("req.der")));
                request.unwrap().certificates.swap_remove(0)
            };
            assert_eq!(id.serial_number.as_bytes(), certificate.serial().as_bytes());
            let responder = ocsp::Responder::new(service.issuance.clone(), Duration::from_secs(60));
            for (octets, answered) in
                [(0, false), (1, true), (32, true), (33, true), (128, true), (129, false)]
            {
                let nonce = tlv::octet_string(&vec![7; octets]);
                let request =
                    ocsp::Request { certificates: vec![id.clone()], nonce: Some(nonce.clone()) };
                let answer = responder.respond(&request.to_der().unwrap()).await;
                // successful is 0, malformedRequest 1.
                let malformed = answer.der == [0x30, 3, 0x0a, 1, 1];
                assert_eq!(!malformed, answered, "{octets}");
                let echoed = answer.der.windows(nonce.len()).any(|window| window == nonce);
                assert!(!answered || echoed, "{octets}");
            }
        });
    });
}

#[test]
fn authorities_are_served() {
    isolated(|site| {
        block_on(async {
            let service = Service::new(site).await;
            let (fine, said) = service
                .shell(format!(
                    "set -e; for name in issuing root; do
                       curl -sSf -o $name.cer {}/ca/$name.cer
                       openssl x509 -inform DER -in $name.cer -noout -subject
                     done",
                    service.base
                ))
                .await;
            assert!(fine && said.contains("Test Issuing") && said.contains("Test Root"), "{said}");
            assert_eq!(common::read(&service.world.path("root.cer")), service.world.root.der());
            succeed(
                &service.world.directory,
                "openssl",
                &["verify", "-x509_strict", "-CAfile", "root.pem", "issuing.pem"],
            );
        });
    });
}
