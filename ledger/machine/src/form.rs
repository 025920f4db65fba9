//! The form that each kind of transaction must have, before anything else is
//! looked at. Sizes as a whole are checked by the caller.

use std::collections::{BTreeMap, BTreeSet};

use hufu_contract::sources::MAX_PACKAGE;
use hufu_contract::spelling;
use hufu_proof::declaration::{Declaration, MAX_ISSUING, MAX_ROLES};
use hufu_proof::member::{Jurisdictions, Member, MemberV1};
use hufu_proof::text::is_invisible;
use hufu_proof::transaction::{Certification, IdentityKind, Issuance, Look, Proposal};
use hufu_proof::{Name, Outcome, Payload, Standing, Value};

/// Most parameters of an action.
const MAX_PARAMETERS: usize = 256;

/// Most languages in which a member has a title.
const MAX_TITLES: usize = 16;
/// Longest code of a language in bytes.
const MAX_LANGUAGE: usize = 16;
/// Longest title of a member in bytes.
const MAX_TITLE: usize = 256;
/// Most kinds of a member.
const MAX_KINDS: usize = 16;

/// Checks sizes and form.
pub(crate) fn check(payload: &Payload) -> Result<(), Outcome> {
    match payload {
        Payload::Issue(issuances) => {
            size(issuances.len(), 1, Issuance::MAX_ENTRIES)?;
            issuances.iter().try_for_each(issuance)
        }
        Payload::Certify(certifications) => {
            size(certifications.len(), 1, Issuance::MAX_ENTRIES)?;
            certifications.iter().try_for_each(certification)
        }
        Payload::Declare(declaration) => match declaration {
            Declaration::Approve(approval) => size(approval.roles.len(), 1, MAX_ROLES),
            Declaration::Withdraw { .. } | Declaration::Address { .. } => Ok(()),
            Declaration::Delegate(delegation) => size(delegation.roles.len(), 0, MAX_ROLES),
            Declaration::HandOver { device, .. } => text(device, Issuance::MAX_SUBJECT),
            Declaration::IssuingCertificate { certificate } => {
                size(certificate.len(), 1, MAX_ISSUING)
            }
            Declaration::Archive { first, last, .. } if first.get() == 0 || last < first => {
                Err(Outcome::Malformed)
            }
            Declaration::Archive { .. } => Ok(()),
        },
        Payload::Revoke(revocation) => match revocation.reason {
            // RFC 5280 §5.3.1: 7 is not used.
            0..=6 | 8..=10 => Ok(()),
            _ => Err(Outcome::Malformed),
        },
        Payload::Invoke(invocation) => {
            text(&invocation.asset, Value::MAX_ID)?;
            size(invocation.params.len(), 0, MAX_PARAMETERS)
        }
        // Rows are checked against the stream's schema.
        Payload::Append(batch) => size(batch.rows.len(), 1, usize::MAX),
        Payload::Propose(Proposal::Deploy { package }) => size(package.len(), 1, MAX_PACKAGE),
        Payload::Propose(Proposal::MemberV1 { member }) => {
            let MemberV1 { title, kinds, jurisdictions, .. } = member;
            described(title, kinds)?;
            size(jurisdictions.len(), 0, Jurisdictions::MAX)
        }
        Payload::Propose(Proposal::Member { member }) => {
            let Member { title, kinds, jurisdictions, names, .. } = member;
            described(title, kinds)?;
            size(jurisdictions.named().count(), 0, Jurisdictions::MAX)?;
            size(names.len(), 0, Member::MAX_NAMES)
        }
        Payload::Propose(Proposal::Budget { budget }) if !budget.is_sound() => {
            Err(Outcome::Malformed)
        }
        Payload::Propose(Proposal::Quotas { quotas }) if !quotas.is_sound() => {
            Err(Outcome::Malformed)
        }
        Payload::Propose(Proposal::Standing { reason, .. }) => text(reason, Standing::MAX_REASON),
        Payload::Propose(Proposal::Constitution { constitution, .. })
            if constitution.approvals == 0 || constitution.algorithms.is_empty() =>
        {
            Err(Outcome::Malformed)
        }
        Payload::Propose(_) | Payload::Approve(_) => Ok(()),
        Payload::Look(look) => text(&look.subject, Look::MAX_SUBJECT),
        Payload::Fire(firing) => text(&firing.asset, Value::MAX_ID),
    }
}

fn issuance(issuance: &Issuance) -> Result<(), Outcome> {
    size(issuance.tbs.len(), 1, Issuance::MAX_TBS)?;
    text(&issuance.subject, Issuance::MAX_SUBJECT)?;
    // A device's is its identifier in contracts, where a name has one spelling.
    if issuance.kind == IdentityKind::Device {
        let checked = spelling::check(&issuance.subject, Issuance::MAX_SUBJECT);
        checked.map_err(|_| Outcome::Malformed)?;
    }
    // A member's key comes from the genesis file, not from a certificate.
    if issuance.not_before >= issuance.not_after || issuance.kind == IdentityKind::Member {
        return Err(Outcome::Malformed);
    }
    Ok(())
}

fn certification(certification: &Certification) -> Result<(), Outcome> {
    let Certification { issuance: one, roles, hosts } = certification;
    issuance(one)?;
    size(roles.len(), 0, MAX_ROLES)?;
    size(hosts.len(), 0, Certification::MAX_HOSTS)?;
    // Nobody but a client acts for its owner.
    if one.kind != IdentityKind::Client && !roles.is_empty() {
        return Err(Outcome::Malformed);
    }
    Ok(())
}

fn described(titles: &BTreeMap<String, String>, kinds: &BTreeSet<Name>) -> Result<(), Outcome> {
    size(titles.len(), 1, MAX_TITLES)?;
    for (language, title) in titles {
        text(language, MAX_LANGUAGE)?;
        text(title, MAX_TITLE)?;
    }
    size(kinds.len(), 0, MAX_KINDS)
}

fn text(text: &str, limit: usize) -> Result<(), Outcome> {
    size(text.len(), 1, limit)?;
    if text.chars().any(is_invisible) { Err(Outcome::Malformed) } else { Ok(()) }
}

fn size(size: usize, least: usize, most: usize) -> Result<(), Outcome> {
    if size < least {
        Err(Outcome::Malformed)
    } else if size > most {
        Err(Outcome::Oversized)
    } else {
        Ok(())
    }
}
