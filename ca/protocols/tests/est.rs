//! EST with real clients over real TLS: curl with openssl, strongSwan's pki.

#[path = "../../issuance/tests/common/mod.rs"]
mod common;
#[path = "common/server.rs"]
mod server;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::clients::{request, run, succeed};
use common::{MAKER, World, block_on};
use hufu_issuance::*;
use hufu_keys::testing::isolated;
use hufu_protocols::*;

struct Service {
    world: World,
    issuance: Issuance,
    address: SocketAddr,
}

impl Service {
    async fn new(site: &hufu_keys::testing::Site) -> Service {
        let world = World::new(site).await;
        let issuance = world.start();
        let parts = vec![est::part(issuance.clone(), "idevid").unwrap()];
        let address = server::tls(&world, parts).await;
        Service { world, issuance, address }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/.well-known/est/{path}", self.address.port())
    }

    /// Runs curl on a thread of its own; returns status, headers and body.
    async fn curl(&self, arguments: &[&str]) -> (u16, String, Vec<u8>) {
        let directory = self.world.directory.clone();
        let mut all: Vec<String> =
            ["-sS", "--cacert", "root.pem", "-D", "headers", "-o", "body", "-w", "%{http_code}"]
                .iter()
                .map(|argument| (*argument).to_owned())
                .collect();
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        tokio::task::spawn_blocking(move || {
            let _ = std::fs::remove_file(directory.join("body"));
            let status = succeed(&directory, "curl", &all);
            let headers = std::fs::read_to_string(directory.join("headers")).unwrap();
            let body = std::fs::read(directory.join("body")).unwrap_or_default();
            (status.trim().parse().unwrap(), headers, body)
        })
        .await
        .unwrap()
    }

    /// Posts a file as a client would.
    async fn post(&self, path: &str, file: &str, client: Option<&str>) -> (u16, String, Vec<u8>) {
        let (url, data) = (self.url(path), format!("@{file}"));
        let mut arguments =
            vec!["-H", "Content-Type: application/pkcs10", "--data-binary", &data, &url];
        let (certificate, key);
        if let Some(client) = client {
            certificate = format!("{client}.crt");
            key = format!("{client}.key");
            arguments.extend(["--cert", &certificate, "--key", &key]);
        }
        self.curl(&arguments).await
    }

