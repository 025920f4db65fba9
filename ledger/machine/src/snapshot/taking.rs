//! Taking a snapshot: what is to be asked for, and what is made of the answers.
//!
//! Parts come one after the other, and the answers of a part are taken in the order
//! in which they were to be asked for, whatever the order in which they come: so one
//! note says how far it is, and is durable with what it speaks of. Each answer is
//! verified before any of it is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_contract::Sources;
use hufu_proof::transaction::Proposal;
use hufu_proof::{Block, Digest, Genesis, Header, Height, LogIndex, Name, codec};
use hufu_store::copy::Portable;
use hufu_store::limits::MAX_VALUE;
use hufu_store::{Incoming, KeyRange, Space, Store as _, Write, large};

use super::leaves::{self, Read};
use super::offer::Snapshot;
use super::wire::{Answer, Child, Of, Question, Range};
use crate::accounts::Usage;
use crate::error::MachineError;
use crate::index::Place;
use crate::kept;
use crate::log::{Log, Run};
use crate::machine::genesis_block;
use crate::record::VersionRecord;
use crate::state::decode;
use crate::tree::{self, NodeCache, node_cache, row_key};
use crate::{chain, contracts, epoch};

/// Heights of which one certificate of finality comes along.
pub(super) const SPAN: u64 = 64;

/// Most heights that are asked for at once.
pub(super) const MOST_HEIGHTS: u64 = 4_096;

/// Headers that are asked for at once.
const HEADERS: u64 = 512;

/// Entries of the log that are asked for at once, about: up to the next number of
/// entries that a header commits to.
const ENTRIES: u64 = 4_096;

/// Most entries of the log that are asked for at once.
pub(super) const MOST_ENTRIES: u64 = 60_000;

/// Transactions in a range of identifiers, about.
const PLACES: u64 = 2_048;

/// Behind every key of rows that are asked for in ranges: identifiers have 32 octets,
/// and the other keys are text.
const END: [u8; 33] = [u8::MAX; 33];

/// Commitments that are read at once.
const PAGE: usize = 4_096;

/// What a part of the state begins with of which there are many, with keys that are
/// spread evenly behind it.
const SPREAD: [&[u8]; 4] = [b"certificate/", b"identity/", b"rights/", b"vote-key/"];

/// The parts, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Headers,
    Certificates,
    Log,
    Places,
    Tree,
    State,
    Usage,
    Packages,
    Block,
}

impl Part {
    const ALL: [(Self, Space, &'static str); 9] = [
        (Self::Headers, Space::Headers, "headers"),
        (Self::Certificates, Space::Finality, "certificates"),
        (Self::Log, Space::Log, "log"),
        (Self::Places, Space::Transactions, "transactions"),
        (Self::Tree, Space::Tree, "state tree"),
        (Self::State, Space::State, "state"),
        (Self::Usage, Space::Usage, "usage"),
        (Self::Packages, Space::Packages, "packages"),
        (Self::Block, Space::Blocks, "block"),
    ];

    fn space(self) -> Space {
        Self::ALL[self as usize].1
    }

    fn name(self) -> &'static str {
        Self::ALL[self as usize].2
    }

    fn of(space: Space) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, of, _)| *of == space).map(|(part, ..)| part)
    }

    fn next(self) -> Option<Self> {
        Self::ALL.get(self as usize + 1).map(|(part, ..)| *part)
    }
}

/// How far it is: what is noted in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Note {
    /// Within the part: where it goes on.
    at: Vec<u8>,
    /// Whether the part is over.
    over: bool,
    /// Leaves of the state tree.
    leaves: u64,
    /// Rows of the state.
    rows: u64,
    /// Whether several have to say the same of the state's rows, because who was
    /// asked alone left some out.
    strict: bool,
}

/// Something to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What.
    pub of: Of,
    /// How many have to say the same.
    pub vouchers: usize,
    /// The hash that it has to lead to, where that is known beforehand.
    expected: Option<Digest>,
}

impl Asked {
    fn new(of: Of) -> Self {
        Self { of, vouchers: 1, expected: None }
    }

