//! The gateway over this node's ledger, and who asks it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hufu_configuration::time::now_ms;
use hufu_contract::{Contract, Principal, World as _};
use hufu_door::{Caller, Code, Jurisdictions, Peer, Problem, Role, Rule};
use hufu_gateway::{
    AssetView, BlockSummary, Gateway, GatewayLimits, LedgerAccess, LedgerFault, LedgerStatus,
    Metrics, Recorded, StreamState,
};
use hufu_machine::record::{CertificateRecord, CertificateStatus};
use hufu_machine::{MachineError, View};
use hufu_proof::transaction::{IdentityKind, Look, Payload};
use hufu_proof::{
    Digest, FinalityProof, Handover, Header, IdentityId, LogEntry, Name, Outcome, Receipt, Serial,
    Signer, Transaction,
};

use crate::admin;
use crate::listen::ShownCertificate;
use crate::node::Node;

/// How long a submission waits for finality, and the holder of a certificate
/// for this node to reach the block that has it.
const PATIENCE: Duration = Duration::from_secs(15);

/// The gateway's routes.
///
/// # Errors
/// Nothing yet; listening is where it can fail.
pub fn router(node: Arc<Node>, signer: Arc<dyn Signer>) -> anyhow::Result<Router> {
    let gateway = Gateway::new(
        Arc::new(NodeLedger { node: node.clone() }),
        node.supervision.reader().clone(),
        Arc::new(node.genesis.clone()),
        node.config.member.name.clone(),
        signer,
        Metrics::default(),
        GatewayLimits { patience: PATIENCE, ..GatewayLimits::default() },
    );
    let administration = admin::router(node.clone())
        .layer(middleware::from_fn_with_state(node.clone(), administrators));
    Ok(hufu_gateway::router(Arc::new(gateway))
        .nest("/admin", administration)
        .layer(middleware::from_fn_with_state(node, identify)))
}

/// Lets in who administers this member's node: its certificate is of this
/// member and says so. Whoever gets through acts for the member, as somebody at
/// the admin socket does.
async fn administrators(State(node): State<Arc<Node>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
    let (who, method, path) = (peer.describe(), request.method(), request.uri().path());
    if let Err(problem) = Rule::Administrator.admit(&peer, &node.config.member.name) {
        tracing::warn!(who, %method, path, "administration refused");
        return problem.into_response();
    }
    tracing::info!(who, %method, path, "administration");
    next.run(request).await
}

/// Puts the certificate that TLS saw where EST looks for it.
pub fn with_peer_certificate(router: Router) -> Router {
    router.layer(middleware::from_fn(|mut request: Request, next: Next| async move {
        let shown = request.extensions().get::<ShownCertificate>().and_then(|one| one.0.clone());
        if let Some(der) = shown {
            request.extensions_mut().insert(hufu_protocols::PeerCertificate(der));
        }
        next.run(request).await
    }))
}

/// Tells who asks from the certificate that TLS verified and from what the
/// ledger says of it.
async fn identify(State(node): State<Arc<Node>>, mut request: Request, next: Next) -> Response {
    let shown = request.extensions().get::<ShownCertificate>().and_then(|one| one.0.clone());
    if let Some(der) = shown {
        let peer = match caller(&node, &der).await {
            Ok(caller) => Peer::Known(Arc::new(caller)),
            Err(problem) => {
                tracing::warn!(?problem, "client certificate refused");
                Peer::Refused(problem)
            }
        };
        request.extensions_mut().insert(peer);
    }
    next.run(request).await
}

