//! A small HTTP client, plain or over TLS with a client certificate.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};

/// Largest answer, in bytes.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A private key and the certificate chain for it, PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Certificate, then issuer.
    pub chain_pem: String,
    /// PKCS#8.
    pub key_pem: String,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`, empty when there is none.
    pub content_type: String,
    /// `Hufu-Code`, empty when there is none.
    pub code: String,
    /// `Retry-After` in seconds, when there is one.
    pub retry_after: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text, for people.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// The status and the body, when it is not.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("status {} and no JSON: {}", self.status, self.text()))
    }

    /// This answer, if its status is 2xx.
    ///
    /// # Errors
    /// The status and the body, when it is not.
    pub fn success(self) -> anyhow::Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        bail!("status {}: {}", self.status, self.text())
    }
}

/// Keeps connections open; may be used from several threads.
#[derive(Clone, Debug)]
pub struct Http {
    agent: ureq::Agent,
}

impl Http {
    /// For plain HTTP only.
    pub fn plain() -> Self {
        Self { agent: agent(None) }
    }

    /// For TLS servers under `root_pem`, authenticating as `identity`.
    ///
    /// # Errors
    /// When a certificate or key is not PEM.
    pub fn tls(root_pem: &str, identity: Option<&Identity>) -> anyhow::Result<Self> {
        let roots = certificates(root_pem)?;
        let client = match identity {
            None => None,
            Some(identity) => {
                let key = PrivateKey::from_pem(identity.key_pem.as_bytes())
                    .context("the client's key is not PEM")?;
                Some(ClientCert::new_with_certs(&certificates(&identity.chain_pem)?, key))
            }
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .client_cert(client)
            .build();
        Ok(Self { agent: agent(Some(tls)) })
    }

    /// GET.
    ///
    /// # Errors
    /// When there is no answer; a status that speaks of failure is an answer.
    pub fn get(&self, url: &str) -> anyhow::Result<Answer> {
        let answer = self.agent.get(url).call();
        read(answer).with_context(|| format!("GET {url}"))
    }

    /// POST with a body of `content_type`.
    ///
    /// # Errors
    /// As for [`Http::get`].
    pub fn post(&self, url: &str, content_type: &str, body: &[u8]) -> anyhow::Result<Answer> {
        let answer = self.agent.post(url).header("content-type", content_type).send(body);
        read(answer).with_context(|| format!("POST {url}"))
    }
}

fn agent(tls: Option<TlsConfig>) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(PATIENCE));
    if let Some(tls) = tls {
        config = config.tls_config(tls);
    }
    config.build().new_agent()
}

fn certificates(pem: &str) -> anyhow::Result<Vec<Certificate<'static>>> {
    crate::est::der_of_pem(pem)?
        .iter()
        .map(|der| Ok(Certificate::from_der(der).to_owned()))
        .collect()
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Answer> {
    let mut answer = answer?;
    let header = |name: &str| {
        answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    Ok(Answer {
        status: answer.status().as_u16(),
        content_type: header("content-type").unwrap_or_default(),
        code: header("hufu-code").unwrap_or_default(),
        retry_after: header("retry-after").and_then(|seconds| seconds.parse().ok()),
        body: answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec()?,
    })
}
