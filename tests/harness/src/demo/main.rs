//! `hufu-demo`: the main job on one machine, for a newcomer.

mod display;
mod next;
mod steps;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use anyhow::Context as _;
use clap::Parser;
use hufu_harness::{Settings, binaries};

use display::Display;
use summary::Summary;

/// A consortium of four members on this machine, from key ceremony to a report
/// that a regulator verifies.
#[derive(Debug, Parser)]
#[command(name = "hufu-demo", version)]
struct Arguments {
    /// End when done, with one line of JSON; without it, the consortium keeps
    /// running until Ctrl-C.
    #[arg(long)]
    exit: bool,
    /// Keep all state here; go on with what is here. Default: a new directory
    /// among the temporary ones.
    #[arg(long, value_name = "DIR")]
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
    #[arg(long, value_name = "FILE")]
    hufu: Option<PathBuf>,
    /// Seconds that the build took, for the summary.
    #[arg(long, default_value_t = 0.0, hide = true)]
    build_seconds: f64,
}

/// Where records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Store {
    /// In data directories.
    Embedded,
    /// On FoundationDB.
    Foundationdb,
}

/// How the work ended.
enum Event {
    Done(Box<anyhow::Result<steps::Running>>),
    Interrupted,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let exit = arguments.exit;
    match run(arguments) {
        Ok(summary) => {
            if exit {
                println!("{}", summary.to_json());
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

fn run(arguments: Arguments) -> anyhow::Result<Summary> {
    let directory = match &arguments.dir {
        Some(directory) => directory.clone(),
        None => tempfile::Builder::new()
            .prefix("hufu-demo-")
            .tempdir()
            .context("cannot make a temporary directory")?
            .keep(),
    };
    anyhow::ensure!(
        arguments.store == Store::Embedded
            || arguments.dir.is_none()
            || std::env::var_os("FDB_CLUSTER_FILE").is_some(),
        "--dir: what is on the double of FoundationDB is gone at the end, so there is nothing to go \
         on with; set FDB_CLUSTER_FILE, or leave --dir out"
    );
    let hufu = match &arguments.hufu {
        Some(path) => path.clone(),
        None => binaries::beside("hufu")?,
    };
    anyhow::ensure!(hufu.exists(), "{} is not there; `cargo xtask demo` builds it", hufu.display());
    let settings = Settings {
        directory: directory.clone(),
        hufu,
        remove: false,
        tpm_devices: usize::from(arguments.tpm_devices),
    };
    let plan = steps::Plan {
        devices: usize::from(arguments.devices),
        readings: arguments.readings.clone(),
        build_seconds: arguments.build_seconds,
        far: arguments.store == Store::Foundationdb,
    };

    let (events, event) = mpsc::channel();
    watch_for_signals(events.clone())?;
    // In a thread of its own, so that Ctrl-C does not wait for a step's end.
    thread::spawn(move || {
        let done = steps::run(settings, &plan, &Display::new());
        // Ignored: nobody listens any more after Ctrl-C.
        let _ = events.send(Event::Done(Box::new(done)));
    });
    match event.recv()? {
        Event::Interrupted => {
            // What was started is killed by the watchdog, whose pipe closes
            // when this process ends.
            anyhow::bail!(
                "interrupted; state is kept in {}, and `--dir {}` goes on from there",
                directory.display(),
                directory.display()
            )
        }
        Event::Done(done) => {
            let steps::Running { mut consortium, summary, far: _far } = (*done)?;
            if !arguments.exit {
                println!("{}", next::what_to_try(&consortium, &summary)?);
                while !matches!(event.recv()?, Event::Interrupted) {}
                eprintln!("\nstopping");
            }
            consortium.stop_all()?;
            if !arguments.exit {
                eprintln!(
                    "stopped; state is kept in {} (`--dir` goes on from there, `rm -r` removes it)",
                    directory.display()
                );
            }
            Ok(summary)
        }
    }
}

/// Turns Ctrl-C, SIGTERM and a closed terminal into [`Event::Interrupted`].
fn watch_for_signals(events: mpsc::Sender<Event>) -> anyhow::Result<()> {
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
