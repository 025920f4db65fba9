//! Answering questions about snapshots from a store.

use hufu_proof::{Height, codec};
use hufu_store::{KeyRange, Space, large};

use super::leaves::{self, Read};
use super::offer::Offer;
use super::taking;
use super::wire::{Answer, Child, Of, Question, Range};
use crate::accounts::Usage;
use crate::error::MachineError;
use crate::index::Place;
use crate::log::{LogReader, Run};
use crate::reader::Reader;
use crate::tree::row_key;
use crate::{chain, contracts, epoch};

/// Bytes of rows in an answer; those that were read with the last one may be over it.
const ENOUGH: usize = 256 * 1024;

/// Rows that are read at a time: of the largest ones there are, with [`ENOUGH`] less
/// than an answer has room for.
const PAGE: usize = 16;

/// Pages that are read for an answer, however many of their rows are in it.
const PAGES: usize = 1_024;

/// Headers before the newest certified one among which one is looked for that commits
/// to a height which can be taken.
const LOOK_BACK: u64 = 64;

impl Reader {
    /// Answers a question about a snapshot. What is asked for is read as of its
    /// height, which does not leave for a while then.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn answer(&self, question: &Question) -> Result<Answer, MachineError> {
        let answer = self.full_answer(question)?;
        Ok(match (question.brief, &answer) {
            (false, _) | (_, Answer::None) => answer,
            (true, _) => Answer::Digest(answer.digest()),
        })
    }

    fn full_answer(&self, question: &Question) -> Result<Answer, MachineError> {
        let (store, applied, at) = (self.store(), self.height()?, question.height);
        if let Of::Offer(of) = question.of {
            let offer = self.offer(of, applied)?.map(Box::new);
            return Ok(Answer::Offer { kept_from: self.kept_from(), applied, offer });
        }
        if at > applied || at < self.kept_from() {
            return Ok(Answer::None);
        }
        self.shared().held.hold(at, applied);
        let answer = match &question.of {
            Of::Offer(_) => Answer::None,
            Of::Headers { begin, end } if *end <= at.next() && is_some(begin, end) => {
                Answer::Headers(chain::headers(store, *begin, *end)?)
            }
            Of::Certificates { begin, end } if *end <= at.next() && is_some(begin, end) => {
                self.some_certificates(*begin, *end)?
            }
            Of::Log { begin, end } => self.part_of_log(at, *begin, *end)?,
            Of::Headers { .. } | Of::Certificates { .. } => Answer::None,
            Of::Tree(path) => self.part_of_tree(at, path)?,
            Of::State(range) => {
                self.rows(Space::State, range, at, |key, value| Ok(Some((key, value))))?
            }
            Of::Places(range) => self.rows(Space::Transactions, range, at, |key, value| {
                let place = Place::decode(&value)?;
                // Of blocks that are not taken along.
                let place = Place { offset: 0, length: 0, ..place };
                Ok((place.height <= at).then(|| (key, codec::encode(&place))))
            })?,
            Of::Usage(range) => {
                let header = self.header(at)?.ok_or_else(|| MachineError::damaged("header"))?;
                self.rows(Space::Usage, range, at, |key, value| {
                    let counts = Usage::decode(&value)?.is_of_the_day(header.time_ms);
                    Ok(counts.then_some((key, value)))
                })?
            }
            Of::Package(digest) => bytes(contracts::package(store, digest)?, 0),
            Of::Proposal(digest) => {
                bytes(contracts::proposal(store, digest)?.map(|one| codec::encode(&one)), 0)
            }
            Of::Block(from) => {
                bytes(large::read(store, Space::Blocks, &at.to_be_bytes(), u64::MAX)?, *from)
            }
        };
        // Looked at afterwards: what is read may leave meanwhile.
        Ok(if at < self.kept_from() { Answer::None } else { answer })
    }

    /// A height that can be taken: this one, or the newest.
    fn offer(&self, of: Option<Height>, applied: Height) -> Result<Option<Offer>, MachineError> {
        if let Some(height) = of {
            if height > applied {
                return Ok(None);
            }
            let Some((header, _)) = self.anchor(height)? else { return Ok(None) };
            return if header.executed.height == height {
                self.offer_by(header.height)
            } else {
                Ok(None)
            };
        }
        let Some(newest) = self.certified() else { return Ok(None) };
        for height in newest.minus(LOOK_BACK).through(newest).rev() {
            if let Some(offer) = self.offer_by(height)? {
                return Ok(Some(offer));
            }
        }
        Ok(None)
    }

    /// The offer that the header of `height` makes.
    fn offer_by(&self, height: Height) -> Result<Option<Offer>, MachineError> {
        let Some(last) = self.header(height)? else { return Ok(None) };
        let at = last.executed.height;
        // What is being let go of is none.
        if at == Height::ZERO || at < self.kept_from() {
            return Ok(None);
        }
        let Some(certificate) = self.finality(at)? else { return Ok(None) };
        let Some(finality) = self.finality_proof(&last)? else { return Ok(None) };
        let members = finality.membership(self.genesis());
        let waiting = epoch::membership_at(self.store(), at)?;
        let is_settled = waiting.map_or(0, |waiting| waiting.version) == members.version;
        let over = finality.handovers.last().is_none_or(|last| last.header.height <= at);
        if !is_settled || !over {
            return Ok(None);
        }
        let headers = chain::headers(self.store(), at, height.next())?;
        Ok(Some(Offer { certificate, headers, finality }))
    }

    /// One certificate of every [`taking::SPAN`] heights.
    fn some_certificates(&self, begin: Height, end: Height) -> Result<Answer, MachineError> {
        let mut found = Vec::new();
        let mut next = begin;
        while next < end {
            let span = Height((next.get() / taking::SPAN + 1) * taking::SPAN).min(end);
            match chain::next_finality(self.store(), next)? {
                Some((height, certificate)) if height < span => found.push((height, certificate)),
                _ => {}
            }
            next = span;
        }
        Ok(Answer::Certificates(found))
    }

    fn part_of_log(&self, at: Height, begin: u64, end: u64) -> Result<Answer, MachineError> {
        let size = self.commitment(at)?.map_or(0, |commitment| commitment.log_size);
        if begin >= end || end > size || end - begin > taking::MOST_ENTRIES {
            return Ok(Answer::None);
        }
        let runs = LogReader::new(self.store(), size).runs(begin, end)?;
        let cut = |(first, run): (u64, Run)| {
            let Run { height, index, entries } = run;
            let before = begin.saturating_sub(first) as usize;
            let after = (first + entries.len() as u64).saturating_sub(end) as usize;
            let most = entries.len().saturating_sub(after);
            let entries = entries.get(before..most).unwrap_or_default().to_vec();
            // A block has far fewer than 2^32 transactions.
            Run { height, index: index + before as u32, entries }
        };
        // However they are stored here: of each block one.
        let mut whole: Vec<Run> = Vec::new();
        for run in runs.into_iter().map(cut) {
            match whole.last_mut() {
                Some(last) if last.height == run.height => last.entries.extend(run.entries),
                _ => whole.push(run),
            }
        }
        Ok(Answer::Log(whole))
    }

    fn part_of_tree(&self, at: Height, path: &[u8]) -> Result<Answer, MachineError> {
        let damaged = || MachineError::damaged("state tree");
        let store = self.store();
        let mut version = at.get();
        let read = |version, path: &[u8]| {
            let row = row_key(version, path.len(), &leaves::packed(path));
            let row = store.read_latest(Space::Tree, &row)?;
            row.map(|row| leaves::read(&row)).transpose()
        };
        for depth in 0..path.len() {
            let Some(Read::Internal(children)) = read(version, &path[..depth])? else {
                return Ok(Answer::None);
            };
            match children.get(usize::from(path[depth])) {
                Some(Some((_, made))) => version = *made,
                _ => return Ok(Answer::None),
            }
        }
        let top = match read(version, path)? {
            None => return Ok(Answer::None),
            Some(Read::Leaf(leaf)) => return Ok(Answer::Leaves(vec![leaf])),
            Some(Read::Internal(children)) => children,
        };
        // The nodes of a level, each with the height that made it.
        let mut level: Vec<(Vec<u8>, u64)> = Vec::new();
        let open = |path: &[u8], children: &[Option<(Child, u64)>; 16]| {
            let child = |(at, child): (usize, &Option<(_, u64)>)| {
                // A nibble.
                child.as_ref().map(|(_, version)| ([path, &[at as u8]].concat(), *version))
            };
            children.iter().enumerate().filter_map(child).collect::<Vec<_>>()
        };
        level.extend(open(path, &top));
        let mut found = Vec::new();
        while !level.is_empty() {
            if found.len() + level.len() > leaves::MOST {
                let children = (*top).map(|child| child.map(|(child, _)| child));
                return Ok(Answer::Children(Box::new(children)));
            }
            let keys: Vec<Vec<u8>> = level
                .iter()
                .map(|(path, version)| row_key(*version, path.len(), &leaves::packed(path)))
                .collect();
            let asked: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let mut below = Vec::new();
            for ((path, _), row) in
                level.iter().zip(store.read_many(Space::Tree, &asked, u64::MAX)?)
            {
                // It may be leaving.
                let Some(row) = row else {
                    self.check_kept(at)?;
                    return Err(damaged());
                };
                match leaves::read(&row)? {
                    Read::Leaf(leaf) => found.push(leaf),
                    Read::Internal(children) => below.extend(open(path, &children)),
                }
            }
            level = below;
        }
        found.sort_unstable();
        Ok(Answer::Leaves(found))
    }

    /// Rows of a range, those that `keep` makes of them.
    fn rows(
        &self,
        space: Space,
        range: &Range,
        at: Height,
        keep: impl Fn(Vec<u8>, Vec<u8>) -> Result<Option<(Vec<u8>, Vec<u8>)>, MachineError>,
    ) -> Result<Answer, MachineError> {
        let (mut found, mut size) = (Vec::new(), 0);
        let mut rest = KeyRange { start: range.start.clone(), end: range.end.clone() };
        for _ in 0..PAGES {
            let rows = self.store().scan(space, &rest, at.get(), PAGE)?;
            if rows.len() < PAGE {
                rest.start.clear();
            } else if let Some((last, _)) = rows.last() {
                rest = rest.after(last);
            }
            for (key, value) in rows {
                if let Some((key, value)) = keep(key, value)? {
                    size += key.len() + value.len() + 8;
                    found.push((key, value));
                }
            }
            if rest.start.is_empty() || size >= ENOUGH {
                break;
            }
        }
        let next = Some(rest.start).filter(|next| !next.is_empty());
        Ok(Answer::Rows { rows: found, next })
    }
}

/// Whether a range of heights has some, and not too many.
fn is_some(begin: &Height, end: &Height) -> bool {
    (1..=taking::MOST_HEIGHTS).contains(&end.since(*begin))
}

/// A part of something, from a byte on.
fn bytes(whole: Option<Vec<u8>>, from: u32) -> Answer {
    let Some(whole) = whole else { return Answer::None };
    let from = (from as usize).min(whole.len());
    let part = whole[from..whole.len().min(from + 2 * ENOUGH)].to_vec();
    // A block is far smaller than 4 GiB.
    Answer::Bytes { part, all: whole.len() as u32 }
}
