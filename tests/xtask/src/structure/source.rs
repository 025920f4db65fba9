//! Which file of a crate names things of which other, read from the text: paths
//! that begin with `crate`, `super` or `self`, and names of child modules.
//!
//! This is no parser of Rust. It takes comments, texts and `#[cfg(test)]` out,
//! cuts the rest into words, and follows paths as far as there are modules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::circle::Graph;

/// A module's path from the crate, without `crate` itself.
type Module = Vec<String>;

/// One file.
struct File {
    /// As it is shown: relative to `src`.
    shown: String,
    /// What it names, from the root of the crate.
    paths: Vec<Named>,
}

/// A path in a file.
struct Named {
    /// From the root of the crate.
    path: Vec<String>,
    /// The name under which it is exported again.
    export: Option<String>,
}

/// The arrows between the files of a crate.
pub fn graph(src: &Path) -> Result<Graph, String> {
    let mut found = Vec::new();
    collect(src, src, &mut found)?;
    let texts: BTreeMap<Module, (String, Vec<String>)> =
        found.into_iter().map(|(module, shown, text)| (module, (shown, words(&text)))).collect();
    let modules: BTreeSet<Module> = texts.keys().cloned().collect();
    let files: BTreeMap<Module, File> = texts
        .into_iter()
        .map(|(module, (shown, words))| {
            let paths = paths(&words, &module, &modules);
            (module, File { shown, paths })
        })
        .collect();
    let mut graph = Graph::new();
    for (module, file) in &files {
        let mut to = BTreeSet::new();
        for named in file.paths.iter().filter(|named| named.export.is_none()) {
            let target = resolve(&named.path, &files, 8);
            if target != *module
                && let Some(target) = files.get(&target)
            {
                to.insert(target.shown.clone());
            }
        }
        graph.insert(file.shown.clone(), to);
    }
    Ok(graph)
}

/// The module whose file has what `path` names: re-exports are followed, a few
/// deep.
fn resolve(path: &[String], files: &BTreeMap<Module, File>, depth: usize) -> Module {
    let mut length = path.len();
    while length > 0 && !files.contains_key(&path[..length]) {
        length -= 1;
    }
    let module = path[..length].to_vec();
    let Some(name) = path.get(length) else { return module };
    let mut exports = files.get(&module).into_iter().flat_map(|file| &file.paths);
    match exports.find(|named| named.export.as_ref() == Some(name) && named.path != path) {
        Some(named) if depth > 0 => resolve(&named.path, files, depth - 1),
        _ => module,
    }
}

fn collect(
    src: &Path,
    directory: &Path,
    found: &mut Vec<(Module, String, String)>,
) -> Result<(), String> {
    let wrong = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory)
        .map_err(|error| wrong(directory, error))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(src, &path, found)?;
            continue;
        }
        let Ok(relative) = path.strip_prefix(src) else { continue };
        let Some(shown) = relative.to_str().and_then(|shown| shown.strip_suffix(".rs")) else {
            continue;
        };
        let mut module: Module = shown.split('/').map(str::to_owned).collect();
        match module.last().map(String::as_str) {
            Some("mod") => drop(module.pop()),
            // Tests of a module, beside it.
            Some("tests") => continue,
            Some("lib" | "main") if module.len() == 1 => module.clear(),
            _ => {}
        }
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(&path, error))?;
        found.push((module, shown.to_owned(), text));
    }
    Ok(())
}

/// Identifiers and signs of a Rust text, without comments, texts, and what is
/// compiled for tests only.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = quoted(rest) {
            length
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            end
        } else if rest.starts_with("::") {
            words.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                words.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    without_tests(words)
}

/// The length of a text or character that begins here.
fn quoted(rest: &str) -> Option<usize> {
    let raw = rest.strip_prefix('b').unwrap_or(rest);
    if let Some(hashes) = raw.strip_prefix('r') {
        let count = hashes.len() - hashes.trim_start_matches('#').len();
        if let Some(body) = hashes[count..].strip_prefix('"') {
            let end = format!("\"{}", "#".repeat(count));
            let length = body.find(&end).map_or(body.len(), |at| at + end.len());
            return Some(rest.len() - body.len() + length);
        }
    }
    let body = raw.strip_prefix('"').or_else(|| {
        // A character, not a lifetime.
        let body = raw.strip_prefix('\'')?;
        let second = body.chars().nth(1);
        (body.starts_with('\\') || second == Some('\'')).then_some(body)
    })?;
    let end = if raw.starts_with('"') { '"' } else { '\'' };
    let mut escaped = false;
    for (at, character) in body.char_indices() {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == end {
            return Some(rest.len() - body.len() + at + 1);
        }
    }
    Some(rest.len())
}

/// Takes out the item that follows each `#[cfg(test)]`.
fn without_tests(words: Vec<String>) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut place = 0;
    while place < words.len() {
        let marked = words[place..].iter().map(String::as_str).take(7).eq(MARK);
        if !marked {
            kept.push(words[place].clone());
            place += 1;
            continue;
        }
        // To the end of its block, or to a semicolon before there is one.
        let mut depth = 0_usize;
        place += MARK.len();
        while place < words.len() {
            match words[place].as_str() {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            let ends = matches!(words[place].as_str(), "}" | ";") && depth == 0;
            place += 1;
            if ends {
                break;
            }
        }
    }
    kept
}

