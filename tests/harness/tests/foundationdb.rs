//! A member whose record is on FoundationDB, beside members whose record is in
//! a directory: on the cluster that `FDB_CLUSTER_FILE` names, or on a double.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use hufu_fdb_double::{Fault, On, What};
use hufu_harness::far::Far;
use hufu_harness::http::Http;
use hufu_harness::inspect::{self, Standing};
use hufu_harness::job::life;
use hufu_harness::member::Addresses;
use hufu_harness::process::{self, Answer, wait_for};
use hufu_harness::{Consortium, Settings, binaries, ports};

/// The member whose record is on FoundationDB.
const MEMBER: &str = "maker";

/// A consortium in which the records of `members` are on FoundationDB.
fn consortium(members: &[&str]) -> anyhow::Result<(Consortium, Far)> {
    consortium_with(members, "")
}

/// The same, with more lines in `[store]`.
fn consortium_with(members: &[&str], more: &str) -> anyhow::Result<(Consortium, Far)> {
    let directory = tempfile::Builder::new().prefix("hufu-test-").tempdir()?.keep();
    let settings = Settings { directory, hufu: binaries::hufu()?, remove: true, tpm_devices: 1 };
    let mut consortium = Consortium::prepare(settings)?;
    let far = Far::any(&consortium)?;
    println!("records are on {}", far.said());
    for member in members {
        far.keep(&consortium, member)?;
        let config = consortium.member(member)?.config();
        fs::write(&config, fs::read_to_string(&config)? + more)?;
    }
    consortium.make_ready()?;
    Ok((consortium, far))
}

#[test]
fn a_member_keeps_its_record_on_foundationdb() -> anyhow::Result<()> {
    let (mut consortium, far) = consortium(&[MEMBER])?;
    let (before, _) = life::agree(&consortium)?;

    // It votes and executes as the others do, also after its process died.
    consortium.kill(MEMBER)?;
    consortium.start(MEMBER)?;
    consortium.wait_until_up(MEMBER)?;
    consortium.wait_until_ready(MEMBER)?;
    let (after, _) = life::agree(&consortium)?;
    assert!(after >= before, "{after} after {before}");

    let member = consortium.member(MEMBER)?;
    assert!(!member.data("state").exists(), "nothing of the record is in the data directory");
    let log = fs::read_to_string(member.log()).context("the log")?;
    assert!(log.contains("the record is on FoundationDB"), "{log}");
    if let Some(cluster) = far.double() {
        assert!(cluster.keys() > 100, "{} keys", cluster.keys());
    }
    moves_to_a_directory_and_back(&mut consortium)?;
    consortium.stop_all()
}