async fn caller(node: &Node, der: &[u8]) -> Result<Caller, Problem> {
    let refused = |why: String| Problem::new(Code::CertificateRefused, why);
    let malformed = |error: &dyn std::fmt::Display| refused(format!("client certificate: {error}"));
    let unreadable = |error: MachineError| Problem::new(Code::Unavailable, error.to_string());
    let certificate =
        hufu_issuance::Certificate::from_der(der).map_err(|error| malformed(&error))?;
    let serial = Serial::new(certificate.serial().as_bytes()).map_err(|error| malformed(&error))?;
    // TLS found that an authority signed it, and what an authority signs is on
    // the ledger before: if it is not here, this node is a little behind.
    let record = tokio::time::timeout(PATIENCE, recorded(node, &serial)).await;
    let (state, record) = record.unwrap_or_else(|_| {
        let height = node.ledger.committed().height;
        let detail = format!(
            "the ledger has no entry for client certificate {serial} up to height {height}, where \
             this node is; ask later, or another node"
        );
        Err(Problem::new(Code::CertificateUnknown, detail))
    })?;
    let told = |code, why| Err(Problem::new(code, format!("client certificate {serial} {why}")));
    if record.tbs != Digest::of(certificate.tbs()) {
        return told(Code::CertificateRefused, "is not the one on the ledger");
    }
    if record.status != CertificateStatus::Good {
        return told(Code::CertificateRevoked, "is revoked or on hold; ask for a new one");
    }
    if !(record.not_before..=record.not_after).contains(&now_ms()) {
        return told(Code::CertificateExpired, "is not valid now; renew it");
    }
    let member = state.member_record(&record.owner).map_err(unreadable)?;
    let Some(member) = member else {
        return told(Code::CertificateRefused, "is of a member that the ledger has not");
    };
    let named = hufu_issuance::member_and_roles(&certificate).map_err(|error| malformed(&error))?;
    let named = named.map(|(_, roles)| roles).unwrap_or_default();
    let device = record.kind == IdentityKind::Device;
    // A device speaks for itself, not with its owner's powers.
    let roles: BTreeSet<Role> =
        named.into_iter().filter(|_| !device).filter_map(|role| Role::of_urn(role.urn())).collect();
    let mut kinds = if device { BTreeSet::new() } else { member.kinds };
    // Not everyone at a regulator supervises.
    if !roles.contains(&Role::Regulator) {
        kinds.remove("regulator");
    }
    let jurisdictions = match kinds.contains("regulator") {
        false => Jurisdictions::None,
        true if member.jurisdictions.is_empty() => Jurisdictions::Whole,
        true => Jurisdictions::of(member.jurisdictions),
    };
    Ok(Caller {
        member: record.owner,
        kind: record.kind,
        kinds,
        roles,
        jurisdictions,
        subject: record.subject,
        identity: Some(record.identity),
        serial,
        height: state.height(),
    })
}

/// What the ledger says of a certificate as soon as this node has it, and the
/// state that says so.
async fn recorded(node: &Node, serial: &Serial) -> Result<(View, CertificateRecord), Problem> {
    let unreadable = |error: MachineError| Problem::new(Code::Unavailable, error.to_string());
    let mut applied = node.ledger.applied();
    loop {
        applied.mark_unchanged();
        let state = node.ledger.reader().state().map_err(unreadable)?;
        if let Some(record) = state.certificate(serial).map_err(unreadable)? {
            return Ok((state, record));
        }
        if applied.changed().await.is_err() {
            return Err(Problem::new(Code::Unavailable, "the node stops"));
        }
    }
}

/// [`LedgerAccess`] over a node.
struct NodeLedger {
    node: Arc<Node>,
}

impl NodeLedger {
    fn reader(&self) -> &hufu_machine::Reader {
        self.node.ledger.reader()
    }
}

fn broken(error: MachineError) -> LedgerFault {
    LedgerFault::Unavailable(error.to_string())
}

fn fault(error: hufu_node::Error) -> LedgerFault {
    match error {
        hufu_node::Error::Refused(outcome) => LedgerFault::Refused(outcome),
        hufu_node::Error::Busy { retry_after } => LedgerFault::Busy { retry_after },
        hufu_node::Error::Pending => LedgerFault::Pending,
        // It left the queue, and can be in no block after that.
        hufu_node::Error::Expired => LedgerFault::Refused(Outcome::Expired),
        other => LedgerFault::Unavailable(other.to_string()),
    }
}

impl LedgerAccess for NodeLedger {
    fn status(&self) -> Result<LedgerStatus, LedgerFault> {
        let committed = self.node.ledger.committed();
        let header = self
            .reader()
            .header(committed.height)
            .map_err(broken)?
            .ok_or(LedgerFault::NotFound("block"))?;
        let anchor = self.reader().latest_anchor().map_err(broken)?;
        Ok(LedgerStatus {
            height: committed.height,
            time_ms: header.time_ms,
            anchored_height: anchor.map_or(0, |(header, _)| header.executed.height),
            state_root: committed.state_root,
            log_size: committed.log_size,
            log_root: committed.log_root,
            waiting: self.node.ledger.status().waiting as u64,
        })
    }

    fn block(&self, height: u64) -> Result<BlockSummary, LedgerFault> {
        let block =
            self.reader().block(height).map_err(broken)?.ok_or(LedgerFault::NotFound("block"))?;
        let finality = match height {
            0 => None,
            _ => self.reader().finality_proof(&block.header).map_err(broken)?,
        };
        Ok(BlockSummary {
            digest: block.digest(),
            finality,
            transactions: block.transactions.iter().map(Transaction::id).collect(),
            header: block.header,
        })
    }

