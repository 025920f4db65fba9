//! Every table as of every height, against a naive model.

mod support;

use std::collections::BTreeMap;

use hufu_machine::Event;
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Digest, IdentityId, Value};
use hufu_readmodel::{
    ColumnType, Limits, Problem, ReadModel, ReadModelError, Scope, Snapshot, Untold,
};
use hufu_report::Cell;
use proptest::prelude::*;
use support::*;

fn ask(snapshot: &mut Snapshot, sql: &str) -> Vec<Vec<Cell>> {
    snapshot.query(sql, &BTreeMap::new(), &Limits::INTERACTIVE).unwrap().rows
}

fn text(value: &str) -> Cell {
    Cell::Text(value.into())
}

#[test]
fn a_query_sees_exactly_one_height() {
    let (_folder, model) = model(&example(), &deployed());
    let reader = model.reader();
    let leases = "SELECT id, state, lessee, owed FROM equipment_leasing.lease ORDER BY id";
    let seen = |height| ask(&mut reader.snapshot(height, Scope::Whole).unwrap(), leases);
    assert!(seen(1).is_empty());
    let l2 = vec![text("L2"), text("active"), text("yard"), Cell::Integer(7)];
    let l1 = |state: &str, owed| vec![text("L1"), text(state), text("plant"), Cell::Integer(owed)];
    assert_eq!(seen(2), [l1("active", 100), l2.clone()]);
    assert_eq!(seen(3), [l1("active", 300), l2.clone()]);
    assert_eq!(seen(4), [l1("ended", 0), l2]);
    let readings =
        "SELECT device, sequence, position, recorded_height, recorded_time, metric, value
                    FROM equipment_leasing.reading";
    let rows = ask(&mut reader.snapshot(3, Scope::Whole).unwrap(), readings);
    assert_eq!(rows.len(), 2);
    assert_eq!(
        rows[1],
        [
            text("D1"),
            Cell::Integer(1),
            Cell::Integer(1),
            Cell::Integer(3),
            Cell::Integer(1_790_000_003_000),
            text("temperature"),
            Cell::Integer(95)
        ]
    );
    // Before its deployment the contract has no tables.
    let problem = reader
        .snapshot(0, Scope::Whole)
        .unwrap()
        .query(leases, &BTreeMap::new(), &Limits::INTERACTIVE)
        .unwrap_err();
    assert!(matches!(problem, Problem::Sql { .. }), "{problem}");
    assert_eq!(
        reader.snapshot(5, Scope::Whole).unwrap_err(),
        Problem::Height { asked: 5, applied: 4 }
    );
}

#[test]
fn the_ledgers_own_tables() {
    let mut chain = example();
    chain.block(vec![Deed::Look("query: SELECT 1".into())]);
    let (_folder, model) = model(&chain, &deployed());
    let mut snapshot = model.reader().snapshot(5, Scope::Whole).unwrap();
    let blocks = ask(&mut snapshot, "SELECT count(*), max(height) FROM ledger.blocks");
    assert_eq!(blocks, [[Cell::Integer(6), Cell::Integer(5)]]);
    let refused = ask(
        &mut snapshot,
        "SELECT log_index, height FROM ledger.transactions WHERE outcome = 'policy'",
    );
    assert_eq!(refused, [[Cell::Integer(4), Cell::Integer(3)]]);
    let contracts = ask(&mut snapshot, "SELECT name, version, sql_schema FROM ledger.contracts");
    assert_eq!(contracts, [[text("equipment-leasing"), text("1.0.0"), text("equipment_leasing")]]);
    let looks = ask(&mut snapshot, "SELECT member, subject FROM ledger.looks");
    assert_eq!(looks, [[text("regulator"), text("query: SELECT 1")]]);
    let entry = snapshot.log_entry(4).unwrap().unwrap();
    assert_eq!((entry.height.get(), entry.index), (3, 1));
    assert_eq!(entry.outcome, hufu_proof::Outcome::Policy);
    // A snapshot does not know what comes later.
    assert!(model.reader().snapshot(2, Scope::Whole).unwrap().log_entry(4).unwrap().is_none());
}

