//! Attestation: challenges, and what answers them.

use anyhow::{Context as _, ensure};
use hufu_harness::http::{Answer, Http};
use hufu_tpm::device::DeviceTpm;
use hufu_tpm::exchange::{
    CHALLENGE_PATH, COMPLETION_PATH_PREFIX, ChallengeRequest, ChallengeResponse, CompletionRequest,
};
use serde::Serialize;

use crate::common::world;
use crate::{client, harmless, problem};

const JSON: &str = "application/json";

/// The production line at the attestation service.
struct Line {
    http: Http,
    server: String,
}

impl Line {
    fn post(&self, path: &str, body: &impl Serialize) -> anyhow::Result<Answer> {
        self.http.post(&format!("{}{path}", self.server), JSON, &serde_json::to_vec(body)?)
    }

    fn challenge(&self, request: &ChallengeRequest) -> anyhow::Result<ChallengeResponse> {
        let answer = self.post(CHALLENGE_PATH, request)?;
        ensure!(answer.status == 201, "{}", answer.text());
        Ok(serde_json::from_slice(&answer.body)?)
    }

    fn complete(&self, id: &str, answer: &CompletionRequest) -> anyhow::Result<Answer> {
        self.post(&format!("{COMPLETION_PATH_PREFIX}{id}"), answer)
    }
}

#[test]
fn a_challenge_is_answered_once_and_by_its_tpm_alone() -> anyhow::Result<()> {
    let world = world()?;
    let device = &world.fleet.tpm[0];
    let mut tpm = DeviceTpm::open(&device.tcti(), &device.state())?;
    harmless(&world, |consortium| {
        let line = Line {
            http: client(consortium, "maker", "registration-authority")?,
            server: consortium.authority().est_url(),
        };
        let request = tpm.challenge_request(&[]);

        // The wrong secret spends the challenge: the right one comes too late.
        let challenge = line.challenge(&request)?;
        let right = tpm.answer(&challenge)?;
        let mut wrong = right.clone();
        wrong.secret.0[0] ^= 1;
        let refused = line.complete(&challenge.id, &wrong)?;
        problem("a wrong secret", &refused, (403, "wrong-secret", ""))?;
        let refused = line.complete(&challenge.id, &right)?;
        problem("after a wrong secret", &refused, (403, "challenge-spent", ""))?;

        // What answers one challenge does not answer another.
        let other = line.challenge(&request)?;
        let refused = line.complete(&other.id, &right)?;
        problem("the answer to another challenge", &refused, (403, "wrong-secret", ""))?;

        // Answered right, it is spent as well.
        let challenge = line.challenge(&request)?;
        let right = tpm.answer(&challenge)?;
        let taken = line.complete(&challenge.id, &right)?;
        ensure!(taken.status == 200, "{}", taken.text());
        let refused = line.complete(&challenge.id, &right)?;
        problem("a replay", &refused, (403, "challenge-spent", "begin a new one"))?;

        // A key that the TPM may give away.
        let challenge = line.challenge(&request)?;
        let mut loose = tpm.answer(&challenge)?;
        without_fixed_tpm(&mut loose.key_public.0)?;
        let refused = line.complete(&challenge.id, &loose)?;
        problem("a key not fixed", &refused, (403, "key-not-fixed-tpm", "fixedTPM"))?;
        let mut loose = request.clone();
        without_fixed_tpm(&mut loose.ak_public.0)?;
        let refused = line.post(CHALLENGE_PATH, &loose)?;
        problem("an AK not fixed", &refused, (403, "ak-attributes", "fixedTPM"))
    })
}

/// Clears fixedTPM (TPM 2.0 part 2, table 31) in a TPM2B_PUBLIC: size, type
/// and name algorithm come before the attributes.
fn without_fixed_tpm(public: &mut [u8]) -> anyhow::Result<()> {
    let attributes = public.get_mut(6..10).context("a TPM2B_PUBLIC has attributes")?;
    attributes[3] &= !0x02;
    Ok(())
}

#[test]
fn a_malformed_attestation_is_told_where() -> anyhow::Result<()> {
    let world = world()?;
    let others = [("regulator", "regulator"), ("maker", "operator")];
    for (member, role) in others {
        world.consortium.client(member, role)?;
    }
    harmless(&world, |consortium| {
        let http = client(consortium, "maker", "registration-authority")?;
        let url = format!("{}{CHALLENGE_PATH}", consortium.authority().est_url());
        let open = "{\"ek_certificates\":[\"AAAA\"],\"ek_public\":\"AAAA\"";
        let malformed = "request-malformed";
        for (what, body, expected) in [
            ("nothing", String::new(), (400, malformed, "line 1")),
            ("half", open.to_owned(), (400, malformed, "line 1")),
            ("not base64", open.replace("AAAA", "?") + "}", (400, malformed, "base64")),
            ("a member missing", format!("{open}}}"), (400, malformed, "ak_public")),
            ("unknown", format!("{open},\"extra\":1}}"), (400, malformed, "extra")),
            (
                "no certificate",
                format!("{},\"ak_public\":\"AAAA\"}}", open.replace("[\"AAAA\"]", "[]")),
                (400, malformed, "one to 8 certificates"),
            ),
            (
                "no certificates at all",
                format!("{open},\"ak_public\":\"AAAA\"}}"),
                (403, "ek-malformed", "TPM2B_PUBLIC"),
            ),
            ("oversized", " ".repeat(128 * 1024 + 1), (413, "request-too-large", "131072")),
        ] {
            problem(what, &http.post(&url, JSON, body.as_bytes())?, expected)?;
        }
        let answer = http.post(&url, "text/plain", b"{}")?;
        problem("text", &answer, (415, "media-type", JSON))?;

        let complete = |id: &str| {
            let url = consortium.authority().est_url();
            http.post(&format!("{url}{COMPLETION_PATH_PREFIX}{id}"), JSON, b"{}")
        };
        problem("no identifier", &complete("zz")?, (403, "challenge-unknown", ""))?;
        let unknown = "0".repeat(32);
        problem("no members", &complete(&unknown)?, (400, malformed, "secret"))?;

        // Who may not enrol may not attest either.
        for (member, role) in others {
            let answer = client(consortium, member, role)?.post(&url, JSON, b"{}")?;
            problem(role, &answer, (403, "role-missing", "registration-authority"))?;
        }
        let nobody = Http::tls(&consortium.root_pem()?, None)?.post(&url, JSON, b"{}")?;
        problem("nobody", &nobody, (401, "anonymous", "certificate"))
    })
}
