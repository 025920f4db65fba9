//! What whoever administers a node is shown, and that it looked.
//!
//! At the socket of the machine or with the role `administrator`, one acts for the
//! member, and sees what the ledger gives that member: its own, or as a regulator
//! what is in its jurisdictions. Every query is a look, and so is what is asked for
//! by identifier and is not the member's own. A look is on the ledger before it is
//! answered; only what is the member's own is answered, too, while the ledger takes
//! nothing.

use std::time::Duration;

use anyhow::Context as _;
use hufu_contract::{Principal, PrincipalKind};
use hufu_door::{Code, Jurisdictions, Peer, Problem};
use hufu_gateway::{Asker, AssetView, Seen, Viewer};
use hufu_proof::transaction::{IdentityKind, Look, Payload};
use hufu_proof::{Digest, Height, IdentityId};
use hufu_readmodel::Scope;
use serde_json::Value;

use crate::node::Node;
use crate::records::jurisdictions;

/// How long the look of what is the member's own is waited for.
const OWN_PATIENCE: Duration = Duration::from_secs(5);

/// Somebody who administers a node.
#[derive(Clone, Debug)]
pub struct Administrator {
    viewer: Viewer,
    who: String,
}

impl Administrator {
    /// Who sent a request that was let through.
    ///
    /// # Errors
    /// When the ledger does not say what the member is.
    pub fn of(node: &Node, peer: &Peer) -> anyhow::Result<Self> {
        let member = &node.config.member.name;
        let state = node.ledger.reader().state()?;
        let (record, standings) = (state.member_record(member)?, state.standings()?);
        let record = record.with_context(|| format!("the ledger has no member `{member}`"))?;
        let viewer = Viewer {
            member: member.clone(),
            identity: None,
            for_member: true,
            supervises: jurisdictions(&record, standings.of(member)),
        };
        let who = match peer {
            Peer::Known(caller) => caller.subject.clone(),
            _ => "the node's own socket".to_owned(),
        };
        Ok(Self { viewer, who })
    }

    /// Of what it sees the rows.
    pub fn scope(&self) -> Scope {
        self.viewer.scope()
    }

    /// What decides what it sees by identifier.
    pub fn viewer(&self) -> &Viewer {
        &self.viewer
    }

    /// Who asks for an asset: somebody who acts for the member.
    pub fn asker(&self) -> Asker {
        let principal = Principal {
            identity: IdentityId(Digest::default()),
            member: Some(self.viewer.member.clone()),
            kind: PrincipalKind::Signer(IdentityKind::Member),
            subject: self.who.clone(),
        };
        Asker { principal, regulator: self.viewer.supervises != Jurisdictions::None }
    }

    /// How an asset stands to it that the contract's policy lets it read.
    pub fn asset(&self, view: &AssetView) -> Seen {
        match self.viewer.supervises {
            Jurisdictions::None => Seen::Own,
            _ => self.viewer.belonging(&view.belongs),
        }
    }

    /// Refuses what it is not shown.
    ///
    /// # Errors
    /// `outside-jurisdiction` or `not-permitted`.
    pub fn require(&self, seen: Seen, what: &str) -> anyhow::Result<()> {
        let member = &self.viewer.member;
        let (code, detail) = match (seen, self.viewer.scope()) {
            (Seen::Own | Seen::Supervised, _) => return Ok(()),
            (_, Scope::OwnedBy(_)) => {
                (Code::NotPermitted, format!("{what} is not member `{member}`'s"))
            }
            _ => {
                let detail = format!("{what} is in no jurisdiction of member `{member}`");
                (Code::OutsideJurisdiction, detail)
            }
        };
        Err(Problem::new(code, detail).into())
    }

    /// Records a query that was answered so; gives the transaction that did.
    ///
    /// # Errors
    /// When the ledger does not take it, unless only the member's own was asked for.
    pub async fn queried(
        &self,
        node: &Node,
        sql: &str,
        answer: &Value,
    ) -> anyhow::Result<Option<Digest>> {
        let height = Height(answer["as_of"].as_u64().unwrap_or_default());
        let answer = hufu_gateway::answer_digest(answer).map_err(|problem| problem.0)?;
        let subject = hufu_gateway::look_subject_of_query(&self.who, &self.viewer.member, sql);
        let look = Look { subject, height, answer };
        let recorded = self.record(node, look);
        if !matches!(self.scope(), Scope::OwnedBy(_)) {
            return recorded.await.map(Some);
        }
        match tokio::time::timeout(OWN_PATIENCE, recorded).await {
            Ok(Ok(id)) => Ok(Some(id)),
            Ok(Err(error)) => {
                tracing::warn!(error = format!("{error:#}"), "a query could not be recorded");
                Ok(None)
            }
            Err(_) => {
                tracing::warn!("a query was not recorded in time");
                Ok(None)
            }
        }
    }

    /// Records a query that looked at rows and gave no answer, because it needed too
    /// much or nobody waited for it.
    pub async fn unanswered(&self, node: &Node, sql: &str, height: u64) {
        let subject = hufu_gateway::look_subject_unanswered(&self.who, &self.viewer.member, sql);
        let look = Look { subject, height: Height(height), answer: Digest::of(b"") };
        if let Err(error) = self.record(node, look).await {
            tracing::warn!(error = format!("{error:#}"), "a query could not be recorded");
        }
    }

    /// Records what was seen by its identifier, where that was a look.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn saw(
        &self,
        node: &Node,
        seen: Seen,
        what: &str,
        height: Height,
        answer: Digest,
    ) -> anyhow::Result<()> {
        if seen != Seen::Supervised {
            return Ok(());
        }
        let subject = hufu_gateway::look_subject(what, &self.who, &self.viewer.member);
        self.record(node, Look { subject, height, answer }).await.map(drop)
    }

    async fn record(&self, node: &Node, look: Look) -> anyhow::Result<Digest> {
        let entry = node.submitter.submit(Payload::Look(look)).await;
        Ok(entry.context("the look could not be recorded on the ledger")?.transaction)
    }
}
