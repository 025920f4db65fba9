//! Every profile under three kinds of keys, judged by pkilint and by
//! `openssl verify`: no error.

mod common;

use common::clients::{lint, request, succeed};
use common::{MAKER, World, block_on, registration_authority};
use hufu_issuance::*;
use hufu_keys::testing::isolated;

async fn judge(world: &World, name: &str, der: &[u8]) {
    let path = world.path(&format!("{name}.der"));
    std::fs::write(&path, der).unwrap();
    let findings =
        lint(&world.directory, "lint_pkix_cert", &["lint", "-s", "ERROR", &path.to_string_lossy()]);
    // pkilint takes every URI for a URL with a host. RFC 5280 section 4.2.1.6
    // asks for a scheme and its specific part, which a URN (RFC 8141) has. This
    // one finding about our own URNs is set aside, nothing else.
    const URN: &str = "pkix.invalid_uri_syntax (ERROR): Invalid URI syntax: \"urn:hufu:";
    let findings: Vec<&str> = findings
        .lines()
        .filter(|line| line.starts_with(' ') && !line.trim_start().starts_with(URN))
        .collect();
    assert_eq!(findings, Vec::<&str>::new(), "{name}");
}

async fn every_profile(world: &World) {
    let issuance = world.start();
    judge(world, "root", world.root.der()).await;
    judge(world, "issuing", world.issuer.certificate().der()).await;
    let (key, _) = world.server_key().await;
    for profile in ["tls-server", "member-node"] {
        // pkilint wants a name of two labels, which localhost is not.
        let server = world.server_certificate(&key, profile, "est.example.org").await;
        judge(world, profile, server.der()).await;
    }
    let client = world.client("operator", "plant", &[Role::Operator, Role::Regulator]).await;
    judge(world, "operator-client", client.der()).await;
    let now = world.clock.now();
    for profile in ["idevid", "ldevid", "idevid-tpm"] {
        for algorithm in ["P-256", "P-384", "ED25519"] {
            if profile == "idevid-tpm" && algorithm == "ED25519" {
                continue;
            }
            let name = format!("{profile}-{algorithm}");
            let subject = format!("/C=CN/O={MAKER}/CN=阀门 7/serialNumber={name}");
            let csr = request(&world.directory, &name, algorithm, &subject, None);
            let csr = CertificationRequest::from_der(&csr).unwrap();
            let attested = AttestedKey {
                key: csr.public_key().digest(),
                evidence: [1; 32],
                member: MAKER.to_owned(),
                at: now,
            };
            issuance.attestations().remember(attested, now).unwrap();
            let issued =
                issuance.enrol(&csr, profile, &registration_authority(), None).await.unwrap();
            judge(world, &name, issued.certificate.as_ref().unwrap()).await;
            succeed(
                &world.directory,
                "openssl",
                &[
                    "verify",
                    "-x509_strict",
                    "-CAfile",
                    "root.pem",
                    "-untrusted",
                    "issuing.pem",
                    &format!("{name}.der"),
                ],
            );
        }
    }
}

#[test]
fn no_profile_gives_an_error_under_p256() {
    isolated(|site| {
        block_on(async { every_profile(&World::new(site).await).await });
    });
}

#[test]
fn no_profile_gives_an_error_under_p384() {
    isolated(|site| {
        block_on(async {
            every_profile(&World::with(site, hufu_keys::KeyAlgorithm::P384).await).await;
        });
    });
}

#[test]
fn a_hardware_module_name_is_carried_and_lints() {
    isolated(|site| {
        block_on(async {
            let world = World::new(site).await;
            let issuance = world.start();
            let configuration = "[req]\ndistinguished_name=dn\nreq_extensions=ext\nprompt=no\n\
                [dn]\nserialNumber=HW-1\n[ext]\nsubjectAltName=otherName:1.3.6.1.5.5.7.8.4;SEQ:module\n\
                [module]\ntype=OID:2.23.133.1.2\nserial=FORMAT:HEX,OCTETSTRING:0102030405\n";
            std::fs::write(world.path("hw.cnf"), configuration).unwrap();
            let new = [
                "req",
                "-new",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                "hw.key",
            ];
            let out = ["-config", "hw.cnf", "-outform", "DER", "-out", "hw.csr"];
            succeed(&world.directory, "openssl", &[&new[..], &out[..]].concat());
            let csr = CertificationRequest::from_der(&common::read(&world.path("hw.csr"))).unwrap();
            let issued =
                issuance.enrol(&csr, "idevid", &registration_authority(), None).await.unwrap();
            let der = issued.certificate.clone().unwrap();
            let certificate = Certificate::from_der(&der).unwrap();
            assert_eq!(
                certificate.alternative_names().unwrap()[0].to_string(),
                "hardwareModule:2.23.133.1.2:0102030405"
            );
            judge(&world, "hw", &der).await;
        });
    });
}
