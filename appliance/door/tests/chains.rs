//! Which client certificates are the consortium's, and who their holders are.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hufu_door::authenticate::{
    Approved, Authenticator, Membership, Patience, Record, Records, Standing, Unreadable,
};
use hufu_door::{Code, Jurisdictions, Peer, Role, Shown};
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Digest, IdentityId, Name, Serial};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa};
use support::{Authority, Wish, now};
use tokio::sync::watch;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[test]
fn what_chains_to_the_root_and_is_for_clients_counts() {
    let authority = Authority::new();
    let chains = authority.chains();
    let good = authority.client(&Wish::default());
    let Shown::Certificate(presented) = chains.judge(std::slice::from_ref(&good.der)) else {
        panic!()
    };
    assert_eq!(presented.member, Some(name("maker")));
    assert_eq!(presented.roles, [Role::Operator]);
    // With the whole chain as well.
    let whole = [good.der, authority.issuing_der(), authority.root_der()];
    assert!(matches!(chains.judge(&whole), Shown::Certificate(_)));
    assert!(matches!(chains.judge(&[]), Shown::Nothing));
    // Dates are for the authenticator.
    for years in [(2001, 2002), (2090, 2091)] {
        let dated = authority.client(&Wish { years, ..Wish::default() });
        assert!(matches!(chains.judge(&[dated.der]), Shown::Certificate(_)), "{years:?}");
    }
}

#[test]
fn who_leaves_the_issuing_certificate_out_is_under_the_newest() {
    let authority = Authority::new();
    let (root, ended) = (authority.root_der(), authority.issuing_until(2002));
    let chains = hufu_door::Chains::new(root, ended, support::provider()).unwrap();
    let client = [authority.client(&Wish::default()).der];
    let Shown::Refused(problem) = chains.judge(&client) else { panic!() };
    assert_eq!(problem.code(), Code::CertificateExpired);
    chains.also_under(authority.issuing_der());
    assert!(matches!(chains.judge(&client), Shown::Certificate(_)));
}

#[test]
fn others_are_refused_in_a_sentence() {
    let authority = Authority::new();
    let chains = authority.chains();
    let said = |shown: &[rustls::pki_types::CertificateDer<'_>]| match chains.judge(shown) {
        Shown::Refused(problem) => {
            assert_eq!(problem.code(), Code::CertificateRefused);
            problem.detail().to_owned()
        }
        other => panic!("{other:?}"),
    };
    let foreign = Authority::new().client(&Wish::default());
    // Its authority has the same names and another key.
    assert!(said(&[foreign.der]).contains("not one of this consortium"));
    let purpose = ExtendedKeyUsagePurpose::ServerAuth;
    let server = authority.client(&Wish { purpose, ..Wish::default() });
    said(&[server.der]);
    // What the issuing key certified as an authority certifies nobody: the
    // issuing certificate's path length is 0.
    let middle = authority
        .client(&Wish { is_ca: IsCa::Ca(BasicConstraints::Unconstrained), ..Wish::default() });
    let under = middle.issue(&Wish::default());
    assert!(!said(&[under.der, middle.der.clone()]).is_empty());
    said(&[middle.der]);
    said(&[vec![0x30, 0x03, 0x02, 0x01, 0x00].into()]);
}

/// A ledger of these records at a height.
struct Ledger {
    height: watch::Sender<u64>,
    records: Mutex<BTreeMap<Vec<u8>, Record>>,
    reads: AtomicUsize,
    broken: AtomicU64,
}