/// The member's record moves into its data directory, and from there to the cluster
/// again, and its node goes on where it was each time.
fn moves_to_a_directory_and_back(consortium: &mut Consortium) -> anyhow::Result<()> {
    let member = consortium.member(MEMBER)?;
    let (config, state) = (member.config(), member.data("state"));
    let far = fs::read_to_string(&config)?;
    let (near, store) = far.split_once("\n[store]\n").context("[store]")?;
    let written = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
        let path = config.with_file_name(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    let near = written("near.toml", near)?;
    // Where it was has a record of its own, which the copy must not touch.
    let prefix = Far::prefix(consortium, MEMBER);
    let again = format!("\n[store]\n{}", store.replace(&prefix, &format!("{prefix}-again")));
    let again = written("again.toml", &(fs::read_to_string(&near)? + &again))?;
    let before = written("before.toml", &far)?;

    let to = |consortium: &Consortium, path: &Path| -> anyhow::Result<Answer> {
        let path = path.to_str().context("a path")?;
        process::run(
            &mut consortium.member(MEMBER)?.hufu(&["--json", "store", "copy", "--to", path]),
        )
    };
    let refused = |answer: anyhow::Result<Answer>, words: &str| -> anyhow::Result<()> {
        let answer = answer?;
        assert!(!answer.status.success() && answer.stderr.contains(words), "{answer:?}");
        Ok(())
    };
    refused(to(consortium, &near), "a node runs")?;
    for (step, target) in [near, again].into_iter().enumerate() {
        consortium.kill(MEMBER)?;
        refused(to(consortium, &config), "the same store")?;
        let moved = to(consortium, &target)?.success()?.json()?;
        println!("moved: {moved}");
        assert!(moved["rows"].as_u64() > Some(100) && moved["was_there"] == false, "{moved}");
        let compared = to(consortium, &target)?.success()?.json()?;
        assert_eq!(compared["state_root"], moved["state_root"]);
        assert_eq!(compared["was_there"], true);
        assert!(state.exists());
        fs::copy(&target, &config)?;
        consortium.start(MEMBER)?;
        consortium.wait_until_up(MEMBER)?;
        consortium.wait_until_ready(MEMBER)?;
        let (height, _) = life::agree(consortium)?;
        assert!(Some(height) >= moved["height"].as_u64(), "step {step}: {height}, {moved}");
    }
    refused(to(consortium, &before), "a node runs")?;
    // As from another machine, where nothing answers at the admin socket.
    let text = fs::read_to_string(&config)?;
    let elsewhere = config.with_file_name("elsewhere");
    let data = |path: &Path| format!("{:?}", path.join("data"));
    let own = config.parent().context("a directory")?;
    let near = text.replace(&data(own), &data(&elsewhere));
    let (near, _) = near.split_once("\n[store]\n").context("[store]")?;
    fs::create_dir_all(elsewhere.join("data"))?;
    let state = own.join("data/state");
    let copied =
        process::run(Command::new("cp").arg("-r").args([&state, &elsewhere.join("data")]))?;
    copied.success()?;
    let near = written("elsewhere.toml", near)?;
    let onto = written("onto.toml", &text.replace(&data(own), &data(&elsewhere)))?;
    let (near, onto) = (near.to_str().context("a path")?, onto.to_str().context("a path")?);
    let hufu = binaries::hufu()?;
    let copy =
        Command::new(hufu).args(["--config", near, "store", "copy", "--to", onto]).output()?;
    let said = String::from_utf8_lossy(&copy.stderr);
    assert!(!copy.status.success() && said.contains("a record of its own, up to height"), "{said}");
    // Nobody took anything from the node that runs there.
    let (before, _) = life::agree(consortium)?;
    wait_for("the member to go on", Duration::from_secs(60), || {
        let (height, _) = life::agree(consortium)?;
        anyhow::ensure!(height > before, "{height} of {before}");
        Ok(())
    })
}

#[test]
fn a_member_waits_for_its_cluster_and_goes_on_by_itself() -> anyhow::Result<()> {
    // The least that is accepted, so that the outage is longer by far.
    let (mut consortium, far) = consortium_with(&[MEMBER], "deadline = 5\n")?;
    let Some(cluster) = far.double() else {
        println!("not on a cluster, which this test cannot take away");
        return consortium.stop_all();
    };
    let member = consortium.member(MEMBER)?.clone();
    let height = |name: &str| -> anyhow::Result<u64> {
        let status = consortium.member(name)?.json(&["status"])?;
        status["ledger"]["height"].as_u64().context("height")
    };
    let (before, _) = life::agree(&consortium)?;
    for done in [false, true] {
        let away = Fault {
            on: On::Commit,
            key: Vec::new(),
            skip: 0,
            times: u64::MAX,
            what: What::Silent { done },
        };
        cluster.inject(Fault { on: On::Read, what: What::Silent { done: false }, ..away.clone() });
        cluster.inject(away);
        wait_for("the member to say so", Duration::from_secs(60), || {
            let status = member.json(&["status"])?;
            let said = status["reasons"].to_string();
            anyhow::ensure!(status["state"] == "degraded", "{status}");
            anyhow::ensure!(said.contains("goes on by itself"), "{said}");
            Ok(())
        })?;
        // The others go on without it, past the time that it gives a transaction.
        let (since, stands) = (height("operator")?, height(MEMBER)?);
        std::thread::sleep(Duration::from_secs(12));
        assert!(height("operator")? > since);
        assert_eq!(height(MEMBER)?, stands);
        let status = member.json(&["status"])?;
        assert_eq!(status["state"], "degraded", "{status}");
        cluster.calm();
        wait_for("the member to go on", Duration::from_secs(60), || {
            let status = member.json(&["status"])?;
            anyhow::ensure!(status["state"] == "operational", "{status}");
            Ok(())
        })?;
        let (after, _) = life::agree(&consortium)?;
        assert!(after > since, "{after} after {since}, {before}");
    }
    let log = fs::read_to_string(member.log()).context("the log")?;
    for said in ["execution waits for the store", "execution goes on"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    assert_eq!(log.matches("the node serves").count(), 1, "it was not started again: {log}");
    consortium.stop_all()
}

/// Where the front-end of a member listens.
fn addresses() -> anyhow::Result<Addresses> {
    let [network, gateway, metrics, est, status] = ports::free(Addresses::COUNT)?[..] else {
        anyhow::bail!("too few ports")
    };
    Ok(Addresses { network, gateway, metrics, est, status })
}

/// The height that an answer of a door names.
fn named_height(url: &str) -> anyhow::Result<u64> {
    let arguments = ["-sS", "-o", "/dev/null", "-D", "-", url];
    let head = process::run(Command::new("curl").args(arguments))?.success()?.stdout;
    let line = head.lines().find_map(|line| line.strip_prefix("hufu-height: "));
    Ok(line.with_context(|| format!("no height in {head}"))?.trim().parse()?)
}

#[test]
fn front_ends_answer_from_the_cluster_with_no_validator_up() -> anyhow::Result<()> {
    let (mut consortium, far) = consortium(&[MEMBER, "authority"])?;
    let front = |name: &str, called: &str| {
        let directory = consortium.path(called);
        let front = consortium.member(name)?.front_end(addresses()?, directory)?;
        let process = consortium.start_front_end(&front, called)?;
        anyhow::Ok((front, process))
    };
    let (one, mut first) = front(MEMBER, "front-1")?;
    let (two, mut second) = front(MEMBER, "front-2")?;
    let (status, mut third) = front("authority", "front-of-authority")?;

    // The validators go on, and front-ends follow them.
    let (height, _) = life::agree(&consortium)?;
    let (later, _) = life::agree(&consortium)?;
    assert!(later >= height);
    let validator = consortium.member(MEMBER)?.clone();
    for front in [&one, &two] {
        let said = front.json(&["status"])?;
        assert_eq!((&said["part"], &said["state"]), (&"front-end".into(), &"operational".into()));
        assert!(said["ledger"]["height"].as_u64() >= Some(height), "{said}");
        assert_eq!(said["store"]["engine"], "foundationdb");
        let health = said["store"]["health"].as_str().context("health")?;
        assert!(health.starts_with("answers"), "{health}");
        println!("{}", front.run(&["status"])?.stdout);
    }
    let said = validator.json(&["status"])?;
    assert_eq!(
        (&said["part"], &said["store"]["engine"]),
        (&"validator".into(), &"foundationdb".into())
    );

    // What writes is sent to the validator.
    let refused = process::run(&mut one.hufu(&["cert", "renew"]))?;
    assert!(!refused.status.success() && refused.stderr.contains("front-end"), "{refused:?}");
    let near = process::run(&mut consortium.member("regulator")?.hufu(&["serve", "--read-only"]))?;
    assert!(!near.status.success() && near.stderr.contains("one process has"), "{near:?}");

    // All validators are gone.
    let names: Vec<&str> = consortium.members.iter().map(|member| member.name()).collect();
    for name in names {
        consortium.kill(name)?;
    }
    for front in [&one, &two] {
        let status = front.json(&["status"])?;
        let height = status["ledger"]["height"].as_u64().context("height")?;
        assert!(height >= later, "{height} after {later}");
        wait_for("the read model", Duration::from_secs(60), || {
            let read_model = front.json(&["status"])?["read_model"]["height"].as_u64();
            anyhow::ensure!(read_model >= Some(height), "{read_model:?} of {height}");
            Ok(())
        })?;
        let answer =
            front.json(&["query", "SELECT count(*) AS all_of FROM ledger.certificates"])?;
        assert_eq!(answer["as_of"], height, "{answer}");
        assert!(answer["rows"][0][0].as_u64() > Some(0), "{answer}");
        let certificates = front.json(&["cert", "list"])?;
        let serial = certificates[0]["serial"].as_str().context("serial")?.to_owned();
        let shown = front.json(&["cert", "show", &serial])?;
        assert!(shown.is_object(), "{shown}");
        assert!(front.json(&["org", "members"])?.as_array().is_some_and(|all| all.len() == 4));
    }
    // Of the authority: what everybody may know of certificates.
    for path in ["crl/issuing.crl", "crl/root.crl"] {
        let url = format!("{}/{path}", status.status_url());
        println!("{path} as of height {}", named_height(&url)?);
    }
    let serial = status.json(&["cert", "list"])?[0]["serial"].clone();
    let record = status.json(&["cert", "show", serial.as_str().context("serial")?])?;
    let transaction = record["transaction"].as_str().with_context(|| record.to_string())?;
    let (file, genesis) = (consortium.path("receipt.pem"), consortium.path("genesis.json"));
    let (file, genesis) = (file.to_str().context("path")?, genesis.to_str().context("path")?);
    status.run(&["ledger", "receipt", transaction, "--out", file])?;
    println!("{}", status.run(&["verify", "--genesis", genesis, file])?.stdout);
    let ocsp = |certificate: &Path| {
        let (root, issuing) = (consortium.root_path(), consortium.issuing_path());
        inspect::ocsp(&format!("{}/ocsp", status.status_url()), &root, &issuing, certificate)
    };
    let operator = consortium.member("operator")?.data("tls.pem");
    assert_eq!(ocsp(&operator)?, Standing::Good);
    let crl = Http::plain().get(&format!("{}/crl/issuing.crl", status.status_url()))?.success()?;
    assert!(crl.body.len() > 100);

    // The member comes back: nobody took anything from it, and it is followed on.
    consortium.start_all()?;
    for name in ["authority", "regulator", MEMBER, "operator"] {
        consortium.wait_until_ready(name)?;
    }
    let (height, _) = life::agree(&consortium)?;
    wait_for("the front-end to follow", Duration::from_secs(30), || {
        let at = one.json(&["status"])?["ledger"]["height"].as_u64();
        anyhow::ensure!(at >= Some(height), "{at:?} of {height}");
        Ok(())
    })?;
    // What is revoked meanwhile, it knows as well.
    let certificates = status.json(&["cert", "list", "--member", "operator"])?;
    let serial = certificates[0]["serial"].as_str().context("serial")?.to_owned();
    consortium.authority().run(&["cert", "revoke", &serial])?;
    let url = format!("{}/ocsp", status.status_url());
    let (root, issuing) = (consortium.root_path(), consortium.issuing_path());
    wait_for("the front-end to know of a revocation", Duration::from_secs(20), || {
        let said = inspect::ocsp(&url, &root, &issuing, &operator)?;
        anyhow::ensure!(said == Standing::Revoked, "{said:?}");
        Ok(())
    })?;
    let log = fs::read_to_string(one.log())?;
    assert!(!log.contains("panicked"), "{log}");
    if let Some(cluster) = far.double() {
        assert!(cluster.keys() > 100);
    }
    for process in [&mut first, &mut second, &mut third] {
        assert!(process.terminate(Duration::from_secs(30))?.success());
    }
    consortium.stop_all()
}
