//! TLS as a client, with keys that stay in a token or TPM (DESIGN decision 4):
//! hybrid key exchange preferred, mutual authentication against the consortium's
//! root, or one certificate whose fingerprint somebody read.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use hufu_proof::{Digest, Name};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
};

static VERSIONS_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
static VERSIONS_12_13: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The cryptography that TLS uses everywhere here.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// One certificate for every server that asks.
#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesClientCert for OneCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What a server shows of itself.
struct Server<'a> {
    certificate: &'a CertificateDer<'a>,
    intermediates: &'a [CertificateDer<'a>],
    name: &'a ServerName<'a>,
    ocsp_response: &'a [u8],
    now: UnixTime,
}

/// Whom to trust.
trait Judge: std::fmt::Debug + Send + Sync {
    /// Whether a server is to be trusted that has the key of what it shows.
    fn judge(&self, server: &Server<'_>) -> Result<(), rustls::Error>;
}

/// A judge's word, and that the server has the key.
#[derive(Debug)]
struct Judged<J> {
    judge: Arc<J>,
    provider: Arc<CryptoProvider>,
}

impl<J: Judge> Judged<J> {
    fn by(judge: Arc<J>) -> Arc<Self> {
        Arc::new(Self { judge, provider: provider() })
    }
}

impl<J: Judge> ServerCertVerifier for Judged<J> {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge.judge(&Server { certificate, intermediates, name, ocsp_response, now })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A server of another member than the one that was to be reached.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server is {}, and member `{wanted}` was to be reached; check the address, or name the \
     member that is there with --member, where the command has it",
    found.as_ref().map_or("no member's".to_owned(), |found| format!("member `{found}`'s"))
)]
pub(crate) struct OtherMember {
    found: Option<String>,
    wanted: Name,
}

/// Whether a connection failed because the server is another member's.
pub(crate) fn other_member(error: &std::io::Error) -> Option<&OtherMember> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
            other.downcast_ref()
        }
        _ => None,
    }
}

/// Trusts who chains to a root, serves the name that was asked for, and is the
/// member that is wanted. A name on the network leads to its owner as long as the
/// authority keeps to the rules, and loopback to anybody on the machine; the
/// certificate's own word for its member is checked beside it.
#[derive(Debug)]
struct OfMember {
    chain: Arc<WebPkiServerVerifier>,
    wanted: Name,
}

impl Judge for OfMember {
    fn judge(&self, server: &Server<'_>) -> Result<(), rustls::Error> {
        let Server { certificate, intermediates, name, ocsp_response, now } = server;
        self.chain.verify_server_cert(certificate, intermediates, name, ocsp_response, *now)?;
        let certificate = hufu_issuance::Certificate::from_der(certificate)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let found = hufu_issuance::member_and_roles(&certificate)
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .map(|(member, _)| member);
        if found.as_deref() == Some(self.wanted.as_str()) {
            return Ok(());
        }
        let other = OtherMember { found, wanted: self.wanted.clone() };
        Err(CertificateError::Other(OtherError(Arc::new(other))).into())
    }
}

/// Trusts one certificate, whose fingerprint somebody read, whatever it says of
/// itself. That the server has its key is checked as for any other.
#[derive(Debug)]
pub struct Pinned {
    wanted: Digest,
    other: Mutex<Option<String>>,
}

impl Pinned {
    /// Trusts the certificate with this SHA-256 fingerprint: 64 hexadecimal
    /// digits, with or without colons and blanks.
    ///
    /// # Errors
    /// When it is not a fingerprint.
    pub fn new(fingerprint: &str) -> anyhow::Result<Self> {
        let digits: String = fingerprint.chars().filter(|one| !matches!(one, ':' | ' ')).collect();
        let wanted = digits.to_ascii_lowercase().parse().ok().with_context(|| {
            format!(
                "`{fingerprint}` is not a SHA-256 fingerprint: give the 64 hexadecimal digits that \
                 the console shows"
            )
        })?;
        Ok(Self { wanted, other: Mutex::default() })
    }

    /// The fingerprint of another certificate that was shown instead.
    pub fn other(&self) -> Option<String> {
        self.other.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Judge for Pinned {
    fn judge(&self, server: &Server<'_>) -> Result<(), rustls::Error> {
        if Digest::of(server.certificate) == self.wanted {
            return Ok(());
        }
        let shown = hufu_configuration::certificates::fingerprint(server.certificate);
        *self.other.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Err(CertificateError::ApplicationVerificationFailure.into())
    }
}

/// A client that trusts one certificate and shows none: TLS 1.3 only.
///
/// # Errors
/// When the provider has no TLS 1.3, which is a fault of the build.
pub fn pinned_client(pinned: Arc<Pinned>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS_13)?
        .dangerous()
        .with_custom_certificate_verifier(Judged::by(pinned))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A client that trusts `roots` and, given a certificate, shows it. Given whom it
/// wants, it trusts that member's servers alone.
///
/// # Errors
/// When the provider has no protocol version, which is a fault of the build.
pub fn client(
    roots: RootCertStore,
    certified: Option<Arc<CertifiedKey>>,
    wanted: Option<&Name>,
) -> anyhow::Result<Arc<ClientConfig>> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS_12_13)?;
    let builder = match wanted {
        None => builder.with_root_certificates(roots),
        Some(wanted) => {
            let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
            let chain = chain.build().context("trust store for servers")?;
            let judge = Arc::new(OfMember { chain, wanted: wanted.clone() });
            builder.dangerous().with_custom_certificate_verifier(Judged::by(judge))
        }
    };
    let mut config = match certified {
        Some(certified) => builder.with_client_cert_resolver(Arc::new(OneCertificate(certified))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_people_write_it() {
        let digest = Digest::of(b"x").to_string();
        let colons = hufu_configuration::certificates::fingerprint(b"x");
        for text in [&digest, &digest.to_ascii_uppercase(), &colons, &colons.replace(':', " ")] {
            assert_eq!(Pinned::new(text).unwrap().wanted, Digest::of(b"x"));
        }
        for text in ["", "AB:CD", &digest[1..], &format!("{digest}0"), &digest.replace('a', "g")] {
            assert!(Pinned::new(text).is_err(), "{text}");
        }
    }
}
