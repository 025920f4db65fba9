//! Points at dates that contracts wait for, when they have come.
//!
//! What happens then the ledger decides, whoever points ([`Payload::Fire`]). Every
//! validator knows the nearest dates; so that not all point at once, one after
//! another does, each time in another order, as long as nobody has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hufu_contract::{Asset, Context, Contract, Principal};
use hufu_machine::event::Event;
use hufu_machine::{MachineError, View};
use hufu_proof::transaction::{Firing, Payload};
use hufu_proof::{Height, Name, Outcome, UnixMillis, codec};

use crate::node::Node;

/// Dates in memory; of more than these, the nearest.
const MAX_DATES: usize = 65_536;
/// Assets that are read at once.
const PAGE: usize = 1_000;
/// Dates that are pointed at together.
const TOGETHER: usize = 64;
/// How long one waits for the other before it points, in milliseconds of block time.
const TURN: u64 = 2_000;
/// How soon it is tried again what could not be said.
const AGAIN: Duration = Duration::from_secs(5);

/// An asset: contract, type, key.
type Of = (Name, Name, String);

/// A date and whose it is: milliseconds, asset, trigger.
type Date = (u64, Of, Name);

/// The nearest dates of all contracts.
#[derive(Default)]
struct Dates {
    /// Contracts that wait for any.
    contracts: BTreeMap<Name, Arc<Contract>>,
    nearest: BTreeSet<Date>,
    of: HashMap<Of, Vec<(u64, Name)>>,
    /// From when on dates may be missing here.
    horizon: Option<u64>,
}

/// Points at what is due until it is dropped.
pub async fn keep(node: Arc<Node>) {
    let mut applied = node.ledger.applied();
    let mut known: Option<(Dates, Height)> = None;
    loop {
        let step = tokio::task::block_in_place(|| look(&node, known.take()));
        match step {
            Ok((mut dates, height, due)) => {
                point(&node, &mut dates, due).await;
                known = Some((dates, height));
            }
            Err(error) => {
                tracing::warn!("dates that contracts wait for are not looked at: {error:#}");
                tokio::time::sleep(AGAIN).await;
            }
        }
        if applied.changed().await.is_err() {
            return;
        }
    }
}

/// Brings what is known to the newest height; what is due there, and this node's to
/// point at.
fn look(node: &Node, known: Option<(Dates, Height)>) -> anyhow::Result<(Dates, Height, Vec<Date>)> {
    let reader = node.ledger.reader();
    let state = reader.state()?;
    let (height, now) = (state.height(), block_time(node, state.height())?);
    let known = known.filter(|(dates, _)| dates.horizon.is_none_or(|horizon| now < horizon));
    let followed = match known {
        Some((mut dates, at)) => dates.follow(node, &state, at, height)?.then_some(dates),
        None => None,
    };
    let mut dates = match followed {
        Some(dates) => dates,
        None => Dates::read(&state)?,
    };
    state.check()?;
    dates.trim();
    let due = dates.due(node, now)?;
    Ok((dates, height, due))
}

fn block_time(node: &Node, height: Height) -> anyhow::Result<u64> {
    let header = node.ledger.reader().header(height)?;
    Ok(header.map_or(UnixMillis::ZERO, |header| header.time_ms).get())
}

async fn point(node: &Node, dates: &mut Dates, due: Vec<Date>) {
    let submitted = due.into_iter().map(|date| async {
        let (_, (contract, _, asset), trigger) = date.clone();
        let firing = Firing { contract, trigger, asset };
        (date, node.submitter.submit_any(Payload::Fire(firing)).await)
    });
    let mut failed = false;
    for (date, answer) in futures::future::join_all(submitted).await {
        let (_, (contract, _, asset), trigger) = &date;
        match answer {
            Ok(entry) if entry.outcome == Outcome::OverBudget => failed = true,
            Ok(entry) => {
                tracing::debug!(%contract, %trigger, asset, outcome = %entry.outcome, "a date came");
                // Until the asset changes there is nothing more to say.
                dates.forget(&date);
            }
            Err(error) => {
                failed = true;
                tracing::warn!(%contract, %trigger, asset, "a date came, and is not said: {error}");
            }
        }
    }
    if failed {
        tokio::time::sleep(AGAIN).await;
    }
}

impl Dates {
    /// Reads all of the state.
    fn read(state: &View) -> Result<Self, MachineError> {
        let mut dates = Self::default();
        for (name, _) in state.contracts()? {
            let Some(contract) = state.compiled(&name)? else { continue };
            let waits = |asset_type: &&Name| contract.has_dates(asset_type);
            let types: Vec<Name> =
                contract.package().assets.keys().filter(waits).cloned().collect();
            if types.is_empty() {
                continue;
            }
            dates.contracts.insert(name.clone(), contract);
            for asset_type in types {
                let mut after: Option<String> = None;
                loop {
                    let page = state.assets(&name, &asset_type, after.as_deref(), PAGE)?;
                    let Some((last, _)) = page.last() else { break };
                    after = Some(last.clone());
                    for (key, asset) in page {
                        dates.put(state, (name.clone(), asset_type.clone(), key), &asset);
                    }
                    dates.trim();
                }
            }
        }
        Ok(dates)
    }

