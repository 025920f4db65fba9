//! Members and their roles as certificates name them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::form::FormError;
use crate::limits;

/// Roles of people and companies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs a member's appliance.
    Operator,
    /// Asks for device certificates on behalf of a member (RFC 5280 section
    /// 3.1 calls it RA).
    RegistrationAuthority,
    /// Reads and reports on behalf of a regulator.
    Regulator,
    /// Acts for a member on its own node, from afar.
    Administrator,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 4] =
        [Self::Operator, Self::RegistrationAuthority, Self::Regulator, Self::Administrator];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::RegistrationAuthority => "registration-authority",
            Self::Regulator => "regulator",
            Self::Administrator => "administrator",
        }
    }

    /// The role of that name.
    pub fn named(name: &str) -> Option<Role> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Its name in certificates.
    pub const fn urn(self) -> &'static str {
        match self {
            Self::Operator => "urn:hufu:role:operator",
            Self::RegistrationAuthority => "urn:hufu:role:registration-authority",
            Self::Regulator => "urn:hufu:role:regulator",
            Self::Administrator => "urn:hufu:role:administrator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the URI that names a member begins with.
pub(crate) const MEMBER_URN: &str = "urn:hufu:member:";

/// The URI that names a member in a certificate. A member's name has 1 to 64
/// characters of `a-z A-Z 0-9 - . _`.
pub fn member_urn(member: &str) -> Result<String, FormError> {
    check_member(member)?;
    Ok(format!("{MEMBER_URN}{member}"))
}

/// Checks a member's name.
pub fn check_member(member: &str) -> Result<(), FormError> {
    let fine = !member.is_empty()
        && member.len() <= limits::MEMBER_NAME
        && member.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if fine {
        Ok(())
    } else {
        Err(FormError::malformed(
            "member name",
            "use 1 to 64 letters, digits, hyphens, dots and underscores",
        ))
    }
}
