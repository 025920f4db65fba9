//! A machine that `hufu appliance run` owns: setup from what the console shows,
//! and what becomes of it afterwards.

mod common;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hufu_harness::appliance::{Appliance, Machine, Shown};
use hufu_harness::http::Http;
use hufu_harness::inspect::text;
use hufu_harness::job::{enrol, record};
use hufu_harness::process::{self, Answer, wait_for};
use hufu_harness::{Consortium, Member, operators as backup_operators, ports, readings};
use rustix::process::{Pid, Signal, kill_process};

const WITNESSES: [&str; 4] = ["--witness", "Li Wei", "--witness", "Ana Silva"];

/// How long a machine may take to come to itself, with others at work on this
/// one.
const PATIENCE: Duration = Duration::from_secs(180);

/// The authority and the plant operator on appliances, the two others as they
/// run nodes on machines of their own.
struct World {
    consortium: Consortium,
    _authority: Appliance,
    /// At the authority's workstation.
    administrator: Member,
    /// The operator's.
    machine: Option<Appliance>,
    /// What the console showed while setup was open.
    shown: Shown,
    config: PathBuf,
}

fn world() -> anyhow::Result<MutexGuard<'static, World>> {
    static WORLD: OnceLock<Result<Mutex<World>, String>> = OnceLock::new();
    let made = WORLD.get_or_init(|| set_up().map(Mutex::new).map_err(|error| format!("{error:#}")));
    match made {
        Ok(world) => Ok(world.lock().unwrap_or_else(PoisonError::into_inner)),
        Err(error) => anyhow::bail!("the appliance was not set up: {error}"),
    }
}

impl World {
    fn machine(&mut self) -> anyhow::Result<&mut Appliance> {
        self.machine.as_mut().context("the appliance is switched off")
    }

