//! Plays a story through the members' doors, and holds it to what it says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use hufu_proof::transaction::Payload;
use hufu_proof::{Algorithm, Sequence};
use serde_json::{Value, json};

use super::file::{Act, Look, Step, Story, pair};
use super::names::Names;
use super::report::{self, Shown};
use super::stage::{REGULATOR, Stage};
use super::tell::{Done, Seen, Teller};
use crate::device::Device;
use crate::gateway::Gateway;
use crate::http::{Answer, Http};
use crate::job::enrol::PROFILE;
use crate::process::wait_for;

/// How long something may take to be seen: a date that has come is acted on within
/// seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The outcome of what took effect.
const ACCEPTED: &str = "accepted";

/// The outcome of what an earlier play has made.
const EXISTS: &str = "asset-exists";

/// What came of a story.
#[derive(Clone, Debug)]
pub struct Played {
    /// Its name.
    pub name: String,
    /// Steps, those beforehand not counted.
    pub steps: usize,
    /// What was refused, as it had to be.
    pub refused: usize,
    /// Looks at assets: who saw one, and who did not.
    pub looks: usize,
    /// Reports, and what they show of it.
    pub reports: Vec<Shown>,
    /// How long it took.
    pub seconds: f64,
}

/// A device while a story is played.
struct Actor {
    device: Device,
    gateway: Gateway,
    /// The last batch of each of its streams.
    sequences: BTreeMap<String, Sequence>,
}

/// A story under way.
struct Play<'s, 'c> {
    stage: &'s Stage<'c>,
    story: &'s Story,
    names: Names,
    actors: BTreeMap<String, Actor>,
    /// The last block that something of it is in.
    height: u64,
    refused: usize,
    looks: usize,
}

/// Plays `story` and tells it.
///
/// # Errors
/// When something is otherwise than the story says.
pub fn play(stage: &Stage<'_>, story: &Story, teller: &mut Teller<'_>) -> anyhow::Result<Played> {
    let started = Instant::now();
    let names = Names::of(story, SystemTime::now())?;
    let height = stage.regulator.height()?;
    let mut play =
        Play { stage, story, names, actors: BTreeMap::new(), height, refused: 0, looks: 0 };
    teller.begin(story)?;
    for machine in &story.device {
        play.enrol(&machine.id, &machine.of)?;
    }
    for step in &story.before {
        play.act(step).with_context(|| format!("beforehand, {:?}", step.act))?;
    }
    teller.before(story)?;
    for (number, step) in (1..).zip(&story.step) {
        let done = play.act(step).with_context(|| format!("step {number}, {:?}", step.act))?;
        teller.step(story, number, step, done.as_ref())?;
        for look in &step.look {
            let seen = play.look(look).with_context(|| format!("step {number}, {}", look.key))?;
            teller.look(story, look, &seen)?;
        }
    }
    let mut reports = Vec::new();
    for report in &story.report {
        let shown = report::run(stage, story, report, &play.names, play.height)
            .with_context(|| format!("report {}", report.set))?;
        teller.report(report, &shown)?;
        reports.push(shown);
    }
    teller.end(stage.consortium, &reports)?;
    Ok(Played {
        name: story.name.clone(),
        steps: story.step.len(),
        refused: play.refused,
        looks: play.looks,
        reports,
        seconds: started.elapsed().as_secs_f64(),
    })
}

impl Play<'_, '_> {
    /// A new device, certified in the name of a party.
    fn enrol(&mut self, id: &str, of: &str) -> anyhow::Result<()> {
        let part = self.story.part(of).context("a device is somebody's")?;
        let name = self.names.text(id, SystemTime::now())?;
        let mut device = Device::new(&name, Algorithm::Ed25519)?;
        let enrolled = self.stage.est(&part.member)?.enrol(PROFILE, &device.request()?)?;
        let enrolled = enrolled
            .map_err(|refused| anyhow::anyhow!("{name} was refused: {}", refused.reason))?;
        self.names.identities.insert(id.to_owned(), enrolled.identity()?);
        device.certificate = Some(enrolled);
        let consortium = self.stage.consortium;
        let identity = device.identity(&self.stage.issuing)?;
        let http = Http::tls(&consortium.root_pem()?, Some(&identity))?;
        let url = consortium.member(&part.member)?.gateway_url();
        let gateway = Gateway::new(http, &url, &consortium.genesis()?);
        let actor = Actor { device, gateway, sequences: BTreeMap::new() };
        self.actors.insert(id.to_owned(), actor);
        Ok(())
    }

    /// Does what a step says, and holds the outcome to it.
    fn act(&mut self, step: &Step) -> anyhow::Result<Option<Done>> {
        std::thread::sleep(Duration::from_secs(step.after));
        let (Some(by), Some(act)) = (&step.by, &step.act) else { return Ok(None) };
        let now = SystemTime::now();
        let params = self.names.values(&step.params, now)?;
        let on = step.on.as_ref().map(|on| self.names.text(on, now)).transpose()?;
        let (outcome, height, answer, asset) = match self.story.part(by) {
            Some(part) => self.as_member(&part.member, step, on.as_deref(), &params)?,
            None => self.as_device(by, step, on.as_deref(), &params)?,
        };
        let expected = step.refused.as_deref().unwrap_or(ACCEPTED);
        if step.once && outcome == EXISTS {
            return Ok(None);
        }
        ensure!(outcome == expected, "`{outcome}` instead of `{expected}`: {answer}");
        self.refused += usize::from(step.refused.is_some());
        self.height = self.height.max(height.unwrap_or_default());
        Ok(Some(Done { act: act.clone(), asset, outcome, height }))
    }

