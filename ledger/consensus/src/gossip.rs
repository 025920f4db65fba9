//! Messages between the nodes outside consensus, such as transactions.
//!
//! The first byte says what a message is:
//!
//! ```text
//! 0 ‖ bytes                               for the application
//! 1 ‖ epoch (8)                           its sender is there, in this epoch
//! 2 ‖ epoch (8) ‖ height (8)              the epoch ended with this height
//! 3 ‖ asked (8)                           its sender asks for the time
//! 4 ‖ asked (8) ‖ time (8) ‖ epoch (8) ‖ view (8)
//!                                         the answer, with what was asked and
//!                                         the view of the epoch that is final
//! ```
//!
//! Every node says that it is there at least once in [`SIGN_OF_LIFE`]. One that
//! is in an epoch that is over is told where that ended, and fetches the
//! certificate of the last block from whoever said so. With its sign of life a
//! node asks for the time ([`crate::clock`]); one that has not voted since it
//! started asks more often ([`crate::listening`]). Integers are big-endian, times are
//! milliseconds since 1970.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use commonware_consensus::types::{Epoch, Height};
use commonware_macros::select;
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_runtime::{Clock, Handle, IoBuf, Spawner};
use commonware_utils::channel::mpsc;
use commonware_utils::ordered::{Quorum as _, Set};
use commonware_utils::vec::NonEmptyVec;
use hufu_proof::UnixMillis;

use crate::application::{Application, Round};
use crate::clock::Difference;
use crate::driver::Marshal;
use crate::epochs::Epochs;
use crate::error::Error;
use crate::keys::PublicKey;
use crate::scheme::Voter;
use crate::status::Board;

/// Longest time between two messages to everyone that say where a node is.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// The same for a validator that waits to hear how far the others are.
const IMPATIENCE: Duration = Duration::from_millis(200);

/// Messages that wait to be sent or to be read. More are dropped.
const WAITING: usize = 1024;

/// Ends of the present epoch that one peer is believed to know of; it has one,
/// and each costs a fetch.
const BELIEVED: usize = 4;

/// What a message of the application is longer by on its way.
pub(crate) const OVERHEAD: usize = 1;

/// Who gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Every other validator.
    All,
    /// The validator of this number.
    Validator(u16),
}

/// Sends messages to other nodes. Delivery is not promised: a peer that is away
/// or overrun misses some.
#[derive(Clone, Debug)]
pub struct Gossip {
    sender: mpsc::Sender<Outgoing>,
    limit: usize,
}

#[derive(Debug)]
enum Outgoing {
    Message(Recipient, Bytes),
    Ended { to: PublicKey, epoch: Epoch, last: Height },
    Time { to: PublicKey, asked_ms: UnixMillis },
}

impl Gossip {
    /// Queues a message. `Ok(false)` when too many wait and it is dropped.
    ///
    /// # Errors
    /// [`Error::Config`] when it is larger than [`crate::Config::max_gossip`],
    /// [`Error::Stopped`] when the node has stopped.
    pub fn send(&self, recipient: Recipient, message: Bytes) -> Result<bool, Error> {
        if message.len() > self.limit {
            return Err(Error::Config {
                field: "max_gossip",
                problem: format!("a message of {} bytes is over {}", message.len(), self.limit),
            });
        }
        match self.sender.try_send(Outgoing::Message(recipient, message)) {
            Ok(()) => Ok(true),
            Err(mpsc::error::TrySendError::Full(_)) => Ok(false),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Error::Stopped),
        }
    }
}

/// Receives messages of other nodes, each with its sender's number.
#[derive(Debug)]
pub struct GossipReceiver(mpsc::Receiver<(u16, Bytes)>);

impl GossipReceiver {
    /// The next message; `None` when the node has stopped. The sender is
    /// authenticated, the content is not checked.
    pub async fn next(&mut self) -> Option<(u16, Bytes)> {
        self.0.recv().await
    }
}

