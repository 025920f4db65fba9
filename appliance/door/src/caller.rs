//! Who asks, in one form for every door.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::Extensions;
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{IdentityId, Name, Role, Serial};

use crate::problem::{Code, Problem};

/// What a caller may see as a supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Jurisdictions {
    /// Nothing.
    #[default]
    None,
    /// What is of one of these, which are never none.
    Some(BTreeSet<Name>),
    /// The whole consortium: governance made it so, explicitly.
    Whole,
}

impl Jurisdictions {
    /// These; [`Self::None`] when there are none.
    pub fn of(names: BTreeSet<Name>) -> Self {
        if names.is_empty() { Self::None } else { Self::Some(names) }
    }

    /// Whether it has this one.
    pub fn covers(&self, jurisdiction: &str) -> bool {
        match self {
            Self::None => false,
            Self::Some(names) => names.contains(jurisdiction),
            Self::Whole => true,
        }
    }
}

/// Who asks: what TLS proved and the ledger says, as of one height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The member that answers for the client, by the ledger.
    pub member: Name,
    /// What the client is: a device speaks for itself, a client or a server for
    /// its member.
    pub kind: IdentityKind,
    /// What the member is to the consortium, as far as it counts for this
    /// client: none for a device, and no `regulator` without the role.
    pub kinds: BTreeSet<Name>,
    /// What the client may do for the member.
    pub roles: BTreeSet<Role>,
    /// What it may see as a supervisor.
    pub jurisdictions: Jurisdictions,
    /// The certificate's subject, for the record.
    pub subject: String,
    /// The client's identity on the ledger.
    pub identity: Option<IdentityId>,
    /// The certificate.
    pub serial: Serial,
    /// The height as of which the ledger says so.
    pub height: u64,
}

impl Caller {
    /// Whether it acts for a regulator.
    pub fn is_regulator(&self) -> bool {
        self.kinds.contains("regulator")
    }

    /// Whether it speaks for its member. A device speaks for itself, and so does
    /// whoever has no role in its member's name.
    pub fn speaks_for_member(&self) -> bool {
        self.kind != IdentityKind::Device && !self.roles.is_empty()
    }

    /// Whether it has this role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// For the log: who it is, in a line.
    pub fn describe(&self) -> String {
        format!("{} of {} (certificate {})", self.subject, self.member, self.serial)
    }
}

/// Who is at the other end of a request: in its extensions at every door.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Peer {
    /// Nobody showed a certificate.
    #[default]
    Anonymous,
    /// Somebody who may open a socket of this machine, and so acts for the
    /// member.
    Local,
    /// Somebody whose certificate counts.
    Known(Arc<Caller>),
    /// Somebody whose certificate does not count, and why.
    Refused(Problem),
}

impl Peer {
    /// Who sent a request.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// The caller.
    ///
    /// # Errors
    /// `anonymous`, or why its certificate does not count.
    pub fn caller(&self) -> Result<&Arc<Caller>, Problem> {
        match self {
            Self::Known(caller) => Ok(caller),
            Self::Refused(problem) => Err(problem.clone()),
            Self::Anonymous | Self::Local => Err(anonymous()),
        }
    }

    /// For the log.
    pub fn describe(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::Local => "local".to_owned(),
            Self::Known(caller) => caller.describe(),
            Self::Refused(problem) => format!("refused ({})", problem.code()),
        }
    }
}

fn anonymous() -> Problem {
    Problem::new(Code::Anonymous, "connect with a client certificate of a member")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jurisdictions_fail_closed() {
        let north = Name::new("north").unwrap();
        let some = Jurisdictions::of(BTreeSet::from([north]));
        assert!(some.covers("north") && !some.covers("south"));
        assert_eq!(Jurisdictions::of(BTreeSet::new()), Jurisdictions::None);
        assert!(!Jurisdictions::default().covers("north") && Jurisdictions::Whole.covers("north"));
    }
    #[test]
    fn who_has_no_role_speaks_for_itself() {
        let caller = |kind, roles: &[Role]| Caller {
            member: Name::new("maker").unwrap(),
            kind,
            kinds: BTreeSet::new(),
            roles: roles.iter().copied().collect(),
            jurisdictions: Jurisdictions::None,
            subject: "somebody".into(),
            identity: None,
            serial: Serial::new(&[1]).unwrap(),
            height: 1,
        };
        let operator = [Role::Operator];
        assert!(caller(IdentityKind::Client, &operator).speaks_for_member());
        assert!(caller(IdentityKind::Server, &operator).speaks_for_member());
        assert!(!caller(IdentityKind::Client, &[]).speaks_for_member());
        assert!(!caller(IdentityKind::Device, &operator).speaks_for_member());
    }
}
