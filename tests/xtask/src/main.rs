//! `cargo xtask`: what a newcomer and CI run.
//!
//! It has few dependencies, so that it is there in seconds, and it does nothing
//! that cannot be done by hand: every command it runs is printed first.

mod demo;
mod fuzz;
mod image;
mod structure;
mod test;
mod tools;

use std::process::ExitCode;

use xtask::packages;

const USAGE: &str = "\
cargo xtask <command>

  demo [--exit] [--dir DIR] [...]   install what is missing, build, and run the demonstration;
                                    the options are those of `hufu-demo` (see `demo --help`)
  demo story NAME [--list] [...]    a row of industry, played on it (see `demo story --help`)
  test [--only STEP,STEP...] [--skip STEP,STEP...] [--list]
                                    install what is missing and run every check; what CI runs
  image build|run|test [...]        the appliance's image (see `image help`)
  install [--for demo|image|test]   install the Debian packages that demo or test need
  help                              this text

Environment: CARGO_TARGET_DIR is honoured; tools that are not Debian packages go to
~/.cache/hufu (XDG_CACHE_HOME is honoured).
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let outcome = match command.as_deref() {
        Some("demo") => demo::run(&rest),
        Some("test") => test::run(&rest),
        Some("image") => image::run(&rest),
        Some("install") => install(&rest),
        Some("help" | "--help" | "-h") | None => {
            print!("{USAGE}");
            return if command.is_some() { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
        Some(other) => Err(format!("there is no command `{other}`\n\n{USAGE}")),
    };
    match outcome {
        Ok(code) => code,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn install(arguments: &[String]) -> Result<ExitCode, String> {
    let purpose = match arguments {
        [] => packages::Purpose::Test,
        [flag, purpose] if flag == "--for" => match purpose.as_str() {
            "demo" => packages::Purpose::Demo,
            "image" => packages::Purpose::Image,
            "test" => packages::Purpose::Test,
            other => return Err(format!("--for takes demo, image or test, not `{other}`")),
        },
        _ => return Err("install takes only --for demo, --for image or --for test".to_owned()),
    };
    packages::install(purpose)?;
    Ok(ExitCode::SUCCESS)
}
