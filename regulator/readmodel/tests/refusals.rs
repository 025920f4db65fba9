//! What a query may not do, and what it may not use up.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use hufu_readmodel::{Limits, Measure, Problem, Scope, Snapshot, check_control};
use hufu_report::Cell;
use support::*;

fn snapshot() -> (tempfile::TempDir, Snapshot) {
    let (folder, model) = model(&example(), &deployed());
    let snapshot = model.reader().snapshot(4, Scope::Whole).unwrap();
    (folder, snapshot)
}

fn refuse(snapshot: &mut Snapshot, sql: &str) -> Problem {
    match snapshot.query(sql, &BTreeMap::new(), &Limits::INTERACTIVE) {
        Err(problem) => problem,
        Ok(answer) => panic!("{sql} answered {:?}", answer.rows),
    }
}

#[test]
fn what_is_not_a_select_over_permitted_tables_is_refused() {
    let (_folder, mut snapshot) = snapshot();
    for sql in [
        // Statements.
        "INSERT INTO t1 VALUES (1)",
        "UPDATE t1 SET c1 = 1",
        "DELETE FROM t1",
        "DROP TABLE t1",
        "CREATE TABLE x (y)",
        "CREATE TEMP VIEW x AS SELECT 1",
        "PRAGMA user_version",
        "ATTACH 'x' AS y",
        "DETACH main",
        "VACUUM",
        "BEGIN",
        "COMMIT",
        "SAVEPOINT x",
        "ANALYZE",
        "REINDEX",
        "EXPLAIN SELECT 1",
        "VALUES (1)",
        "REPLACE INTO t1 VALUES (1)",
        "WITH x AS (SELECT 1) DELETE FROM t1",
        "WITH x AS (SELECT 1) INSERT INTO t1 SELECT * FROM x",
        "SELECT 1; SELECT 2",
        // Tables that are not the caller's.
        "SELECT * FROM t1",
        "SELECT * FROM main.t1",
        "SELECT * FROM sqlite_master",
        "SELECT * FROM sqlite_schema",
        "SELECT * FROM temp.sqlite_master",
        "SELECT * FROM main.sqlite_schema",
        "SELECT * FROM _meta",
        "SELECT * FROM main._table",
        "SELECT * FROM pragma_table_info('t1')",
        "SELECT * FROM pragma_database_list",
        "SELECT * FROM dbstat",
        "SELECT * FROM json_tree('[]')",
        "SELECT * FROM generate_series(1, 2)",
        "SELECT * FROM lease",
        "SELECT * FROM \"hufu:equipment_leasing.lease\"",
        "WITH \"hufu:ledger.blocks\" AS (SELECT * FROM t1) SELECT * FROM \"hufu:ledger.blocks\"",
        "WITH lease AS (SELECT * FROM t11) SELECT * FROM lease, equipment_leasing.lease AS l",
        "WITH blocks AS (SELECT * FROM main.t1) SELECT * FROM blocks, ledger.blocks AS b",
        "SELECT * FROM equipment_leasing.other",
        "SELECT * FROM nobody.lease",
        // Rows' numbers are hidden.
        "SELECT _tx FROM equipment_leasing.lease",
        "SELECT _row FROM equipment_leasing.lease",
        "SELECT rowid FROM equipment_leasing.lease",
        "SELECT _from FROM equipment_leasing.lease",
        // Recursion.
        "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT * FROM x",
    ] {
        let problem = refuse(&mut snapshot, sql);
        assert!(
            matches!(problem, Problem::Forbidden(_) | Problem::Sql { .. } | Problem::Syntax { .. }),
            "{sql}: {problem:?}"
        );
    }
}

#[test]
fn functions_that_are_not_deterministic_or_have_effects_are_refused_by_name() {
    let (_folder, mut snapshot) = snapshot();
    for call in [
        "random()",
        "randomblob(4)",
        "date('now')",
        "time('now')",
        "datetime('now')",
        "julianday('now')",
        "unixepoch('now')",
        "strftime('%s', 'now')",
        "date(0, 'unixepoch')",
        "timediff('now', 'now')",
        "CURRENT_TIMESTAMP",
        "CURRENT_DATE",
        "CURRENT_TIME",
        "last_insert_rowid()",
        "changes()",
        "total_changes()",
        "sqlite_version()",
        "sqlite_source_id()",
        "load_extension('x')",
        "zeroblob(1000000)",
        "avg(1)",
        "total(1)",
        "round(1)",
        "printf('%f', 1)",
        "format('%d', 1)",
        "likelihood(1, 0)",
        "soundex('x')",
        "sqlite_compileoption_get(0)",
        "fts5('x')",
        "sqrt(2)",
        "pi()",
        "readfile('x')",
        "writefile('x', 'y')",
        "edit('x')",
        "sqlite_offset(1)",
        "hufu_rows(1)",
    ] {
        let problem = refuse(&mut snapshot, &format!("SELECT {call}"));
        let name = call.split('(').next().unwrap().to_lowercase();
        match problem {
            Problem::Forbidden(what) => assert!(what.contains(&name), "{call}: {what}"),
            // Not compiled in at all.
            Problem::Sql { message } => {
                assert!(message.contains("no such function"), "{call}: {message}")
            }
            // A literal with a fraction never gets that far.
            other => panic!("{call}: {other:?}"),
        }
    }
}

