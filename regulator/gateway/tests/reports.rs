//! From transactions to a report that verifies, on two independent nodes.

mod support;

use hufu_gateway::{GatewayLimits, verify_report};
use hufu_proof::{Jurisdictions, Severity, Signer as _, Transaction};
use hufu_report::{Change, Report, open};
use serde_json::json;
use support::*;

const SET: &str = "operation-supervision/operation-baseline";

/// Brings `other` to the same height with the same blocks, finalized by other
/// votes.
fn follow(node: &Node, other: &Node, scene: &Scene) {
    other.know(&scene.registry);
    other.know(&scene.supervision);
    for height in other.height() + 1..=node.height() {
        let block = node.block_at(height);
        other.execute(&block, height + 1);
    }
}

#[tokio::test]
async fn a_report_verifies_and_is_the_same_on_another_members_node() {
    let (one, other) = (Node::new(), Node::new());
    let scene = play(&one);
    follow(&one, &other, &scene);
    let height = one.height() - 1;
    let (regulators, _) = gateway(&one, "regulator", GatewayLimits::default());
    let (authoritys, _) = gateway(&other, "authority", GatewayLimits::default());
    for (format, language) in [("json", "en"), ("html", "en"), ("html", "zh"), ("csv", "en")] {
        let asked =
            json!({"control_set": SET, "as_of": height, "format": format, "language": language});
        let first = post(&regulators, "regulator", "/v1/reports", &asked).await;
        assert_eq!(first.status, 200, "{}", String::from_utf8_lossy(&first.body));
        let second = post(&authoritys, "regulator", "/v1/reports", &asked).await;
        assert_eq!(second.status, 200);
        assert_ne!(first.body, second.body);
        let (left, right) = (open(&first.body).unwrap(), open(&second.body).unwrap());
        assert_eq!(left.body, right.body, "{format}: not the same bytes on both nodes");
        assert_eq!(first.header("hufu-body-digest"), second.header("hufu-body-digest"));
        assert_eq!(left.block.member, name("regulator"));
        assert_eq!(right.block.member, name("authority"));
        for reply in [&first, &second] {
            let checked = verify_report(&reply.body, &one.genesis).unwrap();
            assert_eq!(checked.as_of.height, height);
            assert!(checked.presentation_recomputed);
            assert!(checked.counts.findings >= 1);
            assert_eq!(checked.body.to_string(), reply.header("hufu-body-digest"));
        }
    }
}

#[tokio::test]
async fn findings_carry_the_transactions_that_made_them() {
    let node = Node::new();
    play(&node);
    let (router, metrics) = gateway(&node, "regulator", GatewayLimits::default());
    let asked = json!({"control_set": SET, "as_of": node.height() - 1});
    let reply = post(&router, "regulator", "/v1/reports", &asked).await;
    let report = open(&reply.body).unwrap().report;
    assert_eq!(report.packages.len(), 2);
    let over = report.controls.iter().find(|one| one.id == name("over-limit")).unwrap();
    assert_eq!(over.severity, Severity::High);
    assert_eq!(over.title["zh"], "超出监测限值的读数");
    assert_eq!(over.findings.len(), 1);
    let finding = &over.findings[0];
    assert_eq!(finding.subject, "D1");
    // The watch, and the batches of the metric.
    assert_eq!(finding.evidence.len() as u64, finding.evidence_total);
    assert!(finding.evidence.len() >= 2);
    // Each is a transaction whose receipt this gateway gives out and verifies; that
    // is a look, too.
    let receipts = finding.evidence.len() as u64;
    for place in &finding.evidence {
        let evidence = report.evidence.iter().find(|one| one.log_index == *place).unwrap();
        let uri = format!("/v1/receipts/{}", evidence.entry.transaction);
        let binary = [("accept", "application/octet-stream")];
        let reply =
            send(&router, "regulator", "GET", &uri, &binary, axum::body::Body::empty()).await;
        let receipt = hufu_proof::Receipt::decode(&reply.body).unwrap();
        receipt.verify(&node.genesis).unwrap();
        assert_eq!(receipt.entry, evidence.entry);
        assert_eq!(receipt.log_index.get(), *place);
    }
    // Another threshold, other findings; and the parameter is in the report.
    let asked = json!({
        "control_set": SET, "as_of": node.height() - 2,
        "parameters": {"over-limit": {"tolerance": "0.5"}},
    });
    let reply = post(&router, "regulator", "/v1/reports", &asked).await;
    let report = open(&reply.body).unwrap().report;
    let over = report.controls.iter().find(|one| one.id == name("over-limit")).unwrap();
    assert!(over.findings.is_empty());
    assert_eq!(over.parameters[&name("tolerance")], hufu_report::Cell::Integer(500));
    assert_eq!(metrics.reports.get(), 2);
    assert_eq!(metrics.looks.get(), 2 + receipts);
    assert!(metrics.findings.get() >= 1);
}

