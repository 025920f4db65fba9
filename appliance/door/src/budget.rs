//! Who holds how much of a door: connections and requests in work, in all and
//! for each caller.
//!
//! What says nothing yields: when a door is full, the connection that has been
//! idle for longest goes, and one over which nothing was ever asked goes before
//! one that was of use. So whoever opens thousands of silent ones is in nobody's
//! way but its own.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::problem::{Code, Problem};

/// What a door gives out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Connections of one caller at a time.
    pub connections_per_caller: usize,
    /// Requests in work at a time: read, worked on or being answered.
    pub requests: usize,
    /// Requests of one caller in work at a time.
    pub requests_per_caller: usize,
    /// HTTP/2 streams of one connection at a time.
    pub streams: u32,
    /// How long a client may take for the TLS handshake.
    pub handshake: Duration,
    /// How long a connection may be without a first whole request head.
    pub first: Duration,
    /// How long it may be without another one.
    pub idle: Duration,
    /// How long a client may read nothing of an answer.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2048,
            connections_per_caller: 256,
            requests: 1024,
            requests_per_caller: 128,
            streams: 64,
            handshake: Duration::from_secs(10),
            first: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            stall: Duration::from_secs(20),
        }
    }
}

/// Whom a connection is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Who may open the socket. It is bounded by the door's own limits only.
    Local,
    /// An address without a certificate.
    Address(IpAddr),
    /// The holder of a certificate: SHA-256 of its DER.
    Certificate([u8; 32]),
}

impl Key {
    /// Of an address: one of IPv6 counts as its /64, which is one customer's.
    pub(crate) fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(six) => {
                let network = u128::from(six) & !u128::from(u64::MAX);
                IpAddr::V6(network.into())
            }
            four => four,
        })
    }
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Activity {
    /// Requests that are read or worked on.
    pub(crate) working: usize,
    /// Answers that are on their way.
    pub(crate) answering: usize,
    /// Those of them whose next piece is waited for on our side.
    pub(crate) producing: usize,
    /// Requests so far.
    pub(crate) asked: u64,
}

impl Activity {
    pub(crate) fn is_idle(self) -> bool {
        self.working + self.answering == 0
    }
}

#[derive(Default)]
struct Count {
    connections: usize,
    requests: usize,
}

struct Held {
    key: Key,
    /// Its place among the idle ones; `None` while something is in work.
    idle: Option<(bool, u64)>,
    leave: Arc<Notify>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    requests: usize,
    held: HashMap<u64, Held>,
    /// Asked something before, idle since, number: who goes first is first.
    idle: BTreeSet<(bool, u64, u64)>,
    callers: HashMap<Key, Count>,
}

/// The places of a door.
pub(crate) struct Places {
    limits: Limits,
    inner: Mutex<Inner>,
    freed: Notify,
}

impl Places {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, inner: Mutex::default(), freed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is whole before anything in it can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings when a place becomes free.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// A place for a new connection; `None` when all are taken by some that are
    /// at work.
    pub(crate) fn enter(self: &Arc<Self>, key: Key) -> Option<Place> {
        let mut inner = self.lock();
        if inner.held.len() >= self.limits.connections {
            let (_, _, longest) = *inner.idle.first()?;
            inner.evict(longest);
        }
        let crowded = inner.crowd(key, self.limits.connections_per_caller);
        let number = inner.next;
        inner.next += 1;
        let leave = Arc::new(Notify::new());
        inner.idle.insert((false, number, number));
        inner.callers.entry(key).or_default().connections += 1;
        let held = Held { key, idle: Some((false, number)), leave: Arc::clone(&leave) };
        inner.held.insert(number, held);
        drop(inner);
        let (activity, _) = watch::channel(Activity::default());
        Some(Place { places: Arc::clone(self), number, key, crowded, leave, activity })
    }
}

impl Inner {
    /// Makes room for one more connection of this caller; says whether there is
    /// none.
    fn crowd(&mut self, key: Key, limit: usize) -> bool {
        let connections = self.callers.get(&key).map_or(0, |count| count.connections);
        if key == Key::Local || connections < limit {
            return false;
        }
        let own = self.idle.iter().map(|one| one.2);
        let longest =
            own.into_iter().find(|one| self.held.get(one).is_some_and(|held| held.key == key));
        match longest {
            Some(longest) => self.evict(longest),
            None => return true,
        }
        false
    }

