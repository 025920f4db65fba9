//! What becomes of a node that ends: it is started again with back-off, a few
//! times, and then a person has to look. A token or PIN that does not open is
//! not tried again at all, because tokens lock; one that does not answer is
//! tried for as long as it takes.
//!
//! This part decides and does nothing: no clock, no process.

use std::time::{Duration, Instant};

use crate::state::{Condition, State};
use crate::unit::{Ending, UnitState};

/// Pauses before the node is started again; after the last one it is not.
pub const BACK_OFF: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];

/// A node that ran for so long was well: its next ending is the first again.
const STEADY: Duration = Duration::from_secs(600);

/// What helps a machine that waits for a person.
const AGAIN: &str = "press Enter at the console to start the node again";

/// What a person types who wants a PIN to be shown to a token once more. A line
/// that comes by itself, as on some serial consoles, must not lock the token.
pub const WORD: &str = "again";

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start the node.
    Start,
    /// The node's process runs: ask it how it is.
    Ask,
    /// Nothing now; this is how the machine is.
    Wait(Condition),
}

/// Remembers how often the node ended.
#[derive(Debug)]
pub struct Keeper {
    back_off: [Duration; 3],
    /// Since when the node runs that we started or found.
    running: Option<Instant>,
    endings: usize,
    /// When the node is started again.
    resume: Option<Instant>,
    /// Why it is not started again.
    given_up: Option<Condition>,
    waiting: Option<Condition>,
}

impl Keeper {
    /// Has not started a node yet.
    pub fn new(back_off: [Duration; 3]) -> Self {
        Self { back_off, running: None, endings: 0, resume: None, given_up: None, waiting: None }
    }

    /// What to do about a node that is like this.
    pub fn next(&mut self, now: Instant, unit: &UnitState) -> Step {
        match unit {
            UnitState::Running => {
                let since = *self.running.get_or_insert(now);
                if now.duration_since(since) >= STEADY {
                    self.endings = 0;
                }
                (self.given_up, self.resume, self.waiting) = (None, None, None);
                return Step::Ask;
            }
            UnitState::Ended(ending) if self.running.take().is_some() => self.ended(now, ending),
            _ => {}
        }
        if let Some(condition) = &self.given_up {
            return Step::Wait(condition.clone());
        }
        match (&self.waiting, self.resume) {
            (Some(condition), Some(resume)) if now < resume => Step::Wait(condition.clone()),
            _ => {
                self.running = Some(now);
                Step::Start
            }
        }
    }

    /// Whether it takes more than a key to try again.
    pub fn wants_word(&self) -> bool {
        self.given_up.as_ref().is_some_and(|condition| condition.state == State::Locked)
    }

    /// A person wants it tried again.
    pub fn again(&mut self) {
        (self.given_up, self.resume, self.waiting, self.endings) = (None, None, None, 0);
    }

