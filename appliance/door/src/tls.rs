//! TLS: which certificates clients may show, and what is made of them.
//!
//! The handshake proves that a client has the key of what it shows, and no more.
//! Whether the certificate is one of the consortium's is judged behind it, once
//! for each connection and in one place: so that whoever shows one that does not
//! count is told so in a sentence, and can still be served by another credential
//! (an enrolment token), instead of meeting an alert.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hufu_proof::{Digest, Name, Role, Serial, UnixMillis};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::problem::{Code, Problem};

/// Largest certificate that is read, in bytes.
const MAX_CERTIFICATE: usize = 16 * 1024;

static VERSIONS_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
static VERSIONS_12_13: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// What a client showed in its handshake.
#[derive(Clone, Debug)]
pub enum Shown {
    /// No certificate.
    Nothing,
    /// A certificate under the consortium's root, whose key the client has.
    Certificate(Arc<Presented>),
    /// One that is not, and what is said of it.
    Refused(Problem),
}

/// A certificate that a client showed and has the key of, which chains to the
/// consortium's root and is for clients. Its dates and its status are not looked
/// at: the [authenticator](crate::Authenticator) does, for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    der: Vec<u8>,
    /// Its serial number.
    pub serial: Serial,
    /// SHA-256 of the to-be-signed certificate.
    pub tbs: Digest,
    /// The member that it names.
    pub member: Option<Name>,
    /// The roles that it names.
    pub roles: Vec<Role>,
    not_before: Duration,
    not_after: Duration,
}

impl Presented {
    /// The certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the DER.
    pub fn digest(&self) -> [u8; 32] {
        Digest::of(&self.der).0
    }

    /// Begin and end of validity, both included.
    pub fn validity(&self) -> (UnixMillis, UnixMillis) {
        let at = |time: Duration| UnixMillis::ZERO.plus(time);
        // The last second counts whole.
        (at(self.not_before), at(self.not_after).plus(Duration::from_millis(999)))
    }

    /// Reads what matters here; the signature is another's concern.
    fn parse(der: &[u8]) -> Result<Self, String> {
        if der.len() > MAX_CERTIFICATE {
            return Err(format!("it is larger than {MAX_CERTIFICATE} bytes"));
        }
        let certificate = x509_cert::Certificate::from_der(der)
            .map_err(|error| format!("it is not DER: {error}"))?;
        let tbs = certificate.tbs_certificate();
        let octets = tbs.serial_number().as_bytes();
        let significant = octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len());
        let serial =
            Serial::new(&octets[significant..]).map_err(|error| format!("its serial: {error}"))?;
        let encoded = tbs.to_der().map_err(|error| format!("it is not DER: {error}"))?;
        let names = tbs
            .get_extension::<SubjectAltName>()
            .map_err(|error| format!("its subjectAltName: {error}"))?;
        let (mut member, mut roles) = (None, Vec::new());
        for name in names.map(|(_, names)| names.0).unwrap_or_default() {
            let GeneralName::UniformResourceIdentifier(uri) = name else { continue };
            if let Some(named) = uri.as_str().strip_prefix("urn:hufu:member:") {
                let named = Name::new(named).map_err(|error| format!("its member: {error}"))?;
                if member.replace(named).is_some() {
                    return Err("it names two members".to_owned());
                }
            } else if let Some(role) = Role::of_urn(uri.as_str()) {
                roles.push(role);
            }
        }
        let validity = tbs.validity();
        Ok(Self {
            der: der.to_vec(),
            serial,
            tbs: Digest::of(&encoded),
            member,
            roles,
            not_before: validity.not_before.to_unix_duration(),
            not_after: validity.not_after.to_unix_duration(),
        })
    }
}

/// Which certificates are the consortium's.
#[derive(Debug)]
pub struct Chains {
    verifier: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
    /// Clients may leave them out: they are in the genesis file and on the ledger.
    issuing: RwLock<Vec<CertificateDer<'static>>>,
}

/// The trust store cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the consortium's root certificate cannot be trusted: {0}")]
pub struct TrustError(String);