    /// Takes in what happened after `at`, up to `to`; whether that could be told.
    fn follow(
        &mut self,
        node: &Node,
        state: &View,
        at: Height,
        to: Height,
    ) -> anyhow::Result<bool> {
        let mut height = at;
        while height < to {
            height = height.next();
            let Some(replay) = node.ledger.replay(height)? else { return Ok(false) };
            for event in &replay.events {
                match event {
                    Event::Contract { .. } => return Ok(false),
                    Event::Asset { contract, asset_type, key, asset, .. } => {
                        let waits = |one: &Arc<Contract>| one.has_dates(asset_type);
                        if self.contracts.get(contract).is_some_and(waits) {
                            let of = (contract.clone(), asset_type.clone(), key.clone());
                            self.put(state, of, asset);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(true)
    }

    /// The dates of an asset, in place of those it had.
    fn put(&mut self, state: &View, of: Of, asset: &Asset) {
        for (due, trigger) in self.of.remove(&of).unwrap_or_default() {
            self.nearest.remove(&(due, of.clone(), trigger));
        }
        let Some(contract) = self.contracts.get(&of.0) else { return };
        let context = Context {
            principal: Principal::clock(),
            via: None,
            block_height: state.height(),
            block_time_ms: UnixMillis::ZERO,
        };
        let dates = contract.dates(&of.1, &of.2, asset, &context, state);
        let dates: Vec<(u64, Name)> = dates.map(|(trigger, due)| (due, trigger.clone())).collect();
        if dates.is_empty() {
            return;
        }
        for (due, trigger) in &dates {
            self.nearest.insert((*due, of.clone(), trigger.clone()));
        }
        self.of.insert(of, dates);
    }

    fn forget(&mut self, date: &Date) {
        self.nearest.remove(date);
        if let Some(dates) = self.of.get_mut(&date.1) {
            dates.retain(|(_, trigger)| *trigger != date.2);
            if dates.is_empty() {
                self.of.remove(&date.1);
            }
        }
    }

    /// Leaves the nearest.
    fn trim(&mut self) {
        while self.nearest.len() > MAX_DATES
            && let Some(date) = self.nearest.pop_last()
        {
            self.horizon = Some(self.horizon.map_or(date.0, |horizon| horizon.min(date.0)));
            self.forget(&date);
        }
    }

    /// What has come by `now` and is this node's turn.
    fn due(&self, node: &Node, now: u64) -> anyhow::Result<Vec<Date>> {
        if self.nearest.first().is_none_or(|(due, ..)| *due > now) {
            return Ok(Vec::new());
        }
        let membership = node.ledger.reader().membership()?;
        let names: Vec<&Name> = membership.validators().iter().map(|seat| &seat.name).collect();
        let Some(own) = names.iter().position(|name| **name == node.config.member.name) else {
            return Ok(Vec::new());
        };
        let come = self.nearest.iter().take_while(|(due, ..)| *due <= now);
        let turn = |date: &&Date| date.0.saturating_add(TURN * rank(date, own, names.len())) <= now;
        Ok(come.filter(turn).take(TOGETHER).cloned().collect())
    }
}

/// After how many others the validator in place `own` of `count` points at a date.
fn rank(date: &Date, own: usize, count: usize) -> u64 {
    let first = codec::digest("hufu date v1", date).0[0];
    let (own, count) = (own as u64, count.max(1) as u64);
    (own + count - u64::from(first) % count) % count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn_and_no_two_the_same() {
        let name = |text: &str| Name::new(text).unwrap();
        for due in 0..50 {
            let date = (due, (name("leasing"), name("lease"), format!("L{due}")), name("overdue"));
            let mut turns: Vec<u64> = (0..4).map(|own| rank(&date, own, 4)).collect();
            turns.sort_unstable();
            assert_eq!(turns, [0, 1, 2, 3]);
        }
    }

    #[test]
    fn of_too_many_dates_the_nearest_stay_and_what_is_missing_is_known() {
        let name = |text: &str| Name::new(text).unwrap();
        let mut dates = Dates::default();
        for due in 0..MAX_DATES as u64 + 10 {
            let of = (name("leasing"), name("lease"), due.to_string());
            dates.of.insert(of.clone(), vec![(due, name("overdue"))]);
            dates.nearest.insert((due, of, name("overdue")));
        }
        dates.trim();
        assert_eq!(dates.nearest.len(), MAX_DATES);
        assert_eq!(dates.horizon, Some(MAX_DATES as u64));
        assert!(dates.nearest.iter().all(|(due, ..)| *due < MAX_DATES as u64));
    }
}
