//! A device with a software TPM: attestation over HTTPS, then enrolment of
//! the attested key. And what is refused on the way.

#[path = "../../issuance/tests/common/mod.rs"]
mod common;
#[path = "common/server.rs"]
mod server;

use std::path::Path;

use common::clients::succeed;
use common::{MAKER, World, block_on};
use hufu_issuance::*;
use hufu_keys::testing::isolated;
use hufu_protocols::*;
use hufu_tpm::attest::ManufacturerRoots;
use hufu_tpm::csr::Subject as DeviceSubject;
use hufu_tpm::device::DeviceTpm;
use hufu_tpm::exchange::{ChallengeResponse, CompletionResponse};
use hufu_tpm::swtpm::{Manufacturer, Swtpm};
use serde_json::Value;

struct Shop {
    manufacturer: Manufacturer,
    tpm: Swtpm,
    state: std::path::PathBuf,
}

impl Shop {
    fn new(directory: &Path) -> Shop {
        let manufacturer = Manufacturer::open(&directory.join("manufacturer")).unwrap();
        let state = directory.join("tpm");
        manufacturer.make(&state).unwrap();
        let tpm = Swtpm::start(&state).unwrap();
        Shop { manufacturer, tpm, state: directory.join("device") }
    }

    fn roots(&self) -> ManufacturerRoots {
        ManufacturerRoots::from_pem(&self.manufacturer.roots_pem().unwrap()).unwrap()
    }

    fn device(&self) -> DeviceTpm {
        DeviceTpm::open(&self.tpm.tcti(), &self.state).unwrap()
    }
}

/// Posts with curl and the registration authority's certificate, from a
/// thread that may block.
fn post(directory: &Path, url: &str, content_type: &str, body: &[u8]) -> (u16, Vec<u8>) {
    std::fs::write(directory.join("posted"), body).unwrap();
    let content_type = format!("Content-Type: {content_type}");
    let status = succeed(
        directory,
        "curl",
        &[
            "-sS",
            "--cacert",
            "root.pem",
            "--cert",
            "ra.crt",
            "--key",
            "ra.key",
            "-o",
            "answer",
            "-w",
            "%{http_code}",
            "-H",
            &content_type,
            "--data-binary",
            "@posted",
            url,
        ],
    );
    (status.trim().parse().unwrap(), std::fs::read(directory.join("answer")).unwrap())
}

#[test]
fn a_tpm_key_is_attested_and_enrolled() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            world.client("ra", MAKER, &[Role::RegistrationAuthority]).await;
            let directory = world.directory.clone();
            let shop = Shop::new(&directory);
            let parts = vec![
                attestation::part(issuance.clone(), shop.roots()),
                est::part(issuance.clone(), "idevid").unwrap(),
            ];
            let address = server::tls(&world, parts).await;
            let base = format!("https://localhost:{}", address.port());
            tokio::task::spawn_blocking(move || {
                let json = |path: &str, body: &[u8]| {
                    post(&directory, &format!("{base}{path}"), "application/json", body)
                };
                let enrol = |csr: &[u8]| {
                    let url = format!("{base}/.well-known/est/idevid-tpm/simpleenroll");
                    post(&directory, &url, "application/pkcs10", csr)
                };
                let code = |body: &[u8]| {
                    let problem: Value = serde_json::from_slice(body).unwrap();
                    for member in ["type", "title", "status", "detail", "code"] {
                        assert!(!problem[member].is_null(), "{problem}");
                    }
                    problem["code"].as_str().unwrap().to_owned()
                };
                let mut device = shop.device();
                let csr = device
                    .csr(&DeviceSubject {
                        common_name: "pump".to_owned(),
                        serial_number: "TPM-1".to_owned(),
                        ..DeviceSubject::default()
                    })
                    .unwrap();
                let (status, body) = enrol(&csr);
                let said = String::from_utf8_lossy(&body).into_owned();
                assert_eq!(
                    (status, said.starts_with("attestation-missing")),
                    (403, true),
                    "{said}"
                );

                let request = serde_json::to_vec(&device.challenge_request(&[])).unwrap();
                let (status, body) = json("/v1/attestation/challenge", &request);
                assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
                let challenge: ChallengeResponse = serde_json::from_slice(&body).unwrap();
                let path = format!("/v1/attestation/{}", challenge.id);
                let answer = serde_json::to_vec(&device.answer(&challenge).unwrap()).unwrap();
                let (status, body) = json(&path, &answer);
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                let established: CompletionResponse = serde_json::from_slice(&body).unwrap();
                // A replay.
                let (status, body) = json(&path, &answer);
                assert_eq!((status, code(&body).as_str()), (403, "challenge-spent"));

                let (status, body) = enrol(&csr);
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                let row = &issuance.store().page(0, 10).unwrap()[0].1;
                assert_eq!(row.profile, "idevid-tpm");
                assert_eq!(row.attestation.map(hex::encode), Some(established.digest));
                assert_eq!(hex::encode(row.key), established.spki_sha256);

                // A wrong secret spends the challenge and remembers nothing.
                let (_, body) = json("/v1/attestation/challenge", &request);
                let challenge: ChallengeResponse = serde_json::from_slice(&body).unwrap();
                let mut answer = device.answer(&challenge).unwrap();
                answer.secret.0[0] ^= 1;
                let path = format!("/v1/attestation/{}", challenge.id);
                let wrong = serde_json::to_vec(&answer).unwrap();
                let (status, body) = json(&path, &wrong);
                assert_eq!((status, code(&body).as_str()), (403, "wrong-secret"));
                answer.secret.0[0] ^= 1;
                let right = serde_json::to_vec(&answer).unwrap();
                assert_eq!(json(&path, &right).0, 403);

                // Of another manufacturer.
                let strange = Shop::new(&directory.join("strange"));
                let request = serde_json::to_vec(&strange.device().challenge_request(&[])).unwrap();
                let (status, body) = json("/v1/attestation/challenge", &request);
                assert_eq!((status, code(&body).as_str()), (403, "ek-untrusted"));

                for (body, status, expected) in [
                    (&b"{}"[..], 400, "request-malformed"),
                    (b"", 400, "request-malformed"),
                    (&vec![b' '; 200_000], 413, "request-too-large"),
                ] {
                    let (answered, said) = json("/v1/attestation/challenge", body);
                    assert_eq!((answered, code(&said).as_str()), (status, expected));
                }
                let (status, body) = json("/v1/attestation/nonsense", &right);
                assert_eq!((status, code(&body).as_str()), (403, "challenge-unknown"));
            })
            .await
            .unwrap();
        });
    });
}