#[test]
fn a_jurisdiction_narrows_what_is_seen() {
    let (_folder, model) = model(&example(), &deployed());
    let mut south = model.reader().snapshot(3, Scope::narrowed_to(Some("south"))).unwrap();
    let rows = ask(&mut south, "SELECT id FROM equipment_leasing.lease");
    assert_eq!(rows, [[text("L2")]]);
    // What everybody may see is seen whole; what does not say where it is, not at all.
    assert_eq!(ask(&mut south, "SELECT count(*) FROM ledger.blocks"), [[Cell::Integer(4)]]);
    for sql in [
        "SELECT count(*) FROM equipment_leasing.reading",
        "SELECT count(*) FROM ledger.transactions",
        "SELECT (SELECT max(value) FROM equipment_leasing.reading) FROM equipment_leasing.lease",
    ] {
        let problem = south.query(sql, &BTreeMap::new(), &Limits::INTERACTIVE).unwrap_err();
        assert!(
            matches!(problem, Problem::Withheld { untold: Untold::Jurisdiction, .. }),
            "{sql}: {problem}"
        );
    }
    let mut odd = model.reader().snapshot(3, Scope::narrowed_to(Some("x' OR '1'='1"))).unwrap();
    assert!(ask(&mut odd, "SELECT id FROM equipment_leasing.lease").is_empty());
}

/// Register of devices and their readings: what a member or a regulator of one
/// place sees follows the register, as of each height.
#[test]
fn whose_rows_are_and_where_follows_the_register_of_devices() {
    let registry = Digest::of(b"registry");
    let mut packages = deployed();
    packages.0.insert(
        registry,
        vec![asset("device", &[("owner", ColumnType::Text), ("jurisdiction", ColumnType::Text)])],
    );
    let device = |key: &str, owner: &str, place: Option<&str>| {
        let mut fields = vec![("owner", Value::Member(name(owner)))];
        fields.extend(place.map(|place| ("jurisdiction", Value::Symbol(place.into()))));
        Deed::Put("device-registry", "device", key.into(), "active", fields)
    };
    let identity = |key: u8, kind, owner: &str, subject: &str| Event::Identity {
        transaction: None,
        identity: IdentityId(Digest([key; 32])),
        record: identity_record(kind, owner, subject),
    };
    let mut chain = Chain::default();
    chain.block(vec![Deed::Told(vec![
        // Everything in these blocks is signed with D1's key, which was certified
        // for `plant`.
        identity(1, IdentityKind::Device, "plant", "D1"),
        identity(2, IdentityKind::Device, "plant", "D2"),
        identity(3, IdentityKind::Client, "plant", "CN=plant client"),
    ])]);
    chain.block(vec![
        Deed::Deploy("device-registry", "1.0.0", registry),
        Deed::Deploy("equipment-leasing", "1.0.0", package()),
    ]);
    chain.block(vec![
        device("D1", "yard", Some("north")),
        device("D2", "plant", Some("south")),
        device("D3", "plant", None),
    ]);
    chain.block(vec![rows("D1", 1, &[20]), rows("D2", 1, &[30]), rows("D3", 1, &[40])]);
    chain.block(vec![
        device("D2", "yard", Some("north")),
        put("L1", "active", "plant", 2),
        Deed::Emitted("device-registry", "device", "D2"),
        Deed::Emitted("equipment-leasing", "lease", "L1"),
    ]);
    let (_folder, model) = model(&chain, &packages);
    let owned = |member| Scope::OwnedBy(name(member));
    let within = |place: &str| Scope::narrowed_to(Some(place));
    let one = |height, scope: Scope, sql: &str| -> Vec<String> {
        let mut snapshot = model.reader().snapshot(height, scope).unwrap();
        let rows = ask(&mut snapshot, sql);
        rows.into_iter().map(|row| row[0].to_string()).collect()
    };
    let devices = "SELECT id FROM device_registry.device ORDER BY id";
    let readings = "SELECT DISTINCT device FROM equipment_leasing.reading ORDER BY device";
    for (height, scope, expected) in [
        (3, Scope::Whole, vec!["D1", "D2", "D3"]),
        (3, owned("yard"), vec!["D1"]),
        (3, owned("plant"), vec!["D2", "D3"]),
        (3, within("north"), vec!["D1"]),
        (3, within("south"), vec!["D2"]),
        (3, within("west"), vec![]),
        // D2 was sold, and is elsewhere.
        (4, owned("yard"), vec!["D1", "D2"]),
        (4, owned("plant"), vec!["D3"]),
        (4, within("north"), vec!["D1", "D2"]),
        (4, within("south"), vec![]),
        (4, Scope::Within(["north".into(), "south".into()].into()), vec!["D1", "D2"]),
    ] {
        for sql in [devices, readings] {
            assert_eq!(one(height, scope.clone(), sql), expected, "{height} {scope:?} {sql}");
        }
        // Not by another way in either.
        let nested = "SELECT (SELECT count(DISTINCT device) FROM equipment_leasing.reading)";
        let count = one(height, scope.clone(), nested);
        assert_eq!(count, [expected.len().to_string()], "{height} {scope:?}");
    }
    // The ledger's own tables: D1's key signed it all, and D1 is yard's from height 2 on.
    let all = "SELECT count(*) FROM ledger.transactions";
    let whole = |height| one(height, Scope::Whole, all);
    assert_eq!(one(1, owned("plant"), all), whole(1));
    assert_eq!(one(1, owned("yard"), all), ["0"]);
    assert_eq!(one(4, owned("yard"), all), whole(4));
    assert_eq!(one(4, owned("plant"), all), ["0"]);
    assert_eq!(one(4, within("north"), all), whole(4));
    assert_eq!(one(4, within("south"), all), ["0"]);
    let holders = "SELECT subject FROM ledger.identities ORDER BY subject";
    assert_eq!(one(3, owned("plant"), holders), ["CN=plant client", "D2"]);
    assert_eq!(one(4, owned("plant"), holders), ["CN=plant client"]);
    assert_eq!(one(4, owned("yard"), holders), ["D1", "D2"]);
    let events = "SELECT key FROM ledger.events ORDER BY key";
    assert_eq!(one(4, owned("yard"), events), ["D2"]);
    // The lease says where it is, and so does the device.
    assert_eq!(one(4, within("north"), events), ["D2", "L1"]);
    assert_eq!(one(4, within("south"), events), Vec::<String>::new());
    // What says nothing of who or where is not shown, whatever is beside it.
    for (scope, sql) in [
        (owned("plant"), "SELECT id FROM equipment_leasing.lease"),
        (owned("plant"), "SELECT 1 FROM ledger.blocks, equipment_leasing.lease"),
        (within("north"), "SELECT name FROM ledger.members"),
        (within("north"), "SELECT member FROM ledger.approvals"),
        (within("north"), "SELECT subject FROM ledger.looks"),
    ] {
        let mut snapshot = model.reader().snapshot(4, scope.clone()).unwrap();
        let problem = snapshot.query(sql, &BTreeMap::new(), &Limits::INTERACTIVE).unwrap_err();
        assert!(matches!(problem, Problem::Withheld { .. }), "{scope:?} {sql}: {problem}");
    }
    // The members' own business is every member's.
    assert_eq!(one(4, owned("yard"), "SELECT count(*) FROM ledger.members"), ["0"]);
}

