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
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::post;
use hufu_issuance::{
    AttestedKey, Authenticator, CaError, FormError, Issuance, Requester, Role, UnixTime, blocking,
};
use hufu_tpm::attest::limits::MAX_REQUEST_BODY;
use hufu_tpm::attest::{
    AttestationError, ChallengeId, Challenges, Fault, ManufacturerRoots, OpenChallenge,
    SystemRandomness,
};
use hufu_tpm::exchange::{
    CHALLENGE_PATH, ChallengeRequest, ChallengeResponse, CompletionRequest, CompletionResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::{self as web, Shared};
use crate::problem::ProtocolError;

const WHAT: &str = "attestation request";

struct Attest {
    issuance: Issuance,
    authenticator: Arc<Authenticator>,
    /// Shared with blocking tasks, since the checks cost RSA and chains.
    roots: Arc<ManufacturerRoots>,
    challenges: Mutex<Challenges>,
}

/// The attestation service; `roots` are the TPM manufacturers trusted.
pub fn router(
    issuance: Issuance,
    authenticator: Arc<Authenticator>,
    roots: ManufacturerRoots,
) -> Router {
    let roots = Arc::new(roots);
    let challenges = Mutex::new(Challenges::new(ManufacturerRoots::clone(&roots)));
    let attest = Arc::new(Attest { issuance, authenticator, roots, challenges });
    Router::new()
        .route(CHALLENGE_PATH, post(challenge))
        .route("/v1/attestation/{id}", post(complete))
        .with_state(attest)
}

async fn challenge(State(attest): Shared<Attest>, request: Request) -> Response {
    answer(attest.challenge(request).await, StatusCode::CREATED)
}

async fn complete(
    State(attest): Shared<Attest>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    answer(attest.complete(&id, request).await, StatusCode::OK)
}

impl Attest {
    async fn challenge(&self, request: Request) -> Result<ChallengeResponse, ProtocolError> {
        self.member(web::peer(&request)).await?;
        let asked: ChallengeRequest = json(request).await?;
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
        request: Request,
    ) -> Result<CompletionResponse, ProtocolError> {
        let member = self.member(web::peer(&request)).await?;
        let id = ChallengeId::from_str(id).map_err(refused)?;
        let asked: CompletionRequest = json(request).await?;
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

    /// The member on whose behalf the client asks.
    async fn member(&self, peer: Option<web::PeerCertificate>) -> Result<String, ProtocolError> {
        let peer = peer.ok_or(CaError::Unauthenticated)?;
        let now = self.issuance.clock().now();
        match self.authenticator.requester(&peer.0, now).await? {
            Requester::Member { member, roles, .. }
                if roles.contains(&Role::RegistrationAuthority) =>
            {
                Ok(member)
            }
            Requester::Device { certificate } => {
                let row = self.issuance.store().by_serial(certificate.serial())?;
                row.map(|row| row.owner).ok_or_else(|| {
                    let detail = "it is not in this authority's store".to_owned();
                    CaError::ClientCertificate(detail).into()
                })
            }
            _ => {
                let needed = Role::RegistrationAuthority.name().to_owned();
                Err(CaError::Role { needed }.into())
            }
        }
    }
}

async fn json<T: DeserializeOwned + Send + 'static>(request: Request) -> Result<T, ProtocolError> {
    web::expect_type(request.headers(), "application/json")?;
    let body = web::body(request, WHAT, MAX_REQUEST_BODY).await?;
    // The error names line and column and never repeats a secret.
    serde_json::from_slice(&body).map_err(|error| FormError::malformed(WHAT, error).into())
}

fn answer<T: Serialize>(result: Result<T, ProtocolError>, status: StatusCode) -> Response {
    let encoded = result.and_then(|value| {
        serde_json::to_vec(&value)
            .map_err(|_| CaError::Internal("an answer does not encode").into())
    });
    match encoded {
        Ok(body) => {
            let mut response = web::respond("application/json", body);
            *response.status_mut() = status;
            response
        }
        Err(error) => {
            web::log("attestation", "client", &error);
            web::problem(&error)
        }
    }
}

fn refused(error: AttestationError) -> ProtocolError {
    match error.fault() {
        Fault::Busy => CaError::Busy.into(),
        Fault::System => CaError::Internal("the attestation check failed on our side").into(),
        _ => ProtocolError::Attestation {
            reason: error.code().to_owned(),
            detail: error.to_string(),
        },
    }
}

fn system_time(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(time.seconds())
}
