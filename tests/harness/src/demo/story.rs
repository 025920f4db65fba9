//! `hufu-demo story`: rows of industry, played on the demonstration's consortium.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hufu_harness::story::file::{load, names};
use hufu_harness::story::{Language, Played, Stage, Story, Teller, play};
use hufu_harness::{Consortium, Settings};
use serde_json::{Value, json};

/// What is to be played.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The stories, by name; several are played one after another.
    #[arg(required_unless_present_any = ["list", "all"])]
    names: Vec<String>,
    /// Say which stories there are, and end.
    #[arg(long)]
    list: bool,
    /// Play all of them.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// The language in which they are told.
    #[arg(long, value_enum, default_value_t = Language::En)]
    lang: Language,
}

impl Arguments {
    /// Whether only a list is asked for.
    pub fn is_list(&self) -> bool {
        self.list
    }

    /// The stories that are to be played.
    ///
    /// # Errors
    /// When one is not there, or is none.
    pub fn stories(&self) -> anyhow::Result<Vec<Story>> {
        let all = if self.all { names()? } else { self.names.clone() };
        all.iter().map(|name| load(name)).collect()
    }
}

/// The stories there are, a line each.
///
/// # Errors
/// When one is none.
pub fn list(arguments: &Arguments) -> anyhow::Result<String> {
    let names = names()?;
    let widest = names.iter().map(String::len).max().unwrap_or_default();
    let mut text = String::new();
    for name in names {
        let story = load(&name)?;
        let title = story.title.in_language(arguments.lang);
        text += &format!("{name:widest$}  {title}\n");
    }
    Ok(text)
}

/// What was played, and on what.
pub struct Ended {
    /// The consortium, where it is ours to keep and to stop; none where another
    /// demonstration runs it.
    pub ours: Option<Consortium>,
    /// A line of JSON.
    pub summary: Value,
}

/// Plays the stories on the consortium that runs in the directory, or on one that is
/// started there.
///
/// # Errors
/// When something is otherwise than a story says.
pub fn run(settings: Settings, arguments: &Arguments) -> anyhow::Result<Ended> {
    let stories = arguments.stories()?;
    let attached = Consortium::runs_in(&settings.directory);
    let mut consortium = match attached {
        true => Consortium::attach(settings)?,
        false => found(settings)?,
    };
    let directory = consortium.settings.directory.clone();
    eprintln!("playing on the consortium in {}", directory.display());
    let all: Vec<&Story> = stories.iter().collect();
    let mut played = Vec::new();
    {
        let stage = Stage::set(&mut consortium, &all, |what| eprintln!("  {what}"))?;
        for story in &stories {
            let mut out = std::io::stdout();
            let mut teller = Teller::new(&mut out, arguments.lang);
            let one = play(&stage, story, &mut teller);
            played.push(one.with_context(|| format!("story {}", story.name))?);
            out.flush()?;
        }
    }
    let summary = summary(&directory, &consortium.genesis_path(), &played);
    Ok(Ended { ours: (!attached).then_some(consortium), summary })
}

/// A consortium of the demonstration that has done nothing yet.
fn found(settings: Settings) -> anyhow::Result<Consortium> {
    eprintln!("no demonstration runs in {}: starting one", settings.directory.display());
    Consortium::ready(settings)
}

fn summary(directory: &Path, genesis: &Path, played: &[Played]) -> Value {
    let stories: Vec<Value> = played
        .iter()
        .map(|one| {
            let reports: Vec<Value> = one
                .reports
                .iter()
                .map(|report| {
                    let files: [&PathBuf; 3] = [&report.html, &report.chinese, &report.json];
                    let [html, html_zh, json] = files;
                    json!({
                        "height": report.height, "findings": report.findings(),
                        "html": html, "html_zh": html_zh, "json": json,
                    })
                })
                .collect();
            json!({
                "name": one.name, "steps": one.steps, "refused": one.refused,
                "looks": one.looks, "reports": reports, "seconds": one.seconds,
            })
        })
        .collect();
    json!({ "ok": true, "dir": directory, "genesis": genesis, "stories": stories })
}
