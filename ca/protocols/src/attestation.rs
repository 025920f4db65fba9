//! TPM attestation over HTTP: the bodies are `hufu_tpm`'s, errors are RFC 9457
//! problem documents whose `code` is that of the attestation check.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/attestation/challenge` | 201, challenge |
//! | `POST /v1/attestation/{id}` | 200, what was established |
//!
//! Both need a client certificate: of a registration authority, which vouches
//! for nothing but that one of its devices asks, or of a device. What was
//! established is remembered for that member until one enrolment uses it.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ::http::StatusCode;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, post};
use hufu_door::body::{Json, Path, json};
use hufu_door::{Code, Form, Part, Problem, Role, Route, Rule};
use hufu_issuance::{AttestedKey, CaError, Issuance, UnixTime, blocking};
use hufu_proof::transaction::IdentityKind;
use hufu_tpm::attest::limits::MAX_REQUEST_BODY;
use hufu_tpm::attest::{
    AttestationError, ChallengeId, Challenges, Fault, ManufacturerRoots, OpenChallenge,
    SystemRandomness,
};
use hufu_tpm::exchange::{
    CHALLENGE_PATH, ChallengeRequest, ChallengeResponse, CompletionRequest, CompletionResponse,
};
use serde::Serialize;

use crate::caller::Credential;
use crate::problem::Refused;

/// Every route.
pub const ROUTES: &[Route] = &[
    Route::new("POST", CHALLENGE_PATH, Rule::Caller),
    Route::new("POST", "/v1/attestation/{id}", Rule::Caller),
];

struct Attest {
    issuance: Issuance,
    /// Shared with blocking tasks, since the checks cost RSA and chains.
    roots: Arc<ManufacturerRoots>,
    challenges: Mutex<Challenges>,
}

type Shared = State<Arc<Attest>>;

/// The attestation service; `roots` are the TPM manufacturers trusted.
pub fn part(issuance: Issuance, roots: ManufacturerRoots) -> Part {
    let roots = Arc::new(roots);
    let challenges = Mutex::new(Challenges::new(ManufacturerRoots::clone(&roots)));
    let attest = Arc::new(Attest { issuance, roots, challenges });
    Part::new(ROUTES, Form::Json, handler).with_state(attest)
}

fn handler(route: &Route) -> MethodRouter<Arc<Attest>> {
    match route.path {
        CHALLENGE_PATH => post(challenge),
        _ => post(complete),
    }
}

async fn challenge(State(attest): Shared, request: Request) -> Response {
    let credential = Credential::of(request.headers(), request.extensions());
    let answered = attest.challenge(&credential, request).await;
    answer(&credential, answered, StatusCode::CREATED)
}

async fn complete(State(attest): Shared, Path(id): Path<String>, request: Request) -> Response {
    let credential = Credential::of(request.headers(), request.extensions());
    let answered = attest.complete(&id, &credential, request).await;
    answer(&credential, answered, StatusCode::OK)
}

impl Attest {
    async fn challenge(
        &self,
        credential: &Credential,
        request: Request,
    ) -> Result<ChallengeResponse, Refused> {
        member(credential)?;
        let (parts, body) = request.into_parts();
        let asked: ChallengeRequest = json(&parts.headers, body, MAX_REQUEST_BODY).await?;
        let now = system_time(self.issuance.clock().now());
        let roots = self.roots.clone();
        let (open, challenge) = blocking(move || {
            let chain: Vec<&[u8]> =
                asked.ek_certificates.iter().map(|certificate| certificate.0.as_slice()).collect();
            OpenChallenge::prepare(
                &roots,
                &chain,
                &asked.ek_public.0,
                &asked.ak_public.0,
                now,
                &mut SystemRandomness,
            )
            .map_err(refused)
        })
        .await?;
        let mut challenges = self.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        challenges.insert(open, now).map_err(refused)?;
        Ok(challenge.into())
    }

    async fn complete(
        &self,
        id: &str,
        credential: &Credential,
        request: Request,
    ) -> Result<CompletionResponse, Refused> {
        let member = member(credential)?;
        let id = ChallengeId::from_str(id).map_err(refused)?;
        let (parts, body) = request.into_parts();
        // The error names line and column and never repeats a secret.
        let asked: CompletionRequest = json(&parts.headers, body, MAX_REQUEST_BODY).await?;
        let now = self.issuance.clock().now();
        let taken = self
            .challenges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(&id, system_time(now))
            .map_err(refused)?;
        let attested = blocking(move || {
            taken
                .finish(
                    &asked.secret.0,
                    &asked.key_public.0,
                    &asked.attest.0,
                    &asked.signature.0,
                    system_time(now),
                )
                .map_err(refused)
        })
        .await?;
        let remembered = AttestedKey {
            key: attested.spki_sha256,
            evidence: attested.digest,
            member: member.clone(),
            at: now,
        };
        self.issuance.attestations().remember(remembered, now)?;
        tracing::info!(
            member,
            key = hex::encode(attested.spki_sha256),
            ek = hex::encode(attested.ek_certificate_sha256),
            "key attested by TPM"
        );
        Ok(CompletionResponse::from(&attested))
    }
}

/// The member on whose behalf the client asks.
fn member(credential: &Credential) -> Result<String, Refused> {
    let caller = credential.caller()?;
    if caller.kind == IdentityKind::Device || caller.has(Role::RegistrationAuthority) {
        return Ok(caller.member.to_string());
    }
    let needed = Role::RegistrationAuthority.name().to_owned();
    Err(CaError::Role { needed }.into())
}

fn answer<T: Serialize>(
    credential: &Credential,
    answered: Result<T, Refused>,
    status: StatusCode,
) -> Response {
    match answered {
        Ok(value) => (status, Json(value)).into_response(),
        Err(refused) => Form::Json.refuse(refused.tell("attestation", &credential.describe())),
    }
}

fn refused(error: AttestationError) -> Refused {
    match error.fault() {
        Fault::Busy => CaError::Busy.into(),
        Fault::System => CaError::Internal("the attestation check failed on our side").into(),
        _ => {
            let code = Code::named(error.code()).unwrap_or(Code::AttestationRefused);
            Problem::new(code, error.to_string()).into()
        }
    }
}

fn system_time(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(time.seconds())
}