    /// Switches the appliance off, does `work`, and switches it on again.
    fn while_off(
        &mut self,
        arguments: &[&str],
        work: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<&mut Appliance> {
        let machine = self.machine.take().context("the appliance is switched off")?;
        let root = machine.root("");
        machine.switch_off()?;
        work(&root)?;
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self.machine = Some(self.consortium.start_appliance("operator", &Machine { arguments })?);
        self.machine()
    }
}

fn refused(what: &str, answer: &Answer, status: i32, words: &[&str]) {
    assert_eq!(answer.status.code(), Some(status), "{what}: {}{}", answer.stdout, answer.stderr);
    for word in words {
        assert!(answer.stderr.contains(word), "{what}: without `{word}`: {}", answer.stderr);
    }
}

/// A member's configuration, with the places of its appliance.
fn configuration(member: &Member, machine: &Appliance) -> anyhow::Result<PathBuf> {
    let content = fs::read_to_string(member.config())?;
    let mut moved = String::new();
    for line in content.lines() {
        moved += &match line.split(" = ").next() {
            Some("data") => format!("data = {:?}", machine.root("var/lib/hufu/data")),
            Some("genesis") => format!("genesis = {:?}", machine.root("var/lib/hufu/genesis.json")),
            _ => line.to_owned(),
        };
        moved.push('\n');
    }
    let path = member.directory.join("appliance.toml");
    fs::write(&path, moved)?;
    Ok(path)
}

/// The ceremony of `member` on its new machine. What the appliance keeps is from
/// then on where the harness looks for the member's things.
fn ceremony(member: &Member, machine: &mut Appliance) -> anyhow::Result<(Shown, PathBuf)> {
    machine.wait_for("Unprovisioned", "configuration and key ceremony")?;
    let shown = machine.shown()?;
    assert!(!machine.rules()?.contains("tcp dport"), "{}", machine.rules()?);
    let config = configuration(member, machine)?;
    let answer = machine.set_up(&shown, &[])?.success()?.json()?;
    assert_eq!(answer["missing"].as_array().map(Vec::len), Some(3), "{answer}");
    let arguments = [&["--config", text(&config)?], &WITNESSES[..]].concat();
    let answer = machine.set_up(&shown, &arguments)?.success()?.json()?;
    assert_eq!(answer["missing"][0], "genesis", "{answer}");
    let transcript = fs::read_to_string(machine.out("transcript.txt"))?;
    assert!(transcript.contains("Li Wei, Ana Silva"), "{transcript}");
    // The same again is the same; nothing is made twice.
    machine.set_up(&shown, &arguments)?.success()?;
    assert_eq!(fs::read_to_string(machine.out("transcript.txt"))?, transcript);
    machine.wait_for("Unprovisioned", "genesis file")?;
    std::os::unix::fs::symlink(machine.data(""), member.directory.join("data"))?;
    Ok((shown, config))
}

/// All of setup, as operators go through it.
fn set_up() -> anyhow::Result<World> {
    let mut consortium = Consortium::prepare(common::settings(1)?)?;
    consortium.make_tpms()?;
    let mut authority = consortium.start_appliance("authority", &Machine::default())?;
    let (authority_shown, _) = ceremony(consortium.authority(), &mut authority)?;
    let mut machine = consortium.start_appliance("operator", &Machine::default())?;
    let (shown, config) = ceremony(consortium.operator(), &mut machine)?;

    consortium.hold_ceremonies()?;
    consortium.found()?;
    refuse_other_consortia(&consortium, &machine, &shown)?;
    let genesis = text(&consortium.genesis_path())?.to_owned();
    for (machine, shown) in [(&authority, &authority_shown), (&machine, &shown)] {
        let answer = machine.set_up(shown, &["--genesis", &genesis])?.success()?.json()?;
        assert_eq!(answer["missing"][0], "certificate", "{answer}");
        machine.set_up(shown, &["--genesis", &genesis])?.success()?;
    }
    let others = ["regulator", "maker"];
    for name in others {
        consortium.start(name)?;
    }
    for name in others {
        consortium.wait_until_up(name)?;
    }
    machine.wait_for("Operational", "no TLS certificate")?;

    // The authority certifies itself and its first administrator, who certifies
    // the others.
    let administrator =
        consortium.authority().workstation(consortium.path("authority-workstation"))?;
    administrator.run(&["init", "--so-pin-fd", "4"])?;
    let request = administrator.data("tls.csr");
    // Elsewhere the first administrator's key is approved, for the authority to
    // certify.
    let operator = consortium.operator().workstation(consortium.path("operator-first"))?;
    operator.run(&["init", "--so-pin-fd", "4"])?;
    let first = operator.data("tls.csr");
    let answer = machine.set_up(&shown, &["--administrator", text(&first)?])?.success()?.json()?;
    assert_eq!(answer["done"], serde_json::json!(["administrator"]), "{answer}");
    assert!(!machine.out("administrator.pem").exists());
    let broken = consortium.genesis_path();
    let answer = authority.set_up(&authority_shown, &["--administrator", text(&broken)?])?;
    refused("no request", &answer, 1, &["PEM"]);
    authority.set_up(&authority_shown, &["--administrator", text(&request)?])?.success()?;
    fs::copy(authority.out("administrator.pem"), administrator.data("tls.pem"))?;
    closed(&authority, &authority_shown)?;
    for name in ["regulator", "maker", "operator"] {
        certify(&consortium, &administrator, name)?;
    }
    for name in others {
        let chain = consortium.member(name)?.directory.join("tls.pem");
        consortium.member(name)?.run(&["cert", "install", "--chain", text(&chain)?])?;
    }
    let foreign = consortium.maker().directory.join("tls.pem");
    let answer = machine.set_up(&shown, &["--chain", text(&foreign)?])?;
    refused("another's certificate", &answer, 1, &["not for the TLS key"]);
    let csr = consortium.operator().directory.join("not-approved.csr");
    let other = hufu_harness::device::Device::new("other", hufu_proof::Algorithm::EcdsaP256)?;
    let request = hufu_harness::est::pem("CERTIFICATE REQUEST", &other.client_request()?);
    fs::write(&csr, request)?;
    let url = consortium.authority().gateway_url();
    for (csr, certified) in [(&first, true), (&csr, false)] {
        let out = operator.data("tls.pem");
        let issue = ["--appliance", &url, "cert", "issue", "--profile", "operator-client"];
        let whom = ["--member", "operator", "--role", "administrator", "--csr", text(csr)?];
        let arguments = [&issue[..], &whom[..], &["--out", text(&out)?]].concat();
        let answer = process::run(&mut administrator.hufu(&arguments))?;
        if certified {
            answer.success()?;
        } else {
            refused("who was not approved", &answer, 1, &["hufu member approve --csr FILE"]);
        }
    }
    let chain = consortium.operator().directory.join("tls.pem");
    let answer = machine.set_up(&shown, &["--chain", text(&chain)?])?.success()?.json()?;
    assert_eq!(answer["missing"].as_array().map(Vec::len), Some(0), "{answer}");
    closed(&machine, &shown)?;
    for name in others {
        consortium.wait_until_ready(name)?;
    }
    operational(&mut authority)?;
    operational(&mut machine)?;
    let machine = Some(machine);
    Ok(World { consortium, _authority: authority, administrator, machine, shown, config })
}

/// Setup is over, for good.
fn closed(machine: &Appliance, shown: &Shown) -> anyhow::Result<()> {
    wait_for("the setup endpoint to close", PATIENCE, || {
        ensure!(!machine.block()?.join("\n").contains("Fingerprint"));
        Ok(())
    })?;
    refused("setup repeated", &machine.set_up(shown, &[])?, 3, &["does not answer"]);
    Ok(())
}

/// Certifies a member's node, from the authority's workstation.
fn certify(consortium: &Consortium, administrator: &Member, name: &str) -> anyhow::Result<()> {
    let member = consortium.member(name)?;
    let (csr, out) = (member.data("tls.csr"), member.directory.join("tls.pem"));
    let url = consortium.authority().gateway_url();
    let mut arguments = vec!["--appliance", &url, "cert", "issue", "--profile", "member-node"];
    arguments.extend(["--member", name, "--csr", text(&csr)?, "--out", text(&out)?]);
    administrator.run(&arguments)?;
    Ok(())
}

/// Waits until the machine does all that it is there for.
fn operational(machine: &mut Appliance) -> anyhow::Result<()> {
    wait_for("an operational machine without reasons", PATIENCE, || {
        let block = machine.block()?.join("\n");
        ensure!(block.contains("State:       Operational") && !block.contains("Why:"), "{block}");
        Ok(())
    })
}

fn refuse_other_consortia(
    consortium: &Consortium,
    machine: &Appliance,
    shown: &Shown,
) -> anyhow::Result<()> {
    let found = |name: &str, members: &[&str]| -> anyhow::Result<PathBuf> {
        let path = consortium.path(&format!("{name}.json"));
        let mut arguments = vec!["org", "found", "--consortium", name, "--approvals", "2"];
        arguments.extend(["--out", text(&path)?]);
        let joins: Vec<PathBuf> = members
            .iter()
            .map(|member| Ok(consortium.member(member)?.data("join.json")))
            .collect::<anyhow::Result<_>>()?;
        for join in &joins {
            arguments.push(text(join)?);
        }
        consortium.authority().run(&arguments)?;
        Ok(path)
    };
    let without = found("without", &["authority", "maker", "regulator"])?;
    let altered = consortium.path("altered.json");
    let good = fs::read_to_string(consortium.genesis_path())?;
    fs::write(&altered, good.replace("first-light", "second-light") + " ")?;
    let cut = consortium.path("cut.json");
    fs::write(&cut, &good[..good.len() / 2])?;
    // The same name with other keys.
    let stranger = consortium.path("stranger.json");
    let parsed = consortium.genesis()?;
    let keys = |name: &str| -> anyhow::Result<String> {
        let member = parsed.members.iter().find(|member| member.name.as_str() == name);
        Ok(serde_json::to_string(&member.context("a member")?.vote_key)?)
    };
    let swapped = good
        .replace(&keys("operator")?, "\"x\"")
        .replace(&keys("maker")?, &keys("operator")?)
        .replace("\"x\"", &keys("maker")?);
    fs::write(&stranger, swapped)?;
    for (what, path, words) in [
        ("a consortium without it", &without, "`operator` is not in the genesis file"),
        ("an altered file", &altered, "genesis file"),
        ("half a file", &cut, "genesis file"),
        ("its name with another's key", &stranger, "vote_key of member `operator`"),
    ] {
        let answer = machine.set_up(shown, &["--genesis", text(path)?])?;
        refused(what, &answer, 1, &[words]);
        assert!(!machine.root("var/lib/hufu/genesis.json").exists(), "{what}");
    }
    Ok(())
}

#[test]
fn a_member_on_an_appliance_validates_and_its_devices_record() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { consortium, machine, .. } = &mut *world;
    consortium.deploy_contracts()?;
    let mut fleet = enrol::assemble(consortium, 2)?;
    enrol::simulated(&consortium.est()?, &mut fleet, |_| ())?;
    enrol::attested(consortium, &fleet, |_| ())?;
    record::register(consortium, &fleet, |_| ())?;
    record::watch(consortium, &fleet, |_| ())?;
    let gateway = consortium.gateway("operator", "maker", "operator")?;
    let readings = readings::recent()?;
    record::simulated(&gateway, &mut fleet, &readings, |_| ())?;
    // The others see its votes, and it has executed what they have.
    wait_for("the fourth validator", Duration::from_secs(60), || {
        let status = consortium.authority().json(&["status"])?;
        let validators = status["validators"].to_string();
        ensure!(validators.contains("operator votes"), "{validators}");
        let own = machine.as_ref().context("a machine")?.hufu(&["--json", "status"])?;
        let own = own.success()?.json()?;
        ensure!(own["ledger"]["height"] == status["ledger"]["height"], "not at one height");
        assert_eq!(own["ledger"]["state_root"], status["ledger"]["state_root"], "a fork");
        Ok(())
    })?;
    // No PIN and no code is where it should not be.
    let machine = world.machine()?;
    let said = machine.log()? + &fs::read_to_string(machine.root("run/hufu/state.json"))?;
    assert!(!said.contains("panicked"), "{said}");
    let code = world.shown.code.replace('-', "");
    assert!(!said.contains(&code) && !said.contains(&world.shown.code), "{said}");
    Ok(())
}

