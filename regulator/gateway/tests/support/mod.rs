//! A consortium of four over real state machines, stores and read models, with
//! the packages of `policies/`; votes are made with keys from seeds.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use hufu_contract::{Contract, Sources};
use hufu_door::{Caller, Code, Jurisdictions, Peer, Problem, Role};
use hufu_gateway::{
    Asker, AssetView, BlockSummary, Gateway, GatewayLimits, LedgerAccess, LedgerFault,
    LedgerStatus, Metrics, ProvedAsset, Recorded, router,
};
use hufu_intake::{Intake, IntakeFault, StreamState};
use hufu_machine::Machine;
use hufu_machine::signatures::verify_batch;
use hufu_proof::block::HEADER_VERSION;
use hufu_proof::finality::{FinalityCertificate, Vote, finalize_message, vote_namespace};
use hufu_proof::genesis::{Authority, Constitution, GENESIS_VERSION, Member};
use hufu_proof::transaction::{Certification, IdentityKind, Issuance, Look, Proposal};
use hufu_proof::{
    Algorithm, Block, Body as TransactionBody, Digest, FinalityProof, Genesis, Header, Height,
    IdentityId, LogEntry, LogIndex, Name, Outcome, Payload, PublicKey, Receipt, Sequence, Serial,
    Signature, Signer, SignerFault, Transaction, UnixMillis,
};
use hufu_query::{Program, Workers};
use hufu_readmodel::ReadModel;
use hufu_store::{EmbeddedStore, Store};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use serde_json::Value;
use tower::ServiceExt as _;

const START: UnixMillis = UnixMillis(1_790_000_000_000);

pub struct SeedSigner(SigningKey);

impl SeedSigner {
    pub fn new(seed: u8) -> Self {
        Self(SigningKey::from_slice(&[seed; 32]).unwrap())
    }
}

