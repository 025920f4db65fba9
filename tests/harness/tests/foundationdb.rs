//! A member whose record is on FoundationDB, beside members whose record is in
//! a directory: on the cluster that `FDB_CLUSTER_FILE` names, or on a double.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hufu_fdb_double::{Cluster, LIBRARY};
use hufu_harness::job::life;
use hufu_harness::process::{self, Answer};
use hufu_harness::{Consortium, Settings, binaries};

/// The member whose record is on FoundationDB.
const MEMBER: &str = "maker";

/// `[store]` of the member; the double lives as long as what comes with it.
fn store(consortium: &Consortium) -> anyhow::Result<(String, Option<Cluster>)> {
    // A cluster that lasts has other runs' records.
    let prefix = format!("hufu-test/{}", std::process::id());
    let head = format!("\n[store]\nengine = \"foundationdb\"\nprefix = \"{prefix}\"\n");
    if let Ok(file) = std::env::var("FDB_CLUSTER_FILE") {
        println!("the record of {MEMBER} is on the FoundationDB cluster of {file}");
        return Ok((format!("{head}cluster_file = {file:?}\n"), None));
    }
    println!("the record of {MEMBER} is on a test double of FoundationDB");
    let directory = consortium.path("cluster");
    fs::create_dir_all(&directory)?;
    let cluster = Cluster::start(&directory)?;
    let library = std::env::current_exe()?.with_file_name(LIBRARY);
    let text = format!("{head}cluster_file = {:?}\nlibrary = {library:?}\n", cluster.file());
    Ok((text, Some(cluster)))
}

#[test]
fn a_member_keeps_its_record_on_foundationdb() -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("hufu-test-").tempdir()?.keep();
    let settings = Settings { directory, hufu: binaries::hufu()?, remove: true, tpm_devices: 1 };
    let mut consortium = Consortium::prepare(settings)?;
    let (store, cluster) = store(&consortium)?;
    let config = consortium.member(MEMBER)?.config();
    fs::OpenOptions::new().append(true).open(config)?.write_all(store.as_bytes())?;
    consortium.make_ready()?;
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
    if let Some(cluster) = &cluster {
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
    let prefix = format!("hufu-test/{}", std::process::id());
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
    consortium.kill(MEMBER)?;
    refused(to(consortium, &before), "a record of its own, up to height")?;
    consortium.start(MEMBER)?;
    consortium.wait_until_up(MEMBER)
}
