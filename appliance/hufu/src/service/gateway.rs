//! The gateway over this node's ledger, and who asks it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hufu_contract::{Contract, Principal, Sources, Type, World as _};
use hufu_gateway::{
    AssetView, BlockSummary, Caller, Gateway, GatewayLimits, LedgerAccess, LedgerFault,
    LedgerStatus, Metrics, Recorded, Settled,
};
use hufu_machine::MachineError;
use hufu_machine::record::{CertificateRecord, CertificateStatus};
use hufu_proof::transaction::{IdentityKind, Look, Payload};
use hufu_proof::{
    Digest, FinalityProof, Header, IdentityId, LogEntry, Name, Receipt, Serial, Signer,
    Transaction, codec,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::service::admin::Refusal;
use crate::service::health::now_ms;
use crate::service::listen::ShownCertificate;
use crate::service::node::Node;

/// How long a submission waits for finality.
const PATIENCE: Duration = Duration::from_secs(15);

/// Most transactions in one bundle.
const MAX_BUNDLE: usize = 1024;

/// Largest bundle, in bytes.
const MAX_BUNDLE_BYTES: usize = 2 * 1024 * 1024;

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
    let more = Router::new()
        .route("/v1/transactions/bundle", post(bundle))
        .route("/v1/streams/{contract}/{stream}", get(stream))
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BUNDLE_BYTES))
        .with_state(node.clone());
    Ok(hufu_gateway::router(Arc::new(gateway))
        .merge(more)
        .layer(middleware::from_fn_with_state(node, identify)))
}

/// Puts the certificate that TLS saw where EST looks for it.
pub fn with_peer_certificate(router: Router) -> Router {
    router.layer(middleware::from_fn(|mut request: Request, next: Next| async move {
        let shown = request.extensions().get::<ShownCertificate>().and_then(|one| one.0.clone());
        if let Some(der) = shown {
            request.extensions_mut().insert(hufu_ca::PeerCertificate(der));
        }
        next.run(request).await
    }))
}

/// Tells who asks from the certificate that TLS verified and from what the
/// ledger says of it.
async fn identify(State(node): State<Arc<Node>>, mut request: Request, next: Next) -> Response {
    let shown = request.extensions().get::<ShownCertificate>().and_then(|one| one.0.clone());
    if let Some(der) = shown {
        match caller(&node, &der) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "client certificate refused");
                return Refusal(StatusCode::FORBIDDEN, error).into_response();
            }
        }
    }
    next.run(request).await
}

fn caller(node: &Node, der: &[u8]) -> anyhow::Result<Caller> {
    let certificate = hufu_ca::Certificate::from_der(der)?;
    let serial = Serial::new(certificate.serial().as_bytes())?;
    let state = node.ledger.reader().state()?;
    let Some(record): Option<CertificateRecord> = state.certificate(&serial)? else {
        anyhow::bail!("the ledger has no entry for client certificate {serial}");
    };
    anyhow::ensure!(
        record.tbs == Digest::of(certificate.tbs()),
        "client certificate {serial} is not the one on the ledger"
    );
    anyhow::ensure!(
        record.status == CertificateStatus::Good,
        "client certificate {serial} is revoked or on hold"
    );
    anyhow::ensure!(
        (record.not_before..=record.not_after).contains(&now_ms()),
        "client certificate {serial} is not valid now"
    );
    // A device speaks for itself, not with its owner's powers.
    let kinds = match record.kind {
        IdentityKind::Device => Default::default(),
        _ => state.member_record(&record.owner)?.map(|member| member.kinds).unwrap_or_default(),
    };
    Ok(Caller {
        member: record.owner,
        kinds,
        subject: record.subject,
        identity: Some(record.identity),
    })
}

/// [`LedgerAccess`] over a node.
struct NodeLedger {
    node: Arc<Node>,
}

impl NodeLedger {
    fn reader(&self) -> &hufu_machine::Reader {
        self.node.ledger.reader()
    }