    fn ended(&mut self, now: Instant, ending: &Ending) {
        let said = ending.describe();
        tracing::error!(%said, "the node ended");
        if ending.is_locked() {
            let reason = format!("the token or its PIN does not open ({said})");
            let remedy = format!(
                "see that the token is the one of the ceremony and its PIN has not been changed; \
                 then type `{WORD}` and Enter at the console, which shows the PIN to the token once \
                 more"
            );
            self.given_up = Some(Condition::because(State::Locked, reason, remedy));
            return;
        }
        let last = self.back_off[self.back_off.len() - 1];
        let pause = self.back_off.get(self.endings).copied();
        self.endings += 1;
        let pause = match pause {
            Some(pause) => pause,
            None if ending.is_unavailable() => last,
            None => {
                let reason = format!("the node ended {} times, and last with {said}", self.endings);
                let remedy = format!("mend the cause, then {AGAIN}");
                self.given_up = Some(Condition::because(State::Failed, reason, remedy));
                return;
            }
        };
        let reason = if ending.is_unavailable() {
            format!("the token does not answer ({said})")
        } else {
            format!("the node ended with {said}")
        };
        let remedy = format!("it is started again in {} s", pause.as_secs_f32().ceil());
        self.waiting = Some(Condition::because(State::Locked, reason, remedy));
        self.resume = Some(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ended(status: i32) -> UnitState {
        UnitState::Ended(Ending { status: Some(status), said: "words".to_owned() })
    }

    fn waits(step: Step, state: State, words: &str) {
        let Step::Wait(condition) = step else { panic!("{step:?}") };
        assert_eq!(condition.state, state);
        assert!(condition.reasons[0].contains(words), "{condition:?}");
        assert!(!condition.remedy.is_empty());
    }

    #[test]
    fn a_node_that_ends_is_started_three_times_and_then_failed() {
        let (mut keeper, mut now) = (Keeper::new(BACK_OFF), Instant::now());
        assert_eq!(keeper.next(now, &UnitState::Stopped), Step::Start);
        for pause in BACK_OFF {
            assert_eq!(keeper.next(now, &UnitState::Running), Step::Ask);
            waits(keeper.next(now, &ended(2)), State::Locked, "words");
            waits(keeper.next(now, &ended(2)), State::Locked, "words");
            now += pause;
            assert_eq!(keeper.next(now, &ended(2)), Step::Start);
        }
        waits(keeper.next(now, &ended(2)), State::Failed, "4 times");
        now += Duration::from_secs(3600);
        waits(keeper.next(now, &ended(2)), State::Failed, "words");
        keeper.again();
        assert_eq!(keeper.next(now, &ended(2)), Step::Start);
        waits(keeper.next(now, &ended(2)), State::Locked, "words");
    }

    #[test]
    fn a_wrong_pin_is_not_tried_again_until_a_person_says_so() {
        for status in [4, 243] {
            let (mut keeper, now) = (Keeper::new(BACK_OFF), Instant::now());
            assert_eq!(keeper.next(now, &UnitState::Stopped), Step::Start);
            let later = now + Duration::from_secs(3600);
            for at in [now, later] {
                waits(keeper.next(at, &ended(status)), State::Locked, "does not open");
                assert!(keeper.wants_word());
            }
            keeper.again();
            assert_eq!(keeper.next(later, &ended(status)), Step::Start);
        }
    }

    #[test]
    fn a_token_that_does_not_answer_is_waited_for() {
        let (mut keeper, mut now) = (Keeper::new(BACK_OFF), Instant::now());
        assert_eq!(keeper.next(now, &UnitState::Stopped), Step::Start);
        for _ in 0..100 {
            waits(keeper.next(now, &ended(3)), State::Locked, "does not answer");
            now += BACK_OFF[2];
            assert_eq!(keeper.next(now, &ended(3)), Step::Start);
        }
    }

    #[test]
    fn a_node_that_was_well_for_long_starts_from_the_beginning() {
        let (mut keeper, mut now) = (Keeper::new(BACK_OFF), Instant::now());
        assert_eq!(keeper.next(now, &UnitState::Stopped), Step::Start);
        for _ in 0..10 {
            assert_eq!(keeper.next(now, &UnitState::Running), Step::Ask);
            now += STEADY;
            assert_eq!(keeper.next(now, &UnitState::Running), Step::Ask);
            waits(keeper.next(now, &ended(1)), State::Locked, "words");
            now += BACK_OFF[0];
            assert_eq!(keeper.next(now, &ended(1)), Step::Start);
        }
    }

    #[test]
    fn a_node_that_runs_already_is_not_started_and_one_that_had_failed_before_is() {
        let now = Instant::now();
        assert_eq!(Keeper::new(BACK_OFF).next(now, &UnitState::Running), Step::Ask);
        assert_eq!(Keeper::new(BACK_OFF).next(now, &ended(1)), Step::Start);
    }

    /// What happens to a machine: time passes, the node ends, somebody presses
    /// Enter.
    #[derive(Clone, Debug)]
    enum Event {
        Seconds(u64),
        Ends(i32),
        Enter,
    }

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0_u64..30).prop_map(Event::Seconds),
            prop_oneof![Just(1), Just(2), Just(3), Just(4), Just(243)].prop_map(Event::Ends),
            Just(Event::Enter),
        ]
    }

    proptest! {
        #[test]
        fn nobodys_pin_is_tried_twice_and_nothing_starts_without_end(
            story in proptest::collection::vec(events(), 1..200)
        ) {
            let (mut keeper, mut now) = (Keeper::new(BACK_OFF), Instant::now());
            let mut unit = UnitState::Stopped;
            // Starts since somebody pressed Enter; whether the last one was
            // refused by the token.
            let (mut starts, mut waited, mut refused) = (0, 0, false);
            for event in story {
                match event {
                    Event::Seconds(seconds) => now += Duration::from_secs(seconds),
                    Event::Ends(status) if unit == UnitState::Running => {
                        unit = ended(status);
                        refused = status > 3;
                        waited += usize::from(status == 3);
                    }
                    Event::Ends(_) => {}
                    Event::Enter => {
                        keeper.again();
                        (starts, waited, refused) = (0, 0, false);
                    }
                }
                match keeper.next(now, &unit) {
                    Step::Start => {
                        prop_assert!(!refused, "a PIN was tried again");
                        starts += 1;
                        // The first, three more, and one for each time that the
                        // token did not answer.
                        prop_assert!(starts <= 1 + BACK_OFF.len() + waited);
                        unit = UnitState::Running;
                    }
                    Step::Ask => prop_assert_eq!(&unit, &UnitState::Running),
                    Step::Wait(condition) => {
                        prop_assert_ne!(&unit, &UnitState::Running);
                        prop_assert!(!condition.reasons.is_empty());
                    }
                }
            }
        }
    }
}