/// What one node says to another.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    Application(Bytes),
    Alive { epoch: Epoch },
    Ended { epoch: Epoch, last: Height },
    AskTime { asked_ms: UnixMillis },
    Time { asked_ms: UnixMillis, here_ms: UnixMillis, finalized: Round },
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Application(content) => [&[0], &content[..]].concat(),
            Self::Alive { epoch } => [&[1][..], &epoch.get().to_be_bytes()].concat(),
            Self::Ended { epoch, last } => {
                [&[2][..], &epoch.get().to_be_bytes(), &last.get().to_be_bytes()].concat()
            }
            Self::AskTime { asked_ms } => [&[3][..], &asked_ms.get().to_be_bytes()].concat(),
            Self::Time { asked_ms, here_ms, finalized: Round { epoch, view } } => {
                let numbers = [asked_ms.get(), here_ms.get(), *epoch, *view].map(u64::to_be_bytes);
                [&[4][..], &numbers.concat()].concat()
            }
        }
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        let number = |at: usize| {
            let bytes = bytes.get(at..at + 8)?;
            bytes.try_into().ok().map(u64::from_be_bytes)
        };
        match (bytes.first()?, bytes.len()) {
            (0, _) => Some(Self::Application(bytes.slice(1..))),
            (1, 9) => Some(Self::Alive { epoch: Epoch::new(number(1)?) }),
            (2, 17) => {
                Some(Self::Ended { epoch: Epoch::new(number(1)?), last: Height::new(number(9)?) })
            }
            (3, 9) => Some(Self::AskTime { asked_ms: UnixMillis(number(1)?) }),
            (4, 33) => Some(Self::Time {
                asked_ms: UnixMillis(number(1)?),
                here_ms: UnixMillis(number(9)?),
                finalized: Round { epoch: number(17)?, view: number(25)? },
            }),
            _ => None,
        }
    }
}

/// What was asked lately: an answer to something else was not asked for. More
/// than the last, because an answer may take longer than until the next question.
#[derive(Debug, Default)]
struct Questions(Mutex<VecDeque<UnixMillis>>);

impl Questions {
    /// Questions that may still be answered.
    const OPEN: usize = 32;

    fn ask(&self, asked_ms: UnixMillis) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.truncate(Self::OPEN - 1);
        open.push_front(asked_ms);
    }

    fn asked(&self, asked_ms: UnixMillis) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&asked_ms)
    }
}

/// What messages are sent and understood by.
pub(crate) struct Ground<A: Application> {
    pub(crate) validators: Set<PublicKey>,
    pub(crate) epochs: Epochs,
    /// Largest message of the application.
    pub(crate) limit: usize,
    pub(crate) board: Arc<Board>,
    /// This node's, when it is a validator.
    pub(crate) voter: Option<Arc<Voter>>,
    /// Fetches the end of an epoch.
    pub(crate) marshal: Marshal<A>,
    /// By how many milliseconds this node's clock is ahead of its runtime's: not
    /// at all but in tests, whose simulated nodes have one clock.
    pub(crate) clock_ahead_ms: i64,
}