impl Signer for SeedSigner {
    fn public_key(&self) -> PublicKey {
        let point = self.0.verifying_key().to_sec1_point(true);
        PublicKey::new(Algorithm::EcdsaP256, point.as_bytes()).unwrap()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignerFault> {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        Ok(Signature::new(Algorithm::EcdsaP256, &signature.to_bytes()).unwrap())
    }
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Member and the seed of its statement key; its vote key's is 100 less.
pub const MEMBERS: [(&str, u8); 4] =
    [("authority", 101), ("maker", 102), ("operator", 103), ("regulator", 104)];

pub const DEVICE_SEED: u8 = 50;

/// Where the devices are.
pub const PLACES: [&str; 2] = ["north", "south"];

pub fn seed(member: &str) -> u8 {
    MEMBERS.iter().find(|one| one.0 == member).unwrap().1
}

pub fn genesis() -> Genesis {
    let members = MEMBERS.map(|(member, seed)| Member {
        name: name(member),
        title: BTreeMap::from([("en".into(), member.into())]),
        kinds: BTreeSet::from([name(member)]),
        jurisdictions: match member {
            "regulator" => hufu_proof::Jurisdictions::Whole,
            _ => hufu_proof::Jurisdictions::None,
        },
        names: BTreeSet::new(),
        vote_key: SeedSigner::new(seed - 100).public_key(),
        statement_key: SeedSigner::new(seed).public_key(),
        node_key: None,
    });
    let genesis = Genesis {
        version: GENESIS_VERSION,
        consortium: name("gateway-tests"),
        created_ms: START,
        members: members.to_vec(),
        authority: Authority {
            member: name("authority"),
            root_certificate: vec![0x30, 0],
            issuing_certificate: vec![0x30, 0],
        },
        constitution: Constitution {
            approvals: 1,
            algorithms: BTreeSet::from([Algorithm::EcdsaP256, Algorithm::Ed25519]),
        },
    };
    genesis.check().unwrap();
    genesis
}

/// What the ledger does when it is asked to record something.
pub const WORKS: u8 = 0;
pub const BUSY: u8 = 1;
pub const PENDING: u8 = 2;
pub const STOPPED: u8 = 3;
pub const REFUSES: u8 = 4;
/// One of these for each transaction, by the remainder of its nonce.
pub const MIXED: u8 = 5;
/// The signer's budget of the day is used up.
pub const OVER: u8 = 6;

/// One member's node: machine, store, read model.
pub struct Node {
    pub genesis: Arc<Genesis>,
    machine: Mutex<Machine>,
    model: Mutex<ReadModel>,
    contracts: Mutex<BTreeMap<Digest, Arc<Contract>>>,
    nonce: Mutex<u64>,
    /// Held from a block's parent to its projection, since looks come at once.
    order: Mutex<()>,
    pub mode: AtomicU8,
    _folder: tempfile::TempDir,
}

impl Node {
    pub fn new() -> Arc<Self> {
        Self::founded(genesis())
    }

    pub fn founded(genesis: Genesis) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(EmbeddedStore::open(folder.path().join("store")).unwrap());
        let machine = Machine::open(store, genesis.clone()).unwrap();
        let chain = genesis.digest();
        let model = ReadModel::open(&folder.path().join("model.sqlite"), &chain).unwrap();
        let node = Self {
            genesis: Arc::new(genesis),
            machine: Mutex::new(machine),
            model: Mutex::new(model),
            contracts: Mutex::default(),
            nonce: Mutex::default(),
            order: Mutex::default(),
            mode: AtomicU8::new(WORKS),
            _folder: folder,
        };
        node.project(0);
        Arc::new(node)
    }

    fn project(&self, height: u64) {
        let replay = self.machine.lock().unwrap().reader().replay(Height(height)).unwrap().unwrap();
        let contracts = self.contracts.lock().unwrap().clone();
        let applied = self.model.lock().unwrap().apply(&replay.block, &replay.events, &contracts);
        assert!(applied.unwrap());
    }

    pub fn sign(&self, seed: u8, payload: Payload) -> Transaction {
        let mut nonce = self.nonce.lock().unwrap();
        *nonce += 1;
        let signer = SeedSigner::new(seed);
        let body = TransactionBody {
            chain: self.genesis.digest(),
            signer: signer.public_key(),
            nonce: *nonce,
            expires: Height(1000),
            payload,
        };
        body.sign(&signer).unwrap()
    }

    /// A block of these transactions on top of the last one.
    pub fn make(&self, transactions: Vec<Transaction>) -> Block {
        let machine = self.machine.lock().unwrap();
        let parent = machine.header();
        let header = Header {
            version: HEADER_VERSION,
            chain: parent.chain,
            height: parent.height.next(),
            parent: machine.digest(),
            time_ms: parent.time_ms.plus(Duration::from_secs(1)),
            transactions_root: Block::transactions_root(&transactions),
            executed: machine.applied(),
        };
        Block { header, transactions }
    }

    /// Executes a block, and has it finalized in `view`.
    pub fn execute(&self, block: &Block, view: u64) -> Vec<Outcome> {
        let signed = verify_batch(&block.transactions.iter().collect::<Vec<_>>());
        let executed = {
            let mut machine = self.machine.lock().unwrap();
            let executed = machine.execute(block, &signed).unwrap();
            let certificate = votes(&self.genesis, &block.header, view);
            machine.reader().put_finality(block.header.height, &certificate).unwrap();
            executed
        };
        self.project(block.header.height.get());
        executed.entries.into_iter().map(|entry| entry.outcome).collect()
    }

    pub fn submit_now(&self, transaction: Transaction) -> Outcome {
        let _order = self.order.lock().unwrap();
        let block = self.make(vec![transaction]);
        self.execute(&block, block.header.height.get())[0]
    }

    pub fn accept(&self, seed: u8, payload: Payload) {
        assert_eq!(self.submit_now(self.sign(seed, payload)), Outcome::Accepted);
    }

    pub fn know(&self, contract: &Arc<Contract>) {
        self.contracts.lock().unwrap().insert(contract.digest(), Arc::clone(contract));
    }

    pub fn reader(&self) -> hufu_readmodel::Reader {
        self.model.lock().unwrap().reader()
    }

    pub fn block_at(&self, height: u64) -> Block {
        self.ledger().block(Height(height)).unwrap().unwrap()
    }

    pub fn receipt_of(&self, id: &Digest) -> Receipt {
        self.ledger().receipt(id).unwrap().unwrap()
    }

    pub fn height(&self) -> u64 {
        self.machine.lock().unwrap().header().height.get()
    }

    fn ledger(&self) -> hufu_machine::Reader {
        self.machine.lock().unwrap().reader()
    }

    /// What the mode says; a mixed one, by the remainder of the nonce.
    fn refuse(&self, nonce: u64) -> Result<(), IntakeFault> {
        let mode = match self.mode.load(Ordering::Relaxed) {
            MIXED => (nonce % 5) as u8,
            mode => mode,
        };
        match mode {
            WORKS => Ok(()),
            BUSY => Err(IntakeFault::Busy { retry_after: Duration::from_millis(1500) }),
            PENDING => Err(IntakeFault::Pending),
            OVER => Err(IntakeFault::OverBudget {
                detail: "this signer has used up its day".into(),
                ends_ms: UnixMillis(86_400_000),
                retry_after: Duration::from_secs(3_600),
            }),
            REFUSES => Err(IntakeFault::Refused(Outcome::WrongChain)),
            _ => Err(IntakeFault::Unavailable("it stops".into())),
        }
    }
}

pub fn votes(genesis: &Genesis, header: &Header, view: u64) -> FinalityCertificate {
    let block = header.digest();
    let message = finalize_message(&vote_namespace(&genesis.digest()), 0, view, view - 1, &block);
    let members = hufu_proof::Membership::founders(genesis);
    let validators = members.validators();
    let votes = validators.iter().enumerate().skip((view % 2) as usize).take(3);
    let votes = votes.map(|(validator, member)| {
        let signature: p256::ecdsa::Signature =
            SeedSigner::new(seed(member.name.as_str()) - 100).0.sign(&message);
        let signature = signature.normalize_s().to_bytes().into();
        Vote { validator: validator as u16, signature }
    });
    FinalityCertificate { epoch: 0, view, parent_view: view - 1, block, votes: votes.collect() }
}

fn found<T>(value: Option<T>, what: &'static str) -> Result<T, LedgerFault> {
    value.ok_or(LedgerFault::NotFound(what))
}

impl LedgerAccess for Node {
    fn status(&self) -> Result<LedgerStatus, LedgerFault> {
        if self.mode.load(Ordering::Relaxed) == STOPPED {
            return Err(LedgerFault::Unavailable("it stops".into()));
        }
        let machine = self.machine.lock().unwrap();
        let (header, applied) = (machine.header(), machine.applied());
        Ok(LedgerStatus {
            height: header.height.get(),
            time_ms: header.time_ms.get(),
            anchored_height: header.executed.height.get(),
            state_root: applied.state_root,
            log_size: applied.log_size,
            log_root: applied.log_root,
            waiting: 0,
        })
    }

