//! The gateway: transactions, bundles, queries, reports.

use anyhow::Context as _;
use hufu_harness::http::Answer;
use hufu_harness::readings;
use hufu_proof::transaction::Payload;
use hufu_proof::{Transaction, codec};

use crate::common::{World, world};
use crate::{Expected, client, harmless, problem};

const BYTES: &str = "application/octet-stream";
const JSON: &str = "application/json";

/// A transaction of a device that would be accepted, and is not sent.
fn good(world: &World) -> anyhow::Result<Transaction> {
    let device = &world.fleet.simulated[0];
    let rows = hufu_harness::job::record::piece(&world.readings, 0);
    let batch = readings::batch(&rows, device.sequence.next())?;
    device.sign_payload(world.gateway.chain, world.gateway.expiry()?, Payload::Append(batch))
}

#[test]
fn a_bad_transaction_is_told_what_is_wrong_with_it() -> anyhow::Result<()> {
    let world = world()?;
    let transaction = good(&world)?;
    let bytes = codec::encode(&transaction);
    let json = serde_json::to_value(&transaction)?;
    let mut unknown = json.clone();
    unknown["extra"] = 1.into();
    let mut mistyped = json.clone();
    mistyped["body"]["nonce"] = "one".into();
    let mut signature = transaction.clone();
    signature.body.nonce ^= 1;
    let text = |value: &serde_json::Value| value.to_string().into_bytes();
    let longer = [bytes.as_slice(), &[0]].concat();
    let bundle = |all: &[&Transaction]| codec::encode(&all);
    let malformed = "request-malformed";
    harmless(&world, |consortium| {
        let http = client(consortium, "maker", "operator")?;
        let one = format!("{}/v1/transactions", consortium.operator().gateway_url());
        let many = format!("{one}/bundle");
        let cases: Vec<(&str, &str, &str, Vec<u8>, Expected)> = vec![
            ("nothing", &one, BYTES, vec![], (400, malformed, "transaction")),
            (
                "half",
                &one,
                BYTES,
                bytes[..bytes.len() / 2].to_vec(),
                (400, malformed, "transaction"),
            ),
            ("a byte more", &one, BYTES, longer, (400, malformed, "transaction")),
            ("a large count", &one, BYTES, vec![0xff; 200], (400, malformed, "transaction")),
            (
                "oversized",
                &one,
                BYTES,
                vec![0; codec::MAX_TRANSACTION + 1],
                (413, "request-too-large", "524288"),
            ),
            ("text", &one, "text/plain", bytes.clone(), (415, "media-type", BYTES)),
            ("not JSON", &one, JSON, bytes.clone(), (400, malformed, "line 1")),
            ("half JSON", &one, JSON, text(&json)[..40].to_vec(), (400, malformed, "line 1")),
            ("an unknown member", &one, JSON, text(&unknown), (400, malformed, "extra")),
            ("of another type", &one, JSON, text(&mistyped), (400, malformed, "line 1")),
            (
                "altered",
                &one,
                BYTES,
                codec::encode(&signature),
                (422, "transaction-refused", "signature"),
            ),
            ("no bundle", &many, BYTES, b"no".to_vec(), (400, malformed, "bundle")),
            (
                "a bundle of too many",
                &many,
                BYTES,
                b"nonsense".to_vec(),
                (413, "request-too-large", "at most 1024"),
            ),
            (
                "half a bundle",
                &many,
                BYTES,
                bundle(&[&transaction])[..50].to_vec(),
                (400, malformed, "bundle[0]"),
            ),
            (
                "an oversized bundle",
                &many,
                BYTES,
                vec![0; 2 * 1024 * 1024 + 1],
                (413, "request-too-large", "bytes"),
            ),
            ("a bundle of text", &many, "text/plain", bundle(&[]), (415, "media-type", BYTES)),
        ];
        for (what, url, kind, body, expected) in cases {
            problem(what, &http.post(url, kind, &body)?, expected)?;
        }
        Ok(())
    })?;
    // Nothing of it was taken in: the good one is still good, once.
    let submitted = world.gateway.submit(&transaction)?;
    assert!(submitted.is_accepted(), "{}", submitted.answer);
    drop(world);
    let device = &mut crate::common::world()?.fleet.simulated[0];
    device.sequence = device.sequence.next();
    Ok(())
}

