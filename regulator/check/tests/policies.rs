//! Every package under `policies/` passes, cases and all; and a package whose
//! cases are wrong does not.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use hufu_check::{Report, check_package, check_upgrade};
use hufu_contract::{Sources, required_names};

fn policies() -> PathBuf {
    Path::new(env!("HUFU_ROOT")).join("policies")
}

/// Reads a package's files from its folder.
fn files(name: &str) -> BTreeMap<String, Vec<u8>> {
    let root = policies().join(name);
    let mut files = BTreeMap::new();
    for folder in ["", "controls", "cases"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_file() {
                let inside = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                files.insert(inside, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn package(name: &str) -> Sources {
    Sources::new(files(name)).unwrap()
}

/// What a package requires, and what that requires.
fn required(sources: &Sources) -> Vec<Sources> {
    let mut wanted = required_names(sources);
    let mut found = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        if let Entry::Vacant(place) = found.entry(name.clone()) {
            wanted.extend(required_names(place.insert(package(name.as_str()))));
        }
    }
    found.into_values().collect()
}

fn check(sources: &Sources) -> Report {
    check_package(sources, &required(sources))
}

/// A package with one text in one file replaced.
fn altered(name: &str, path: &str, from: &str, to: &str) -> Sources {
    let mut files = files(name);
    let text = String::from_utf8(files[path].clone()).unwrap();
    assert!(text.contains(from), "{path} has no `{from}`");
    files.insert(path.to_owned(), text.replacen(from, to, 1).into_bytes());
    Sources::new(files).unwrap()
}

/// The names of the packages here.
fn all() -> Vec<String> {
    let entries = std::fs::read_dir(policies()).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn passes(name: &str) {
    let report = check(&package(name));
    assert!(report.passed(), "{}", report.to_text());
    assert!(!report.cases.is_empty() && !report.tables.is_empty());
    assert!(report.to_text().contains("all is well"));
    let untouchable = |what: &&String| !UNTOUCHABLE.contains(&what.as_str());
    let left: Vec<&String> = report.untouched.iter().filter(untouchable).collect();
    assert!(left.is_empty(), "{name}: no case touches {left:#?}");
}

#[test]
fn every_package_passes() {
    let open = Mutex::new(all());
    assert!(open.lock().unwrap().len() >= 2);
    // One after another they take minutes.
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                loop {
                    let Some(name) = open.lock().unwrap().pop() else { break };
                    passes(&name);
                }
            });
        }
    });
}

/// What no case can bring about: faults of the ledger itself, and what is no
/// contract's, such as certificates.
const UNTOUCHABLE: &[&str] = &[
    // The register's one invariant is of block times.
    "no invariant is ever in the way",
    "control unapproved-certificate never finds anything",
    "control inactive-reading never finds anything",
    // A case records no look.
    "control undeclared-look never finds anything",
];

#[test]
fn what_no_case_touches_is_said() {
    let mut files = files("operation-supervision");
    files.retain(|path, _| !path.starts_with("cases/") || path == "cases/findings.toml");
    let report = check(&Sources::new(files).unwrap());
    assert!(report.passed(), "{}", report.to_text());
    for what in [
        "action share from open is never done",
        "action share is never refused",
        "control inactive-reading never finds anything",
        "control clock-drift is never without findings",
        "nobody is asked not to see watch",
    ] {
        assert!(report.untouched.iter().any(|one| one == what), "{what}: {}", report.to_text());
    }
    assert!(report.to_text().contains("no case touches\n  action adjust from open"));
    assert!(!report.untouched.iter().any(|one| one.starts_with("control over-limit")));
}