impl Chains {
    /// Those under `root`, most of them made by `issuing`. The issuing
    /// certificate is no anchor of its own, so that its path length counts
    /// (RFC 5280 §4.2.1.9): who is certified by it certifies nobody.
    ///
    /// # Errors
    /// When `root` is no certificate.
    pub fn new(
        root: CertificateDer<'_>,
        issuing: CertificateDer<'static>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<Self>, TrustError> {
        let mut roots = RootCertStore::empty();
        roots.add(root).map_err(|error| TrustError(error.to_string()))?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|error| TrustError(error.to_string()))?;
        Ok(Arc::new(Self { verifier, provider, issuing: RwLock::new(vec![issuing]) }))
    }

    /// Another issuing certificate that clients may leave out from now on.
    pub fn also_under(&self, issuing: CertificateDer<'static>) {
        let mut all = self.issuing.write().unwrap_or_else(PoisonError::into_inner);
        if !all.contains(&issuing) {
            all.push(issuing);
        }
    }

    /// A server with one certificate, whichever name a client wants it under,
    /// that asks its clients for theirs. A client without one gets through to
    /// the public parts of the service, which is what EST's `/cacerts` needs
    /// (RFC 7030 §4.1.1); each route decides.
    ///
    /// # Errors
    /// When the provider has no protocol version, which is a fault of the build.
    pub fn server(
        self: &Arc<Self>,
        certificate: Arc<dyn ResolvesServerCert>,
        tls12: bool,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let versions = if tls12 { VERSIONS_12_13 } else { VERSIONS_13 };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(Arc::new(Possession(Arc::clone(self))))
            .with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// What is made of the chain that a client showed, its own certificate
    /// first. Blocks for the time of two signature checks.
    pub fn judge(&self, shown: &[CertificateDer<'_>]) -> Shown {
        let Some((leaf, rest)) = shown.split_first() else { return Shown::Nothing };
        match self.presented(leaf, rest) {
            Ok(presented) => Shown::Certificate(Arc::new(presented)),
            Err(Unfit::Ended) => {
                tracing::warn!("a client certificate that has expired is refused");
                let detail = "the client certificate has expired; ask for a new one";
                Shown::Refused(Problem::new(Code::CertificateExpired, detail))
            }
            Err(Unfit::Foreign(why)) => {
                tracing::warn!(why, "a client certificate is refused");
                let detail = format!(
                    "the client certificate is not one of this consortium ({why}); show one that \
                     its authority issued for clients, or none"
                );
                Shown::Refused(Problem::new(Code::CertificateRefused, detail))
            }
        }
    }

    fn presented(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
    ) -> Result<Presented, Unfit> {
        let presented = Presented::parse(leaf).map_err(Unfit::Foreign)?;
        let mut intermediates = rest.to_vec();
        let issuing = self.issuing.read().unwrap_or_else(PoisonError::into_inner).clone();
        intermediates.extend(issuing);
        // Dates are for the authenticator, which names them; the path is checked
        // as of a time at which this certificate was valid.
        let now = Duration::from_secs(UnixTime::now().as_secs());
        let at = now.min(presented.not_after).max(presented.not_before);
        let at = UnixTime::since_unix_epoch(at);
        self.verifier.verify_client_cert(leaf, &intermediates, at).map_err(
            |error| match error {
                // One that ends before it begins, or of an authority that has ended.
                rustls::Error::InvalidCertificate(
                    CertificateError::Expired | CertificateError::ExpiredContext { .. },
                ) => Unfit::Ended,
                rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                    Unfit::Foreign("its issuer is unknown".to_owned())
                }
                rustls::Error::InvalidCertificate(CertificateError::Other(error)) => {
                    Unfit::Foreign(error.to_string())
                }
                error => Unfit::Foreign(error.to_string()),
            },
        )?;
        Ok(presented)
    }
}

/// Why a chain is not one of a caller's.
enum Unfit {
    /// It is over, whatever the ledger says.
    Ended,
    /// It is none of this consortium.
    Foreign(String),
}

/// Lets through whoever has the key of the certificate it shows.
#[derive(Debug)]
struct Possession(Arc<Chains>);

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.verifier.root_hint_subjects()
    }

    /// [`Chains::judge`] does, where it can say why.
    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.verifier.supported_verify_schemes()
    }
}
