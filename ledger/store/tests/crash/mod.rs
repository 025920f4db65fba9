//! What every engine is after its process died at any point.
//!
//! The process that dies is the test program itself, started again with
//! variables that make its test `child` write instead of pass.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use hufu_store::{Applied, Space, Store, Write};

/// What a child is to do; unset in a program that is not one.
pub const TASK: &str = "HUFU_STORE_FAULT_TASK";

/// Where a store is, for this process and for a child.
pub trait Place {
    /// Opens it.
    fn open(&self) -> Box<dyn Store>;

    /// What tells a child where it is.
    fn variables(&self) -> Vec<(&'static str, String)>;
}

pub fn applied(height: u64) -> Applied {
    Applied { height, block: [7; 32], commitment: height.to_be_bytes().to_vec() }
}

/// Rows of a height: one that changes each time, one of its own, and bulk.
pub fn rows(height: u64, bulk: usize) -> Vec<Write> {
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

/// Everything up to `height` is there, and nothing after it.
pub fn check(store: &dyn Store, height: u64) {
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

/// The height can be written, and is there then.
pub fn go_on(store: &dyn Store, height: u64) {
    store.stage(height, rows(height, 1)).unwrap();
    store.flip(applied(height)).unwrap();
    check(store, height);
}

/// Says a line to whoever started this process.
pub fn say(line: &str) {
    // Not `println!`, which the test harness captures.
    let mut out = std::io::stdout().lock();
    writeln!(out, "@ {line}").unwrap();
    out.flush().unwrap();
}

/// What a child does, if it is one of these tasks.
pub fn perform(task: &str, store: &dyn Store) {
    match task {
        "stage" => {
            for height in 0..5 {
                store.stage(height, rows(height, 2)).unwrap();
                store.flip(applied(height)).unwrap();
            }
            store.stage(5, rows(5, 40)).unwrap();
            say("staged");
            std::thread::park();
        }
        "run" => {
            let next = store.applied().unwrap().map_or(0, |applied| applied.height + 1);
            for height in next.. {
                let result = store
                    .stage(height, rows(height, 30))
                    .and_then(|()| store.flip(applied(height)));
                match result {
                    Ok(()) => say(&format!("flipped {height}")),
                    Err(error) => {
                        say(&format!("error {error}"));
                        return;
                    }
                }
            }
        }
        other => panic!("no task `{other}`"),
    }
}

/// This program as a child with a task; with `shell`, as the arguments of that
/// line.
pub fn spawn(place: &dyn Place, task: &str, shell: Option<&str>) -> Child {
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
    command.envs(place.variables()).env(TASK, task);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// What the child says, without the harness's lines.
pub fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let out = BufReader::new(child.stdout.take().unwrap());
    out.lines().map_while(Result::ok).filter_map(|line| {
        // The harness may write in front of it on the same line.
        line.split_once("@ ").map(|(_, said)| said.to_owned())
    })
}

pub fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Kills a child between stage and flip of height 5.
pub fn kill_after_stage(place: &dyn Place) {
    let mut child = spawn(place, "stage", None);
    assert_eq!(lines(&mut child).next().as_deref(), Some("staged"));
    kill(child);
}

/// A process that dies between stage and flip leaves the height before, and
/// what it staged is found again.
pub fn killed_between_stage_and_flip(place: &dyn Place) {
    kill_after_stage(place);
    let store = place.open();
    check(&*store, 4);
    store.stage(5, rows(5, 40)).unwrap();
    store.flip(applied(5)).unwrap();
    check(&*store, 5);
    go_on(&*store, 6);
}

/// Whatever a process acknowledged is there after it was killed, and nothing of
/// a height that was not flipped.
pub fn killed_at_any_point_of_a_run(place: impl Fn() -> Box<dyn Place>) {
    for after in [1, 2, 4, 7] {
        let place = place();
        let mut child = spawn(&*place, "run", None);
        let last = lines(&mut child).nth(after).unwrap();
        kill(child);
        let acknowledged: u64 = last.strip_prefix("flipped ").unwrap().parse().unwrap();
        let store = place.open();
        let height = store.applied().unwrap().unwrap().height;
        assert!(height >= acknowledged, "{height} after {acknowledged} was acknowledged");
        check(&*store, height);
        go_on(&*store, height + 1);
    }
}
