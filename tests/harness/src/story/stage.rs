//! What has to be there before a story is played: members, packages, roles, and for
//! each party a certificate at its own node's door.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hufu_proof::Name;
use serde_json::{Value, json};

use super::file::Story;
use super::packages::{Packages, sources};
use crate::consortium::{APPROVALS, Consortium, in_parallel};
use crate::est::Est;
use crate::gateway::Gateway;
use crate::http::Http;
use crate::process::wait_for;
use std::time::Duration;

/// How long the founders may take to decide something.
const PATIENCE: Duration = Duration::from_secs(90);

/// The member that supervises in every story.
pub const REGULATOR: &str = "regulator";

/// A consortium, ready for some stories.
pub struct Stage<'c> {
    /// The consortium.
    pub consortium: &'c Consortium,
    /// Packages that the stories play on.
    pub packages: Packages,
    /// Members' own gateways, as their administrators.
    doors: BTreeMap<String, Gateway>,
    /// The regulator's, as the regulator.
    pub regulator: Gateway,
    /// Where members have devices certified, as whoever answers for these.
    est: BTreeMap<String, Est>,
    /// The issuing certificate, which stands behind a device's own.
    pub issuing: String,
}

impl<'c> Stage<'c> {
    /// Makes a consortium ready for these stories; `now` is told what is being done.
    ///
    /// # Errors
    /// What did not work.
    pub fn set(
        consortium: &'c mut Consortium,
        stories: &[&Story],
        now: impl Fn(&str),
    ) -> anyhow::Result<Self> {
        let mut names = BTreeSet::new();
        for story in stories {
            names.extend(story.contracts()?);
        }
        let packages = Packages::load(names)?;
        for story in stories {
            packages.fit(story).with_context(|| format!("story {}", story.name))?;
        }
        let parts = || stories.iter().flat_map(|story| &story.cast);
        let members: BTreeSet<&str> = parts().map(|part| part.member.as_str()).collect();
        let missing = members.iter().filter(|one| consortium.member(one).is_err()).count();
        if missing > 0 {
            now(&format!("{missing} companies become members, by the founders' vote"));
        }
        consortium.admit(&members.iter().copied().collect::<Vec<_>>())?;
        let consortium: &Consortium = consortium;

        now("every party gets a certificate");
        let founders = consortium.members[..APPROVALS].iter().map(|member| member.name());
        let mut doors = BTreeMap::new();
        for member in founders.chain(members) {
            if !doors.contains_key(member) {
                let door = consortium.gateway(member, member, "administrator")?;
                doors.insert(member.to_owned(), door);
            }
        }
        let mut est = BTreeMap::new();
        for (story, machine) in
            stories.iter().flat_map(|one| one.device.iter().map(move |m| (one, m)))
        {
            let part = story.part(&machine.of).context("a device is somebody's")?;
            if !est.contains_key(&part.member) {
                let identity = consortium.client(&part.member, "registration-authority")?;
                let http = Http::tls(&consortium.root_pem()?, Some(&identity))?;
                let server = Est::new(http, &consortium.authority().est_url());
                est.insert(part.member.clone(), server);
            }
        }
        let stage = Self {
            regulator: consortium.gateway(REGULATOR, REGULATOR, REGULATOR)?,
            issuing: std::fs::read_to_string(consortium.issuing_path())?,
            consortium,
            packages,
            doors,
            est,
        };
        stage.deploy(&now)?;
        stage.grant(stories, &now)?;
        Ok(stage)
    }

    /// The gateway of `member`, as its administrator.
    ///
    /// # Errors
    /// When it plays in no story.
    pub fn door(&self, member: &str) -> anyhow::Result<&Gateway> {
        self.doors.get(member).with_context(|| format!("`{member}` has no part"))
    }

    /// Where `member` has devices certified.
    ///
    /// # Errors
    /// When it has none in any story.
    pub fn est(&self, member: &str) -> anyhow::Result<&Est> {
        self.est.get(member).with_context(|| format!("`{member}` has no device"))
    }

