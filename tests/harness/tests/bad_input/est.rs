//! EST: certification requests.

use std::process::Command;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::asn1::BitString;
use der::{Decode as _, Encode as _};
use hufu_harness::device::Device;
use hufu_harness::est::{Est, pem};
use hufu_harness::http::Http;
use hufu_harness::inspect::openssl;
use hufu_proof::{Algorithm, Signer as _};
use x509_cert::request::CertReq;

use crate::common::world;
use crate::{client, harmless, sentence};

const PKCS10: &str = "application/pkcs10";

fn base64(der: &[u8]) -> Vec<u8> {
    STANDARD.encode(der).into_bytes()
}

/// The request of `device`, signed by `other`.
fn signed_by_another(device: &Device, other: &Device) -> anyhow::Result<Vec<u8>> {
    let mut request = CertReq::from_der(&device.request()?)?;
    let signature = other.sign(&request.info.to_der()?)?;
    request.signature = BitString::from_bytes(signature.as_bytes())?;
    Ok(request.to_der()?)
}

/// A request by `openssl req` with these arguments, DER.
fn by_openssl(arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new("openssl")
        .args(["req", "-new", "-nodes", "-keyout", "/dev/null", "-outform", "DER"])
        .args(arguments)
        .output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

#[test]
fn a_bad_request_is_told_what_is_wrong_with_it() -> anyhow::Result<()> {
    let world = world()?;
    let device = Device::new("BAD-CSR-1", Algorithm::Ed25519)?;
    let other = Device::new("BAD-CSR-2", Algorithm::Ed25519)?;
    let good = device.request()?;
    let mut longer = good.clone();
    longer.push(0);
    let mut forged = good.clone();
    *forged.last_mut().context("a request has bytes")? ^= 1;
    let long_name = Device::new(&"N".repeat(65), Algorithm::Ed25519)?;
    let p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let with = |more: &[&str]| by_openssl(&[p256.as_slice(), more].concat());
    let rsa = by_openssl(&["-newkey", "rsa:2048", "-subj", "/serialNumber=BAD-RSA"])?;
    let authority =
        with(&["-subj", "/serialNumber=BAD-CA", "-addext", "basicConstraints=critical,CA:TRUE"])?;
    let foreign = with(&["-subj", "/serialNumber=BAD-MAIL/emailAddress=a@b.example"])?;
    let by_curve = Device::new("BAD-CSR-3", Algorithm::EcdsaP256)?.request()?;
    let malformed = "request-malformed";
    let cases: Vec<(&str, Vec<u8>, u16, &str, &str)> = vec![
        ("nothing", Vec::new(), 400, malformed, "empty"),
        ("not base64", b"!nonsense!".to_vec(), 400, malformed, "base64"),
        ("not text", vec![0xff, 0xfe, 0x00], 400, malformed, "base64"),
        ("not a request", base64(b"nonsense"), 400, malformed, "certification request"),
        ("half", base64(&good[..good.len() / 2]), 400, malformed, "certification request"),
        ("a byte more", base64(&longer), 400, malformed, "certification request"),
        ("a certificate", pem("CERTIFICATE", &good).into_bytes(), 400, malformed, "PEM"),
        ("altered", base64(&forged), 400, "csr-signature-invalid", "does not verify"),
        (
            "signed by another key",
            base64(&signed_by_another(&device, &other)?),
            400,
            "csr-signature-invalid",
            "sign the request with the private key",
        ),
        ("RSA", base64(&rsa), 400, "csr-algorithm-refused", "use one of"),
        ("for an authority", base64(&authority), 400, "csr-extension-refused", "basicConstraints"),
        (
            "no serial number",
            base64(&device.client_request()?),
            400,
            "csr-subject-invalid",
            "serialNumber",
        ),
        ("a long name", base64(&long_name.request()?), 400, "csr-subject-invalid", "64"),
        ("an attribute too many", base64(&foreign), 400, "csr-subject-invalid", ""),
        ("oversized", vec![b'M'; 16 * 1024 + 1], 413, "request-too-large", "16384 bytes"),
    ];
    harmless(&world, |consortium| {
        let http = client(consortium, "maker", "registration-authority")?;
        let server = format!("{}/.well-known/est", consortium.authority().est_url());
        let enrol = format!("{server}/idevid/simpleenroll");
        for (what, body, status, code, words) in &cases {
            let answer = http.post(&enrol, PKCS10, body)?;
            sentence(what, &answer, (*status, code, words))?;
        }
        let body = base64(&by_curve);
        for (what, path, kind, expected) in [
            ("JSON", "idevid/simpleenroll", "application/json", (415, "media-type", PKCS10)),
            ("no profile", "nonsense/simpleenroll", PKCS10, (404, "profile-unknown", "nonsense")),
            ("no TPM", "idevid-tpm/simpleenroll", PKCS10, (403, "attestation-missing", "TPM")),
            ("for a server", "tls-server/simpleenroll", PKCS10, (403, "role-missing", "")),
            ("for the root", "root/simpleenroll", PKCS10, (403, "role-missing", "")),
        ] {
            let answer = http.post(&format!("{server}/{path}"), kind, &body)?;
            sentence(what, &answer, expected)?;
        }
        for path in ["fullcmc", "idevid/serverkeygen", "a/b/c", "%00/simpleenroll"] {
            let answer = http.post(&format!("{server}/{path}"), PKCS10, &body)?;
            assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        }
        assert_eq!(http.get(&enrol)?.status, 405);
        Ok(())
    })
}

#[test]
fn nobody_renews_for_another() -> anyhow::Result<()> {
    let world = world()?;
    let [one, two] = [&world.fleet.simulated[0], &world.fleet.simulated[1]];
    let issuer = std::fs::read_to_string(world.consortium.issuing_path())?;
    let (request, other) = (two.request()?, two.certificate.clone().context("not enrolled")?);
    harmless(&world, |consortium| {
        let url = consortium.authority().est_url();
        let http = Http::tls(&consortium.root_pem()?, Some(&one.identity(&issuer)?))?;
        let as_one = Est::new(http, &url);
        let refused = as_one.renew("idevid", &request)?.err().context("renewed for another")?;
        assert!((400..404).contains(&refused.status), "{refused:?}");
        // Nor may it enrol anyone.
        let refused = as_one.enrol("idevid", &request)?.err().context("a device enrolled")?;
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.reason.starts_with("role-missing"), "{refused:?}");
        // Nor does a production line renew what is not its certificate.
        let refused = consortium.est()?.renew("idevid", &request)?.err().context("renewed")?;
        assert!((400..404).contains(&refused.status), "{refused:?}");
        Ok(())
    })?;
    // The certificate is as good as before.
    let file = world.consortium.path("not-renewed.pem");
    std::fs::write(&file, other.pem())?;
    let text = hufu_harness::inspect::text;
    openssl(&[
        "verify",
        "-CAfile",
        text(&world.consortium.root_path())?,
        "-untrusted",
        text(&world.consortium.issuing_path())?,
        text(&file)?,
    ])?
    .success()?;
    Ok(())
}
