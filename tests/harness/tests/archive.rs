//! The archive of members of a running consortium: made before what is old leaves,
//! declared, verified elsewhere, altered and noticed, read by programs that are not ours,
//! and read again by the node.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use common::settings;
use hufu_harness::Consortium;
use hufu_harness::consortium::in_parallel;
use hufu_harness::device::Device;
use hufu_harness::inspect::text;
use hufu_harness::job::{Fleet, enrol, life, record};
use hufu_harness::member::Member;
use hufu_harness::process;
use hufu_harness::readings::{self, Reading};
use hufu_proof::Digest;
use serde_json::Value;

/// What reads the partitions.
const READERS: [&str; 3] = ["duckdb==2.0.1", "pyarrow==26.0.1", "pandas==3.1.1"];

/// The table of the devices' readings.
const READINGS: &str = "stream.operation-supervision.reading.parquet";

/// Devices.
const DEVICES: usize = 4;

/// Adds sections to the configuration of a member whose node has not started.
fn configure(consortium: &Consortium, member: &str, more: &str) -> anyhow::Result<PathBuf> {
    let config = consortium.member(member)?.config();
    let place = consortium.path(&format!("archive of {member}"));
    let more = more.replace("PLACE", text(&place)?);
    fs::write(&config, fs::read_to_string(&config)? + &more)?;
    Ok(place)
}

/// The partitions in a folder, by name.
fn partitions(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        found.push(entry?.path());
    }
    found.retain(|path| path.join("manifest.json").exists());
    found.sort();
    Ok(found)
}

/// The same folder elsewhere.
fn copied(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copy = Command::new("cp").arg("-r").args([from, to]).status()?;
    ensure!(copy.success(), "cp {}", from.display());
    Ok(())
}

/// Readings of all devices, one batch after another, until `enough`.
fn until(
    consortium: &Consortium,
    fleet: &mut Fleet,
    all: &[Reading],
    enough: impl Fn() -> anyhow::Result<bool> + Sync,
) -> anyhow::Result<()> {
    let gateway = consortium.gateway("operator", "maker", "operator")?;
    let expires = gateway.expiry()?;
    let devices: Vec<Mutex<&mut Device>> = fleet.simulated.iter_mut().map(Mutex::new).collect();
    let started = std::time::Instant::now();
    in_parallel(&devices, |device| {
        let mut device = device.lock().map_err(|_| anyhow::anyhow!("a lane panicked"))?;
        for number in 0.. {
            ensure!(started.elapsed() < Duration::from_secs(500), "it takes too long");
            if number % 8 == 0 && enough()? {
                break;
            }
            let rows = record::piece(all, number);
            let sent = record::append(&gateway, &mut device, &rows[..3], expires)?;
            ensure!(sent.is_accepted(), "refused: {}", sent.answer);
        }
        Ok(())
    })
}

#[test]
fn what_is_old_is_archived_declared_and_read_by_others_before_it_leaves() -> anyhow::Result<()> {
    let mut consortium = Consortium::prepare(settings(1)?)?;
    let keeps = "\n[retention]\nheights = 256\n\n[archive]\ndirectory = \"PLACE\"\nheights = 256\n";
    let pruned = configure(&consortium, "maker", keeps)?;
    let whole = configure(&consortium, "operator", "\n[archive]\ndirectory = \"PLACE\"\n")?;
    consortium.make_ready()?;
    let mut fleet = enrol::assemble(&consortium, DEVICES)?;
    // What is measured here is signed with keys in software.
    fleet.tpm.clear();
    enrol::simulated(&consortium.est()?, &mut fleet, |_| ()).context("EST")?;
    record::register(&consortium, &fleet, |_| ()).context("registry")?;
    let gateway = consortium.gateway("operator", "maker", "operator")?;
    let all = readings::recent()?;
    let recorded = record::simulated(&gateway, &mut fleet, &all, |_| ())?;
    let receipt = consortium.path("before.pem");
    gateway.anchor(recorded.height)?;
    consortium.owner()?.receipt(recorded.sample, &receipt)?;

    let partition = made_by_hand(&consortium, &whole, recorded.height)?;
    altered_partitions_are_refused(&consortium, &partition, recorded.sample, &receipt)?;
    others_read_it(&consortium, &whole, recorded.rows)?;

    // Much happens, and what is old leaves the maker: into its archive first.
    let maker = consortium.maker().clone();
    let kept_from = || -> anyhow::Result<u64> {
        maker.json(&["status"])?["ledger"]["kept_from"].as_u64().context("kept_from")
    };
    until(&consortium, &mut fleet, &all, || Ok(kept_from()? > recorded.height))?;
    left_and_is_there(&consortium, &pruned, recorded.sample)?;
    for member in &consortium.members {
        let log = fs::read_to_string(member.log())?;
        assert!(!log.contains("panicked"), "{log}");
    }
    consortium.stop_all()
}

