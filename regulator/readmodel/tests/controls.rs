//! Findings: their order, their evidence, and that they come out the same.

mod support;

use std::collections::BTreeMap;

use hufu_readmodel::{ControlQuery, Findings, Limits, ReadModel, Scope, Snapshot};
use hufu_report::Cell;
use support::*;

fn control(snapshot: &mut Snapshot, sql: &str, subject: &str) -> Findings {
    let parameters = BTreeMap::new();
    let query = ControlQuery { sql, subject, parameters: &parameters };
    snapshot.control(&query, &Limits::CONTROL).unwrap_or_else(|problem| panic!("{sql}: {problem}"))
}

fn evidence(findings: &Findings) -> Vec<(&str, Vec<u64>)> {
    findings.found.iter().map(|one| (one.subject.as_str(), one.evidence.clone())).collect()
}

fn at(height: u64) -> (tempfile::TempDir, Snapshot) {
    let (folder, model) = model(&example(), &deployed());
    let snapshot = model.reader().snapshot(height, Scope::Whole).unwrap();
    (folder, snapshot)
}

// Log places of `example`: 0 deploys; 1 and 2 create L1 and L2; 3 changes L1,
// 4 is refused, 5 appends D1's first batch; 6 ends L1, 7 appends D2's batch, 8
// D1's second.

#[test]
fn an_assets_evidence_is_what_made_it() {
    let (_folder, mut snapshot) = at(3);
    let sql = "SELECT id, owed FROM equipment_leasing.lease WHERE owed > 0";
    assert_eq!(evidence(&control(&mut snapshot, sql, "id")), [("L1", vec![1, 3]), ("L2", vec![2])]);
    let (_folder, mut snapshot) = at(4);
    let sql = "SELECT * FROM equipment_leasing.lease AS l WHERE state = 'ended'";
    let findings = control(&mut snapshot, sql, "id");
    assert_eq!(evidence(&findings), [("L1", vec![1, 3, 6])]);
    assert_eq!(findings.columns, ["id", "state", "lessee", "owed", "tags", "jurisdiction"]);
}

#[test]
fn a_streams_evidence_is_the_batch_and_groups_gather_theirs() {
    let (_folder, mut snapshot) = at(4);
    let sql = "SELECT device, value FROM equipment_leasing.reading WHERE value > 90";
    let findings = control(&mut snapshot, sql, "device");
    assert_eq!(evidence(&findings), [("D1", vec![5]), ("D1", vec![8])]);
    let sql = "SELECT device, count(*) AS hot FROM equipment_leasing.reading
               WHERE value > 25 GROUP BY device ORDER BY device DESC";
    let findings = control(&mut snapshot, sql, "device");
    assert_eq!(evidence(&findings), [("D2", vec![7]), ("D1", vec![5, 8])]);
    let sql = "SELECT 'all' AS subject, sum(value) AS total FROM equipment_leasing.reading";
    assert_eq!(evidence(&control(&mut snapshot, sql, "subject")), [("all", vec![5, 7, 8])]);
    // Of a join, both sides'.
    let sql = "SELECT l.id, r.value FROM equipment_leasing.lease l
               JOIN equipment_leasing.reading r ON r.value = 30 WHERE l.id = 'L2'";
    assert_eq!(evidence(&control(&mut snapshot, sql, "id")), [("L2", vec![2, 7])]);
    // Without a partner, of the one side.
    let sql = "SELECT l.id, r.value FROM equipment_leasing.lease l
               LEFT JOIN equipment_leasing.reading r ON r.value = 31 WHERE l.id = 'L2'";
    assert_eq!(evidence(&control(&mut snapshot, sql, "id")), [("L2", vec![2])]);
}

#[test]
fn where_rows_cannot_be_told_the_subject_is_looked_up() {
    let (_folder, mut snapshot) = at(4);
    for sql in [
        "SELECT DISTINCT id FROM equipment_leasing.lease WHERE owed > 0",
        "SELECT id FROM equipment_leasing.lease WHERE owed > 0
         UNION SELECT id FROM equipment_leasing.lease WHERE owed > 6",
        "WITH x AS (SELECT id FROM equipment_leasing.lease WHERE owed > 0) SELECT id FROM x",
    ] {
        assert_eq!(evidence(&control(&mut snapshot, sql, "id")), [("L2", vec![2])], "{sql}");
    }
    let nothing = control(&mut snapshot, "SELECT 'x' AS id", "id");
    assert_eq!(evidence(&nothing), [("x", vec![])]);
}

#[test]
fn ledger_tables_give_evidence_too() {
    let (_folder, mut snapshot) = at(4);
    let sql = "SELECT id, log_index FROM ledger.transactions WHERE outcome <> 'accepted'";
    let findings = control(&mut snapshot, sql, "id");
    assert_eq!(findings.found[0].evidence, [4]);
}

