//! Who may ask for what: the requester against the profile, a renewal against
//! the certificate being renewed. Every door decides here.

use std::sync::Arc;

use hufu_proof::Role;

use crate::algorithm::{PublicKey, sha256};
use crate::certificate::Certificate;
use crate::csr::CertificationRequest;
use crate::error::CaError;
use crate::form::FormError;
use crate::member::check_member;
use crate::names::{self, AlternativeName};
use crate::profile::{Profile, Profiles, Purpose, Requesters};
use crate::record::{Issued, Token};
use crate::requester::{OnBehalf, Requester};
use crate::serial::Serial;
use crate::store::Store;
use crate::subject::{Attribute, Subject};

/// What was asked for and may be had.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) profile: Arc<Profile>,
    pub(crate) owner: String,
    pub(crate) subject: Subject,
    pub(crate) names: Vec<AlternativeName>,
    pub(crate) key: PublicKey,
    pub(crate) wish: Wish,
    /// The enrolment token that it is asked for with.
    pub(crate) token: Option<Token>,
    /// Whether a device asks for itself, so that whose it is does not matter.
    pub(crate) by_device: bool,
}

/// Whether a certificate that the same request got before will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It will, until it is due for renewal.
    Any,
    /// A new one is wished for.
    New,
    /// A successor of this one is wished for.
    SuccessorOf(Serial),
}

impl Wanted {
    /// Names what was asked for. The request's own signature is not part of
    /// it: the same request signed again is the same request.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.digest_with(&self.wish)
    }

    /// Names what the same request with another wish would be.
    pub(crate) fn digest_with(&self, wish: &Wish) -> [u8; 32] {
        let mut bytes = b"hufu issuance request v1".to_vec();
        let names = names::to_der(&self.names);
        let wish = match wish {
            Wish::Any => &[][..],
            Wish::New => b"new",
            Wish::SuccessorOf(serial) => serial.as_bytes(),
        };
        for part in [
            self.profile.name.as_bytes(),
            self.owner.as_bytes(),
            &self.key.to_spki_der(),
            // As text: the same name in another string type is the same.
            self.subject.in_encoded_order().as_bytes(),
            &names,
            wish,
        ] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        sha256(&bytes)
    }
}

/// What `requester` gets under `profile` for `request`.
pub(crate) fn enrolment(
    store: &Store,
    profile: Arc<Profile>,
    request: &CertificationRequest,
    requester: &Requester,
    on_behalf: Option<OnBehalf<'_>>,
) -> Result<Wanted, CaError> {
    let (owner, roles) = authorise(store, &profile, request, requester, on_behalf)?;
    let (subject, names) = profile.names(request, &owner, &roles)?;
    let wish = match on_behalf {
        Some(OnBehalf { renew: true, .. }) if *requester == Requester::Ceremony => Wish::New,
        _ => Wish::Any,
    };
    let token = match requester {
        Requester::Token(token) => Some(token.clone()),
        _ => None,
    };
    let by_device = matches!(requester, Requester::Device { .. });
    let key = request.public_key().clone();
    Ok(Wanted { profile, owner, subject, names, key, wish, token, by_device })
}

/// The successor of `certificate`, which its holder presented, for the key in
/// `request`, under the profile it was issued under (RFC 7030 section 4.2.2).
pub(crate) fn renewal(
    store: &Store,
    profiles: &Profiles,
    request: &CertificationRequest,
    certificate: &Certificate,
    label: Option<&str>,
) -> Result<Wanted, CaError> {
    let old = stored(store, certificate)?;
    if let Some(label) = label.filter(|label| *label != old.profile) {
        return Err(CaError::Renewal(format!(
            "it was issued under profile {}, not {label:?}; renew it there",
            old.profile
        )));
    }
    let profile = profiles.named(&old.profile)?;
    if !profile.renewable {
        return Err(CaError::Renewal(format!(
            "profile {} is not renewed by its holder; enrol anew",
            profile.name
        )));
    }
    let held = certificate.subject()?;
    if !held.same_as(request.subject()) {
        let detail = format!(
            "must be the one of the certificate being renewed; it is {}, the request has {} (in the order of their encoding)",
            held.in_encoded_order(),
            request.subject().in_encoded_order()
        );
        return Err(FormError::Subject { field: "subject".to_owned(), detail }.into());
    }
    let names = certificate.alternative_names()?;
    let requested = request.alternative_names();
    if !requested.is_empty() && !names::renews(requested, &names) {
        let detail = format!(
            "must be that of the certificate being renewed ({}), in any order, or be left out; the request has {}",
            names::listed(&names),
            names::listed(requested)
        );
        return Err(FormError::Extension { extension: "subjectAltName".to_owned(), detail }.into());
    }
    let subject = profile.subject(request.subject().clone(), &old.owner)?;
    profile.check_key(request.public_key().algorithm())?;
    Ok(Wanted {
        profile,
        owner: old.owner,
        subject,
        names,
        key: request.public_key().clone(),
        wish: Wish::SuccessorOf(certificate.serial().clone()),
        token: None,
        by_device: true,
    })
}

