//! Setup and work, as operators and devices go through them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hufu_harness::consortium::Consortium;
use hufu_harness::inspect::text;
use hufu_harness::job::{Fleet, enrol, record, report};
use hufu_harness::member::{Addresses, ROLES};
use hufu_harness::process::{self, Answer, wait_for};
use hufu_harness::{Gateway, Member, Settings, binaries, ports, readings};
use serde_json::Value;

use super::{Arguments, console};

/// Where the image listens.
const NETWORK: u16 = 7100;
const GATEWAY: u16 = 8444;

/// How long the image may take for a step, under emulation.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// The consortium with the image in it.
pub struct Site {
    /// The consortium.
    pub consortium: Consortium,
    /// At the plant operator's workstation, as its administrator.
    pub administrator: Member,
    /// The program of a workstation.
    pub hufu: PathBuf,
}

impl Site {
    /// What the image says of itself, over its gateway.
    pub fn status(&self) -> anyhow::Result<Value> {
        self.administrator.json(&["status"])
    }

    /// The image's gateway, for a client of `member`.
    pub fn gateway(&self, member: &str, role: &str) -> anyhow::Result<Gateway> {
        self.consortium.gateway("operator", member, role)
    }
}

/// From what the console shows to an operational validator.
pub fn set_up(arguments: &Arguments) -> anyhow::Result<Site> {
    let hufu = match &arguments.hufu {
        Some(path) => path.clone(),
        None => binaries::beside("hufu")?,
    };
    fs::create_dir_all(&arguments.dir)?;
    let file = arguments.dir.join("addresses.json");
    fs::write(&file, serde_json::to_vec_pretty(&addresses(arguments)?)?)?;
    let mut consortium = Consortium::prepare(Settings {
        directory: arguments.dir.clone(),
        hufu: hufu.clone(),
        remove: false,
        tpm_devices: 1,
    })?;
    consortium.make_tpms()?;

    let operator = consortium.operator().clone();
    let config = operator.directory.join("image.toml");
    fs::write(&config, image_configuration(&operator, arguments)?)?;
    let out = operator.data("");
    fs::create_dir_all(&out)?;
    let setup = |more: &[&str]| setup(&hufu, arguments, &[&["--out", text(&out)?], more].concat());
    let witnesses = ["--witness", "Li Wei", "--witness", "Ana Silva"];
    setup(&[&["--config", text(&config)?], &witnesses[..]].concat())?;
    println!("the image has held its ceremony");
    // Where the harness looks whether it was held.
    ensure!(out.join("join.json").exists(), "setup wrote no join.json");
    if !out.join("transcript.json").exists() {
        fs::copy(out.join("transcript.txt"), out.join("transcript.json"))?;
    }
    consortium.hold_ceremonies()?;
    consortium.found()?;
    setup(&["--genesis", text(&consortium.genesis_path())?])?;
    let here = ["authority", "regulator", "maker"];
    for name in here {
        consortium.start(name)?;
    }
    for name in here {
        consortium.wait_until_up(name)?;
    }
    println!("the image has the genesis file; three validators run beside it");

    for name in ["authority", "regulator", "maker", "operator"] {
        let member = consortium.member(name)?;
        let (csr, chain) = (member.data("tls.csr"), member.directory.join("tls.pem"));
        consortium.certify(name, &csr, &chain)?;
        if here.contains(&name) {
            member.run(&["cert", "install", "--chain", text(&chain)?])?;
        } else {
            setup(&["--chain", text(&chain)?])?;
        }
    }
    for name in here {
        consortium.wait_until_ready(name)?;
    }
    let administrator = administrator(&mut consortium)?;
    let site = Site { consortium, administrator, hufu };
    wait_for("the image to be operational", PATIENCE, || {
        let status = site.status()?;
        ensure!(status["machine"]["state"] == "operational", "it says {status}");
        agrees(&site).map(drop)
    })?;
    println!("the image is operational, as the fourth validator");
    if !arguments.time.is_empty() {
        wait_for("the image to have the time", PATIENCE, || {
            let status = site.status()?;
            ensure!(!status["reasons"].to_string().contains("no time server"), "{status}");
            Ok(())
        })?;
        println!("the image's clock is set by the time server here");
    }
    Ok(site)
}

/// `hufu setup`, with what the image's console shows.
pub fn setup(hufu: &Path, arguments: &Arguments, more: &[&str]) -> anyhow::Result<Answer> {
    let mut command = Command::new(hufu);
    command.args(["--json", "setup", "--appliance", &arguments.setup.to_string()]);
    command.args(["--fingerprint", &console::last(&arguments.console, "Fingerprint:")?]);
    command.args(["--code", &console::last(&arguments.console, "Code:")?]);
    process::run(command.args(more))?.success()
}

