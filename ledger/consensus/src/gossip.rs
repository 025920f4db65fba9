//! Messages between the nodes outside consensus, such as transactions.
//!
//! An empty message says no more than that its sender is there. Every node
//! sends everyone one when it has had nothing for everyone for
//! [`SIGN_OF_LIFE`]; it is not passed on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use commonware_macros::select;
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_runtime::{Clock, Handle, IoBuf, Spawner};
use commonware_utils::channel::mpsc;
use commonware_utils::ordered::{Quorum as _, Set};

use crate::error::Error;
use crate::keys::PublicKey;
use crate::status::Board;

/// Longest time between two messages to everyone.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// Messages that wait to be sent or to be read. More are dropped.
const WAITING: usize = 1024;

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
    sender: mpsc::Sender<(Recipient, Bytes)>,
    limit: usize,
}

impl Gossip {
    /// Queues a message; an empty one reaches nobody. `Ok(false)` when too many
    /// wait and it is dropped.
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
        match self.sender.try_send((recipient, message)) {
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

pub(crate) fn start<E: Spawner + Clock>(
    context: &E,
    validators: Set<PublicKey>,
    limit: usize,
    board: Arc<Board>,
    link: (impl Sender<PublicKey = PublicKey>, impl Receiver<PublicKey = PublicKey>),
) -> (Gossip, GossipReceiver, [Handle<()>; 2]) {
    let (mut link_sender, mut link_receiver) = link;
    let (outbound_sender, mut outbound) = mpsc::channel::<(Recipient, Bytes)>(WAITING);
    let (inbound, inbound_receiver) = mpsc::channel(WAITING);
    let members = validators.clone();
    let sending = context.child("gossip_out").spawn(move |context| async move {
        let mut due = context.current() + SIGN_OF_LIFE;
        loop {
            let (recipient, message) = select! {
                message = outbound.recv() => match message {
                    Some(message) => message,
                    None => return,
                },
                _ = context.sleep_until(due) => (Recipient::All, Bytes::new()),
            };
            let recipients = match recipient {
                Recipient::All => {
                    due = context.current() + SIGN_OF_LIFE;
                    Recipients::All
                }
                Recipient::Validator(number) => match members.iter().nth(usize::from(number)) {
                    Some(key) => Recipients::One(key.clone()),
                    None => continue,
                },
            };
            link_sender.send(recipients, IoBuf::from(message), false);
        }
    });
    let receiving = context.child("gossip_in").spawn(move |context| async move {
        while let Ok((key, message)) = link_receiver.recv().await {
            let number = validators.index(&key).and_then(|index| u16::try_from(index.get()).ok());
            let Some(number) = number else { continue };
            board.heard(usize::from(number), context.current());
            if message.is_empty() {
                continue;
            }
            // A message that finds the queue full is lost, as on the way.
            let _ = inbound.try_send((number, Bytes::from(message)));
        }
    });
    (
        Gossip { sender: outbound_sender, limit },
        GossipReceiver(inbound_receiver),
        [sending, receiving],
    )
}