/// Whether `requester` may ask under `profile`, for which member, and with
/// which roles in the certificate.
fn authorise(
    store: &Store,
    profile: &Profile,
    request: &CertificationRequest,
    requester: &Requester,
    on_behalf: Option<OnBehalf<'_>>,
) -> Result<(String, Vec<Role>), CaError> {
    let needed = || CaError::Role { needed: named(&profile.requesters) };
    if profile.purpose.is_authority() {
        return Err(needed());
    }
    match requester {
        Requester::Ceremony => {
            let on_behalf = on_behalf
                .filter(|_| profile.requesters.contains(&Requesters::Ceremony))
                .ok_or_else(needed)?;
            check_member(on_behalf.member)?;
            Ok((on_behalf.member.to_owned(), on_behalf.roles.to_vec()))
        }
        Requester::Member { member, roles, .. } => {
            let allowed = roles.iter().any(|role| {
                let requesters = match role {
                    Role::Operator => Requesters::Operator,
                    Role::RegistrationAuthority => Requesters::RegistrationAuthority,
                    Role::Regulator => Requesters::Regulator,
                    // It is for the member's own node.
                    Role::Administrator => return false,
                };
                profile.requesters.contains(&requesters)
            });
            if !allowed {
                return Err(needed());
            }
            Ok((member.clone(), passed_on(profile, request, roles)?))
        }
        Requester::Token(token) => {
            if token.profile != profile.name {
                return Err(CaError::TokenProfile {
                    given: token.profile.clone(),
                    asked: profile.name.clone(),
                });
            }
            // It stands for the registration authority that made it.
            if !profile.requesters.contains(&Requesters::RegistrationAuthority) {
                return Err(needed());
            }
            let asked = request.subject().value(Attribute::SerialNumber);
            if token.device.is_some() && token.device.as_deref() != asked {
                return Err(other_device("that of the device which the enrolment token is for"));
            }
            Ok((token.member.clone(), Vec::new()))
        }
        Requester::Device { certificate } => {
            if !profile.requesters.contains(&Requesters::Device) {
                return Err(needed());
            }
            let own = certificate.subject()?;
            let asked = request.subject().value(Attribute::SerialNumber);
            if own.value(Attribute::SerialNumber) != asked {
                return Err(other_device("that of the device's own certificate"));
            }
            Ok((stored(store, certificate)?.owner, Vec::new()))
        }
    }
}

/// The roles that a member's request for a client certificate names. Nobody
/// gives what they do not have; that each is a role is the profile's to check.
fn passed_on(
    profile: &Profile,
    request: &CertificationRequest,
    own: &[Role],
) -> Result<Vec<Role>, CaError> {
    let mut granted = Vec::new();
    if profile.purpose != Purpose::Client {
        return Ok(granted);
    }
    for name in request.alternative_names() {
        let AlternativeName::Uri(uri) = name else { continue };
        let Some(role) = Role::of_urn(uri) else { continue };
        if !own.contains(&role) {
            return Err(CaError::Role { needed: format!("{role}, to pass it on") });
        }
        granted.push(role);
    }
    granted.sort_unstable();
    Ok(granted)
}

fn named(requesters: &[Requesters]) -> String {
    let names: Vec<&str> = requesters
        .iter()
        .map(|requesters| match requesters {
            Requesters::Ceremony => "the appliance's own command line",
            Requesters::RegistrationAuthority => Role::RegistrationAuthority.name(),
            Requesters::Operator => Role::Operator.name(),
            Requesters::Regulator => Role::Regulator.name(),
            Requesters::Device => "a device with a certificate of this authority",
        })
        .collect();
    names.join(", ")
}

fn other_device(whose: &str) -> CaError {
    let detail = format!("must be {whose}");
    FormError::Subject { field: "serialNumber".to_owned(), detail }.into()
}

fn stored(store: &Store, certificate: &Certificate) -> Result<Issued, CaError> {
    store.by_serial(certificate.serial())?.ok_or_else(|| {
        CaError::ClientCertificate("it is not in this authority's store; enrol anew".to_owned())
    })
}
