//! A node's certificate on the word of its member.
//!
//! A node whose TLS certificate has ended cannot show it any more, so that EST
//! does not know who renews (RFC 7030 §3.3.2). The statement key of its member is
//! on the ledger and does not end: with that key's signature the authority renews
//! what it issued to the member's node before and what is not revoked, for the
//! same names under the same profile.
//!
//! A request names the certificate that it renews and a height that is near, so
//! that one that was listened to is worth nothing later; until then it gets the
//! same certificate again.

use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hufu_client::{Client, tls};
use hufu_configuration::{certificates, csr};
use hufu_door::body::Json;
use hufu_door::problem::sentence;
use hufu_door::{Code, Form, Part, Problem, Route, Rule};
use hufu_issuance::CertificationRequest;
use hufu_proof::{Digest, Name, Serial, Signature, codec};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::node::Node;
use crate::refusal::Refusal;

/// Where, at the authority's EST service.
const PATH: &str = "/v1/node-certificate";

/// What the signature covers, in front of the encoded request.
const DOMAIN: &str = "hufu node certificate v1";

/// How far the request's height may be from the authority's.
const NEAR: u64 = 1000;

/// Largest request, in bytes.
const MAX_REQUEST: usize = 64 * 1024;

/// What a node asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Whose node it is.
    member: Name,
    /// The certificate to be renewed.
    serial: Serial,
    /// The node's newest height.
    height: u64,
    /// The certificate request, DER in base64.
    csr: String,
    /// By the member's statement key.
    signature: Signature,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
struct Renewed {
    /// The certificate and its issuer, PEM.
    chain: String,
}

/// What the signature covers.
fn message(chain: &Digest, member: &Name, serial: &Serial, height: u64, csr: &[u8]) -> Vec<u8> {
    let signed = codec::encode(&(chain, member, serial, height, Digest::of(csr)));
    [DOMAIN.as_bytes(), &[0], &signed].concat()
}

/// Renews this node's TLS certificate for the key in its token, and has the
/// services use the new one: its serial number. The authority's own node asks
/// itself, others ask at `ca.est_url`; `None` where that names nobody.
///
/// # Errors
/// When there is nothing to renew, or the authority does not answer or refuses.
pub async fn renew_own(node: &Arc<Node>) -> anyhow::Result<Option<Serial>> {
    let serial = node.tls_serial()?.context(
        "this node has no TLS certificate yet: have tls.csr certified and run `hufu cert install`",
    )?;
    let signing = node.clone();
    let request = move || csr::renewal(&signing.config, &signing.tls_key);
    let csr = tokio::task::spawn_blocking(request).await??;
    let chain = match (node.authority.get(), &node.config.ca.est_url) {
        (Some(authority), _) => {
            let csr = CertificationRequest::from_der(&csr)?;
            authority.renew(&node.config.member.name, &serial, &csr).await?
        }
        (None, Some(url)) => ask(node, url, serial, &csr).await?,
        (None, None) => return Ok(None),
    };
    node.install_certificate(&chain)?;
    node.tls_serial()
}

/// Asks the authority whose EST service is at `url`: the chain, PEM.
async fn ask(node: &Node, url: &str, serial: Serial, csr: &[u8]) -> anyhow::Result<String> {
    let (member, height) = (node.config.member.name.clone(), node.ledger.committed().height.get());
    let message = message(&node.genesis.digest(), &member, &serial, height, csr);
    let signature = node.submitter.sign(message).await?;
    let asked = Asked { member, serial, height, csr: STANDARD.encode(csr), signature };
    let authority = &node.genesis.authority;
    let roots = certificates::roots([
        CertificateDer::from(authority.root_certificate.clone()),
        CertificateDer::from(authority.issuing_certificate.clone()),
    ])?;
    let tls = tls::client(roots, None, Some(&authority.member))?;
    let client = Client::tls(url, tls).context("ca.est_url")?;
    let renewed: Renewed = client.post(PATH, &asked).await.context("the authority")?;
    Ok(renewed.chain)
}

/// The routes of the authority's side.
pub const ROUTES: &[Route] = &[Route::new("POST", PATH, Rule::Statement)];

/// The authority's side, at the door of its EST service.
pub fn part(node: Arc<Node>) -> Part {
    let handler = |_: &Route| post(renew).layer(DefaultBodyLimit::max(MAX_REQUEST));
    Part::new(ROUTES, Form::Json, handler).with_state(node)
}

async fn renew(
    State(node): State<Arc<Node>>,
    Json(asked): Json<Asked>,
) -> Result<Json<Renewed>, Refusal> {
    let Asked { member, serial, height, csr, signature } = asked;
    let refused = |reason: anyhow::Error| {
        Refusal(Problem::new(Code::NotPermitted, sentence(reason.as_ref())))
    };
    let csr = STANDARD.decode(csr).context("csr: not base64")?;
    let here = node.ledger.committed().height.get();
    if here.abs_diff(height) > NEAR {
        return Err(refused(anyhow::anyhow!(
            "height {height} is not near {here}, the newest here; let the node catch up first"
        )));
    }
    let record = node.ledger.reader().state()?.member_record(&member)?;
    let record = record.with_context(|| format!("there is no member `{member}`"));
    let record = record.map_err(refused)?;
    record
        .statement_key
        .verify(&message(&node.genesis.digest(), &member, &serial, height, &csr), &signature)
        .with_context(|| format!("the signature is not that of member `{member}`"))
        .map_err(refused)?;
    let csr = CertificationRequest::from_der(&csr)?;
    let chain = node.authority()?.renew(&member, &serial, &csr).await?;
    tracing::info!(%member, %serial, "node certificate renewed on the word of its member");
    Ok(Json(Renewed { chain }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_member_certificate_height_and_request() {
        let (chain, serial) = (Digest::of(b"chain"), Serial::new(&[1, 2]).unwrap());
        let maker: Name = "maker".parse().unwrap();
        let one = message(&chain, &maker, &serial, 7, b"csr");
        assert!(one.starts_with(b"hufu node certificate v1\0"));
        for other in [
            message(&Digest::of(b"other"), &maker, &serial, 7, b"csr"),
            message(&chain, &"operator".parse().unwrap(), &serial, 7, b"csr"),
            message(&chain, &maker, &Serial::new(&[1, 3]).unwrap(), 7, b"csr"),
            message(&chain, &maker, &serial, 8, b"csr"),
            message(&chain, &maker, &serial, 7, b"other"),
        ] {
            assert_ne!(one, other);
        }
    }
}
