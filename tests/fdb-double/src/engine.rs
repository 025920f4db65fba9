//! Rows with versions, read as of one, and commits that conflict.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::code;
use crate::wire::{Mutation, Range, Row};

/// Versions are microseconds, as in FoundationDB, where they are about that.
const WINDOW: u64 = 5_000_000;

/// What a key held from which version on.
type Past = Vec<(u64, Option<Vec<u8>>)>;

/// The rows and their past.
pub(crate) struct Engine {
    started: Instant,
    skew: Duration,
    /// The last version given to a commit.
    last: u64,
    /// By key, oldest first.
    rows: BTreeMap<Vec<u8>, Past>,
    /// What was written when, as long as somebody may have read before it.
    writes: VecDeque<(u64, Vec<Range>)>,
}

impl Engine {
    pub(crate) fn new() -> Self {
        // The first versions are old already for nobody.
        let (last, rows) = (WINDOW, BTreeMap::new());
        Self { started: Instant::now(), skew: Duration::ZERO, last, rows, writes: VecDeque::new() }
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.skew += by;
    }

    /// The version of what is committed now.
    pub(crate) fn version(&self) -> u64 {
        let passed = (self.started.elapsed() + self.skew).as_micros();
        u64::try_from(passed).unwrap_or(u64::MAX / 2).saturating_add(WINDOW).max(self.last)
    }

    fn is_too_old(&self, version: u64) -> bool {
        version.saturating_add(WINDOW) < self.version()
    }

    pub(crate) fn get(&self, version: u64, key: &[u8]) -> Result<Option<Vec<u8>>, i32> {
        if self.is_too_old(version) {
            return Err(code::TRANSACTION_TOO_OLD);
        }
        Ok(self.rows.get(key).and_then(|past| as_of(past, version)).map(<[u8]>::to_vec))
    }

    /// At most `rows` rows (of 0, all) and about `bytes` bytes (of 0, all) of
    /// `range`, and whether it may have more.
    pub(crate) fn range(
        &self,
        version: u64,
        range: &Range,
        (rows, bytes): (u64, u64),
        reverse: bool,
    ) -> Result<(Vec<Row>, bool), i32> {
        if self.is_too_old(version) {
            return Err(code::TRANSACTION_TOO_OLD);
        }
        if range.0 >= range.1 {
            return Ok((Vec::new(), false));
        }
        let mut stored = self.rows.range(range.0.clone()..range.1.clone());
        let (mut found, mut size) = (Vec::new(), 0);
        while let Some((key, past)) = if reverse { stored.next_back() } else { stored.next() } {
            let Some(value) = as_of(past, version) else { continue };
            size += (key.len() + value.len()) as u64;
            found.push((key.clone(), value.to_vec()));
            if found.len() as u64 == rows || (bytes > 0 && size >= bytes) {
                return Ok((found, true));
            }
        }
        Ok((found, false))
    }

    /// Commits what was read as of `version`, if anything was.
    pub(crate) fn commit(
        &mut self,
        version: Option<u64>,
        reads: &[Range],
        writes: Vec<Range>,
        mutations: Vec<Mutation>,
    ) -> Result<(), i32> {
        if writes.is_empty() {
            return Ok(());
        }
        if let Some(version) = version {
            if self.is_too_old(version) {
                return Err(code::TRANSACTION_TOO_OLD);
            }
            let later = self.writes.iter().filter(|(written, _)| *written > version);
            let mut later = later.flat_map(|(_, ranges)| ranges);
            if later.any(|write| reads.iter().any(|read| overlap(read, write))) {
                return Err(code::NOT_COMMITTED);
            }
        }
        // After every version that somebody may read as of.
        let now = self.version() + 1;
        self.last = now;
        for mutation in mutations {
            match mutation {
                Mutation::Set(key, value) => {
                    self.rows.entry(key).or_default().push((now, Some(value)));
                }
                Mutation::Clear((begin, end)) if begin < end => {
                    for (_, past) in self.rows.range_mut(begin..end) {
                        past.push((now, None));
                    }
                }
                Mutation::Clear(_) => {}
            }
        }
        let oldest = now.saturating_sub(2 * WINDOW);
        for (begin, end) in writes.iter().filter(|(begin, end)| begin < end) {
            for (_, past) in self.rows.range_mut(begin.clone()..end.clone()) {
                let kept = past.iter().rposition(|(written, _)| *written <= oldest);
                past.drain(..kept.unwrap_or(0));
            }
        }
        self.writes.push_back((now, writes));
        while self.writes.front().is_some_and(|(written, _)| *written < oldest) {
            self.writes.pop_front();
        }
        Ok(())
    }