#[test]
fn a_bad_question_is_told_what_is_wrong_with_it() -> anyhow::Result<()> {
    let world = world()?;
    harmless(&world, |consortium| {
        let http = client(consortium, "regulator", "regulator")?;
        let url = |path: &str| format!("{}{path}", consortium.regulator().gateway_url());
        let post = |path: &str, body: &str| http.post(&url(path), JSON, body.as_bytes());
        let malformed = "request-malformed";
        let cases: Vec<(&str, Answer, Expected)> = vec![
            ("half", post("/v1/query", "{\"sql\":")?, (400, malformed, "line 1")),
            ("no SQL", post("/v1/query", "{}")?, (400, malformed, "sql")),
            ("a number", post("/v1/query", "{\"sql\":5}")?, (400, malformed, "line 1")),
            (
                "unknown",
                post("/v1/query", "{\"sql\":\"SELECT 1\",\"x\":1}")?,
                (400, malformed, "`x`"),
            ),
            (
                "too long",
                post("/v1/query", &" ".repeat(256 * 1024 + 1))?,
                (413, "request-too-large", "262144"),
            ),
            (
                "text",
                http.post(&url("/v1/query"), "text/plain", b"SELECT 1")?,
                (415, "media-type", JSON),
            ),
            (
                "a change",
                post("/v1/query", "{\"sql\":\"DELETE FROM ledger.members\"}")?,
                (422, "query-refused", "SELECT"),
            ),
            (
                "two",
                post("/v1/query", "{\"sql\":\"SELECT 1; SELECT 2\"}")?,
                (422, "query-refused", ""),
            ),
            (
                "no table",
                post("/v1/query", "{\"sql\":\"SELECT * FROM nothing\"}")?,
                (422, "query-refused", "nothing"),
            ),
            (
                "not SQL",
                post("/v1/query", "{\"sql\":\"SELEKT\"}")?,
                (422, "query-refused", "SELECT"),
            ),
            (
                "the future",
                post("/v1/query", "{\"sql\":\"SELECT 1\",\"as_of\":4000000000}")?,
                (404, "not-found", "4000000000"),
            ),
            (
                "without end",
                post(
                    "/v1/query",
                    "{\"sql\":\"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                     SELECT i FROM n\"}",
                )?,
                (422, "query-refused", "recursive"),
            ),
            ("no control set", post("/v1/reports", "{}")?, (400, malformed, "control_set")),
            (
                "an unknown set",
                post("/v1/reports", "{\"control_set\":\"operation-supervision/none\"}")?,
                (400, malformed, "operation-baseline"),
            ),
            (
                "an unknown contract",
                post("/v1/reports", "{\"control_set\":\"nothing/none\"}")?,
                (400, malformed, "nothing"),
            ),
            (
                "an unknown format",
                post(
                    "/v1/reports",
                    "{\"control_set\":\"operation-supervision/operation-baseline\",\
                     \"format\":\"xls\"}",
                )?,
                (400, malformed, "xls"),
            ),
            (
                "an unknown parameter",
                post(
                    "/v1/reports",
                    "{\"control_set\":\"operation-supervision/operation-baseline\",\
                     \"parameters\":{\"over-limit\":{\"colour\":\"red\"}}}",
                )?,
                (400, malformed, "parameters.over-limit.colour"),
            ),
            (
                "a report of the future",
                post(
                    "/v1/reports",
                    "{\"control_set\":\"operation-supervision/operation-baseline\",\
                     \"as_of\":4000000000}",
                )?,
                (404, "not-found", "4000000000"),
            ),
            ("no height", http.get(&url("/v1/blocks/-1"))?, (400, malformed, "height")),
            ("no block", http.get(&url("/v1/blocks/4000000000"))?, (404, "not-found", "block")),
            ("no identifier", http.get(&url("/v1/receipts/zz"))?, (400, malformed, "id")),
            (
                "no transaction",
                http.get(&url(&format!("/v1/transactions/{}", "0".repeat(64))))?,
                (404, "not-found", "transaction"),
            ),
            (
                "no contract",
                http.get(&url("/v1/contracts/nothing/device/D"))?,
                (404, "not-found", "contract"),
            ),
            (
                "no name",
                http.get(&url("/v1/contracts/No%20Name/device/D"))?,
                (400, malformed, "name"),
            ),
            (
                "no asset",
                http.get(&url("/v1/contracts/device-registry/device/nothing"))?,
                (404, "not-found", "asset"),
            ),
            (
                "a long key",
                http.get(&url(&format!(
                    "/v1/contracts/device-registry/device/{}",
                    "k".repeat(129)
                )))?,
                (400, malformed, "key"),
            ),
            (
                "not a height",
                http.get(&url("/v1/contracts/device-registry/device/SIM-001?as_of=now"))?,
                (400, malformed, "as_of"),
            ),
            (
                "not an identity",
                http.get(&url("/v1/streams/operation-supervision/reading?identity=me"))?,
                (400, malformed, "identity"),
            ),
            ("no path", http.get(&url("/v2/status"))?, (404, "not-found", "/openapi.json")),
            ("no method", http.get(&url("/v1/query"))?, (405, "method", "/openapi.json")),
        ];
        for (what, answer, expected) in cases {
            problem(what, &answer, expected)?;
        }
        Ok(())
    })
}

