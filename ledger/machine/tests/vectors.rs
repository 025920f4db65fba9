//! Pinned bytes: a fixed genesis file and fixed blocks give the state roots, log
//! roots, receipt and state proof in `tests/vectors/machine`. Whoever changes
//! them changes a published format, and the members of a running consortium
//! would part.
//!
//! `HUFU_WRITE_VECTORS=1` writes the files anew.

mod support;

use std::path::PathBuf;

use hufu_machine::key;
use hufu_proof::transaction::{Proposal, Revocation};
use hufu_proof::{Block, Commitment, Genesis, Height, LogEntry, Payload, codec};
use serde::{Deserialize, Serialize};
use support::*;

/// One executed block.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Step {
    /// Borsh of the block, in hexadecimal.
    block: String,
    /// What became of its transactions.
    entries: Vec<LogEntry>,
    /// What it resulted in.
    commitment: Commitment,
}

/// Rows of the tree of the genesis block, because their form is the library's.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Vector {
    /// Digest of `genesis.json`.
    genesis: hufu_proof::Digest,
    /// What the genesis block commits to.
    start: Commitment,
    /// The blocks after it.
    steps: Vec<Step>,
    /// Borsh of the receipt of the second block's first transaction.
    receipt: String,
    /// Borsh of the proof that certificate 2 is revoked.
    revoked: String,
    /// Borsh of the proof that there is no certificate 3.
    absent: String,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("HUFU_ROOT")).join("tests/vectors/machine")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn blocks(node: &mut Node) -> Vec<Block> {
    let (authority, maker, operator) =
        (support::key("authority"), support::key("maker"), support::key("operator"));
    let deploy = Proposal::Deploy { package: meters("1.0.0").to_bytes() };
    let mut made = Vec::new();
    let (pump, fan) = (support::key("pump"), support::key("fan"));
    let rounds: [Vec<(&Key, Payload)>; 5] = [
        vec![
            (&authority, Payload::Issue(vec![issuance("pump", 1), issuance("fan", 2)])),
            (&authority, Payload::Propose(deploy.clone())),
            (&maker, Payload::Approve(deploy.digest())),
            (&operator, Payload::Approve(deploy.digest())),
        ],
        vec![
            (&operator, install_meter("pump")),
            (&operator, install_meter("fan")),
            (&maker, install_meter("lift")),
        ],
        vec![
            (&pump, append("meters", "reading", 1, vec![reading(1), reading(2)])),
            (&fan, append("meters", "reading", 2, vec![reading(1)])),
            (&authority, Payload::Revoke(Revocation { serial: serial_number(2), reason: 1 })),
        ],
        vec![],
        vec![],
    ];
    for round in rounds {
        let transactions = round.into_iter().map(|(key, payload)| node.sign(key, payload));
        let transactions = transactions.collect();
        let block = node.block(transactions);
        node.execute(&block).unwrap();
        made.push(block);
    }
    made
}

fn compute(genesis: &Genesis, blocks: &[Block]) -> Vector {
    let mut node = Node::new();
    let start = node.machine.applied();
    let mut steps = Vec::new();
    for block in blocks {
        let executed = node.execute(block).unwrap();
        steps.push(Step {
            block: hex(&codec::encode(block)),
            entries: executed.entries,
            commitment: executed.commitment,
        });
    }
    node.certify(Height(5));
    let reader = node.reader();
    let receipt = reader.receipt(&blocks[1].transactions[0].id()).unwrap().unwrap();
    receipt.verify(genesis).unwrap();
    let proof = |serial| {
        let key = key::certificate(&serial_number(serial));
        let proof = reader.latest_state_proof(&key).unwrap().unwrap();
        proof.verify(genesis).unwrap();
        hex(&codec::encode(&proof))
    };
    Vector {
        genesis: genesis.digest(),
        start,
        steps,
        receipt: hex(&codec::encode(&receipt)),
        revoked: proof(2),
        absent: proof(3),
    }
}

#[test]
fn the_vectors_hold() {
    let (genesis_file, vector_file) = (folder().join("genesis.json"), folder().join("blocks.json"));
    if std::env::var_os("HUFU_WRITE_VECTORS").is_some() {
        let genesis = genesis();
        let mut node = Node::new();
        let blocks = blocks(&mut node);
        let vector = compute(&genesis, &blocks);
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(&genesis_file, genesis.to_json()).unwrap();
        let mut json = serde_json::to_vec_pretty(&vector).unwrap();
        json.push(b'\n');
        std::fs::write(&vector_file, json).unwrap();
    }
    let pinned_genesis = Genesis::from_json(&std::fs::read(genesis_file).unwrap()).unwrap();
    assert_eq!(pinned_genesis, genesis(), "the tests' genesis is the pinned one");
    let pinned: Vector = serde_json::from_slice(&std::fs::read(vector_file).unwrap()).unwrap();
    let blocks: Vec<Block> = pinned
        .steps
        .iter()
        .map(|step| codec::decode("block", &unhex(&step.block), codec::MAX_BLOCK).unwrap())
        .collect();
    assert_eq!(compute(&pinned_genesis, &blocks), pinned);
}
