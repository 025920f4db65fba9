//! Who sees what by identifier and by query, and which looks are on the ledger.

mod support;

use hufu_door::{Caller, Role};
use hufu_gateway::GatewayLimits;
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Digest, Payload, StateProof};
use serde_json::{Value, json};
use support::*;

/// The batches that were recorded: two of D1, one of D2.
fn batches(node: &Node) -> Vec<Digest> {
    let blocks = (0..=node.height()).map(|height| node.block_at(height));
    blocks
        .flat_map(|block| block.transactions)
        .filter(|one| matches!(one.body.payload, Payload::Append(_)))
        .map(|one| one.id())
        .collect()
}

async fn looks(router: &axum::Router) -> Vec<String> {
    let asked = json!({"sql": "SELECT subject FROM ledger.looks ORDER BY time"});
    let rows = post(router, "regulator", "/v1/query", &asked).await.json()["rows"].clone();
    let rows = rows.as_array().unwrap().clone();
    rows.into_iter().map(|row| row[0].as_str().unwrap().to_owned()).collect()
}

fn device(number: u8) -> Caller {
    Caller {
        kind: IdentityKind::Device,
        kinds: Default::default(),
        roles: Default::default(),
        subject: format!("D{number}"),
        identity: Some(SeedSigner::new(DEVICE_SEED + number).public_key().identity()),
        ..caller("operator")
    }
}

use hufu_proof::Signer as _;

#[tokio::test]
async fn a_regulator_of_one_place_sees_exactly_what_is_there() {
    let node = Node::new();
    play(&node);
    let (router, _) = gateway(&node, "regulator", GatewayLimits::default());
    let batches = batches(&node);
    for (place, own, other) in [("north", 1, 2), ("south", 2, 1)] {
        let who = format!("regulator of {place}");
        let ask = |sql: &str| {
            let asked = json!({"sql": sql, "jurisdiction": place});
            let (router, who) = (&router, who.as_str());
            async move { post(router, who, "/v1/query", &asked).await.json()["rows"].clone() }
        };
        let mine = json!([[format!("D{own}")]]);
        assert_eq!(ask("SELECT device_id FROM device_registry.device").await, mine);
        let readings = "SELECT DISTINCT device FROM operation_supervision.reading";
        assert_eq!(ask(readings).await, mine);
        let signed = "SELECT count(*) FROM ledger.transactions WHERE kind = 'append'";
        assert_eq!(ask(signed).await, json!([[3 - own]]), "{place}");
        // By identifier too: the asset, what refers to it, what it sent.
        let there = |number: u8| format!("/v1/contracts/device-registry/device/D{number}");
        assert_eq!(get(&router, &who, &there(own)).await.status, 200);
        let refused = get(&router, &who, &there(other)).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "outside-jurisdiction"));
        for (number, status) in [(own, 200), (other, 403)] {
            let proof = get(&router, &who, &format!("{}/proof", there(number))).await;
            assert_eq!(proof.status, status, "{place} {number}");
            assert_eq!(proof.header("hufu-look").is_empty(), status == 403);
        }
        let watch = "/v1/contracts/operation-supervision/watch/W1";
        let expected = if place == "north" { 200 } else { 403 };
        assert_eq!(get(&router, &who, watch).await.status, expected);
        for (batch, of) in batches.iter().zip([1, 1, 2]) {
            let found = get(&router, &who, &format!("/v1/transactions/{batch}")).await;
            assert_eq!(found.status, 200);
            assert_eq!(found.json()["transaction"] != Value::Null, of == own, "{place} {of}");
            assert_eq!(found.header("hufu-look").is_empty(), of != own);
            let receipt = get(&router, &who, &format!("/v1/receipts/{batch}")).await;
            assert_eq!(receipt.status, if of == own { 200 } else { 403 });
            assert_eq!(receipt.header("hufu-look").is_empty(), of != own);
        }
        let asked = json!({
            "control_set": "operation-supervision/operation-baseline", "format": "json",
            "jurisdiction": place, "parameters": {"unwatched-device": {"grace": 0}},
        });
        let report = post(&router, &who, "/v1/reports", &asked).await;
        assert_eq!(report.status, 200, "{}", String::from_utf8_lossy(&report.body));
        let text = String::from_utf8(report.body).unwrap();
        assert!(text.contains(&format!("\"subject\":\"D{own}\"")), "{text}");
        assert!(!text.contains(&format!("\"subject\":\"D{other}\"")), "{text}");
    }
    // What the ledger says of people is nowhere.
    let asked = json!({"sql": "SELECT * FROM ledger.members", "jurisdiction": "north"});
    let refused = post(&router, "regulator of north", "/v1/query", &asked).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "outside-jurisdiction"));
}

