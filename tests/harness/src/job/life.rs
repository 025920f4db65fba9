//! Step 9: a validator is killed while work goes on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::Fleet;
use super::record::{append, piece};
use crate::consortium::Consortium;
use crate::gateway::Gateway;
use crate::process::wait_for;
use crate::readings::Reading;

/// What happened.
#[derive(Clone, Debug)]
pub struct Survived {
    /// Rows accepted while the validator was down.
    pub rows: usize,
    /// Height when it was killed.
    pub killed_at: u64,
    /// Height that the others reached without it.
    pub reached: u64,
    /// How long it took from its start until it had caught up.
    pub caught_up: Duration,
    /// The height at which all were compared.
    pub height: u64,
    /// The state root of all at that height.
    pub state_root: String,
}

/// Kills the node of `victim`, goes on recording, starts it again, and waits
/// until it agrees with the others.
///
/// # Errors
/// When the others do not go on, or it does not catch up.
pub fn kill_and_return(
    consortium: &mut Consortium,
    gateway: &Gateway,
    fleet: &mut Fleet,
    readings: &[Reading],
    victim: &str,
) -> anyhow::Result<Survived> {
    let killed_at = gateway.height()?;
    consortium.kill(victim)?;
    let expires = gateway.expiry()?;
    let rows = piece(readings, 3);
    let mut accepted = 0;
    let (mut reached, batches) = (killed_at, 5);
    for _ in 0..batches {
        let device = fleet.simulated.first_mut().context("there are no devices")?;
        let submitted = append(gateway, device, &rows, expires)?;
        ensure!(
            submitted.is_accepted(),
            "with {victim} down, a batch was refused: {}",
            submitted.answer
        );
        reached = submitted.height.unwrap_or(reached);
        accepted += rows.len();
    }
    if let Some(device) = fleet.simulated.first() {
        fleet.save(device)?;
    }
    ensure!(reached > killed_at, "with {victim} down, the others did not go on");

    let started = Instant::now();
    consortium.start(victim)?;
    consortium.wait_until_up(victim)?;
    wait_for(&format!("{victim} to catch up"), Duration::from_secs(60), || {
        let states = consortium.states()?;
        let height = states.get(victim).context("it does not answer")?.0;
        ensure!(height >= reached, "it is at height {height} of {reached}");
        Ok(())
    })?;
    let caught_up = started.elapsed();
    consortium.wait_until_ready(victim)?;
    let (height, state_root) = agree(consortium)?;
    Ok(Survived { rows: accepted, killed_at, reached, caught_up, height, state_root })
}

/// Waits until all nodes say the same state root of the same height.
///
/// # Errors
/// When two nodes say different roots of one height, or do not meet.
pub fn agree(consortium: &Consortium) -> anyhow::Result<(u64, String)> {
    // Heights move on between two questions, so what was said is collected.
    let mut said: BTreeMap<u64, BTreeMap<&'static str, String>> = BTreeMap::new();
    wait_for("all nodes to agree on a state root", Duration::from_secs(60), || {
        let states = consortium.states()?;
        let all = states.len();
        for (name, (height, root)) in states {
            said.entry(height).or_default().insert(name, root);
        }
        let (height, roots) =
            said.iter().rev().find(|(_, roots)| roots.len() == all).context("not yet")?;
        let mut roots = roots.values();
        let first = roots.next().context("there are no nodes")?;
        ensure!(roots.all(|root| root == first), "FORK at height {height}: {said:?}");
        Ok((*height, first.clone()))
    })
}
