//! OCSP and revocation lists.

use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hufu_harness::http::{Answer, Http};
use hufu_harness::inspect::{openssl, text};
use hufu_harness::job::revoke;

use crate::common::world;
use crate::{harmless, sentence};

const OCSP: &str = "application/ocsp-request";

/// OCSPResponseStatus (RFC 6960 §4.2.1).
const MALFORMED: u8 = 1;
const UNAUTHORIZED: u8 = 6;

/// An OCSPResponse that says nothing but its status.
fn says(what: &str, answer: &Answer, status: u8) -> anyhow::Result<()> {
    ensure!(answer.status == 200, "{what}: {}", answer.status);
    ensure!(answer.content_type == "application/ocsp-response", "{what}: {}", answer.content_type);
    ensure!(answer.body == [0x30, 3, 0x0a, 1, status], "{what}: {:02x?}", answer.body);
    Ok(())
}

#[test]
fn ocsp_answers_bad_requests_in_its_own_form() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let file = |name: &str| consortium.path(name);
    let certificate = world.fleet.simulated[0].certificate.clone();
    let certificate = certificate.ok_or_else(|| anyhow::anyhow!("not enrolled"))?;
    std::fs::write(file("ocsp.pem"), certificate.pem())?;
    let request = |issuer: &std::path::Path, out: &str| -> anyhow::Result<Vec<u8>> {
        openssl(&[
            "ocsp",
            "-no_nonce",
            "-issuer",
            text(issuer)?,
            "-cert",
            text(&file("ocsp.pem"))?,
            "-reqout",
            text(&file(out))?,
        ])?
        .success()?;
        Ok(std::fs::read(file(out))?)
    };
    let good = request(&consortium.issuing_path(), "ocsp.der")?;
    // The root is not who issued it, and has no responder here.
    let foreign = request(&consortium.root_path(), "ocsp-foreign.der")?;
    let mut longer = good.clone();
    longer.push(0);
    harmless(&world, |consortium| {
        let http = Http::plain();
        let url = revoke::ocsp_url(consortium);
        for (what, body, status) in [
            ("nothing", Vec::new(), MALFORMED),
            ("nonsense", b"nonsense".to_vec(), MALFORMED),
            ("half", good[..good.len() / 2].to_vec(), MALFORMED),
            ("a byte more", longer, MALFORMED),
            ("of another issuer", foreign, UNAUTHORIZED),
        ] {
            says(what, &http.post(&url, OCSP, &body)?, status)?;
            let path = STANDARD.encode(&body).replace('/', "%2F").replace('+', "%2B");
            if !path.is_empty() {
                says(what, &http.get(&format!("{url}/{path}"))?, status)?;
            }
        }
        says("not base64", &http.get(&format!("{url}/!!!!"))?, MALFORMED)?;
        says("a long path", &http.get(&format!("{url}/{}", "M".repeat(6000)))?, MALFORMED)?;
        let answer = http.post(&url, OCSP, &[0x30; 4 * 1024 + 1])?;
        sentence("oversized", &answer, (413, "request-too-large", "4096 bytes"))?;
        let answer = http.post(&url, "text/plain", &good)?;
        sentence("text", &answer, (415, "media-type", OCSP))?;
        for path in ["", "/crl", "/crl/other.crl", "/ca/other.cer"] {
            let answer = http.get(&format!("{}{path}", consortium.authority().status_url()))?;
            ensure!(answer.status == 404, "{path}: {}", answer.status);
        }
        // It answers the good one as before.
        let answer = http.post(&url, OCSP, &good)?;
        ensure!(answer.body.len() > 100, "{:02x?}", answer.body);
        Ok(())
    })
}
