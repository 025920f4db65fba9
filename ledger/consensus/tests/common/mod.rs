//! A toy ledger and a cluster of nodes around it.

#![allow(dead_code)] // Each test binary uses its part.

#[cfg(hufu_simulation)]
pub mod cluster;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hufu_consensus::testing::SoftwareSigner;
use hufu_consensus::{
    Application, ApplicationFault, Config, Evidence, Finalized, Identity, OrderedBlock, Proposal,
    PublicKey, Round, Validator,
};
use hufu_proof::{Digest, FinalityCertificate, Height, UnixMillis};

pub const CHAIN: Digest = Digest([7; 32]);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toy {
    pub parent: Digest,
    pub height: u64,
    pub content: u64,
    pub time_ms: UnixMillis,
}

impl Toy {
    pub fn genesis() -> Self {
        Self { parent: Digest::default(), height: 0, content: 0, time_ms: UnixMillis::ZERO }
    }
}

impl OrderedBlock for Toy {
    fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    fn parent(&self) -> Digest {
        self.parent
    }

    fn height(&self) -> Height {
        Height(self.height)
    }

    fn time_ms(&self) -> UnixMillis {
        self.time_ms
    }

    fn encode(&self) -> Vec<u8> {
        let numbers = [self.height, self.content, self.time_ms.get()].map(u64::to_be_bytes);
        [&self.parent.0[..], &numbers.concat()].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() != 56 {
            return Err("length".into());
        }
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        Ok(Self {
            parent: Digest(bytes[..32].try_into().unwrap()),
            height: number(32),
            content: number(40),
            time_ms: UnixMillis(number(48)),
        })
    }
}

/// What survives a crash.
#[derive(Default)]
pub struct Disk {
    pub blocks: Vec<Toy>,
    pub certificates: Vec<Option<FinalityCertificate>>,
    pub evidence: Vec<Evidence>,
}

pub struct ToyLedger<E> {
    pub clock: E,
    pub disk: Arc<Mutex<Disk>>,
    /// How long a leader waits for transactions.
    pub pause: Duration,
    pub salt: u64,
}

impl<E: commonware_runtime::Clock> Application for ToyLedger<E> {
    type Block = Toy;

    fn applied(&self) -> Height {
        Height(self.disk.lock().unwrap().blocks.len() as u64)
    }

    async fn propose(&self, proposal: Proposal<Toy>) -> Option<Toy> {
        self.clock.sleep(self.pause).await;
        let parent = proposal.parent;
        let content = self.salt << 32 | proposal.round.view;
        let time_ms = self.clock.current().into();
        Some(Toy { parent: parent.digest(), height: parent.height + 1, content, time_ms })
    }

    async fn is_last(&self, _: &Toy) -> bool {
        false
    }

    async fn verify(&self, round: Round, block: Arc<Toy>, parent: Arc<Toy>) -> bool {
        assert_eq!(block.parent, parent.digest());
        assert_eq!(block.height, parent.height + 1);
        block.content as u32 as u64 == round.view
    }

    async fn finalized(&self, finalized: Finalized<Toy>) -> Result<(), ApplicationFault> {
        // Executing takes a moment, in which the node may die.
        self.clock.sleep(Duration::from_millis(2)).await;
        let mut disk = self.disk.lock().unwrap();
        let Finalized { block, certificate } = finalized;
        assert_eq!(block.height, disk.blocks.len() as u64 + 1, "delivered out of order");
        if let Some(certificate) = &certificate {
            assert_eq!(certificate.block, block.digest());
        }
        disk.blocks.push((*block).clone());
        disk.certificates.push(certificate);
        Ok(())
    }

    fn evidence(&self, evidence: Evidence) {
        self.disk.lock().unwrap().evidence.push(evidence);
    }
}

pub fn key(seed: u8) -> PublicKey {
    Identity::new(SoftwareSigner::shared(seed)).unwrap().public_key().clone()
}

pub fn validators(count: u8) -> Vec<Validator> {
    (0..count)
        .map(|seed| Validator {
            name: format!("member-{seed}"),
            key: SoftwareSigner::shared(seed).public_key(),
        })
        .collect()
}

/// Validators' compressed keys in the order of votes.
pub fn sorted_keys(count: u8) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> =
        validators(count).iter().map(|one| one.key.as_bytes().to_vec()).collect();
    keys.sort();
    keys
}

pub fn config(directory: &Path, number: u8, count: u8) -> Config {
    let directory: PathBuf = directory.join(format!("node-{number}"));
    Config { partition: format!("n{number}"), ..Config::new(directory, CHAIN, validators(count)) }
}
