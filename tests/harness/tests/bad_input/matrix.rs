//! Every route of every door by every kind of caller: who gets through is what
//! the route's own rule says, and nobody else does.
//!
//! Both come from the lists of routes that the doors route by: a new route is
//! asked here by everybody, and one under a rule that this test does not know
//! does not compile.

use std::fs;

use anyhow::{Context as _, ensure};
use hufu_door::{Route, Rule};
use hufu_harness::Consortium;
use hufu_harness::device::Device;
use hufu_harness::est::{Est, pem};
use hufu_harness::http::{Answer, Http, Identity};
use hufu_proof::Algorithm;

use crate::clients::{certified, unrecorded};
use crate::common::world;

/// What a caller is told before anything that it asks is looked at.
const IDENTITY: [&str; 9] = [
    "anonymous",
    "credential-missing",
    "certificate-refused",
    "certificate-unknown",
    "certificate-expired",
    "certificate-revoked",
    "not-a-regulator",
    "not-an-administrator",
    "not-permitted",
];

/// Kinds of caller.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    None,
    Foreign,
    Expired,
    Revoked,
    Unrecorded,
    /// A server's certificate, which is not for clients.
    Server,
    Device,
    Maker,
    Company,
    OthersAdministrator,
    /// Of a regulator, without the role.
    RegulatorsOperator,
    Regulator,
    Administrator,
}

/// What a caller is told at a route under `rule`; `None` when it gets through.
fn refusal(rule: Rule, kind: Kind) -> Option<&'static str> {
    let known = match kind {
        Kind::None => Some("anonymous"),
        Kind::Foreign | Kind::Server => Some("certificate-refused"),
        Kind::Expired => Some("certificate-expired"),
        Kind::Revoked => Some("certificate-revoked"),
        Kind::Unrecorded => Some("certificate-unknown"),
        _ => None,
    };
    match rule {
        Rule::Anyone => None,
        Rule::Credential if kind == Kind::None => Some("credential-missing"),
        Rule::Caller | Rule::Credential => known,
        Rule::Regulator => known.or((kind != Kind::Regulator).then_some("not-a-regulator")),
        Rule::Administrator => {
            known.or((kind != Kind::Administrator).then_some("not-an-administrator"))
        }
        // Not at a port of a node.
        Rule::OneTimeCode | Rule::Socket => Some("not-permitted"),
    }
}

/// A path of the pattern.
fn path(pattern: &str) -> String {
    let zeros = "0".repeat(64);
    pattern
        .replace("{height}", "1")
        .replace("{id}", &zeros)
        .replace("{transaction}", &zeros)
        .replace("{digest}", &zeros)
        .replace("{serial}", "77")
        .replace("{name}/{asset}/{key}", "device-registry/device/NONE")
        .replace("{contract}/{stream}", "operation-supervision/reading")
        .replace("{label}", "idevid")
        .replace("{*request}", "AAAA")
        .replace("{*path}", "v1/none")
}

/// The code of an answer, in whichever form it has.
fn code(answer: &Answer) -> String {
    let document = answer.json().ok();
    let code = document.and_then(|document| document["code"].as_str().map(str::to_owned));
    let line = || answer.text().split(':').next().unwrap_or_default().to_owned();
    code.unwrap_or_else(line)
}

fn ask(http: &Http, url: &str, route: &Route) -> anyhow::Result<Answer> {
    match route.method {
        "GET" => http.get(url),
        _ => {
            let kind = match route.path.contains("/.well-known/est/") {
                true => "application/pkcs10",
                false => "application/json",
            };
            http.post(url, kind, b"{}")
        }
    }
}