/// `hufu archive create` at a member that keeps everything; its first partition.
fn made_by_hand(consortium: &Consortium, folder: &Path, height: u64) -> anyhow::Result<PathBuf> {
    let operator = consortium.operator();
    let none = process::run(&mut consortium.regulator().hufu(&["archive", "list"]))?;
    assert!(!none.status.success() && none.stderr.contains("[archive] directory"), "{none:?}");
    let made = operator.json(&["archive", "create", "--to", &height.to_string()])?;
    assert!(made["up_to"].as_u64() >= Some(height), "{made}");
    let again = operator.run(&["archive", "create", "--to", &height.to_string()])?;
    assert!(again.stdout.contains("nothing new to archive"), "{again:?}");
    println!("{}", operator.run(&["archive", "list"])?.stdout);
    let listed = operator.json(&["archive", "list"])?;
    assert_eq!(listed["partitions"][0]["declared"], true, "{listed}");
    let [partition] = &partitions(folder)?[..] else {
        anyhow::bail!("not one partition: {listed}");
    };
    Ok(partition.clone())
}

/// `hufu archive verify`, with the genesis file alone.
fn verified(consortium: &Consortium, partition: &Path) -> anyhow::Result<process::Answer> {
    let genesis = consortium.genesis_path();
    let mut command = Command::new(&consortium.settings.hufu);
    command.args(["archive", "verify", text(partition)?, "--genesis", text(&genesis)?]);
    process::run(&mut command)
}

fn altered_partitions_are_refused(
    consortium: &Consortium,
    partition: &Path,
    sample: Digest,
    receipt: &Path,
) -> anyhow::Result<()> {
    let good = verified(consortium, partition)?.success()?.stdout;
    println!("{good}");
    assert!(good.starts_with("valid: partition\n") && good.contains("operator declared"), "{good}");
    // At another member's node as well.
    let genesis = consortium.genesis_path();
    let (place, genesis) = (text(partition)?, text(&genesis)?);
    let asks = ["archive", "verify", place, "--genesis", genesis, "--node"];
    let asked = consortium.maker().run(&asks)?.stdout;
    assert!(asked.contains("the one that operator declared"), "{asked}");

    // A receipt of it, without a node.
    let out = consortium.path("archived.pem");
    let mut command = Command::new(&consortium.settings.hufu);
    let id = sample.to_string();
    command.args(["archive", "receipt", place, &id, "--genesis", genesis]);
    println!("{}", process::run(command.args(["--out", text(&out)?]))?.success()?.stdout);
    consortium.verify(&out)?.success()?;
    consortium.verify(receipt)?.success()?;

    let altered = consortium.path("altered");
    for file in fs::read_dir(partition)? {
        let name = file?.file_name();
        let _ = fs::remove_dir_all(&altered);
        copied(partition, &altered)?;
        let path = altered.join(&name);
        let mut bytes = fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes)?;
        let refused = verified(consortium, &altered)?;
        let named = refused.stderr.contains(name.to_str().context("a name")?);
        assert!(refused.status.code() == Some(1) && named, "{name:?}: {refused:?}");
        println!("{}", refused.stderr.trim());
    }
    Ok(())
}