    /// As a question about a height; `brief` asks for the digest alone.
    pub fn question(&self, height: Height, brief: bool) -> Question {
        Question { height, brief, of: self.of.clone() }
    }
}

/// Why an answer is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Who gave it is at fault.
    #[error("it is not what the snapshot has: {0}")]
    Answer(&'static str),
    /// The machine or its store.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

impl From<hufu_store::StoreError> for Refusal {
    fn from(error: hufu_store::StoreError) -> Self {
        Self::Machine(error.into())
    }
}

/// How far the taking of a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The snapshot's height.
    pub height: Height,
    /// What comes now.
    pub part: &'static str,
    /// Bytes that are here.
    pub bytes: u64,
    /// Share of all that is here, in thousandths: an estimate.
    pub thousandths: u64,
}

/// A snapshot that is taken.
pub struct Intake {
    incoming: Incoming,
    snapshot: Snapshot,
    genesis: Digest,
    part: Part,
    note: Note,
    /// Of the part before, headers: what the next lower one's digest has to be.
    below: Option<Digest>,
    log: Option<Log>,
    nodes: NodeCache,
    /// Leaves of the tree, as far as the first answers say.
    leaves: u64,
    /// Packages that the state names, with what each was checked against.
    packages: BTreeMap<Digest, BTreeMap<Name, Digest>>,
    block: Vec<u8>,
}

fn refused<T>(what: &'static str) -> Result<T, Refusal> {
    Err(Refusal::Answer(what))
}

impl Intake {
    /// Takes a snapshot into a store that is empty, or goes on where that was
    /// interrupted; an unfinished one of another height is removed.
    ///
    /// # Errors
    /// [`MachineError`] when the store has a record of its own, or fails.
    pub fn begin(
        target: Arc<dyn Portable>,
        genesis: &Genesis,
        snapshot: Snapshot,
    ) -> Result<Self, MachineError> {
        let incoming = Incoming::open(target, &snapshot.applied())?;
        let (part, note) = match incoming.note() {
            None => (Part::Headers, Note::default()),
            Some((space, note)) => {
                let part = Part::of(space).ok_or_else(|| MachineError::damaged("its intake"))?;
                let note = codec::decode("how far it is", note, MAX_VALUE)
                    .map_err(|error| MachineError::undecodable("record of its intake", error))?;
                (part, note)
            }
        };
        let mut intake = Self {
            incoming,
            snapshot,
            genesis: genesis_block(genesis)?,
            part,
            note,
            below: None,
            log: None,
            nodes: node_cache(),
            leaves: 0,
            packages: BTreeMap::new(),
            block: Vec::new(),
        };
        if intake.part == Part::Headers && intake.note.at.is_empty() {
            let writes = intake.begun()?;
            let top = intake.snapshot.height().next();
            intake.note.at = top.to_be_bytes().to_vec();
            intake.put(writes)?;
        }
        intake.leaves = intake.note.leaves;
        Ok(intake)
    }

    /// What follows from the offer alone.
    fn begun(&self) -> Result<Vec<Write>, MachineError> {
        let snapshot = &self.snapshot;
        let height = snapshot.height();
        let mut writes = vec![
            chain::finality_write(height, &snapshot.certificate),
            chain::snapshot_write(height),
            kept::from_snapshot(height),
        ];
        for commitment in snapshot.committed.iter().filter(|one| one.height <= height) {
            writes.push(chain::commitment_write(commitment));
        }
        for (number, handover) in (1..).zip(&snapshot.handovers) {
            writes.push(chain::epoch_write(number, handover.header.height.next()));
            writes.push(chain::handover_write(number, handover));
        }
        Ok(writes)
    }

    /// What is taken.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// How far it is.
    pub fn taken(&self) -> Taken {
        let (_, bytes) = self.incoming.size();
        let height = self.snapshot.height();
        // What rows weigh, about.
        let commitment = &self.snapshot.commitment;
        let leaves = self.leaves.max(self.note.leaves);
        let all = height.get() * 400 + commitment.log_size * 130 + leaves * 450;
        let most = if leaves == 0 { 500 } else { 999 };
        let thousandths = (bytes * 1_000 / all.max(1)).min(most);
        Taken { height, part: self.part.name(), bytes, thousandths }
    }