    /// Tells a connection to go, and counts it as gone.
    fn evict(&mut self, number: u64) {
        if let Some(held) = self.remove(number) {
            held.leave.notify_one();
        }
    }

    fn remove(&mut self, number: u64) -> Option<Held> {
        let held = self.held.remove(&number)?;
        if let Some((asked, since)) = held.idle {
            self.idle.remove(&(asked, since, number));
        }
        if let Some(count) = self.callers.get_mut(&held.key) {
            count.connections -= 1;
            if count.connections + count.requests == 0 {
                self.callers.remove(&held.key);
            }
        }
        Some(held)
    }

    /// Moves a connection among the idle ones, or away from them.
    fn set_idle(&mut self, number: u64, idle: bool) {
        let since = self.next;
        self.next += 1;
        let Some(held) = self.held.get_mut(&number) else { return };
        let before = std::mem::replace(&mut held.idle, idle.then_some((true, since)));
        if let Some((asked, since)) = before {
            self.idle.remove(&(asked, since, number));
        }
        if idle {
            self.idle.insert((true, since, number));
        }
    }
}

/// A connection's place. It is free again when this is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    key: Key,
    /// Its caller has more connections than it may, all of them at work.
    crowded: bool,
    leave: Arc<Notify>,
    activity: watch::Sender<Activity>,
}

impl Place {
    /// Charges the connection to whom TLS has found.
    pub(crate) fn identify(&mut self, key: Key) {
        if key == self.key {
            return;
        }
        let mut inner = self.places.lock();
        if !inner.held.contains_key(&self.number) {
            return;
        }
        // Out of the count of its address before it is counted again.
        let Some(held) = inner.remove(self.number) else { return };
        self.crowded = inner.crowd(key, self.places.limits.connections_per_caller);
        inner.callers.entry(key).or_default().connections += 1;
        if let Some((asked, since)) = held.idle {
            inner.idle.insert((asked, since, self.number));
        }
        inner.held.insert(self.number, Held { key, ..held });
        self.key = key;
    }

    /// Rings when the connection must make room.
    pub(crate) async fn evicted(&self) {
        self.leave.notified().await;
    }

    /// What the connection is at, as it changes.
    pub(crate) fn activity(&self) -> watch::Receiver<Activity> {
        self.activity.subscribe()
    }

    /// Takes a request into work.
    ///
    /// # Errors
    /// `too-many-requests` when its caller holds as much as it may, `busy` when
    /// the door does.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<Working, Problem> {
        let limits = &self.places.limits;
        self.activity.send_modify(|activity| activity.asked += 1);
        let local = self.key == Key::Local;
        if self.crowded {
            let detail = format!(
                "{} connections at a time are for one caller; close some",
                limits.connections_per_caller
            );
            return Err(Problem::new(Code::TooManyRequests, detail).retry_after(limits.first));
        }
        let mut inner = self.places.lock();
        if inner.requests >= limits.requests {
            let detail = "as many requests as this door takes at a time are in work";
            return Err(Problem::new(Code::Busy, detail).retry_after(Duration::from_secs(1)));
        }
        let own = inner.callers.entry(self.key).or_default();
        if !local && own.requests >= limits.requests_per_caller {
            let detail = format!(
                "{} requests at a time are for one caller; wait for answers",
                limits.requests_per_caller
            );
            return Err(
                Problem::new(Code::TooManyRequests, detail).retry_after(Duration::from_secs(1))
            );
        }
        own.requests += 1;
        inner.requests += 1;
        inner.set_idle(self.number, false);
        drop(inner);
        self.activity.send_modify(|activity| activity.working += 1);
        Ok(Working { place: Arc::clone(self), answering: false, producing: false })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(self.number);
        self.places.freed.notify_one();
    }
}

/// A request in work, until its answer is out of our hands.
pub(crate) struct Working {
    place: Arc<Place>,
    answering: bool,
    producing: bool,
}

