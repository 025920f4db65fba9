//! `hufu-demo`: the main job on one machine, for a newcomer.

mod display;
mod next;
mod steps;
mod story;
mod summary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use anyhow::Context as _;
use clap::Parser;
use hufu_harness::{Consortium, Settings, binaries};

use display::Display;
use summary::Summary;

/// A consortium of four members on this machine, from key ceremony to a report
/// that a regulator verifies.
#[derive(Debug, Parser)]
#[command(name = "hufu-demo", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// End when done, with one line of JSON; without it, the consortium keeps
    /// running until Ctrl-C.
    #[arg(long, global = true)]
    exit: bool,
    /// Keep all state here; go on with what is here. Default: a new directory
    /// among the temporary ones.
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Devices whose keys are in software.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(4..=1000))]
    devices: u16,
    /// Devices with a TPM (swtpm).
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    tpm_devices: u16,
    /// Readings to send: CSV with the columns metric, value and measured_at. Default:
    /// shipped ones, as if measured until a minute ago.
    #[arg(long, value_name = "FILE")]
    readings: Option<PathBuf>,
    /// Where the members keep their records: each in its data directory, or all on
    /// the FoundationDB cluster that FDB_CLUSTER_FILE names, or on a test double of
    /// one, which is gone at the end.
    #[arg(long, value_enum, default_value_t = Store::Embedded)]
    store: Store,
    /// The `hufu` program. Default: the one beside this program.
    #[arg(long, global = true, value_name = "FILE")]
    hufu: Option<PathBuf>,
    /// Seconds that the build took, for the summary.
    #[arg(long, default_value_t = 0.0, hide = true)]
    build_seconds: f64,
}

/// What is to be done beside the main job.
#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Play rows of industry, each with what goes wrong in it and the report that
    /// shows it: on the demonstration that runs in DIR, or on one that is started.
    #[command(after_help = STORY_EXAMPLES)]
    Story(story::Arguments),
}

/// Appended to `hufu-demo story --help`.
const STORY_EXAMPLES: &str = "\
Examples:
  hufu-demo story --list
  hufu-demo story leasing --dir /tmp/hufu-demo-x1
  hufu-demo story --all --exit
  hufu-demo story recycling --lang zh";

/// Where records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Store {
    /// In data directories.
    Embedded,
    /// On FoundationDB.
    Foundationdb,
}

