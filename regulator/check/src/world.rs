//! The consortium of the cases: members and devices with keys that everybody
//! knows, one machine on a store in a temporary directory, one read model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ed25519_zebra::SigningKey;
use hufu_contract::Contract;
use hufu_machine::signatures::verify_batch;
use hufu_machine::{Machine, MachineError};
use hufu_proof::block::HEADER_VERSION;
use hufu_proof::genesis::{Authority, Constitution, GENESIS_VERSION, Jurisdictions, Member};
use hufu_proof::transaction::{Certification, IdentityKind, Issuance};
use hufu_proof::{
    Algorithm, Block, Body, Digest, Genesis, Header, Height, IdentityId, Name, Outcome, Payload,
    PublicKey, Serial, Signature, Signer, SignerFault, Transaction, UnixMillis,
};
use hufu_readmodel::{ReadModel, ReadModelError};
use hufu_store::{EmbeddedStore, Store};
use tempfile::TempDir;

/// The members of every case's world. Each is of the kind of its name, but
/// `stranger`, which is of none, like those that a case adds.
pub const MEMBERS: [&str; 5] = ["authority", "maker", "operator", "regulator", "stranger"];

/// In front of a device's name where its key is derived, so that no device has a
/// member's key.
pub const DEVICE_PREFIX: &str = "device ";

/// The time of the genesis block: 2026-01-01.
const START: UnixMillis = UnixMillis(1_767_225_600_000);
/// How long certificates of devices are valid: a thousand years.
const VALIDITY: Duration = Duration::from_secs(1_000 * 365 * 86_400);