impl Working {
    /// The handler is done; the answer is on its way.
    pub(crate) fn answered(&mut self) {
        self.answering = true;
        self.place.activity.send_modify(|activity| {
            activity.working -= 1;
            activity.answering += 1;
        });
    }

    /// Whether the next piece of the answer is waited for on our side: then it is
    /// not the client who holds it up.
    pub(crate) fn producing(&mut self, now: bool) {
        if std::mem::replace(&mut self.producing, now) == now {
            return;
        }
        self.place.activity.send_modify(|activity| match now {
            true => activity.producing += 1,
            false => activity.producing -= 1,
        });
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.producing(false);
        let mut idle = false;
        self.place.activity.send_modify(|activity| {
            let mine = if self.answering { &mut activity.answering } else { &mut activity.working };
            *mine -= 1;
            idle = activity.is_idle();
        });
        let mut inner = self.place.places.lock();
        inner.requests -= 1;
        if let Some(count) = inner.callers.get_mut(&self.place.key) {
            count.requests -= 1;
            if count.connections + count.requests == 0 {
                inner.callers.remove(&self.place.key);
            }
        }
        if idle {
            inner.set_idle(self.place.number, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits {
        connections: 3,
        connections_per_caller: 2,
        requests: 3,
        requests_per_caller: 2,
        streams: 4,
        handshake: Duration::from_secs(1),
        first: Duration::from_secs(1),
        idle: Duration::from_secs(1),
        stall: Duration::from_secs(1),
    };

    fn at(last: u8) -> Key {
        Key::address([10, 0, 0, last].into())
    }

    fn told(place: &Place) -> bool {
        use futures::FutureExt as _;
        place.evicted().now_or_never().is_some()
    }

    #[test]
    fn a_full_door_lets_the_longest_silent_go_and_no_working_one() {
        let places = Places::new(SMALL);
        let working = Arc::new(places.enter(at(1)).unwrap());
        let request = working.begin().unwrap();
        let (oldest, newer) = (places.enter(at(2)).unwrap(), places.enter(at(3)).unwrap());
        let newest = Arc::new(places.enter(at(4)).unwrap());
        assert!(told(&oldest) && !told(&newer) && !told(&newest));
        // One that was of use stays before one that never was.
        drop(newest.begin().unwrap());
        let last = places.enter(at(5)).unwrap();
        assert!(told(&newer) && !told(&newest));
        let (newest_works, last) = (newest.begin().unwrap(), Arc::new(last));
        let last_works = last.begin().unwrap();
        assert!(places.enter(at(6)).is_none(), "all are at work");
        drop((request, newest_works, last_works));
        assert!(places.enter(at(6)).is_some());
        drop((oldest, newer, working, newest, last));
        assert!(places.lock().held.is_empty() && places.lock().callers.is_empty());
    }

    #[test]
    fn a_caller_has_its_share_of_connections_and_requests() {
        let places = Places::new(SMALL);
        let one = Arc::new(places.enter(at(1)).unwrap());
        let two = Arc::new(places.enter(at(1)).unwrap());
        let held = (one.begin().unwrap(), two.begin().unwrap());
        let refused = one.begin().map(drop).unwrap_err();
        assert_eq!((refused.code(), refused.is_temporary()), (Code::TooManyRequests, true));
        let three = Arc::new(places.enter(at(1)).unwrap());
        assert_eq!(three.begin().map(drop).unwrap_err().code(), Code::TooManyRequests);
        // With a certificate it is somebody else.
        let mut three = Arc::into_inner(three).unwrap();
        three.identify(Key::Certificate([1; 32]));
        let three = Arc::new(three);
        let third = three.begin().unwrap();
        assert_eq!(three.begin().map(drop).unwrap_err().code(), Code::Busy);
        drop((held, third, one, two, three));
        let inner = places.lock();
        assert!(inner.held.is_empty() && inner.callers.is_empty() && inner.requests == 0);
    }

    #[test]
    fn an_address_of_ipv6_counts_as_its_network() {
        let key = |text: &str| Key::address(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
    }
}