    fn block(&self, height: u64) -> Result<BlockSummary, LedgerFault> {
        let reader = self.ledger();
        let block = found(reader.block(Height(height)).unwrap(), "block")?;
        Ok(BlockSummary {
            digest: block.digest(),
            finality: reader.finality_proof(&block.header).unwrap(),
            transactions: block.transactions.iter().map(Transaction::id).collect(),
            header: block.header,
        })
    }

    fn anchor(&self, height: u64) -> Result<(Header, FinalityProof), LedgerFault> {
        found(self.ledger().anchor(Height(height)).unwrap(), "final header")
    }

    fn handovers(&self, _: u64) -> Result<Vec<hufu_proof::Handover>, LedgerFault> {
        Ok(Vec::new())
    }

    fn log_path(&self, log_index: u64, log_size: u64) -> Result<Vec<Digest>, LedgerFault> {
        found(self.ledger().log_path(LogIndex(log_index), log_size).unwrap(), "log entry")
    }

    fn tile(&self, level: u8, begin: u64, width: u64) -> Result<Vec<Digest>, LedgerFault> {
        found(self.ledger().tile(level, begin, width).unwrap(), "tile of the log")
    }

    fn entries(&self, begin: u64, count: u64) -> Result<Vec<LogEntry>, LedgerFault> {
        let size = self.machine.lock().unwrap().applied().log_size;
        let end = found(begin.checked_add(count).filter(|end| *end <= size), "tile of the log")?;
        Ok(self.ledger().entries(LogIndex(begin), LogIndex(end)).unwrap())
    }

    fn transaction(&self, id: &Digest) -> Result<Recorded, LedgerFault> {
        let reader = self.ledger();
        let recorded = found(reader.transaction(id).unwrap(), "transaction")?;
        let signer = recorded.transaction.body.signer.identity();
        let state = reader.state().unwrap();
        let signer = state.identity(&signer).unwrap();
        let belongs = signer.as_ref().map(|one| {
            hufu_contract::belonging::of_signer(&state, one.kind, &one.owner, &one.subject)
        });
        let member = signer.map(|one| one.owner);
        Ok(Recorded {
            belongs: belongs.unwrap_or_default(),
            transaction: recorded.transaction,
            entry: recorded.entry,
            log_index: recorded.log_index.get(),
            member,
        })
    }