/// Free ports for those on this machine, the image's own for the operator.
fn addresses(arguments: &Arguments) -> anyhow::Result<Vec<Addresses>> {
    let free = ports::free(ROLES.len() * Addresses::COUNT)?;
    Ok(ROLES
        .iter()
        .zip(free.chunks_exact(Addresses::COUNT))
        .map(|(role, ports)| {
            let image = role.name == "operator";
            Addresses {
                network: if image { arguments.network } else { ports[0] },
                gateway: if image { arguments.gateway } else { ports[1] },
                metrics: ports[2],
                est: ports[3],
                status: ports[4],
            }
        })
        .collect())
}

/// The operator's configuration as the image needs it: its own places, and the
/// others as it reaches them.
fn image_configuration(operator: &Member, arguments: &Arguments) -> anyhow::Result<String> {
    let written = fs::read_to_string(operator.config()).context("the operator's configuration")?;
    let mut moved = String::new();
    for line in written.lines() {
        let line = match line.split(" = ").next() {
            Some("data") => "data = \"/var/lib/hufu/data\"".to_owned(),
            Some("genesis") => "genesis = \"/var/lib/hufu/genesis.json\"".to_owned(),
            Some("listen") => format!("listen = \"0.0.0.0:{NETWORK}\""),
            Some("gateway") => format!("gateway = \"0.0.0.0:{GATEWAY}\""),
            Some("metrics") => continue,
            Some("peers") => line.replace("127.0.0.1", &arguments.host.to_string()),
            _ => line.to_owned(),
        };
        moved += &line;
        moved.push('\n');
    }
    if let [server, certificate] = &arguments.time[..] {
        let certificate = fs::read_to_string(certificate).context("the time server's")?;
        moved += &format!(
            "[time]\nservers = [\"{server}\"]\nauthorities = \"\"\"\n{certificate}\"\"\"\n"
        );
    }
    Ok(moved)
}

/// A workstation from which the operator's administrator works; the harness
/// uses it for whatever the operator does.
fn administrator(consortium: &mut Consortium) -> anyhow::Result<Member> {
    let operator = consortium.operator();
    let url = operator.gateway_url();
    let directory = consortium.path("operator-workstation");
    let workstation = operator.workstation(directory)?;
    workstation.run(&["init", "--so-pin-fd", "4"])?;
    let (csr, chain) = (workstation.data("tls.csr"), workstation.data("tls.pem"));
    let roles = ["--role", "administrator", "--role", "operator"];
    consortium.issue("operator-client", "operator", &roles, &csr, &chain)?;
    let workstation = workstation.of_appliance(&url);
    let place = consortium.members.iter_mut().find(|member| member.name() == "operator");
    *place.context("there is an operator")? = workstation.clone();
    Ok(workstation)
}

/// Waits until the image and the authority say the same state root of one
/// height.
pub fn agrees(site: &Site) -> anyhow::Result<u64> {
    let ledger = |status: Value| {
        let ledger = &status["ledger"];
        ledger["height"].as_u64().zip(ledger["state_root"].as_str().map(str::to_owned))
    };
    let mut roots = std::collections::BTreeMap::new();
    wait_for("the image to agree with the authority", PATIENCE, || {
        let others = site.consortium.authority().json(&["status"])?;
        let own = site.status()?;
        for (whose, status) in [("authority", others), ("image", own)] {
            let (height, root) = ledger(status).context("no state root")?;
            roots.entry(height).or_insert_with(std::collections::BTreeMap::new).insert(whose, root);
        }
        let met = roots.iter().rev().find(|(_, said)| said.len() == 2);
        let (height, said) = met.context("they have not been seen at one height")?;
        ensure!(said["authority"] == said["image"], "a fork at height {height}: {said:?}");
        Ok(*height)
    })
}

/// A device enrols over EST from here, readings are recorded through the image,
/// and a report is pulled from it and verified.
pub fn work(site: &mut Site) -> anyhow::Result<Fleet> {
    let consortium = &site.consortium;
    consortium.deploy_contracts()?;
    let mut fleet = enrol::assemble(consortium, 3)?;
    enrol::simulated(&consortium.est()?, &mut fleet, |_| ())?;
    enrol::attested(consortium, &fleet, |_| ())?;
    record::register(consortium, &fleet, |_| ())?;
    record::watch(consortium, &fleet, |_| ())?;
    let gateway = site.gateway("maker", "operator")?;
    // The image executes the height that has the client's certificate a moment
    // after the authority.
    wait_for("the image to know the maker's client", PATIENCE, || gateway.expiry())?;
    let rows = readings::recent()?;
    let recorded = record::simulated(&gateway, &mut fleet, &rows, |_| ())?;
    println!("{} readings were recorded through the image", recorded.rows);
    let height = agrees(site)?;
    let reports = report::pull(consortium, height)?;
    report::same_elsewhere(consortium, &reports, consortium.operator())?;
    let from_image = consortium.path("report.operator.html");
    let mut verify = Command::new(&site.hufu);
    verify.args(["verify", "--genesis"]).arg(consortium.genesis_path()).arg(from_image);
    process::run(&mut verify)?.success()?;
    println!("the regulator's report from the image verifies offline");
    Ok(fleet)
}
