//! The description and the router say the same: every documented path, method,
//! status and content type exists, and nothing else does.

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use hufu_door::Route;
use hufu_gateway::{CODES, GatewayLimits, OPENAPI, ROUTES};
use hufu_proof::{Payload, codec};
use serde_json::{Value, json};
use support::*;

/// What is read and what is sent at this door.
fn routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().chain(hufu_intake::ROUTES)
}

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// Method, path, status, content type, all that are documented.
fn documented() -> BTreeSet<(String, String, u16, String)> {
    let document = document();
    let mut all = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                for content in response["content"].as_object().unwrap().keys() {
                    let status = status.parse().unwrap();
                    all.insert((method.clone(), path.clone(), status, content.clone()));
                }
            }
        }
    }
    all
}

#[test]
fn routes_are_those_documented() {
    let document = document();
    let mut paths = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            paths.insert((method.to_uppercase(), path.as_str()));
        }
    }
    let routes = routes().map(|route| (route.method.to_owned(), route.path));
    assert_eq!(paths, routes.collect());
    let codes: BTreeSet<&str> = document["components"]["schemas"]["Problem"]["properties"]["code"]
        ["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|code| code.as_str().unwrap())
        .collect();
    assert_eq!(codes, CODES.iter().map(|code| code.as_str()).collect());
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let document = document();
    let mut used = BTreeSet::new();
    fn walk<'a>(value: &'a Value, used: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(to)) = members.get("$ref") {
                    used.insert(to.strip_prefix("#/components/schemas/").unwrap());
                }
                members.values().for_each(|member| walk(member, used));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, used)),
            _ => {}
        }
    }
    walk(&document, &mut used);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert_eq!(used, schemas.keys().map(String::as_str).collect());
}

/// One observed answer.
struct Seen {
    method: &'static str,
    path: &'static str,
    reply: Reply,
}

struct Talk {
    router: Router,
    seen: Vec<Seen>,
}