/// A Python that has the readers, in the cache beside the tree; `None` where there is no
/// Python or no registry to have them from.
fn python() -> Option<PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    let place = home.join("hufu").join("archive-readers");
    let python = place.join("bin/python3");
    let wanted = "import duckdb, pyarrow, pandas; \
                  print(duckdb.__version__, pyarrow.__version__, pandas.__version__)";
    let versions = READERS.map(|one| one.split("==").last().unwrap_or_default()).join(" ");
    let has = || {
        let found = Command::new(&python).args(["-c", wanted]).output();
        found.is_ok_and(|found| String::from_utf8_lossy(&found.stdout).trim() == versions)
    };
    if !has() {
        let run = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        let made = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place))
            && run(Command::new(&python).args(["-m", "pip", "install", "-q"]).args(READERS));
        if !made {
            return None;
        }
    }
    Some(python)
}

/// What DuckDB, pyarrow and pandas make of a folder of partitions.
const READ: &str = r#"
import glob, json, sys
import duckdb, pandas, pyarrow.parquet as parquet
folder, readings = sys.argv[1:]
every = folder + '/*/' + readings
one = sorted(glob.glob(every))[0]
rows = duckdb.sql(f"SELECT count(*), count(DISTINCT device), min(value)::VARCHAR, typeof(min(value)), typeof(min(recorded_time)) FROM '{every}'").fetchall()[0]
joined = duckdb.sql(f"""SELECT count(*) FROM '{every}' AS r JOIN '{folder}/*/transactions.parquet' AS t
    ON r.log_index = t.log_index AND r.recorded_height = t.height AND t.outcome = 'accepted' AND t.kind = 'append'""").fetchall()[0][0]
blocks = duckdb.sql(f"SELECT count(*), sum(transactions) FROM '{folder}/*/blocks.parquet'").fetchall()[0]
sent = duckdb.sql(f"SELECT count(*) FROM '{folder}/*/transactions.parquet'").fetchall()[0][0]
table = parquet.read_table(one)
frame = pandas.read_parquet(one)
about = json.loads(parquet.read_metadata(one).metadata[b'hufu'])
print(json.dumps({'rows': rows[0], 'devices': rows[1], 'least': rows[2], 'types': list(rows[3:]),
    'joined': joined, 'blocks': blocks[0], 'counted': int(blocks[1]), 'transactions': sent,
    'schema': [f'{one.name}: {one.type}' for one in table.schema], 'arrow_rows': table.num_rows,
    'pandas': [f'{name} {kind}' for name, kind in frame.dtypes.items()], 'pandas_rows': len(frame),
    'largest': str(frame['value'].max()), 'about': about['table']['contract']}))
"#;

fn others_read_it(consortium: &Consortium, folder: &Path, rows: usize) -> anyhow::Result<()> {
    let Some(python) = python() else {
        println!("skipped: there is no Python with {}", READERS.join(", "));
        return Ok(());
    };
    let mut command = Command::new(python);
    let read = process::run(command.args(["-c", READ, text(folder)?, READINGS]))?;
    let read: Value = read.success()?.json()?;
    println!("{read:#}");
    assert_eq!(read["rows"], rows);
    assert_eq!(read["devices"], DEVICES - 1, "one device is kept for later");
    assert_eq!(read["joined"], read["rows"]);
    assert_eq!(read["counted"], read["transactions"]);
    assert_eq!(read["types"], serde_json::json!(["DECIMAL(19,3)", "TIMESTAMP WITH TIME ZONE"]));
    for table in ["arrow_rows", "pandas_rows"] {
        assert_eq!(read[table], read["rows"]);
    }
    let schema = read["schema"].to_string();
    for column in
        ["recorded_time: timestamp[ms, tz=UTC]", "device: string", "value: decimal128(19, 3)"]
    {
        assert!(schema.contains(column), "{column}: {schema}");
    }
    // The same numbers as the read model has.
    let sql = "SELECT min(value) FROM operation_supervision.reading";
    let asked = consortium.operator().json(&["query", sql])?;
    let least = asked["rows"][0][0].as_i64().context("a number")?;
    let digits = |text: &str| text.replace('.', "").parse::<i64>();
    assert_eq!(digits(read["least"].as_str().context("least")?)?, least);
    Ok(())
}

