//! The drawn structure: crates point where `docs/architecture.md` says that they
//! may, and inside a crate no more than three files import each other in a
//! circle.
//!
//! What counts as an arrow between files is what a reader has to follow: a path
//! to a name of another file (`use crate::a::B`, `super::c::D`). Re-exports are
//! looked through, so that `lib.rs`, which names everything, is no part of every
//! circle. Tests inside a file do not count.

mod circle;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use xtask::command;

/// Files that may be in one circle.
const MOST: usize = 3;

/// A crate of the workspace.
struct Crate {
    name: String,
    directory: PathBuf,
    /// Crates of the workspace that it is built from, tests apart.
    uses: BTreeSet<String>,
}

/// Checks the whole workspace.
pub fn check() -> Result<(), String> {
    let root = command::root()?;
    let crates = crates(&root)?;
    let page = root.join("docs/architecture.md");
    let page =
        std::fs::read_to_string(&page).map_err(|error| format!("{}: {error}", page.display()))?;
    let mut wrong = arrows(&crates, &page);
    for one in &crates {
        wrong.extend(files(one)?);
    }
    for line in &wrong {
        eprintln!("{line}");
    }
    match wrong.len() {
        0 => Ok(()),
        count => Err(format!("{count} arrows or circles that the structure does not have")),
    }
}

fn crates(root: &Path) -> Result<Vec<Crate>, String> {
    let mut metadata = command::cargo();
    metadata.args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"]);
    metadata.current_dir(root);
    let text = command::output_of(&mut metadata).ok_or("`cargo metadata` failed")?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let name = |package: &serde_json::Value| package["name"].as_str().map(str::to_owned);
    let names: BTreeSet<String> = packages.iter().filter_map(name).collect();
    let read = |package: &serde_json::Value| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        let uses = package["dependencies"].as_array()?.iter();
        let uses = uses.filter(|one| one["kind"] != "dev").filter_map(name);
        Some(Crate {
            name: name(package)?,
            directory: manifest.parent()?.to_owned(),
            uses: uses.filter(|name| names.contains(name)).collect(),
        })
    };
    packages.iter().map(|one| read(one).ok_or("cargo metadata: a package".to_owned())).collect()
}

/// What crates use against the table of the page, and the table itself.
fn arrows(crates: &[Crate], page: &str) -> Vec<String> {
    let names: BTreeSet<&str> = crates.iter().map(|one| one.name.as_str()).collect();
    let allowed = table(page, &names);
    let mut wrong = Vec::new();
    for one in crates {
        match allowed.get(&one.name) {
            None => wrong.push(format!(
                "{}: docs/architecture.md has no line for this crate in the table of what a crate \
                 may use",
                one.name
            )),
            Some(allowed) => wrong.extend(one.uses.difference(allowed).map(|used| {
                format!(
                    "{} uses {used}, which docs/architecture.md does not allow; a new arrow needs \
                     its place there, and a reason",
                    one.name
                )
            })),
        }
    }
    for name in allowed.keys().filter(|name| !names.contains(name.as_str())) {
        wrong.push(format!("docs/architecture.md has a line for {name}, which is no crate"));
    }
    for circle in circle::circles(&allowed) {
        wrong
            .push(format!("docs/architecture.md allows a circle of crates: {}", circle.join(", ")));
    }
    wrong
}

/// The rows ``| `crate` | what it may use |`` of the page. The second column
/// names crates without `hufu-`; what is in brackets or after a semicolon is for
/// readers.
fn table(page: &str, names: &BTreeSet<&str>) -> BTreeMap<String, BTreeSet<String>> {
    let mut allowed = BTreeMap::new();
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| crate | may use |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    for row in rows {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let (Some(name), Some(uses)) = (cells.next(), cells.next()) else { continue };
        let name = name.trim_matches('`').to_owned();
        let mut plain = String::new();
        let mut depth = 0_usize;
        for character in uses.split(';').next().unwrap_or_default().chars() {
            match character {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ if depth == 0 => plain.push(character),
                _ => {}
            }
        }
        let uses = match plain.trim() {
            "nothing of ours" => BTreeSet::new(),
            "all of them" => {
                names.iter().filter(|one| **one != name).map(|one| (*one).to_owned()).collect()
            }
            list => list.split(',').map(|one| full(one.trim(), names)).collect(),
        };
        allowed.insert(name, uses);
    }
    // Whoever may use all of them may not be used by what it uses, and tests use
    // the product from outside.
    let all: Vec<String> = allowed
        .iter()
        .filter(|(_, uses)| uses.len() + 1 >= names.len())
        .map(|(name, _)| name.clone())
        .collect();
    for name in all {
        let users: Vec<String> = allowed
            .iter()
            .filter(|(_, uses)| uses.contains(&name))
            .map(|(user, _)| user.clone())
            .collect();
        if let Some(uses) = allowed.get_mut(&name) {
            let kept = |one: &String| !users.contains(one) && !is_of_tests(one);
            uses.retain(kept);
        }
    }
    allowed
}

fn full(name: &str, names: &BTreeSet<&str>) -> String {
    let name = name.trim_matches('`');
    let prefixed = format!("hufu-{name}");
    if names.contains(prefixed.as_str()) { prefixed } else { name.to_owned() }
}

fn is_of_tests(name: &str) -> bool {
    matches!(name, "hufu-harness" | "hufu-image" | "hufu-fdb-double" | "xtask")
}

/// Circles among the files of a crate.
fn files(one: &Crate) -> Result<Vec<String>, String> {
    let graph = source::graph(&one.directory.join("src"))?;
    let circles = circle::circles(&graph).into_iter().filter(|circle| circle.len() > MOST);
    let wrong = circles.map(|circle| {
        format!(
            "{}: {} files import each other in a circle, and {MOST} may: {}; one way out: {}",
            one.name,
            circle.len(),
            circle.join(", "),
            circle::shortest(&graph, &circle).join(" -> ")
        )
    });
    Ok(wrong.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
| crate | may use |
|---|---|
| `hufu-a` | nothing of ours |
| `hufu-b` | a (its `x, y` feature); it drives c |
| `hufu` | all of them |

| crate | other |
";

    fn one(name: &str, uses: &[&str]) -> Crate {
        let uses = uses.iter().map(|used| (*used).to_owned()).collect();
        Crate { name: name.to_owned(), directory: PathBuf::new(), uses }
    }

    #[test]
    fn arrows_are_those_of_the_page() {
        let drawn = [one("hufu-a", &[]), one("hufu-b", &["hufu-a"]), one("hufu", &["hufu-b"])];
        assert_eq!(arrows(&drawn, PAGE), [""; 0]);
        let back = [one("hufu-a", &["hufu-b"]), one("hufu-b", &["hufu-a"]), one("hufu", &[])];
        assert!(
            arrows(&back, PAGE)[0].starts_with("hufu-a uses hufu-b"),
            "{:?}",
            arrows(&back, PAGE)
        );
        let more = [one("hufu-a", &[]), one("hufu-b", &[]), one("hufu", &[]), one("hufu-c", &[])];
        assert!(arrows(&more, PAGE)[0].starts_with("hufu-c: docs/architecture.md has no line"));
        let fewer = [one("hufu-a", &[]), one("hufu", &[])];
        assert!(arrows(&fewer, PAGE)[0].contains("hufu-b, which is no crate"));
        let round = PAGE.replace("nothing of ours", "b");
        assert!(arrows(&drawn, &round)[0].contains("a circle of crates: hufu-a, hufu-b"));
    }

    #[test]
    fn the_workspace_is_as_it_is_drawn() {
        assert_eq!(check(), Ok(()));
    }
}