    /// The certificate in an EST answer, by `openssl`.
    fn certificate(&self, body: &[u8], name: &str) -> Certificate {
        let directory = &self.world.directory;
        std::fs::write(directory.join("answer.b64"), body).unwrap();
        // coreutils' base64 takes line feeds and nothing else.
        succeed(directory, "sh", &["-c", "base64 -d answer.b64 > answer.p7"]);
        let certificate = format!("{name}.crt");
        succeed(
            directory,
            "openssl",
            &["pkcs7", "-inform", "DER", "-in", "answer.p7", "-print_certs", "-out", "answer.pem"],
        );
        succeed(directory, "openssl", &["x509", "-in", "answer.pem", "-out", &certificate]);
        succeed(
            directory,
            "openssl",
            &[
                "verify",
                "-x509_strict",
                "-CAfile",
                "root.pem",
                "-untrusted",
                "issuing.pem",
                &certificate,
            ],
        );
        let text = std::fs::read_to_string(directory.join(&certificate)).unwrap();
        Certificate::from_der(&pem::decode_bundle(&text).unwrap()[0]).unwrap()
    }
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

#[test]
fn curl_and_openssl_enrol_and_renew() {
    isolated(|site| {
        block_on(async {
            let service = Service::new(site).await;
            let world = &service.world;
            world.client("ra", MAKER, &[Role::RegistrationAuthority]).await;

            let (status, headers, body) = service.curl(&[&service.url("cacerts")]).await;
            assert_eq!(status, 200);
            assert!(headers.to_ascii_lowercase().contains("application/pkcs7-mime"), "{headers}");
            std::fs::write(world.path("ca.b64"), body).unwrap();
            let listed = succeed(
                &world.directory,
                "sh",
                &["-c", "base64 -d ca.b64 | openssl pkcs7 -inform DER -print_certs -noout"],
            );
            assert!(listed.contains("Test Root") && listed.contains("Test Issuing"), "{listed}");

            let (status, headers, body) =
                service.curl(&[&service.url("idevid-tpm/csrattrs")]).await;
            assert_eq!(status, 200);
            assert!(headers.to_ascii_lowercase().contains("application/csrattrs"));
            std::fs::write(world.path("attrs.b64"), body).unwrap();
            let parsed = succeed(
                &world.directory,
                "sh",
                &["-c", "base64 -d attrs.b64 | openssl asn1parse -inform DER"],
            );
            for wanted in ["prime256v1", "ecdsa-with-SHA256", "serialNumber"] {
                assert!(parsed.contains(wanted), "{parsed}");
            }

            // PEM, base64 of DER, and DER, as people send it: one certificate.
            request(&world.directory, "device", "P-256", "/CN=pump/serialNumber=SN-1", None);
            succeed(&world.directory, "sh", &["-c", "base64 device.csr.der > device.b64"]);
            let mut first = None;
            for file in ["device.b64", "device.csr", "device.csr.der"] {
                let (status, headers, body) = service.post("simpleenroll", file, Some("ra")).await;
                assert_eq!(status, 200, "{}", text(&body));
                assert!(headers.contains("smime-type=certs-only"));
                let certificate = service.certificate(&body, "device");
                assert_eq!(*first.get_or_insert(certificate.clone()), certificate);
            }
            let first = first.unwrap();
            assert_eq!(first.not_after(), UnixTime::NEVER);

            // A label is a profile.
            let (status, _, body) =
                service.post("ldevid/simpleenroll", "device.csr", Some("ra")).await;
            assert_eq!(status, 200, "{}", text(&body));
            let local = service.certificate(&body, "local");
            assert_ne!(local.not_after(), UnixTime::NEVER);
            std::fs::copy(world.path("device.key"), world.path("local.key")).unwrap();

            // The device renews by itself, with a new key.
            request(&world.directory, "next", "P-256", "/CN=pump/serialNumber=SN-1", None);
            let (status, _, body) = service.post("simplereenroll", "next.csr", Some("local")).await;
            assert_eq!(status, 200, "{}", text(&body));
            let renewed = service.certificate(&body, "next");
            assert_ne!(renewed.serial(), local.serial());
            assert_eq!(renewed.subject().unwrap().to_text(), local.subject().unwrap().to_text());
            // Renewing again by the same certificate and key: the same answer.
            let (_, _, body) = service.post("simplereenroll", "next.csr", Some("local")).await;
            assert_eq!(service.certificate(&body, "next"), renewed);
            // An hour later that is a wish for another.
            let issued = || service.issuance.store().counts().unwrap().0;
            let before = issued();
            world.clock.forward(Duration::from_secs(3600));
            let (status, _, _) = service.post("simplereenroll", "next.csr", Some("local")).await;
            assert_eq!((status, issued()), (200, before + 1));
            // With an IDevID a device gets its LDevID.
            request(&world.directory, "fresh", "ED25519", "/serialNumber=SN-1", None);
            let (status, _, body) =
                service.post("ldevid/simpleenroll", "fresh.csr", Some("device")).await;
            assert_eq!(status, 200, "{}", text(&body));
            // But not somebody else's, nor an IDevID.
            request(&world.directory, "thief", "P-256", "/serialNumber=SN-2", None);
            let (status, _, body) =
                service.post("ldevid/simpleenroll", "thief.csr", Some("device")).await;
            assert_eq!((status, text(&body).starts_with("csr-subject-invalid")), (400, true));
            let (status, _, body) =
                service.post("idevid/simpleenroll", "fresh.csr", Some("device")).await;
            assert_eq!((status, text(&body).starts_with("role-missing")), (403, true));
            // Another subject is not a renewal.
            let (status, _, body) =
                service.post("simplereenroll", "thief.csr", Some("local")).await;
            assert_eq!((status, text(&body).starts_with("csr-subject-invalid")), (400, true));
            // A revoked device renews nothing.
            service.issuance.revoke(local.serial(), RevocationReason::KeyCompromise).await.unwrap();
            let (status, _, body) = service.post("simplereenroll", "next.csr", Some("local")).await;
            assert_eq!(
                (status, text(&body).starts_with("certificate-revoked")),
                (403, true),
                "{}",
                text(&body)
            );
        });
    });
}

#[test]
fn a_renewal_takes_its_names_in_any_order_and_tells_two_subjects_apart() {
    isolated(|site| {
        block_on(async {
            let service = Service::new(site).await;
            let world = &service.world;
            world.client("ra", MAKER, &[Role::RegistrationAuthority]).await;
            let subject = "/O=maker/serialNumber=SN-1";
            let names = |names: &str| Some(format!("subjectAltName={names}"));
            let make = |name: &str, subject: &str, san: Option<String>| {
                request(&world.directory, name, "P-256", subject, san.as_deref());
            };
            make("device", subject, names("DNS:a.example.org,DNS:b.example.org"));
            let (status, _, body) =
                service.post("ldevid/simpleenroll", "device.csr", Some("ra")).await;
            assert_eq!(status, 200, "{}", text(&body));
            let first = service.certificate(&body, "device");
            make("turned", subject, names("DNS:b.example.org,DNS:a.example.org"));
            let (status, _, body) =
                service.post("simplereenroll", "turned.csr", Some("device")).await;
            assert_eq!(status, 200, "{}", text(&body));
            let second = service.certificate(&body, "turned");
            assert_eq!(second.alternative_names().unwrap(), first.alternative_names().unwrap());
            make("fewer", subject, names("DNS:b.example.org"));
            let (status, _, body) =
                service.post("simplereenroll", "fewer.csr", Some("device")).await;
            assert_eq!(status, 400);
            assert!(text(&body).contains("in any order"), "{}", text(&body));
            make("swapped", "/serialNumber=SN-1/O=maker", None);
            let (status, _, body) =
                service.post("simplereenroll", "swapped.csr", Some("device")).await;
            assert_eq!(status, 400);
            let said = text(&body);
            assert!(said.contains("it is O=maker / serialNumber=SN-1,"), "{said}");
            assert!(said.contains("has serialNumber=SN-1 / O=maker"), "{said}");
        });
    });
}

#[test]
fn a_good_token_counts_beside_a_certificate_that_does_not() {
    isolated(|site| {
        block_on(async {
            let service = Service::new(site).await;
            let world = &service.world;
            let old = world.client("old", MAKER, &[Role::RegistrationAuthority]).await;
            service.issuance.revoke(old.serial(), RevocationReason::Superseded).await.unwrap();
            let life = Duration::from_secs(3600);
            let token = service.issuance.tokens().create(MAKER, "idevid", 1, life, None).await;
            let token = token.unwrap();
            request(&world.directory, "device", "P-256", "/serialNumber=SN-1", None);
            let post = async |password: &str| {
                let (user, url) = (format!("{MAKER}:{password}"), service.url("simpleenroll"));
                let (status, _, body) = service
                    .curl(&[
                        "--cert",
                        "old.crt",
                        "--key",
                        "old.key",
                        "-u",
                        &user,
                        "-H",
                        "Content-Type: application/pkcs10",
                        "--data-binary",
                        "@device.csr",
                        &url,
                    ])
                    .await;
                (status, text(&body))
            };
            let (status, said) = post("guess").await;
            assert_eq!(status, 403, "{said}");
            assert!(said.starts_with("certificate-revoked"), "{said}");
            assert!(said.contains("leave it out"), "{said}");
            assert_eq!(post(&token.password).await.0, 200);
        });
    });
}

#[test]
fn strongswan_enrols_and_renews() {
    isolated(|site| {
        block_on(async {
            let service = Service::new(site).await;
            let world = &service.world;
            let base = format!("https://localhost:{}", service.address.port());
            let directory = world.directory.clone();
            let token = service
                .issuance
                .tokens()
                .create(MAKER, "idevid", 1, Duration::from_secs(3600), None)
                .await
                .unwrap();
            request(&directory, "swan", "P-256", "/CN=swan/serialNumber=SW-1", None);
            request(&directory, "swan2", "P-256", "/CN=swan/serialNumber=SW-1", None);
            let user = format!("{}:{}", token.user, token.password);
            tokio::task::spawn_blocking(move || {
                let pki = |arguments: &[&str], output: Option<&str>| {
                    let mut all: Vec<&str> = arguments.to_vec();
                    all.extend(["--url", &base, "--cacert", "root.pem", "--cacert", "issuing.pem"]);
                    let result = run(&directory, "pki", &all);
                    let said = String::from_utf8_lossy(&result.stderr).into_owned();
                    assert!(result.status.success(), "pki {all:?}: {said}");
                    if let Some(output) = output {
                        std::fs::write(directory.join(output), &result.stdout).unwrap();
                    }
                    said
                };
                pki(&["--estca", "--caout", "est-ca.pem", "--outform", "pem"], None);
                let found = std::fs::read_dir(&directory)
                    .unwrap()
                    .filter(|entry| {
                        let name = entry.as_ref().unwrap().file_name();
                        name.to_string_lossy().starts_with("est-ca")
                    })
                    .count();
                assert_eq!(found, 2, "root and issuing certificate");
                let enrol = ["--est", "--in", "swan.csr.der", "--outform", "pem"];
                let said = pki(&[&enrol[..], &["--userpass", &user]].concat(), Some("swan.crt"));
                assert!(said.contains("trusted"), "{said}");
                let renew = ["--est", "--in", "swan2.csr.der", "--outform", "pem"];
                let old = ["--cert", "swan.crt", "--key", "swan.key"];
                pki(&[&renew[..], &old].concat(), Some("swan2.crt"));
                for certificate in ["swan.crt", "swan2.crt"] {
                    succeed(
                        &directory,
                        "openssl",
                        &[
                            "verify",
                            "-CAfile",
                            "root.pem",
                            "-untrusted",
                            "issuing.pem",
                            certificate,
                        ],
                    );
                }
            })
            .await
            .unwrap();
            assert_eq!(world.ledger.issued(), 2);
        });
    });
}

#[test]
fn tokens_enrol_so_many_keys_and_no_more() {
    isolated(|site| {
        block_on(async {
            let service = Service::new(site).await;
            let world = &service.world;
            let tokens = service.issuance.tokens();
            let token =
                tokens.create(MAKER, "idevid", 1, Duration::from_secs(3600), None).await.unwrap();
            request(&world.directory, "a", "P-256", "/serialNumber=A", None);
            request(&world.directory, "b", "P-256", "/serialNumber=B", None);
            let post = async |path: &str, file: &str, password: &str| {
                let (url, data) = (service.url(path), format!("@{file}"));
                let user = format!("{MAKER}:{password}");
                let (status, headers, body) = service
                    .curl(&[
                        "-u",
                        &user,
                        "-H",
                        "Content-Type: application/pkcs10",
                        "--data-binary",
                        &data,
                        &url,
                    ])
                    .await;
                (status, headers, text(&body))
            };
            let (status, headers, body) = post("simpleenroll", "a.csr", "guess").await;
            assert_eq!(status, 401, "{body}");
            assert!(headers.to_ascii_lowercase().contains("www-authenticate: basic"), "{headers}");
            assert!(!body.contains("guess"));
            assert_eq!(post("ldevid/simpleenroll", "a.csr", &token.password).await.0, 403);
            assert_eq!(post("simpleenroll", "a.csr", &token.password).await.0, 200);
            assert_eq!(post("simpleenroll", "a.csr", &token.password).await.0, 200);
            let (status, _, body) = post("simpleenroll", "b.csr", &token.password).await;
            assert_eq!((status, body.starts_with("enrolment-token-spent")), (403, true), "{body}");
            assert!(body.contains("the 1 key that it is for"), "{body}");
            // One that is for a device enrols no other, and is not used up by it.
            let life = Duration::from_secs(3600);
            let own = tokens.create(MAKER, "idevid", 1, life, Some("B")).await.unwrap();
            request(&world.directory, "c", "P-256", "/serialNumber=C", None);
            let (status, _, body) = post("simpleenroll", "c.csr", &own.password).await;
            assert_eq!((status, body.starts_with("csr-subject-invalid")), (400, true), "{body}");
            assert_eq!(post("simpleenroll", "b.csr", &own.password).await.0, 200);
            world.clock.forward(Duration::from_secs(3601));
            assert_eq!(post("simpleenroll", "a.csr", &token.password).await.0, 401);
            assert!(tokens.create(MAKER, "idevid", 0, Duration::from_secs(1), None).await.is_err());
            assert!(tokens.create("a b", "idevid", 1, Duration::from_secs(1), None).await.is_err());
            // The store does not hold what the token was.
            let stored = std::fs::read(world.path("ca.sqlite-wal")).unwrap();
            let secret = token.password.as_bytes();
            assert!(!stored.windows(secret.len()).any(|window| window == secret));
        });
    });
}

#[test]
fn clients_without_the_right_certificate_are_told_why() {
    isolated(|site| {
        block_on(async {
            let service = Service::new(site).await;
            let world = &service.world;
            request(&world.directory, "device", "P-256", "/serialNumber=SN-1", None);
            let (status, headers, body) = service.post("simpleenroll", "device.csr", None).await;
            assert_eq!(status, 401);
            assert!(
                headers.to_ascii_lowercase().contains("hufu-code: credential-missing"),
                "{headers}"
            );
            // Bouncy Castle's client closes a challenge before it answers it.
            assert_eq!(text(&body), "");
            assert!(headers.to_ascii_lowercase().contains("content-length: 0"), "{headers}");
            assert!(headers.contains("needs a client certificate"), "{headers}");
            // To renew, nothing but a certificate does.
            let (status, headers, body) = service.post("simplereenroll", "device.csr", None).await;
            assert_eq!((status, text(&body).as_str()), (401, ""));
            assert!(headers.to_ascii_lowercase().contains("hufu-code: anonymous"), "{headers}");

            world.client("regulator", "ministry", &[Role::Regulator]).await;
            let (status, _, body) =
                service.post("simpleenroll", "device.csr", Some("regulator")).await;
            assert_eq!((status, text(&body).starts_with("role-missing")), (403, true));

            // Revoked: at once, on an authority that knew it before.
            let ra = world.client("ra", MAKER, &[Role::RegistrationAuthority]).await;
            assert_eq!(service.post("simpleenroll", "device.csr", Some("ra")).await.0, 200);
            service.issuance.revoke(ra.serial(), RevocationReason::CertificateHold).await.unwrap();
            let (status, _, body) = service.post("simpleenroll", "device.csr", Some("ra")).await;
            assert_eq!(status, 403);
            assert!(text(&body).starts_with("certificate-revoked"), "{}", text(&body));
            assert!(text(&body).contains("on hold"), "{}", text(&body));

            // Under our root's name but not on the ledger.
            let unknown = world.client("unknown", MAKER, &[Role::RegistrationAuthority]).await;
            world.ledger.forget(unknown.serial());
            let refused = async |client: &str| {
                let (status, _, body) =
                    service.post("simpleenroll", "device.csr", Some(client)).await;
                assert_eq!(status, 403, "{client}: {}", text(&body));
                assert!(text(&body).contains("leave it out"), "{client}: {}", text(&body));
                text(&body).split(':').next().unwrap().to_owned()
            };
            assert_eq!(refused("unknown").await, "certificate-unknown");
            // By another authority, of its own making.
            request(&world.directory, "self", "P-256", "/CN=self", None);
            let signed = ["req", "-x509", "-key", "self.key", "-subj", "/CN=self"];
            succeed(&world.directory, "openssl", &[&signed[..], &["-out", "self.crt"]].concat());
            assert_eq!(refused("self").await, "certificate-refused");
            // The ledger is away: not refused, but asked to come again.
            let good = world.client("good", MAKER, &[Role::RegistrationAuthority]).await;
            world.ledger.away.store(true, Ordering::SeqCst);
            let (status, headers, _) =
                service.post("simpleenroll", "device.csr", Some("good")).await;
            assert_eq!(status, 503);
            assert!(headers.to_ascii_lowercase().contains("retry-after: 5"), "{headers}");
            world.ledger.away.store(false, Ordering::SeqCst);
            assert_eq!(service.post("simpleenroll", "device.csr", Some("good")).await.0, 200);
            // Expired.
            assert!(good.not_after() < world.clock.now().plus(Duration::from_secs(398 * 86_400)));
            world.clock.forward(Duration::from_secs(398 * 86_400));
            assert_eq!(refused("good").await, "certificate-expired");
        });
    });
}

#[test]
fn malformed_bodies_get_clear_words() {
    isolated(|site| {
        block_on(async {
            let service = Service::new(site).await;
            let world = &service.world;
            world.client("ra", MAKER, &[Role::RegistrationAuthority]).await;
            let good = request(&world.directory, "device", "P-256", "/serialNumber=SN-1", None);
            let mut forged = good.clone();
            *forged.last_mut().unwrap() ^= 1;
            let big = vec![b'M'; 20_000];
            let cases: [(&str, &[u8], u16, &str); 6] = [
                ("empty", b"", 400, "request-malformed"),
                ("words", b"let me in, please!", 400, "request-malformed"),
                ("short", &good[..good.len() / 2], 400, "request-malformed"),
                ("zeros", &[0; 100], 400, "request-malformed"),
                ("forged", &forged, 400, "csr-signature-invalid"),
                ("big", &big, 413, "request-too-large"),
            ];
            for (name, body, status, code) in cases {
                std::fs::write(world.path(name), body).unwrap();
                let (answered, _, body) = service.post("simpleenroll", name, Some("ra")).await;
                assert_eq!(answered, status, "{name}: {}", text(&body));
                assert!(text(&body).starts_with(code), "{name}: {}", text(&body));
            }
            // Without a declared length.
            let url = service.url("simpleenroll");
            let (status, _, _) = service
                .curl(&[
                    "--cert",
                    "ra.crt",
                    "--key",
                    "ra.key",
                    "-H",
                    "Content-Type: application/pkcs10",
                    "-H",
                    "Transfer-Encoding: chunked",
                    "--data-binary",
                    "@big",
                    &url,
                ])
                .await;
            assert_eq!(status, 413);
            // curl's own content type, another method, unknown label and path.
            let (status, _, body) = service
                .curl(&[
                    "--cert",
                    "ra.crt",
                    "--key",
                    "ra.key",
                    "--data-binary",
                    "@device.csr",
                    &url,
                ])
                .await;
            assert_eq!(status, 415);
            assert!(text(&body).contains("application/pkcs10"));
            let (status, _, body) = service.curl(&[&url]).await;
            assert_eq!(status, 405);
            assert!(text(&body).contains("POST"), "{}", text(&body));
            assert_eq!(service.curl(&[&service.url("nonsense/cacerts")]).await.0, 404);
            for path in ["fullcmc", "idevid/simpleenroll/", "/idevid/simpleenroll", "", "a/b/c"] {
                let (status, headers, body) = service.curl(&[&service.url(path)]).await;
                assert_eq!(status, 404, "{path}");
                assert!(text(&body).contains("/.well-known/est/"), "{path}: {}", text(&body));
                assert!(headers.contains("not-found"), "{headers}");
            }
            assert_eq!(
                service.post("nonsense/simpleenroll", "device.csr", Some("ra")).await.0,
                404
            );
            // Quota of today: 429 with the time until tomorrow.
            world.quotas.set(MAKER, "idevid", Quota { total: None, per_day: Some(0) });
            let (status, headers, body) =
                service.post("simpleenroll", "device.csr", Some("ra")).await;
            assert_eq!(status, 429, "{}", text(&body));
            assert!(headers.to_ascii_lowercase().contains("retry-after:"));
            assert_eq!(service.issuance.store().counts().unwrap(), (0, 0));
        });
    });
}
