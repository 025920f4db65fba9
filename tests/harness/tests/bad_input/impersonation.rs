//! Nobody speaks in another member's name: host names, roles and device
//! identifiers of certificates are their owner's to give, whoever asks and at
//! whichever door.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hufu_harness::Consortium;
use hufu_harness::est::{Est, Refused, der_of_pem, pem};
use hufu_harness::http::{Http, Identity};
use hufu_harness::inspect::text;
use hufu_harness::process::{self, Answer, wait_for};
use hufu_proof::Algorithm;

use crate::common::world;
use crate::{client, harmless, problem};

const PATIENCE: Duration = Duration::from_secs(30);

/// A key, and a request of it for a server with these names: files.
pub struct Request {
    /// The key, PEM.
    pub key: PathBuf,
    /// The request, PEM.
    pub csr: PathBuf,
}

impl Request {
    /// Made by `openssl`; `names` as its subjectAltName.
    pub fn new(consortium: &Consortium, name: &str, names: &str) -> anyhow::Result<Self> {
        let directory = consortium.path("impersonation");
        fs::create_dir_all(&directory)?;
        let file = |ending: &str| directory.join(format!("{name}.{ending}"));
        let (key, csr) = (file("key"), file("csr"));
        let (key_text, csr_text) = (text(&key)?, text(&csr)?);
        let mut arguments = vec!["req", "-new", "-newkey", "ec", "-pkeyopt"];
        arguments.extend(["ec_paramgen_curve:P-256", "-noenc", "-keyout", key_text]);
        arguments.extend(["-subj", "/CN=a server", "-out", csr_text]);
        let extension = format!("subjectAltName={names}");
        if !names.is_empty() {
            arguments.extend(["-addext", &extension]);
        }
        process::run(Command::new("openssl").args(arguments))?.success()?;
        Ok(Self { key, csr })
    }

    fn der(&self) -> anyhow::Result<Vec<u8>> {
        Ok(der_of_pem(&fs::read_to_string(&self.csr)?)?.swap_remove(0))
    }
}

/// `hufu cert issue` at the authority.
fn issue(
    consortium: &Consortium,
    profile: &str,
    member: &str,
    roles: &[&str],
    csr: &Path,
) -> anyhow::Result<(Answer, PathBuf)> {
    let out = csr.with_extension("pem");
    let mut arguments = vec!["cert", "issue", "--profile", profile, "--member", member];
    arguments.extend(roles.iter().flat_map(|role| ["--role", role]));
    arguments.extend(["--csr", text(csr)?, "--out", text(&out)?]);
    Ok((process::run(&mut consortium.authority().hufu(&arguments))?, out))
}

fn refused(what: &str, answer: &Answer, words: &[&str]) {
    assert!(!answer.status.success(), "{what}: {}", answer.stdout);
    for word in words {
        assert!(answer.stderr.contains(word), "{what}: without `{word}`: {}", answer.stderr);
    }
}

fn refusal(what: &str, answer: Result<impl Sized, Refused>, words: &[&str]) -> anyhow::Result<()> {
    let refused = answer.err().with_context(|| format!("{what}: issued"))?;
    ensure!((400..500).contains(&refused.status), "{what}: {refused:?}");
    for word in words {
        ensure!(refused.reason.contains(word), "{what}: without `{word}`: {refused:?}");
    }
    Ok(())
}

fn est(consortium: &Consortium, member: &str, role: &str) -> anyhow::Result<Est> {
    Ok(Est::new(client(consortium, member, role)?, &consortium.authority().est_url()))
}

#[test]
fn a_host_name_is_certified_for_its_owner_alone() -> anyhow::Result<()> {
    let world = world()?;
    let (maker, operator) = (
        est(&world.consortium, "maker", "operator")?,
        est(&world.consortium, "operator", "operator")?,
    );
    let line = est(&world.consortium, "maker", "registration-authority")?;
    harmless(&world, |consortium| {
        for (name, names, words) in [
            ("foreign", "DNS:node.operator.example,IP:127.0.0.1", "belongs to member `operator`"),
            ("itself", "DNS:operator.example", "belongs to member `operator`"),
            ("nobodys", "DNS:node.maker.example", "belongs to no member"),
            ("address", "IP:192.0.2.7", "belongs to no member"),
            ("local", "IP:169.254.0.7", "belongs to no member"),
        ] {
            let request = Request::new(consortium, name, names)?;
            let words = ["foreign-name", words];
            refusal(name, maker.enrol("tls-server", &request.der()?)?, &words)?;
            for profile in ["tls-server", "member-node"] {
                let (answer, _) = issue(consortium, profile, "maker", &[], &request.csr)?;
                refused(name, &answer, &words);
            }
        }
        // A device's certificate speaks for no other member's host either.
        let csr = consortium.path("impersonation/device.csr");
        let request = Request::new(consortium, "device", "DNS:pump.operator.example")?;
        let key = text(&request.key)?.to_owned();
        let mut arguments = vec!["req", "-new", "-key", &key, "-subj", "/serialNumber=PUMP-X"];
        arguments.extend(["-addext", "subjectAltName=DNS:pump.operator.example"]);
        arguments.extend(["-out", text(&csr)?]);
        process::run(Command::new("openssl").args(arguments))?.success()?;
        let der = der_of_pem(&fs::read_to_string(&csr)?)?.swap_remove(0);
        refusal("a device", line.enrol("ldevid", &der)?, &["foreign-name"])
    })?;
    let own = Request::new(&world.consortium, "own", "DNS:node.operator.example,IP:127.0.0.1")?;
    assert!(operator.enrol("tls-server", &own.der()?)?.is_ok());
    Ok(())
}