#[tokio::test]
async fn a_look_by_identifier_is_recorded_and_ones_own_data_are_no_look() {
    let node = Node::new();
    play(&node);
    let (router, metrics) = gateway(&node, "regulator", GatewayLimits::default());
    let batch = batches(&node)[0];
    let uris = [
        format!("/v1/transactions/{batch}"),
        format!("/v1/receipts/{batch}"),
        "/v1/contracts/device-registry/device/D1".to_owned(),
        "/v1/contracts/device-registry/device/D1/proof".to_owned(),
    ];
    for uri in &uris {
        let own = get(&router, "operator", uri).await;
        assert_eq!((own.status, own.header("hufu-look")), (200, ""), "{uri}");
    }
    assert_eq!(metrics.looks.get(), 0);
    for uri in &uris {
        let reply = get(&router, "regulator", uri).await;
        assert_eq!(reply.status, 200, "{uri}");
        let look: Digest = reply.header("hufu-look").parse().unwrap();
        // It is the regulator's own, so that reading it is not another.
        let recorded = get(&router, "regulator", &format!("/v1/transactions/{look}")).await.json();
        assert!(recorded["transaction"]["body"]["payload"].to_string().contains("look"));
    }
    assert_eq!(metrics.looks.get(), 4);
    // That there is nothing is nobody's.
    let nothing = get(&router, "regulator", "/v1/contracts/device-registry/device/D9/proof").await;
    assert_eq!((nothing.status, nothing.header("hufu-look")), (200, ""));
    let expected = [
        format!("transaction {batch} by CN=regulator client of regulator"),
        format!("receipt {batch} by CN=regulator client of regulator"),
        "asset device-registry/device D1 by CN=regulator client of regulator".to_owned(),
        "proof of asset device-registry/device D1 by CN=regulator client of regulator".to_owned(),
    ];
    assert_eq!(looks(&router).await, expected);
    // What cannot be recorded is not shown.
    node.mode.store(BUSY, std::sync::atomic::Ordering::Relaxed);
    for uri in &uris {
        let reply = get(&router, "regulator", uri).await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "unavailable"), "{uri}");
        assert_eq!(get(&router, "operator", uri).await.status, 200, "{uri}");
    }
}

#[tokio::test]
async fn large_numbers_are_exact_and_text_where_asked() {
    let node = Node::new();
    play(&node);
    let (router, _) = gateway(&node, "regulator", GatewayLimits::default());
    let sql = "SELECT 9007199254740993 AS n, -9223372036854775807 - 1 AS m, NULL AS x, 'a' AS t";
    for (numbers, row) in [
        (json!("exact"), json!([9_007_199_254_740_993_i64, i64::MIN, null, "a"])),
        (json!("text"), json!(["9007199254740993", "-9223372036854775808", null, "a"])),
    ] {
        let asked = json!({"sql": sql, "numbers": numbers});
        let answer = post(&router, "regulator", "/v1/query", &asked).await;
        assert_eq!(answer.json()["rows"][0], row);
    }
}

