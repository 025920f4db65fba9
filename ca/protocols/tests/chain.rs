//! The whole chain, checked with the defaults of others: `openssl verify
//! -crl_check_all` and Java's PKIX. Each certificate but the root says where its
//! issuer's list is to be had, so that a revoked issuing certificate is known.

#[path = "../../issuance/tests/common/mod.rs"]
mod common;
#[path = "common/server.rs"]
mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::clients::{lint, quick_request, run, succeed};
use common::{World, block_on, registration_authority};
use hufu_issuance::*;
use hufu_keys::testing::isolated;
use hufu_protocols::*;

/// What `openssl verify -crl_check_all` says of the leaf, with the lists from
/// where leaf and issuing certificate say that they are.
fn openssl(directory: &Path) -> (bool, String) {
    let script = "\
        : > lists.pem
        for certificate in leaf.pem issuing.pem; do
            url=$(openssl x509 -in $certificate -noout -ext crlDistributionPoints | grep -o 'http://[^ ]*')
            curl -sSf -o list.der \"$url\" && openssl crl -inform DER -in list.der >> lists.pem
        done
        openssl verify -x509_strict -crl_check_all -CRLfile lists.pem \
            -CAfile root.pem -untrusted issuing.pem leaf.pem";
    let output = run(directory, "sh", &["-c", script]);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// What Java says, where there is one.
fn java(directory: &Path) -> Option<String> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chain/Check.java");
    std::process::Command::new("java").arg("-version").output().ok()?;
    let program = program.to_string_lossy().into_owned();
    Some(succeed(directory, "java", &[program.as_str(), "root.pem", "leaf.pem", "issuing.pem"]))
}

#[test]
fn others_check_the_whole_chain_and_see_a_revoked_authority() {
    isolated(|site| {
        block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let pki = format!("http://{}", listener.local_addr().unwrap());
            let world = World::at(site, hufu_keys::KeyAlgorithm::P256, &pki).await;
            let issuance = world.start();
            let crl = CrlPublisher::new(issuance.clone(), Duration::from_secs(3600));
            let ocsp = ocsp::Responder::new(issuance.clone(), Duration::from_secs(600));
            let root = status::RootList::default();
            let serve = async |number: u64, revoked: Vec<Revocation>| {
                let signer = world.root_signer();
                let now = world.clock.now();
                let list = root_list(&world.root, &signer, number, now, revoked).await.unwrap();
                std::fs::write(world.path("root.crl"), &list.der).unwrap();
                let findings = lint(
                    &world.directory,
                    "lint_crl",
                    &["lint", "-s", "ERROR", "-t", "CRL", "-p", "PKIX", "root.crl"],
                );
                assert_eq!(findings.trim(), "");
                *root.write().unwrap() = Some(Arc::new(list));
            };
            server::plain_on(
                listener,
                status::part(issuance.clone(), crl.clone(), root.clone(), ocsp),
            );
            let csr = CertificationRequest::from_der(&quick_request("SN-1")).unwrap();
            let issued =
                issuance.enrol(&csr, "ldevid", &registration_authority(), None).await.unwrap();
            let leaf = pem::encode(issued.certificate.as_ref().unwrap()).unwrap();
            std::fs::write(world.path("leaf.pem"), leaf).unwrap();
            let check = async || {
                let directory = world.directory.clone();
                let checked =
                    tokio::task::spawn_blocking(move || (openssl(&directory), java(&directory)));
                checked.await.unwrap()
            };

            // Without a list of the root there is no telling.
            let ((fine, said), told) = check().await;
            assert!(!fine && said.contains("unable to get certificate CRL"), "{said}");
            assert!(told.is_none_or(|told| !told.starts_with("valid")));

            serve(1, Vec::new()).await;
            let ((fine, said), told) = check().await;
            assert!(fine, "{said}");
            assert!(told.as_ref().is_none_or(|told| told.starts_with("valid")), "{told:?}");

            // The leaf is revoked: OCSP and list say so.
            issuance.revoke(&issued.serial, RevocationReason::KeyCompromise).await.unwrap();
            crl.make(true).await.unwrap();
            let ((fine, said), told) = check().await;
            assert!(!fine && said.contains("certificate revoked"), "{said}");
            assert!(told.is_none_or(|told| told.contains("REVOKED")));

            // Another leaf, and the authority that issued it is revoked.
            let csr = CertificationRequest::from_der(&quick_request("SN-2")).unwrap();
            let issued =
                issuance.enrol(&csr, "ldevid", &registration_authority(), None).await.unwrap();
            let leaf = pem::encode(issued.certificate.as_ref().unwrap()).unwrap();
            std::fs::write(world.path("leaf.pem"), leaf).unwrap();
            assert!(check().await.0.0);
            let issuing = world.issuer.certificate();
            serve(
                2,
                vec![Revocation {
                    serial: issuing.serial().clone(),
                    at: world.clock.now(),
                    reason: RevocationReason::CaCompromise,
                    not_after: issuing.not_after(),
                }],
            )
            .await;
            let ((fine, said), told) = check().await;
            assert!(!fine && said.contains("certificate revoked"), "{said}");
            assert!(told.is_none_or(|told| told.contains("REVOKED at 1")));
            // What is read back is what was signed.
            let list = root.read().unwrap().clone().unwrap();
            let again = RevocationList::from_der(&list.der).unwrap();
            assert_eq!(again.entries()[0].reason, RevocationReason::CaCompromise);
            assert_eq!((again.number, again.next_update), (list.number, list.next_update));
        });
    });
}