#[test]
fn what_a_query_may_do_works() {
    let (_folder, mut snapshot) = snapshot();
    for (sql, expected) in [
        ("SELECT upper(substr('lease', 2, 2)) || 'x'", "EAx"),
        ("SELECT iso_time(:as_of_time)", "2026-09-21T14:13:24.000Z"),
        ("SELECT iso_date(0)", "1970-01-01"),
        ("SELECT :as_of_height", "4"),
        ("SELECT sum(value) FROM equipment_leasing.reading WHERE metric LIKE 'temp%'", "244"),
        ("SELECT max(value) OVER () FROM equipment_leasing.reading LIMIT 1", "99"),
        (
            "WITH hot AS (SELECT device FROM equipment_leasing.reading r WHERE r.value > 90)
          SELECT count(DISTINCT device) FROM hot",
            "1",
        ),
        (
            "SELECT count(*) FROM equipment_leasing.lease JOIN ledger.blocks ON blocks.height = 1",
            "2",
        ),
        ("SELECT count(*) FROM json_each('[1,2,3]')", "3"),
        ("SELECT CASE WHEN EXISTS (SELECT 1 FROM equipment_leasing.lease) THEN 'y' END", "y"),
        ("SELECT group_concat(id, '+' ORDER BY id DESC) FROM equipment_leasing.lease", "L2+L1"),
        ("SELECT \"lease\".\"id\" FROM EQUIPMENT_leasing.LEASE WHERE owed = 7;", "L2"),
        ("SELECT 7 / 2", "3"),
    ] {
        let answer = snapshot.query(sql, &BTreeMap::new(), &Limits::INTERACTIVE);
        let answer = answer.unwrap_or_else(|problem| panic!("{sql}: {problem}"));
        assert_eq!(answer.rows[0][0].to_string(), expected, "{sql}");
    }
}

#[test]
fn parameters_are_bound_and_each_is_needed() {
    let (_folder, mut snapshot) = snapshot();
    let given = |pairs: &[(&str, Cell)]| {
        pairs.iter().map(|(key, cell)| (name(key), cell.clone())).collect::<BTreeMap<_, _>>()
    };
    let sql = "SELECT id FROM equipment_leasing.lease WHERE owed > :least AND lessee <> :not";
    let some = given(&[("least", Cell::Integer(0)), ("not", Cell::Text("' OR 1 --".into()))]);
    let rows = snapshot.query(sql, &some, &Limits::INTERACTIVE).unwrap().rows;
    assert_eq!(rows, [[Cell::Text("L2".into())]]);
    let few = given(&[("least", Cell::Integer(0))]);
    assert_eq!(
        snapshot.query(sql, &few, &Limits::INTERACTIVE),
        Err(Problem::Parameter("not".into()))
    );
    let many = given(&[("x", Cell::Null)]);
    assert_eq!(
        snapshot.query("SELECT 1", &many, &Limits::INTERACTIVE),
        Err(Problem::UnknownParameter("x".into()))
    );
}

#[test]
fn floating_numbers_do_not_get_into_results() {
    let (_folder, mut snapshot) = snapshot();
    assert_eq!(
        refuse(&mut snapshot, "SELECT CAST('1.5' AS REAL) AS x"),
        Problem::Float("x".into())
    );
    // Overflow is an error, not a float.
    let problem =
        refuse(&mut snapshot, "SELECT sum(9223372036854775807) FROM equipment_leasing.lease");
    assert!(problem.to_string().contains("overflow"), "{problem}");
    let problem = refuse(
        &mut snapshot,
        "SELECT 9223372036854775807 + owed AS x
        FROM equipment_leasing.lease WHERE owed > 0",
    );
    assert_eq!(problem, Problem::Float("x".into()));
}