pub(crate) fn start<E: Spawner + Clock, A: Application>(
    context: &E,
    ground: Ground<A>,
    link: (impl Sender<PublicKey = PublicKey>, impl Receiver<PublicKey = PublicKey>),
) -> (Gossip, GossipReceiver, [Handle<()>; 2]) {
    let Ground { validators, epochs, limit, board, voter, marshal, clock_ahead_ms } = ground;
    let now_ms = move |now: SystemTime| {
        UnixMillis(UnixMillis::from(now).get().saturating_add_signed(clock_ahead_ms))
    };
    let questions = Arc::new(Questions::default());
    let (mut link_sender, mut link_receiver) = link;
    let (outbound_sender, mut outbound) = mpsc::channel::<Outgoing>(WAITING);
    let (inbound, inbound_receiver) = mpsc::channel(WAITING);
    let (members, present) = (validators.clone(), epochs.present());
    let (asking, own_board, own_voter) = (questions.clone(), board.clone(), voter.clone());
    let sending = context.child("gossip_out").spawn(move |context| async move {
        let pause = || match &own_voter {
            Some(voter) if voter.listening.waits() => IMPATIENCE,
            _ => SIGN_OF_LIFE,
        };
        let mut due = context.current() + pause();
        loop {
            let outgoing = select! {
                outgoing = outbound.recv() => match outgoing {
                    Some(outgoing) => Some(outgoing),
                    None => return,
                },
                _ = context.sleep_until(due) => None,
            };
            let (recipients, message) = match outgoing {
                None => {
                    due = context.current() + pause();
                    let asked_ms = now_ms(context.current());
                    asking.ask(asked_ms);
                    own_board.asked_for_time();
                    let ask = Message::AskTime { asked_ms };
                    link_sender.send(Recipients::All, IoBuf::from(ask.encode()), true);
                    (Recipients::All, Message::Alive { epoch: present })
                }
                Some(Outgoing::Message(Recipient::All, content)) => {
                    (Recipients::All, Message::Application(content))
                }
                Some(Outgoing::Message(Recipient::Validator(number), content)) => {
                    let Some(key) = members.iter().nth(usize::from(number)) else { continue };
                    (Recipients::One(key.clone()), Message::Application(content))
                }
                Some(Outgoing::Ended { to, epoch, last }) => {
                    (Recipients::One(to), Message::Ended { epoch, last })
                }
                Some(Outgoing::Time { to, asked_ms }) => {
                    let finalized = own_board.finalized();
                    let here_ms = now_ms(context.current());
                    (Recipients::One(to), Message::Time { asked_ms, here_ms, finalized })
                }
            };
            link_sender.send(recipients, IoBuf::from(message.encode()), false);
        }
    });
    let answers = outbound_sender.clone();
    let receiving = context.child("gossip_in").spawn(move |context| async move {
        let mut believed: BTreeMap<PublicKey, BTreeSet<Height>> = BTreeMap::new();
        while let Ok((key, message)) = link_receiver.recv().await {
            let number = validators.index(&key).and_then(|index| u16::try_from(index.get()).ok());
            if let Some(number) = number {
                board.heard(usize::from(number), context.current());
            }
            match (Message::decode(&Bytes::from(message)), number) {
                // A message that finds the queue full is lost, as on the way.
                (Some(Message::Application(content)), Some(number)) => {
                    let _ = inbound.try_send((number, content));
                }
                (Some(Message::Alive { epoch }), _) => {
                    if let Some(last) = epochs.end(epoch) {
                        let _ = answers.try_send(Outgoing::Ended { to: key, epoch, last });
                    }
                }
                (Some(Message::AskTime { asked_ms }), Some(_)) => {
                    let _ = answers.try_send(Outgoing::Time { to: key, asked_ms });
                }
                (Some(Message::Time { asked_ms, here_ms, finalized }), Some(number))
                    if questions.asked(asked_ms) =>
                {
                    let now_ms = now_ms(context.current());
                    if let Some(difference) = Difference::measured(asked_ms, here_ms, now_ms) {
                        board.told_time(usize::from(number), difference);
                    }
                    if let Some(voter) = &voter {
                        // Of another epoch it says nothing about this one.
                        let epoch = present.get();
                        let view = if finalized.epoch == epoch { finalized.view } else { 0 };
                        voter.told(number, Round { epoch, view });
                    }
                }
                (Some(Message::Ended { epoch, last }), _) if epoch == present => {
                    let ends = believed.entry(key.clone()).or_default();
                    if ends.contains(&last) || ends.len() < BELIEVED {
                        ends.insert(last);
                        marshal.hint_finalized(last, NonEmptyVec::new(key));
                    }
                }
                _ => {}
            }
        }
    });
    (
        Gossip { sender: outbound_sender, limit },
        GossipReceiver(inbound_receiver),
        [sending, receiving],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_pinned() {
        let cases = [
            (Message::Application(Bytes::from_static(b"ab")), "006162"),
            (Message::Application(Bytes::new()), "00"),
            (Message::Alive { epoch: Epoch::new(3) }, "010000000000000003"),
            (
                Message::Ended { epoch: Epoch::new(3), last: Height::new(258) },
                "0200000000000000030000000000000102",
            ),
            (Message::AskTime { asked_ms: UnixMillis(3) }, "030000000000000003"),
            (
                Message::Time {
                    asked_ms: UnixMillis(3),
                    here_ms: UnixMillis(258),
                    finalized: Round { epoch: 1, view: 2 },
                },
                "040000000000000003000000000000010200000000000000010000000000000002",
            ),
        ];
        for (message, hexadecimal) in cases {
            assert_eq!(crate::hexadecimal(&message.encode()), hexadecimal);
            assert_eq!(Message::decode(&Bytes::from(message.encode())), Some(message));
        }
        for malformed in [&[][..], &[1], &[1; 8], &[1; 10], &[2; 16], &[3], &[4; 9], &[5; 9]] {
            assert_eq!(Message::decode(&Bytes::copy_from_slice(malformed)), None);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_messages_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let bytes = Bytes::from(bytes);
            if let Some(message) = Message::decode(&bytes) {
                prop_assert_eq!(Bytes::from(message.encode()), bytes);
            }
        }
    }
}
