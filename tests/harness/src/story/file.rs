//! What a story's file says, and whether it is one: bounded, with no key that
//! nobody reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use hufu_proof::Name;
use serde::Deserialize;
use serde_json::Value;

use crate::member::{COMPANIES, ROLES};

/// Largest file of a story, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// Most steps of a story, those beforehand included.
const MAX_STEPS: usize = 64;
/// Most parties, devices, names and reports.
const MAX_LIST: usize = 32;
/// Longest text for people, in characters.
const MAX_TEXT: usize = 1000;
/// Longest pause before a step, in seconds.
const MAX_AFTER: u64 = 20;

/// A language of people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Chinese.
    Zh,
}

/// A text for people in both languages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
}

impl Said {
    /// In one of them.
    pub fn in_language(&self, language: Language) -> &str {
        match language {
            Language::En => &self.en,
            Language::Zh => &self.zh,
        }
    }
}

/// A story.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Story {
    /// The name of its file, and of the package whose row it plays.
    #[serde(skip)]
    pub name: String,
    /// What happens, in a line.
    pub title: Said,
    /// What it shows, in a paragraph.
    pub text: Said,
    /// Names that each play makes its own: of assets, devices, documents.
    pub ids: Vec<String>,
    /// Who takes part.
    pub cast: Vec<Part>,
    /// Devices that take part.
    #[serde(default)]
    pub device: Vec<Machine>,
    /// What has happened before the story begins, told in a line.
    #[serde(default)]
    pub before: Vec<Step>,
    /// What happens.
    pub step: Vec<Step>,
    /// What the regulator's reports show at the end.
    pub report: Vec<Report>,
}

/// A party.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What it is called in this file.
    pub id: String,
    /// The member of the demonstration that plays it.
    pub member: String,
    /// What people call it.
    pub title: Said,
    /// Its roles: `ROLE` of the story's package, `CONTRACT/ROLE` of another.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// A device with a key of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Its identifier, one of the story's names.
    pub id: String,
    /// The party in whose name it is certified.
    pub of: String,
    /// What people call it.
    pub title: Said,
}

/// Something that somebody does, and what others see of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Who: a party or a device. Nobody, where there is only something to see.
    #[serde(rename = "as")]
    pub by: Option<String>,
    /// What happens, in a sentence.
    pub say: Option<Said>,
    /// `CONTRACT/ACTION`, or `CONTRACT/STREAM` with rows.
    #[serde(rename = "do")]
    pub act: Option<String>,
    /// The asset, where the parameters do not name it.
    pub on: Option<String>,
    /// Parameters.
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    /// Rows of a stream.
    #[serde(default)]
    pub rows: Vec<BTreeMap<String, Value>>,
    /// Seconds to wait before it.
    #[serde(default)]
    pub after: u64,
    /// The outcome's code where it has to be refused.
    pub refused: Option<String>,
    /// Whether it is done once for a member, so that an earlier play may have done it.
    #[serde(default)]
    pub once: bool,
    /// Whether this is what goes wrong in the story.
    #[serde(default)]
    pub wrong: bool,
    /// What is seen afterwards, and by whom.
    #[serde(default)]
    pub look: Vec<Look>,
}

/// An asset, who sees it, and what there is to see.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// `CONTRACT/TYPE`.
    pub asset: String,
    /// Its key.
    pub key: String,
    /// Parties that see it.
    #[serde(default)]
    pub by: Vec<String>,
    /// Parties that do not.
    #[serde(default)]
    pub not: Vec<String>,
    /// Its state, waited for.
    pub state: Option<String>,
    /// Fields and what is in them, waited for.
    #[serde(default)]
    pub fields: BTreeMap<String, Value>,
    /// What that means, in a sentence.
    pub say: Option<Said>,
}

/// A report of the regulator's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// `CONTRACT/SET`.
    pub set: String,
    /// Parameters by control, in place of the set's own.
    #[serde(default)]
    pub params: BTreeMap<String, BTreeMap<String, String>>,
    /// What it finds of this story: that, and of its names nothing else.
    pub finding: Vec<Finding>,
}

/// Findings of one control.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The control.
    pub control: String,
    /// What they are about: one for each row.
    pub subjects: Vec<String>,
    /// What it means, in a sentence.
    pub say: Said,
}

