//! A consortium of four with keys made from seeds, and a report of it.

use std::collections::{BTreeMap, BTreeSet};

use hufu_proof::finality::{FinalityCertificate, Vote, finalize_message, vote_namespace};
use hufu_proof::genesis::{Authority, Constitution, Genesis, Member, MemberV1};
use hufu_proof::{
    Algorithm, Commitment, Digest, FinalityProof, Header, Height, LogEntry, Name, Outcome,
    PublicKey, Severity, Signature, Signer, SignerFault, UnixMillis, merkle,
};
use hufu_report::model::Title;
use hufu_report::{
    Anchor, AsOf, Bound, Cell, Change, Column, ControlResult, ControlSetTitle, Counts, Evidence,
    Finding, Form, PackageReference, Range, Report, Role, Scope, Shown, Word,
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
        created_ms: UnixMillis(1_790_000_000_000),
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

fn title(en: &str, zh: &str) -> Title {
    BTreeMap::from([("en".into(), en.into()), ("zh".into(), zh.into())])
}

fn column(en: &str, zh: &str, form: Form) -> Column {
    Column { title: title(en, zh), form, role: None, words: None, unit_by: None }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.into())
}

/// Ten log entries, and the header after them.
fn log(genesis: &Genesis) -> (Vec<LogEntry>, Vec<Digest>, Header) {
    let entries: Vec<LogEntry> = (0..10u8)
        .map(|index| LogEntry {
            transaction: Digest::of(&[index]),
            height: Height(1 + u64::from(index) / 2),
            index: u32::from(index) % 2,
            outcome: Outcome::Accepted,
        })
        .collect();
    let leaves: Vec<Digest> = entries.iter().map(LogEntry::leaf).collect();
    let header = Header {
        version: 1,
        chain: genesis.digest(),
        height: Height(7),
        parent: Digest([5; 32]),
        time_ms: UnixMillis(1_790_000_007_000),
        transactions_root: merkle::root(&[]),
        executed: Commitment {
            height: Height(5),
            state_root: Digest([9; 32]),
            log_size: 10,
            log_root: merkle::root(&leaves),
        },
    };
    (entries, leaves, header)
}

/// What was measured beyond its limits: `count` findings of two owners, the last
/// with everything in its texts that must not be obeyed.
fn over_limit(count: usize) -> ControlResult {
    let decimal = || Form::Decimal { scale: 3, unit: None };
    let number = |en, zh| Column { unit_by: Some("metric".into()), ..column(en, zh, decimal()) };
    let time = |en, zh, role| Column { role: Some(role), ..column(en, zh, Form::Time) };
    let metric = name("metric");
    let columns = vec![
        ("device", column("Device", "设备", Form::Text)),
        ("owner", column("Owner", "所有者", Form::Text)),
        ("metric", Column { words: Some(metric), ..column("Metric", "指标", Form::Text) }),
        (
            "readings",
            Column {
                role: Some(Role::Times),
                ..column("Readings", "读数次数", Form::Int { unit: None })
            },
        ),
        ("lowest", number("Lowest", "最低值")),
        ("highest", number("Highest", "最高值")),
        ("low", number("Lower limit", "下限")),
        ("high", number("Upper limit", "上限")),
        ("watch_id", column("Watch", "监测项", Form::Text)),
        ("first_measured_at", time("First measured at", "首次测量时间", Role::Since)),
        ("last_measured_at", time("Last measured at", "末次测量时间", Role::Until)),
        ("note", column("Note", "备注", Form::Text)),
    ];
    let finding = |index: usize| {
        let place = i64::try_from(index).unwrap();
        let (device, note) = if index + 1 == count {
            (
                "=L1</script><!--".to_owned(),
                "plant, \"east\"\n\u{202e}gnihtyna\u{1b}[31m # hufu".into(),
            )
        } else {
            (format!("PUMP-{index:05}"), String::new())
        };
        let cold = index % 5 == 4;
        let values = if cold { (-12_500, 20_000) } else { (85_250, 92_408 + place % 1000) };
        Finding {
            subject: device.clone(),
            row: vec![
                text(&device),
                text(if index.is_multiple_of(3) { "maker" } else { "operator" }),
                text(if cold { "temperature" } else { ["temperature", "vibration"][index % 2] }),
                Cell::Integer(1 + place % 40),
                Cell::Integer(values.0),
                Cell::Integer(values.1),
                if cold { Cell::Integer(-5_000) } else { Cell::Null },
                Cell::Integer(85_000),
                text(&format!("{device}-temperature")),
                Cell::Integer(1_789_950_000_000 + place % 500 * 90_000),
                Cell::Integer(1_790_000_000_000 - place),
                text(&note),
            ],
            evidence: if index.is_multiple_of(2) { vec![2, 7] } else { vec![7] },
            evidence_total: if index == 0 { 40 } else { 2 },
        }
    };
    let mut result = ControlResult {
        id: name("over-limit"),
        title: title("Readings beyond <a> watch's limits", "超出监测限值的读数"),
        clause: "operation supervision rules, art. 4: values stay within the limits".into(),
        severity: Severity::High,
        text: Digest::of(b"SELECT 1"),
        parameters: BTreeMap::from([(name("tolerance"), Cell::Integer(0))]),
        columns: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
        findings: (0..count).map(finding).collect(),
        result: Digest::default(),
        shown: Some(Shown {
            clause: title(
                "operation supervision rules, art. 4: values stay within the limits",
                "运行监管规则第四条：测量值应在设定的限值之内",
            ),
            subject: "device".into(),
            each: Some("watch_id".into()),
            owner: Some("owner".into()),
            columns: columns.into_iter().map(|(_, column)| column).collect(),
            parameters: BTreeMap::from([(
                name("tolerance"),
                column("Tolerance", "容差", decimal()),
            )]),
            range: Some(Range {
                from: Some("lowest".into()),
                to: "highest".into(),
                low: Some(Bound::Column("low".into())),
                high: Some(Bound::Column("high".into())),
            }),
        }),
        change: Some(Change { new: vec![0], gone: 2 }),
    };
    result.result = result.result_digest();
    result
}

