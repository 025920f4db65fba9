//! Who asks: nobody, strangers, the revoked, and those with another role.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hufu_harness::Consortium;
use hufu_harness::device::Device;
use hufu_harness::est::{Enrolled, Est, der_of_pem, pem};
use hufu_harness::http::{Http, Identity};
use hufu_harness::inspect::text;
use hufu_harness::member::SOFTHSM2_MODULE;
use hufu_harness::process;
use hufu_proof::Algorithm;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::common::world;
use crate::{client, harmless, problem, sentence};

const JSON: &str = "application/json";

/// What is asked of the gateway by GET and POST, each in vain by whom the
/// consortium does not know.
const PATHS: [&str; 4] =
    ["/v1/status", "/v1/blocks/1", "/v1/contracts", "/v1/contracts/device-registry/device/SIM-001"];
const POSTS: [&str; 4] =
    ["/v1/transactions", "/v1/transactions/bundle", "/v1/query", "/v1/reports"];

#[test]
fn nobody_gets_nothing_but_what_is_public() -> anyhow::Result<()> {
    let world = world()?;
    let device = Device::new("NOBODY-1", Algorithm::Ed25519)?;
    harmless(&world, |consortium| {
        let http = Http::tls(&consortium.root_pem()?, None)?;
        let url = consortium.regulator().gateway_url();
        let expected = (401, "anonymous", "client certificate");
        for path in PATHS {
            problem(path, &http.get(&format!("{url}{path}"))?, expected)?;
        }
        for path in POSTS {
            problem(path, &http.post(&format!("{url}{path}"), JSON, b"{}")?, expected)?;
        }
        assert_eq!(http.get(&format!("{url}/openapi.json"))?.status, 200);

        let est = consortium.authority().est_url();
        for operation in ["simpleenroll", "simplereenroll"] {
            let url = format!("{est}/.well-known/est/idevid/{operation}");
            let body = device.request()?;
            let answer = http.post(&url, "application/pkcs10", &body)?;
            // Bouncy Castle's client cannot answer a challenge that has a body;
            // code and sentence stand in headers.
            anyhow::ensure!(answer.status == 401, "{operation}: {}", answer.status);
            anyhow::ensure!(answer.text().is_empty(), "{operation}: {}", answer.text());
        }
        let cacerts = format!("{est}/.well-known/est/cacerts");
        assert_eq!(http.get(&cacerts)?.status, 200);
        Ok(())
    })
}

#[test]
fn a_stranger_is_told_that_it_is_one() -> anyhow::Result<()> {
    let world = world()?;
    let device = Device::new("STRANGER-1", Algorithm::Ed25519)?;
    // An authority of the same name, with a key of its own.
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["maker".to_owned()])?.signed_by(&key, &issuer)?;
    let stranger =
        Identity { chain_pem: pem("CERTIFICATE", certificate.der()), key_pem: key.serialize_pem() };
    harmless(&world, |consortium| {
        let http = Http::tls(&consortium.root_pem()?, Some(&stranger))?;
        let status = format!("{}/v1/status", consortium.operator().gateway_url());
        let expected = (403, "certificate-refused", "not one of this consortium");
        problem("of another authority", &http.get(&status)?, expected)?;
        let est = consortium.authority().est_url();
        let enrol = format!("{est}/.well-known/est/idevid/simpleenroll");
        let answer = http.post(&enrol, "application/pkcs10", &device.request()?)?;
        sentence("of another authority", &answer, expected)?;
        // What is public is so for strangers, too.
        assert_eq!(http.get(&format!("{est}/.well-known/est/cacerts"))?.status, 200);
        Ok(())
    })
}

/// A client of `member` with `role` that nobody else uses.
pub fn certified(
    consortium: &Consortium,
    name: &str,
    member: &str,
    role: &str,
) -> anyhow::Result<(Identity, Enrolled)> {
    let client = Device::new(name, Algorithm::EcdsaP256)?;
    let csr = consortium.path(&format!("{name}.csr"));
    let out = consortium.path(&format!("{name}.pem"));
    fs::write(&csr, pem("CERTIFICATE REQUEST", &client.client_request()?))?;
    consortium.approve(member, &csr, &[role])?;
    consortium.issue("operator-client", member, &["--role", role], &csr, &out)?;
    let chain_pem = fs::read_to_string(out)?;
    let enrolled = Enrolled { der: der_of_pem(&chain_pem)?.swap_remove(0) };
    Ok((Identity { chain_pem, key_pem: client.key_pem() }, enrolled))
}