#[test]
fn the_report_is_for_people_and_programs() {
    let report = check(&package("device-registry"));
    let text = report.to_text();
    for line in ["device-registry@1.1.0", "device_registry.device", "registry-baseline", "pass  "] {
        assert!(text.contains(line), "{text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["name"], "device-registry");
    assert_eq!(json["digest"], package("device-registry").digest().to_string());
    assert_eq!(json["problems"], serde_json::json!([]));
}

#[test]
fn a_case_that_expects_otherwise_fails_with_its_line() {
    for (path, from, to, message) in [
        (
            "cases/life.toml",
            "refused: asset-exists",
            "refused: policy",
            "was refused: asset-exists",
        ),
        ("cases/life.toml", "state = \"revoked\"", "state = \"active\"", "is `revoked`"),
        ("cases/life.toml", "transfers = 1", "transfers = 2", "expected transfers = 2, is 1"),
        (
            "cases/life.toml",
            "key = \"D1\", visible = false",
            "key = \"D1\", visible = true",
            "does not see",
        ),
        (
            "cases/controls.toml",
            "findings = [\"D2\", \"D3\"]",
            "findings = [\"D2\"]",
            "found [D2, D3]",
        ),
        ("cases/controls.toml", "most = 0", "least = 0", "no such parameter"),
        (
            "cases/controls.toml",
            "control = \"shared-key\"",
            "control = \"shared\"",
            "no such control",
        ),
        ("cases/life.toml", "as = \"authority\"", "as = \"emperor\"", "not in the fixture world"),
        ("cases/life.toml", "firmware = \"1.0.1\" }", "firmware = \"\" }", "0 bytes"),
        ("cases/life.toml", "D1 = \"maker\"", "D1 = \"nobody\"", "owners are"),
    ] {
        let report = check(&altered("device-registry", path, from, to));
        assert!(!report.passed(), "{to}");
        let text = report.to_text();
        assert!(text.contains(message) && text.contains("FAIL"), "{to}: {text}");
        assert_eq!(report.problems, []);
    }
}

#[test]
fn a_policy_that_permits_more_is_caught_by_a_case() {
    let policy = "unless\n{\n    context.params.owner in Role::\"operator\" ||";
    let loose = "unless\n{\n    principal.kind == \"member\" ||\n    context.params.owner in Role::\"operator\" ||";
    let report = check(&altered("device-registry", "policy.cedar", policy, loose));
    let text = report.to_text();
    assert!(!report.passed());
    assert!(text.contains("expected refused: policy, was accepted"), "{text}");
}

#[test]
fn controls_are_prepared_under_the_authorizer() {
    for (from, to) in [
        ("device_registry.device", "device_registry.robot"),
        ("       reason,", "       colour,"),
        ("SELECT device_id", "SELECT random() AS r, device_id"),
        (":days", ":weeks"),
        ("SELECT device_id,", "SELECT"),
        ("ORDER BY device_id", "; DROP TABLE device_registry.device"),
    ] {
        let report = check(&altered("device-registry", "controls/long-suspended.sql", from, to));
        let problem = report.problems.first().unwrap_or_else(|| panic!("{to} passes"));
        assert_eq!(problem.file, "controls/long-suspended.sql", "{to}: {problem}");
        assert!(report.cases.is_empty());
    }
}

#[test]
fn what_people_read_is_declared_of_every_column_and_fits_what_the_query_gives() {
    let declared = |name: &str, rest: &str| format!("columns.{name} = {{ {rest} }}\n");
    let title = "title = { en = \"Extra\", zh = \"附加\" }, type = \"int\"";
    let registry = "controls.toml";
    let line = |name: &str| {
        let sources = package("device-registry");
        let text = sources.text(registry).unwrap().to_owned();
        let found = text.lines().find(|line| line.starts_with(&format!("columns.{name} ")));
        format!("{}\n", found.unwrap())
    };
    let suspended = line("suspended_at");
    for (from, to, message) in [
        (
            suspended.clone(),
            String::new(),
            "columns.suspended_at: is a column of the query's result",
        ),
        (
            suspended.clone(),
            suspended.clone() + &declared("extra", title),
            "columns.extra: is declared, and no column",
        ),
        (
            suspended.clone(),
            suspended
                .replace("type = \"time\", clock = \"block\", role = \"since\"", "type = \"int\""),
            "columns.suspended_at: is declared as int; the query gives time",
        ),
        (
            line("reason"),
            line("reason").replace("\"text\", max = 512", "\"bool\""),
            "columns.reason: is declared as bool; the query gives text",
        ),
    ] {
        let report = check(&altered("device-registry", registry, &from, &to));
        assert!(report.to_text().contains(message), "{message}: {}", report.to_text());
        assert!(!report.passed());
    }
    // A scale that is not the stream's, also through min and max.
    let sources = package("operation-supervision");
    let text = sources.text(registry).unwrap().replace("scale = 3, unit_by", "scale = 2, unit_by");
    let text =
        text.replace("type = \"decimal\", scale = 3, min", "type = \"decimal\", scale = 2, min");
    let whole = altered("operation-supervision", registry, sources.text(registry).unwrap(), &text);
    let report = check_package(&whole, &[package("device-registry")]);
    for column in ["lowest", "highest", "low", "high"] {
        let message =
            format!("columns.{column}: is declared as decimal(2); the query gives decimal(3)");
        assert!(report.to_text().contains(&message), "{message}: {}", report.to_text());
    }
    // Titles of what there is, not only of what is found.
    let bare = "title = { en = \"Owner\", zh = \"所有者\" }";
    let manifest = altered("device-registry", "contract.toml", &format!(", {bare}"), "");
    assert!(check(&manifest).to_text().contains("asset.device.fields.owner: lacks a title"));
}

#[test]
fn problems_of_required_packages_are_named() {
    let supervision = package("operation-supervision");
    let report = check_package(&supervision, &[]);
    assert!(report.to_text().contains("requires device-registry@1, which is not there"));
    let broken = altered("device-registry", "contract.toml", "key = \"device_id\"", "key = \"id\"");
    let report = check_package(&supervision, &[broken]);
    assert!(report.problems[0].file.starts_with("device-registry/contract.toml"));
}

#[test]
fn an_upgrade_lists_what_it_changes() {
    let old = package("device-registry");
    let new = altered("device-registry", "contract.toml", "1.1.0", "1.2.0");
    let report = check_upgrade(&new, &[], &old);
    assert!(report.passed(), "{}", report.to_text());
    assert_eq!(report.changes, Some(vec![]));
    let same = check_upgrade(&old, &[], &old);
    assert!(same.to_text().contains("must be over 1.1.0"));
}

/// What 1.0.0 was, as far as it was otherwise.
#[test]
fn the_jurisdiction_came_with_an_upgrade() {
    let mut files = files("device-registry");
    let mut drop_from = |path: &str, pieces: &[(&str, &str)]| {
        let mut text = String::from_utf8(files[path].clone()).unwrap();
        for (begins, ends) in pieces {
            let begin = text.find(begins).unwrap_or_else(|| panic!("{path}: {begins}"));
            let end = begin + text[begin..].find(ends).unwrap() + ends.len();
            text.replace_range(begin..end, "");
        }
        files.insert(path.to_owned(), text.replace("1.1.0", "1.0.0").into_bytes());
    };
    drop_from(
        "contract.toml",
        &[
            ("fields.jurisdiction", "\n"),
            (", \"jurisdiction\"", "\"jurisdiction\""),
            ("[action.relocate]", "emit = \"relocated\"\n"),
        ],
    );
    drop_from(
        "policy.cedar",
        &[("// A device comes under another", "when { principal.kind == \"member\" };")],
    );
    drop_from("cases/life.toml", &[(", jurisdiction = \"south\"", "south\"")]);
    let case = String::from_utf8(files["cases/life.toml"].clone()).unwrap();
    let steps: Vec<&str> = case.split("[[step]]").filter(|one| !one.contains("relocate")).collect();
    files.insert("cases/life.toml".into(), steps.join("[[step]]").into_bytes());
    // It is of the action that was not there.
    files.remove("cases/suspended.toml");
    let old = Sources::new(files).unwrap();
    assert!(check(&old).passed(), "{}", check(&old).to_text());
    let upgrade = check_upgrade(&package("device-registry"), &[], &old);
    assert!(upgrade.passed(), "{}", upgrade.to_text());
    let changes = upgrade.to_text();
    for change in ["asset.device.fields.jurisdiction", "action.relocate"] {
        assert!(changes.contains(change), "{changes}");
    }
}