    /// Deploys the packages that are not deployed, by vote.
    fn deploy(&self, now: impl Fn(&str)) -> anyhow::Result<()> {
        let mut missing: Vec<&Name> = Vec::new();
        let active = self.active()?;
        missing.extend(self.packages.in_order().filter(|name| !active.contains(name.as_str())));
        if missing.is_empty() {
            return Ok(());
        }
        let count = missing.len();
        now(&format!("{count} contract packages are deployed, by the founders' vote"));
        // Each waits for what it requires; the others do not wait for it.
        while !missing.is_empty() {
            let active = self.active()?;
            let can = |name: &Name| -> anyhow::Result<bool> {
                let contract = self.packages.get(name.as_str())?;
                Ok(contract.dependencies().keys().all(|one| active.contains(one.as_str())))
            };
            let mut batch = Vec::new();
            for name in std::mem::take(&mut missing) {
                if can(name)? { batch.push(name) } else { missing.push(name) }
            }
            ensure!(!batch.is_empty(), "nothing of {missing:?} can be deployed");
            in_parallel(&batch, |name| {
                let package = STANDARD.encode(sources(name)?.to_bytes());
                self.decide(&json!({ "deploy": package }))
                    .with_context(|| format!("deploying {name}"))
            })?;
        }
        Ok(())
    }

    /// The packages that are active at every member of the stage.
    fn active(&self) -> anyhow::Result<BTreeSet<String>> {
        let mut common: Option<BTreeSet<String>> = None;
        for door in self.doors.values() {
            let list = door.administration("/contracts")?;
            let listed = list["contracts"].as_array().into_iter().flatten();
            let here: BTreeSet<String> =
                listed.filter_map(|one| one["name"].as_str().map(str::to_owned)).collect();
            common = Some(match common {
                None => here,
                Some(common) => common.intersection(&here).cloned().collect(),
            });
        }
        Ok(common.unwrap_or_default())
    }

    /// Gives the parties their roles, by vote.
    fn grant(&self, stories: &[&Story], now: impl Fn(&str)) -> anyhow::Result<()> {
        let mut grants = BTreeSet::new();
        for story in stories {
            for part in &story.cast {
                for role in &part.roles {
                    let (contract, role) = role.split_once('/').unwrap_or((&story.name, role));
                    grants.insert((contract.to_owned(), role.to_owned(), part.member.clone()));
                }
            }
        }
        if grants.is_empty() {
            return Ok(());
        }
        let count = grants.len();
        now(&format!("{count} roles are given, by the founders' vote"));
        let grants: Vec<_> = grants.into_iter().collect();
        in_parallel(&grants, |(contract, role, member)| {
            let grant = json!({ "contract": contract, "role": role, "member": member });
            self.decide(&json!({ "grant": grant }))
        })
    }

    /// The authority proposes, the other founders approve.
    fn decide(&self, proposal: &Value) -> anyhow::Result<()> {
        let mut founders = self.consortium.members[..APPROVALS].iter();
        let proposer = founders.next().context("a consortium has founders")?;
        let proposed = wait_for("a place to check it", PATIENCE, || {
            let proposed = self.door(proposer.name())?.administer("/proposals", proposal)?;
            ensure!(proposed.outcome == "accepted", "{}", proposed.answer);
            Ok(proposed.answer)
        })?;
        let digest = proposed["proposal"].as_str().with_context(|| proposed.to_string())?;
        for founder in founders {
            let path = format!("/proposals/{digest}/approve");
            // It may not have heard of the proposal yet.
            wait_for("the approval", PATIENCE, || {
                let approved = self.door(founder.name())?.administer(&path, &json!({}))?;
                ensure!(approved.outcome == "accepted", "{}", approved.answer);
                Ok(())
            })?;
        }
        Ok(())
    }
}
