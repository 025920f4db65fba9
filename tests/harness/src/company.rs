//! Companies that become members of a consortium that runs: by the founders' vote,
//! each with a token, a node and a seat of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::consortium::{APPROVALS, Consortium, free_addresses, in_parallel};
use crate::http::Http;
use crate::inspect::text;
use crate::member::{Addresses, COMPANIES, Member, Role};
use crate::process::wait_for;

/// How long a newcomer may take to be one of them.
const PATIENCE: Duration = Duration::from_secs(90);

/// The file with those that are members, and where they listen.
const FILE: &str = "companies.json";

/// The companies that are members of the consortium in `directory`.
///
/// # Errors
/// When the file that lists them is not ours.
pub fn admitted(directory: &Path) -> anyhow::Result<Vec<(Role, Addresses)>> {
    let file = directory.join(FILE);
    let Ok(bytes) = fs::read(&file) else { return Ok(Vec::new()) };
    let ours = || format!("{} is not ours", file.display());
    let mut listed: BTreeMap<String, Addresses> =
        serde_json::from_slice(&bytes).with_context(ours)?;
    let known = COMPANIES.into_iter();
    let companies: Vec<_> =
        known.filter_map(|role| Some((role, listed.remove(role.name)?))).collect();
    ensure!(listed.is_empty(), ours());
    Ok(companies)
}

impl Consortium {
    /// Takes in the companies of these names that are not members, and sees to it
    /// that the nodes of all of them run.
    ///
    /// # Errors
    /// What did not work.
    pub fn admit(&mut self, names: &[&str]) -> anyhow::Result<()> {
        let wanted = |role: &Role| names.contains(&role.name);
        let newcomers = self.prepare_newcomers(wanted)?;
        in_parallel(&newcomers, Member::hold_ceremony)?;
        // One after another: with each that is admitted and not there yet, the others
        // can lose one less.
        for newcomer in newcomers {
            self.vote_in(&newcomer).with_context(|| format!("admitting {}", newcomer.name()))?;
            let name = newcomer.name();
            self.members.push(newcomer);
            self.list_companies()?;
            self.bring_up(name)?;
        }
        for role in COMPANIES.iter().filter(|role| wanted(role)) {
            self.bring_up(role.name)?;
        }
        Ok(())
    }

    /// Directories and configurations of those companies that are not members.
    fn prepare_newcomers(&self, wanted: impl Fn(&Role) -> bool) -> anyhow::Result<Vec<Member>> {
        let new = |role: &Role| wanted(role) && self.member(role.name).is_err();
        let roles: Vec<Role> = COMPANIES.into_iter().filter(new).collect();
        let newcomers: Vec<(Role, Addresses)> =
            roles.iter().copied().zip(free_addresses(roles.len())?).collect();
        let peers = [self.peers(), newcomers.clone()].concat();
        let mut companies = Vec::new();
        for (role, addresses) in newcomers {
            let directory = self.path(role.name);
            let company = Member::create(role, addresses, directory, &self.settings.hufu)?;
            self.configure(&company, &peers)?;
            companies.push(company);
        }
        Ok(companies)
    }

    /// Starts the node of a company that is a member, unless it is there.
    fn bring_up(&mut self, name: &'static str) -> anyhow::Result<()> {
        let url = self.member(name)?.metrics_url();
        let http = Http::plain();
        if http.get(&format!("{url}/healthz")).is_ok() {
            // It runs, and may wait for others while an epoch begins.
            let ready = format!("{url}/readyz");
            return wait_for(&format!("{name} to be ready"), PATIENCE, || {
                http.get(&ready)?.success().map(drop)
            });
        }
        self.start(name)?;
        self.wait_until_up(name)?;
        let company = self.member(name)?;
        wait_for("a certificate", PATIENCE, || self.certify_node(company))?;
        self.wait_until_ready(name)
    }

    /// The authority proposes a member, the founders approve.
    fn vote_in(&self, company: &Member) -> anyhow::Result<()> {
        let join = company.data("join.json");
        let answer = self.authority().json(&["org", "admit", text(&join)?])?;
        let proposal = answer["proposal"].as_str().with_context(|| answer.to_string())?.to_owned();
        for founder in &self.members[1..APPROVALS] {
            wait_for("the approval", PATIENCE, || founder.run(&["org", "approve", &proposal]))?;
        }
        Ok(())
    }

    fn list_companies(&self) -> anyhow::Result<()> {
        let is_company = |one: &&Member| COMPANIES.iter().any(|role| role.name == one.name());
        let listed: BTreeMap<&str, &Addresses> = self
            .members
            .iter()
            .filter(is_company)
            .map(|one| (one.name(), &one.addresses))
            .collect();
        let file = self.path(FILE);
        fs::write(&file, serde_json::to_vec_pretty(&listed)?)
            .with_context(|| format!("cannot write {}", file.display()))
    }
}
