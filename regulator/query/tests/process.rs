//! The worst that SQL can do, done to a process of its own.

#[path = "../../readmodel/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use hufu_query::{AsOf, Bounds, Hold, Leash, Program, Session, Workers, leash};
use hufu_readmodel::{Answer, ControlQuery, Limits, Problem, ReadModel, Reader, Scope};
use rustix::process::{Pid, Signal, kill_process};
use support::{Chain, Deed, deployed, example, model};

/// A million characters, made by one expression.
const BIG: &str = "replace(replace(replace(replace(replace('xxxxxxxxxx','x','yyyyyyyyyy'),'y','zzzzzzzzzz'),'z','xxxxxxxxxx'),'x','yyyyyyyyyy'),'y','zzzzzzzzzz')";

/// Four million pairs of rows.
const PAIRS: &str = "FROM ledger.transactions a, ledger.transactions b";

/// Tests look at the children of this process, so one after the other.
static ALONE: Mutex<()> = Mutex::new(());

struct World {
    _folder: tempfile::TempDir,
    // A node has it open all the time.
    _model: Mutex<ReadModel>,
    reader: Reader,
    workers: Workers,
    height: u64,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chain: Chain = example();
        let height = chain.block(vec![Deed::Refused; 2000]);
        let (folder, model) = model(&chain, &deployed());
        let program = Program {
            path: env!("CARGO_BIN_EXE_hufu-query").into(),
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        let workers = Workers::new(program, 4);
        let reader = model.reader();
        Self { _folder: folder, _model: Mutex::new(model), reader, workers, height, _alone: alone }
    }

    fn session(&self, seconds: u64, leash: Leash) -> Result<Session, Problem> {
        let bounds = Bounds { time: Duration::from_secs(seconds), ..Bounds::QUERY };
        let place = self.workers.place().expect("a place is free");
        Ok(Session::new(place.start("sql", bounds, leash)?, self.reader.clone()))
    }

    fn seen(&self) -> AsOf {
        AsOf { height: self.height, scope: Scope::Whole, contracts: None }
    }

    fn run(&self, sql: &str, seconds: u64, leash: Leash) -> Result<Answer, Problem> {
        let mut session = self.session(seconds, leash)?;
        session.query(&self.seen(), sql, &BTreeMap::new(), &Limits::INTERACTIVE)
    }

    fn ask(&self, sql: &str, seconds: u64) -> Result<Answer, Problem> {
        let (_hold, leash) = leash();
        self.run(sql, seconds, leash)
    }

    /// Runs queries that take long; gives what holds them, once they all run.
    fn long<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        count: usize,
    ) -> Vec<(Hold, ScopedJoinHandle<'scope, Result<Answer, Problem>>)> {
        let one = |_| {
            let (hold, leash) = leash();
            (hold, scope.spawn(move || self.run(&slow(), 60, leash)))
        };
        let running = (0..count).map(one).collect();
        until(|| children().len() == count);
        running
    }
}

/// Minutes within single steps of SQLite's machine.
fn slow() -> String {
    let step = |i| format!("instr({BIG}, substr({BIG}, 1, 500000) || '{i}')");
    let steps = (0..24).map(step).collect::<Vec<_>>().join(" + ");
    format!("SELECT {steps} + a.height {PAIRS}")
}

fn until(holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "it did not come to pass");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The processes that this one started and that still run.
fn children() -> Vec<Pid> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // `PID (NAME) STATE PARENT …`
        let Some((begins, rest)) = stat.rsplit_once(')') else { continue };
        let rest: Vec<&str> = rest.split_whitespace().take(2).collect();
        if rest.len() == 2 && rest[0] != "Z" && rest[1] == own {
            let pid = begins.split_whitespace().next().unwrap().parse().unwrap();
            found.extend(Pid::from_raw(pid));
        }
    }
    found
}

/// Most memory that this process ever had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn what_is_asked_is_answered() {
    let world = World::new();
    let answer = world.ask("SELECT count(*) AS n FROM ledger.transactions", 10).unwrap();
    let mut here = world.reader.snapshot(world.height, Scope::Whole).unwrap();
    let sql = "SELECT count(*) AS n FROM ledger.transactions";
    assert_eq!(here.query(sql, &BTreeMap::new(), &Limits::INTERACTIVE), Ok(answer));

    // Several questions to one process, of each kind, narrowed as they are here.
    let (_hold, leash) = leash();
    let mut session = world.session(20, leash).unwrap();
    let control = ControlQuery {
        sql: "SELECT id, owed FROM equipment_leasing.lease ORDER BY id",
        subject: "id",
        parameters: &BTreeMap::new(),
    };
    for scope in [Scope::Whole, Scope::narrowed_to(Some("north"))] {
        let mut here = world.reader.snapshot(4, scope.clone()).unwrap();
        let seen = AsOf { height: 4, scope, contracts: None };
        let found = session.findings(&seen, &control, &Limits::CONTROL, true).unwrap();
        assert!(found.found.iter().all(|one| !one.evidence.is_empty()));
        assert_eq!(here.control(&control, &Limits::CONTROL), Ok(found));
        let rows = session.findings(&seen, &control, &Limits::CONTROL, false);
        assert_eq!(here.control_rows(&control, &Limits::CONTROL), rows);
    }
    let none = AsOf { contracts: Some(Default::default()), ..world.seen() };
    let unknown = session.findings(&none, &control, &Limits::CONTROL, false).unwrap_err();
    assert!(!unknown.is_of_this_machine() && !unknown.has_looked(), "{unknown}");
    // A refusal is the query's, and the process goes on.
    let future = AsOf { height: 1000, ..world.seen() };
    let refused = session.findings(&future, &control, &Limits::CONTROL, true);
    assert_eq!(refused, Err(Problem::Height { asked: 1000, applied: world.height }));
    assert!(session.findings(&world.seen(), &control, &Limits::CONTROL, true).is_ok());
}

