//! The authority's side of the ceremony: the CA hierarchy.

use anyhow::Context as _;
use hufu_configuration::Config;
use hufu_configuration::time::now_ms;
use hufu_issuance::{
    AuthorityParameters, Profiles, PublicKey, StatusAddresses, TokenSigner, UnixTime,
};
use hufu_keys::Key;

/// The certificates that the ceremony makes, DER.
pub struct Hierarchy {
    /// The root certificate.
    pub root: Vec<u8>,
    /// The issuing certificate.
    pub issuing: Vec<u8>,
    /// The root's first revocation list, which is empty.
    pub root_list: Vec<u8>,
}

/// Where certificates say that their status is to be had: the status service's
/// public URL, or the address it listens on.
pub fn status_base(config: &Config) -> Option<String> {
    let listening = || config.services.status.map(|address| format!("http://{address}"));
    config.ca.status_url.clone().or_else(listening)
}

/// What the root says of where its list and certificate are to be had.
///
/// # Errors
/// The configured address is none.
pub fn status_of_root(config: &Config) -> anyhow::Result<StatusAddresses> {
    let base = status_base(config);
    Ok(base.as_deref().map(StatusAddresses::of_root).transpose()?.unwrap_or_default())
}

/// Makes the CA hierarchy with keys of the token.
///
/// # Errors
/// When the token does not sign or a profile is wrong.
pub fn make_hierarchy(config: &Config, root: &Key, issuing: &Key) -> anyhow::Result<Hierarchy> {
    let profiles = Profiles::shipped()?;
    let organization =
        config.member.title.get("en").map_or_else(|| config.member.name.to_string(), Clone::clone);
    let now = UnixTime::from(now_ms());
    let root_name = format!("{organization} Root CA");
    let issuing_name = format!("{organization} Issuing CA");
    let (root_profile, issuing_profile) = (profiles.named("root")?, profiles.named("issuing")?);
    let root_signer = TokenSigner::new(root.clone())?;
    let issuing_key = PublicKey::from_spki_der(&issuing.spki_der())?;
    let of_root = status_of_root(config)?;
    let none = StatusAddresses::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let parameters = AuthorityParameters {
            profile: &root_profile,
            country: None,
            organization: &organization,
            common_name: &root_name,
            addresses: &none,
            now,
        };
        let root = hufu_issuance::self_signed_root(&root_signer, &parameters)
            .await
            .context("root certificate")?;
        let parameters = AuthorityParameters {
            profile: &issuing_profile,
            common_name: &issuing_name,
            addresses: &of_root,
            ..parameters
        };
        let issuing = hufu_issuance::issue_issuing(&root, &root_signer, &issuing_key, &parameters)
            .await
            .context("issuing certificate")?;
        let list = hufu_issuance::root_list(&root, &root_signer, 1, now, Vec::new())
            .await
            .context("the root's revocation list")?;
        Ok(Hierarchy {
            root: root.der().to_vec(),
            issuing: issuing.der().to_vec(),
            root_list: list.der,
        })
    })
}
