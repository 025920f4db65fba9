//! What the tests stand on: a token with the authority's keys, a ceremony, a
//! ledger double that can be made to fail, real clients.
#![allow(dead_code)]

pub mod clients;
pub mod ledger;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hufu_issuance::*;
use hufu_keys::testing::Site;
use hufu_keys::{Custody, Key};

pub use self::ledger::TestLedger;

/// A clock that starts at the machine's time, so that other tools agree, and
/// is moved by hand.
#[derive(Debug, Default)]
pub struct TestClock(AtomicU64);

impl TestClock {
    pub fn forward(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        SystemClock.now().plus(Duration::from_secs(self.0.load(Ordering::SeqCst)))
    }
}

/// An authority after its ceremony.
pub struct World {
    pub directory: PathBuf,
    pub custody: Custody,
    pub profiles: Profiles,
    pub root: Certificate,
    pub issuer: Arc<Issuer>,
    pub ledger: Arc<TestLedger>,
    pub clock: Arc<TestClock>,
    pub quotas: Arc<Quotas>,
    pub addresses: StatusAddresses,
}

pub const MAKER: &str = "maker";

/// Where certificates of the world say that status is to be had.
pub const PKI: &str = "http://pki.example.org";

impl World {
    /// The ceremony, on a token of `site`.
    pub async fn new(site: &Site) -> World {
        Self::with(site, hufu_keys::KeyAlgorithm::P256).await
    }

    pub async fn with(site: &Site, algorithm: hufu_keys::KeyAlgorithm) -> World {
        Self::at(site, algorithm, PKI).await
    }

    /// The ceremony of an authority whose status is to be had under `pki`.
    pub async fn at(site: &Site, algorithm: hufu_keys::KeyAlgorithm, pki: &str) -> World {
        site.create_token("authority");
        let custody = Custody::open(site.config("authority"), site.pin()).unwrap();
        let root_signer = TokenSigner::new(custody.generate("root", algorithm).unwrap()).unwrap();
        let signer = TokenSigner::new(custody.generate("issuing", algorithm).unwrap()).unwrap();
        let profiles = Profiles::shipped().unwrap();
        let clock = Arc::new(TestClock::default());
        let now = clock.now();
        let root_profile = profiles.named("root").unwrap();
        let none = StatusAddresses::default();
        let of_root = StatusAddresses::of_root(pki).unwrap();
        let mut parameters = AuthorityParameters {
            profile: &root_profile,
            country: Some("CN"),
            organization: "Test Authority",
            common_name: "Test Root",
            addresses: &none,
            now,
        };
        let root = self_signed_root(&root_signer, &parameters).await.unwrap();
        let issuing_profile = profiles.named("issuing").unwrap();
        parameters.profile = &issuing_profile;
        parameters.common_name = "Test Issuing";
        parameters.addresses = &of_root;
        let key = PublicKey::from_spki_der(signer.spki_der()).unwrap();
        let issuing = issue_issuing(&root, &root_signer, &key, &parameters).await.unwrap();
        let issuer = Arc::new(Issuer::new(issuing, root.clone(), Arc::new(signer)).unwrap());
        let world = World {
            directory: site.directory().to_owned(),
            custody,
            profiles,
            root,
            issuer,
            ledger: Arc::new(TestLedger::default()),
            clock,
            quotas: Arc::new(Quotas::new()),
            addresses: StatusAddresses::under(pki).unwrap(),
        };
        std::fs::write(world.path("root.pem"), pem::encode(world.root.der()).unwrap()).unwrap();
        std::fs::write(
            world.path("issuing.pem"),
            pem::encode(world.issuer.certificate().der()).unwrap(),
        )
        .unwrap();
        std::fs::write(
            world.path("chain.pem"),
            pem::encode_bundle(&[world.issuer.certificate().der(), world.root.der()]).unwrap(),
        )
        .unwrap();
        world
    }

    /// The root's key, as a ceremony would hold it.
    pub fn root_signer(&self) -> TokenSigner {
        TokenSigner::new(self.custody.key("root").unwrap()).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn store(&self) -> Arc<Store> {
        Arc::new(Store::open(&self.path("ca.sqlite")).unwrap())
    }

    pub fn start(&self) -> Issuance {
        self.start_with(self.store())
    }

    pub fn start_with(&self, store: Arc<Store>) -> Issuance {
        Issuance::start(Parts {
            issuer: self.issuer.clone(),
            ledger: self.ledger.clone(),
            store,
            profiles: self.profiles.clone(),
            quotas: self.quotas.clone(),
            addresses: self.addresses.clone(),
            clock: self.clock.clone(),
        })
        .unwrap()
    }

    /// A client certificate for a member with roles, known to the ledger, for
    /// the key in `key.pem`-like file `name`; returns its DER.
    pub async fn client(&self, name: &str, member: &str, roles: &[Role]) -> Certificate {
        let csr = clients::request(&self.directory, name, "P-256", "/CN=client", None);
        let csr = CertificationRequest::from_der(&csr).unwrap();
        let profile = self.profiles.named("operator-client").unwrap();
        let certificate = issue_member(
            &self.issuer,
            csr.public_key(),
            &MemberParameters {
                profile: &profile,
                member,
                common_name: "Client",
                names: &[],
                roles,
                addresses: &self.addresses,
                now: self.clock.now(),
            },
        )
        .await
        .unwrap();
        self.ledger.admit(&certificate);
        let text = pem::encode_bundle(&[certificate.der(), self.issuer.certificate().der()]);
        std::fs::write(self.path(&format!("{name}.crt")), text.unwrap()).unwrap();
        certificate
    }

    /// A TLS server certificate for localhost, its key in the token.
    pub async fn server_key(&self) -> (Key, Certificate) {
        let key = self.custody.generate("tls", hufu_keys::KeyAlgorithm::P256).unwrap();
        let certificate = self.server_certificate(&key, "tls-server", "localhost").await;
        (key, certificate)
    }

    pub async fn server_certificate(&self, key: &Key, profile: &str, host: &str) -> Certificate {
        let profile = self.profiles.named(profile).unwrap();
        let names = [
            AlternativeName::dns(host).unwrap(),
            AlternativeName::Ip("127.0.0.1".parse().unwrap()),
        ];
        let certificate = issue_member(
            &self.issuer,
            &PublicKey::from_spki_der(&key.spki_der()).unwrap(),
            &MemberParameters {
                profile: &profile,
                member: "authority",
                common_name: host,
                names: &names,
                roles: &[],
                addresses: &self.addresses,
                now: self.clock.now(),
            },
        )
        .await
        .unwrap();
        self.ledger.admit(&certificate);
        certificate
    }
}

/// The registration authority of the maker, as the EST layer would tell it.
pub fn registration_authority() -> Requester {
    member(MAKER, &[Role::RegistrationAuthority])
}

pub fn member(member: &str, roles: &[Role]) -> Requester {
    Requester::Member {
        member: member.to_owned(),
        roles: roles.to_vec(),
        serial: Serial::from_bytes(&[1]).unwrap(),
    }
}

/// Runs the body on a runtime with threads.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