#[tokio::test]
async fn a_devices_data_are_those_of_its_present_owner() {
    let node = Node::new();
    let scene = play(&node);
    let (router, _) = gateway(&node, "operator", GatewayLimits::default());
    let batch = batches(&node)[0];
    let uri = format!("/v1/receipts/{batch}");
    let roleless = Caller { roles: Default::default(), ..caller("operator") };
    let administrator = Caller { roles: [Role::Administrator].into(), ..caller("operator") };
    let before = [
        (caller("operator"), 200),
        (administrator, 200),
        (caller("maker"), 403),
        (device(1), 200),
        (device(2), 403),
        (roleless, 403),
    ];
    for (who, status) in &before {
        assert_eq!(get_as(&router, who, &uri).await.status, *status, "{}", who.describe());
    }
    // It was certified for the operator, which sells it.
    let given = json!({"owner": "maker"}).as_object().unwrap().clone().into_iter().collect();
    let sold = scene.registry.invocation("transfer", Some("D1"), &given).unwrap();
    node.accept(seed("operator"), Payload::Invoke(sold));
    for (who, status) in
        [(caller("operator"), 403), (caller("maker"), 200), (device(1), 200), (device(2), 403)]
    {
        assert_eq!(get_as(&router, &who, &uri).await.status, status, "{}", who.describe());
        let uri = format!("/v1/transactions/{batch}");
        let shown = get_as(&router, &who, &uri).await.json()["transaction"] != Value::Null;
        assert_eq!(shown, status == 200, "{}", who.describe());
    }
}

#[tokio::test]
async fn who_does_not_act_as_a_regulator_sees_nothing_as_one() {
    let node = Node::new();
    play(&node);
    let (router, _) = gateway(&node, "regulator", GatewayLimits::default());
    // The contract permits the regulator's member; its operator is no regulator.
    let operator = Caller {
        roles: [Role::Operator].into(),
        kinds: Default::default(),
        jurisdictions: hufu_door::Jurisdictions::None,
        ..caller("regulator")
    };
    for uri in [
        "/v1/contracts/device-registry/device/D1".to_owned(),
        format!("/v1/receipts/{}", batches(&node)[0]),
    ] {
        let reply = get_as(&router, &operator, &uri).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "not-permitted"), "{uri}");
        assert_eq!(get(&router, "regulator", &uri).await.status, 200, "{uri}");
    }
    // Governance is every member's.
    let deployed = node.block_at(1).transactions[0].id();
    for who in ["maker", "operator"] {
        let uri = format!("/v1/receipts/{deployed}");
        assert_eq!(get(&router, who, &uri).await.status, 200, "{who}");
    }
    assert_eq!(get_as(&router, &device(1), &format!("/v1/receipts/{deployed}")).await.status, 403);
}

/// Where a policy does not let somebody read an asset, it does not get it proved
/// either; what is proved is what the policy of the proved height permits.
#[tokio::test]
async fn what_is_proved_is_what_may_be_read() {
    let node = Node::new();
    play(&node);
    let (router, _) = gateway(&node, "operator", GatewayLimits::default());
    let accept = [("accept", "application/octet-stream")];
    let (registry, supervision) = ("device-registry/device", "operation-supervision/watch");
    let mut withheld = 0;
    for who in ["operator", "maker", "stranger"] {
        for (asset, there) in [
            (format!("{registry}/D1"), true),
            (format!("{registry}/D9"), false),
            (format!("{supervision}/W1"), true),
            (format!("{supervision}/W9"), false),
        ] {
            let uri = format!("/v1/contracts/{asset}");
            let read = get(&router, who, &uri).await.status;
            let proved = send(&router, who, "GET", &format!("{uri}/proof"), &accept, "").await;
            let expected = if there { read } else { 200 };
            assert_eq!(proved.status, expected, "{who} {asset}");
            withheld += usize::from(read == 403);
            if expected == 200 {
                let proof = StateProof::decode(&proved.body).unwrap();
                proof.verify(&node.genesis).unwrap();
                assert_eq!(proof.key, format!("asset/{asset}").into_bytes());
                assert_eq!(proof.value.is_some(), there, "{who} {asset}");
            }
        }
    }
    assert!(withheld > 0, "a policy withheld something");

    // Before it was registered, there was none; PEM unless the bytes are asked for.
    let uri = format!("/v1/contracts/{registry}/D1/proof?as_of=2");
    let before = send(&router, "maker", "GET", &uri, &accept, "").await;
    let before = StateProof::decode(&before.body).unwrap();
    before.verify(&node.genesis).unwrap();
    assert_eq!((before.value.is_none(), before.as_of().get()), (true, 2));
    let pem = get(&router, "maker", &uri).await;
    assert_eq!(pem.header("content-type"), "application/x-pem-file");
    assert!(pem.body.starts_with(b"-----BEGIN HUFU STATE PROOF-----\n"));
}