    fn anchor(&self, height: u64) -> Result<(Header, FinalityProof), LedgerFault> {
        self.reader().anchor(height).map_err(broken)?.ok_or(LedgerFault::NotFound("final header"))
    }

    fn handovers(&self, epoch: u64) -> Result<Vec<Handover>, LedgerFault> {
        let all = self.reader().handovers(self.reader().epoch().number).map_err(broken)?;
        let all = all.ok_or(LedgerFault::NotFound("end of an epoch"))?;
        Ok(all.into_iter().skip(usize::try_from(epoch).unwrap_or(usize::MAX)).collect())
    }

    fn log_path(&self, log_index: u64, log_size: u64) -> Result<Vec<Digest>, LedgerFault> {
        self.reader()
            .log_path(log_index, log_size)
            .map_err(broken)?
            .ok_or(LedgerFault::NotFound("log entry"))
    }

    fn transaction(&self, id: &Digest) -> Result<Recorded, LedgerFault> {
        let found = self
            .reader()
            .transaction(id)
            .map_err(broken)?
            .ok_or(LedgerFault::NotFound("transaction"))?;
        let signer = found.transaction.body.signer.identity();
        let identity = self.reader().state().map_err(broken)?.identity(&signer).map_err(broken)?;
        Ok(Recorded {
            member: identity.map(|identity| identity.owner),
            transaction: found.transaction,
            entry: found.entry,
            log_index: found.log_index,
        })
    }

    fn receipt(&self, id: &Digest) -> Result<Receipt, LedgerFault> {
        if self.reader().entry(id).map_err(broken)?.is_none() {
            return Err(LedgerFault::NotFound("transaction"));
        }
        self.reader().receipt(id).map_err(broken)?.ok_or(LedgerFault::Pending)
    }

    fn contract(&self, package: &Digest) -> Result<Arc<Contract>, LedgerFault> {
        self.reader()
            .compiled_package(package)
            .map_err(broken)?
            .ok_or(LedgerFault::NotFound("contract"))
    }

    fn read_asset(
        &self,
        caller: &Caller,
        contract: &Name,
        asset_type: &Name,
        key: &str,
        as_of: u64,
    ) -> Result<AssetView, LedgerFault> {
        let view = self.reader().state_at(as_of).map_err(broken)?;
        let compiled =
            view.compiled(contract).map_err(broken)?.ok_or(LedgerFault::NotFound("contract"))?;
        let asset = view.asset(contract, asset_type, key).ok_or(LedgerFault::NotFound("asset"))?;
        let kind =
            if caller.kinds.is_empty() { IdentityKind::Device } else { IdentityKind::Member };
        let principal = Principal {
            identity: caller.identity.unwrap_or(IdentityId(Digest::default())),
            member: caller.member.clone(),
            kind,
            subject: caller.subject.clone(),
        };
        let permitted = compiled.visible(&principal, asset_type, key, &asset, &view);
        view.check().map_err(broken)?;
        if !permitted {
            return Err(LedgerFault::NotPermitted(contract.clone()));
        }
        AssetView::new(&compiled, asset_type, &asset)
    }

    fn stream(
        &self,
        contract: &Name,
        stream: &Name,
        identity: &IdentityId,
    ) -> Result<StreamState, LedgerFault> {
        let view = self.reader().state().map_err(broken)?;
        let compiled =
            view.compiled(contract).map_err(broken)?.ok_or(LedgerFault::NotFound("contract"))?;
        let sequence = view.stream_sequence(contract, stream, identity);
        view.check().map_err(broken)?;
        Ok(StreamState { contract: compiled, sequence })
    }

    fn submit(
        &self,
        transactions: Vec<Transaction>,
        patience: Duration,
    ) -> BoxFuture<'_, Vec<Result<LogEntry, LedgerFault>>> {
        async move {
            let answers = self.node.ledger.submit(transactions, patience).await;
            answers
                .into_iter()
                .map(|answer| answer.map(|committed| committed.entry).map_err(fault))
                .collect()
        }
        .boxed()
    }

    fn log_index(&self, id: &Digest) -> Result<u64, LedgerFault> {
        let entry = self.reader().entry(id).map_err(broken)?;
        entry.map(|(log_index, _)| log_index).ok_or(LedgerFault::NotFound("transaction"))
    }

    fn record_look(&self, look: Look) -> BoxFuture<'_, Result<Digest, LedgerFault>> {
        async move {
            let entry = self.node.submitter.submit(Payload::Look(look)).await.map_err(fault)?;
            Ok(entry.transaction)
        }
        .boxed()
    }
}
