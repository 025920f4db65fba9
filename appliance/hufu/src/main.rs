//! The `hufu` program: its command line, and which part of it does what.
//!
//! What a command asks of a node is in `command`; what runs for long is in
//! `hufu-service` (the node) and `hufu-host` (the owner of a machine).

mod access;
mod cli;
mod command;
mod output;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use hufu_configuration::{Config, Ending, Exit};
use hufu_service::Serving;

use crate::access::Access;
use crate::cli::{Appliance, Backup, Cli, Command, Policy, Prove, ReportCommand};

/// Every thread of the services allocates all the time, and the system's
/// allocator took a fifth of a validator's time (docs/decisions/0008).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Cli::parse();
    if let Command::Confined { work } = &arguments.command {
        return hufu_service::confined::run(work);
    }
    let service = match &arguments.command {
        // Whoever has it done reads what it says.
        Command::Appliance(appliance) => !matches!(appliance, Appliance::Part { .. }),
        command => matches!(command, Command::Serve { .. }),
    };
    logging(service);
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&hufu_configuration::sentence(&error));
            let exit = error
                .chain()
                .find_map(|cause| cause.downcast_ref::<Ending>())
                .map_or(Exit::Usage, |ending| ending.exit);
            ExitCode::from(exit as u8)
        }
    }
}

fn run(arguments: Cli) -> anyhow::Result<()> {
    let Cli { config: file, json, pin_fd, appliance, root, command } = arguments;
    match command {
        Command::Init(init) => command::init::run(init, &Config::load(&file)?, pin_fd, json),
        Command::Appliance(Appliance::Run(options)) => hufu_host::run(*options, &root),
        Command::Appliance(Appliance::Trial { within, steady }) => {
            hufu_host::trial(&root, Duration::from_secs(within), Duration::from_secs(steady))?;
            output::lines("hufu: the update is good and stays\n")
        }
        Command::Appliance(Appliance::Floor { raise }) => hufu_host::floor(&root, raise),
        Command::Appliance(Appliance::Part { part }) => {
            command::part::run(part, &Config::load(&file)?, pin_fd)
        }
        Command::Backup(Backup { command: Some(about), .. }) => command::backup::about(about, json),
        Command::Serve { with_parent, read_only } => {
            let part = if read_only { Serving::FrontEnd } else { Serving::Validator };
            hufu_service::run(&file, part, with_parent, pin_fd, hufu_host::socket_path(&root))
        }
        Command::Store(store) => command::store::run(store, &file, json),
        Command::Prove(Prove::LogKeys { genesis }) => command::prove::log_keys(&genesis, json),
        Command::Verify(verify) => command::verify::run(&verify, json),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "hufu", &mut std::io::stdout());
            Ok(())
        }
        Command::Manual { directory } => {
            clap_mangen::generate_to(Cli::command(), &directory)?;
            Ok(())
        }
        Command::Policy(Policy::Check { directory, requires, against }) => {
            command::policy::check(&directory, &requires, against.as_deref(), json)
        }
        command => {
            let access = Access { config: file, appliance, pin_fd, root };
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async move {
                match command {
                    Command::Backup(backup) => command::backup::run(backup, &access, json).await,
                    Command::Reset(reset) => command::reset::run(reset, &access, json).await,
                    Command::Upgrade(upgrade) => {
                        command::upgrade::run(upgrade, &access, json).await
                    }
                    Command::Configuration(configuration) => {
                        command::configuration::run(configuration, &access, json).await
                    }
                    Command::Install(install) => {
                        command::install::run(install, &access, json).await
                    }
                    Command::Setup(setup) => command::setup::run(setup, &access, json).await,
                    Command::Status => command::node::status(&access, json).await,
                    Command::Org(org) => command::org::run(org, &access, json).await,
                    Command::Device(device) => command::device::run(*device, &access, json).await,
                    Command::Cert(cert) => command::cert::run(cert, &access, json).await,
                    Command::Member(member) => command::member::run(member, &access, json).await,
                    Command::Policy(policy) => command::policy::run(policy, &access, json).await,
                    Command::Report(ReportCommand::Run(report)) => {
                        command::report::run(report, &access.config, pin_fd, json).await
                    }
                    Command::Query(query) => command::node::query(query, &access, json).await,
                    Command::Prove(Prove::State(state)) => {
                        command::prove::state(state, &access, json).await
                    }
                    Command::Prove(Prove::Receipt(receipt)) => {
                        command::prove::receipt(receipt, &access, json).await
                    }
                    Command::Archive(archive) => {
                        command::archive::run(archive, &access, json).await
                    }
                    Command::Ledger(ledger) => command::node::ledger(ledger, &access, json).await,
                    Command::Bench(bench) => {
                        command::bench::run(bench, &access.config, pin_fd, json).await
                    }
                    Command::Init(_)
                    | Command::Appliance(_)
                    | Command::Serve { .. }
                    | Command::Confined { .. }
                    | Command::Store(_)
                    | Command::Verify(_)
                    | Command::Prove(Prove::LogKeys { .. })
                    | Command::Completions { .. }
                    | Command::Manual { .. } => Ok(()),
                }
            })
        }
    }
}

/// Logs to stderr: JSON for a service whose stderr is not a terminal, text for
/// people. `HUFU_LOG` sets the filter.
fn logging(service: bool) {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::try_from_env("HUFU_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new(if service { "info,tss_esapi=warn" } else { "warn" })
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if service && !std::io::stderr().is_terminal() {
        builder.json().init();
    } else {
        builder.init();
    }
}