/// What a step does.
#[derive(Clone, Copy, Debug)]
pub enum Act<'a> {
    /// An action of a contract.
    Invoke {
        /// The contract.
        contract: &'a str,
        /// The action.
        action: &'a str,
    },
    /// Rows for a stream of a contract.
    Append {
        /// The contract.
        contract: &'a str,
        /// The stream.
        stream: &'a str,
    },
    /// Nothing: there is only something to see.
    Look,
}

impl Step {
    /// What it does.
    ///
    /// # Errors
    /// When it is not of the form `CONTRACT/NAME`.
    pub fn act(&self) -> anyhow::Result<Act<'_>> {
        let Some(act) = &self.act else { return Ok(Act::Look) };
        let (contract, name) = pair(act)?;
        Ok(match self.rows.is_empty() {
            true => Act::Invoke { contract, action: name },
            false => Act::Append { contract, stream: name },
        })
    }
}

impl Story {
    /// The party called `id`.
    pub fn part(&self, id: &str) -> Option<&Part> {
        self.cast.iter().find(|part| part.id == id)
    }

    /// The device called `id`.
    pub fn machine(&self, id: &str) -> Option<&Machine> {
        self.device.iter().find(|machine| machine.id == id)
    }

    /// What people call the party or device `id`.
    pub fn title_of(&self, id: &str) -> Option<&Said> {
        let machine = || self.machine(id).map(|machine| &machine.title);
        self.part(id).map(|part| &part.title).or_else(machine)
    }

    /// Every step, those beforehand first.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.before.iter().chain(&self.step)
    }

    /// The contracts that it plays on.
    ///
    /// # Errors
    /// When something is not of the form `CONTRACT/NAME`.
    pub fn contracts(&self) -> anyhow::Result<BTreeSet<&str>> {
        let mut contracts = BTreeSet::from([self.name.as_str()]);
        for step in self.steps() {
            let looks = step.look.iter().map(|look| &look.asset);
            for named in step.act.iter().chain(looks) {
                contracts.insert(pair(named)?.0);
            }
        }
        for report in &self.report {
            contracts.insert(pair(&report.set)?.0);
        }
        for role in self.cast.iter().flat_map(|part| &part.roles) {
            contracts.extend(role.split_once('/').map(|(contract, _)| contract));
        }
        Ok(contracts)
    }
}

/// `CONTRACT/NAME`.
///
/// # Errors
/// When it is not of that form.
pub fn pair(text: &str) -> anyhow::Result<(&str, &str)> {
    let pair = text
        .split_once('/')
        .filter(|(contract, name)| Name::new(contract).is_ok() && Name::new(name).is_ok());
    pair.with_context(|| format!("`{text}` is not CONTRACT/NAME"))
}

/// Where stories are.
pub fn folder() -> PathBuf {
    crate::binaries::workspace().join("tests/harness/stories")
}

/// The story called `name`.
///
/// # Errors
/// When there is none, or its file is none; all stories are named then.
pub fn load(name: &str) -> anyhow::Result<Story> {
    let known = names()?;
    if !known.iter().any(|one| one == name) {
        bail!("there is no story `{name}`; there are {}", known.join(", "));
    }
    let path = folder().join(format!("{name}.toml"));
    let size = fs::metadata(&path).with_context(|| path.display().to_string())?.len();
    ensure!(size <= MAX_FILE, "{}: {size} bytes; at most {MAX_FILE}", path.display());
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    parse(name, &text).with_context(|| path.display().to_string())
}