impl Ledger {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            height: watch::channel(1).0,
            records: Mutex::default(),
            reads: AtomicUsize::new(0),
            broken: AtomicU64::new(0),
        })
    }

    fn put(&self, shown: &Shown, change: impl FnOnce(&mut Record)) {
        let Shown::Certificate(presented) = shown else { panic!() };
        let mut record = Record {
            height: 1,
            tbs: presented.tbs,
            standing: Standing::Good,
            kind: IdentityKind::Client,
            owner: name("maker"),
            subject: "line".into(),
            identity: IdentityId(Digest::default()),
            member: Some(Membership {
                kinds: BTreeSet::from([name("maker"), name("regulator")]),
                jurisdictions: Jurisdictions::Whole,
            }),
            approved: Approved::All,
        };
        change(&mut record);
        self.records.lock().unwrap().insert(presented.serial.as_bytes().to_vec(), record);
        self.height.send_modify(|height| *height += 1);
    }
}

impl Records for Ledger {
    fn height(&self) -> u64 {
        *self.height.borrow()
    }

    fn certificate(&self, serial: &Serial) -> Result<Option<Record>, Unreadable> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.broken.load(Ordering::Relaxed) > 0 {
            return Err(Unreadable("the store is gone".into()));
        }
        Ok(self.records.lock().unwrap().get(serial.as_bytes()).cloned())
    }

    fn above(&self, height: u64) -> BoxFuture<'_, Result<(), Unreadable>> {
        let mut heights = self.height.subscribe();
        async move {
            let grown = heights.wait_for(|now| *now > height).await;
            grown.map(drop).map_err(|_| Unreadable("the node stops".into()))
        }
        .boxed()
    }
}

const SHORT: Patience = Patience {
    wait: Duration::from_millis(300),
    waiting: 3,
    waiting_per_caller: 2,
    remember: Duration::from_secs(60),
};

fn refusal(peer: &Peer) -> Code {
    let Peer::Refused(problem) = peer else { panic!("{peer:?}") };
    problem.code()
}

#[tokio::test]
async fn the_ledger_says_who_a_certificate_speaks_for() {
    let authority = Authority::new();
    let shown = authority.chains().judge(&[authority.client(&Wish::default()).der]);
    let ledger = Ledger::new();
    let authenticator = Authenticator::with(ledger.clone(), SHORT, now);
    let ask = async |change: &dyn Fn(&mut Record)| {
        ledger.put(&shown, change);
        authenticator.peer(&shown).await
    };
    let Peer::Known(caller) = ask(&|_| {}).await else { panic!() };
    assert_eq!((&caller.member, caller.kind), (&name("maker"), IdentityKind::Client));
    assert!(caller.has(Role::Operator));
    // Its member is a regulator; it has not the role.
    assert!(!caller.is_regulator() && caller.jurisdictions == Jurisdictions::None);

    assert_eq!(
        refusal(&ask(&|record| record.standing = Standing::Held).await),
        Code::CertificateRevoked
    );
    let revoked = ask(&|record| record.standing = Standing::Revoked).await;
    assert_eq!(refusal(&revoked), Code::CertificateRevoked);
    let other = ask(&|record| record.tbs = Digest::of(b"other")).await;
    assert_eq!(refusal(&other), Code::CertificateRefused);
    let sold = ask(&|record| record.owner = name("carrier")).await;
    assert_eq!(refusal(&sold), Code::CertificateRefused);
    let nobody = ask(&|record| record.member = None).await;
    assert_eq!(refusal(&nobody), Code::CertificateRefused);
    // A device has no roles and none of its owner's kinds; whom its member approved
    // for nothing does not speak for it.
    let Peer::Known(device) = ask(&|record| record.kind = IdentityKind::Device).await else {
        panic!()
    };
    assert!(device.roles.is_empty() && device.kinds.is_empty());
    let unapproved = |record: &mut Record| record.approved = Approved::These(BTreeSet::new());
    assert_eq!(refusal(&ask(&unapproved).await), Code::CertificateRefused);
    ledger.broken.store(1, Ordering::Relaxed);
    assert_eq!(refusal(&authenticator.peer(&shown).await), Code::Unavailable);
}