    fn compiled(&self, package: &Digest) -> anyhow::Result<Option<Arc<Contract>>> {
        let state = self.reader().state()?;
        for (name, record) in state.contracts()? {
            if record.digest == *package {
                return Ok(state.compiled(&name)?);
            }
        }
        // A version that is no longer active is compiled for this request.
        let Some(bytes) = self.reader().package(package)? else { return Ok(None) };
        let sources = Sources::from_bytes(&bytes)?;
        let mut active = std::collections::BTreeMap::new();
        for (name, _) in state.contracts()? {
            if let Some(contract) = state.compiled(&name)? {
                active.insert(name, contract);
            }
        }
        hufu_contract::check(&sources, &active).map(|contract| Some(Arc::new(contract))).map_err(
            |problems| {
                anyhow::anyhow!(
                    "package {package} does not compile: {}",
                    problems.first().map(ToString::to_string).unwrap_or_default()
                )
            },
        )
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
        self.compiled(package)
            .map_err(|error| LedgerFault::Unavailable(format!("{error:#}")))?
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
        let fields = asset
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), serde_json::to_value(value).unwrap_or_default()))
            .collect();
        Ok(AssetView { state: asset.state, fields })
    }

    fn submit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Settled, LedgerFault>> {
        async move {
            let mut answers = self.node.ledger.submit(vec![transaction], PATIENCE).await;
            let answer = answers.pop().unwrap_or(Err(hufu_node::Error::Stopped));
            settled(&self.node, answer.map_err(fault)?.entry)
        }
        .boxed()
    }

    fn record_look(&self, look: Look) -> BoxFuture<'_, Result<Digest, LedgerFault>> {
        async move {
            let entry = self.node.submitter.submit(Payload::Look(look)).await.map_err(fault)?;
            Ok(entry.transaction)
        }
        .boxed()
    }
}

fn settled(node: &Node, entry: LogEntry) -> Result<Settled, LedgerFault> {
    let found = node.ledger.reader().entry(&entry.transaction).map_err(broken)?;
    let (log_index, entry) = found.ok_or(LedgerFault::NotFound("transaction"))?;
    Ok(Settled { entry, log_index })
}

type Answer<T> = Result<T, Refusal>;

/// Many transactions in one request: borsh of a list; the answers in its order.
async fn bundle(
    State(node): State<Arc<Node>>,
    caller: Option<Extension<Caller>>,
    body: Bytes,
) -> Answer<Json<Value>> {
    known(caller)?;
    let transactions: Vec<Transaction> = codec::decode("bundle", &body, MAX_BUNDLE_BYTES)?;
    if transactions.len() > MAX_BUNDLE {
        return Err(anyhow::anyhow!("at most {MAX_BUNDLE} transactions in a bundle").into());
    }
    let ids: Vec<Digest> = transactions.iter().map(Transaction::id).collect();
    let answers = node.ledger.submit(transactions, PATIENCE).await;
    let mut shown = Vec::with_capacity(ids.len());
    for (id, answer) in ids.iter().zip(answers) {
        shown.push(match answer {
            Ok(committed) => json!({
                "id": id, "outcome": committed.entry.outcome, "height": committed.entry.height,
            }),
            Err(hufu_node::Error::Refused(outcome)) => {
                json!({ "id": id, "outcome": outcome, "height": 0 })
            }
            Err(error) => return Err(error.into()),
        });
    }
    Ok(Json(Value::Array(shown)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfSigner {
    identity: IdentityId,
}

/// What a device must know to append to a stream.
async fn stream(
    State(node): State<Arc<Node>>,
    caller: Option<Extension<Caller>>,
    Path((contract, stream)): Path<(Name, Name)>,
    Query(of): Query<OfSigner>,
) -> Answer<Json<Value>> {
    known(caller)?;
    let not_found = |what: String| Refusal(StatusCode::NOT_FOUND, anyhow::anyhow!("no {what}"));
    let state = node.ledger.reader().state()?;
    let compiled = state
        .compiled(&contract)?
        .ok_or_else(|| not_found(format!("contract `{contract}` is active")))?;
    let found = compiled
        .stream(stream.as_str())
        .ok_or_else(|| not_found(format!("stream `{stream}` in `{contract}`")))?;
    let columns: Vec<Value> = found
        .columns
        .iter()
        .map(|(name, ty)| {
            let scale = match ty {
                Type::Decimal { scale, .. } => Some(*scale),
                _ => None,
            };
            json!({ "name": name, "type": ty.name(), "scale": scale })
        })
        .collect();
    let sequence = state.stream_sequence(&contract, &stream, &of.identity);
    state.check()?;
    Ok(Json(json!({
        "contract": contract, "stream": stream, "columns": columns,
        "max_rows": found.max_rows, "sequence": sequence,
    })))
}

fn known(caller: Option<Extension<Caller>>) -> Answer<Caller> {
    caller.map(|Extension(caller)| caller).ok_or_else(|| {
        Refusal(
            StatusCode::UNAUTHORIZED,
            anyhow::anyhow!("show a client certificate of this consortium"),
        )
    })
}
