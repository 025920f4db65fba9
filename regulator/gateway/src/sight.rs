//! What somebody is shown by identifier, and whether that is a look to be recorded:
//! one rule for every door. What is shown by SQL is [`hufu_readmodel::scope`]'s.
//!
//! - Whoever acts for a member sees what is the member's ([`hufu_contract::belonging`]):
//!   of a device's data, the owner that the register of devices names now, whoever
//!   it was certified for.
//! - A device sees what its own key signed, and so does a client without any role
//!   that counts: neither acts for its member.
//! - What governs the consortium (proposals and approvals) is every member's.
//! - A regulator sees what is in its jurisdictions. That is a look, which is on the
//!   ledger before it is answered; one's own data are none.

use hufu_contract::Belonging;
use hufu_door::{Caller, Jurisdictions};
use hufu_proof::{IdentityId, Name, Payload};
use hufu_readmodel::Scope;

use crate::ledger::Recorded;

/// Somebody who looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Its member.
    pub member: Name,
    /// Its identity, where it asks with a certificate.
    pub identity: Option<IdentityId>,
    /// Whether it acts for its member.
    pub for_member: bool,
    /// What it may see as a supervisor.
    pub supervises: Jurisdictions,
}

/// How something stands to who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is its own, or everybody's business.
    Own,
    /// It is seen as a supervisor: a look.
    Supervised,
    /// It is not shown.
    Withheld,
}

impl Viewer {
    /// A caller.
    pub fn of(caller: &Caller) -> Self {
        let supervises = match caller.is_regulator() {
            true => caller.jurisdictions.clone(),
            false => Jurisdictions::None,
        };
        Self {
            member: caller.member.clone(),
            identity: caller.identity,
            for_member: caller.speaks_for_member(),
            supervises,
        }
    }

    /// Of what it sees the rows.
    pub fn scope(&self) -> Scope {
        match &self.supervises {
            Jurisdictions::Whole => Scope::Whole,
            Jurisdictions::Some(names) => {
                Scope::Within(names.iter().map(Name::to_string).collect())
            }
            Jurisdictions::None => Scope::OwnedBy(self.member.clone()),
        }
    }

    /// How a transaction's content stands to it.
    pub fn transaction(&self, recorded: &Recorded) -> Seen {
        if self.identity == Some(recorded.transaction.body.signer.identity()) {
            return Seen::Own;
        }
        let governs =
            matches!(recorded.transaction.body.payload, Payload::Propose(_) | Payload::Approve(_));
        if self.for_member && governs {
            return Seen::Own;
        }
        self.belonging(&recorded.belongs)
    }

    /// How something stands to it by whose it is, and where.
    pub fn belonging(&self, belongs: &Belonging) -> Seen {
        if self.for_member && belongs.owner.as_ref() == Some(&self.member) {
            return Seen::Own;
        }
        let within = match (&self.supervises, &belongs.jurisdiction) {
            (Jurisdictions::Whole, _) => true,
            (some, Some(place)) => some.covers(place),
            (_, None) => false,
        };
        if within { Seen::Supervised } else { Seen::Withheld }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hufu_door::Role;
    use hufu_proof::transaction::IdentityKind;
    use hufu_proof::{Digest, Serial};

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn caller(kind: IdentityKind, roles: &[Role], jurisdictions: Jurisdictions) -> Caller {
        let regulator = roles.contains(&Role::Regulator);
        Caller {
            member: name("plant"),
            kind,
            kinds: regulator.then(|| name("regulator")).into_iter().collect(),
            roles: roles.iter().copied().collect(),
            jurisdictions,
            subject: "CN=x".into(),
            identity: Some(IdentityId(Digest([9; 32]))),
            serial: Serial::new(&[1]).unwrap(),
            height: 1,
        }
    }

    #[test]
    fn whose_it_is_and_where_decides() {
        let north = Jurisdictions::of(BTreeSet::from([name("north")]));
        let client = IdentityKind::Client;
        let operator = caller(client, &[Role::Operator], Jurisdictions::None);
        let roleless = caller(client, &[], Jurisdictions::None);
        let device = caller(IdentityKind::Device, &[], Jurisdictions::None);
        let whole = caller(client, &[Role::Regulator], Jurisdictions::Whole);
        let some = caller(client, &[Role::Regulator], north);
        // Jurisdictions count for nothing with who is no regulator.
        let posing = caller(client, &[Role::Operator], Jurisdictions::Whole);
        let of = |owner: Option<&str>, place: Option<&str>| Belonging {
            owner: owner.map(name),
            jurisdiction: place.map(str::to_owned),
        };
        let (own, others) = (of(Some("plant"), None), of(Some("yard"), Some("north")));
        let (south, nowhere) = (of(Some("yard"), Some("south")), of(None, None));
        use Seen::{Own, Supervised, Withheld};
        for (who, expected) in [
            (&operator, [Own, Withheld, Withheld, Withheld]),
            (&roleless, [Withheld; 4]),
            (&device, [Withheld; 4]),
            (&whole, [Own, Supervised, Supervised, Supervised]),
            (&some, [Own, Supervised, Withheld, Withheld]),
            (&posing, [Own, Withheld, Withheld, Withheld]),
        ] {
            let viewer = Viewer::of(who);
            let seen = [&own, &others, &south, &nowhere].map(|one| viewer.belonging(one));
            assert_eq!(seen, expected, "{who:?}");
        }
        assert_eq!(Viewer::of(&posing).scope(), Scope::OwnedBy(name("plant")));
        assert_eq!(Viewer::of(&some).scope(), Scope::Within(BTreeSet::from(["north".into()])));
        assert_eq!(Viewer::of(&whole).scope(), Scope::Whole);
    }
}
