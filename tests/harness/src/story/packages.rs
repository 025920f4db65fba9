//! The contract packages of this tree, checked, and whether stories fit them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, bail, ensure};
use hufu_contract::{Contract, Sources, required_names};
use hufu_proof::{Digest, IdentityId, Name, Sequence};

use super::file::{Act, Look, Story, pair};
use super::names::Names;

/// Packages by name: those that somebody asked for, and what they require.
#[derive(Clone, Debug, Default)]
pub struct Packages {
    contracts: BTreeMap<Name, Arc<Contract>>,
    /// The names in an order in which they can be deployed.
    order: Vec<Name>,
}

impl Packages {
    /// The packages of these names in `policies`, and what they require.
    ///
    /// # Errors
    /// When one is not there or does not pass.
    pub fn load<'a>(names: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Self> {
        let mut packages = Self::default();
        for name in names {
            packages.add(&Name::new(name)?)?;
        }
        Ok(packages)
    }

    fn add(&mut self, name: &Name) -> anyhow::Result<()> {
        if self.contracts.contains_key(name) {
            return Ok(());
        }
        let sources = sources(name).with_context(|| format!("package {name}"))?;
        // A package that requires itself does not come this far: none passes the check.
        for required in required_names(&sources).iter().filter(|one| *one != name) {
            self.add(required)?;
        }
        let contract = hufu_contract::check(&sources, &self.contracts).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("package {name}:\n{}", lines.join("\n"))
        })?;
        self.contracts.insert(name.clone(), Arc::new(contract));
        self.order.push(name.clone());
        Ok(())
    }

    /// The contract called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> anyhow::Result<&Arc<Contract>> {
        self.contracts.get(name).with_context(|| format!("there is no package `{name}`"))
    }

    /// All of them, each after what it requires.
    pub fn in_order(&self) -> impl Iterator<Item = &Name> {
        self.order.iter()
    }

    /// Whether what a story names is there, and its values are of their types.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn fit(&self, story: &Story) -> anyhow::Result<()> {
        // Any time and any key will do: it is about form.
        let now = SystemTime::now();
        let mut names = Names::of(story, now)?;
        for machine in &story.device {
            names.identities.insert(machine.id.clone(), IdentityId(Digest::of(b"any")));
        }
        for role in story.cast.iter().flat_map(|part| &part.roles) {
            let (contract, role) = role.split_once('/').unwrap_or((&story.name, role));
            ensure!(self.get(contract)?.has_role(role), "{contract} has no role `{role}`");
        }
        for (place, step) in story.steps().enumerate() {
            let place =
                || format!("step {} ({})", place + 1, step.act.as_deref().unwrap_or("look"));
            match step.act()? {
                Act::Look => {}
                Act::Invoke { contract, action } => {
                    let params = names.values(&step.params, now).with_context(place)?;
                    let on = step.on.as_ref().map(|on| names.text(on, now)).transpose()?;
                    self.get(contract)?
                        .invocation(action, on.as_deref(), &params)
                        .with_context(place)?;
                }
                Act::Append { contract, stream } => {
                    let rows = step.rows.iter().map(|row| names.values(row, now));
                    let rows = rows.collect::<anyhow::Result<Vec<_>>>().with_context(place)?;
                    self.get(contract)?
                        .batch(stream, Sequence::ZERO.next(), &rows)
                        .with_context(place)?;
                }
            }
            for look in &step.look {
                self.fit_look(look).with_context(place)?;
            }
        }
        for report in &story.report {
            let (contract, set) = pair(&report.set)?;
            let contract = self.get(contract)?;
            let set = contract.control_sets().get(set);
            let set = set.with_context(|| format!("there is no control set `{}`", report.set))?;
            let known: BTreeSet<&str> =
                set.controls.iter().map(|(name, _)| name.as_str()).collect();
            let found: BTreeSet<&String> = report.finding.iter().map(|one| &one.control).collect();
            ensure!(
                found.len() == report.finding.len(),
                "{}: a control is there twice",
                report.set
            );
            let named = report.finding.iter().map(|one| &one.control).chain(report.params.keys());
            for control in named {
                ensure!(
                    known.contains(control.as_str()),
                    "{} has no control `{control}`",
                    report.set
                );
            }
        }
        Ok(())
    }

    fn fit_look(&self, look: &Look) -> anyhow::Result<()> {
        let (contract, name) = pair(&look.asset)?;
        let asset = self.get(contract)?.asset_type(name);
        let asset = asset.with_context(|| format!("there is no asset `{}`", look.asset))?;
        if let Some(state) = &look.state
            && !asset.states.iter().any(|one| one.as_str() == state)
        {
            bail!("{} has no state `{state}`", look.asset);
        }
        for field in look.fields.keys() {
            let known = asset.fields.contains_key(field.as_str());
            ensure!(known, "{} has no field `{field}`", look.asset);
        }
        Ok(())
    }
}

/// Where the package called `name` is.
pub fn folder(name: &Name) -> PathBuf {
    crate::binaries::workspace().join("policies").join(name.as_str())
}

/// The files of the package called `name`.
///
/// # Errors
/// When it is not there, or a file is none of a package.
pub fn sources(name: &Name) -> anyhow::Result<Sources> {
    let root = folder(name);
    let mut files = BTreeMap::new();
    for inside in ["", "controls", "cases"] {
        let folder = root.join(inside);
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_file() {
                files.insert(inside_of(&root, &path)?, fs::read(&path)?);
            }
        }
    }
    Sources::new(files).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(lines.join("\n"))
    })
}

fn inside_of(root: &Path, path: &Path) -> anyhow::Result<String> {
    let inside = path.strip_prefix(root)?.to_str();
    Ok(inside.with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned())
}
