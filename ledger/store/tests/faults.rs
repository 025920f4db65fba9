//! What a store is after its process died, its journal was torn, its disk was
//! full, or its files were damaged.
//!
//! The process that dies is this test program, started again with a variable
//! that makes the test `child` write instead of pass.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hufu_store::{Applied, EmbeddedStore, Space, Store as _, StoreError, Write};
use tempfile::TempDir;

const PLACE: &str = "HUFU_STORE_FAULT_DIRECTORY";
const TASK: &str = "HUFU_STORE_FAULT_TASK";

fn applied(height: u64) -> Applied {
    Applied { height, block: [7; 32], commitment: height.to_be_bytes().to_vec() }
}

/// Rows of a height: one that changes each time, one of its own, and bulk.
fn rows(height: u64, bulk: usize) -> Vec<Write> {
    let number = height.to_be_bytes();
    let mut rows = vec![
        Write::put(Space::State, *b"counter", number),
        Write::put(Space::Headers, number, *b"header"),
    ];
    rows.extend((0..bulk as u64).map(|part| {
        let key = [number, part.to_be_bytes()].concat();
        Write::put(Space::Blocks, key, vec![height as u8; 50_000])
    }));
    rows
}

fn check(store: &EmbeddedStore, height: u64) {
    assert_eq!(store.applied().unwrap(), Some(applied(height)));
    for earlier in 0..=height {
        let number = earlier.to_be_bytes();
        assert_eq!(store.read(Space::State, b"counter", earlier).unwrap(), Some(number.to_vec()));
        let header = store.read_latest(Space::Headers, &number).unwrap();
        assert_eq!(header, Some(b"header".to_vec()));
    }
    let next = (height + 1).to_be_bytes();
    assert_eq!(store.read_latest(Space::Headers, &next).unwrap(), None);
    let newest = store.read_latest(Space::State, b"counter").unwrap();
    assert_eq!(newest, Some(height.to_be_bytes().to_vec()));
}

fn go_on(store: &EmbeddedStore, height: u64) {
    store.stage(height, rows(height, 1)).unwrap();
    store.flip(applied(height)).unwrap();
    check(store, height);
}

/// Not a test of its own: what the other tests' child processes do.
#[test]
fn child() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let task = std::env::var(TASK).unwrap_or_default();
    let store = EmbeddedStore::open(PathBuf::from(place)).unwrap();
    let say = |line: String| {
        // Not `println!`, which the test harness captures.
        let mut out = std::io::stdout().lock();
        writeln!(out, "@ {line}").unwrap();
        out.flush().unwrap();
    };
    match task.as_str() {
        "stage" => {
            for height in 0..5 {
                store.stage(height, rows(height, 2)).unwrap();
                store.flip(applied(height)).unwrap();
            }
            store.stage(5, rows(5, 40)).unwrap();
            say("staged".into());
            std::thread::park();
        }
        "run" => {
            for height in 0.. {
                store.stage(height, rows(height, 30)).unwrap();
                store.flip(applied(height)).unwrap();
                say(format!("flipped {height}"));
            }
        }
        "fill" => {
            for height in 0.. {
                let result = store
                    .stage(height, rows(height, 40))
                    .and_then(|()| store.flip(applied(height)));
                if let Err(error) = result {
                    let full = matches!(error, StoreError::Full(_));
                    let after = store.stage(height, rows(height, 1));
                    let poisoned = matches!(after, Err(StoreError::Poisoned));
                    let reads = store.read_latest(Space::State, b"counter").is_ok();
                    say(format!("error full={full} poisoned={poisoned} reads={reads}"));
                    return;
                }
                say(format!("flipped {height}"));
            }
        }
        other => panic!("no task `{other}`"),
    }
}

fn spawn(directory: &Path, task: &str, shell: Option<&str>) -> Child {
    let program = std::env::current_exe().unwrap();
    let arguments = ["child", "--exact", "--nocapture", "--test-threads=1"];
    let mut command = match shell {
        None => {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        }
        Some(line) => {
            let mut command = Command::new("sh");
            command.args(["-c", line, "sh"]).arg(program).args(arguments);
            command
        }
    };
    command.env(PLACE, directory).env(TASK, task).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// What the child says, without the harness's lines.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let out = BufReader::new(child.stdout.take().unwrap());
    out.lines().map_while(Result::ok).filter_map(|line| {
        // The harness may write in front of it on the same line.
        line.split_once("@ ").map(|(_, said)| said.to_owned())
    })
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Kills a child between stage and flip of height 5.
fn killed_after_stage() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut child = spawn(directory.path(), "stage", None);
    assert_eq!(lines(&mut child).next().as_deref(), Some("staged"));
    kill(child);
    directory
}

fn journal(directory: &Path) -> PathBuf {
    let mut journals: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect();
    journals.sort();
    journals.pop().unwrap()
}

/// Where the journal's last batch ends: the file itself is preallocated.
fn end_of_journal(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1
}