fn callers(consortium: &Consortium) -> anyhow::Result<Vec<(Kind, Option<Identity>)>> {
    let key = rcgen::KeyPair::generate()?;
    let foreign = rcgen::CertificateParams::new(vec!["maker".to_owned()])?.self_signed(&key)?;
    let foreign =
        Identity { chain_pem: pem("CERTIFICATE", foreign.der()), key_pem: key.serialize_pem() };
    let (revoked, certificate) = certified(consortium, "matrix-revoked", "operator", "operator")?;
    let serial = certificate.serial()?;
    consortium.authority().run(&["cert", "revoke", &serial, "--reason", "superseded"])?;
    hufu_harness::job::life::agree(consortium)?;
    let client = |member: &str, role: &str| consortium.client(member, role).map(Some);
    let line = Http::tls(
        &consortium.root_pem()?,
        Some(&consortium.client("maker", "registration-authority")?),
    )?;
    let device = Device::new("MATRIX-1", Algorithm::EcdsaP256)?;
    let enrolled = Est::new(line, &consortium.authority().est_url())
        .enrol("idevid", &device.request()?)?
        .ok()
        .context("the device was not enrolled")?;
    let device =
        Identity { chain_pem: pem("CERTIFICATE", &enrolled.der), key_pem: device.key_pem() };
    hufu_harness::job::life::agree(consortium)?;
    let server = Device::new("matrix-server", Algorithm::EcdsaP256)?;
    let (csr, out) = (consortium.path("matrix-server.csr"), consortium.path("matrix-server.pem"));
    fs::write(&csr, pem("CERTIFICATE REQUEST", &server.client_request()?))?;
    let issued = consortium.issue("tls-server", "operator", &[], &csr, &out);
    let mut callers = vec![
        (Kind::None, None),
        (Kind::Foreign, Some(foreign)),
        (Kind::Expired, Some(unrecorded(consortium, "matrix-expired", "-1")?)),
        (Kind::Unrecorded, Some(unrecorded(consortium, "matrix-unrecorded", "1")?)),
        (Kind::Revoked, Some(revoked)),
        (Kind::Device, Some(device)),
        (Kind::Maker, client("maker", "registration-authority")?),
        (Kind::Company, client("operator", "operator")?),
        (Kind::OthersAdministrator, client("maker", "administrator")?),
        (Kind::RegulatorsOperator, client("regulator", "operator")?),
        (Kind::Regulator, client("regulator", "regulator")?),
        (Kind::Administrator, client("operator", "administrator")?),
    ];
    if issued.is_ok() {
        let chain_pem = fs::read_to_string(out)?;
        callers.push((Kind::Server, Some(Identity { chain_pem, key_pem: server.key_pem() })));
    }
    hufu_harness::job::life::agree(consortium)?;
    Ok(callers)
}

#[test]
fn every_route_is_for_whom_its_rule_says_and_for_nobody_else() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let (operator, authority) = (consortium.operator(), consortium.authority());
    let metrics = format!("http://{}", operator.addresses.metrics);
    let doors: [(&str, String, &[Route]); 3] = [
        ("gateway", operator.gateway_url(), hufu_gateway::ROUTES),
        (
            "administration",
            format!("{}/admin", operator.gateway_url()),
            hufu_service::admin::ROUTES,
        ),
        ("metrics", metrics, hufu_service::monitor::ROUTES),
    ];
    let _ = authority;
    let root = consortium.root_pem()?;
    let mut asked = 0;
    for (kind, identity) in callers(consortium)? {
        let http = Http::tls(&root, identity.as_ref())?;
        for (door, url, routes) in &doors {
            for route in *routes {
                let answer = ask(&http, &format!("{url}{}", path(route.path)), route)?;
                let what = format!("{} {} of {door} by {kind:?}", route.method, route.path);
                let (status, code) = (answer.status, code(&answer));
                match refusal(route.rule, kind) {
                    Some(wanted) => ensure!(
                        code == wanted && (status == 401 || status == 403),
                        "{what}: {status} `{code}` instead of `{wanted}`"
                    ),
                    None => ensure!(
                        !IDENTITY.contains(&code.as_str()) && status < 500,
                        "{what}: {status} `{code}`"
                    ),
                }
                asked += 1;
            }
        }
    }
    println!("{asked} questions");
    Ok(())
}
