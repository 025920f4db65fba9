//! The stories: that each is one and fits its packages, and that they play on one
//! consortium, with what goes wrong in each in the regulator's report: some of them, or
//! the whole set where `HUFU_ALL_STORIES` is set.

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use common::settings;
use hufu_harness::Consortium;
use hufu_harness::consortium::in_parallel;
use hufu_harness::job::proof;
use hufu_harness::story::file::{load, names, parse};
use hufu_harness::story::packages::Packages;
use hufu_harness::story::report::Shown;
use hufu_harness::story::{Language, Played, Stage, Story, Teller, play};
use unicode_width::UnicodeWidthStr as _;

/// Stories that are played at the same time.
const LANES: usize = 7;

/// The stories that are played where nobody asks for all: those of which one needs
/// what none of the others does, and none waits for a date. All of them take eight
/// validators and fourteen packages, and ten minutes on two cores.
const SOME: [&str; 4] =
    ["device-registry", "leasing", "operation-supervision", "supply-chain-order"];

/// Set to play all of them.
const ALL: &str = "HUFU_ALL_STORIES";

/// Columns of a terminal.
const COLUMNS: usize = 100;

fn all() -> anyhow::Result<Vec<Story>> {
    names()?.iter().map(|name| load(name)).collect()
}

#[test]
fn there_is_a_story_for_every_package_and_it_fits() -> anyhow::Result<()> {
    let stories = all()?;
    let mut packages = Vec::new();
    for entry in std::fs::read_dir(hufu_harness::binaries::workspace().join("policies"))? {
        let path = entry?.path();
        if path.is_dir() {
            let name = path.file_name().and_then(|name| name.to_str()).context("UTF-8")?;
            packages.push(name.to_owned());
        }
    }
    packages.sort();
    let told: Vec<&String> = stories.iter().map(|story| &story.name).collect();
    ensure!(told.iter().copied().eq(packages.iter()), "stories {told:?}, packages {packages:?}");
    let packages = Packages::load(packages.iter().map(String::as_str))?;
    for story in &stories {
        packages.fit(story).with_context(|| story.name.clone())?;
    }
    Ok(())
}

#[test]
fn what_is_no_story_is_refused() -> anyhow::Result<()> {
    let path = hufu_harness::story::file::folder().join("leasing.toml");
    let good = std::fs::read_to_string(path)?;
    let packages = Packages::load(["leasing"])?;
    // Read with the package, as it is: what follows fails for the change alone.
    packages.fit(&parse("leasing", &good)?)?;
    for (from, to, said) in [
        ("refused = \"policy\"", "refuse = \"policy\"", "unknown field `refuse`"),
        ("member = \"east\"", "member = \"maker\"", "plays two parties"),
        ("member = \"east\"", "member = \"moon\"", "no member of the demonstration"),
        ("wrong = true", "wrong = false", "one thing goes wrong"),
        ("not = [\"neighbour\"]", "not = [\"nobody\"]", "`nobody` is nobody"),
        ("ids = [\"D1\", ", "ids = [", "device `D1` is not among `ids`"),
        ("do = \"leasing/pay\"", "do = \"leasing/donate\"", "no action `donate`"),
        ("hours_limit = 40", "hours_limit = \"many\"", "`hours_limit`"),
        ("rate = 12345, ", "", "`rate` is missing"),
        ("metric = \"hours\"", "metrics = \"hours\"", "there is no `metrics`"),
        ("fields = { accrued = 6172", "fields = { accrue = 6172", "no field `accrue`"),
        ("state = \"ended\"", "state = \"over\"", "no state `over`"),
        ("control = \"counter-back\"", "control = \"counter-forth\"", "no control"),
        ("set = \"leasing/leasing-baseline\"", "set = \"leasing/base\"", "no control set"),
        ("\"now+30d\"", "\"now+30y\"", "is no time"),
    ] {
        ensure!(good.contains(from), "the story has no `{from}`");
        let bad = parse("leasing", &good.replace(from, to)).and_then(|story| packages.fit(&story));
        let error = bad.err().with_context(|| format!("`{to}` is taken"))?;
        ensure!(format!("{error:#}").contains(said), "`{to}`: {error:#}");
    }
    Ok(())
}

/// A story, and what was written down of it.
struct Told {
    played: Played,
    text: String,
}

#[test]
fn stories_play_on_one_consortium() -> anyhow::Result<()> {
    let mut stories = all()?;
    if std::env::var_os(ALL).is_none() {
        stories.retain(|story| SOME.contains(&story.name.as_str()));
        ensure!(stories.len() == SOME.len(), "one of {SOME:?} is no story");
    }
    let mut consortium = Consortium::ready(settings(1)?)?;
    let all: Vec<&Story> = stories.iter().collect();
    let stage = Stage::set(&mut consortium, &all, |_| ())?;
    let (next, told) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let lanes: Vec<usize> = (0..LANES).collect();
    in_parallel(&lanes, |_| {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(story) = all.get(place) else { return Ok(()) };
            // Names are those of the millisecond in which a story begins.
            std::thread::sleep(Duration::from_millis(place as u64));
            let language = if place % 2 == 0 { Language::En } else { Language::Zh };
            let mut out = Vec::new();
            let played = play(&stage, story, &mut Teller::new(&mut out, language))
                .with_context(|| format!("story {}", story.name))?;
            let text = String::from_utf8(out)?;
            let mut told = told.lock().map_err(|_| anyhow::anyhow!("a lane panicked"))?;
            told.push(Told { played, text });
        }
    })?;
    let told = told.into_inner().map_err(|_| anyhow::anyhow!("a lane panicked"))?;
    ensure!(told.len() == stories.len(), "{} of {} played", told.len(), stories.len());
    for Told { played, text } in &told {
        let found: usize = played.reports.iter().map(Shown::findings).sum();
        ensure!(found > 0, "{}: nothing is found", played.name);
        ensure!(played.looks > 0, "{}: nobody looks", played.name);
        for report in &played.reports {
            proof::holds(&consortium, &report.json)?;
        }
        // Paths are to be pasted, and not broken.
        let directory = consortium.settings.directory.display().to_string();
        for line in text.lines().filter(|line| !line.contains(&directory)) {
            ensure!(line.width() <= COLUMNS, "{}: {line}", played.name);
        }
    }
    Ok(())
}