/// The names of all stories, sorted.
///
/// # Errors
/// When their folder cannot be read.
pub fn names() -> anyhow::Result<Vec<String>> {
    let folder = folder();
    let what = || folder.display().to_string();
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(what)? {
        let path: &Path = &entry.with_context(what)?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if path.extension().is_some_and(|ending| ending == "toml") {
            names.extend(stem.map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}

/// Reads a story.
///
/// # Errors
/// What is wrong with it, with its line where it is no TOML of this form.
pub fn parse(name: &str, text: &str) -> anyhow::Result<Story> {
    let mut story: Story = toml::from_str(text)?;
    story.name = name.to_owned();
    let steps = story.before.len() + story.step.len();
    ensure!((1..=MAX_STEPS).contains(&steps), "{steps} steps; 1 to {MAX_STEPS}");
    for (what, count) in [
        ("cast", story.cast.len()),
        ("device", story.device.len()),
        ("ids", story.ids.len()),
        ("report", story.report.len()),
    ] {
        ensure!(count <= MAX_LIST, "{what}: {count} entries; at most {MAX_LIST}");
    }
    ensure!(!story.report.is_empty(), "report: a story ends with what the regulator sees");
    names_are_told_apart(&story)?;
    people_are_there(&story)?;
    texts_are_short(&story)?;
    let wrong = story.step.iter().filter(|step| step.wrong).count();
    ensure!(wrong == 1, "wrong: {wrong} steps; one thing goes wrong in a story");
    for (place, step) in story.steps().enumerate() {
        well_formed(&story, step).with_context(|| format!("step {}", place + 1))?;
    }
    for step in &story.step {
        ensure!(step.say.is_some(), "say: every step says what happens");
    }
    Ok(story)
}

/// Names are replaced where they stand: each means one thing.
fn names_are_told_apart(story: &Story) -> anyhow::Result<()> {
    let parts = story.cast.iter().map(|part| &part.id);
    let mut seen = BTreeSet::new();
    for name in story.ids.iter().chain(parts) {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        ensure!(!name.is_empty() && name.chars().all(fits), "`{name}` is no name");
        ensure!(seen.insert(name), "`{name}` is declared twice");
    }
    for machine in &story.device {
        ensure!(story.ids.contains(&machine.id), "device `{}` is not among `ids`", machine.id);
    }
    let mut members = BTreeSet::new();
    for part in &story.cast {
        let known = ROLES.iter().chain(&COMPANIES).any(|role| role.name == part.member);
        ensure!(known, "`{}` is no member of the demonstration", part.member);
        // Rules compare members: two parties are never one.
        ensure!(members.insert(&part.member), "`{}` plays two parties", part.member);
    }
    Ok(())
}

fn people_are_there(story: &Story) -> anyhow::Result<()> {
    for machine in &story.device {
        ensure!(story.part(&machine.of).is_some(), "`{}` is nobody", machine.of);
    }
    for step in story.steps() {
        let doers = step.by.iter().filter(|by| story.title_of(by).is_none());
        let seers = step.look.iter().flat_map(|look| look.by.iter().chain(&look.not));
        let unknown = doers.chain(seers.filter(|who| story.part(who).is_none())).next();
        if let Some(who) = unknown {
            bail!("`{who}` is nobody in this story");
        }
    }
    Ok(())
}

fn texts_are_short(story: &Story) -> anyhow::Result<()> {
    let titles = story.cast.iter().map(|part| &part.title);
    let titles = titles.chain(story.device.iter().map(|machine| &machine.title));
    let said = story.steps().flat_map(|step| {
        step.say.iter().chain(step.look.iter().filter_map(|look| look.say.as_ref()))
    });
    let found = story.report.iter().flat_map(|report| &report.finding).map(|one| &one.say);
    for said in [&story.title, &story.text].into_iter().chain(titles).chain(said).chain(found) {
        for text in [&said.en, &said.zh] {
            let length = text.chars().count();
            let start: String = text.chars().take(30).collect();
            ensure!((1..=MAX_TEXT).contains(&length), "`{start}…`: 1 to {MAX_TEXT} characters");
        }
    }
    Ok(())
}

fn well_formed(story: &Story, step: &Step) -> anyhow::Result<()> {
    ensure!(step.after <= MAX_AFTER, "after: at most {MAX_AFTER} seconds");
    let act = step.act()?;
    ensure!(step.by.is_some() == step.act.is_some(), "`as` and `do` go together: who does what");
    match act {
        Act::Look => {
            let nothing = step.on.is_none() && step.params.is_empty() && step.refused.is_none();
            ensure!(nothing && !step.look.is_empty(), "where nothing is done, there is a `look`");
        }
        Act::Invoke { .. } => {}
        Act::Append { .. } => {
            let device = step.by.as_ref().is_some_and(|by| story.machine(by).is_some());
            ensure!(device, "rows are a device's");
            ensure!(
                step.on.is_none() && step.params.is_empty(),
                "rows have neither `on` nor `params`"
            );
        }
    }
    for look in &step.look {
        pair(&look.asset)?;
        ensure!(!(look.by.is_empty() && look.not.is_empty()), "look: `by` or `not`: whoever looks");
        let seen = look.state.is_some() || !look.fields.is_empty() || look.say.is_some();
        ensure!(!seen || !look.by.is_empty(), "look: nobody sees `{}`", look.key);
    }
    Ok(())
}
