//! Who asks: a member with roles, or a device for itself. That it is so is for
//! whoever ends TLS to find out, before anything is asked for here.

use std::sync::Arc;

use hufu_proof::Role;

use crate::certificate::Certificate;
use crate::form::FormError;
use crate::member::MEMBER_URN;
use crate::names::AlternativeName;
use crate::record::Token;
use crate::serial::Serial;

/// For whom the ceremony or command line asks.
#[derive(Clone, Copy, Debug)]
pub struct OnBehalf<'a> {
    /// The member that the certificate belongs to.
    pub member: &'a str,
    /// Roles for a client certificate.
    pub roles: &'a [Role],
    /// Whether a new certificate is wished for where the same request got one
    /// before that would do.
    pub renew: bool,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requester {
    /// The appliance itself: ceremony and command line.
    Ceremony,
    /// A person or company with a client certificate.
    Member {
        /// The member's name.
        member: String,
        /// Roles that count, sorted.
        roles: Vec<Role>,
        /// The client certificate's serial.
        serial: Serial,
    },
    /// A device with a certificate of this authority, which counts.
    Device {
        /// Its certificate.
        certificate: Arc<Certificate>,
    },
    /// Whoever holds an enrolment token of a registration authority.
    Token(Token),
}

impl Requester {
    /// A short name for the audit log.
    pub fn describe(&self) -> String {
        match self {
            Self::Ceremony => "ceremony".to_owned(),
            Self::Member { member, serial, .. } => {
                format!("member {member} (certificate {serial})")
            }
            Self::Device { certificate } => format!("device certificate {}", certificate.serial()),
            Self::Token(token) => format!("enrolment token of member {}", token.member),
        }
    }
}

/// Member and roles in the alternative name; `None` if it names no member.
pub fn member_and_roles(
    certificate: &Certificate,
) -> Result<Option<(String, Vec<Role>)>, FormError> {
    let mut member = None;
    let mut roles = Vec::new();
    for name in certificate.alternative_names()? {
        let AlternativeName::Uri(uri) = name else { continue };
        if let Some(name) = uri.strip_prefix(MEMBER_URN) {
            if member.replace(name.to_owned()).is_some() {
                return Err(FormError::Certificate("it names two members".to_owned()));
            }
        } else if let Some(role) = Role::of_urn(&uri) {
            roles.push(role);
        }
    }
    roles.sort_unstable();
    Ok(member.map(|member| (member, roles)))
}