#[test]
fn an_upgrade_adds_columns_and_old_heights_keep_theirs() {
    let mut chain = example();
    let second = Digest::of(b"leasing 2");
    chain.block(vec![Deed::Deploy("equipment-leasing", "2.0.0", second)]);
    let mut fields = lease("plant", 11);
    fields.push(("grade", Value::Symbol("a".into())));
    fields.retain(|(field, _)| *field != "lessee");
    fields.push(("owed", Value::Text("eleven".into())));
    chain.block(vec![Deed::Put("equipment-leasing", "lease", "L3".into(), "active", fields)]);
    let mut packages = deployed();
    packages.0.insert(
        second,
        vec![asset(
            "lease",
            // `lessee` is gone, `owed` is stored otherwise, `grade` is new.
            &[
                ("owed", ColumnType::Text),
                ("tags", ColumnType::List),
                ("jurisdiction", ColumnType::Text),
                ("grade", ColumnType::Text),
            ],
        )],
    );
    let (_folder, model) = model(&chain, &packages);
    let columns = |height| {
        let snapshot = model.reader().snapshot(height, Scope::Whole).unwrap();
        let table = snapshot.tables().iter().find(|table| table.sql_name == "lease").unwrap();
        table.columns.iter().map(|column| column.sql_name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(columns(4), ["id", "state", "lessee", "owed", "tags", "jurisdiction"]);
    assert_eq!(columns(6), ["id", "state", "tags", "jurisdiction", "owed", "grade"]);
    let all = "SELECT id, owed FROM equipment_leasing.lease ORDER BY id";
    let now = ask(&mut model.reader().snapshot(6, Scope::Whole).unwrap(), all);
    assert_eq!(now[2], [text("L3"), text("eleven")]);
    assert_eq!(now[0], [text("L1"), Cell::Null]);
    let then = ask(&mut model.reader().snapshot(3, Scope::Whole).unwrap(), all);
    assert_eq!(then[0], [text("L1"), Cell::Integer(300)]);
}

#[test]
fn names_that_meet_are_told_apart() {
    let digest = Digest::of(b"x");
    let mut chain = Chain::default();
    chain.block(Vec::new());
    chain.block(vec![
        Deed::Deploy("a-b", "1.0.0", digest),
        Deed::Deploy("a_b", "1.0.0", digest),
        Deed::Deploy("ledger", "1.0.0", digest),
        Deed::Deploy("main", "1.0.0", digest),
        Deed::Deploy("select", "1.0.0", digest),
    ]);
    let fields = |owed| vec![("order-by", Value::Int(owed)), ("order_by", Value::Int(-owed))];
    chain.block(vec![
        Deed::Put("a-b", "group", "k".into(), "s", fields(1)),
        Deed::Put("a_b", "group", "k".into(), "s", fields(2)),
        Deed::Put("ledger", "group", "k".into(), "s", fields(3)),
        Deed::Put("main", "group", "k".into(), "s", fields(4)),
        Deed::Put("select", "group", "k".into(), "s", fields(5)),
    ]);
    let columns =
        [("order-by", ColumnType::Int), ("order_by", ColumnType::Int), ("state", ColumnType::Int)];
    let packages =
        Deployed(BTreeMap::from([(digest, vec![asset("group", &columns), stream("group", &[])])]));
    let (_folder, model) = model(&chain, &packages);
    let mut snapshot = model.reader().snapshot(2, Scope::Whole).unwrap();
    for (schema, owed) in
        [("a_b", 1), ("a_b_2", 2), ("ledger_2", 3), ("main_2", 4), ("\"select\"", 5)]
    {
        let rows = ask(
            &mut snapshot,
            &format!("SELECT order_by, order_by_2, state_2 FROM {schema}.\"group\""),
        );
        assert_eq!(rows, [[Cell::Integer(owed), Cell::Integer(-owed), Cell::Null]], "{schema}");
        assert!(ask(&mut snapshot, &format!("SELECT * FROM {schema}.group_2")).is_empty());
    }
}

#[test]
fn heights_follow_one_another_and_repeat_without_effect() {
    let chain = example();
    let packages = deployed();
    let (folder, mut model) = model(&chain, &packages);
    let (block, events) = &chain.blocks[2];
    assert!(!model.apply(block, events, &packages).unwrap());
    let mut later = chain.blocks[4].clone();
    later.0.header.height = hufu_proof::Height(7);
    assert!(matches!(
        model.apply(&later.0, &later.1, &packages),
        Err(ReadModelError::Gap { expected: 5, found: 7 })
    ));
    drop(model);
    let path = folder.path().join("model.sqlite");
    let mut again = ReadModel::open(&path, &CHAIN).unwrap();
    assert_eq!(again.applied(), Some(4));
    chain.feed(&mut again, &packages);
    let all = "SELECT count(*) FROM equipment_leasing.reading";
    assert_eq!(
        ask(&mut again.reader().snapshot(4, Scope::Whole).unwrap(), all),
        [[Cell::Integer(4)]]
    );
    drop(again);
    assert!(matches!(
        ReadModel::open(&path, &Digest([8; 32])),
        Err(ReadModelError::OtherConsortium { .. })
    ));
}

#[test]
fn a_block_that_fails_leaves_nothing_behind() {
    let chain = example();
    let packages = deployed();
    let folder = tempfile::tempdir().unwrap();
    let mut model = ReadModel::open(&folder.path().join("m"), &CHAIN).unwrap();
    model.apply(&chain.blocks[0].0, &chain.blocks[0].1, &packages).unwrap();
    // The package is not known: nothing is applied, and it works later.
    let (block, events) = &chain.blocks[1];
    assert!(matches!(
        model.apply(block, events, &Deployed::default()),
        Err(ReadModelError::NoPackage { .. })
    ));
    assert_eq!(model.applied(), Some(0));
    model.apply(block, events, &packages).unwrap();
    // Events of another height, or of a table that nobody declared.
    let (block, events) = &chain.blocks[2];
    assert!(matches!(
        model.apply(block, &events[1..], &packages),
        Err(ReadModelError::Events { height: 2, .. })
    ));
    let mut odd = events.clone();
    for event in &mut odd {
        if let hufu_machine::Event::Asset { asset_type, .. } = event {
            *asset_type = name("other");
        }
    }
    assert!(matches!(model.apply(block, &odd, &packages), Err(ReadModelError::Events { .. })));
    model.apply(block, events, &packages).unwrap();
    let rows = ask(
        &mut model.reader().snapshot(2, Scope::Whole).unwrap(),
        "SELECT count(*) FROM ledger.transactions",
    );
    assert_eq!(rows, [[Cell::Integer(3)]]);
}

#[test]
fn a_damaged_file_says_how_to_mend_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.sqlite");
    std::fs::write(&path, vec![0x55; 8192]).unwrap();
    let error = ReadModel::open(&path, &CHAIN).unwrap_err();
    assert!(matches!(error, ReadModelError::Damaged { .. }));
    assert!(error.to_string().contains("remove it, it is rebuilt"));
}

#[test]
fn a_file_of_another_layout_is_built_anew() {
    let (folder, model) = model(&example(), &deployed());
    drop(model);
    let path = folder.path().join("model.sqlite");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    drop(connection);
    let model = ReadModel::open(&path, &CHAIN).unwrap();
    assert_eq!(model.applied(), None);
    assert_eq!(model.next_height(), 0);
}

/// What happens at a height: leases are put, readings appended.
fn history() -> impl Strategy<Value = Vec<Vec<(u8, i64)>>> {
    prop::collection::vec(prop::collection::vec((0u8..6, -50i64..50), 0..5), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_height_agrees_with_a_naive_model(history in history(), stop in 0usize..12) {
        let mut chain = Chain::default();
        chain.block(Vec::new());
        chain.block(vec![Deed::Deploy("equipment-leasing", "1.0.0", package())]);
        let mut states: Vec<(BTreeMap<String, i64>, i64)> = vec![Default::default(); 2];
        let mut now: (BTreeMap<String, i64>, i64) = Default::default();
        for deeds in &history {
            let deeds = deeds.iter().map(|(key, owed)| {
                if *key == 5 {
                    now.1 += owed;
                    rows("D1", 1, &[*owed])
                } else {
                    now.0.insert(format!("L{key}"), *owed);
                    put(&format!("L{key}"), "active", "plant", *owed)
                }
            });
            chain.block(deeds.collect());
            states.push(now.clone());
        }
        let packages = deployed();
        let (folder, model) = model(&chain, &packages);
        // A second model stops somewhere, is opened again and goes on.
        let path = folder.path().join("second.sqlite");
        let mut second = ReadModel::open(&path, &CHAIN).unwrap();
        for (block, events) in chain.blocks.iter().take(stop) {
            second.apply(block, events, &packages).unwrap();
        }
        drop(second);
        let mut second = ReadModel::open(&path, &CHAIN).unwrap();
        chain.feed(&mut second, &packages);
        for (height, (leases, sum)) in states.iter().enumerate().skip(1) {
            for reader in [model.reader(), second.reader()] {
                let mut snapshot = reader.snapshot(height as u64, Scope::Whole).unwrap();
                let found: BTreeMap<String, i64> =
                    ask(&mut snapshot, "SELECT id, owed FROM equipment_leasing.lease")
                        .into_iter()
                        .map(|row| match row.as_slice() {
                            [Cell::Text(id), Cell::Integer(owed)] => (id.clone(), *owed),
                            other => panic!("{other:?}"),
                        })
                        .collect();
                prop_assert_eq!(&found, leases);
                let total = ask(
                    &mut snapshot,
                    "SELECT coalesce(sum(value), 0) FROM equipment_leasing.reading",
                );
                prop_assert_eq!(&total, &[[Cell::Integer(*sum)]]);
            }
        }
    }
}
