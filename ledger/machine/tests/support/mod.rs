//! A consortium for tests and benches: keys, genesis, blocks, votes, nodes on
//! real stores.
#![allow(dead_code)] // Each test and bench uses a part.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ed25519_zebra::SigningKey;
use hufu_contract::Sources;
use hufu_machine::signatures::verify_batch;
use hufu_machine::{Executed, Machine, MachineError, Reader};
use hufu_proof::block::HEADER_VERSION;
use hufu_proof::finality::{Vote, finalize_message, quorum, vote_namespace};
use hufu_proof::genesis::{Authority, Constitution, Member, MemberV1};
use hufu_proof::transaction::{
    Batch, Body, Certification, IdentityKind, Invocation, Issuance, Proposal,
};
use hufu_proof::{
    Algorithm, Block, Digest, FinalityCertificate, Genesis, Header, Height, IdentityId, Membership,
    Name, Outcome, Payload, PublicKey, Sequence, Serial, Signature, Signer, SignerFault,
    Transaction, UnixMillis, Value,
};
use hufu_store::{EmbeddedStore, Store};
use p256::ecdsa::signature::Signer as _;
use tempfile::TempDir;

pub const START: UnixMillis = UnixMillis(1_800_000_000_000);
pub const YEAR: Duration = Duration::from_secs(365 * 86_400);
pub const MEMBERS: [&str; 4] = ["authority", "maker", "operator", "regulator"];

/// What vote keys are made of: the founders', and those that come later.
const SEEDS: [&str; 6] = ["authority", "maker", "operator", "regulator", "maker 2", "auditor"];

/// A simulated signer: its key belongs to the test, not to the product.
#[derive(Clone)]
pub struct Key(pub SigningKey);

pub fn key(seed: &str) -> Key {
    Key(SigningKey::from(Digest::of(seed.as_bytes()).0))
}

impl Key {
    pub fn public(&self) -> PublicKey {
        PublicKey::new(Algorithm::Ed25519, self.0.verification_key().as_ref()).unwrap()
    }

    pub fn identity(&self) -> IdentityId {
        self.public().identity()
    }
}

