//! Certificates of the key ceremony: the root, the issuing authority, and the
//! first server and client certificates, made before there is a ledger.
//!
//! Everything else goes through [`crate::Issuance`]. What is made here is put
//! on the ledger by the genesis that names it.

use std::time::Duration;

use hufu_proof::Role;

use crate::algorithm::PublicKey;
use crate::build::{self, Content, StatusAddresses};
use crate::certificate::Certificate;
use crate::error::CaError;
use crate::form::FormError;
use crate::issuer::Issuer;
use crate::ledger::Revocation;
use crate::lint::{self, IssuerFacts};
use crate::member::{check_member, member_urn};
use crate::names::AlternativeName;
use crate::profile::{NameKind, Profile, Purpose};
use crate::revocation_list::RevocationList;
use crate::serial::Serial;
use crate::signer::{TbsSigner, sign_checked};
use crate::subject::{Attribute, Subject};
use crate::time::UnixTime;

/// Names and time of an authority's certificate.
#[derive(Clone, Debug)]
pub struct AuthorityParameters<'a> {
    /// The profile, of purpose root or issuing.
    pub profile: &'a Profile,
    /// Country, two capital letters.
    pub country: Option<&'a str>,
    /// Organisation that runs it.
    pub organization: &'a str,
    /// Its own name, such as `Hufu Root 2026`.
    pub common_name: &'a str,
    /// Where the certificate says that the status is to be had
    /// ([`StatusAddresses::of_root`] for an issuing certificate).
    pub addresses: &'a StatusAddresses,
    /// The current time.
    pub now: UnixTime,
}

impl AuthorityParameters<'_> {
    fn subject(&self) -> Result<Subject, FormError> {
        let country = self.country.map(|country| (Attribute::C, country));
        let rest = [(Attribute::O, self.organization), (Attribute::CN, self.common_name)];
        Subject::new(country.into_iter().chain(rest))
    }
}

fn expect(profile: &Profile, purpose: Purpose) -> Result<(), FormError> {
    if profile.purpose == purpose {
        return Ok(());
    }
    Err(FormError::ProfileInvalid {
        name: profile.name.clone(),
        detail: format!("purpose: this certificate needs {purpose:?}"),
    })
}

/// The self-signed root certificate of `signer`'s key.
pub async fn self_signed_root(
    signer: &dyn TbsSigner,
    parameters: &AuthorityParameters<'_>,
) -> Result<Certificate, CaError> {
    expect(parameters.profile, Purpose::Root)?;
    let key = PublicKey::from_spki_der(signer.spki_der())?;
    let subject = parameters.subject()?;
    let (not_before, not_after) = parameters.profile.window(parameters.now, UnixTime::NEVER);
    let name = subject.to_der();
    let identifier = key.key_identifier();
    let by = By { name: &name, key: &key, key_identifier: &identifier, signer, not_after: None };
    let window = (not_before, not_after);
    sign(&by, parameters.profile, &subject, &key, &[], window, parameters.addresses).await
}

/// The certificate of the issuing authority with `key`, signed by the root.
pub async fn issue_issuing(
    root: &Certificate,
    root_signer: &dyn TbsSigner,
    key: &PublicKey,
    parameters: &AuthorityParameters<'_>,
) -> Result<Certificate, CaError> {
    expect(parameters.profile, Purpose::Issuing)?;
    let subject = parameters.subject()?;
    let (profile, addresses, now) = (parameters.profile, parameters.addresses, parameters.now);
    under_root(root, root_signer, (&subject, key), profile, addresses, now).await
}

/// The next certificate of an issuing authority, for the same key and name.
///
/// # Errors
/// The profile is not of purpose issuing, `root_signer` is not of the root's key,
/// or does not sign.
pub async fn renew_issuing(
    issuer: &Issuer,
    root_signer: &dyn TbsSigner,
    profile: &Profile,
    addresses: &StatusAddresses,
    now: UnixTime,
) -> Result<Certificate, CaError> {
    expect(profile, Purpose::Issuing)?;
    let subject = Subject::from_der(issuer.subject_der())?;
    let of = (&subject, issuer.public_key());
    under_root(issuer.root(), root_signer, of, profile, addresses, now).await
}

async fn under_root(
    root: &Certificate,
    root_signer: &dyn TbsSigner,
    (subject, key): (&Subject, &PublicKey),
    profile: &Profile,
    addresses: &StatusAddresses,
    now: UnixTime,
) -> Result<Certificate, CaError> {
    let window = profile.window(now, root.not_after());
    let name = root.subject_der()?;
    if name == subject.to_der() {
        return Err(FormError::Subject {
            field: "CN".to_owned(),
            detail: "must differ from the root's, so that paths are unambiguous".to_owned(),
        }
        .into());
    }
    let identifier = root
        .subject_key_identifier()?
        .unwrap_or_else(|| root.public_key().key_identifier().to_vec());
    let by = By {
        name: &name,
        key: root.public_key(),
        key_identifier: &identifier,
        signer: root_signer,
        not_after: Some(root.not_after()),
    };
    let certificate = sign(&by, profile, subject, key, &[], window, addresses).await?;
    root.check_signed(&certificate)?;
    Ok(certificate)
}