/// The node's process.
fn node(machine: &mut Appliance) -> anyhow::Result<Pid> {
    let owner = machine.process().id();
    let children = fs::read_to_string(format!("/proc/{owner}/task/{owner}/children"))?;
    let child = children.split_whitespace().next().context("the node does not run")?;
    Pid::from_raw(child.parse()?).context("a process")
}

#[test]
fn an_update_is_good_when_the_node_follows_the_ledger_again() -> anyhow::Result<()> {
    let mut world = world()?;
    operational(world.machine()?)?;
    let hufu = world.administrator.clone();
    let trial = |root: &Path, within: &str| {
        let mut command = hufu.hufu(&["appliance", "trial", "--steady", "1", "--within", within]);
        process::run(command.arg("--root").arg(root))
    };
    let root = world.machine()?.root("");
    let passed = trial(&root, "120")?.success()?;
    assert!(passed.stdout.contains("the update is good and stays"), "{}", passed.stdout);
    let nobody = trial(&world.consortium.path("nobody"), "1")?;
    refused("nobody answers", &nobody, 1, &["did not get ready", "does not answer"]);
    Ok(())
}

#[test]
fn a_node_that_dies_is_started_again() -> anyhow::Result<()> {
    let mut world = world()?;
    let machine = world.machine()?;
    operational(machine)?;
    let first = node(machine)?;
    kill_process(first, Signal::KILL)?;
    machine.wait_for("Locked", "killed by a signal")?;
    operational(machine)?;
    assert_ne!(node(machine)?, first);
    // It was set up before: nothing listens.
    assert!(!machine.block()?.join("\n").contains("Code:"));
    Ok(())
}

#[test]
fn a_node_that_does_not_come_back_is_failed_until_somebody_mends_it() -> anyhow::Result<()> {
    let mut world = world()?;
    let metrics = world.consortium.operator().addresses.metrics;
    let mut held = None;
    let machine = world.while_off(&["--back-off-ms", "200"], |_| {
        held = Some(TcpListener::bind(metrics)?);
        Ok(())
    })?;
    let block = machine.wait_for("Failed", "services.metrics")?;
    assert!(block.contains("ended 4 times") && block.contains("press Enter"), "{block}");
    drop(held);
    machine.press_enter()?;
    operational(machine)
}

#[test]
fn a_pin_that_is_wrong_locks_the_machine_and_is_tried_once() -> anyhow::Result<()> {
    let mut world = world()?;
    let mut sealed = Vec::new();
    let credential = "var/lib/hufu/credentials/hufu-pin";
    let machine = world.while_off(&["--back-off-ms", "100"], |root| {
        let path = root.join(credential);
        sealed = fs::read(&path)?;
        process::run(Command::new("sh").args([
            "-c",
            "printf 123456 | systemd-creds encrypt --name=hufu-pin --with-key=tpm2-absent - \"$1\"",
            "sh",
            text(&path)?,
        ]))?
        .success()?;
        Ok(())
    })?;
    let block = machine.wait_for("Locked", "refused the PIN")?;
    assert!(block.contains("exit status 4"), "{block}");
    // A line that comes by itself is no wish to try it again.
    for _ in 0..3 {
        machine.press_enter()?;
    }
    std::thread::sleep(Duration::from_secs(2));
    assert!(machine.block()?.join("\n").contains("refused the PIN"));
    assert!(node(machine).is_err(), "the PIN was tried again");
    // A credential that does not open at all.
    fs::write(machine.root(credential), "nonsense")?;
    machine.type_line("again")?;
    machine.wait_for("Locked", "does not open (exit status 243")?;
    fs::write(machine.root(credential), &sealed)?;
    machine.type_line("again")?;
    operational(machine)
}

/// A workstation of `member` whose certificate has `role`.
fn workstation(consortium: &Consortium, member: &str, role: &str) -> anyhow::Result<Member> {
    let directory = consortium.path(&format!("{member}-{role}-workstation"));
    let workstation = consortium.member(member)?.workstation(directory)?;
    if workstation.data("tls.pem").exists() {
        return Ok(workstation);
    }
    workstation.run(&["init", "--so-pin-fd", "4"])?;
    let (csr, chain) = (workstation.data("tls.csr"), workstation.data("tls.pem"));
    consortium.approve(member, &csr, &[role])?;
    consortium.issue("operator-client", member, &["--role", role], &csr, &chain)?;
    Ok(workstation)
}

#[test]
fn an_administrator_works_from_afar_and_nobody_else_does() -> anyhow::Result<()> {
    let mut world = world()?;
    operational(world.machine()?)?;
    let consortium = &world.consortium;
    let url = consortium.operator().gateway_url();
    let administrator = workstation(consortium, "operator", "administrator")?;
    let status = administrator.json(&["--appliance", &url, "status"])?;
    assert_eq!(status["member"], "operator", "{status}");
    assert_eq!(status["machine"]["state"], "operational", "{status}");
    assert_eq!(status["machine"]["missing"].as_array().map(Vec::len), Some(0), "{status}");
    let here = consortium.operator().addresses.gateway.to_string();
    let query = ["--appliance", &here, "query", "SELECT count(*) FROM ledger.certificates"];
    let answer = administrator.json(&query)?;
    ensure!(answer["rows"][0][0].as_u64() > Some(0), "{answer}");
    administrator.run(&["--appliance", &url, "policy", "list"])?;
    let list =
        administrator.json(&["--appliance", &url, "cert", "list", "--member", "operator"])?;
    let listed = list.as_array().context("a list")?;
    ensure!(listed.iter().all(|one| one["owner"] == "operator"), "{list}");
    ensure!(listed.iter().any(|one| one["profile"] == "operator-client"), "{list}");
    // A renewed certificate is installed without anybody at the machine.
    let chain = consortium.operator().directory.join("tls.pem");
    administrator.run(&["--appliance", &url, "cert", "install", "--chain", text(&chain)?])?;
    let machine = world.machine.as_ref().context("a machine")?;
    assert!(machine.log()?.contains("\"message\":\"administration\""));

    // The authority's own administrator is none here.
    let answer = process::run(&mut world.administrator.hufu(&["--appliance", &url, "status"]))?;
    let other = "the server is member `operator`'s, and member `authority` was to be reached";
    refused("the authority's administrator", &answer, 1, &[other]);

    // A node that is on no appliance says so of its machine.
    let maker = workstation(consortium, "maker", "administrator")?;
    let own = consortium.maker().gateway_url();
    let status = maker.json(&["--appliance", &own, "status"])?;
    assert!(status.get("machine").is_none() && status["member"] == "maker", "{status}");

    let operator = workstation(consortium, "operator", "operator")?;
    let words = ["role `administrator`"];
    let answer = process::run(&mut operator.hufu(&["--appliance", &url, "status"]))?;
    refused("an operator", &answer, 1, &words);
    let answer = process::run(&mut maker.hufu(&["--appliance", &url, "status"]))?;
    refused("another's", &answer, 1, &["member `maker` was to be reached"]);
    // Programs that do not look at whose server it is are refused there.
    for member in ["authority", "maker"] {
        let identity = consortium.client(member, "administrator")?;
        let http = Http::tls(&consortium.root_pem()?, Some(&identity))?;
        assert_eq!(http.get(&format!("{url}/admin/status"))?.status, 403, "{member}");
    }
    let http = Http::tls(&consortium.root_pem()?, None)?;
    for path in ["status", "tls", "machine/v1/state", "nothing"] {
        let answer = http.get(&format!("{url}/admin/{path}"))?;
        assert_eq!(answer.status, 401, "{path}: {}", answer.text());
    }
    assert!(machine.log()?.contains("\"message\":\"not admitted\""));
    Ok(())
}