#[test]
fn the_revoked_are_refused_everywhere() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let (identity, certificate) =
        certified(consortium, "revoked-line", "maker", "registration-authority")?;
    let http = Http::tls(&consortium.root_pem()?, Some(&identity))?;
    let status = format!("{}/v1/status", consortium.operator().gateway_url());
    let est = Est::new(http.clone(), &consortium.authority().est_url());
    let device = Device::new("REVOKED-LINE-1", Algorithm::Ed25519)?;
    http.get(&status)?.success()?;
    assert!(est.enrol("idevid", &device.request()?)?.is_ok());

    let serial = certificate.serial()?;
    consortium.authority().run(&["cert", "revoke", &serial, "--reason", "key-compromise"])?;
    // Once all nodes have executed the revocation, also on connections that
    // were open before.
    hufu_harness::job::life::agree(consortium)?;
    let device = Device::new("REVOKED-LINE-2", Algorithm::Ed25519)?;
    harmless(&world, |_| {
        problem("revoked", &http.get(&status)?, (403, "certificate-revoked", "revoked"))?;
        let refused = est.enrol("idevid", &device.request()?)?.err().context("enrolled")?;
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.reason.starts_with("certificate-revoked"), "{refused:?}");
        Ok(())
    })?;
    // Revoking again is refused, and so is revoking what is not there.
    for serial in [serial.as_str(), "77"] {
        let mut again = consortium.authority().hufu(&["cert", "revoke", serial]);
        let answer = process::run(&mut again)?;
        assert_eq!(answer.status.code(), Some(1), "{}", answer.stderr);
    }
    Ok(())
}

/// A client certificate that `openssl` signs with the issuing key in the
/// authority's token, past Hufu and the ledger, valid for `days` from now.
pub fn unrecorded(consortium: &Consortium, name: &str, days: &str) -> anyhow::Result<Identity> {
    let authority = consortium.authority();
    let client = Device::new(name, Algorithm::EcdsaP256)?;
    let file = |ending: &str| consortium.path(&format!("{name}.{ending}"));
    fs::write(file("csr"), pem("CERTIFICATE REQUEST", &client.client_request()?))?;
    fs::write(
        file("ext"),
        "subjectAltName=URI:urn:hufu:member:maker,URI:urn:hufu:role:registration-authority\n\
         keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n\
         subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
    )?;
    let key = format!(
        "pkcs11:token=authority;object=issuing-ca;type=private;pin-source=file:{}",
        text(&authority.pin())?
    );
    let mut command = Command::new("openssl");
    command.args(["x509", "-req", "-engine", "pkcs11", "-CAkeyform", "engine", "-CAkey", &key]);
    command.arg("-CA").arg(consortium.issuing_path()).args(["-set_serial", "0x7777"]);
    command.args(["-days", days]).arg("-extfile").arg(file("ext")).arg("-in").arg(file("csr"));
    command.arg("-out").arg(file("pem"));
    command.env("SOFTHSM2_CONF", authority.softhsm()).env("PKCS11_MODULE_PATH", SOFTHSM2_MODULE);
    process::run(&mut command)?.success()?;
    let issuing = fs::read_to_string(consortium.issuing_path())?;
    Ok(Identity {
        chain_pem: fs::read_to_string(file("pem"))? + &issuing,
        key_pem: client.key_pem(),
    })
}

