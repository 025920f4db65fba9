//! The packages that ship with the project pass the check.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hufu_contract::{Contract, Sources, check};
use hufu_proof::Name;

/// Reads a package from its folder.
fn package(name: &str) -> Sources {
    let root = Path::new(env!("HUFU_ROOT")).join("policies").join(name);
    let mut files = BTreeMap::new();
    for folder in ["", "controls", "cases"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let inside = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                files.insert(inside, std::fs::read(&path).unwrap());
            }
        }
    }
    Sources::new(files).unwrap()
}

fn checked(name: &str, dependencies: &BTreeMap<Name, Arc<Contract>>) -> Arc<Contract> {
    match check(&package(name), dependencies) {
        Ok(contract) => Arc::new(contract),
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{name}:\n{}", lines.join("\n"));
        }
    }
}

#[test]
fn shipped_packages_pass() {
    let registry = checked("device-registry", &BTreeMap::new());
    assert_eq!(registry.controls().len(), 4);
    let dependencies = BTreeMap::from([(registry.name().clone(), registry)]);
    let supervision = checked("operation-supervision", &dependencies);
    assert_eq!(supervision.control_sets().len(), 1);
    assert_eq!(supervision.tables().len(), 2);
}

#[test]
fn a_required_contract_must_be_there() {
    let problems = check(&package("operation-supervision"), &BTreeMap::new()).unwrap_err();
    assert!(problems[0].message.contains("requires device-registry@1, which is not there"));
}

#[test]
fn the_canonical_encoding_is_read_back() {
    let sources = package("operation-supervision");
    assert_eq!(Sources::from_bytes(&sources.to_bytes()).unwrap(), sources);
}