impl Talk {
    async fn ask(
        &mut self,
        member: &str,
        (method, path): (&'static str, &'static str),
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) {
        let upper = method.to_uppercase();
        let reply = send(&self.router, member, &upper, uri, headers, body).await;
        self.seen.push(Seen { method, path, reply });
    }
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const BINARY: &[(&str, &str)] = &[("content-type", "application/octet-stream")];

#[tokio::test]
async fn every_documented_answer_is_given_and_no_other() {
    let node = Node::new();
    let scene = play(&node);
    let limits = GatewayLimits { body: 4096, ..GatewayLimits::default() };
    let (router, _) = gateway(&node, "regulator", limits);
    let (full, _) = gateway_with(&node, "regulator", limits, workers(0));
    let mut talk = Talk { router, seen: Vec::new() };
    let recorded = node.block_at(6).transactions[0].clone();
    let id = recorded.id();
    let missing = hufu_proof::Digest([0; 32]);
    let mode = |mode: u8| node.mode.store(mode, Ordering::Relaxed);

    // Everybody is known, but for the description.
    for Route { method, path, .. } in routes() {
        let uri = path.replace("{height}", "1").replace("{id}", &id.to_string());
        let uri = uri.replace("{name}/{asset}/{key}", "device-registry/device/D1");
        let uri = uri.replace("{contract}/{stream}", "operation-supervision/reading");
        let uri = uri.replace("{level}", "0").replace("{*tile}", "000.p/1");
        let lower = if *method == "GET" { "get" } else { "post" };
        talk.ask("", (lower, path), &uri, JSON, "{}").await;
        talk.ask(REFUSED, (lower, path), &uri, JSON, "{}").await;
        // Other methods are refused with the methods that there are.
        let other = if *method == "GET" { "DELETE" } else { "PUT" };
        let reply = send(&talk.router, "regulator", other, &uri, &[], Body::empty()).await;
        assert_eq!((reply.status, reply.code().as_str()), (405, "method"), "{other} {uri}");
        assert!(reply.header("allow").contains(method));
    }
    let reply = get(&talk.router, "regulator", "/v1/nothing").await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "not-found"));

    let status = ("get", "/v1/status");
    talk.ask("maker", status, "/v1/status", &[], "").await;
    mode(STOPPED);
    talk.ask("maker", status, "/v1/status", &[], "").await;
    mode(WORKS);

    let block = ("get", "/v1/blocks/{height}");
    for height in ["0", "3", "999999", "-1", "+1", "01", "x", "18446744073709551616"] {
        talk.ask("maker", block, &format!("/v1/blocks/{height}"), &[], "").await;
    }

    let submit = ("post", "/v1/transactions");
    let approve = |height: u8| {
        let digest = hufu_proof::Digest([height; 32]);
        codec::encode(&node.sign(seed("maker"), Payload::Approve(digest)))
    };
    talk.ask("maker", submit, "/v1/transactions", BINARY, approve(1)).await;
    let given = [("high".to_owned(), json!("900")), ("low".to_owned(), json!("1"))].into();
    let adjust = scene.supervision.invocation("adjust", Some("W1"), &given).unwrap();
    let good = node.sign(seed("operator"), Payload::Invoke(adjust));
    talk.ask("operator", submit, "/v1/transactions", BINARY, codec::encode(&good)).await;
    talk.ask("maker", submit, "/v1/transactions", BINARY, "junk").await;
    talk.ask("maker", submit, "/v1/transactions", JSON, "{\"body\":1}").await;
    talk.ask("maker", submit, "/v1/transactions", &[("content-type", "text/plain")], "x").await;
    talk.ask("maker", submit, "/v1/transactions", &[], "x").await;
    talk.ask("maker", submit, "/v1/transactions", BINARY, vec![0; codec::MAX_TRANSACTION + 1])
        .await;
    for refused in [BUSY, PENDING, STOPPED, REFUSES] {
        mode(refused);
        talk.ask("maker", submit, "/v1/transactions", BINARY, approve(refused)).await;
    }
    mode(WORKS);

    let bundle = ("post", "/v1/transactions/bundle");
    let several = |count: usize| {
        let one = node.sign(seed("maker"), Payload::Approve(missing));
        vec![one; count]
    };
    let cut = codec::encode(&several(2));
    for body in [
        codec::encode(&several(2)),
        codec::encode(&several(0)),
        codec::encode(&several(hufu_intake::MAX_BUNDLE + 1)),
        cut[..cut.len() - 1].to_vec(),
        b"junk".to_vec(),
        Vec::new(),
        vec![0; hufu_intake::MAX_BUNDLE_BYTES + 1],
    ] {
        talk.ask("maker", bundle, "/v1/transactions/bundle", BINARY, body).await;
    }
    talk.ask("maker", bundle, "/v1/transactions/bundle", JSON, "[]").await;
    for refused in [BUSY, PENDING, STOPPED, REFUSES] {
        mode(refused);
        let body = codec::encode(&several(2));
        talk.ask("maker", bundle, "/v1/transactions/bundle", BINARY, body).await;
    }
    mode(WORKS);

    let stream = ("get", "/v1/streams/{contract}/{stream}");
    let nobodys = format!("operation-supervision/reading?identity={missing}");
    for (member, uri) in [
        ("maker", "operation-supervision/reading"),
        ("stranger", "operation-supervision/reading"),
        ("stranger", nobodys.as_str()),
        ("maker", "operation-supervision/reading?identity=x"),
        ("maker", "operation-supervision/reading?other=x"),
        ("maker", "operation-supervision/nothing"),
        ("maker", "nobody/reading"),
        ("maker", "Operation/reading"),
        ("maker", "operation-supervision/Reading"),
    ] {
        talk.ask_as(member, stream, &format!("/v1/streams/{uri}")).await;
    }

    for path in ["/v1/transactions/{id}", "/v1/receipts/{id}"] {
        for wanted in
            [id.to_string(), missing.to_string(), "xyz".into(), id.to_string().to_uppercase()]
        {
            talk.ask("regulator", ("get", path), &path.replace("{id}", &wanted), &[], "").await;
        }
    }
    let receipt = ("get", "/v1/receipts/{id}");
    let uri = format!("/v1/receipts/{id}");
    let accept = [("accept", "application/octet-stream")];
    talk.ask("regulator", receipt, &uri, &accept, "").await;
    talk.ask("regulator", receipt, &uri, &[("accept", "application/cose")], "").await;
    talk.ask("regulator", receipt, &format!("/v1/receipts/{}", good.id()), &[], "").await;
    // Of the last block, which no header commits to yet.
    let last = node.sign(seed("maker"), Payload::Approve(missing));
    node.submit_now(last.clone());
    talk.ask("regulator", receipt, &format!("/v1/receipts/{}", last.id()), &[], "").await;
    talk.ask("operator", receipt, &format!("/v1/receipts/{}", last.id()), &[], "").await;

    talk.ask("maker", ("get", "/v1/contracts"), "/v1/contracts", &[], "").await;
    let asset = ("get", "/v1/contracts/{name}/{asset}/{key}");
    for (member, uri) in [
        ("maker", "device-registry/device/D1"),
        ("maker", "device-registry/device/D1?as_of=6"),
        ("maker", "device-registry/device/D1?as_of=1"),
        ("maker", "device-registry/device/D1?as_of=999999"),
        ("maker", "device-registry/device/D1?as_of=18446744073709551615"),
        ("maker", "device-registry/device/D1?as_of=x"),
        ("maker", "device-registry/device/D1?as=6"),
        ("maker", "device-registry/device/D9"),
        ("maker", "nobody/device/D1"),
        ("maker", "Device/device/D1"),
        ("stranger", "device-registry/device/D1"),
    ] {
        talk.ask_as(member, asset, &format!("/v1/contracts/{uri}")).await;
    }

    let checkpoint = ("get", "/v1/log/checkpoint");
    mode(STOPPED);
    talk.ask("", checkpoint, "/v1/log/checkpoint", &[], "").await;
    mode(WORKS);
    for path in ["/v1/log/tile/{level}/{*tile}", "/v1/log/tile/entries/{*tile}"] {
        for tile in ["000.p/1", "000", "0"] {
            let uri = path.replace("{level}", "0").replace("{*tile}", tile);
            talk.ask("maker", ("get", path), &uri, &[], "").await;
        }
    }

    let proof = ("get", "/v1/contracts/{name}/{asset}/{key}/proof");
    let of = |uri: &str| format!("/v1/contracts/device-registry/{uri}");
    talk.ask("maker", proof, &of("device/D1/proof"), &accept, "").await;
    for uri in [
        "device/D1/proof",
        "device/D9/proof?as_of=6",
        "device/D1/proof?as_of=999999",
        "device/D1/proof?as_of=x",
        "Device/D1/proof",
        "nothing/D1/proof",
    ] {
        talk.ask_as("maker", proof, &of(uri)).await;
    }
    talk.ask_as("stranger", proof, &of("device/D1/proof")).await;
    // Executed, and no header commits to it yet.
    let newest = of(&format!("device/D1/proof?as_of={}", node.height()));
    talk.ask_as("maker", proof, &newest).await;

    // A regulator's looks, and that they cannot be recorded.
    talk.ask_as("regulator", proof, &of("device/D1/proof")).await;
    talk.ask_as("regulator", asset, "/v1/contracts/device-registry/device/D1").await;
    mode(BUSY);
    talk.ask_as("regulator", asset, "/v1/contracts/device-registry/device/D1").await;
    talk.ask_as("regulator", proof, &of("device/D1/proof")).await;
    talk.ask("regulator", receipt, &format!("/v1/receipts/{}", good.id()), &[], "").await;
    let uri = format!("/v1/transactions/{}", good.id());
    talk.ask("regulator", ("get", "/v1/transactions/{id}"), &uri, &[], "").await;
    mode(WORKS);

    let query = ("post", "/v1/query");
    for (member, body) in [
        (
            "regulator",
            json!({"sql": "SELECT :x AS x", "as_of": 3, "parameters": {"x": {"hex": "00ff"}}}),
        ),
        ("maker", json!({"sql": "SELECT 1"})),
        ("regulator", json!({"sql": "SELECT random()"})),
        ("regulator", json!({"sql": "SELECT 1", "as_of": 999_999})),
        ("regulator", json!({"sql": "SELECT 1", "parameters": {"x": 1.5}})),
        ("regulator", json!({"sql": "SELECT 1", "other": 1})),
        ("regulator", json!({"sql": "SELECT 1", "numbers": "text"})),
        ("regulator", json!({"sql": "SELECT 1", "numbers": "rounded"})),
        ("regulator", json!([])),
        ("regulator", json!({"sql": "x".repeat(5000)})),
    ] {
        talk.ask(member, query, "/v1/query", JSON, body.to_string()).await;
    }
    talk.ask("regulator", query, "/v1/query", &[], "{}").await;

    let report = ("post", "/v1/reports");
    let set = "operation-supervision/operation-baseline";
    let height = node.height();
    for (member, body) in [
        ("regulator", json!({"control_set": set})),
        ("regulator", json!({"control_set": set, "format": "html", "language": "zh"})),
        ("regulator", json!({"control_set": set, "format": "csv", "as_of": 5})),
        ("maker", json!({"control_set": set})),
        ("regulator", json!({"control_set": set, "format": "pdf"})),
        ("regulator", json!({"control_set": "x"})),
        ("regulator", json!({"control_set": "operation-supervision/other"})),
        ("regulator", json!({"control_set": "nobody/x"})),
        ("regulator", json!({"control_set": set, "parameters": {"other": {}}})),
        ("regulator", json!({"control_set": set, "parameters": {"over-limit": {"x": 1}}})),
        (
            "regulator",
            json!({"control_set": set, "parameters": {"over-limit": {"tolerance": "-1"}}}),
        ),
        ("regulator", json!({"control_set": set, "as_of": 999_999})),
        ("regulator", json!({"control_set": set, "jurisdiction": "x".repeat(5000)})),
    ] {
        talk.ask(member, report, "/v1/reports", JSON, body.to_string()).await;
    }
    talk.ask("regulator", report, "/v1/reports", &[], "{}").await;
    // The newest height: looks made blocks meanwhile, so it is asked for anew.
    assert!(node.height() > height);
    let newest = json!({"control_set": set, "as_of": node.height()});
    talk.ask("regulator", report, "/v1/reports", JSON, newest.to_string()).await;
    talk.router = full;
    talk.ask("regulator", query, "/v1/query", JSON, "{\"sql\":\"SELECT 1\"}").await;
    talk.ask("regulator", report, "/v1/reports", JSON, newest.to_string()).await;

    let documented = documented();
    let mut observed = BTreeSet::new();
    for Seen { method, path, reply } in &talk.seen {
        let content = reply.header("content-type").to_owned();
        if reply.status >= 400 {
            reply.code();
        }
        let one = ((*method).to_owned(), (*path).to_owned(), reply.status, content);
        assert!(
            documented.contains(&one),
            "undocumented: {one:?}: {}",
            String::from_utf8_lossy(&reply.body)
        );
        if reply.status == 503 || reply.status == 409 {
            assert!(reply.header("retry-after").parse::<u64>().unwrap() >= 1, "{one:?}");
        }
        check_schema(method, path, reply);
        observed.insert(one);
    }
    // No report is that large; everything else documented was seen.
    let too_large = |one: &&(String, String, u16, String)| {
        one.0 == "post" && one.1 == "/v1/reports" && one.2 == 422
    };
    let unseen: Vec<_> = documented.difference(&observed).filter(|one| !too_large(one)).collect();
    assert!(unseen.is_empty(), "documented, but not seen: {unseen:#?}");
}

