//! Every route of every door by every kind of caller: who gets through is what
//! the route's own rule says, and nobody else does.
//!
//! Both come from the lists of routes that the doors route by: a new route is
//! asked here by everybody, and one under a rule that this test does not know
//! does not compile.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hufu_door::{Route, Rule};
use hufu_harness::Consortium;
use hufu_harness::device::Device;
use hufu_harness::est::{Est, pem};
use hufu_harness::http::{Answer, Http, Identity};
use hufu_harness::inspect::text;
use hufu_harness::process::{self, wait_for};
use hufu_proof::Algorithm;
use hufu_service::doors::{self, Listed};

use crate::clients::{certified, unrecorded};
use crate::common::world;
use crate::impersonation::Request;

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

/// How long an approval may take to be possible.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kinds of caller.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    None,
    Foreign,
    Expired,
    Revoked,
    Unrecorded,
    /// A server of a member, which acts for nobody.
    Server,
    /// A member's node, which acts for it.
    Node,
    Device,
    Maker,
    Company,
    OthersAdministrator,
    /// Of a regulator, without the role.
    RegulatorsOperator,
    /// Of the whole consortium.
    Regulator,
    /// Of one jurisdiction, in which nothing here is.
    RegulatorElsewhere,
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
        // The signature of what is asked counts, and not who brings it.
        Rule::Anyone | Rule::Statement => None,
        Rule::Credential if kind == Kind::None => Some("credential-missing"),
        Rule::Caller | Rule::Credential => known,
        Rule::Regulator => {
            let supervises = matches!(kind, Kind::Regulator | Kind::RegulatorElsewhere);
            known.or((!supervises).then_some("not-a-regulator"))
        }
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
        .replace("{level}", "0")
        .replace("{*tile}", "000.p/1")
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
    let server = Request::new(consortium, "matrix-server", "DNS:localhost,IP:127.0.0.1")?;
    let node = Request::new(consortium, "matrix-node", "DNS:localhost,IP:127.0.0.1")?;
    consortium.approve("operator", &node.csr, &["operator"])?;
    let issue = |profile: &str, request: &Request| -> anyhow::Result<Option<Identity>> {
        let out = request.csr.with_extension("pem");
        consortium.issue(profile, "operator", &[], &request.csr, &out)?;
        let (chain_pem, key_pem) = (fs::read_to_string(out)?, fs::read_to_string(&request.key)?);
        Ok(Some(Identity { chain_pem, key_pem }))
    };
    let callers = vec![
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
        (Kind::Server, issue("tls-server", &server)?),
        (Kind::Node, issue("member-node", &node)?),
    ];
    hufu_harness::job::life::agree(consortium)?;
    Ok(callers)
}

/// Where a door of the list is, with all its routes.
struct Place {
    name: &'static str,
    url: String,
    routes: Vec<(&'static str, &'static Route)>,
}

/// Every door of a node, by its own list.
fn places(consortium: &Consortium) -> anyhow::Result<Vec<Place>> {
    let (operator, authority) = (consortium.operator(), consortium.authority());
    let mut places = Vec::new();
    for door in doors::ALL {
        let url = match door.name {
            "gateway" => operator.gateway_url(),
            "est" => authority.est_url(),
            "status" => authority.status_url(),
            "metrics" => operator.metrics_url(),
            // Nobody's certificate counts at a socket.
            "admin" => continue,
            other => bail!("nobody is asked at door `{other}`"),
        };
        places.push(Place { name: door.name, url, routes: routes(door) });
    }
    Ok(places)
}

fn routes(door: Listed) -> Vec<(&'static str, &'static Route)> {
    let part = |(prefix, routes): &(&'static str, &'static [Route])| {
        let prefix = *prefix;
        routes.iter().map(move |route| (prefix, route))
    };
    door.parts.iter().flat_map(part).collect()
}

/// Whoever may open the admin socket acts for the member, and gets through
/// everywhere; nobody but its owner may open it.
fn try_socket(consortium: &Consortium) -> anyhow::Result<usize> {
    let socket = consortium.operator().data("admin.sock");
    let mode = fs::metadata(&socket)?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "the admin socket is open to others: {mode:o}");
    let routes = routes(doors::ADMINISTRATION);
    for (prefix, route) in &routes {
        let url = format!("http://node{prefix}{}", path(route.path));
        let mut curl = Command::new("curl");
        curl.args(["-s", "--max-time", "60", "-o", "/dev/null", "--unix-socket", text(&socket)?]);
        curl.args(["-w", "%{http_code} %header{hufu-code}", &url]);
        if route.method == "POST" {
            curl.args(["-H", "Content-Type: application/json", "-d", "{}"]);
        }
        let said = process::run(&mut curl)?.success()?.stdout;
        let (status, code) = said.split_once(' ').context("curl said no status")?;
        ensure!(
            !IDENTITY.contains(&code.trim()) && ('2'..='4').contains(&first(status)?),
            "{} {url} at the socket: {said}",
            route.method
        );
    }
    Ok(routes.len())
}

fn first(text: &str) -> anyhow::Result<char> {
    text.chars().next().context("nothing was said")
}

/// Asks at every route as a caller of this kind.
fn try_all(
    root: &str,
    kind: Kind,
    identity: Option<&Identity>,
    places: &[Place],
) -> anyhow::Result<usize> {
    let http = Http::tls(root, identity)?;
    let mut asked = 0;
    for place in places {
        for (prefix, route) in &place.routes {
            let url = format!("{}{prefix}{}", place.url, path(route.path));
            let Answer { status, code, .. } = ask(&http, &url, route)?;
            let what = format!("{} {url} at {} by {kind:?}", route.method, place.name);
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
    Ok(asked)
}

/// Has the consortium narrow or widen what the regulator's member supervises.
fn supervises(consortium: &Consortium, jurisdiction: &str) -> anyhow::Result<()> {
    let change = ["org", "change", "regulator", "--jurisdiction", jurisdiction];
    let answer = consortium.authority().json(&change)?;
    let proposal = answer["proposal"].as_str().context("no proposal")?.to_owned();
    for member in consortium.members.iter().filter(|one| !one.is_authority()).take(2) {
        // It may not have reached the other nodes yet.
        wait_for("the approval", PATIENCE, || member.run(&["org", "approve", &proposal]))?;
    }
    for member in &consortium.members {
        wait_for("the regulator's jurisdictions", PATIENCE, || {
            let members = member.json(&["org", "members"])?;
            let all = members.as_array().context("no list of members")?;
            let regulator = all.iter().find(|one| one["name"] == "regulator");
            let found = &regulator.context("no regulator")?["jurisdictions"];
            ensure!(found.to_string().contains(jurisdiction), "{}: {found}", member.name());
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn every_route_is_for_whom_its_rule_says_and_for_nobody_else() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let (root, places) = (consortium.root_pem()?, places(consortium)?);
    let mut asked = 0;
    for (kind, identity) in callers(consortium)? {
        asked += try_all(&root, kind, identity.as_ref(), &places)?;
    }
    let regulator = consortium.client("regulator", "regulator")?;
    asked += try_socket(consortium)?;
    supervises(consortium, "elsewhere")?;
    let elsewhere = try_all(&root, Kind::RegulatorElsewhere, Some(&regulator), &places);
    supervises(consortium, "whole")?;
    asked += elsewhere?;
    println!("{asked} questions");
    Ok(())
}
