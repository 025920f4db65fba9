//! The node's certificate request, signed in its token.

use std::net::IpAddr;

use anyhow::Context as _;
use hufu_keys::Key;
use rcgen::{CertificateParams, DistinguishedName, DnType, PublicKeyData, SanType};

use crate::Config;

/// A token key as `rcgen` wants one.
struct RequestKey(Key);

impl PublicKeyData for RequestKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key_uncompressed()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for RequestKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign_der(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// A certificate that `key` signs for itself: DER. Whoever uses it knows its
/// fingerprint, so that its names and times say nothing.
///
/// # Errors
/// When the token does not sign.
pub fn self_signed(name: &str, key: &Key) -> anyhow::Result<Vec<u8>> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params
        .self_signed(&RequestKey(key.clone()))
        .context("the token did not sign the certificate")?;
    Ok(certificate.der().to_vec())
}

/// The request for another certificate in place of the node's: PKCS#10 in DER. It
/// names no hosts, because a renewal is for those of the certificate before.
///
/// # Errors
/// When the token does not sign.
pub fn renewal(config: &Config, key: &Key) -> anyhow::Result<Vec<u8>> {
    let request = params(config)
        .serialize_request(&RequestKey(key.clone()))
        .context("the token did not sign the certificate request")?;
    Ok(request.der().to_vec())
}

/// What every request for the node has.
fn params(config: &Config) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, config.member.name.as_str());
    params.distinguished_name.push(DnType::CommonName, format!("{} node", config.member.name));
    params
}

/// The request for the node's TLS certificate: PKCS#10 in PEM, with the names
/// of `services.names`.
///
/// # Errors
/// When a name is neither an address nor a host name, or the token does not
/// sign.
pub fn node(config: &Config, key: &Key) -> anyhow::Result<String> {
    let mut params = params(config);
    for name in &config.services.names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(
                name.as_str()
                    .try_into()
                    .with_context(|| format!("services.names: `{name}` is not a host name"))?,
            ),
        });
    }
    let request = params
        .serialize_request(&RequestKey(key.clone()))
        .context("the token did not sign the certificate request")?;
    Ok(request.pem()?)
}