    fn receipt(&self, id: &Digest) -> Result<Receipt, LedgerFault> {
        let reader = self.ledger();
        found(reader.entry(id).unwrap(), "transaction")?;
        reader.receipt(id).unwrap().ok_or(LedgerFault::Pending)
    }

    fn contract(&self, package: &Digest) -> Result<Arc<Contract>, LedgerFault> {
        found(self.contracts.lock().unwrap().get(package).cloned(), "contract")
    }

    fn read_asset(
        &self,
        caller: &Caller,
        contract: &Name,
        asset_type: &Name,
        key: &str,
        as_of: u64,
    ) -> Result<AssetView, LedgerFault> {
        use hufu_contract::World as _;
        let view = self.ledger().state_at(Height(as_of)).map_err(|error| match error {
            hufu_machine::MachineError::NotExecuted { height, executed } => {
                LedgerFault::Future { asked: height.get(), executed: executed.get() }
            }
            other => panic!("{other}"),
        })?;
        let compiled = found(view.compiled(contract).unwrap(), "contract")?;
        let asset = found(view.asset(contract, asset_type, key), "asset")?;
        AssetView::read(&compiled, &Asker::of(caller), asset_type, key, &asset, &view)
    }

    fn prove_asset(
        &self,
        caller: &Caller,
        contract: &Name,
        asset_type: &Name,
        key: &str,
        as_of: u64,
    ) -> Result<ProvedAsset, LedgerFault> {
        let (reader, executed) = (self.ledger(), self.height());
        if as_of > executed {
            return Err(LedgerFault::Future { asked: as_of, executed });
        }
        let state_key = hufu_machine::key::asset(contract, asset_type, key);
        let proof = reader.state_proof(&state_key, Height(as_of)).unwrap();
        let proof = proof.ok_or(LedgerFault::Pending)?;
        let of_type = reader.state_at(proof.as_of()).unwrap().compiled(contract).unwrap();
        let of_type = found(of_type, "contract")?;
        found(of_type.asset_type(asset_type.as_str()), "type of asset")?;
        let view = self.read_asset(caller, contract, asset_type, key, proof.as_of().get());
        match view {
            Ok(view) => Ok(ProvedAsset { proof, view: Some(view) }),
            Err(LedgerFault::NotFound("asset")) => Ok(ProvedAsset { proof, view: None }),
            Err(fault) => Err(fault),
        }
    }

    fn record_look(&self, look: Look) -> BoxFuture<'_, Result<Digest, LedgerFault>> {
        async move {
            self.refuse(0).map_err(|fault| LedgerFault::Unavailable(fault.to_string()))?;
            let transaction = self.sign(seed("regulator"), Payload::Look(look));
            let id = transaction.id();
            assert_eq!(self.submit_now(transaction), Outcome::Accepted);
            Ok(id)
        }
        .boxed()
    }
}

impl Intake for Node {
    fn stream(
        &self,
        contract: &Name,
        stream: &Name,
        identity: &IdentityId,
    ) -> Result<StreamState, IntakeFault> {
        use hufu_contract::World as _;
        let view = self.ledger().state().unwrap();
        let compiled = view.compiled(contract).unwrap().ok_or(IntakeFault::NotFound("contract"))?;
        let sequence = view.stream_sequence(contract, stream, identity);
        Ok(StreamState { contract: compiled, sequence })
    }

    fn submit<'a>(
        &'a self,
        _caller: &'a Caller,
        transactions: Vec<Transaction>,
        _patience: Duration,
    ) -> BoxFuture<'a, Vec<Result<LogEntry, IntakeFault>>> {
        let one = |transaction: Transaction| {
            self.refuse(transaction.body.nonce)?;
            let id = transaction.id();
            if self.ledger().entry(&id).unwrap().is_none() {
                self.submit_now(transaction);
            }
            Ok(self.ledger().entry(&id).unwrap().unwrap().1)
        };
        let answers = transactions.into_iter().map(one).collect();
        std::future::ready(answers).boxed()
    }

    fn log_index(&self, id: &Digest) -> Result<u64, IntakeFault> {
        let (place, _) =
            self.ledger().entry(id).unwrap().ok_or(IntakeFault::NotFound("transaction"))?;
        Ok(place.get())
    }
}

