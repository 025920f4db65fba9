//! A consortium of four with keys made from seeds, and a report of it.

use std::collections::{BTreeMap, BTreeSet};

use hufu_proof::finality::{FinalityCertificate, Vote, finalize_message, vote_namespace};
use hufu_proof::genesis::{Authority, Constitution, Genesis, Member, MemberV1};
use hufu_proof::{
    Algorithm, Commitment, Digest, FinalityProof, Header, LogEntry, Name, Outcome, PublicKey,
    Signature, Signer, SignerFault, merkle,
};
use hufu_report::{
    Anchor, AsOf, Cell, ControlResult, ControlSetTitle, Counts, Evidence, Finding,
    PackageReference, Report, Severity,
};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;

pub struct SeedSigner(pub SigningKey);

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

/// Members `a` to `d`; member number n votes with seed n+1 and signs statements
/// with seed n+11.
pub fn genesis() -> Genesis {
    let members = ["a", "b", "c", "d"].iter().enumerate().map(|(index, member)| MemberV1 {
        name: name(member),
        title: BTreeMap::from([("en".into(), format!("Member {member}"))]),
        kinds: BTreeSet::from([name(if index == 1 { "regulator" } else { "operator" })]),
        jurisdictions: BTreeSet::new(),
        vote_key: SeedSigner::new(index as u8 + 1).public_key(),
        statement_key: SeedSigner::new(index as u8 + 11).public_key(),
    });
    let genesis = Genesis {
        // The version that the vectors are pinned in.
        version: 1,
        consortium: name("leasing-pilot"),
        created_ms: 1_790_000_000_000,
        members: members.map(Member::from).collect(),
        authority: Authority {
            member: name("a"),
            root_certificate: vec![0x30, 0],
            issuing_certificate: vec![0x30, 0],
        },
        constitution: Constitution {
            approvals: 3,
            algorithms: BTreeSet::from([Algorithm::EcdsaP256, Algorithm::Ed25519]),
        },
    };
    genesis.check().unwrap();
    genesis
}

pub fn finality(genesis: &Genesis, header: &Header, view: u64) -> FinalityProof {
    let block = header.digest();
    let message = finalize_message(&vote_namespace(&genesis.digest()), 0, view, view - 1, &block);
    let seeds: Vec<SeedSigner> = (1..=4).map(SeedSigner::new).collect();
    let members = hufu_proof::Membership::founders(genesis);
    let validators = members.validators();
    let votes = validators.iter().enumerate().take(3).map(|(validator, member)| {
        let signer = seeds.iter().find(|one| one.public_key() == member.vote_key).unwrap();
        let signature: p256::ecdsa::Signature = signer.0.sign(&message);
        Vote { validator: validator as u16, signature: signature.normalize_s().to_bytes().into() }
    });
    let votes = votes.collect();
    let certificate = FinalityCertificate { epoch: 0, view, parent_view: view - 1, block, votes };
    FinalityProof { descendants: Vec::new(), certificate, handovers: Vec::new() }
}

/// Ten log entries, the header after them, and a report with two findings.
pub fn report(genesis: &Genesis) -> Report {
    let entries: Vec<LogEntry> = (0..10u8)
        .map(|index| LogEntry {
            transaction: Digest::of(&[index]),
            height: 1 + u64::from(index) / 2,
            index: u32::from(index) % 2,
            outcome: Outcome::Accepted,
        })
        .collect();
    let leaves: Vec<Digest> = entries.iter().map(LogEntry::leaf).collect();
    let header = Header {
        version: 1,
        chain: genesis.digest(),
        height: 7,
        parent: Digest([5; 32]),
        time_ms: 1_790_000_007_000,
        transactions_root: merkle::root(&[]),
        executed: Commitment {
            height: 5,
            state_root: Digest([9; 32]),
            log_size: 10,
            log_root: merkle::root(&leaves),
        },
    };
    let evidence = [2usize, 7].map(|index| Evidence {
        log_index: index as u64,
        entry: entries[index],
        path: path(&leaves, index),
    });
    let mut overdue = ControlResult {
        id: name("unpaid-lease"),
        title: BTreeMap::from([
            ("en".into(), "Fees unpaid <beyond> the threshold".into()),
            ("zh".into(), "租金拖欠超过阈值".into()),
        ]),
        clause: "leasing supervision rules, art. 12".into(),
        severity: Severity::High,
        text: Digest::of(b"SELECT 1"),
        parameters: BTreeMap::from([(name("threshold"), Cell::Integer(0))]),
        columns: ["lease_id", "lessee", "owed", "subject", "seal"].map(String::from).to_vec(),
        findings: vec![
            Finding {
                subject: "=L1</script><!--".into(),
                row: vec![
                    Cell::Text("=L1</script><!--".into()),
                    Cell::Text("plant, \"east\"\n".into()),
                    Cell::Integer(-12_500),
                    Cell::Null,
                    Cell::Bytes(vec![0, 0xff]),
                ],
                evidence: vec![2, 7],
                evidence_total: 40,
            },
            Finding {
                subject: "\\u003c L2 中".into(),
                row: vec![
                    Cell::Text("\\u003c L2 中".into()),
                    Cell::Text("plant".into()),
                    Cell::Integer(i64::MAX),
                    Cell::Text("# hufu report v1 data: ".into()),
                    Cell::Null,
                ],
                evidence: vec![7],
                evidence_total: 1,
            },
        ],
        result: Digest::default(),
    };
    overdue.result = overdue.result_digest();
    let mut quiet = ControlResult {
        id: name("idle-device"),
        title: BTreeMap::new(),
        clause: String::new(),
        severity: Severity::Info,
        text: Digest::of(b"SELECT 2"),
        parameters: BTreeMap::new(),
        columns: vec!["device".into()],
        findings: Vec::new(),
        result: Digest::default(),
    };
    quiet.result = quiet.result_digest();
    let mut report = Report {
        format: hufu_report::model::FORMAT.into(),
        consortium: genesis.consortium.clone(),
        genesis: genesis.digest(),
        control_set: ControlSetTitle {
            contract: name("equipment-leasing"),
            name: name("monthly"),
            title: BTreeMap::from([
                ("en".into(), "Monthly leasing supervision".into()),
                ("zh".into(), "租赁月度监管".into()),
            ]),
        },
        packages: vec![PackageReference {
            name: name("equipment-leasing"),
            version: "1.0.0".into(),
            digest: Digest::of(b"package"),
        }],
        jurisdiction: None,
        as_of: AsOf { height: 5, time_ms: 1_790_000_005_000 },
        anchor: Anchor { digest: header.digest(), header },
        controls: vec![overdue, quiet],
        evidence: evidence.to_vec(),
        counts: Counts::default(),
    };
    report.counts = report.computed_counts();
    report.check().unwrap();
    report
}

pub fn path(leaves: &[Digest], index: usize) -> Vec<Digest> {
    merkle::stored_path(index as u64, leaves.len() as u64, |level, at| {
        let width = 1usize << level;
        let begin = at as usize * width;
        Ok::<_, std::convert::Infallible>(merkle::root(&leaves[begin..begin + width]))
    })
    .unwrap()
}