/// The paths in a file.
fn paths(words: &[String], module: &[String], modules: &BTreeSet<Module>) -> Vec<Named> {
    let mut paths = Vec::new();
    let mut place = 0;
    while place < words.len() {
        if words[place] == "use" {
            let is_export = exported(&words[..place]);
            place += 1;
            let end = words[place..]
                .iter()
                .position(|word| word == ";")
                .map_or(words.len(), |at| place + at);
            let mut tree = Vec::new();
            leaves(&words[place..end], &mut Vec::new(), &mut tree);
            for (leaf, called) in tree {
                // In a `use`, a child module needs no `self`.
                let child = leaf.first().is_some_and(|first| {
                    let mut child = module.to_vec();
                    child.push(first.clone());
                    modules.contains(&child)
                });
                let leaf = if child { [vec!["self".to_owned()], leaf].concat() } else { leaf };
                if let Some(path) = absolute(&leaf, module) {
                    let export = called.or_else(|| path.last().cloned());
                    paths.push(Named { path, export: export.filter(|_| is_export) });
                }
            }
            place = end;
            continue;
        }
        let starts = matches!(words[place].as_str(), "crate" | "super" | "self")
            || modules.contains(&[module, &words[place..=place]].concat());
        let follows = place > 0 && words[place - 1] == "::";
        if starts && !follows && words.get(place + 1).is_some_and(|next| next == "::") {
            let mut path = vec![words[place].clone()];
            place += 1;
            while words.get(place).is_some_and(|word| word == "::") {
                match words.get(place + 1) {
                    Some(word) if word.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                        path.push(word.clone());
                        place += 2;
                    }
                    _ => break,
                }
            }
            if !matches!(path[0].as_str(), "crate" | "super" | "self") {
                path.insert(0, "self".to_owned());
            }
            if let Some(path) = absolute(&path, module) {
                paths.push(Named { path, export: None });
            }
            continue;
        }
        place += 1;
    }
    paths
}

/// Whether `pub` or `pub(...)` stands at the end.
fn exported(before: &[String]) -> bool {
    match before.last().map(String::as_str) {
        Some("pub") => true,
        Some(")") => {
            let open = before.iter().rposition(|word| word == "(");
            open.and_then(|open| open.checked_sub(1)).is_some_and(|at| before[at] == "pub")
        }
        _ => false,
    }
}

/// A path in a `use`, and what it is called here when that is something else.
type Leaf = (Vec<String>, Option<String>);

/// The paths of a tree of `use`: `a::{b, c::D as E}` is `a::b`, and `a::c::D`
/// called `E`.
fn leaves(words: &[String], prefix: &mut Vec<String>, out: &mut Vec<Leaf>) {
    let mut depth = 0_usize;
    let mut start = 0;
    for (place, word) in words.iter().map(String::as_str).chain([","]).enumerate() {
        match word {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            "," if depth == 0 => {
                leaf(&words[start..place], prefix, out);
                start = place + 1;
            }
            _ => {}
        }
    }
}

fn leaf(words: &[String], prefix: &mut Vec<String>, out: &mut Vec<Leaf>) {
    let before = prefix.len();
    let mut called = None;
    let mut place = 0;
    while place < words.len() {
        match words[place].as_str() {
            "::" => {}
            "{" => {
                leaves(&words[place + 1..words.len() - 1], prefix, out);
                prefix.truncate(before);
                return;
            }
            "as" => {
                called = words.get(place + 1).cloned();
                break;
            }
            "self" if place == 0 && before > 0 => {}
            "*" => {}
            word => prefix.push(word.to_owned()),
        }
        place += 1;
    }
    if prefix.len() > before || !words.is_empty() {
        out.push((prefix.clone(), called));
    }
    prefix.truncate(before);
}

/// A path from the root of the crate, or `None` when it leads out of it.
fn absolute(path: &[String], module: &[String]) -> Option<Vec<String>> {
    let mut base = match path.first()?.as_str() {
        "crate" => return Some(path[1..].to_vec()),
        "self" | "super" => module.to_vec(),
        _ => return None,
    };
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match first.as_str() {
            "self" => {}
            "super" => drop(base.pop()?),
            _ => break,
        }
        rest = after;
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph_of(files: &[(&str, &str)]) -> Graph {
        let directory =
            std::env::temp_dir().join(format!("xtask-structure-{}", std::process::id()));
        let src = directory.join(files[0].1.len().to_string());
        for (name, text) in files {
            let path = src.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let graph = graph(&src).unwrap();
        std::fs::remove_dir_all(&src).unwrap();
        graph
    }

    #[test]
    fn paths_are_followed_to_their_files() {
        let graph = graph_of(&[
            (
                "lib.rs",
                "mod a; pub mod b; pub use a::{Thing, inner::Other as Renamed}; // use b::X;",
            ),
            ("a.rs", "pub mod inner; use self::inner::Other; const T: &str = \"crate::b::X\";"),
            (
                "a/inner.rs",
                "use super::super::b::{X, Y}; #[cfg(test)] mod tests { use crate::c::D; }",
            ),
            (
                "b/mod.rs",
                "fn f<'a>(c: char) { if c == '\"' { crate::Thing::new(); crate::Renamed } }",
            ),
            ("c.rs", "use crate::b; use std::fmt; fn g() -> crate::b::X { super::b::f() }"),
        ]);
        let to = |from: &str| graph[from].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(to("lib"), [""; 0]);
        assert_eq!(to("a"), ["a/inner"]);
        assert_eq!(to("a/inner"), ["b/mod"]);
        assert_eq!(to("b/mod"), ["a", "a/inner"]);
        assert_eq!(to("c"), ["b/mod"]);
    }

    #[test]
    fn texts_and_comments_are_no_words() {
        assert_eq!(
            words("a /* b */ r#\"c\"d\"# 'e' 'f: \"\\\"g\" b\"h\" i // j\n::"),
            ["a", "'", "f", ":", "i", "::"]
        );
    }
}