/// What has left the maker's store is in declared partitions, from which its node answers.
fn left_and_is_there(consortium: &Consortium, folder: &Path, sample: Digest) -> anyhow::Result<()> {
    let maker = consortium.maker();
    let status = maker.json(&["status"])?;
    println!("{:#}", status["archive"]);
    let kept_from = status["ledger"]["kept_from"].as_u64().context("kept_from")?;
    assert!(status["archive"]["up_to"].as_u64() >= Some(kept_from), "{status}");
    assert_eq!(status["archive"]["waits"], Value::Null);
    for partition in partitions(folder)? {
        let said = verified(consortium, &partition)?.success()?.stdout;
        assert!(said.contains("maker declared"), "{said}");
    }
    // Its devices' owner asks for it at the maker's node.
    let gateway = consortium.gateway("maker", "operator", "operator")?;
    let after = consortium.path("after.pem");
    gateway.receipt(sample, &after)?;
    consortium.verify(&after)?.success()?;
    let block = maker.json(&["ledger", "block", "5"])?;
    assert_eq!(block["block"]["header"]["height"], 5);

    // Without the partition it is gone, and with it restored it is there again.
    let first = partitions(folder)?.into_iter().next().context("a partition")?;
    let away = consortium.path("away");
    fs::rename(&first, &away)?;
    let gone = process::run(&mut maker.hufu(&["ledger", "block", "5"]))?;
    assert!(!gone.status.success() && gone.stderr.contains("is not kept here"), "{gone:?}");
    let restored = maker.run(&["archive", "restore", text(&away)?])?.stdout;
    println!("{restored}");
    assert!(maker.run(&["ledger", "block", "5"]).is_ok());
    let twice = process::run(&mut maker.hufu(&["archive", "restore", text(&away)?]))?;
    assert!(twice.status.code() == Some(1) && twice.stderr.contains("is there already"));
    fetched(consortium, maker, folder)?;
    let mut bytes = fs::read(away.join(READINGS))?;
    bytes[30] ^= 1;
    fs::write(away.join(READINGS), bytes)?;
    fs::remove_dir_all(&first)?;
    let refused = process::run(&mut maker.hufu(&["archive", "restore", text(&away)?]))?;
    assert!(refused.status.code() == Some(1) && refused.stderr.contains(READINGS), "{refused:?}");
    // All members agree as ever.
    life::agree(consortium).map(drop)
}

/// `hufu archive fetch`, which goes on where it was.
fn fetched(consortium: &Consortium, maker: &Member, folder: &Path) -> anyhow::Result<()> {
    let last = partitions(folder)?.pop().context("a partition")?;
    let name = last.file_name().context("a name")?.to_str().context("a name")?;
    let first: u64 = name.split('-').next().context("a height")?.parse()?;
    let into = consortium.path("fetched");
    // As if it had broken off.
    let partial = into.join(format!(".fetching-{name}"));
    fs::create_dir_all(&partial)?;
    fs::copy(last.join("manifest.json"), partial.join("manifest.json"))?;
    let half = fs::read(last.join("transactions.parquet"))?;
    fs::write(partial.join("transactions.parquet"), &half[..half.len() / 2])?;
    let first = first.to_string();
    let fetch = ["archive", "fetch", &first, "--into", text(&into)?];
    let got = maker.run(&fetch)?;
    assert!(got.stderr.contains("goes on after"), "{got:?}");
    println!("{}", got.stdout);
    verified(consortium, &into.join(name))?.success()?;
    let again = process::run(&mut maker.hufu(&fetch))?;
    assert!(!again.status.success() && again.stderr.contains("is there already"), "{again:?}");
    Ok(())
}