#[test]
fn findings_are_ordered_by_subject_unless_the_query_is_total() {
    let (_folder, mut snapshot) = at(3);
    let subjects = |findings: Findings| {
        findings.found.into_iter().map(|one| one.row[0].to_string()).collect::<Vec<_>>()
    };
    let mut of = |sql: &str| subjects(control(&mut snapshot, sql, "id"));
    let from = "FROM equipment_leasing.lease";
    assert_eq!(of(&format!("SELECT id, owed {from} ORDER BY owed")), ["L1", "L2"]);
    assert_eq!(of(&format!("SELECT id, owed {from} ORDER BY owed, id")), ["L2", "L1"]);
    assert_eq!(of(&format!("SELECT id {from} ORDER BY id DESC")), ["L2", "L1"]);
    // Not total: a subject comes twice.
    let sql = "SELECT device AS id, value FROM equipment_leasing.reading ORDER BY id, value DESC";
    let values: Vec<String> = control(&mut snapshot, sql, "id")
        .found
        .into_iter()
        .map(|one| one.row[1].to_string())
        .collect();
    assert_eq!(values, ["20", "95"]);
}

#[test]
fn long_histories_keep_the_first_and_the_latest() {
    let mut chain = Chain::default();
    chain.block(Vec::new());
    chain.block(vec![Deed::Deploy("equipment-leasing", "1.0.0", package())]);
    for owed in 0..100 {
        chain.block(vec![put("L1", "active", "plant", owed)]);
    }
    let (_folder, model) = model(&chain, &deployed());
    let mut snapshot = model.reader().snapshot(101, Scope::Whole).unwrap();
    let findings = control(&mut snapshot, "SELECT id FROM equipment_leasing.lease", "id");
    let expected: Vec<u64> = [1].into_iter().chain(70..=100).collect();
    assert_eq!(findings.found[0].evidence, expected);
    assert_eq!(findings.found[0].evidence_total, 100);
}

#[test]
fn large_groups_count_their_transactions() {
    let mut chain = Chain::default();
    chain.block(Vec::new());
    chain.block(vec![Deed::Deploy("equipment-leasing", "1.0.0", package())]);
    for sequence in 1..=100 {
        chain.block(vec![rows("D1", sequence, &[1, 2, 3])]);
    }
    let (_folder, model) = model(&chain, &deployed());
    let mut snapshot = model.reader().snapshot(101, Scope::Whole).unwrap();
    let sql = "SELECT device, count(*) AS rows FROM equipment_leasing.reading GROUP BY device";
    let findings = control(&mut snapshot, sql, "device");
    assert_eq!(findings.found[0].row[1], Cell::Integer(300));
    assert_eq!(findings.found[0].evidence_total, 100);
    assert_eq!(findings.found[0].evidence.len(), 32);
    assert_eq!(findings.found[0].evidence.last(), Some(&100));
}

/// Two models built independently (one in a single run, one with a restart
/// after every height) give the same findings, down to every byte.
#[test]
fn independently_built_models_give_the_same_findings() {
    let chain = example();
    let packages = deployed();
    let (folder, one) = model(&chain, &packages);
    let path = folder.path().join("other.sqlite");
    for (block, events) in &chain.blocks {
        let mut other = ReadModel::open(&path, &CHAIN).unwrap();
        other.apply(block, events, &packages).unwrap();
    }
    let other = ReadModel::open(&path, &CHAIN).unwrap();
    for height in 1..=4 {
        for sql in [
            "SELECT id, owed FROM equipment_leasing.lease",
            "SELECT device AS id, sum(value) AS total FROM equipment_leasing.reading GROUP BY device",
            "SELECT id, outcome FROM ledger.transactions",
        ] {
            let of = |model: &ReadModel| {
                let mut snapshot = model.reader().snapshot(height, Scope::Whole).unwrap();
                let findings = control(&mut snapshot, sql, "id");
                let entries: Vec<_> = findings
                    .found
                    .iter()
                    .flat_map(|one| &one.evidence)
                    .map(|place| snapshot.log_entry(*place).unwrap().unwrap())
                    .collect();
                (findings, entries)
            };
            assert_eq!(of(&one), of(&other), "{sql} as of {height}");
        }
    }
}

#[test]
fn a_query_of_a_past_height_does_not_change_when_the_ledger_grows() {
    let chain = example();
    let packages = deployed();
    let folder = tempfile::tempdir().unwrap();
    let mut model = ReadModel::open(&folder.path().join("m"), &CHAIN).unwrap();
    let sql = "SELECT id, owed, state FROM equipment_leasing.lease";
    let mut then: Option<(Findings, Vec<Cell>)> = None;
    for (height, (block, events)) in chain.blocks.iter().enumerate() {
        // A snapshot that is open stays as it is while a height is written.
        let open = (height > 3).then(|| model.reader().snapshot(3, Scope::Whole).unwrap());
        model.apply(block, events, &packages).unwrap();
        let snapshots = open
            .into_iter()
            .chain((height >= 3).then(|| model.reader().snapshot(3, Scope::Whole).unwrap()));
        for mut snapshot in snapshots {
            let findings = control(&mut snapshot, sql, "id");
            let row = findings.found[0].row.clone();
            let now = (findings, row);
            assert_eq!(then.get_or_insert_with(|| now.clone()), &now);
        }
    }
    assert!(then.is_some());
}
