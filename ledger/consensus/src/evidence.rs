//! Watches the votes: who takes part, and who contradicts himself.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use commonware_codec::Encode as _;
use commonware_consensus::simplex::types::{Activity, Attributable as _};
use commonware_consensus::types::View;
use commonware_consensus::{Epochable, Viewable};
use commonware_cryptography::sha256;
use commonware_parallel::Sequential;

use crate::application::{Application, Evidence, Offence, Round};
use crate::scheme::VoteScheme;
use crate::status::Board;

/// Contradictions remembered so that each is reported once. More than this many
/// are reported again, which does no harm.
const REMEMBERED: usize = 1024;

pub(crate) struct Witness<A: Application> {
    scheme: VoteScheme,
    /// By the validators' numbers.
    names: Vec<String>,
    /// One JSON object a line; see [`Witness::record`].
    path: PathBuf,
    application: Arc<A>,
    board: Arc<Board>,
    known: Mutex<BTreeSet<(u32, Round, u8)>>,
}

impl<A: Application> Witness<A> {
    pub(crate) fn new(
        scheme: VoteScheme,
        names: Vec<String>,
        path: PathBuf,
        application: Arc<A>,
        board: Arc<Board>,
    ) -> Self {
        Self { scheme, names, path, application, board, known: Mutex::default() }
    }

    pub(crate) fn observe(&self, activity: &Activity<VoteScheme, sha256::Digest>) {
        let rng = &mut NoRandomness;
        let (offence, valid, validator, votes) = match activity {
            Activity::Notarize(vote) => return self.seen(vote.signer().get(), vote.view()),
            Activity::Nullify(vote) => return self.seen(vote.signer().get(), vote.view()),
            Activity::Finalize(vote) => return self.seen(vote.signer().get(), vote.view()),
            Activity::ConflictingNotarize(pair) => (
                Offence::ConflictingNotarize,
                pair.verify(rng, &self.scheme, &Sequential),
                pair.signer().get(),
                pair.encode(),
            ),
            Activity::ConflictingFinalize(pair) => (
                Offence::ConflictingFinalize,
                pair.verify(rng, &self.scheme, &Sequential),
                pair.signer().get(),
                pair.encode(),
            ),
            Activity::NullifyFinalize(pair) => (
                Offence::NullifyAndFinalize,
                pair.verify(rng, &self.scheme, &Sequential),
                pair.signer().get(),
                pair.encode(),
            ),
            _ => return,
        };
        // Votes are not verified before they are reported, and a vote with a
        // wrong signature proves nothing against the one it names.
        let Some(member) = self.names.get(validator as usize).filter(|_| valid) else { return };
        let round = Round { epoch: activity.epoch().get(), view: activity.view().get() };
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if !known.insert((validator, round, offence as u8)) {
                return;
            }
            if known.len() > REMEMBERED {
                known.pop_first();
            }
        }
        let evidence =
            Evidence { member: member.clone(), validator, offence, round, votes: votes.to_vec() };
        tracing::error!(
            member,
            validator,
            %offence,
            epoch = round.epoch,
            view = round.view,
            "a member signed contradicting votes"
        );
        if let Err(error) = self.record(&evidence) {
            tracing::error!(%error, path = %self.path.display(), "evidence is not recorded");
        }
        self.application.evidence(evidence);
    }

    fn seen(&self, validator: u32, view: View) {
        self.board.saw_vote(validator as usize, view);
    }

    /// Appends a line and syncs it. The member's name is one that the
    /// configuration has checked, so it needs no escaping.
    fn record(&self, evidence: &Evidence) -> std::io::Result<()> {
        let line = format!(
            "{{\"member\":\"{}\",\"validator\":{},\"offence\":\"{}\",\"epoch\":{},\"view\":{},\
             \"votes\":\"{}\"}}\n",
            evidence.member,
            evidence.validator,
            evidence.offence,
            evidence.round.epoch,
            evidence.round.view,
            crate::hexadecimal(&evidence.votes),
        );
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }
}

/// What verification takes as randomness: the trait wants a source, and ECDSA
/// verification draws nothing from it.
pub(crate) struct NoRandomness;

impl rand_core::TryRng for NoRandomness {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(0);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for NoRandomness {}
