//! Who may ask for what: the requester against the profile, and a renewal
//! against the certificate being renewed.

use std::sync::Arc;

use super::{Issuance, OnBehalf, Wanted};
use crate::certificate::Certificate;
use crate::csr::CertificationRequest;
use crate::error::CaError;
use crate::names::AlternativeName;
use crate::profile::{Profile, Purpose, Requesters};
use crate::requester::{Requester, Role, check_member};
use crate::store::Issued;
use crate::subject::Attribute;

impl Issuance {
    /// Renews `certificate` (which the TLS client presented and which was
    /// found valid and not revoked) for the key in `request`, under the
    /// profile it was issued under (RFC 7030 section 4.2.2).
    pub async fn renew(
        &self,
        request: &CertificationRequest,
        certificate: &Certificate,
        label: Option<&str>,
    ) -> Result<Arc<Issued>, CaError> {
        let old = self.0.store.by_serial(certificate.serial())?.ok_or_else(|| {
            CaError::ClientCertificate("it is not in this authority's store; enrol anew".to_owned())
        })?;
        if label.is_some_and(|label| label != old.profile) {
            return Err(CaError::Role {
                needed: format!("profile {}, which the certificate was issued under", old.profile),
            });
        }
        let profile = self.0.profiles.named(&old.profile)?;
        if !profile.renewable {
            return Err(CaError::Role {
                needed: format!("a renewable profile; {} is not", profile.name),
            });
        }
        if !certificate.subject()?.same_as(request.subject()) {
            return Err(CaError::Subject {
                field: "subject".to_owned(),
                detail: format!(
                    "must be the one of the certificate being renewed, {}",
                    certificate.subject()?.to_text()
                ),
            });
        }
        let names = certificate.alternative_names()?;
        let requested = request.alternative_names();
        if !requested.is_empty() && requested != names {
            return Err(CaError::Extension {
                extension: "subjectAltName".to_owned(),
                detail: "must be that of the certificate being renewed, or be left out".to_owned(),
            });
        }
        let subject = profile.subject(request.subject().clone(), &old.owner)?;
        let key = request.public_key().clone();
        if !profile.keys.contains(&key.algorithm()) {
            return Err(CaError::Algorithm {
                what: "public key algorithm",
                given: key.algorithm().to_string(),
                accepted: profile.keys.iter().map(|key| key.name()).collect::<Vec<_>>().join(", "),
            });
        }
        let renews = Some(certificate.serial().clone());
        self.issue(Wanted { profile, owner: old.owner, subject, names, key, renews }).await
    }

    /// Whether `requester` may ask under `profile`, for which member, and with
    /// which roles in the certificate.
    pub(super) fn authorise(
        &self,
        profile: &Profile,
        request: &CertificationRequest,
        requester: &Requester,
        on_behalf: Option<OnBehalf<'_>>,
    ) -> Result<(String, Vec<Role>), CaError> {
        let needed = || CaError::Role {
            needed: profile
                .requesters
                .iter()
                .map(|requesters| match requesters {
                    Requesters::Ceremony => "the appliance's own command line",
                    Requesters::RegistrationAuthority => Role::RegistrationAuthority.name(),
                    Requesters::Operator => Role::Operator.name(),
                    Requesters::Regulator => Role::Regulator.name(),
                    Requesters::Device => "a device with a certificate of this authority",
                })
                .collect::<Vec<_>>()
                .join(", "),
        };
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
                let mut granted = Vec::new();
                if profile.purpose == Purpose::Client {
                    // Nobody gives what they do not have.
                    for name in request.alternative_names() {
                        let AlternativeName::Uri(uri) = name else { continue };
                        let Some(role) = Role::ALL.into_iter().find(|role| role.urn() == uri)
                        else {
                            continue;
                        };
                        if !roles.contains(&role) {
                            return Err(CaError::Role { needed: format!("{role}, to pass it on") });
                        }
                        granted.push(role);
                    }
                    granted.sort_unstable();
                }
                Ok((member.clone(), granted))
            }
            Requester::Token(token) => {
                // It stands for the registration authority that made it.
                if token.profile != profile.name
                    || !profile.requesters.contains(&Requesters::RegistrationAuthority)
                {
                    return Err(CaError::Role {
                        needed: format!("an enrolment token for profile {}", profile.name),
                    });
                }
                let asked = request.subject().value(Attribute::SerialNumber);
                if token.device.is_some() && token.device.as_deref() != asked {
                    return Err(CaError::Subject {
                        field: "serialNumber".to_owned(),
                        detail: "must be that of the device which the enrolment token is for"
                            .to_owned(),
                    });
                }
                Ok((token.member.clone(), Vec::new()))
            }
            Requester::Device { certificate } => {
                if !profile.requesters.contains(&Requesters::Device) {
                    return Err(needed());
                }
                let own = certificate.subject()?;
                let same = own.value(Attribute::SerialNumber)
                    == request.subject().value(Attribute::SerialNumber);
                if !same {
                    return Err(CaError::Subject {
                        field: "serialNumber".to_owned(),
                        detail: "must be that of the device's own certificate".to_owned(),
                    });
                }
                let old = self.0.store.by_serial(certificate.serial())?.ok_or_else(|| {
                    CaError::ClientCertificate("it is not in this authority's store".to_owned())
                })?;
                Ok((old.owner, Vec::new()))
            }
        }
    }
}