    /// On the member's node, at its gateway, with its administrator's certificate.
    fn as_member(
        &self,
        member: &str,
        step: &Step,
        on: Option<&str>,
        params: &BTreeMap<String, Value>,
    ) -> anyhow::Result<(String, Option<u64>, Value, String)> {
        let Act::Invoke { contract, action } = step.act()? else {
            bail!("a member signs actions");
        };
        let package = self.stage.packages.get(contract)?;
        let asset = package.invocation(action, on, params)?.asset;
        let texts: BTreeMap<&String, String> =
            params.iter().map(|(name, value)| (name, text_of(value))).collect();
        let asked =
            json!({ "contract": contract, "action": action, "asset": asset, "params": texts });
        let door = self.stage.door(member)?;
        // What another has just changed has to have come to this node.
        door.reach(self.height)?;
        let acted = door.administer("/invoke", &asked)?;
        Ok((acted.outcome, acted.height, acted.answer, asset))
    }

    /// With the device's own key, at the gateway of whoever it is certified for.
    fn as_device(
        &mut self,
        id: &str,
        step: &Step,
        on: Option<&str>,
        params: &BTreeMap<String, Value>,
    ) -> anyhow::Result<(String, Option<u64>, Value, String)> {
        let now = SystemTime::now();
        let actor = self.actors.get_mut(id).with_context(|| format!("`{id}` is no device"))?;
        actor.gateway.reach(self.height)?;
        let (payload, asset) = match step.act()? {
            Act::Invoke { contract, action } => {
                let package = self.stage.packages.get(contract)?;
                let invocation = package.invocation(action, on, params)?;
                let asset = invocation.asset.clone();
                (Payload::Invoke(invocation), asset)
            }
            Act::Append { contract, stream } => {
                let rows = step.rows.iter().map(|row| self.names.values(row, now));
                let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
                let last = actor.sequences.get(stream).copied().unwrap_or(Sequence::ZERO);
                let package = self.stage.packages.get(contract)?;
                let batch = package.batch(stream, last.next(), &rows)?;
                (Payload::Append(batch), actor.device.id.clone())
            }
            Act::Look => bail!("nothing is done"),
        };
        let expires = actor.gateway.expiry()?;
        let transaction = actor.device.sign_payload(actor.gateway.chain, expires, payload)?;
        let submitted = actor.gateway.submit(&transaction)?;
        if let (Act::Append { stream, .. }, true) = (step.act()?, submitted.is_accepted()) {
            let last = actor.sequences.entry(stream.to_owned()).or_insert(Sequence::ZERO);
            *last = last.next();
        }
        Ok((submitted.outcome, submitted.height, submitted.answer, asset))
    }

    /// Looks at an asset as everybody that the story names.
    fn look(&mut self, look: &Look) -> anyhow::Result<Seen> {
        let now = SystemTime::now();
        let key = self.names.text(&look.key, now)?;
        let fields = self.names.values(&look.fields, now)?;
        for by in &look.by {
            let seen = || self.sees(by, look, &key, &fields);
            wait_for(&format!("what {by} sees"), PATIENCE, seen)?;
        }
        for by in &look.not {
            let answer = self.ask(by, look, &key)?;
            ensure!(
                answer.status == 403 && answer.code == "not-permitted",
                "{by} is not to see {key}, and is answered {}: {}",
                answer.status,
                answer.text()
            );
        }
        self.looks += look.by.len() + look.not.len();
        Ok(Seen { key })
    }

    fn sees(
        &self,
        by: &str,
        look: &Look,
        key: &str,
        fields: &BTreeMap<String, Value>,
    ) -> anyhow::Result<()> {
        let shown = self.ask(by, look, key)?.success()?.json()?;
        if let Some(state) = &look.state {
            ensure!(shown["state"] == *state, "{key} is not {state}: {shown}");
        }
        for (name, expected) in fields {
            let found = text_of(&shown["fields"][name]);
            ensure!(found == text_of(expected), "{name} is not {expected}: {shown}");
        }
        Ok(())
    }

    /// Asks a party's own node for an asset, with the party's certificate.
    fn ask(&self, by: &str, look: &Look, key: &str) -> anyhow::Result<Answer> {
        let member = &self.story.part(by).context("who looks is a party")?.member;
        let gateway = match member == REGULATOR {
            true => &self.stage.regulator,
            false => self.stage.door(member)?,
        };
        gateway.reach(self.height)?;
        let (contract, asset) = pair(&look.asset)?;
        gateway.asset(contract, asset, key)
    }
}

/// A value as the administration takes it: lists and sets in JSON.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