#[test]
fn a_volume_that_is_not_open_is_locked_and_not_new() -> anyhow::Result<()> {
    let consortium = Consortium::prepare(common::settings(0)?)?;
    let arguments =
        vec!["--sealed-volume".to_owned(), text(&consortium.settings.directory)?.to_owned()];
    let mut machine = consortium.start_appliance("sealed", &Machine { arguments })?;
    let block = machine.wait_for("Locked", "is not open")?;
    assert!(!block.contains("Code:"), "{block}");
    assert!(!machine.root("var").exists());
    // The machine tells also where there is no node to ask.
    let status = machine.hufu(&["--json", "status"])?.success()?.json()?;
    assert_eq!(status["machine"]["state"], "locked", "{status}");
    let status = machine.hufu(&["status"])?.success()?.stdout;
    assert!(status.contains("is not open") && status.contains(" UTC"), "{status}");
    machine.process().kill()?;
    let status = machine.hufu(&["status"])?.success()?.stdout;
    assert!(status.contains("does not answer") && status.contains("is not open"), "{status}");
    let left = machine.root("run/hufu/state.json");
    fs::remove_file(left)?;
    let answer = machine.hufu(&["status"])?;
    refused("no machine and no node", &answer, 2, &["no configuration"]);
    Ok(())
}

#[test]
fn what_the_operator_gets_wrong_is_told_and_leaves_nothing() -> anyhow::Result<()> {
    let consortium = Consortium::prepare(common::settings(0)?)?;
    let mut machine = consortium.start_appliance("wrong", &Machine::default())?;
    let shown = machine.shown()?;
    let good = configuration(consortium.operator(), &machine)?;
    let content = fs::read_to_string(&good)?;
    let bad = consortium.path("bad.toml");
    let cases = [
        ("an unknown key", "workers", "workesr", 2, vec!["line ", "`workesr`"]),
        ("another data directory", "hufu/data", "hufu/dat", 1, vec!["paths.data", "must be"]),
        ("no such module", "libsofthsm2.so", "libnothing.so", 1, vec!["libnothing.so"]),
    ];
    for (what, from, to, status, words) in cases {
        fs::write(&bad, content.replacen(from, to, 1))?;
        let arguments = [&["--config", text(&bad)?], &WITNESSES[..]].concat();
        refused(what, &machine.set_up(&shown, &arguments)?, status, &words);
        assert!(!machine.root("var/lib/hufu/hufu.toml").exists(), "{what}");
    }
    let alone = ["--config", text(&good)?, "--witness", "Li Wei"];
    refused("one witness", &machine.set_up(&shown, &alone)?, 1, &["witnesses", "2 to 16"]);
    let early = ["--chain", text(&good)?];
    refused("too early", &machine.set_up(&shown, &early)?, 1, &["genesis file comes before"]);

    // Somebody in between has another certificate.
    let first = if shown.fingerprint.starts_with('A') { "B" } else { "A" };
    let fingerprint = format!("{first}{}", &shown.fingerprint[1..]);
    let other = Shown { fingerprint, ..shown.clone() };
    let answer = machine.set_up(&other, &[])?;
    refused("another fingerprint", &answer, 1, &[&shown.fingerprint, "Nothing was sent"]);
    let none = Shown { fingerprint: "AB:CD".to_owned(), ..shown.clone() };
    refused("half a fingerprint", &machine.set_up(&none, &[])?, 2, &["64 hexadecimal digits"]);

    let wrong = Shown { code: "AAAA-AAAA".to_owned(), ..shown.clone() };
    refused("a wrong code", &machine.set_up(&wrong, &[])?, 1, &["wrong codes left: 2"]);
    refused("a wrong code", &machine.set_up(&wrong, &[])?, 1, &["wrong codes left: 1"]);
    refused("a third wrong code", &machine.set_up(&wrong, &[])?, 1, &["press Enter"]);
    machine.wait_for("Unprovisioned", "closed after three wrong codes")?;
    refused("the right code", &machine.set_up(&shown, &[])?, 3, &["does not answer"]);
    machine.press_enter()?;
    let again = machine.shown()?;
    assert_ne!(again.code, shown.code);
    assert_eq!(again.fingerprint, shown.fingerprint);
    let answer = machine.set_up(&again, &[])?.success()?.json()?;
    assert_eq!(answer["missing"][0], "ceremony");
    machine.switch_off()
}

#[test]
fn a_set_up_machine_has_no_setup_endpoint_after_a_restart_either() -> anyhow::Result<()> {
    let mut world = world()?;
    let (shown, config) = (world.shown.clone(), world.config.clone());
    let machine = world.while_off(&[], |_| Ok(()))?;
    operational(machine)?;
    let here = Shown { address: machine.setup.to_string(), ..shown };
    let arguments = [&["--config", text(&config)?], &WITNESSES[..]].concat();
    refused("setup again", &machine.set_up(&here, &arguments)?, 3, &["does not answer"]);
    assert!(!machine.console()?.contains("Code:"));
    Ok(())
}

/// A configuration that names whom an administrator likes.
const OPERATORS: &str = "[backup]\nthreshold = 1\noperators = \
                         [\"age1wdsesvzgt7lfy3sk7dmsq0g94nmtvuljwm2v3qe5964fng3rdvasgf3zmc\"]\n[services]";

