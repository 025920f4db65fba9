//! The appliance's doors over the test's world: the key in the token, the one
//! authenticator over the double of the ledger.

#![allow(dead_code)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hufu_door::authenticate::{
    Approved, Membership, Patience, Record, Records, Standing, Unreadable,
};
use hufu_door::{Authenticator, Chains, Door, Jurisdictions, Metrics, Part, listen, route};
use hufu_issuance::{
    CertificateStatus, Clock as _, Profiles, Purpose, RevocationReason, member_and_roles,
};
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Digest, IdentityId, Name, Serial};
use rustls::sign::SingleCertAndKey;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::common::{TestLedger, World};

/// What the ledger's double says to the authenticator.
struct LedgerRecords {
    ledger: Arc<TestLedger>,
    profiles: Profiles,
}

impl LedgerRecords {
    fn record(&self, serial: &Serial) -> Option<Record> {
        let serial = hufu_issuance::Serial::from_bytes(serial.as_bytes()).unwrap();
        let line = self.ledger.line(&serial)?;
        let standing = match line.status {
            CertificateStatus::Good => Standing::Good,
            CertificateStatus::Revoked { reason: RevocationReason::CertificateHold, .. } => {
                Standing::Held
            }
            CertificateStatus::Revoked { .. } => Standing::Revoked,
            CertificateStatus::Unknown => return None,
        };
        let (tbs, owner, kind) = match (&line.entry, self.ledger.admitted(&serial)) {
            (Some(entry), _) => {
                let profile = self.profiles.named(&entry.profile).unwrap();
                let kind = match profile.purpose {
                    Purpose::Device => IdentityKind::Device,
                    Purpose::Server => IdentityKind::Server,
                    _ => IdentityKind::Client,
                };
                (entry.tbs.clone(), entry.owner.clone(), kind)
            }
            (None, Some(certificate)) => {
                let (member, _) = member_and_roles(&certificate).unwrap().unwrap();
                (certificate.tbs().to_vec(), member, IdentityKind::Client)
            }
            (None, None) => return None,
        };
        Some(Record {
            height: line.height,
            tbs: Digest::of(&tbs),
            standing,
            kind,
            owner: Name::new(&owner).unwrap(),
            subject: owner,
            identity: IdentityId(Digest::of(&tbs)),
            member: Some(Membership { kinds: BTreeSet::new(), jurisdictions: Jurisdictions::None }),
            approved: Approved::All,
        })
    }
}

impl Records for LedgerRecords {
    fn height(&self) -> u64 {
        self.ledger.height()
    }

    fn certificate(&self, serial: &Serial) -> Result<Option<Record>, Unreadable> {
        if self.ledger.away.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(Unreadable("test".to_owned()));
        }
        Ok(self.record(serial))
    }

    fn above(&self, height: u64) -> BoxFuture<'_, Result<(), Unreadable>> {
        async move {
            while self.ledger.height() <= height {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        }
        .boxed()
    }
}

/// Serves `parts` over TLS on a free port until the runtime ends.
pub async fn tls(world: &World, parts: Vec<Part>) -> SocketAddr {
    let (key, certificate) = world.server_key().await;
    let chain =
        vec![certificate.der().to_vec().into(), world.issuer.certificate().der().to_vec().into()];
    let certified = hufu_keys::certified_key(&key, chain).unwrap();
    let certified = Arc::try_unwrap(certified).unwrap_or_else(|shared| (*shared).clone());
    let chains = Chains::new(
        world.root.der().to_vec().into(),
        world.issuer.certificate().der().to_vec().into(),
        Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
    )
    .unwrap();
    let config = chains.server(Arc::new(SingleCertAndKey::from(certified)), true).unwrap();
    let records = LedgerRecords { ledger: world.ledger.clone(), profiles: world.profiles.clone() };
    let clock = world.clock.clone();
    let patience = Patience { wait: Duration::from_millis(300), ..Patience::default() };
    let authenticator =
        Authenticator::with(Arc::new(records), patience, move || clock.now().into());
    let router = authenticator.before(route::door(parts, None));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(async move {
        let _never = stop;
        let door = Door::new("est", router, Metrics::default());
        door.tls(listener, config, Some(chains), stopping).await;
    });
    address
}

/// Serves a part over plain HTTP.
pub async fn plain(part: Part) -> SocketAddr {
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = listen::bind("the test", address).await.unwrap();
    let address = listener.local_addr().unwrap();
    plain_on(listener, part);
    address
}

/// Serves a part over plain HTTP where somebody listens already.
pub fn plain_on(listener: TcpListener, part: Part) {
    let router = route::door(vec![part], None);
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(async move {
        let _never = stop;
        Door::new("status", router, Metrics::default()).plain(listener, stopping).await;
    });
}