#[tokio::test]
async fn a_run_is_compared_with_the_last_one_that_asked_the_same() {
    let (node, other) = (Node::new(), Node::new());
    let scene = play(&node);
    let (router, _) = gateway(&node, "regulator", GatewayLimits::default());
    let over = |report: &Report| {
        report.controls.iter().find(|one| one.id == name("over-limit")).unwrap().clone()
    };
    let ask = async |more: serde_json::Value| {
        // Until what was recorded last is below the height that is reported on.
        for _ in 0..2 {
            let block = node.make(Vec::new());
            node.execute(&block, block.header.height.get());
        }
        let mut asked = json!({"control_set": SET, "as_of": node.height() - 1});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = post(&router, "regulator", "/v1/reports", &asked).await;
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        (open(&reply.body).unwrap().report, asked)
    };
    let adjust = |high: &str| {
        let parameters = [("high".to_owned(), json!(high)), ("low".to_owned(), json!("1"))].into();
        let invocation = scene.supervision.invocation("adjust", Some("W1"), &parameters).unwrap();
        node.accept(seed("operator"), hufu_proof::Payload::Invoke(invocation));
    };
    let (first, _) = ask(json!({})).await;
    assert_eq!((first.compared, over(&first).change), (None, None));
    assert_eq!(over(&first).findings.len(), 1);
    // The same once more: nothing is new.
    adjust("800.5");
    let (second, _) = ask(json!({})).await;
    assert_eq!(second.compared, Some(first.as_of));
    assert_eq!(over(&second).change, Some(Change { new: vec![], gone: 0 }));
    // Another question has no earlier run.
    let (with, _) = ask(json!({"parameters": {"over-limit": {"tolerance": "0.001"}}})).await;
    assert_eq!(with.compared, None);
    // What is mended is gone, what is broken again is new.
    adjust("100000");
    node.accept(
        seed("regulator"),
        hufu_proof::Payload::Look(hufu_proof::transaction::Look {
            subject: "something else".into(),
            height: hufu_proof::Height(1),
            answer: Default::default(),
        }),
    );
    let (third, _) = ask(json!({})).await;
    assert_eq!(third.compared, Some(second.as_of));
    assert_eq!(over(&third).change, Some(Change { new: vec![], gone: 1 }));
    adjust("800.5");
    adjust("800.4");
    let (fourth, asked) = ask(json!({})).await;
    assert_eq!(over(&fourth).change, Some(Change { new: vec![0], gone: 0 }));
    // A height may be named instead.
    let (since, _) = ask(json!({"since": first.as_of.height})).await;
    assert_eq!(since.compared, Some(first.as_of));
    assert_eq!(over(&since).change, Some(Change { new: vec![], gone: 0 }));
    let late = json!({"control_set": SET, "as_of": 3, "since": 3});
    assert_eq!(post(&router, "regulator", "/v1/reports", &late).await.code(), "request-malformed");
    // Another member's node finds the same earlier run in its own copy.
    follow(&node, &other, &scene);
    let (others, _) = gateway(&other, "authority", GatewayLimits::default());
    let reply = post(&others, "regulator", "/v1/reports", &asked).await;
    assert_eq!(open(&reply.body).unwrap().report, fourth);
    // How much was looked at, and what people call it.
    let readings = fourth.scope.iter().find(|one| one.table.ends_with(".reading")).unwrap();
    assert_eq!(readings.title["zh"], "读数");
    assert!(readings.rows > 0 && readings.recorded.is_some());
    assert_eq!(fourth.words[&name("metric")]["temperature"].unit.as_deref(), Some("°C"));
}