#[test]
fn a_configuration_is_kept_when_it_works_and_taken_back_when_it_does_not() -> anyhow::Result<()> {
    let mut world = world()?;
    world.while_off(&["--trial-ms", "20000"], |_| Ok(()))?;
    operational(world.machine()?)?;
    let administrator = workstation(&world.consortium, "operator", "administrator")?;
    let url = world.consortium.operator().gateway_url();
    let config = |arguments: &[&str]| {
        let all = [&["--json", "--appliance", &url, "config"], arguments].concat();
        process::run(&mut administrator.hufu(&all))
    };
    let shown = config(&["show"])?.success()?.json()?;
    let old = shown["config"].as_str().context("a configuration")?.to_owned();
    assert!(shown["trial_seconds"].is_null(), "{shown}");
    let file = administrator.directory.join("new.toml");
    let path = text(&file)?.to_owned();
    let metrics = world.consortium.operator().addresses.metrics;
    let moved = ports::free(1)?[0];
    let new = old.replace(&metrics.to_string(), &moved.to_string());

    // What is wrong at first sight changes nothing.
    for (what, from, to, status, words) in [
        ("an unknown key", "workers", "workesr", 2, "`workesr`"),
        ("other paths", "hufu/data", "hufu/dat", 1, "paths.data"),
        ("another member", "name = \"operator\"", "name = \"maker\"", 1, "stay as they were"),
        ("a peer less", "maker = ", "taker = ", 1, "`maker`"),
        ("operators of backups", "[services]", OPERATORS, 1, "backup stays as it was"),
    ] {
        fs::write(&file, old.replacen(from, to, 1))?;
        refused(what, &config(&["apply", &path])?, status, &[words]);
    }
    refused("nothing on trial", &config(&["confirm"])?, 1, &["on trial"]);

    // One that works.
    fs::write(&file, &new)?;
    config(&["apply", &path])?.success()?;
    Http::plain().get(&format!("http://{moved}/healthz"))?.success()?;
    operational(world.machine()?)?;

    // One that the node does not run with: its port is taken.
    let held = TcpListener::bind(metrics)?;
    fs::write(&file, &old)?;
    let answer = config(&["apply", &path])?;
    refused("a taken port", &answer, 1, &["the one before is back", "services.metrics"]);
    let machine = world.machine()?;
    machine.wait_for("Operational", "was not kept")?;
    assert_eq!(fs::read_to_string(machine.root("var/lib/hufu/hufu.toml"))?, new);
    drop(held);

    // One that nobody confirms: the gateway has moved out of sight.
    let gateway = world.consortium.operator().addresses.gateway.to_string();
    let away = ports::free(1)?[0].to_string();
    fs::write(&file, new.replace(&gateway, &away))?;
    let machine = world.machine()?;
    let socket = machine.root("run/hufu/appliance.sock");
    let mut curl = Command::new("curl");
    curl.args(["-sf", "--unix-socket", text(&socket)?, "--data-binary"]);
    curl.arg(format!("@{path}")).args(["-H", "Content-Type: application/toml"]);
    process::run(curl.arg("http://machine/v1/configuration"))?.success()?;
    machine.wait_for("Operational", "is on trial")?;
    machine.wait_for("Operational", "nobody confirmed it in time")?;
    wait_for("the gateway where it was", PATIENCE, || config(&["show"])?.success())?;
    // Back to the beginning, for the other tests.
    fs::write(&file, &old)?;
    config(&["apply", &path])?.success()?;
    operational(world.machine()?)
}

#[test]
fn other_programs_see_what_the_console_shows() -> anyhow::Result<()> {
    let consortium = Consortium::prepare(common::settings(0)?)?;
    let mut machine = consortium.start_appliance("curl", &Machine::default())?;
    let shown = machine.shown()?;
    let fingerprint = "openssl s_client -connect \"$1\" $2 </dev/null 2>/dev/null \
                       | openssl x509 -noout -fingerprint -sha256";
    let openssl = |version: &str| {
        process::run(Command::new("sh").args(["-c", fingerprint, "sh", &shown.address, version]))
    };
    let seen = openssl("-tls1_3")?.success()?.stdout;
    assert!(seen.trim().ends_with(&format!("={}", shown.fingerprint)), "{seen}");
    refused("TLS 1.2", &openssl("-tls1_2")?, 1, &[]);

    let large = consortium.path("large");
    fs::write(&large, vec![b' '; 600_000])?;
    let large = format!("@{}", text(&large)?);
    let bearer = format!("Authorization: Bearer {}", shown.code);
    let json = "Content-Type: application/json";
    for (what, path, more, status, words) in [
        ("no code", "", vec![], 401, "code-missing"),
        ("another path", "/x", vec!["-H", &bearer], 404, "not-found"),
        ("another method", "", vec!["-H", &bearer, "-X", "DELETE"], 405, "method"),
        (
            "half a body",
            "/ceremony",
            vec!["-H", &bearer, "-H", json, "--data-binary", "{\"config\":"],
            400,
            "line 1",
        ),
        (
            "too large a body",
            "/ceremony",
            vec!["-H", &bearer, "-H", json, "--data-binary", &large],
            413,
            "524288",
        ),
        ("a form", "/genesis", vec!["-H", &bearer, "--data-binary", "x"], 415, "application/json"),
    ] {
        let url = format!("https://{}/v1/setup{path}", shown.address);
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--max-time", "30", "-w", "\n%{http_code} %{content_type}", &url]);
        let said = process::run(curl.args(more))?.success()?.stdout;
        let end = format!("{status} application/problem+json");
        assert!(said.ends_with(&end) && said.contains(words), "{what}: {said}");
    }
    assert!(!machine.root("var/lib/hufu/hufu.toml").exists());
    machine.switch_off()
}

#[test]
fn a_volume_sets_up_a_machine_that_no_workstation_reaches() -> anyhow::Result<()> {
    let consortium = Consortium::prepare(common::settings(0)?)?;
    let volume = consortium.path("volume");
    let arguments = vec!["--setup-volume".to_owned(), text(&volume)?.to_owned()];
    let mut machine = consortium.start_appliance("volume", &Machine { arguments })?;
    machine.wait_for("Unprovisioned", "configuration and key ceremony")?;
    let config = configuration(consortium.operator(), &machine)?;
    let good = fs::read_to_string(config)?;
    fs::create_dir(&volume)?;
    fs::write(volume.join("witnesses.txt"), "Li Wei\nAna Silva\n")?;
    fs::write(volume.join("hufu.toml"), good.replacen("workers", "workesr", 1))?;
    machine.wait_for("Unprovisioned", "`workesr`")?;
    assert!(fs::read_to_string(volume.join("refused.txt"))?.contains("line "));
    fs::write(volume.join("hufu.toml"), good)?;
    wait_for("the ceremony", PATIENCE, || {
        ensure!(machine.block()?.join("\n").contains("Why:         missing: genesis file"));
        Ok(())
    })?;
    wait_for("its documents", PATIENCE, || {
        ensure!(!volume.join("refused.txt").exists() && volume.join("transcript.json").exists());
        Ok(())
    })?;
    assert_eq!(fs::read(volume.join("join.json"))?, fs::read(machine.data("join.json"))?);
    fs::write(volume.join("genesis.json"), "{}")?;
    machine.wait_for("Unprovisioned", "genesis file is malformed")?;
    machine.switch_off()
}

