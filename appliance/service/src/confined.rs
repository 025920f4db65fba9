//! What runs in a process of its own, because somebody outside wrote it: SQL, and
//! the controls and cases of a package that is proposed.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hufu_contract::Sources;
use hufu_query::{Bounds, Leash, Place, Program};
use serde::{Deserialize, Serialize};

/// Queries, reports and checks of packages at once.
pub const PLACES: usize = 4;

/// The hidden command of this program.
pub const COMMAND: &str = "confined";

/// What it does: what a query or a report asks for.
pub use hufu_query::child::SQL;

/// What it does: check a package.
pub const PACKAGE: &str = "package";

/// For a check: its cases run on a real store, which has files and threads.
const CHECK: Bounds = Bounds {
    time: std::time::Duration::from_secs(60),
    memory: 1 << 30,
    files: 512,
    file: 256 << 20,
    answer: 4 << 20,
};

/// Does such work, as the process.
pub fn run(work: &str) -> ExitCode {
    match work {
        PACKAGE => hufu_query::child::serve(|asked: Check| asked.lines()),
        _ => hufu_query::child::main(),
    }
}

/// This program, so that memory is taken from the system as it is needed: what the
/// allocator reserves beforehand would count against the limit.
pub fn program() -> Program {
    Program::itself(COMMAND).with("MIMALLOC_ARENA_EAGER_COMMIT", "0")
}

/// A package to be checked, and what it is checked against, each in base64.
#[derive(Serialize, Deserialize)]
struct Check {
    package: String,
    required: Vec<String>,
    deployed: Option<String>,
}

/// What is wrong with a package, a line each, found out in the process that has
/// this place.
///
/// # Errors
/// When the process does not get there.
pub fn check(
    (place, leash): (Place, Leash),
    package: &Sources,
    required: &[Sources],
    deployed: Option<&Sources>,
) -> anyhow::Result<Vec<String>> {
    // Ours, so that nothing stays of a process that was killed.
    let directory = tempfile::tempdir()?;
    let text = |sources: &Sources| STANDARD.encode(sources.to_bytes());
    let question = Check {
        package: text(package),
        required: required.iter().map(text).collect(),
        deployed: deployed.map(text),
    };
    let place = place.with("TMPDIR", directory.path());
    let mut worker = place.start(PACKAGE, CHECK, leash)?;
    Ok(worker.exchange(&question)?)
}

impl Check {
    fn lines(&self) -> Vec<String> {
        let report = match self.read() {
            Ok((package, required, Some(old))) => {
                hufu_check::check_upgrade(&package, &required, &old)
            }
            Ok((package, required, None)) => hufu_check::check_package(&package, &required),
            Err(error) => return vec![error.to_string()],
        };
        let failures = report.cases.iter().flat_map(|case| &case.failures);
        report.problems.iter().chain(failures).map(ToString::to_string).collect()
    }

    fn read(&self) -> anyhow::Result<(Sources, Vec<Sources>, Option<Sources>)> {
        let sources = |text: &String| anyhow::Ok(Sources::from_bytes(&STANDARD.decode(text)?)?);
        let required = self.required.iter().map(sources).collect::<anyhow::Result<_>>()?;
        let deployed = self.deployed.as_ref().map(sources).transpose()?;
        Ok((sources(&self.package)?, required, deployed))
    }
}