    /// Writes rows and notes how far it is.
    fn put(&mut self, writes: Vec<Write>) -> Result<(), MachineError> {
        Ok(self.incoming.add(writes, (self.part.space(), codec::encode(&self.note)))?)
    }

    /// All that is still to be asked for of the present part, in the order in which the
    /// answers are to be taken; nothing when the part is over.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn asked(&mut self) -> Result<Vec<Asked>, MachineError> {
        if self.note.over || self.note.at == END {
            return Ok(Vec::new());
        }
        let height = self.snapshot.height();
        Ok(match self.part {
            Part::Headers => {
                let low = self.low()?;
                self.below = Some(match low > height {
                    true => self.snapshot.digest,
                    false => self.header(low)?.parent,
                });
                let ends = (0..=low.get()).rev().step_by(HEADERS as usize);
                let range = |end: u64| Of::Headers {
                    begin: Height(end.saturating_sub(HEADERS)),
                    end: Height(end),
                };
                ends.filter(|end| *end > 0).map(range).map(Asked::new).collect()
            }
            Part::Certificates => {
                let begin = self.low()?;
                let begins = (begin.get()..=height.get()).step_by(MOST_HEIGHTS as usize);
                let range = |begin: u64| Of::Certificates {
                    begin: Height(begin),
                    end: Height(begin + MOST_HEIGHTS).min(height.next()),
                };
                begins.map(range).map(Asked::new).collect()
            }
            Part::Log => self.parts_of_log()?,
            Part::Places => {
                let ranges = self.snapshot.commitment.log_size / PLACES + 1;
                let ranges = ranges.next_power_of_two().min(256) as usize;
                let starts: Vec<Vec<u8>> =
                    (0..256).step_by(256 / ranges).map(|one| vec![one as u8]).collect();
                self.vouched(ranges_from(&self.note.at, starts), Of::Places)
            }
            Part::Tree => {
                let mut open = Vec::new();
                self.open(&[], self.snapshot.commitment.state_root, &mut open)?;
                open
            }
            Part::State => {
                let mut starts = vec![b"asset/".to_vec(), b"asset0".to_vec()];
                for prefix in SPREAD {
                    let spread = (0..=255).step_by(16).map(|one: u8| [prefix, &[one]].concat());
                    starts.extend(spread);
                }
                starts.sort_unstable();
                let ranges = ranges_from(&self.note.at, starts);
                match self.note.strict {
                    true => self.vouched(ranges, Of::State),
                    false => ranges.into_iter().map(Of::State).map(Asked::new).collect(),
                }
            }
            Part::Usage => self.vouched(ranges_from(&self.note.at, Vec::new()), Of::Usage),
            Part::Packages => self.wanted_packages()?,
            Part::Block => {
                self.block.clear();
                vec![Asked::new(Of::Block(0))]
            }
        })
    }

    fn vouched(&self, ranges: Vec<Range>, of: fn(Range) -> Of) -> Vec<Asked> {
        let vouchers = self.snapshot.vouchers();
        let asked = |range| Asked { of: of(range), vouchers, expected: None };
        ranges.into_iter().map(asked).collect()
    }

    /// The height in the note.
    fn low(&self) -> Result<Height, MachineError> {
        if self.note.at.is_empty() {
            return Ok(Height::ZERO);
        }
        let at = self.note.at.as_slice().try_into();
        Ok(Height::from_be_bytes(at.map_err(|_| MachineError::damaged("record of its intake"))?))
    }

    fn header(&self, height: Height) -> Result<Header, MachineError> {
        let header = chain::header(&self.incoming, height)?;
        header.ok_or_else(|| MachineError::damaged("chain of headers"))
    }

    /// Goes to the next part when the present one is over; whether there is one.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails, or what has come does not fit together.
    pub fn part_over(&mut self) -> Result<bool, MachineError> {
        if !self.note.over {
            if self.part == Part::State && self.note.rows != self.note.leaves {
                if self.note.strict {
                    return Err(MachineError::damaged("snapshot: members agree on a state that"));
                }
                // Somebody left rows out. Who did is not known: several have to say the
                // same of each range.
                self.note = Note { at: Vec::new(), rows: 0, strict: true, ..self.note.clone() };
                self.put(Vec::new())?;
                return Ok(true);
            }
            self.note.over = true;
        }
        let Some(next) = self.part.next() else {
            self.put(Vec::new())?;
            return Ok(false);
        };
        self.part = next;
        self.note = Note { at: Vec::new(), over: false, ..self.note.clone() };
        self.put(Vec::new())?;
        Ok(true)
    }

    /// Verifies an answer, the first of those that are asked for, and writes what is in
    /// it; what is to be asked for before the others.
    ///
    /// # Errors
    /// [`Refusal::Answer`] when it is not true; nothing was written then.
    pub fn take(&mut self, asked: &Asked, answer: Answer) -> Result<Vec<Asked>, Refusal> {
        match (&asked.of, answer) {
            (Of::Headers { begin, end }, Answer::Headers(headers)) => {
                self.take_headers(*begin, *end, headers)
            }
            (Of::Certificates { begin, end }, Answer::Certificates(found)) => {
                self.take_certificates(*begin, *end, found)
            }
            (Of::Log { begin, end }, Answer::Log(runs)) => {
                self.take_log(*begin, *end, asked.expected, runs)
            }
            (Of::Tree(path), Answer::Leaves(found)) => self.take_leaves(path, asked, &found),
            (Of::Tree(path), Answer::Children(found)) => self.take_children(path, asked, &found),
            (
                Of::State(range) | Of::Places(range) | Of::Usage(range),
                Answer::Rows { rows, next },
            ) => self.take_rows(asked, range, rows, next),
            (Of::Package(digest), Answer::Bytes { part, all }) => {
                self.take_package(digest, &part, all)
            }
            (Of::Proposal(digest), Answer::Bytes { part, all }) => {
                self.take_proposal(digest, &part, all)
            }
            (Of::Block(from), Answer::Bytes { part, all }) => self.take_block(*from, part, all),
            _ => refused("the kind of answer"),
        }
    }

    fn take_headers(
        &mut self,
        begin: Height,
        end: Height,
        headers: Vec<Header>,
    ) -> Result<Vec<Asked>, Refusal> {
        if headers.len() as u64 != end.since(begin) {
            return refused("the number of headers");
        }
        let mut expected = self.below.ok_or_else(|| MachineError::damaged("its intake"))?;
        let mut writes = Vec::with_capacity(2 * headers.len());
        for (at, header) in headers.iter().enumerate().rev() {
            if header.digest() != expected || header.height != begin.plus(at as u64) {
                return refused("a header");
            }
            expected = header.parent;
            writes.push(chain::header_write(header));
            writes.push(chain::commitment_write(&header.executed));
        }
        if begin == Height::ZERO
            && headers.first().is_none_or(|first| first.digest() != self.genesis)
        {
            return refused("the first header");
        }
        self.below = Some(expected);
        self.note.at = begin.to_be_bytes().to_vec();
        self.put(writes)?;
        Ok(Vec::new())
    }

    fn take_certificates(
        &mut self,
        begin: Height,
        end: Height,
        found: Vec<(Height, hufu_proof::FinalityCertificate)>,
    ) -> Result<Vec<Asked>, Refusal> {
        let chain = self.snapshot.header.chain;
        let mut writes = Vec::with_capacity(found.len());
        let mut next = begin;
        for (height, certificate) in found {
            if height < next || height >= end {
                return refused("the height of a certificate");
            }
            next = height.next();
            let (epoch, members) = self.snapshot.epoch_of(height);
            let block = self.header(height)?.digest();
            if certificate.verify(&chain, epoch, members, &block).is_err() {
                return refused("a certificate");
            }
            writes.push(chain::finality_write(height, &certificate));
        }
        self.note.at = end.to_be_bytes().to_vec();
        self.put(writes)?;
        Ok(Vec::new())
    }

    /// Parts of the log that end where a header says what its root is.
    fn parts_of_log(&mut self) -> Result<Vec<Asked>, MachineError> {
        let size = self.snapshot.commitment.log_size;
        let mut begin = match self.note.at.as_slice() {
            [] => 0,
            at => u64::from_be_bytes(
                at.try_into().map_err(|_| MachineError::damaged("record of its intake"))?,
            ),
        };
        self.log = Some(Log::open(&self.incoming, begin)?);
        let mut asked = Vec::new();
        let mut range = KeyRange::prefix(b"c");
        loop {
            let rows = self.incoming.scan(Space::Headers, &range, u64::MAX, PAGE)?;
            for (_, row) in &rows {
                let commitment: hufu_proof::Commitment = decode("commitment", row)?;
                let end = commitment.log_size;
                if end > begin && (end - begin >= ENTRIES || end == size) {
                    let (of, vouchers) = (Of::Log { begin, end }, self.snapshot.vouchers());
                    let expected = Some(commitment.log_root);
                    asked.push(Asked { of, vouchers, expected });
                    begin = end;
                }
            }
            match rows.last() {
                Some((key, _)) if rows.len() == PAGE => range = range.after(key),
                _ => return Ok(asked),
            }
        }
    }

    fn take_log(
        &mut self,
        begin: u64,
        end: u64,
        expected: Option<Digest>,
        runs: Vec<Run>,
    ) -> Result<Vec<Asked>, Refusal> {
        let count: u64 = runs.iter().map(|run| run.entries.len() as u64).sum();
        let height = self.snapshot.height();
        let sound = |run: &Run| !run.entries.is_empty() && run.height <= height;
        if count != end - begin || !runs.iter().all(sound) {
            return refused("the number of entries of the log");
        }
        let mut log = self.log.clone().ok_or_else(|| MachineError::damaged("its intake"))?;
        let mut writes = Vec::new();
        log.append_runs(&runs, &mut writes)?;
        if Some(log.root()?) != expected {
            return refused("the log");
        }
        self.log = Some(log);
        self.note.at = end.to_be_bytes().to_vec();
        self.put(writes)?;
        Ok(Vec::new())
    }

    /// Finds which subtrees are still to come: those behind the note, below nodes that
    /// are here.
    fn open(
        &self,
        path: &[u8],
        expected: Digest,
        open: &mut Vec<Asked>,
    ) -> Result<(), MachineError> {
        let at = self.note.at.as_slice();
        if path < at && !at.starts_with(path) {
            return Ok(());
        }
        if !at.is_empty() && at.starts_with(path) {
            let height = self.snapshot.height().get();
            let row = row_key(height, path.len(), &leaves::packed(path));
            let row = self.incoming.read_latest(Space::Tree, &row)?;
            let node = row.map(|row| leaves::read(&row)).transpose()?;
            let Some(Read::Internal(children)) = node else { return Ok(()) };
            for (nibble, child) in (0..).zip(&*children) {
                if let Some((child, _)) = child {
                    self.open(&[path, &[nibble]].concat(), Digest(child.hash), open)?;
                }
            }
            return Ok(());
        }
        let of = Of::Tree(path.to_vec());
        open.push(Asked { of, vouchers: 1, expected: Some(expected) });
        Ok(())
    }

    fn take_leaves(
        &mut self,
        path: &[u8],
        asked: &Asked,
        found: &[leaves::Leaf],
    ) -> Result<Vec<Asked>, Refusal> {
        let height = self.snapshot.height();
        let mut writes = Vec::with_capacity(found.len() * 5 / 4);
        let made = leaves::from_leaves(path, found, height, &mut writes);
        let Some(made) = made.filter(|made| Some(Digest(made.child.hash)) == asked.expected) else {
            return refused("leaves of the state tree");
        };
        writes.push(made.write(path, height));
        self.note.leaves += found.len() as u64;
        // Behind everything below it.
        self.note.at = [path, &[u8::MAX]].concat();
        self.put(writes)?;
        Ok(Vec::new())
    }

    fn take_children(
        &mut self,
        path: &[u8],
        asked: &Asked,
        found: &[Option<Child>; 16],
    ) -> Result<Vec<Asked>, Refusal> {
        let height = self.snapshot.height();
        let made = leaves::from_children(found, height);
        let Some(made) = made.filter(|made| Some(Digest(made.child.hash)) == asked.expected) else {
            return refused("a node of the state tree");
        };
        if path.is_empty() {
            self.leaves = made.child.leaves.unwrap_or_default();
        }
        let next = (0..).zip(found).filter_map(|(nibble, child)| {
            let expected = Some(Digest(child.as_ref()?.hash));
            Some(Asked { of: Of::Tree([path, &[nibble]].concat()), vouchers: 1, expected })
        });
        let next = next.collect();
        // An empty note is that of nothing: the root's is told by what is below it.
        self.note.at = path.to_vec();
        self.put(vec![made.write(path, height)])?;
        Ok(next)
    }

    fn take_rows(
        &mut self,
        asked: &Asked,
        range: &Range,
        rows: Vec<(Vec<u8>, Vec<u8>)>,
        next: Option<Vec<u8>>,
    ) -> Result<Vec<Asked>, Refusal> {
        let ends = |key: &[u8]| range.end.as_deref().is_none_or(|end| key < end);
        let ascending = rows.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let within = rows.iter().all(|(key, _)| *key >= range.start && ends(key));
        let goes_on = next.as_ref().is_none_or(|next| {
            *next > range.start && ends(next) && rows.last().is_none_or(|(last, _)| last < next)
        });
        if !ascending || !within || !goes_on {
            return refused("keys");
        }
        let space = match &asked.of {
            Of::State(_) => {
                let height = self.snapshot.height();
                if tree::absent(&self.incoming, &self.nodes, height, &rows)?.is_some() {
                    return refused("a row of the state");
                }
                self.note.rows += rows.len() as u64;
                Space::State
            }
            Of::Places(_) => {
                let commitment = &self.snapshot.commitment;
                let sound = |(key, row): &(Vec<u8>, Vec<u8>)| {
                    let place = Place::decode(row).ok();
                    let place =
                        place.filter(|place| place.log_index < LogIndex(commitment.log_size));
                    key.len() == 32 && place.is_some_and(|place| place.height <= commitment.height)
                };
                if !rows.iter().all(sound) {
                    return refused("the place of a transaction");
                }
                Space::Transactions
            }
            _ => {
                if rows.iter().any(|(key, row)| key.len() > 256 || Usage::decode(row).is_err()) {
                    return refused("what an account has used");
                }
                Space::Usage
            }
        };
        let writes = rows.into_iter().map(|(key, value)| Write::put(space, key, value)).collect();
        let rest = next.map(|start| Range { start, end: range.end.clone() });
        let after = rest.as_ref().map(|rest| rest.start.clone()).or_else(|| range.end.clone());
        self.note.at = after.unwrap_or_else(|| END.to_vec());
        self.put(writes)?;
        Ok(rest
            .map(|rest| {
                let of = match &asked.of {
                    Of::State(_) => Of::State(rest),
                    Of::Places(_) => Of::Places(rest),
                    _ => Of::Usage(rest),
                };
                Asked { of, ..asked.clone() }
            })
            .into_iter()
            .collect())
    }

    /// The packages and proposals that the state names and that are not here.
    fn wanted_packages(&mut self) -> Result<Vec<Asked>, MachineError> {
        let mut asked = Vec::new();
        self.packages.clear();
        for (_, row) in self.state_rows(b"version/")? {
            let VersionRecord { digest, dependencies, .. } = decode("contract version", &row)?;
            if contracts::package(&self.incoming, &digest)?.is_none()
                && self.packages.insert(digest, dependencies).is_none()
            {
                asked.push(Asked::new(Of::Package(digest)));
            }
        }
        for (key, _) in self.state_rows(b"proposal/")? {
            let digest = <[u8; 32]>::try_from(&key[b"proposal/".len()..])
                .map_err(|_| MachineError::damaged("key of a proposal"))?;
            if contracts::proposal(&self.incoming, &Digest(digest))?.is_none() {
                asked.push(Asked::new(Of::Proposal(Digest(digest))));
            }
        }
        Ok(asked)
    }

    fn state_rows(&self, prefix: &[u8]) -> Result<Vec<hufu_store::Row>, MachineError> {
        Ok(self.incoming.scan(Space::State, &KeyRange::prefix(prefix), u64::MAX, usize::MAX)?)
    }

    fn take_package(
        &mut self,
        digest: &Digest,
        part: &[u8],
        all: u32,
    ) -> Result<Vec<Asked>, Refusal> {
        let sources = Sources::from_bytes(part).ok();
        let is_it = sources.is_some_and(|sources| sources.digest() == *digest);
        if !is_it || part.len() != all as usize {
            return refused("a contract package");
        }
        let dependencies = self.packages.get(digest);
        let dependencies = dependencies.ok_or_else(|| MachineError::damaged("its intake"))?;
        let writes = contracts::package_writes(digest, part, dependencies)?;
        self.put(writes)?;
        Ok(Vec::new())
    }

    fn take_proposal(
        &mut self,
        digest: &Digest,
        part: &[u8],
        all: u32,
    ) -> Result<Vec<Asked>, Refusal> {
        let proposal: Option<Proposal> =
            codec::decode("proposal", part, codec::MAX_TRANSACTION).ok();
        let proposal = proposal.filter(|one| one.digest() == *digest);
        let Some(proposal) = proposal.filter(|_| part.len() == all as usize) else {
            return refused("a proposal");
        };
        let writes = contracts::proposal_writes(digest, &proposal)?;
        self.put(writes)?;
        Ok(Vec::new())
    }

    fn take_block(&mut self, from: u32, part: Vec<u8>, all: u32) -> Result<Vec<Asked>, Refusal> {
        let size = self.block.len() + part.len();
        if from as usize != self.block.len()
            || part.is_empty()
            || size > all as usize
            || all as usize > large::MAX_LARGE
        {
            return refused("a part of the block");
        }
        self.block.extend(part);
        if size < all as usize {
            // Fits: it is less than `all`.
            return Ok(vec![Asked::new(Of::Block(size as u32))]);
        }
        let bytes = std::mem::take(&mut self.block);
        let block: Option<Block> = codec::decode("block", &bytes, bytes.len()).ok();
        let is_it = block.is_some_and(|block| {
            block.header == self.snapshot.header
                && Block::transactions_root(&block.transactions) == block.header.transactions_root
        });
        if !is_it {
            return refused("the block");
        }
        let key = self.snapshot.height().to_be_bytes();
        let writes = large::writes(Space::Blocks, &key, &bytes)?.collect();
        self.note.over = true;
        self.put(writes)?;
        Ok(Vec::new())
    }

    /// Makes what was taken the store's record; everything is here.
    ///
    /// # Errors
    /// [`MachineError`] when it does not fit together, or the store fails.
    pub fn finish(self) -> Result<(), MachineError> {
        let damaged = || Err(MachineError::damaged("snapshot"));
        if self.part.next().is_some() || !self.note.over {
            return damaged();
        }
        let height = self.snapshot.height();
        let members = epoch::membership_at(&self.incoming, height)?;
        let expected = self.snapshot.membership();
        if members.map_or(0, |members| members.version) != expected.version {
            return damaged();
        }
        Ok(self.incoming.finish()?)
    }
}

/// Ranges from `at` on that begin at `starts`, which are in their order.
fn ranges_from(at: &[u8], starts: Vec<Vec<u8>>) -> Vec<Range> {
    let later = starts.into_iter().filter(|start| start.as_slice() > at);
    let mut starts: Vec<Vec<u8>> = [at.to_vec()].into_iter().chain(later).collect();
    starts.dedup();
    let ends: Vec<Option<Vec<u8>>> =
        starts.iter().skip(1).cloned().map(Some).chain([None]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| Range { start, end }).collect()
}