#[test]
fn a_ceremony_that_broke_off_goes_on_with_the_same_keys() -> anyhow::Result<()> {
    let consortium = Consortium::prepare(common::settings(0)?)?;
    let mut machine = consortium.start_appliance("again", &Machine::default())?;
    let shown = machine.shown()?;
    let config = configuration(consortium.operator(), &machine)?;
    let arguments = [&["--config", text(&config)?], &WITNESSES[..]].concat();
    // The operator's token has a PIN already, or is to have this one.
    let pin = "314159265358";
    machine.set_up_with_pin(&shown, pin, &arguments)?.success()?;
    let credential = machine.root("var/lib/hufu/credentials/hufu-pin");
    let opened = || -> anyhow::Result<String> {
        let mut command = Command::new("systemd-creds");
        command.args(["decrypt", "--name=hufu-pin", text(&credential)?, "-"]);
        Ok(process::run(&mut command)?.success()?.stdout.trim().to_owned())
    };
    assert_eq!(opened()?, pin);
    let keys = || -> anyhow::Result<serde_json::Value> {
        let join: serde_json::Value =
            serde_json::from_slice(&fs::read(machine.data("join.json"))?)?;
        Ok(serde_json::json!([join["request"]["vote_key"], join["request"]["tls_key"]]))
    };
    let made = keys()?;
    // As if the power had gone before the transcript was written.
    let break_off = || -> anyhow::Result<()> {
        fs::remove_file(machine.data("transcript.json"))?;
        fs::remove_file(machine.root("var/lib/hufu/hufu.toml"))?;
        Ok(fs::remove_dir_all(machine.out(""))?)
    };
    break_off()?;
    let answer = machine.set_up_with_pin(&shown, "271828182845", &arguments)?;
    refused("another PIN", &answer, 1, &["ceremony", "refused the PIN"]);
    assert_eq!(opened()?, pin, "what was refused took the PIN's place");
    assert!(!machine.root("var/lib/hufu/hufu.toml").exists());
    machine.set_up(&shown, &arguments)?.success()?;
    assert_eq!(keys()?, made);
    assert!(!machine.log()?.contains(pin) && !machine.console()?.contains(pin));
    machine.switch_off()
}

/// Three members on nodes of their own, the plant operator on an appliance.
fn with_one_appliance() -> anyhow::Result<(Consortium, Appliance)> {
    let mut consortium = Consortium::prepare(common::settings(1)?)?;
    consortium.make_tpms()?;
    let mut machine = consortium.start_appliance("lost", &Machine::default())?;
    let (shown, _) = ceremony(consortium.operator(), &mut machine)?;
    consortium.hold_ceremonies()?;
    consortium.found()?;
    let genesis = text(&consortium.genesis_path())?.to_owned();
    machine.set_up(&shown, &["--genesis", &genesis])?.success()?;
    let others = ["authority", "regulator", "maker"];
    for name in others {
        consortium.start(name)?;
    }
    for name in others {
        consortium.wait_until_up(name)?;
    }
    for name in ["authority", "regulator", "maker", "operator"] {
        let member = consortium.member(name)?;
        let chain = member.directory.join("tls.pem");
        consortium.certify(name, &member.data("tls.csr"), &chain)?;
        match name {
            "operator" => machine.set_up(&shown, &["--chain", text(&chain)?])?.success()?,
            _ => member.run(&["cert", "install", "--chain", text(&chain)?])?,
        };
    }
    operational(&mut machine)?;
    Ok((consortium, machine))
}

/// Operators' keys, and their recipients.
fn operators(consortium: &Consortium, count: usize) -> anyhow::Result<Vec<(PathBuf, String)>> {
    (0..count)
        .map(|number| {
            let one = backup_operators::make(&consortium.path(&format!("operator-{number}.txt")))?;
            Ok((one.identity, one.recipient))
        })
        .collect()
}

/// Whether a new machine has nothing of a backup.
fn nothing_restored(machine: &Appliance, what: &str) -> anyhow::Result<()> {
    let kept = machine.root("var/lib/hufu");
    for name in ["hufu.toml", "genesis.json", "restore", "restore.ready"] {
        assert!(!kept.join(name).exists(), "{what}: {name}");
    }
    for name in ["data", "tokens", "credentials"] {
        assert_eq!(fs::read_dir(kept.join(name))?.count(), 0, "{what}: {name}");
    }
    Ok(())
}

/// A token's PIN, as it is sealed on a machine.
fn sealed_pin(machine: &Appliance) -> anyhow::Result<String> {
    let mut command = Command::new("systemd-creds");
    command.args(["decrypt", "--name=hufu-pin"]);
    command.arg(machine.root("var/lib/hufu/credentials/hufu-pin")).arg("-");
    Ok(process::run(&mut command)?.success()?.stdout.trim().to_owned())
}