#[test]
fn what_is_expired_or_not_on_the_ledger_is_refused() -> anyhow::Result<()> {
    let world = world()?;
    let device = Device::new("UNRECORDED-1", Algorithm::Ed25519)?;
    harmless(&world, |consortium| {
        let status = format!("{}/v1/status", consortium.operator().gateway_url());
        let est = consortium.authority().est_url();
        let root = consortium.root_pem()?;

        let unknown = Http::tls(&root, Some(&unrecorded(consortium, "unrecorded", "1")?))?;
        let answer = unknown.get(&status)?;
        problem("not on the ledger", &answer, (403, "certificate-unknown", "no entry"))?;
        let refused = Est::new(unknown.clone(), &est).enrol("idevid", &device.request()?)?;
        let refused = refused.err().context("enrolled")?;
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.reason.starts_with("certificate-unknown"), "{refused:?}");
        assert!(refused.reason.contains("no entry"), "{refused:?}");
        // It was waited for once, and is told at once from then on.
        let since = Instant::now();
        for _ in 0..10 {
            problem("again", &unknown.get(&status)?, (403, "certificate-unknown", "no entry"))?;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());

        let expired = Http::tls(&root, Some(&unrecorded(consortium, "expired", "-1")?))?;
        problem("expired", &expired.get(&status)?, (403, "certificate-expired", "expired"))?;
        assert_eq!(expired.get(&format!("{est}/.well-known/est/cacerts"))?.status, 200);
        let refused = Est::new(expired, &est).enrol("idevid", &device.request()?)?;
        let refused = refused.err().context("enrolled")?;
        assert!(refused.reason.starts_with("certificate-expired"), "{refused:?}");
        Ok(())
    })
}

#[test]
fn the_right_certificate_with_another_role_is_refused() -> anyhow::Result<()> {
    let world = world()?;
    let issuer = fs::read_to_string(world.consortium.issuing_path())?;
    let device = world.fleet.simulated[0].identity(&issuer)?;
    // One that sent nothing of what is asked for: batches go out in their order.
    let last = world.fleet.simulated.iter().rev().nth(1).context("devices")?;
    let sister = last.identity(&issuer)?;
    // A regulator's production line, if it had one, does not supervise.
    let line = world.consortium.client("regulator", "registration-authority")?;
    world.consortium.client("operator", "operator")?;
    let sample = world.recorded.sample;
    harmless(&world, |consortium| {
        let root = consortium.root_pem()?;
        let regulator = consortium.regulator().gateway_url();
        let query = b"{\"sql\":\"SELECT 1\"}";
        let report = b"{\"control_set\":\"operation-supervision/operation-baseline\"}";
        for (who, http) in [
            ("a maker", client(consortium, "maker", "operator")?),
            ("an operator", client(consortium, "operator", "operator")?),
            ("a device", Http::tls(&root, Some(&device))?),
            ("a regulator's line", Http::tls(&root, Some(&line))?),
        ] {
            let expected = (403, "not-a-regulator", "regulator");
            for (path, body) in [("/v1/query", &query[..]), ("/v1/reports", report)] {
                let answer = http.post(&format!("{regulator}{path}"), JSON, body)?;
                problem(&format!("{who}: {path}"), &answer, expected)?;
            }
        }
        // A receipt holds the transaction: of a device's it is for its present owner,
        // not for the member that it was certified for, and for no other device.
        let url = format!("{}/v1/receipts/{sample}", consortium.operator().gateway_url());
        for (who, http) in [
            ("the maker", client(consortium, "maker", "operator")?),
            ("a sister device", Http::tls(&root, Some(&sister))?),
        ] {
            let answer = http.get(&url)?;
            problem(who, &answer, (403, "not-permitted", "owner"))?;
        }
        let answer = client(consortium, "operator", "operator")?.get(&url)?;
        ensure!(answer.status == 200, "the owner: {}", answer.text());
        // By the administration, each member reads its own.
        let id = sample.to_string();
        let out = consortium.path("not-the-makers.pem");
        let out = text(&out)?;
        consortium.operator().run(&["ledger", "receipt", &id, "--out", out])?;
        let refused = consortium.maker().run(&["ledger", "receipt", &id, "--out", out]);
        ensure!(refused.is_err(), "the maker's administrator reads the operator's");
        let rows = |of: &hufu_harness::member::Member, sql: &str| -> anyhow::Result<u64> {
            let answer = of.json(&["query", sql])?;
            ensure!(answer["look"].is_string(), "it left no look: {answer}");
            answer["rows"][0][0].as_u64().with_context(|| format!("{answer}"))
        };
        let readings = "SELECT count(*) FROM operation_supervision.reading";
        ensure!(rows(consortium.maker(), readings)? == 0);
        let all = rows(consortium.regulator(), readings)?;
        ensure!(all > 0 && rows(consortium.operator(), readings)? == all);
        let looks = "SELECT count(*) FROM ledger.looks \
                     WHERE member = 'maker' AND subject LIKE 'query by the node%reading'";
        ensure!(rows(consortium.regulator(), looks)? > 0, "the maker's query is not on the ledger");
        Ok(())
    })
}