/// The files of a package under `policies/`.
pub fn package(folder: &str) -> Sources {
    let root = PathBuf::from(env!("HUFU_ROOT")).join("policies").join(folder);
    let mut files = BTreeMap::new();
    for sub in ["", "controls", "cases"] {
        for entry in std::fs::read_dir(root.join(sub)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let relative = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                files.insert(relative, std::fs::read(&path).unwrap());
            }
        }
    }
    Sources::new(files).unwrap()
}

pub struct Scene {
    pub registry: Arc<Contract>,
    pub supervision: Arc<Contract>,
}

fn parameters(json: Value) -> BTreeMap<String, Value> {
    json.as_object().unwrap().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Two devices, one of them watched and over its limit, and two blocks after
/// that, so that what happened is anchored.
pub fn play(node: &Node) -> Scene {
    play_with(node, package("operation-supervision"))
}

/// The same, under another package for the supervision.
pub fn play_with(node: &Node, supervision_sources: Sources) -> Scene {
    let registry_sources = package("device-registry");
    let registry = Arc::new(hufu_contract::check(&registry_sources, &BTreeMap::new()).unwrap());
    let known = BTreeMap::from([(registry.name().clone(), Arc::clone(&registry))]);
    let supervision = Arc::new(hufu_contract::check(&supervision_sources, &known).unwrap());
    node.know(&registry);
    node.know(&supervision);
    for sources in [&registry_sources, &supervision_sources] {
        let package = sources.to_bytes();
        node.accept(seed("authority"), Payload::Propose(Proposal::Deploy { package }));
    }
    let issuance = |number: u8| Issuance {
        serial: Serial::new(&[number]).unwrap(),
        profile: name("idevid"),
        kind: IdentityKind::Device,
        tbs: vec![0x30, number],
        key: SeedSigner::new(DEVICE_SEED + number).public_key(),
        subject: format!("D{number}"),
        owner: name("operator"),
        not_before: START,
        not_after: START.plus(Duration::from_secs(1_000_000)),
        attestation: None,
    };
    let certification = |number| Certification {
        issuance: issuance(number),
        roles: BTreeSet::new(),
        hosts: BTreeSet::new(),
    };
    node.accept(seed("authority"), Payload::Certify(vec![certification(1), certification(2)]));
    for number in [1, 2] {
        let identity = SeedSigner::new(DEVICE_SEED + number).public_key().identity();
        let given = serde_json::json!({
            "device_id": format!("D{number}"), "identity": identity.to_string(),
            "owner": "operator", "model": "furnace-2", "jurisdiction": PLACES[usize::from(number) - 1],
        });
        let invocation = registry.invocation("register", None, &parameters(given)).unwrap();
        node.accept(seed("maker"), Payload::Invoke(invocation));
    }
    let given = serde_json::json!({
        "watch_id": "W1", "device": "D1", "metric": "temperature", "low": "20", "high": "850.5",
    });
    let invocation = supervision.invocation("watch", None, &parameters(given)).unwrap();
    node.accept(seed("operator"), Payload::Invoke(invocation));
    for (number, sequence, value) in [(1, 1, "851"), (1, 2, "300"), (2, 1, "7")] {
        let row = serde_json::json!({
            "metric": "temperature", "value": value, "measured_at": START,
        });
        let batch = supervision.batch("reading", Sequence(sequence), [&parameters(row)]).unwrap();
        node.accept(DEVICE_SEED + number, Payload::Append(batch));
    }
    for _ in 0..2 {
        let block = node.make(Vec::new());
        node.execute(&block, block.header.height.get());
    }
    Scene { registry, supervision }
}

/// Queries run in this test program again, which then does nothing else.
#[test]
fn confined() {
    if std::env::args().next_back().as_deref() == Some("sql") {
        assert_eq!(hufu_query::child::main(), std::process::ExitCode::SUCCESS);
    }
}

/// At most so many processes at once for queries.
pub fn workers(places: usize) -> Workers {
    let program = Program {
        path: std::env::current_exe().unwrap(),
        arguments: vec!["support::confined".into(), "--exact".into(), "--nocapture".into()],
        environment: Vec::new(),
    };
    Workers::new(program, places)
}

/// The gateway of `member` over `node`.
pub fn gateway(node: &Arc<Node>, member: &str, limits: GatewayLimits) -> (Router, Metrics) {
    gateway_with(node, member, limits, workers(4))
}

/// The same, with these processes for queries.
pub fn gateway_with(
    node: &Arc<Node>,
    member: &str,
    limits: GatewayLimits,
    workers: Workers,
) -> (Router, Metrics) {
    let metrics = Metrics::default();
    let gateway = Gateway::new(
        Arc::clone(node) as Arc<dyn LedgerAccess>,
        node.reader(),
        Arc::clone(&node.genesis),
        name(member),
        Arc::new(SeedSigner::new(seed(member))),
        metrics.clone(),
        limits,
        workers,
    );
    let sent = hufu_intake::part(Arc::clone(node) as Arc<dyn Intake>, limits.patience);
    (router(Arc::new(gateway), vec![sent]), metrics)
}

/// A regulator supervises all, but for one that ends in its jurisdictions.
fn jurisdictions(member: &str) -> Jurisdictions {
    match member.split_once(" of ") {
        Some((_, "none")) => Jurisdictions::None,
        Some((_, names)) => Jurisdictions::of(names.split('+').map(name).collect()),
        None if member == "regulator" => Jurisdictions::Whole,
        None => Jurisdictions::None,
    }
}

/// A client of `member`, which may be `regulator of north+west`.
pub fn caller(member: &str) -> Caller {
    let jurisdictions = jurisdictions(member);
    let member = member.split(" of ").next().unwrap_or(member);
    Caller {
        member: name(member),
        kinds: BTreeSet::from([name(member)]),
        kind: IdentityKind::Client,
        roles: BTreeSet::from([Role::Operator, Role::Regulator]),
        jurisdictions,
        serial: hufu_proof::Serial::new(&[1]).unwrap(),
        height: 0,
        subject: format!("CN={member} client"),
        // A stranger's key is not on the ledger.
        identity: MEMBERS
            .iter()
            .find(|one| one.0 == member)
            .map(|one| SeedSigner::new(one.1).public_key().identity()),
    }
}

pub struct Reply {
    pub status: u16,
    pub headers: axum::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), hufu_door::problem::MEDIA_TYPE);
        let document = self.json();
        assert_eq!(document["status"], self.status);
        let code = document["code"].as_str().unwrap().to_owned();
        assert_eq!(document["type"], format!("urn:hufu:problem:{code}"));
        let known = Code::named(&code).unwrap();
        assert!(hufu_gateway::CODES.contains(&known), "{code}");
        assert_eq!(known.status().as_u16(), self.status);
        assert_eq!(document["title"], known.title());
        assert!(!document["detail"].as_str().unwrap().is_empty());
        code
    }
}