#[tokio::test]
async fn answers_tell_what_their_values_are() {
    let node = Node::new();
    play(&node);
    let (router, _) = gateway(&node, "regulator", GatewayLimits::default());
    let sql = "SELECT metric, value, max(value) AS most, count(*), measured_at, value * 2 AS twice, \
               max(recorded_time) - min(recorded_time) AS span \
               FROM operation_supervision.reading GROUP BY metric ORDER BY metric";
    let reply = post(&router, "regulator", "/v1/query", &json!({"sql": sql})).await;
    let decimal = json!({"type": "decimal", "scale": 3});
    assert_eq!(
        reply.json()["types"],
        json!([
            {"type": "text"}, decimal, decimal, {"type": "int"}, {"type": "time"},
            {"type": "plain"}, {"type": "int", "unit": "ms"}
        ])
    );
    let star = json!({"sql": "SELECT * FROM operation_supervision.watch"});
    let types = post(&router, "regulator", "/v1/query", &star).await.json()["types"].clone();
    assert!(types.as_array().unwrap().contains(&decimal), "{types}");
    // Of two origins, neither.
    let union = json!({
        "sql": "SELECT value FROM operation_supervision.reading UNION SELECT 1 FROM ledger.blocks"
    });
    let types = post(&router, "regulator", "/v1/query", &union).await.json()["types"].clone();
    assert_eq!(types, json!([{"type": "plain"}]));
}

#[tokio::test]
async fn every_look_is_on_the_ledger_before_it_is_answered() {
    let node = Node::new();
    play(&node);
    let (router, _) = gateway(&node, "regulator", GatewayLimits::default());
    let asked = json!({"sql": "SELECT device_id FROM device_registry.device ORDER BY 1"});
    let reply = post(&router, "regulator", "/v1/query", &asked).await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    assert_eq!(reply.json()["rows"], json!([["D1"], ["D2"]]));
    let look = reply.json()["look"].as_str().unwrap().to_owned();
    let recorded = get(&router, "regulator", &format!("/v1/transactions/{look}")).await;
    let payload = recorded.json()["transaction"]["body"]["payload"]["look"].clone();
    assert_eq!(
        payload["subject"],
        "query by CN=regulator client of regulator: SELECT device_id FROM device_registry.device ORDER BY 1"
    );
    let looks = json!({"sql": "SELECT count(*) FROM ledger.looks"});
    let reply = post(&router, "regulator", "/v1/query", &looks).await;
    assert_eq!(reply.json()["rows"], json!([[1]]));
    // A look that cannot be recorded is not answered.
    for (mode, status) in [(BUSY, 503), (PENDING, 503), (STOPPED, 503)] {
        node.mode.store(mode, std::sync::atomic::Ordering::Relaxed);
        let reply =
            post(&router, "regulator", "/v1/query", &json!({"sql": "SELECT 1", "as_of": 1})).await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.code(), "unavailable");
        assert!(!String::from_utf8_lossy(&reply.body).contains("rows"));
    }
}

#[tokio::test]
async fn long_questions_are_recorded_by_their_digest() {
    let node = Node::new();
    play(&node);
    let (router, _) = gateway(&node, "regulator", GatewayLimits::default());
    let sql = format!("SELECT '{}'", "中".repeat(1000));
    let reply = post(&router, "regulator", "/v1/query", &json!({"sql": sql})).await;
    assert_eq!(reply.status, 200);
    let asked = json!({"sql": "SELECT subject, octet_length(subject) FROM ledger.looks"});
    let rows = post(&router, "regulator", "/v1/query", &asked).await.json()["rows"].clone();
    assert!(rows[0][0].as_str().unwrap().contains("… sha256:"));
    assert!(rows[0][1].as_u64().unwrap() <= 1024);
}

#[tokio::test]
async fn transactions_are_submitted_in_both_forms_and_seen_by_whom_they_concern() {
    let node = Node::new();
    let scene = play(&node);
    let (router, _) = gateway(&node, "operator", GatewayLimits::default());
    let adjust = |high: &str| {
        let parameters = [("high".to_owned(), json!(high)), ("low".to_owned(), json!("1"))].into();
        let invocation = scene.supervision.invocation("adjust", Some("W1"), &parameters).unwrap();
        node.sign(seed("operator"), hufu_proof::Payload::Invoke(invocation))
    };
    let transaction: Transaction = adjust("900");
    let binary = [("content-type", "application/octet-stream")];
    let bytes = hufu_proof::codec::encode(&transaction);
    let reply = send(&router, "operator", "POST", "/v1/transactions", &binary, bytes).await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    assert_eq!(reply.json()["entry"]["outcome"], "accepted");
    let other = serde_json::to_value(adjust("901")).unwrap();
    let reply = post(&router, "operator", "/v1/transactions", &other).await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    // Refused by the invariant: the outcome is told, with its place in the log.
    let wrong = serde_json::to_value(adjust("0.5")).unwrap();
    let reply = post(&router, "operator", "/v1/transactions", &wrong).await;
    assert_eq!(reply.status, 422);
    assert_eq!(reply.code(), "transaction-refused");
    assert_eq!(reply.json()["outcome"], "invariant");
    assert!(reply.json()["log_index"].is_u64());

    let uri = format!("/v1/transactions/{}", transaction.id());
    let seen = |reply: Reply| !reply.json()["transaction"].is_null();
    assert!(seen(get(&router, "operator", &uri).await));
    assert!(seen(get(&router, "regulator", &uri).await));
    assert!(!seen(get(&router, "maker", &uri).await));
    let uri = format!("/v1/receipts/{}", transaction.id());
    assert_eq!(get(&router, "maker", &uri).await.code(), "not-permitted");
    let pem = get(&router, "operator", &uri).await;
    assert_eq!(pem.header("content-type"), "application/x-pem-file");
    let text = String::from_utf8(pem.body).unwrap();
    assert!(text.starts_with("-----BEGIN HUFU RECEIPT-----\n"));
    let (label, bytes) = pem_rfc7468::decode_vec(text.as_bytes()).unwrap();
    assert_eq!(label, "HUFU RECEIPT");
    hufu_proof::Receipt::decode(&bytes).unwrap().verify(&node.genesis).unwrap();

    let asset = |member: &'static str| {
        let router = router.clone();
        async move { get(&router, member, "/v1/contracts/operation-supervision/watch/W1").await }
    };
    assert_eq!(asset("operator").await.json()["state"], "open");
    assert_eq!(asset("regulator").await.status, 200);
}

