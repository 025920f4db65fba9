//! What becomes of queries and reports that take too much, or that nobody waits
//! for.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use hufu_contract::Sources;
use hufu_gateway::GatewayLimits;
use hufu_query::Bounds;
use serde_json::{Value, json};
use support::*;

/// A million characters, made by one expression.
const BIG: &str = "replace(replace(replace(replace(replace('xxxxxxxxxx','x','yyyyyyyyyy'),\
    'y','zzzzzzzzzz'),'z','xxxxxxxxxx'),'x','yyyyyyyyyy'),'y','zzzzzzzzzz')";

/// A sum of steps of SQLite's machine that take seconds each, also where the
/// machine is fast, and in none of which anything is looked at.
fn slow_sum() -> String {
    let step = |i| format!("instr({BIG}, substr({BIG}, 1, 500000) || '{i}')");
    (0..24).map(step).collect::<Vec<_>>().join(" + ")
}

fn slow() -> Value {
    json!({"sql": format!("SELECT {} AS n FROM ledger.transactions ORDER BY n", slow_sum())})
}

fn bounds(seconds: u64) -> Bounds {
    Bounds { time: Duration::from_secs(seconds), ..Bounds::QUERY }
}

/// The subjects of looks that got no answer, once there are so many.
async fn unanswered(node: &Node, count: usize) -> Vec<String> {
    for _ in 0..300 {
        let (height, _) = node.reader().applied().unwrap().unwrap();
        let mut snapshot = node.reader().snapshot(height, hufu_readmodel::Scope::Whole).unwrap();
        let sql =
            "SELECT subject, answer FROM ledger.looks WHERE subject LIKE '%without an answer%'";
        let limits = hufu_readmodel::Limits::INTERACTIVE;
        let rows = snapshot.query(sql, &BTreeMap::new(), &limits).unwrap().rows;
        if rows.len() == count {
            let nothing = hufu_proof::Digest::of(b"").to_string();
            assert!(rows.iter().all(|row| row[1].to_string() == nothing));
            return rows.into_iter().map(|row| row[0].to_string()).collect();
        }
        assert!(rows.len() < count, "{rows:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no {count} looks without an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_over_its_time_is_refused_and_recorded() {
    let node = Node::new();
    play(&node);
    let limits = GatewayLimits { query_bounds: bounds(1), ..GatewayLimits::default() };
    let (router, _) = gateway(&node, "regulator", limits);
    let reply = post(&router, "regulator", "/v1/query", &slow()).await;
    assert_eq!((reply.status, reply.code().as_str()), (422, "query-too-large"));
    let detail = "the query needs more than 1 seconds; narrow it down";
    assert_eq!(reply.json()["detail"], detail);
    let looks = unanswered(&node, 1).await;
    let begins = "query without an answer by CN=regulator client of regulator: SELECT instr(";
    assert!(looks[0].starts_with(begins), "{looks:?}");
    // What stops at what it found tells something of it; what is no query does not.
    let stops = json!({"sql": "SELECT json_extract(digest, '$.a') FROM ledger.blocks"});
    let reply = post(&router, "regulator", "/v1/query", &stops).await;
    assert_eq!((reply.status, reply.code().as_str()), (422, "query-refused"));
    let nonsense = json!({"sql": "SELECT nothing FROM ledger.blocks"});
    let reply = post(&router, "regulator", "/v1/query", &nonsense).await;
    assert_eq!((reply.status, reply.code().as_str()), (422, "query-refused"));
    let looks = unanswered(&node, 2).await;
    assert!(looks.iter().any(|look| look.contains("SELECT json_extract(")), "{looks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_frees_the_place_and_is_recorded() {
    let node = Node::new();
    play(&node);
    let limits = GatewayLimits { query_bounds: bounds(60), ..GatewayLimits::default() };
    let (router, _) = gateway_with(&node, "regulator", limits, workers(2));
    let ask = |sql: Value| {
        let router = router.clone();
        tokio::spawn(async move { post(&router, "regulator", "/v1/query", &sql).await })
    };
    for round in 1..=5 {
        let (one, other) = (ask(slow()), ask(slow()));
        let quick = json!({"sql": "SELECT 1 AS n"});
        // Both are in their places.
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            if post(&router, "regulator", "/v1/query", &quick).await.status == 503 {
                break;
            }
        }
        one.abort();
        other.abort();
        let looks = unanswered(&node, 2 * round).await;
        assert_eq!(looks.len(), 2 * round);
        // Recorded after the process has ended: both places are free.
        let reply = post(&router, "regulator", "/v1/query", &quick).await;
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    }
}

/// The package with its third control slowed down.
fn slowed() -> Sources {
    let files = package("operation-supervision");
    let files = files.files().map(|(path, text)| {
        let text = match path {
            "controls/inactive-reading.sql" => {
                let slower = format!("WHERE {} = reading.recorded_time AND", slow_sum());
                let slowed = text.replace("WHERE", &slower);
                assert_ne!(slowed, text);
                slowed
            }
            _ => text.to_owned(),
        };
        (path.to_owned(), text.into_bytes())
    });
    Sources::new(files.collect()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_over_its_time_says_how_far_it_came() {
    let node = Node::new();
    play_with(&node, slowed());
    let limits = GatewayLimits { report_bounds: bounds(4), ..GatewayLimits::default() };
    let (router, _) = gateway(&node, "regulator", limits);
    let asked = json!({"control_set": "operation-supervision/operation-baseline"});
    let reply = post(&router, "regulator", "/v1/reports", &asked).await;
    assert_eq!((reply.status, reply.code().as_str()), (422, "query-too-large"));
    let told = reply.json();
    let detail = "control `inactive-reading` (3 of 5): the query needs more than 4 seconds; \
                  narrow it down";
    assert_eq!(told["detail"], detail);
    assert_eq!((&told["controls_done"], &told["controls"]), (&json!(2), &json!(5)));
    let looks = unanswered(&node, 1).await;
    let subject = "report without an answer by CN=regulator client of regulator: \
                   operation-supervision/operation-baseline";
    assert_eq!(looks, [subject]);

    // In the run that it is compared with, too: nothing is left out of a report
    // because this machine is slow.
    let height = node.height();
    let asked = json!({
        "control_set": "operation-supervision/operation-baseline", "since": height - 3,
    });
    let reply = post(&router, "regulator", "/v1/reports", &asked).await;
    let detail = format!(
        "control `inactive-reading` (3 of 5) in the earlier run, as of height {}: the query needs \
         more than 4 seconds; narrow it down",
        height - 3
    );
    assert_eq!((reply.status, &reply.json()["detail"]), (422, &json!(detail)));
    unanswered(&node, 2).await;
}
