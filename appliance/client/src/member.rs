//! A client of a service that authenticates with the node key in this member's
//! token.

use anyhow::Context as _;
use hufu_configuration::Config;
use hufu_configuration::keyring::{self, label};
use hufu_configuration::{certificates, pin};
use rustls::RootCertStore;

use crate::Client;
use crate::tls;

/// A client of the service at `url`, whose certificate must chain to `roots`.
///
/// # Errors
/// What stands in the way, with the remedy.
pub fn connect(
    config: &Config,
    pin_fd: Option<u32>,
    url: &str,
    roots: RootCertStore,
) -> anyhow::Result<Client> {
    let chain = certificates::read(&config.tls_chain()).context(
        "this node has no TLS certificate yet; `hufu cert install` installs the one that the \
         authority issued for tls.csr",
    )?;
    let custody = keyring::open(config, pin::user(pin_fd)?)?;
    let key = keyring::key(&custody, label::TLS)?;
    let certified = hufu_keys::certified_key(&key, chain)
        .context("the certificate in tls.pem is not for the token's TLS key")?;
    Client::tls(url, tls::client(roots, Some(certified))?)
}
