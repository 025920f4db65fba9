//! Roles of people and programs: what certificates name, and what members approve
//! on the ledger.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A role that a member's certificates name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs a member's appliance.
    Operator,
    /// Asks for device certificates on behalf of a member (RFC 5280 §3.1 calls
    /// it RA).
    RegistrationAuthority,
    /// Reads and reports on behalf of a regulator.
    Regulator,
    /// Acts for a member on its own node, from afar.
    Administrator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] =
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
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Its URI in certificates.
    pub const fn urn(self) -> &'static str {
        match self {
            Self::Operator => "urn:hufu:role:operator",
            Self::RegistrationAuthority => "urn:hufu:role:registration-authority",
            Self::Regulator => "urn:hufu:role:regulator",
            Self::Administrator => "urn:hufu:role:administrator",
        }
    }

    /// The role that a URI in a certificate names.
    pub fn of_urn(urn: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.urn() == urn)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_told_from_their_names_in_certificates() {
        for role in Role::ALL {
            assert_eq!(role.urn(), format!("urn:hufu:role:{role}"));
            assert_eq!(Role::of_urn(role.urn()), Some(role));
            assert_eq!(Role::named(role.name()), Some(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
        for urn in ["urn:hufu:role:root", "urn:hufu:role:", "operator", "urn:hufu:role:Operator"] {
            assert_eq!(Role::of_urn(urn), None, "{urn}");
        }
    }
}