impl Talk {
    async fn ask_as(&mut self, member: &str, route: (&'static str, &'static str), uri: &str) {
        self.ask(member, route, uri, &[], "").await;
    }
}

/// Checks required members and simple types of JSON answers.
fn check_schema(method: &str, path: &str, reply: &Reply) {
    let content = reply.header("content-type");
    if !content.contains("json") {
        return;
    }
    let document = document();
    let responses = &document["paths"][path][method]["responses"];
    let schema = &responses[reply.status.to_string()]["content"][content]["schema"];
    check(&document, schema, &reply.json(), path);
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(to) = schema["$ref"].as_str() {
        let name = to.rsplit('/').next().unwrap();
        return check(document, &document["components"]["schemas"][name], value, at);
    }
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{at}: the test knows no type {other}"),
    };
    match &schema["type"] {
        Value::String(kind) => assert!(is(kind), "{at}: {value} is not {kind}"),
        Value::Array(kinds) => {
            assert!(kinds.iter().any(|kind| is(kind.as_str().unwrap())), "{at}: {value}");
        }
        _ => {}
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{at}: {value} is none of {allowed:?}");
    }
    // Those alternatives are told apart by their type.
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = |choice: &&Value| choice["type"].as_str().is_some_and(is);
        let choice = choices.iter().find(fits);
        let choice = choice.unwrap_or_else(|| panic!("{at}: {value} is none of {choices:?}"));
        check(document, choice, value, at);
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{at}: no {required} in {value}");
    }
    if let (Some(properties), Some(members)) = (schema["properties"].as_object(), value.as_object())
    {
        for (name, member) in members {
            if let Some(schema) = properties.get(name) {
                check(document, schema, member, &format!("{at}/{name}"));
            }
        }
    }
    if let (Some(more), Some(members)) = (schema.get("additionalProperties"), value.as_object())
        && more.is_object()
    {
        for (name, member) in members {
            check(document, more, member, &format!("{at}/{name}"));
        }
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        values.iter().for_each(|value| check(document, items, value, at));
    }
}