/// A client whose certificate is not accepted.
pub const REFUSED: &str = "refused";

/// Sends one request as `member` (nobody when empty).
pub async fn send(
    router: &Router,
    member: &str,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Reply {
    let mut request = Request::builder().method(method).uri(uri);
    for (header, value) in headers {
        request = request.header(*header, *value);
    }
    let mut request = request.body(body.into()).unwrap();
    if member == REFUSED {
        let problem = Problem::new(Code::CertificateRevoked, "it is revoked");
        request.extensions_mut().insert(Peer::Refused(problem));
    } else if !member.is_empty() {
        request.extensions_mut().insert(Peer::Known(Arc::new(caller(member))));
    }
    reply(router, request).await
}

/// Reads something as a caller of one's own making.
pub async fn get_as(router: &Router, caller: &Caller, uri: &str) -> Reply {
    let mut request = Request::builder().uri(uri).body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer::Known(Arc::new(caller.clone())));
    reply(router, request).await
}

async fn reply(router: &Router, request: Request<Body>) -> Reply {
    let response: Response<Body> = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Reply { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub async fn post(router: &Router, member: &str, uri: &str, json: &Value) -> Reply {
    let kind = [("content-type", "application/json")];
    send(router, member, "POST", uri, &kind, json.to_string()).await
}

pub async fn get(router: &Router, member: &str, uri: &str) -> Reply {
    send(router, member, "GET", uri, &[], Body::empty()).await
}