/// Why the fixture world does not work. None of it is the package's fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorldError {
    /// No temporary directory, or no store in it.
    #[error("the temporary store cannot be made")]
    Directory(#[source] std::io::Error),
    /// The store failed.
    #[error("the temporary store failed")]
    Store(#[source] hufu_store::StoreError),
    /// The machine failed.
    #[error("the state machine failed")]
    Machine(#[from] MachineError),
    /// The read model failed.
    #[error("the read model failed")]
    ReadModel(#[from] ReadModelError),
    /// A signer of the fixture world failed.
    #[error("a fixture key did not sign")]
    Signer(#[from] SignerFault),
    /// The fixture's own data is wrong.
    #[error("the fixture world is wrong: {0}")]
    Fixture(String),
}

/// A key that everybody knows.
struct Key(SigningKey);

impl Key {
    fn of(seed: &str) -> Self {
        Self(SigningKey::from(Digest::of(format!("hufu case {seed}").as_bytes()).0))
    }

    fn public(&self) -> Result<PublicKey, WorldError> {
        let bytes = self.0.verification_key();
        PublicKey::new(Algorithm::Ed25519, bytes.as_ref()).map_err(fixture)
    }
}

impl Signer for Key {
    fn public_key(&self) -> PublicKey {
        // Every Ed25519 signing key has a well-formed public key.
        self.public().expect("a fixture key is well-formed")
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignerFault> {
        let signature = self.0.sign(message).to_bytes();
        // Ed25519 signatures are always 64 bytes.
        Ok(Signature::new(Algorithm::Ed25519, &signature).expect("64 bytes are a signature"))
    }
}

fn fixture(error: impl std::fmt::Display) -> WorldError {
    WorldError::Fixture(error.to_string())
}

/// The machine, the read model beside it, and who there is.
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) model: ReadModel,
    packages: BTreeMap<Digest, Arc<Contract>>,
    members: BTreeSet<String>,
    devices: BTreeMap<String, Name>,
    nonce: u64,
    // Last, so that files are closed before their directory goes.
    _directory: TempDir,
}

impl World {
    /// A world with these members, [`MEMBERS`] among them, and these devices with
    /// the members that answer for them.
    pub(crate) fn new(
        members: &BTreeSet<&str>,
        devices: &BTreeMap<String, Name>,
    ) -> Result<Self, WorldError> {
        let directory = tempfile::tempdir().map_err(WorldError::Directory)?;
        let store =
            EmbeddedStore::open(directory.path().join("store")).map_err(WorldError::Store)?;
        let store: Arc<dyn Store> = Arc::new(store);
        let machine = Machine::open(store, genesis(members)?)?;
        let chain = machine.genesis().digest();
        let model = ReadModel::open(&directory.path().join("model.sqlite"), &chain)?;
        let mut world = Self {
            machine,
            model,
            packages: BTreeMap::new(),
            members: members.iter().map(|&member| member.to_owned()).collect(),
            devices: devices.clone(),
            nonce: 0,
            _directory: directory,
        };
        world.project(Height::ZERO)?;
        world.certify_devices()?;
        Ok(world)
    }

    /// Records a certificate for every device.
    fn certify_devices(&mut self) -> Result<(), WorldError> {
        let profile = Name::new("idevid").map_err(fixture)?;
        let mut issuances = Vec::new();
        for (number, (device, owner)) in self.devices.iter().enumerate() {
            let serial = (number as u64 + 1).to_be_bytes();
            let first = serial.iter().position(|byte| *byte != 0).unwrap_or(7);
            let issuance = Issuance {
                serial: Serial::new(&serial[first..]).map_err(fixture)?,
                profile: profile.clone(),
                kind: IdentityKind::Device,
                tbs: format!("certificate of case device {device}").into_bytes(),
                key: Key::of(&format!("{DEVICE_PREFIX}{device}")).public()?,
                subject: device.clone(),
                owner: owner.clone(),
                not_before: START,
                not_after: START.plus(VALIDITY),
                attestation: None,
            };
            let (roles, hosts) = (BTreeSet::new(), BTreeSet::new());
            issuances.push(Certification { issuance, roles, hosts });
        }
        if issuances.is_empty() {
            return Ok(());
        }
        match self.submit("authority", Payload::Certify(issuances), Duration::ZERO)? {
            Outcome::Accepted => Ok(()),
            outcome => Err(fixture(format!("the devices' certificates were {outcome}"))),
        }
    }

    /// Remembers a contract whose package will be deployed, for the read model.
    pub(crate) fn know(&mut self, contract: Arc<Contract>) {
        for required in contract.dependencies().values() {
            self.know(Arc::clone(required));
        }
        self.packages.insert(contract.digest(), contract);
    }

    /// Whether there is such a member or device.
    pub(crate) fn knows(&self, who: &str) -> bool {
        self.members.contains(who) || self.devices.contains_key(who)
    }

    fn key(&self, who: &str) -> Key {
        if self.devices.contains_key(who) {
            Key::of(&format!("{DEVICE_PREFIX}{who}"))
        } else {
            Key::of(who)
        }
    }

    /// The identity of a member or device.
    pub(crate) fn identity(&self, who: &str) -> Result<IdentityId, WorldError> {
        Ok(self.key(who).public()?.identity())
    }

    /// Executes a block of one transaction by `who`, `after` after the last
    /// block; what became of it.
    pub(crate) fn submit(
        &mut self,
        who: &str,
        payload: Payload,
        after: Duration,
    ) -> Result<Outcome, WorldError> {
        self.nonce += 1;
        let key = self.key(who);
        let body = Body {
            chain: self.machine.genesis().digest(),
            signer: key.public()?,
            nonce: self.nonce,
            expires: self.machine.header().height.plus(100),
            payload,
        };
        let transaction = body.sign(&key)?;
        let outcomes = self.block(vec![transaction], after)?;
        outcomes.first().copied().ok_or_else(|| fixture("a transaction without an outcome"))
    }

    /// The time of the next block, `after` after the last; two blocks are never of
    /// one moment.
    pub(crate) fn next_time(&self, after: Duration) -> UnixMillis {
        self.machine.header().time_ms.plus(after.max(Duration::from_millis(1)))
    }

    /// Lets `after` pass in an empty block.
    pub(crate) fn pass(&mut self, after: Duration) -> Result<(), WorldError> {
        self.block(Vec::new(), after).map(drop)
    }

    fn block(
        &mut self,
        transactions: Vec<Transaction>,
        after: Duration,
    ) -> Result<Vec<Outcome>, WorldError> {
        let parent = self.machine.header();
        let header = Header {
            version: HEADER_VERSION,
            chain: parent.chain,
            height: parent.height.next(),
            parent: self.machine.digest(),
            time_ms: self.next_time(after),
            transactions_root: Block::transactions_root(&transactions),
            executed: self.machine.applied(),
        };
        let height = header.height;
        let block = Block { header, transactions };
        let signed = verify_batch(&block.transactions.iter().collect::<Vec<_>>());
        let executed = self.machine.execute(&block, &signed)?;
        self.project(height)?;
        Ok(executed.entries.into_iter().map(|entry| entry.outcome).collect())
    }

    /// Tells the read model of a height.
    fn project(&mut self, height: Height) -> Result<(), WorldError> {
        let replay = self.machine.reader().replay(height)?;
        let replay = replay.ok_or_else(|| fixture("an executed height is not there"))?;
        self.model.apply(&replay.block, &replay.events, &self.packages)?;
        Ok(())
    }
}

fn genesis(all: &BTreeSet<&str>) -> Result<Genesis, WorldError> {
    let name = |text: &str| Name::new(text).map_err(fixture);
    let mut members = Vec::new();
    // A genesis file has its members in the order of their names, as the set does.
    for &member in all {
        let mut kinds = BTreeSet::new();
        if member != "stranger" && MEMBERS.contains(&member) {
            kinds.insert(name(member)?);
        }
        let seed = Digest::of(format!("hufu case vote {member}").as_bytes());
        let vote = p256::SecretKey::from_slice(seed.as_bytes()).map_err(fixture)?;
        let vote = p256::ecdsa::SigningKey::from(vote);
        let point = vote.verifying_key().to_sec1_point(true);
        members.push(Member {
            name: name(member)?,
            title: BTreeMap::from([("en".to_owned(), member.to_owned())]),
            jurisdictions: match member {
                "regulator" => Jurisdictions::Whole,
                _ => Jurisdictions::None,
            },
            kinds,
            names: BTreeSet::new(),
            vote_key: PublicKey::new(Algorithm::EcdsaP256, point.as_bytes()).map_err(fixture)?,
            statement_key: Key::of(member).public()?,
            node_key: None,
        });
    }
    Ok(Genesis {
        version: GENESIS_VERSION,
        consortium: name("cases")?,
        created_ms: START,
        members,
        authority: Authority {
            member: name("authority")?,
            root_certificate: b"no certificate".to_vec(),
            issuing_certificate: b"no certificate".to_vec(),
        },
        constitution: Constitution {
            approvals: 1,
            algorithms: BTreeSet::from([Algorithm::Ed25519, Algorithm::EcdsaP256]),
        },
    })
}