/// What was silent: one finding with a length of time, none of it compared.
fn silent() -> ControlResult {
    let length = |en, zh| column(en, zh, Form::Int { unit: Some("ms".into()) });
    let since = Column {
        role: Some(Role::Since),
        ..column("Last heard at", "最近上报时间", Form::Time)
    };
    let mut result = ControlResult {
        id: name("silent-device"),
        title: title("Watched devices that have gone silent", "静默的受监测设备"),
        clause: "operation supervision rules, art. 5".into(),
        severity: Severity::Medium,
        text: Digest::of(b"SELECT 2"),
        parameters: BTreeMap::from([(name("grace"), Cell::Integer(0))]),
        columns: ["device", "silent_for", "last_heard_at", "seal"].map(String::from).to_vec(),
        findings: vec![Finding {
            subject: "PUMP-0100".into(),
            row: vec![
                text("PUMP-0100"),
                Cell::Integer(7_512_345),
                Cell::Integer(1_789_992_492_655),
                Cell::Bytes(vec![0, 0xff]),
            ],
            evidence: vec![2],
            evidence_total: 1,
        }],
        result: Digest::default(),
        shown: Some(Shown {
            clause: title("operation supervision rules, art. 5", "运行监管规则第五条"),
            subject: "device".into(),
            each: None,
            owner: None,
            columns: vec![
                column("Device", "设备", Form::Text),
                length("Silent for", "静默时长"),
                since,
                column("Seal", "封印", Form::Bytes),
            ],
            parameters: BTreeMap::from([(name("grace"), length("Grace", "宽限时间"))]),
            range: Some(Range {
                from: None,
                to: "silent_for".into(),
                low: None,
                high: Some(Bound::Parameter(name("grace"))),
            }),
        }),
        change: None,
    };
    result.result = result.result_digest();
    result
}

/// A control that found nothing.
fn quiet() -> ControlResult {
    let mut result = ControlResult {
        id: name("unwatched-device"),
        title: title("Devices in service that nobody watches", "无人监测的在用设备"),
        clause: "operation supervision rules, art. 3".into(),
        severity: Severity::Info,
        text: Digest::of(b"SELECT 3"),
        parameters: BTreeMap::new(),
        columns: vec!["device_id".into()],
        findings: Vec::new(),
        result: Digest::default(),
        shown: Some(Shown {
            clause: title("operation supervision rules, art. 3", "运行监管规则第三条"),
            subject: "device_id".into(),
            each: None,
            owner: None,
            columns: vec![column("Device", "设备", Form::Text)],
            parameters: BTreeMap::new(),
            range: None,
        }),
        change: Some(Change::default()),
    };
    result.result = result.result_digest();
    result
}

/// A report with findings of two controls, `count` of them of the first.
pub fn report_of(genesis: &Genesis, count: usize) -> Report {
    let (entries, leaves, header) = log(genesis);
    let evidence = [2usize, 7].map(|index| Evidence {
        log_index: index as u64,
        entry: entries[index],
        path: path(&leaves, index),
    });
    let word = |en, zh, unit: &str| Word { title: title(en, zh), unit: Some(unit.into()) };
    let words = BTreeMap::from([
        ("temperature".to_owned(), word("Temperature", "温度", "°C")),
        ("vibration".to_owned(), word("Vibration", "振动", "mm/s")),
    ]);
    let mut report = Report {
        format: hufu_report::model::FORMAT.into(),
        consortium: genesis.consortium.clone(),
        genesis: genesis.digest(),
        control_set: ControlSetTitle {
            contract: name("operation-supervision"),
            name: name("operation-baseline"),
            title: title("Operation baseline", "运行基线"),
        },
        packages: vec![PackageReference {
            name: name("operation-supervision"),
            version: "1.0.0".into(),
            digest: Digest::of(b"package"),
        }],
        jurisdiction: None,
        as_of: AsOf { height: 5, time_ms: 1_790_000_005_000 },
        anchor: Anchor { digest: header.digest(), header },
        controls: vec![over_limit(count), silent(), quiet()],
        evidence: evidence.to_vec(),
        counts: Counts::default(),
        scope: vec![
            Scope {
                table: "device_registry.device".into(),
                title: title("Device", "设备"),
                rows: 104,
                recorded: None,
            },
            Scope {
                table: "operation_supervision.reading".into(),
                title: title("Readings", "读数"),
                rows: 4060,
                recorded: Some((1_789_950_000_000, 1_790_000_004_000)),
            },
        ],
        compared: Some(AsOf { height: 3, time_ms: 1_789_999_000_000 }),
        words: BTreeMap::from([(name("metric"), words)]),
    };
    report.counts = report.computed_counts();
    report.check().unwrap();
    report
}

/// A report with seven findings.
pub fn report(genesis: &Genesis) -> Report {
    report_of(genesis, 6)
}

pub fn path(leaves: &[Digest], index: usize) -> Vec<Digest> {
    merkle::stored_path(index as u64, leaves.len() as u64, |level, at| {
        let width = 1usize << level;
        let begin = at as usize * width;
        Ok::<_, std::convert::Infallible>(merkle::root(&leaves[begin..begin + width]))
    })
    .unwrap()
}
