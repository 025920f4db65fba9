//! Join requests: what a member says of itself when it founds a consortium, joins
//! one, or has new keys; signed by every key it brings.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use borsh::BorshSerialize;
use hufu_proof::genesis::{Authority, Constitution, GENESIS_VERSION, Jurisdictions, Member};
use hufu_proof::{
    Algorithm, Digest, Genesis, Name, NetworkName, PublicKey, Signature, UnixMillis, codec, json,
};
use serde::{Deserialize, Serialize};

/// What the signatures cover, in front of the canonical request.
const DOMAIN: &str = "hufu join v2";

/// Largest join request file, in bytes.
pub const MAX_JOIN: usize = 256 * 1024;

/// What a member says of itself.
#[derive(Clone, Debug, BorshSerialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Its name on the ledger.
    pub name: Name,
    /// Its name for people, by language.
    pub title: BTreeMap<String, String>,
    /// What it is to the consortium.
    pub kinds: BTreeSet<Name>,
    /// What it may see as a regulator.
    pub jurisdictions: Jurisdictions,
    /// The names on the network that are its own.
    pub names: BTreeSet<NetworkName>,
    /// When the request was made.
    pub made_ms: UnixMillis,
    /// Verifies its votes.
    pub vote_key: PublicKey,
    /// Verifies its transactions, receipts and reports.
    pub statement_key: PublicKey,
    /// Its TLS key.
    pub tls_key: PublicKey,
    /// The CA's certificates (DER in base64), if it is the authority.
    pub authority: Option<Certificates>,
}

/// The CA's certificates, DER in base64.
#[derive(Clone, Debug, BorshSerialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    /// The root certificate.
    pub root: String,
    /// The issuing certificate.
    pub issuing: String,
}

/// A request with proof of possession of each key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The request.
    pub request: Request,
    /// By the vote key.
    pub vote_signature: Signature,
    /// By the statement key.
    pub statement_signature: Signature,
    /// By the TLS key.
    pub tls_signature: Signature,
}

impl Request {
    /// The member that it asks to be.
    pub fn member(&self) -> Member {
        Member {
            name: self.name.clone(),
            title: self.title.clone(),
            kinds: self.kinds.clone(),
            jurisdictions: self.jurisdictions.clone(),
            names: self.names.clone(),
            vote_key: self.vote_key.clone(),
            statement_key: self.statement_key.clone(),
            node_key: Some(self.tls_key.clone()),
        }
    }

    /// What the signatures cover.
    pub fn message(&self) -> Vec<u8> {
        [DOMAIN.as_bytes(), &[0], &codec::encode(self)].concat()
    }
}

impl JoinRequest {
    /// Reads a request and verifies its three signatures.
    ///
    /// # Errors
    /// A sentence that names what does not fit.
    pub fn from_json(bytes: &[u8]) -> anyhow::Result<Self> {
        anyhow::ensure!(bytes.len() <= MAX_JOIN, "a join request is at most {MAX_JOIN} bytes");
        let join: Self = json::from_slice(bytes).context("not a join request")?;
        join.verify()?;
        Ok(join)
    }

    /// Verifies its three signatures: that whoever asks has the keys.
    ///
    /// # Errors
    /// A sentence that names what does not fit.
    pub fn verify(&self) -> anyhow::Result<()> {
        let message = self.request.message();
        for (what, key, signature) in [
            ("vote_signature", &self.request.vote_key, &self.vote_signature),
            ("statement_signature", &self.request.statement_key, &self.statement_signature),
            ("tls_signature", &self.request.tls_key, &self.tls_signature),
        ] {
            key.verify(&message, signature).with_context(|| {
                format!("{what} of `{}`: ask the member for a new join.json", self.request.name)
            })?;
        }
        Ok(())
    }
}

/// Makes the genesis that these requests amount to; the same for every founder
/// who has the same requests.
///
/// # Errors
/// A sentence when there is not exactly one authority, or the genesis would not
/// be valid.
pub fn found(
    consortium: Name,
    approvals: u16,
    created_ms: Option<UnixMillis>,
    joins: &[JoinRequest],
) -> anyhow::Result<Genesis> {
    let mut authority = None;
    let mut members = Vec::new();
    for JoinRequest { request, .. } in joins {
        if let Some(certificates) = &request.authority {
            anyhow::ensure!(
                authority.is_none(),
                "two join requests bring a certification authority; a consortium has one"
            );
            let decode = |text: &str| STANDARD.decode(text).context("a CA certificate's base64");
            authority = Some(Authority {
                member: request.name.clone(),
                root_certificate: decode(&certificates.root)?,
                issuing_certificate: decode(&certificates.issuing)?,
            });
        }
        members.push(request.member());
    }
    members.sort_by(|one, other| one.name.cmp(&other.name));
    let newest = joins.iter().map(|join| join.request.made_ms).max();
    let genesis = Genesis {
        version: GENESIS_VERSION,
        consortium,
        created_ms: created_ms
            .or(newest)
            .context("a consortium needs at least one join request")?,
        members,
        authority: authority
            .context("no join request brings a certification authority (kind `authority`)")?,
        constitution: Constitution {
            approvals,
            algorithms: BTreeSet::from([
                Algorithm::Ed25519,
                Algorithm::EcdsaP256,
                Algorithm::EcdsaP384,
            ]),
        },
    };
    genesis.check()?;
    Ok(genesis)
}

/// A digest in groups of eight digits, which people can read to each other.
pub fn spoken(digest: &Digest) -> String {
    let text = digest.to_string();
    let groups: Vec<&str> = (0..text.len()).step_by(8).map(|at| &text[at..at + 8]).collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_stands_twice_is_named() {
        // Which of the two titles did the keys sign?
        for (text, member) in [
            (r#"{"request":{"title":{"en":"Maker","en":"Taker"}}}"#, "`en`"),
            (r#"{"request":{},"request":{}}"#, "`request`"),
        ] {
            let error = JoinRequest::from_json(text.as_bytes()).unwrap_err();
            let said = format!("{error:#}");
            assert!(said.contains(&format!("{member} stands twice")), "{said}");
        }
    }
}