#[test]
fn no_statement_takes_more_than_its_memory_and_time() {
    let world = World::new();
    let many = |columns: usize, column: &str| {
        let columns: Vec<String> =
            (0..columns).map(|i| column.replace("{i}", &i.to_string())).collect();
        format!("SELECT {} {PAIRS}", columns.join(", "))
    };
    let key = format!("{BIG}||a.id||b.id");
    let worst = [
        format!("SELECT 1 {PAIRS} ORDER BY {key}"),
        format!("SELECT count(*) {PAIRS} GROUP BY {key}"),
        format!(
            "SELECT max(length(x)) FROM (SELECT first_value({key}) OVER (PARTITION BY a.height \
             ORDER BY b.id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) x {PAIRS})"
        ),
        format!("SELECT {key} {PAIRS} UNION SELECT 'x'"),
        format!("SELECT max(length(x)) FROM (SELECT lag({key}, 1000000) OVER () x {PAIRS})"),
        format!("SELECT count(*) FROM (SELECT DISTINCT {key} {PAIRS})"),
        format!("SELECT count(DISTINCT {key}) {PAIRS}"),
        format!("SELECT 'x' IN (SELECT {key} {PAIRS})"),
        format!("SELECT length(json_group_array({key})) {PAIRS}"),
        many(400, &format!("{BIG}||{{i}}")),
        many(60, "length(group_concat(a.id || {i}))"),
        slow(),
        many(5, &format!("instr({BIG}, substr({BIG}, 1, 500000) || {{i}})")),
    ];
    let before = peak();
    for sql in &worst {
        let began = Instant::now();
        let problem = world.ask(sql, 2).unwrap_err();
        let refused = matches!(
            problem,
            Problem::Time { seconds: 2 } | Problem::Memory | Problem::Limit { .. }
        );
        assert!(refused && problem.has_looked(), "{sql}: {problem}");
        assert!(began.elapsed() < Duration::from_secs(8), "{sql}: {:?}", began.elapsed());
        assert_eq!(children(), []);
    }
    let grown = peak() - before;
    assert!(grown < 32, "this process grew by {grown} MiB");
}

#[test]
fn an_answer_is_not_larger_than_one_may_be() {
    let world = World::new();
    let (_hold, leash) = leash();
    let bounds = Bounds { answer: 1 << 20, ..Bounds::QUERY };
    let worker = world.workers.place().unwrap().start("sql", bounds, leash).unwrap();
    let mut session = Session::new(worker, world.reader.clone());
    let sql = format!("SELECT {BIG}, {BIG} FROM ledger.blocks WHERE height = 1");
    let answer = session.query(&world.seen(), &sql, &BTreeMap::new(), &Limits::INTERACTIVE);
    assert!(matches!(answer, Err(Problem::Limit { limit: 1_048_576, .. })), "{answer:?}");
}

#[test]
fn who_hangs_up_ends_the_work_and_gives_the_place_back() {
    let world = World::new();
    thread::scope(|scope| {
        for _ in 0..3 {
            let running = world.long(scope, 4);
            // As many as there may be.
            assert!(world.workers.place().is_none());
            for (hold, thread) in running {
                drop(hold);
                assert_eq!(thread.join().unwrap(), Err(Problem::Abandoned));
            }
            assert_eq!(children(), []);
        }
        // Whoever is gone before it begins.
        let (hold, leash) = leash();
        drop(hold);
        assert_eq!(world.run("SELECT 1", 10, leash), Err(Problem::Abandoned));
    });
    assert!(world.ask("SELECT 1", 10).is_ok());
}

#[test]
fn a_process_that_is_killed_is_a_fault_that_passes() {
    let world = World::new();
    thread::scope(|scope| {
        let (_hold, thread) = world.long(scope, 1).remove(0);
        kill_process(children()[0], Signal::KILL).unwrap();
        let problem = thread.join().unwrap().unwrap_err();
        assert!(matches!(&problem, Problem::Gone(why) if why.contains("SIGKILL")), "{problem}");
    });
    assert!(world.ask("SELECT 1", 10).is_ok());
}

#[test]
fn a_process_has_nothing_of_the_one_that_started_it() {
    let world = World::new();
    thread::scope(|scope| {
        let (hold, thread) = world.long(scope, 1).remove(0);
        let process = format!("/proc/{}", children()[0].as_raw_pid());
        // Before it opens the file it is still a copy of this one, or has yet to
        // close what it inherited.
        let open = || -> Vec<String> {
            let entries = std::fs::read_dir(format!("{process}/fd")).unwrap().flatten();
            let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
            links.map(|link| link.to_string_lossy().into_owned()).collect()
        };
        until(|| open().iter().any(|open| open.contains("model.sqlite")));
        assert_eq!(std::fs::read(format!("{process}/environ")).unwrap(), b"");
        for open in open() {
            let own = ["socket:", "pipe:", "/dev/null"].iter().any(|kind| open.starts_with(kind));
            assert!(own || open.contains("model.sqlite"), "{open}");
        }
        let limits = std::fs::read_to_string(format!("{process}/limits")).unwrap();
        for (limit, most) in [
            ("Max data size", "536870912"),
            ("Max cpu time", "62"),
            ("Max open files", "32"),
            ("Max file size", "8388608"),
            ("Max core file size", "0"),
        ] {
            let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
            assert!(line[limit.len()..].split_whitespace().next() == Some(most), "{line}");
        }
        drop(hold);
        assert_eq!(thread.join().unwrap(), Err(Problem::Abandoned));
    });
}