/// Posts a bundle as `member`; the answer's list.
async fn bundle(router: &axum::Router, transactions: &[Transaction]) -> Vec<serde_json::Value> {
    let binary = [("content-type", "application/octet-stream")];
    let bytes = hufu_proof::codec::encode(transactions);
    let reply = send(router, "operator", "POST", "/v1/transactions/bundle", &binary, bytes).await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    reply.json()["transactions"].as_array().unwrap().clone()
}

#[tokio::test]
async fn every_transaction_of_a_bundle_has_its_own_answer() {
    let node = Node::new();
    let scene = play(&node);
    let (router, _) = gateway(&node, "operator", GatewayLimits::default());
    let adjust = |high: &str| {
        let parameters = [("high".to_owned(), json!(high)), ("low".to_owned(), json!("1"))].into();
        let invocation = scene.supervision.invocation("adjust", Some("W1"), &parameters).unwrap();
        node.sign(seed("operator"), hufu_proof::Payload::Invoke(invocation))
    };
    // The second is refused by the invariant and recorded so; the third has the
    // first one's answer again.
    let first = adjust("900");
    let transactions = [first.clone(), adjust("0.5"), first, adjust("901")];
    let answers = bundle(&router, &transactions).await;
    let told: Vec<_> = answers.iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    assert_eq!(told, ["accepted", "invariant", "accepted", "accepted"]);
    assert_eq!(answers[0], answers[2]);
    for (answer, transaction) in answers.iter().zip(&transactions) {
        assert_eq!(answer["id"], transaction.id().to_string());
        assert_eq!(answer["status"], "final");
        let uri = format!("/v1/transactions/{}", transaction.id());
        let recorded = get(&router, "operator", &uri).await.json();
        assert_eq!(recorded["entry"]["height"], answer["height"]);
        assert_eq!(recorded["entry"]["outcome"], answer["outcome"]);
    }

    // Five that meet five fates: the others' are told all the same.
    node.mode.store(MIXED, std::sync::atomic::Ordering::Relaxed);
    let mut transactions: Vec<Transaction> =
        (910..915).map(|high| adjust(&high.to_string())).collect();
    transactions.sort_by_key(|one| one.body.nonce % 5);
    let answers = bundle(&router, &transactions).await;
    let told: Vec<_> = answers.iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(told, ["final", "busy", "pending", "unavailable", "refused"]);
    assert_eq!(answers[1]["retry_after"], 1);
    assert_eq!(answers[4]["outcome"], "wrong-chain");
    node.mode.store(WORKS, std::sync::atomic::Ordering::Relaxed);
    let answers = bundle(&router, &transactions).await;
    assert!(answers.iter().all(|one| one["outcome"] == "accepted"), "{answers:?}");

    // Nothing of it is taken today: all of it is refused, and until when is said.
    node.mode.store(OVER, std::sync::atomic::Ordering::Relaxed);
    let binary = [("content-type", "application/octet-stream")];
    let whole = hufu_proof::codec::encode(&transactions);
    let one = hufu_proof::codec::encode(&transactions[0]);
    for (uri, bytes) in [("/v1/transactions/bundle", whole), ("/v1/transactions", one)] {
        let reply = send(&router, "operator", "POST", uri, &binary, bytes).await;
        assert_eq!((reply.status, reply.code().as_str()), (429, "over-budget"));
        assert_eq!(reply.header("retry-after"), "3600");
        assert_eq!(reply.json()["ends_ms"], 86_400_000);
    }
}