#[tokio::test]
async fn one_that_is_not_valid_now_is_told_so_at_once() {
    let authority = Authority::new();
    let authenticator = Authenticator::with(Ledger::new(), SHORT, now);
    for years in [(2001, 2002), (2090, 2091)] {
        let dated = authority.client(&Wish { years, ..Wish::default() });
        let shown = authority.chains().judge(&[dated.der]);
        let since = Instant::now();
        let peer = authenticator.peer(&shown).await;
        assert_eq!(refusal(&peer), Code::CertificateExpired, "{years:?}");
        assert!(since.elapsed() < SHORT.wait / 2);
    }
}

#[tokio::test]
async fn a_regulator_has_the_jurisdictions_that_the_ledger_says() {
    let authority = Authority::new();
    let wish = Wish { roles: &["regulator", "operator"], ..Wish::default() };
    let shown = authority.chains().judge(&[authority.client(&wish).der]);
    let ledger = Ledger::new();
    let authenticator = Authenticator::with(ledger.clone(), SHORT, now);
    for given in [
        Jurisdictions::Whole,
        Jurisdictions::None,
        Jurisdictions::of(BTreeSet::from([name("north")])),
    ] {
        ledger.put(&shown, |record| {
            record.member.as_mut().unwrap().jurisdictions = given.clone();
        });
        let Peer::Known(caller) = authenticator.peer(&shown).await else { panic!() };
        assert!(caller.is_regulator());
        assert_eq!(caller.jurisdictions, given);
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_on_the_ledger_is_waited_for_once() {
    let authority = Authority::new();
    let shown = authority.chains().judge(&[authority.client(&Wish::default()).der]);
    let ledger = Ledger::new();
    let authenticator = Authenticator::with(ledger.clone(), SHORT, now);
    let ask = async || {
        let since = Instant::now();
        (refusal(&authenticator.peer(&shown).await), since.elapsed())
    };
    let (code, took) = ask().await;
    assert!(code == Code::CertificateUnknown && took >= SHORT.wait, "{took:?}");
    // Then it is told at once; and not even read again as of the same height.
    let reads = ledger.reads.load(Ordering::Relaxed);
    for _ in 0..20 {
        let (code, took) = ask().await;
        assert!(code == Code::CertificateUnknown && took < SHORT.wait / 2, "{took:?}");
    }
    assert_eq!(ledger.reads.load(Ordering::Relaxed), reads);
    ledger.height.send_modify(|height| *height += 1);
    ask().await;
    assert_eq!(ledger.reads.load(Ordering::Relaxed), reads + 1);
    // Recorded after all, it counts.
    ledger.put(&shown, |_| {});
    assert!(matches!(authenticator.peer(&shown).await, Peer::Known(_)));
}

#[tokio::test]
async fn few_wait_at_a_time_and_who_comes_in_the_next_block_is_served() {
    let authority = Authority::new();
    let chains = authority.chains();
    let shown: Vec<Shown> =
        (0..3).map(|_| chains.judge(&[authority.client(&Wish::default()).der])).collect();
    let ledger = Ledger::new();
    let patience = Patience { wait: Duration::from_secs(30), ..SHORT };
    let authenticator = Authenticator::with(ledger.clone(), patience, now);
    let asks: Vec<_> = [0, 0, 0, 1, 1, 2]
        .into_iter()
        .map(|which: usize| {
            let (authenticator, shown) = (authenticator.clone(), shown[which].clone());
            tokio::spawn(async move { authenticator.peer(&shown).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Two of the first, one of the second; then there are as many as may wait.
    let waiting: Vec<bool> = asks.iter().map(|ask| !ask.is_finished()).collect();
    assert_eq!(waiting, [true, true, false, true, false, false]);
    for shown in &shown {
        ledger.put(shown, |_| {});
    }
    for (index, ask) in asks.into_iter().enumerate() {
        let peer = ask.await.unwrap();
        match waiting[index] {
            true => assert!(matches!(peer, Peer::Known(_)), "{index}: {peer:?}"),
            false => assert_eq!(refusal(&peer), Code::Busy, "{index}"),
        }
    }
}