    /// How many keys hold something.
    pub(crate) fn keys(&self) -> usize {
        self.rows.values().filter(|past| matches!(past.last(), Some((_, Some(_))))).count()
    }
}

fn as_of(past: &[(u64, Option<Vec<u8>>)], version: u64) -> Option<&[u8]> {
    past.iter().rev().find(|(written, _)| *written <= version)?.1.as_deref()
}

fn overlap(one: &Range, other: &Range) -> bool {
    one.0 < other.1 && other.0 < one.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &[u8]) -> Range {
        (key.to_vec(), [key, &[0]].concat())
    }

    fn set(
        engine: &mut Engine,
        version: Option<u64>,
        reads: &[Range],
        one: &[u8],
    ) -> Result<(), i32> {
        let writes = vec![key(one)];
        engine.commit(version, reads, writes, vec![Mutation::Set(one.to_vec(), b"value".to_vec())])
    }

    #[test]
    fn reads_are_as_of_their_version() {
        let mut engine = Engine::new();
        let before = engine.version();
        set(&mut engine, None, &[], b"a").unwrap();
        let between = engine.version();
        engine.commit(None, &[], vec![key(b"a")], vec![Mutation::Clear(key(b"a"))]).unwrap();
        assert_eq!(engine.get(before, b"a"), Ok(None));
        assert_eq!(engine.get(between, b"a"), Ok(Some(b"value".to_vec())));
        assert_eq!(engine.get(engine.version(), b"a"), Ok(None));
        assert_eq!(engine.keys(), 0);
    }

    #[test]
    fn who_read_what_another_wrote_conflicts() {
        let mut engine = Engine::new();
        let version = engine.version();
        set(&mut engine, None, &[], b"a").unwrap();
        assert_eq!(set(&mut engine, Some(version), &[key(b"a")], b"b"), Err(code::NOT_COMMITTED));
        set(&mut engine, Some(version), &[key(b"c")], b"b").unwrap();
        let version = engine.version();
        set(&mut engine, Some(version), &[key(b"a")], b"b").unwrap();
    }

    #[test]
    fn after_five_seconds_a_version_is_gone() {
        let mut engine = Engine::new();
        let version = engine.version();
        engine.advance(Duration::from_micros(WINDOW + 1));
        assert_eq!(engine.get(version, b"a"), Err(code::TRANSACTION_TOO_OLD));
        assert_eq!(set(&mut engine, Some(version), &[], b"a"), Err(code::TRANSACTION_TOO_OLD));
        let version = engine.version();
        set(&mut engine, Some(version), &[], b"a").unwrap();
    }

    #[test]
    fn ranges_are_bounded_and_say_whether_there_may_be_more() {
        let mut engine = Engine::new();
        for one in [b"a", b"b", b"c"] {
            set(&mut engine, None, &[], one).unwrap();
        }
        let version = engine.version();
        let range = |limits, reverse| {
            let all = (b"a".to_vec(), b"z".to_vec());
            let (rows, more) = engine.range(version, &all, limits, reverse).unwrap();
            (rows.into_iter().map(|(key, _)| key[0]).collect::<Vec<u8>>(), more)
        };
        assert_eq!(range((0, 0), false), (b"abc".to_vec(), false));
        assert_eq!(range((2, 0), false), (b"ab".to_vec(), true));
        assert_eq!(range((2, 0), true), (b"cb".to_vec(), true));
        assert_eq!(range((0, 7), false), (b"ab".to_vec(), true));
    }
}