#[tokio::test]
async fn a_bundle_that_cannot_be_read_has_no_effect_and_is_told_where() {
    let node = Node::new();
    play(&node);
    let (router, _) = gateway(&node, "operator", GatewayLimits::default());
    let binary = [("content-type", "application/octet-stream")];
    let post = |bytes: Vec<u8>| {
        send(&router, "operator", "POST", "/v1/transactions/bundle", &binary, bytes)
    };
    let one = node.sign(seed("maker"), hufu_proof::Payload::Approve(hufu_proof::Digest([1; 32])));
    let height = node.height();
    let mut bytes = hufu_proof::codec::encode(&vec![one.clone(); 3]);
    bytes.truncate(bytes.len() - 1);
    let reply = post(bytes.clone()).await;
    assert_eq!(reply.code(), "request-malformed");
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("bundle is malformed: bundle[2]: "), "{detail}");
    bytes.extend([0, 0]);
    assert_eq!(post(bytes).await.code(), "request-malformed");
    let many = hufu_proof::codec::encode(&vec![one; hufu_intake::MAX_BUNDLE + 1]);
    let reply = post(many).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "request-too-large"));
    assert!(reply.json()["detail"].as_str().unwrap().contains("1025 items; at most 1024"));
    assert_eq!(node.height(), height);
}

#[tokio::test]
async fn assets_and_streams_are_shown_by_their_declared_types() {
    let node = Node::new();
    play(&node);
    let (router, _) = gateway(&node, "operator", GatewayLimits::default());
    let watch = get(&router, "operator", "/v1/contracts/operation-supervision/watch/W1").await;
    let fields = watch.json()["fields"].clone();
    assert_eq!(fields["high"], "850.500");
    assert_eq!(fields["low"], "20.000");
    assert_eq!(fields["metric"], "temperature");
    assert_eq!(fields["device"], "D1");
    let identity = SeedSigner::new(DEVICE_SEED + 1).public_key().identity();
    let uri = format!("/v1/streams/operation-supervision/reading?identity={identity}");
    let stream = get(&router, "operator", &uri).await.json();
    assert_eq!(stream["sequence"], 2);
    assert_eq!(
        stream["columns"],
        json!([
            {
                "name": "measured_at", "type": "time", "scale": null,
                "min": "2020-01-01T00:00:00Z", "max_ahead": 3_600_000,
            },
            {"name": "metric", "type": "symbol", "scale": null},
            {"name": "value", "type": "decimal", "scale": 3},
        ])
    );
    // Its own, when it does not say whose.
    let own = get(&router, "operator", "/v1/streams/operation-supervision/reading").await.json();
    assert_eq!(own["sequence"], 0);
}

#[tokio::test]
async fn a_regulator_of_jurisdictions_names_one_of_them() {
    let node = Node::new();
    play(&node);
    let (router, _) = gateway(&node, "regulator", GatewayLimits::default());
    for (who, jurisdiction, status, words) in [
        ("regulator of north+west", None, 403, "north, west"),
        ("regulator of north+west", Some("south"), 403, "north, west"),
        ("regulator of north+west", Some("west"), 200, ""),
        // Who has none sees nothing, whatever it names.
        ("regulator of none", None, 403, "no jurisdiction"),
        ("regulator of none", Some("north"), 403, "no jurisdiction"),
        ("regulator", None, 200, ""),
    ] {
        let query = json!({"sql": "SELECT 1", "jurisdiction": jurisdiction});
        let report = json!({"control_set": SET, "jurisdiction": jurisdiction});
        for (path, asked) in [("/v1/query", query), ("/v1/reports", report)] {
            let reply = post(&router, who, path, &asked).await;
            assert_eq!(reply.status, status, "{who} {jurisdiction:?}");
            if status == 403 {
                assert_eq!(reply.code(), "outside-jurisdiction");
                assert!(reply.json()["detail"].as_str().unwrap().contains(words));
            }
        }
    }
    // They are a regulator's alone.
    let mut wrong = node.genesis.as_ref().clone();
    wrong.members[1].jurisdictions = Jurisdictions::Only([name("north")].into());
    let error = wrong.check().unwrap_err().to_string();
    assert!(error.contains("jurisdictions of `maker`"), "{error}");
}