/// How the work ended.
enum Event<T> {
    Done(Box<anyhow::Result<T>>),
    Interrupted,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let exit = arguments.exit;
    match run(arguments) {
        Ok(said) => {
            if !said.is_empty() {
                println!("{said}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nhufu-demo: {error:#}");
            if exit {
                println!("{}", Summary::failure(&format!("{error:#}")));
            }
            ExitCode::FAILURE
        }
    }
}

/// What is printed at the end, on standard output.
fn run(arguments: Arguments) -> anyhow::Result<String> {
    if let Some(Command::Story(asked)) = &arguments.command
        && asked.is_list()
    {
        return Ok(story::list(asked)?.trim_end().to_owned());
    }
    let settings = settings(&arguments)?;
    match arguments.command {
        Some(Command::Story(asked)) => {
            asked.stories()?;
            tell(settings, asked, arguments.exit)
        }
        None => demonstrate(settings, &arguments),
    }
}

fn settings(arguments: &Arguments) -> anyhow::Result<Settings> {
    let directory = match &arguments.dir {
        Some(directory) => directory.clone(),
        None => tempfile::Builder::new()
            .prefix("hufu-demo-")
            .tempdir()
            .context("cannot make a temporary directory")?
            .keep(),
    };
    let hufu = match &arguments.hufu {
        Some(path) => path.clone(),
        None => binaries::beside("hufu")?,
    };
    anyhow::ensure!(hufu.exists(), "{} is not there; `cargo xtask demo` builds it", hufu.display());
    let tpm_devices = match arguments.command {
        // No story has one, but the authority is told whose TPMs it may trust, and these
        // roots come about with the first.
        Some(Command::Story(_)) => 1,
        None => usize::from(arguments.tpm_devices),
    };
    Ok(Settings { directory, hufu, remove: false, tpm_devices })
}

/// The main job.
fn demonstrate(settings: Settings, arguments: &Arguments) -> anyhow::Result<String> {
    anyhow::ensure!(
        arguments.store == Store::Embedded
            || arguments.dir.is_none()
            || std::env::var_os("FDB_CLUSTER_FILE").is_some(),
        "--dir: what is on the double of FoundationDB is gone at the end, so there is nothing to go \
         on with; set FDB_CLUSTER_FILE, or leave --dir out"
    );
    let plan = steps::Plan {
        devices: usize::from(arguments.devices),
        readings: arguments.readings.clone(),
        build_seconds: arguments.build_seconds,
        far: arguments.store == Store::Foundationdb,
    };
    let directory = settings.directory.clone();
    let (event, done) =
        until_interrupted(&directory, move || steps::run(settings, &plan, &Display::new()))?;
    let steps::Running { mut consortium, summary, far: _far } = done;
    if arguments.exit {
        consortium.stop_all()?;
        return Ok(summary.to_json());
    }
    println!("{}", next::what_to_try(&consortium, &summary)?);
    keep(&event, consortium)
}

/// Stories.
fn tell(settings: Settings, asked: story::Arguments, exit: bool) -> anyhow::Result<String> {
    let directory = settings.directory.clone();
    let (event, ended) = until_interrupted(&directory, move || story::run(settings, &asked))?;
    let said = if exit { ended.summary.to_string() } else { String::new() };
    match ended.ours {
        Some(mut consortium) if exit => consortium.stop_all()?,
        Some(consortium) => {
            println!(
                "The consortium keeps running until Ctrl-C. Another story, in another terminal:\n  \
                 cargo xtask demo story --dir {} NAME",
                directory.display()
            );
            return keep(&event, consortium);
        }
        None => {}
    }
    Ok(said)
}

/// Does the work in a thread of its own, so that Ctrl-C does not wait for a step's
/// end.
fn until_interrupted<T: Send + 'static>(
    directory: &Path,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<(mpsc::Receiver<Event<T>>, T)> {
    let (events, event) = mpsc::channel();
    watch_for_signals(events.clone())?;
    thread::spawn(move || {
        // Ignored: nobody listens any more after Ctrl-C.
        let _ = events.send(Event::Done(Box::new(work())));
    });
    match event.recv()? {
        // What was started is killed by the watchdog, whose pipe closes when this
        // process ends.
        Event::Interrupted => anyhow::bail!(
            "interrupted; state is kept in {}, and `--dir {}` goes on from there",
            directory.display(),
            directory.display()
        ),
        Event::Done(done) => Ok((event, (*done)?)),
    }
}

/// Keeps the consortium running until Ctrl-C, then stops it.
fn keep<T>(event: &mpsc::Receiver<Event<T>>, mut consortium: Consortium) -> anyhow::Result<String> {
    while !matches!(event.recv()?, Event::Interrupted) {}
    eprintln!("\nstopping");
    consortium.stop_all()?;
    eprintln!(
        "stopped; state is kept in {} (`--dir` goes on from there, `rm -r` removes it)",
        consortium.settings.directory.display()
    );
    Ok(String::new())
}

/// Turns Ctrl-C, SIGTERM and a closed terminal into [`Event::Interrupted`].
fn watch_for_signals<T: Send + 'static>(events: mpsc::Sender<Event<T>>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _context = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
            .into_iter()
            .map(signal)
            .collect::<Result<Vec<_>, _>>()
            .context("cannot listen for signals")?
    };
    thread::spawn(move || {
        runtime.block_on(async {
            let [interrupt, terminate, hangup] = &mut signals[..] else { return };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            // Ignored: the receiver is gone when we are ending anyway.
            let _ = events.send(Event::Interrupted);
        });
    });
    Ok(())
}