/// A program that ends with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing can be done about one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_on_loopback_is_taken_for_its_own_member_alone() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let request = Request::new(consortium, "loopback", "IP:127.0.0.1,DNS:localhost")?;
    let (answer, chain) = issue(consortium, "tls-server", "maker", &[], &request.csr)?;
    answer.success()?;
    let port = hufu_harness::ports::free(1)?[0].port();
    let _server = Running(
        Command::new("openssl")
            .args(["s_server", "-www", "-tls1_3", "-accept", &format!("127.0.0.1:{port}")])
            .arg("-cert")
            .arg(&chain)
            .arg("-cert_chain")
            .arg(&chain)
            .arg("-key")
            .arg(&request.key)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let url = format!("https://127.0.0.1:{port}");
    wait_for("the server", PATIENCE, || {
        Ok(std::net::TcpStream::connect(("127.0.0.1", port)).map(drop)?)
    })?;
    let pull = |member: &[&str]| {
        let root = consortium.root_path();
        let out = consortium.path("impersonation/report.html");
        let run = ["report", "run", "--gateway", &url, "--ca", text(&root)?, "--control-set"];
        let rest = ["operation-baseline", "--out", text(&out)?];
        process::run(&mut consortium.regulator().hufu(&[&run[..], &rest, member].concat()))
    };
    // The regulator wants itself, or whom it names.
    refused("its own", &pull(&[])?, &["member `maker`'s", "member `regulator` was to be reached"]);
    refused("the operator", &pull(&["--member", "operator"])?, &["member `operator` was to be"]);
    let answer = pull(&["--member", "maker"])?;
    assert!(!answer.stderr.contains("was to be reached"), "{}", answer.stderr);
    Ok(())
}

#[test]
fn the_authority_makes_nobody_act_for_another_member() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let request = Request::new(consortium, "usurper", "")?;
    let roles = ["administrator"];
    let attempt = || issue(consortium, "operator-client", "maker", &roles, &request.csr);
    let maker = est(consortium, "maker", "operator")?;
    harmless(&world, |consortium| {
        let words = ["unapproved", "member `maker` has not approved", "hufu member approve --csr"];
        refused("an administrator of the maker", &attempt()?.0, &words);
        // Nor can anybody but the maker approve.
        for other in ["authority", "operator", "regulator"] {
            let list = consortium.member(other)?.json(&["member", "list"])?;
            ensure!(list["member"] == other, "{list}");
        }
        // An operator of the maker passes a role on to no key that the maker
        // has not approved.
        let directory = consortium.path("impersonation/passed-on.csr");
        let key = text(&request.key)?.to_owned();
        let urn = "subjectAltName=URI:urn:hufu:role:operator";
        let mut arguments = vec!["req", "-new", "-key", &key, "-subj", "/CN=passed on"];
        arguments.extend(["-addext", urn, "-out", text(&directory)?]);
        process::run(Command::new("openssl").args(arguments))?.success()?;
        let der = der_of_pem(&fs::read_to_string(&directory)?)?.swap_remove(0);
        refusal("passed on", maker.enrol("operator-client", &der)?, &["unapproved"])
    })?;

    consortium.approve("maker", &request.csr, &roles)?;
    let (answer, chain) = attempt()?;
    answer.success()?;
    let identity = Identity {
        chain_pem: fs::read_to_string(chain)?,
        key_pem: fs::read_to_string(&request.key)?,
    };
    let http = Http::tls(&consortium.root_pem()?, Some(&identity))?;
    let admin = format!("{}/admin/status", consortium.maker().gateway_url());
    http.get(&admin)?.success()?;
    // At another member's node it is nobody.
    let elsewhere = format!("{}/admin/status", consortium.operator().gateway_url());
    ensure!(http.get(&elsewhere)?.status == 403);
    // It goes as it came, on connections that are open, too.
    let list = consortium.maker().json(&["member", "list"])?;
    let approvals = list["approvals"].as_array().context("approvals")?;
    let approved = |one: &&serde_json::Value| {
        one["approval"]["roles"].as_array().is_some_and(|of| of.iter().any(|one| one == roles[0]))
    };
    let key = approvals.iter().find(approved).with_context(|| format!("{list}"))?["key"].clone();
    consortium.maker().run(&["member", "withdraw", key.as_str().context("a digest")?])?;
    let words = (403, "certificate-refused", "hufu member approve");
    problem("withdrawn", &http.get(&admin)?, words)?;
    // The same request gets the same certificate, which counts for nothing; a new
    // one is not made.
    let mut renewal = vec!["cert", "issue", "--renew", "--profile", "operator-client"];
    renewal.extend(["--member", "maker", "--role", roles[0], "--csr", text(&request.csr)?]);
    let out = consortium.path("impersonation/once-more.pem");
    renewal.extend(["--out", text(&out)?]);
    let answer = process::run(&mut consortium.authority().hufu(&renewal))?;
    refused("once more", &answer, &["unapproved"]);
    Ok(())
}