#[test]
fn every_limit_is_kept() {
    let (_folder, mut snapshot) = snapshot();
    let cross = |tables: usize| {
        let tables = vec!["ledger.transactions"; tables]
            .iter()
            .enumerate()
            .map(|(index, table)| format!("{table} AS x{index}"))
            .collect::<Vec<_>>();
        format!("SELECT x0.id FROM {}", tables.join(", "))
    };
    let limits = Limits { steps: 100_000, rows: 1_000_000, bytes: usize::MAX };
    let none = BTreeMap::new();
    let stopped = Problem::Limit { what: Measure::Steps, limit: 100_000 };
    assert_eq!(snapshot.query(&cross(8), &none, &limits), Err(stopped.clone()));
    // Steps are counted the same way each time.
    assert_eq!(snapshot.query(&cross(8), &none, &limits), Err(stopped));
    let limits = Limits { rows: 10, ..Limits::INTERACTIVE };
    assert_eq!(
        snapshot.query(&cross(2), &none, &limits),
        Err(Problem::Limit { what: Measure::Rows, limit: 10 })
    );
    let limits = Limits { bytes: 1000, ..Limits::INTERACTIVE };
    assert_eq!(
        snapshot.query(&cross(2), &none, &limits),
        Err(Problem::Limit { what: Measure::Bytes, limit: 1000 })
    );
    let long = format!("SELECT '{}'", "x".repeat(hufu_readmodel::sql::MAX_QUERY));
    assert!(matches!(refuse(&mut snapshot, &long), Problem::TooLong { .. }));
    let wide = "SELECT replace(replace(hex(replace(hex(hex('xxxxxxxxxxxxxxxx')), '7', hex('xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'))), '7', hex('xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')), '7', hex(hex('xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')))";
    assert!(matches!(
        refuse(&mut snapshot, wide),
        Problem::Limit { what: Measure::ValueBytes, .. }
    ));
    let deep = format!("SELECT {}1{}", "1+(".repeat(300), ")".repeat(300));
    assert!(matches!(refuse(&mut snapshot, &deep), Problem::Sql { .. }));
}

#[test]
fn the_function_that_tells_rows_is_not_a_callers() {
    let (_folder, mut snapshot) = snapshot();
    for call in ["hufu:rows(1)", "\"hufu:rows\"(1)", "[hufu:rows](1)", "`HUFU:rows`(1)"] {
        let sql = format!("SELECT {call} FROM equipment_leasing.lease");
        let problem = refuse(&mut snapshot, &sql);
        // Without quotes it is no name at all.
        let refused = match call.starts_with("hufu") {
            true => matches!(problem, Problem::Sql { .. }),
            false => matches!(problem, Problem::Syntax { .. }),
        };
        assert!(refused, "{call}: {problem:?}");
    }
}

#[test]
fn a_query_ends_as_often_as_it_likes() {
    let (_folder, mut snapshot) = snapshot();
    let sql = format!("SELECT 7{}", ";".repeat(60_000));
    let answer = snapshot.query(&sql, &BTreeMap::new(), &Limits::INTERACTIVE).unwrap();
    assert_eq!(answer.rows, [[Cell::Integer(7)]]);
}

#[test]
fn a_permitted_set_hides_other_contracts() {
    let (_folder, mut snapshot) = snapshot();
    snapshot.permit(&BTreeSet::from([name("other")]));
    let problem = refuse(&mut snapshot, "SELECT * FROM equipment_leasing.lease");
    assert!(matches!(problem, Problem::Sql { .. }), "{problem:?}");
}

#[test]
fn controls_are_checked_without_data() {
    let contracts = [(name("equipment-leasing"), leasing())];
    let parameters = BTreeSet::from([name("threshold")]);
    let check = |sql: &str| check_control(sql, "id", &parameters, &contracts);
    let good = "SELECT id, lessee, owed FROM equipment_leasing.lease WHERE owed > :threshold";
    let columns: Vec<String> =
        check(good).unwrap().into_iter().map(|(name, form)| format!("{name} {form}")).collect();
    assert_eq!(columns, ["id text", "lessee text", "owed int"]);
    assert!(check(&format!("{good} ORDER BY owed, id LIMIT 3")).is_ok());
    for (sql, part) in [
        ("SELECT lessee FROM equipment_leasing.lease WHERE owed > :threshold", "no column `id`"),
        ("SELECT id FROM equipment_leasing.lease WHERE owed > :other", "`:other` has no value"),
        ("SELECT id FROM equipment_leasing.lease", "no parameter `:threshold`"),
        (
            "SELECT id, owed, owed FROM equipment_leasing.lease WHERE owed > :threshold",
            "two columns",
        ),
        ("SELECT id FROM equipment_leasing.lease WHERE owed > :threshold LIMIT 1", "LIMIT needs"),
        ("SELECT id FROM equipment_leasing.lease WHERE owed > :threshold + random()", "random"),
        ("SELECT id FROM equipment_leasing.lease WHERE owde > :threshold", "no such column"),
        ("SELECT id FROM device_registry.device WHERE 1 > :threshold", "no such table"),
        ("SELECT id FROM t11 WHERE 1 > :threshold", "no such"),
        ("SELECT id FROM equipment_leasing.lease WHERE owed > 1.5 * :threshold", "whole numbers"),
    ] {
        let problem = check(sql).unwrap_err().to_string();
        assert!(problem.contains(part), "{sql}: {problem}");
    }
}