#[test]
fn killed_between_stage_and_flip() {
    let directory = killed_after_stage();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    check(&store, 4);
    // What was staged is found again, or replaced.
    store.stage(5, rows(5, 40)).unwrap();
    store.flip(applied(5)).unwrap();
    check(&store, 5);
    go_on(&store, 6);
}

#[test]
fn killed_at_any_point_of_a_run() {
    for after in [1, 2, 4, 7] {
        let directory = tempfile::tempdir().unwrap();
        let mut child = spawn(directory.path(), "run", None);
        let last = lines(&mut child).nth(after).unwrap();
        kill(child);
        let acknowledged: u64 = last.strip_prefix("flipped ").unwrap().parse().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let height = store.applied().unwrap().unwrap().height;
        assert!(height >= acknowledged, "{height} after {acknowledged} was acknowledged");
        check(&store, height);
        go_on(&store, height + 1);
    }
}

#[test]
fn a_journal_cut_anywhere_in_its_last_height_opens_at_the_flip_before() {
    for cut in [1, 3, 20, 5_000, 500_000, 1_500_000] {
        let directory = killed_after_stage();
        let path = journal(directory.path());
        let end = end_of_journal(&path);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(end - cut).unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        check(&store, 4);
        go_on(&store, 5);
    }
}

#[test]
fn a_journal_garbled_in_its_last_height_opens_at_the_flip_before() {
    // In the last end marker, in a value, and in an earlier batch of the same
    // height: later pages can reach the disk before earlier ones.
    for back in [2, 9, 1_000, 60_000, 1_200_000] {
        let directory = killed_after_stage();
        let path = journal(directory.path());
        let at = end_of_journal(&path) - back;
        let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[byte[0] ^ 0x55]).unwrap();
        drop(file);
        let store = EmbeddedStore::open(directory.path()).unwrap();
        assert!(store.recovery().dropped_batches <= 3);
        check(&store, 4);
        go_on(&store, 5);
        drop(store);
        check(&EmbeddedStore::open(directory.path()).unwrap(), 5);
    }
}

#[test]
fn a_full_disk_is_an_error_and_nothing_flipped_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    // A limit on the size of files stands in for a full disk: above the
    // journal's preallocated 64 MiB (in blocks of 512 bytes), and without the
    // signal that would end the process.
    let limit = "trap '' XFSZ; ulimit -f 135000; exec \"$@\"";
    let mut child = spawn(directory.path(), "fill", Some(limit));
    let said: Vec<String> = lines(&mut child).collect();
    assert!(child.wait().unwrap().success(), "{said:?}");
    let (last, flips) = said.split_last().unwrap();
    assert_eq!(last, "error full=true poisoned=true reads=true");
    let height = flips.len() as u64 - 1;
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let found = store.applied().unwrap().unwrap().height;
    // The flip that failed may have reached the file before the flush failed.
    assert!(found == height || found == height + 1, "{found} after {height}");
    check(&store, found);
    go_on(&store, found + 1);
}

#[test]
fn a_damaged_table_is_reported_as_damage() {
    let directory = tempfile::tempdir().unwrap();
    let mut height = 0;
    let tables = || -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![directory.path().join("keyspaces")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.parent().is_some_and(|parent| parent.ends_with("tables"))
                    && path.metadata().is_ok_and(|metadata| metadata.len() > 1_000_000)
                {
                    found.push(path);
                }
            }
        }
        found
    };
    let store = EmbeddedStore::open(directory.path()).unwrap();
    while tables().is_empty() {
        store.stage(height, rows(height, 40)).unwrap();
        store.flip(applied(height)).unwrap();
        height += 1;
        assert!(height < 200, "no table was written");
    }
    drop(store);
    for table in tables() {
        let mut file = OpenOptions::new().write(true).open(table).unwrap();
        file.seek(SeekFrom::Start(500_000)).unwrap();
        file.write_all(&[0x55; 4_000]).unwrap();
    }
    let outcome = EmbeddedStore::open(directory.path()).and_then(|store| {
        for height in 0..height {
            for part in 0..40u64 {
                let key = [height.to_be_bytes(), part.to_be_bytes()].concat();
                let value = store.read_latest(Space::Blocks, &key)?;
                assert_eq!(value, Some(vec![height as u8; 50_000]), "wrong bytes were believed");
            }
        }
        Ok(())
    });
    assert!(matches!(outcome, Err(StoreError::Damaged { .. })), "{outcome:?}");
}

#[test]
fn a_store_of_another_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    {
        let database = fjall::Database::builder(directory.path()).open().unwrap();
        let meta = database.keyspace("meta", fjall::KeyspaceCreateOptions::default).unwrap();
        meta.insert("format", "hufu-store 9").unwrap();
    }
    let refused = EmbeddedStore::open(directory.path()).err().unwrap();
    assert!(matches!(&refused, StoreError::Format { found, .. } if found == "hufu-store 9"));
}