#[test]
fn a_refused_transaction_is_told_why_and_recorded_without_effect() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let device = &world.fleet.simulated[2].id;
    let owner = || -> anyhow::Result<String> {
        let sql = format!("SELECT owner FROM device_registry.device WHERE device_id = '{device}'");
        let answer = consortium.regulator().json(&["query", &sql])?;
        Ok(answer["rows"][0][0].as_str().context("an owner")?.to_owned())
    };
    assert_eq!(owner()?, "operator");
    // The maker made it, and sold it: it is not the maker's to hand on. The
    // regulator is nobody's owner. Nobody registers what is registered.
    let identity = world.fleet.simulated[2].certificate.as_ref().context("enrolled")?.identity()?;
    let identity = format!("identity={identity}");
    for (member, action, params, reason) in [
        (consortium.maker(), "transfer", vec!["owner=maker"], "policy"),
        (consortium.regulator(), "revoke", vec!["reason=because"], "policy"),
        (consortium.operator(), "transfer", vec!["owner=regulator"], "policy"),
        (consortium.operator(), "resume", vec![], "wrong-state"),
        (
            consortium.maker(),
            "register",
            vec![identity.as_str(), "owner=operator", "model=pump-7"],
            "asset-exists",
        ),
    ] {
        let mut arguments =
            vec!["ledger", "invoke", "--contract", "device-registry", "--action", action];
        arguments.extend(["--asset", device]);
        for param in &params {
            arguments.extend(["--param", param]);
        }
        let answer = hufu_harness::process::run(&mut member.hufu(&arguments))?;
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert_eq!(answer.status.code(), Some(1), "{action}: {said}");
        assert!(said.contains(reason), "{action}: not `{reason}`: {said}");
    }
    assert_eq!(owner()?, "operator");
    // What is not of the contract is not even sent.
    harmless(&world, |consortium| {
        for (action, param, words) in [
            ("nonsense", "owner=maker", "nonsense"),
            ("transfer", "colour=red", "colour"),
            ("transfer", "owner=No Name", "owner"),
        ] {
            let answer = hufu_harness::process::run(&mut consortium.operator().hufu(&[
                "ledger",
                "invoke",
                "--contract",
                "device-registry",
                "--action",
                action,
                "--asset",
                device,
                "--param",
                param,
            ]))?;
            assert_eq!(answer.status.code(), Some(1), "{action}: {}", answer.stderr);
            assert!(answer.stderr.contains(words), "{action}: {}", answer.stderr);
        }
        Ok(())
    })
}
