//! A small authority, and clients of it.
#![allow(dead_code)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hufu_door::Chains;
use hufu_proof::UnixMillis;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

pub fn now() -> UnixMillis {
    SystemTime::now().into()
}

pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What a client's certificate says.
pub struct Wish {
    pub years: (i32, i32),
    pub purpose: ExtendedKeyUsagePurpose,
    pub is_ca: IsCa,
    pub roles: &'static [&'static str],
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            years: (2020, 2080),
            purpose: ExtendedKeyUsagePurpose::ClientAuth,
            is_ca: IsCa::NoCa,
            roles: &["operator"],
        }
    }
}

pub struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    issuing: CertifiedIssuer<'static, KeyPair>,
}

pub struct Client {
    pub der: CertificateDer<'static>,
    key: KeyPair,
    params: CertificateParams,
}

fn params(common_name: &str, wish: &Wish) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    params.not_before = date_time_ymd(wish.years.0, 1, 1);
    params.not_after = date_time_ymd(wish.years.1, 1, 1);
    params.is_ca = wish.is_ca;
    params.extended_key_usages = vec![wish.purpose.clone()];
    let uri = |text: String| SanType::URI(text.try_into().unwrap());
    params.subject_alt_names = vec![uri("urn:hufu:member:maker".into())];
    let roles = wish.roles.iter().map(|role| uri(format!("urn:hufu:role:{role}")));
    params.subject_alt_names.extend(roles);
    params
}

fn ca(common_name: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let root = CertifiedIssuer::self_signed(ca("root", BasicConstraints::Constrained(1)), key)
            .unwrap();
        let key = KeyPair::generate().unwrap();
        let params = ca("issuing", BasicConstraints::Constrained(0));
        let issuing = CertifiedIssuer::signed_by(params, key, &root).unwrap();
        Self { root, issuing }
    }

    /// A certificate of the issuing key that ended at the begin of a year.
    pub fn issuing_until(&self, year: i32) -> CertificateDer<'static> {
        let mut params = ca("issuing", BasicConstraints::Constrained(0));
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.signed_by(self.issuing.key(), &self.root).unwrap().der().clone()
    }

    pub fn root_der(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    pub fn issuing_der(&self) -> CertificateDer<'static> {
        self.issuing.der().clone()
    }

    pub fn chains(&self) -> Arc<Chains> {
        Chains::new(self.root_der(), self.issuing_der(), provider()).unwrap()
    }

    pub fn client(&self, wish: &Wish) -> Client {
        let (key, params) = (KeyPair::generate().unwrap(), params("client", wish));
        let certificate = params.signed_by(&key, &self.issuing).unwrap();
        Client { der: certificate.der().clone(), key, params }
    }

    /// A server's certificate and key.
    pub fn server(&self) -> Arc<CertifiedKey> {
        let mut params = params("server", &Wish::default());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names.push(SanType::DnsName("localhost".try_into().unwrap()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuing).unwrap();
        certified(vec![certificate.der().clone(), self.issuing_der()], &key)
    }
}

impl Client {
    /// Something that this one certifies with its own key.
    pub fn issue(&self, wish: &Wish) -> Client {
        let issuer = Issuer::from_params(&self.params, &self.key);
        let (key, params) = (KeyPair::generate().unwrap(), params("under", wish));
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Client { der: certificate.der().clone(), key, params }
    }

    pub fn certified(&self) -> Arc<CertifiedKey> {
        certified(vec![self.der.clone()], &self.key)
    }
}

fn certified(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Arc<CertifiedKey> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    Arc::new(CertifiedKey::new(chain, key))
}

pub const SECOND: Duration = Duration::from_secs(1);