impl Signer for Key {
    fn public_key(&self) -> PublicKey {
        self.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignerFault> {
        Ok(Signature::new(Algorithm::Ed25519, &self.0.sign(message).to_bytes()).unwrap())
    }
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn vote_key(member: &str) -> p256::ecdsa::SigningKey {
    let seed = Digest::of(format!("vote {member}").as_bytes());
    p256::ecdsa::SigningKey::from_slice(&seed.0).unwrap()
}

pub fn vote_public(member: &str) -> PublicKey {
    let key = p256::ecdsa::VerifyingKey::from(&vote_key(member));
    PublicKey::new(Algorithm::EcdsaP256, key.to_sec1_point(true).as_bytes()).unwrap()
}

/// Four members whose kinds are their names; three approvals. It is of version
/// 1, in which fixtures are pinned; [`genesis_v2`] is as consortia are founded.
pub fn genesis() -> Genesis {
    founded(1, |member| member)
}

/// The same of version 2, with names: `maker.example` and a block of addresses
/// of the maker, `operator.example` of the operator.
pub fn genesis_v2() -> Genesis {
    founded(2, |member| {
        let names: &[&str] = match member.name.as_str() {
            "maker" => &["maker.example", "192.0.2.0/24"],
            "operator" => &["operator.example"],
            _ => &[],
        };
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        let node_key = Some(key(&format!("node of {}", member.name)).public());
        Member { names, node_key, ..member }
    })
}

fn founded(version: u8, more: impl Fn(Member) -> Member) -> Genesis {
    let members = MEMBERS.map(|member| {
        more(Member::from(MemberV1 {
            name: name(member),
            title: BTreeMap::from([("en".into(), member.to_uppercase())]),
            kinds: BTreeSet::from([name(member)]),
            jurisdictions: BTreeSet::new(),
            vote_key: vote_public(member),
            statement_key: key(member).public(),
        }))
    });
    let genesis = Genesis {
        version,
        consortium: name("test"),
        created_ms: START,
        members: members.into(),
        authority: Authority {
            member: name("authority"),
            root_certificate: b"root".to_vec(),
            issuing_certificate: b"issuing".to_vec(),
        },
        constitution: Constitution {
            approvals: 3,
            algorithms: BTreeSet::from([
                Algorithm::Ed25519,
                Algorithm::EcdsaP256,
                Algorithm::EcdsaP384,
            ]),
        },
    };
    genesis.check().unwrap();
    genesis
}

/// A machine on a store of its own, and the chain that is built on it.
pub struct Node {
    pub machine: Machine,
    pub chain: Digest,
    genesis: Genesis,
    /// Signed transactions are made different by this.
    nonce: u64,
    directory: Arc<TempDir>,
}

impl Node {
    pub fn new() -> Self {
        Self::founded(genesis())
    }

    pub fn founded(genesis: Genesis) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let machine = open_with(directory.path(), genesis.clone());
        Self { machine, chain: genesis.digest(), genesis, nonce: 0, directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn reader(&self) -> Reader {
        self.machine.reader()
    }

    /// Closes store and machine and opens them again.
    pub fn restart(self) -> Self {
        let Self { machine, chain, genesis, nonce, directory } = self;
        drop(machine);
        let machine = open_with(directory.path(), genesis.clone());
        Self { machine, chain, genesis, nonce, directory }
    }

    /// Closes store and machine; where the store is.
    pub fn close(self) -> Arc<TempDir> {
        drop(self.machine);
        self.directory
    }

    pub fn height(&self) -> Height {
        self.machine.header().height
    }

    /// The next block, a second after the last one.
    pub fn block(&self, transactions: Vec<Transaction>) -> Block {
        next_block(&self.machine, transactions)
    }

    pub fn execute(&mut self, block: &Block) -> Result<Executed, MachineError> {
        execute(&mut self.machine, block)
    }

    /// Executes a block of `transactions`; what became of each.
    pub fn run(&mut self, transactions: Vec<Transaction>) -> Vec<Outcome> {
        let block = self.block(transactions);
        let executed = self.execute(&block).unwrap();
        executed.entries.into_iter().map(|entry| entry.outcome).collect()
    }

    /// Executes a block of one transaction; what became of it.
    pub fn one(&mut self, signer: &Key, payload: Payload) -> Outcome {
        let transaction = self.sign(signer, payload);
        self.run(vec![transaction])[0]
    }

    /// Executes a block of one transaction that must be accepted.
    pub fn must(&mut self, signer: &Key, payload: Payload) -> Transaction {
        let transaction = self.sign(signer, payload);
        assert_eq!(self.run(vec![transaction.clone()]), [Outcome::Accepted]);
        transaction
    }

    pub fn sign(&mut self, signer: &Key, payload: Payload) -> Transaction {
        self.nonce += 1;
        sign(self.chain, self.nonce, self.height().plus(1_000), signer, payload)
    }

    /// Executes empty blocks until a header commits to the present height, and
    /// certifies the last.
    pub fn settle(&mut self) {
        for _ in 0..2 {
            self.run(vec![]);
        }
        self.certify(self.height());
    }

    /// Attaches a certificate of finality to `height`.
    pub fn certify(&self, height: Height) -> FinalityCertificate {
        let digest = self.reader().header(height).unwrap().unwrap().digest();
        let epochs = self.reader().epochs();
        let epoch = epochs.iter().rfind(|epoch| epoch.first <= height).unwrap();
        let certificate = certificate_in(epoch.number, &epoch.membership, height, digest);
        self.reader().put_finality(height, &certificate).unwrap();
        certificate
    }

    /// Certifies devices in the form of the consortium's version.
    pub fn certify_devices(&mut self, issuances: Vec<Issuance>) {
        let payload = match self.genesis.version {
            1 => Payload::Issue(issuances),
            _ => Payload::Certify(issuances.into_iter().map(certification).collect()),
        };
        self.must(&key("authority"), payload);
    }

    /// Deploys a package with three approvals.
    pub fn deploy(&mut self, sources: &Sources) {
        let proposal = Proposal::Deploy { package: sources.to_bytes() };
        self.enact(proposal);
    }

    /// Proposes as the authority; maker and operator approve.
    pub fn enact(&mut self, proposal: Proposal) {
        let digest = proposal.digest();
        self.must(&key("authority"), Payload::Propose(proposal));
        self.must(&key("maker"), Payload::Approve(digest));
        self.must(&key("operator"), Payload::Approve(digest));
    }
}

pub fn open(directory: &Path) -> Machine {
    open_with(directory, genesis())
}

fn open_with(directory: &Path, genesis: Genesis) -> Machine {
    Machine::open(Arc::new(EmbeddedStore::open(directory).unwrap()), genesis).unwrap()
}

pub fn execute(machine: &mut Machine, block: &Block) -> Result<Executed, MachineError> {
    let transactions: Vec<&Transaction> = block.transactions.iter().collect();
    machine.execute(block, &verify_batch(&transactions))
}

pub fn next_block(machine: &Machine, transactions: Vec<Transaction>) -> Block {
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

/// A certificate by three of the four validators.
pub fn certificate(height: Height, block: Digest) -> FinalityCertificate {
    certificate_in(0, &Membership::founders(&genesis()), height, block)
}

/// A certificate by a quorum of these members.
pub fn certificate_in(
    epoch: u64,
    membership: &Membership,
    height: Height,
    block: Digest,
) -> FinalityCertificate {
    let namespace = vote_namespace(&genesis().digest());
    let (view, parent_view) = (height.get() + 1, height.get());
    let message = finalize_message(&namespace, epoch, view, parent_view, &block);
    let validators = membership.validators();
    let votes = validators.iter().enumerate().take(quorum(validators.len()));
    let votes = votes.map(|(number, seat)| {
        let seed = SEEDS.iter().find(|seed| vote_public(seed) == seat.vote_key).unwrap();
        let signature: p256::ecdsa::Signature = vote_key(seed).sign(&message);
        Vote { validator: number as u16, signature: signature.normalize_s().to_bytes().into() }
    });
    FinalityCertificate { epoch, view, parent_view, block, votes: votes.collect() }
}

pub fn sign(
    chain: Digest,
    nonce: u64,
    expires: Height,
    signer: &dyn Signer,
    payload: Payload,
) -> Transaction {
    Body { chain, signer: signer.public_key(), nonce, expires, payload }.sign(signer).unwrap()
}

/// A device certificate for `device`'s key, owned by the operator.
pub fn issuance(device: &str, serial: u64) -> Issuance {
    Issuance {
        serial: serial_number(serial),
        profile: name("idevid"),
        kind: IdentityKind::Device,
        tbs: format!("to be signed for {device} {serial}").into_bytes(),
        key: key(device).public(),
        subject: device.to_owned(),
        owner: name("operator"),
        not_before: START,
        not_after: START.plus(YEAR),
        attestation: None,
    }
}

/// A certificate without roles and hosts.
pub fn certification(issuance: Issuance) -> Certification {
    Certification { issuance, roles: BTreeSet::new(), hosts: BTreeSet::new() }
}

pub fn serial_number(number: u64) -> Serial {
    Serial::new(number.to_be_bytes().trim_ascii_start_zeros()).unwrap()
}

trait TrimZeros {
    fn trim_ascii_start_zeros(&self) -> &[u8];
}

impl TrimZeros for [u8; 8] {
    fn trim_ascii_start_zeros(&self) -> &[u8] {
        let first = self.iter().position(|byte| *byte != 0).unwrap_or(7);
        &self[first..]
    }
}

pub fn invoke(contract: &str, action: &str, asset: &str, params: &[(&str, Value)]) -> Payload {
    Payload::Invoke(Invocation {
        contract: name(contract),
        action: name(action),
        asset: asset.to_owned(),
        params: params.iter().map(|(key, value)| (name(key), value.clone())).collect(),
    })
}

pub fn append(contract: &str, stream: &str, sequence: u64, rows: Vec<Vec<Value>>) -> Payload {
    Payload::Append(Batch {
        contract: name(contract),
        stream: name(stream),
        sequence: Sequence(sequence),
        rows,
    })
}

/// A package of these files.
pub fn sources(files: &[(&str, &str)]) -> Sources {
    let file = |(path, text): &(&str, &str)| ((*path).to_owned(), text.as_bytes().to_vec());
    Sources::new(files.iter().map(file).collect()).unwrap()
}

/// Meters: an asset that its operator makes, and a stream its device appends to.
pub fn meters(version: &str) -> Sources {
    let contract = METERS.replace("VERSION", version);
    sources(&[
        ("contract.toml", &contract),
        ("policy.cedar", METERS_POLICY),
        ("README.md", "Meters, for tests of the state machine.\n"),
    ])
}

const METERS: &str = r#"
[package]
name = "meters"
version = "VERSION"
title = { en = "Meters", zh = "仪表" }
implements = ["tests of the state machine"]

[roles]
operator = { title = { en = "Operator", zh = "运营商" } }
reader = { title = { en = "Reader", zh = "抄表员" } }

[asset.meter]
title = { en = "Meter", zh = "仪表" }
key = "meter_id"
fields.meter_id = { type = "id" }
fields.identity = { type = "identity", title = { en = "Signing key", zh = "签名密钥" } }
fields.owner = { type = "member", title = { en = "Owner", zh = "所有者" } }
fields.total = { type = "int", initial = 0, title = { en = "Total", zh = "合计" } }
states = ["open", "closed"]

[action.install]
title = { en = "Install", zh = "安装" }
creates = "meter"
params = ["meter_id", "identity"]
set.owner = "principal.member"
emit = "installed"

[action.add]
title = { en = "Add", zh = "累加" }
on = "meter"
from = ["open"]
params.amount = { type = "int", min = 0, max = 1000 }
set.total = "asset.total + params.amount"

[action.close]
title = { en = "Close", zh = "关闭" }
on = "meter"
from = ["open"]
to = "closed"
emit = "closed"

[stream.reading]
title = { en = "Reading", zh = "读数" }
signer = "meters/meter"
sequence = "strict"
rows.metric = { type = "symbol", title = { en = "Metric", zh = "指标" } }
rows.value = { type = "decimal", scale = 3, title = { en = "Value", zh = "数值" } }
max_rows = 1000

[invariant.bounded]
on = "meter"
holds = "asset.total <= 5000"
"#;

const METERS_POLICY: &str = r#"
permit (principal in Role::"operator", action in [Action::"install", Action::"close"], resource is Meter)
when { resource.owner == principal.member };

permit (principal in Role::"reader", action == Action::"add", resource is Meter);

permit (principal, action == Action::"append", resource is Reading)
when { principal.kind == "device" && resource.device.state == "open" };

permit (principal, action == Action::"read", resource is Meter);
"#;

/// A row of the meters' stream.
pub fn reading(value: i64) -> Vec<Value> {
    vec![Value::Symbol("energy".into()), Value::Decimal(value)]
}

/// Meters are deployed, `device` is certified and installed.
pub fn install(node: &mut Node, devices: &[&str]) {
    node.deploy(&meters("1.0.0"));
    let issuances = devices.iter().enumerate();
    let issuances = issuances.map(|(number, device)| issuance(device, number as u64 + 1));
    node.certify_devices(issuances.collect());
    for device in devices {
        node.must(&key("operator"), install_meter(device));
    }
}

pub fn install_meter(device: &str) -> Payload {
    let identity = Value::Identity(key(device).identity());
    let id = Value::Id(device.to_owned());
    invoke("meters", "install", device, &[("meter_id", id), ("identity", identity)])
}

/// A store for the same directory, to look at from outside a machine.
pub fn store(directory: &Path) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(directory).unwrap())
}
