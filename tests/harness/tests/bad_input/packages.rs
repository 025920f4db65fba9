//! Contract packages and controls: refused when they are checked, and again
//! when they are deployed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use hufu_harness::Consortium;
use hufu_harness::binaries::workspace;
use hufu_harness::inspect::text;
use hufu_harness::process::{self, Answer};

use crate::common::world;
use crate::harmless;

const REGISTRY: &str = "device-registry/contract.toml";
const POLICY: &str = "device-registry/policy.cedar";
const CONTROL: &str = "operation-supervision/controls/over-limit.sql";

/// Copies of the shipped packages in a directory of their own, in which `file`
/// has `to` instead of `from`; gives the directory of the package.
fn changed(
    consortium: &Consortium,
    name: &str,
    file: &str,
    (from, to): (&str, &str),
) -> anyhow::Result<PathBuf> {
    let directory = consortium.path("packages").join(name);
    fs::create_dir_all(&directory)?;
    for package in hufu_harness::consortium::PACKAGES {
        let source = workspace().join("policies").join(package);
        process::run(Command::new("cp").arg("-r").arg(source).arg(&directory))?.success()?;
    }
    let path = directory.join(file);
    let content = fs::read_to_string(&path)?;
    ensure!(content.contains(from), "{file} has no `{from}`");
    fs::write(&path, content.replacen(from, to, 1))?;
    let package = Path::new(file).iter().next().context("a package")?;
    Ok(directory.join(package))
}

fn check(consortium: &Consortium, arguments: &[&str]) -> anyhow::Result<Answer> {
    process::run(Command::new(&consortium.settings.hufu).args(["policy", "check"]).args(arguments))
}

/// A mistake: its name, in which file, what instead of what, and how the
/// problem begins and what it says.
type Mistake =
    (&'static str, &'static str, (&'static str, &'static str), &'static str, &'static str);

const MISTAKES: [Mistake; 14] = [
    ("key", REGISTRY, ("emit = \"registered\"", "emitt = \"x\""), "contract.toml:42", "emitt"),
    ("toml", REGISTRY, ("[package]", "[package"), "contract.toml:4", ""),
    (
        "typed",
        REGISTRY,
        ("asset.transfers + 1", "asset.transfers + asset.model"),
        "contract.toml:49",
        "mixes int with symbol",
    ),
    (
        "double",
        REGISTRY,
        ("asset.transfers + 1", "asset.transfers + 0.5"),
        "contract.toml:49",
        "decimals",
    ),
    (
        "loop",
        REGISTRY,
        ("asset.transfers + 1", "[1, 2].map(x, x)"),
        "contract.toml:49",
        "found `(`",
    ),
    ("size", REGISTRY, ("max = 512", "max = 99999999"), "contract.toml:32", "1 to 32768"),
    ("reference", REGISTRY, ("to = \"revoked\"", "to = \"gone\""), "contract.toml", "`gone`"),
    ("syntax", POLICY, ("permit (", "permit"), "policy.cedar:7", "unexpected token"),
    ("attribute", POLICY, ("resource.maker ==", "resource.colour =="), "policy.cedar", "colour"),
    ("change", CONTROL, ("SELECT", "DELETE"), "controls/over-limit.sql", "SELECT or WITH"),
    ("clock", CONTROL, ("SELECT", "SELECT random(),"), "controls/over-limit.sql", "`random`"),
    (
        "table",
        CONTROL,
        ("SELECT", "SELECT (SELECT name FROM sqlite_schema LIMIT 1) AS leak,"),
        "controls/over-limit.sql",
        "sqlite_",
    ),
    (
        "recursion",
        CONTROL,
        (
            "SELECT",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT (SELECT i FROM n),",
        ),
        "controls/over-limit.sql",
        "recursive",
    ),
    ("case", "device-registry/cases/life.toml", ("title", "titel"), "cases/life.toml", "titel"),
];

#[test]
fn what_is_ill_typed_or_unbounded_is_refused_when_checked_and_when_deployed() -> anyhow::Result<()>
{
    let world = world()?;
    harmless(&world, |consortium| {
        for (name, file, change, place, words) in MISTAKES {
            let package = changed(consortium, name, file, change)?;
            let checked = check(consortium, &[text(&package)?])?;
            let said = format!("{}{}", checked.stdout, checked.stderr);
            assert_eq!(checked.status.code(), Some(1), "{name}: {said}");
            assert!(
                said.lines().any(|line| line.contains(place) && line.contains(words)),
                "{name}: no line with `{place}` and `{words}`: {said}"
            );
            let deploy = ["policy", "deploy", text(&package)?];
            let deployed = process::run(&mut consortium.authority().hufu(&deploy))?;
            let said = format!("{}{}", deployed.stdout, deployed.stderr);
            assert_eq!(deployed.status.code(), Some(1), "{name} was deployed: {said}");
            assert!(said.contains(place) && said.contains(words), "{name}: {said}");
        }
        Ok(())
    })
}