#[test]
fn a_lost_machine_is_restored_by_two_of_three_operators_and_reset() -> anyhow::Result<()> {
    let (mut consortium, mut machine) = with_one_appliance()?;
    let administrator = workstation(&consortium, "operator", "administrator")?;
    let url = consortium.operator().gateway_url();
    let people = operators(&consortium, 3)?;
    let file =
        |name: &str| -> anyhow::Result<String> { Ok(text(&consortium.path(name))?.to_owned()) };
    let back_up = |threshold: &str, recipients: &[&str], out: &str| {
        let mut all = vec!["--json", "--appliance", &url, "backup", "--threshold", threshold];
        recipients.iter().for_each(|one| all.extend(["--recipient", *one]));
        process::run(&mut administrator.hufu(&[&all[..], &["--out", out]].concat()))
    };
    let recipients: Vec<&str> = people.iter().map(|(_, public)| public.as_str()).collect();
    let (backup, other) = (file("operator.backup")?, file("other.backup")?);
    refused("4 of 3", &back_up("4", &recipients, &backup)?, 1, &["threshold"]);
    refused("no recipient", &back_up("1", &["age1x"], &backup)?, 2, &["age-keygen"]);
    refused("one twice", &back_up("1", &[recipients[0]; 2], &backup)?, 1, &["named twice"]);
    assert!(!Path::new(&backup).exists());
    let made = back_up("2", &recipients, &backup)?.success()?.json()?;
    assert_eq!((&made["token"], &made["member"]), (&"included".into(), &"operator".into()));
    back_up("2", &recipients, &other)?.success()?;
    let again = back_up("2", &recipients, &other)?;
    refused("a name that is taken", &again, 2, &["choose another name"]);
    let hufu = |arguments: &[&str]| process::run(&mut administrator.hufu(arguments));
    let inspected = hufu(&["--json", "backup", "inspect", &backup])?.success()?.json()?;
    assert_eq!(inspected["operators"].as_array().map(Vec::len), Some(3), "{inspected}");
    // Nothing secret is in the open.
    let (pin, sealed) = (sealed_pin(&machine)?, fs::read(&backup)?);
    assert!(!String::from_utf8_lossy(&sealed).contains(&pin));
    assert!(!machine.log()?.contains(&pin) && !machine.log()?.contains("AGE-SECRET"));

    // The machine is lost in the middle of its work.
    let node = node(&mut machine)?;
    machine.process().kill()?;
    // The node ends with its owner, and would be gone with the machine.
    let _ = kill_process(node, Signal::KILL);
    fs::rename(machine.root(""), consortium.path("gone"))?;
    drop(machine);
    let share = |backup: &str, number: usize| -> anyhow::Result<String> {
        let out = format!("{backup}.share-{number}");
        let key = text(&people[number].0)?;
        hufu(&["backup", "open-share", backup, "--identity", key, "--out", &out])?.success()?;
        Ok(out)
    };
    let (first, second) = (share(&backup, 0)?, share(&backup, 2)?);

    // A new one, which takes nothing but the whole, from enough of them.
    let mut machine = consortium.start_appliance("found", &Machine::default())?;
    let shown = machine.shown()?;
    let config = configuration(consortium.operator(), &machine)?;
    let restore = |machine: &Appliance, backup: &str, more: &[&str]| {
        machine.set_up(&shown, &[&["--restore", backup], more].concat())
    };
    let foreign = share(&other, 1)?;
    let answer = restore(&machine, &backup, &["--share", &foreign])?;
    refused("another backup's share", &answer, 1, &["of another backup"]);
    let altered = file("altered.share")?;
    let good = fs::read_to_string(&first)?;
    let last = if good.trim_end().ends_with('0') { "1" } else { "0" };
    fs::write(&altered, format!("{}{last}", &good.trim_end()[..good.trim_end().len() - 1]))?;
    let answer = restore(&machine, &backup, &["--share", &altered])?;
    refused("an altered share", &answer, 1, &["is not the one"]);
    let answer = restore(&machine, &backup, &["--share", &first])?.success()?.json()?;
    assert_eq!((&answer["shares"], &answer["restored"]), (&1.into(), &false.into()), "{answer}");
    nothing_restored(&machine, "one share")?;
    let cut = file("cut.backup")?;
    fs::write(&cut, &sealed[..sealed.len() - 100])?;
    let answer = restore(&machine, &cut, &["--share", &second, "--new-config", text(&config)?])?;
    refused("a cut file", &answer, 1, &["ends early"]);
    nothing_restored(&machine, "a cut file")?;
    let elsewhere = config.with_extension("elsewhere");
    fs::write(&elsewhere, fs::read_to_string(&config)?.replace("hufu/data", "hufu/dat"))?;
    let answer = restore(&machine, &backup, &["--new-config", text(&elsewhere)?])?;
    refused("a configuration for other paths", &answer, 1, &["paths.data"]);
    nothing_restored(&machine, "a wrong configuration")?;
    // The shares are still there; the other operator's key opens one as well.
    let key = text(&people[1].0)?;
    let answer = restore(&machine, &backup, &["--identity", key])?.success()?.json()?;
    assert_eq!(answer["restored"], true, "{answer}");
    assert_eq!(sealed_pin(&machine)?, pin);
    closed(&machine, &shown)?;
    let data = consortium.operator().directory.join("data");
    fs::remove_file(&data)?;
    std::os::unix::fs::symlink(machine.data(""), &data)?;

    // It follows the ledger, and votes when that has moved on.
    machine.wait_for("Operational", "waits for the ledger to move on")?;
    let held = machine.hufu(&["--json", "status"])?.success()?.json()?;
    operational(&mut machine)?;
    votes(&mut consortium)?;
    let status = machine.hufu(&["--json", "status"])?.success()?.json()?;
    assert!(status["ledger"]["height"].as_u64() > held["ledger"]["height"].as_u64(), "{status}");
    for name in ["authority", "regulator", "maker"] {
        let evidence = consortium.member(name)?.data("consensus/guard/evidence.jsonl");
        assert!(!evidence.exists(), "{}", fs::read_to_string(evidence)?);
    }
    assert!(!machine.log()?.contains(&pin), "a PIN in the log");
    assert!(!machine.log()?.contains(good.trim()), "a share in the log");

    reset(&consortium, &mut machine, &administrator, &config)
}

#[test]
fn a_machine_whose_keys_are_gone_comes_back_with_new_ones() -> anyhow::Result<()> {
    let (mut consortium, mut machine) = with_one_appliance()?;
    machine.type_line("factory reset operator")?;
    machine.wait_for("Unprovisioned", "configuration and key ceremony")?;
    // Another appliance of the member's, from a volume, would do as well.
    let shown = machine.shown()?;
    let config = configuration(consortium.operator(), &machine)?;
    let _ = fs::remove_dir_all(machine.out(""));
    let arguments = [&["--config", text(&config)?], &WITNESSES[..]].concat();
    machine.set_up(&shown, &arguments)?.success()?;
    let genesis = text(&consortium.genesis_path())?.to_owned();
    let answer = machine.set_up(&shown, &["--genesis", &genesis])?;
    refused("keys that the genesis file has not", &answer, 1, &["--admitted"]);

    let join = machine.out("join.json");
    let answer = consortium.authority().json(&["org", "admit", text(&join)?])?;
    let proposal = answer["proposal"].as_str().with_context(|| format!("{answer}"))?.to_owned();
    for name in ["regulator", "maker"] {
        let approver = consortium.member(name)?;
        wait_for("the approval", PATIENCE, || approver.run(&["org", "approve", &proposal]))?;
    }
    wait_for("the next epoch", PATIENCE, || {
        let status = consortium.authority().json(&["status"])?;
        ensure!(status["ledger"]["epoch"] == 1, "{status}");
        Ok(())
    })?;
    machine.set_up(&shown, &["--genesis", &genesis, "--admitted"])?.success()?;
    // It finds its member's keys on the ledger before it has a certificate.
    let operator = consortium.operator();
    let chain = operator.directory.join("tls.pem");
    let _ = fs::remove_file(&chain);
    wait_for("a certificate", PATIENCE, || {
        consortium.certify("operator", &operator.data("tls.csr"), &chain)
    })?;
    machine.set_up(&shown, &["--chain", text(&chain)?])?.success()?;
    operational(&mut machine)?;
    votes(&mut consortium)
}