#[test]
fn what_a_member_delegates_ends_when_it_says_so() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let line = hufu_harness::device::Device::new("delegated", Algorithm::EcdsaP256)?;
    let directory = consortium.path("impersonation");
    fs::create_dir_all(&directory)?;
    let csr = directory.join("delegated.csr");
    fs::write(&csr, pem("CERTIFICATE REQUEST", &line.client_request()?))?;
    let role = ["registration-authority"];
    let attempt = || issue(consortium, "operator-client", "operator", &role, &csr);
    refused("before", &attempt()?.0, &["unapproved"]);
    consortium.operator().run(&["member", "delegate", "--role", role[0]])?;
    hufu_harness::job::life::agree(consortium)?;
    let (answer, chain) = attempt()?;
    answer.success()?;
    let identity = Identity { chain_pem: fs::read_to_string(chain)?, key_pem: line.key_pem() };
    let http = Http::tls(&consortium.root_pem()?, Some(&identity))?;
    let est = Est::new(http, &consortium.authority().est_url());
    let device = |id: &str| hufu_harness::device::Device::new(id, Algorithm::Ed25519)?.request();
    assert!(est.enrol("idevid", &device("DELEGATED-1")?)?.is_ok());
    consortium.operator().run(&["member", "delegate"])?;
    hufu_harness::job::life::agree(consortium)?;
    let words = ["has not approved the key", "hufu member approve"];
    refusal("after", est.enrol("idevid", &device("DELEGATED-2")?)?, &words)
}

#[test]
fn a_device_identifier_is_its_members_until_handed_over() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let (maker, operator) = (
        est(consortium, "maker", "registration-authority")?,
        est(consortium, "operator", "registration-authority")?,
    );
    let request = || hufu_harness::device::Device::new("SHARED-1", Algorithm::Ed25519)?.request();
    assert!(operator.enrol("idevid", &request()?)?.is_ok());
    harmless(&world, |_| refusal("the maker", maker.enrol("idevid", &request()?)?, &["SHARED-1"]))?;
    let hand_over = ["member", "hand-over", "--device", "SHARED-1", "--to", "maker"];
    let stolen = process::run(&mut consortium.maker().hufu(&hand_over))?;
    assert!(!stolen.status.success(), "{}", stolen.stdout);
    consortium.operator().run(&hand_over)?;
    hufu_harness::job::life::agree(consortium)?;
    assert!(maker.enrol("idevid", &request()?)?.is_ok());
    refusal("the former owner", operator.enrol("idevid", &request()?)?, &["SHARED-1"])
}

#[test]
fn status_and_queries_say_who_sees_what_and_who_may_act() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let members = consortium.maker().json(&["org", "members"])?;
    let find = |name: &str| {
        let all = members.as_array().cloned().unwrap_or_default();
        all.into_iter().find(|member| member["name"] == name).context("a member")
    };
    ensure!(find("regulator")?["jurisdictions"] == "whole", "{members}");
    ensure!(find("maker")?["jurisdictions"] == "none", "{members}");
    ensure!(find("operator")?["names"] == serde_json::json!(["operator.example"]), "{members}");
    let sql = "SELECT name, sees, names FROM ledger.members ORDER BY name";
    let rows = consortium.maker().json(&["query", sql])?["rows"].clone();
    ensure!(rows[1] == serde_json::json!(["maker", "none", "[]"]), "{rows}");
    ensure!(rows[3] == serde_json::json!(["regulator", "whole", "[]"]), "{rows}");
    Ok(())
}