/// How long a list of the root is good for. It is made by hand where the root's
/// key is kept apart, so it lives longer than the issuing authority's.
pub const ROOT_LIST_LIFE: Duration = Duration::from_secs(397 * 86_400);

/// A revocation list of the root: the issuing certificates that are revoked.
///
/// # Errors
/// The token does not sign.
pub async fn root_list(
    root: &Certificate,
    signer: &dyn TbsSigner,
    number: u64,
    now: UnixTime,
    revoked: Vec<Revocation>,
) -> Result<RevocationList, CaError> {
    let identifier = root
        .subject_key_identifier()?
        .unwrap_or_else(|| root.public_key().key_identifier().to_vec());
    RevocationList::sign(
        signer,
        root.public_key(),
        (&root.subject_der()?, &identifier),
        number,
        (now, ROOT_LIST_LIFE),
        revoked,
    )
    .await
}

/// A member's certificate made in the ceremony.
#[derive(Clone, Debug)]
pub struct MemberParameters<'a> {
    /// The profile, of purpose server or client.
    pub profile: &'a Profile,
    /// The member: becomes the organisation.
    pub member: &'a str,
    /// The common name.
    pub common_name: &'a str,
    /// Host names and addresses of a server.
    pub names: &'a [AlternativeName],
    /// Roles of a client.
    pub roles: &'a [Role],
    /// Where certificates of this authority say that status is to be had.
    pub addresses: &'a StatusAddresses,
    /// The current time.
    pub now: UnixTime,
}

/// A server or client certificate for a member's key, made in the ceremony
/// without a ledger. Its TBS and serial go into the genesis, or its status
/// stays unknown and every door refuses it.
pub async fn issue_member(
    issuer: &Issuer,
    key: &PublicKey,
    parameters: &MemberParameters<'_>,
) -> Result<Certificate, CaError> {
    let profile = parameters.profile;
    check_member(parameters.member)?;
    let mut names = parameters.names.to_vec();
    match profile.purpose {
        Purpose::Server => {
            if profile.extensions.alternative_names.contains(&NameKind::MemberRoles) {
                names.push(AlternativeName::urn(&member_urn(parameters.member)?)?);
            }
        }
        Purpose::Client => {
            names.push(AlternativeName::urn(&member_urn(parameters.member)?)?);
            for role in parameters.roles {
                names.push(AlternativeName::urn(role.urn())?);
            }
        }
        _ => {
            return Err(FormError::ProfileInvalid {
                name: profile.name.clone(),
                detail: "purpose: a member's certificate is server or client".to_owned(),
            }
            .into());
        }
    }
    let subject =
        Subject::new([(Attribute::O, parameters.member), (Attribute::CN, parameters.common_name)])?;
    let window = profile.window(parameters.now, issuer.certificate().not_after());
    let by = By {
        name: issuer.subject_der(),
        key: issuer.public_key(),
        key_identifier: issuer.key_identifier(),
        signer: &**issuer.signer(),
        not_after: Some(issuer.certificate().not_after()),
    };
    sign(&by, profile, &subject, key, &names, window, parameters.addresses).await
}

/// Who signs.
struct By<'a> {
    name: &'a [u8],
    key: &'a PublicKey,
    key_identifier: &'a [u8],
    signer: &'a dyn TbsSigner,
    not_after: Option<UnixTime>,
}

async fn sign(
    by: &By<'_>,
    profile: &Profile,
    subject: &Subject,
    key: &PublicKey,
    names: &[AlternativeName],
    (not_before, not_after): (UnixTime, UnixTime),
    addresses: &StatusAddresses,
) -> Result<Certificate, CaError> {
    let serial = Serial::random()?;
    let tbs = build::tbs(&Content {
        profile,
        serial: &serial,
        signature: by.signer.algorithm(),
        issuer: by.name,
        authority_key_identifier: by.key_identifier,
        not_before,
        not_after,
        subject,
        public_key: key,
        alternative_names: names,
        addresses,
    })?;
    let facts = IssuerFacts {
        name: by.name,
        key_identifier: by.key_identifier,
        signature: by.signer.algorithm(),
        not_after: by.not_after,
    };
    let findings = lint::lint(&tbs, profile, &facts);
    if !findings.is_empty() {
        return Err(CaError::Lint(findings));
    }
    let signature = sign_checked(by.signer, by.key, &tbs).await?;
    Ok(Certificate::from_der(&build::assemble(&tbs, by.signer.algorithm(), &signature))?)
}