#[test]
fn what_is_not_a_package_is_refused() -> anyhow::Result<()> {
    let world = world()?;
    harmless(&world, |consortium| {
        let nothing = ("[package]", "[package]");
        let foreign = changed(consortium, "foreign", REGISTRY, nothing)?;
        fs::write(foreign.join("program.exe"), "MZ")?;
        let large = changed(consortium, "large", REGISTRY, nothing)?;
        fs::write(large.join("README.md"), vec![b' '; 128 * 1024 + 1])?;
        let binary = changed(consortium, "binary", REGISTRY, nothing)?;
        fs::write(binary.join("policy.cedar"), [0xff, 0xfe])?;
        let lacking = changed(consortium, "lacking", REGISTRY, nothing)?;
        fs::remove_file(lacking.join("policy.cedar"))?;
        let empty = consortium.path("packages/empty");
        fs::create_dir_all(&empty)?;
        let nowhere = consortium.path("packages/nowhere");
        for (package, status, words) in [
            (&foreign, 1, "program.exe: not a file of a package"),
            (&large, 2, "README.md is over 131072 bytes"),
            (&binary, 1, "policy.cedar: not UTF-8 at byte 0"),
            (&lacking, 1, "policy.cedar: is missing"),
            (&empty, 2, "no contract.toml"),
            (&nowhere, 2, "No such file"),
        ] {
            let checked = check(consortium, &[text(package)?])?;
            let said = format!("{}{}", checked.stdout, checked.stderr);
            assert_eq!(checked.status.code(), Some(status), "{}: {said}", package.display());
            assert!(said.contains(words), "{}: {said}", package.display());
            let deploy = ["policy", "deploy", text(package)?];
            let deployed = process::run(&mut consortium.authority().hufu(&deploy))?;
            assert!(!deployed.status.success(), "{} was deployed", package.display());
        }
        Ok(())
    })
}

#[test]
fn a_version_that_changes_the_meaning_of_what_is_recorded_is_refused() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let deployed = workspace().join("policies/device-registry");
    let active = || -> anyhow::Result<serde_json::Value> {
        Ok(consortium.regulator().json(&["policy", "list"])?["contracts"].clone())
    };
    let before = active()?;
    harmless(&world, |consortium| {
        let optional = "fields.firmware      = { type = \"symbol\", optional = true";
        for (name, change, words) in [
            (
                "retyped",
                ("fields.model         = { type = \"symbol\"", "fields.model = { type = \"id\""),
                "asset.device.fields.model: was symbol, is id",
            ),
            ("shortened", ("max = 512", "max = 100"), "asset.device.fields.reason"),
            (
                "required",
                (optional, "fields.firmware = { type = \"symbol\""),
                "asset.device.fields.firmware: must stay optional",
            ),
        ] {
            let package = changed(consortium, name, REGISTRY, change)?;
            let file = package.join("contract.toml");
            let content = fs::read_to_string(&file)?;
            fs::write(&file, content.replacen("\"1.1.0\"", "\"1.2.0\"", 1))?;
            let against = ["--against", text(&deployed)?, text(&package)?];
            let checked = check(consortium, &against)?;
            let said = format!("{}{}", checked.stdout, checked.stderr);
            assert_eq!(checked.status.code(), Some(1), "{name}: {said}");
            assert!(said.contains(words), "{name}: {said}");
            let deploy = ["policy", "deploy", text(&package)?];
            let node = process::run(&mut consortium.authority().hufu(&deploy))?;
            assert_eq!(node.status.code(), Some(1), "{name}: {}{}", node.stdout, node.stderr);
            assert!(node.stderr.contains(words), "{name}: {}", node.stderr);
        }
        // The same version once more changes nothing, and says so.
        let again = ["policy", "deploy", text(&deployed)?];
        let again = process::run(&mut consortium.authority().hufu(&again))?;
        assert_eq!(again.status.code(), Some(1), "{}{}", again.stdout, again.stderr);
        assert!(again.stderr.contains("must be over 1.1.0"), "{}", again.stderr);
        Ok(())
    })?;
    assert_eq!(active()?, before, "the old version stays");
    Ok(())
}