/// The operator votes, and its vote is one that the others need when the maker is
/// away.
fn votes(consortium: &mut Consortium) -> anyhow::Result<()> {
    wait_for("the fourth validator", PATIENCE, || {
        let status = consortium.authority().json(&["status"])?;
        ensure!(status["validators"].to_string().contains("operator votes"), "{status}");
        Ok(())
    })?;
    consortium.kill("maker")?;
    let height = || -> anyhow::Result<u64> {
        let status = consortium.authority().json(&["status"])?;
        status["ledger"]["height"].as_u64().with_context(|| format!("{status}"))
    };
    let before = height()?;
    wait_for("the ledger without another member", PATIENCE, || {
        let now = height()?;
        ensure!(now > before + 3, "{now}");
        Ok(())
    })?;
    consortium.start("maker")
}

#[test]
fn an_authority_is_backed_up_while_it_works() -> anyhow::Result<()> {
    use std::io::Read as _;
    let world = world()?;
    let people = operators(&world.consortium, 1)?;
    let url = world.consortium.authority().gateway_url();
    let backup = text(&world.consortium.path("authority.backup"))?.to_owned();
    let arguments = ["backup", "--recipient", &people[0].1, "--threshold", "1", "--out", &backup];
    let said = world.administrator.run(&[&["--appliance", &url], &arguments[..]].concat())?.stdout;
    assert!(said.contains("1 of 1") && said.contains("included"), "{said}");
    assert!(!world.consortium.authority().data(".backup.sqlite").exists());
    // Of one share, the value at any point is the secret itself.
    let key = text(&people[0].0)?;
    let share = world.administrator.run(&["backup", "open-share", &backup, "--identity", key])?;
    let values = hex::decode(share.stdout.trim().rsplit(':').next().context("a share")?)?;
    let identity: age::x25519::Identity =
        String::from_utf8(values)?.parse().map_err(|error: &str| anyhow::anyhow!(error))?;
    let file = fs::read(&backup)?;
    let head: usize = file.split_inclusive(|byte| *byte == b'\n').take(2).map(<[u8]>::len).sum();
    let mut opened = Vec::new();
    age::Decryptor::new(&file[head..])?
        .decrypt(std::iter::once(&identity as _))?
        .read_to_end(&mut opened)?;
    let line = opened.split(|byte| *byte == b'\n').next().context("a manifest")?;
    let manifest: serde_json::Value = serde_json::from_slice(line)?;
    let entries = manifest["entries"].as_array().context("entries")?;
    let paths: Vec<&str> = entries.iter().filter_map(|entry| entry["path"].as_str()).collect();
    for path in ["config", "data/ca.sqlite", "data/root.pem", "data/tls.pem", "secret/hufu-pin"] {
        assert!(paths.contains(&path), "{path}: {paths:?}");
    }
    assert!(paths.iter().any(|path| path.starts_with("token/")), "{paths:?}");
    for path in ["data/read-model.sqlite", "data/ca.sqlite-wal", "data/admin.sock"] {
        assert!(!paths.contains(&path), "{path}");
    }
    // It goes on issuing.
    certify(&world.consortium, &world.administrator, "maker")
}

/// The member's machine goes back to its factory state, whoever wants it.
fn reset(
    consortium: &Consortium,
    machine: &mut Appliance,
    administrator: &Member,
    config: &Path,
) -> anyhow::Result<()> {
    let url = consortium.operator().gateway_url();
    let ask = |name: &str| {
        let arguments = ["--appliance", &url, "reset", "--confirm", name];
        process::run(&mut administrator.hufu(&arguments))
    };
    refused("another member's machine", &ask("maker")?, 1, &["of member `operator`"]);
    // Other names of the files of keys show what becomes of their content.
    let kept = consortium.path("keys");
    fs::create_dir(&kept)?;
    let tokens = machine.root("var/lib/hufu/tokens");
    for token in fs::read_dir(&tokens)? {
        for object in fs::read_dir(token?.path())? {
            let object = object?;
            fs::hard_link(object.path(), kept.join(object.file_name()))?;
        }
    }
    let softhsm = machine.root("var/lib/hufu/softhsm2.conf");
    let listed = || -> anyhow::Result<String> {
        let mut command = Command::new("pkcs11-tool");
        command.env("SOFTHSM2_CONF", &softhsm).args(["--module"]);
        command.args(["/usr/lib/softhsm/libsofthsm2.so", "-O", "--token-label", "operator"]);
        let answer = process::run(&mut command)?;
        Ok(answer.stdout + &answer.stderr)
    };
    assert!(listed()?.contains("vote"), "{}", listed()?);
    ask("operator")?.success()?;
    machine.wait_for("Unprovisioned", "configuration and key ceremony")?;
    assert!(
        machine.log()?.contains("vote tls statement"),
        "the keys were not destroyed by the token"
    );
    assert!(!listed()?.contains("vote"), "{}", listed()?);
    let objects = fs::read_dir(&kept)?.collect::<Result<Vec<_>, _>>()?;
    assert!(objects.len() > 6, "{objects:?}");
    for object in objects {
        let bytes = fs::read(object.path())?;
        assert!(bytes.iter().all(|byte| *byte == 0), "{}", object.path().display());
    }
    let shown = machine.shown()?;
    nothing_restored(machine, "a reset machine")?;

    // Setup works again, with other keys, and so does a reset at the console.
    let arguments = [&["--config", text(config)?], &WITNESSES[..]].concat();
    machine.set_up(&shown, &arguments)?.success()?;
    machine.wait_for("Unprovisioned", "missing: genesis file")?;
    machine.type_line("factory reset")?;
    wait_for("the words", PATIENCE, || {
        ensure!(machine.console()?.contains("type `factory reset operator`"));
        Ok(())
    })?;
    assert!(machine.root("var/lib/hufu/hufu.toml").exists());
    machine.type_line("factory reset operator")?;
    machine.wait_for("Unprovisioned", "configuration and key ceremony")?;
    let shown = machine.shown()?;
    nothing_restored(machine, "a machine that was reset at the console")?;

    // The power goes in the middle.
    fs::remove_dir_all(machine.out(""))?;
    machine.set_up(&shown, &arguments)?.success()?;
    machine.wait_for("Unprovisioned", "missing: genesis file")?;
    machine.process().kill()?;
    let note = "{\"without_token\":false,\"keys_destroyed\":false}";
    fs::write(machine.root("var/lib/hufu/reset.json"), note)?;
    let mut machine = consortium.start_appliance("found", &Machine::default())?;
    machine.wait_for("Unprovisioned", "configuration and key ceremony")?;
    nothing_restored(&machine, "a reset that was interrupted")?;
    machine.switch_off()
}
