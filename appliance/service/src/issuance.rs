//! The ledger as the certification authority sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hufu_configuration::keyring::ledger_key;
use hufu_configuration::time::now_ms;
use hufu_contract::belonging;
use hufu_issuance::{
    AlternativeName, Attribute, CertificateStatus, IssuanceEntry, IssuanceLedger, LedgerFault,
    Profiles, Purpose, Recorded, Revocation, RevocationReason, Serial, Subject, UnixTime,
};
use hufu_machine::MachineError;
use hufu_machine::record::{CertificateRecord, CertificateStatus as LedgerStatus};
use hufu_node::Ledger;
use hufu_proof::transaction::{
    Certification, IdentityKind, Issuance, Payload, Revocation as LedgerRevocation,
};
use hufu_proof::{Digest, Host, Name, Outcome};
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::Decode as _;

use crate::submit::Submitter;

/// [`IssuanceLedger`] over this node's ledger, signed by its statement key.
pub struct LedgerIssuance {
    submitter: Submitter,
    profiles: Profiles,
    authority: Name,
}

impl LedgerIssuance {
    /// Records what the profiles describe.
    pub fn new(submitter: Submitter, profiles: Profiles) -> Arc<Self> {
        let authority = submitter.ledger().reader().genesis().authority.member.clone();
        Arc::new(Self { submitter, profiles, authority })
    }

    /// What is recorded of a certificate: what its TBS says, so that nothing else
    /// can be signed than was judged.
    fn entry(&self, entry: &IssuanceEntry) -> anyhow::Result<Certification> {
        let profile = self.profiles.named(&entry.profile)?;
        let kind = match profile.purpose {
            Purpose::Device => IdentityKind::Device,
            Purpose::Server => IdentityKind::Server,
            _ => IdentityKind::Client,
        };
        let tbs = TbsCertificate::from_der(&entry.tbs).context("the TBS")?;
        let subject = match kind {
            IdentityKind::Device => device_identifier(&tbs)?,
            _ => entry.subject.clone(),
        };
        let mut roles = BTreeSet::new();
        let mut hosts = BTreeSet::new();
        for name in AlternativeName::of_tbs(&tbs)? {
            match name {
                AlternativeName::Dns(name) => {
                    hosts.insert(name.parse()?);
                }
                AlternativeName::Ip(address) => {
                    hosts.insert(Host::at(address));
                }
                AlternativeName::Uri(uri) => {
                    if let Some(role) = uri.strip_prefix("urn:hufu:role:") {
                        roles.insert(Name::new(role)?);
                    }
                }
                AlternativeName::HardwareModule { .. } => {}
            }
        }
        let issuance = Issuance {
            serial: ledger_serial(&entry.serial)?,
            profile: Name::new(&entry.profile)?,
            kind,
            tbs: entry.tbs.clone(),
            key: ledger_key(&entry.public_key)?,
            subject,
            owner: Name::new(&entry.owner)?,
            not_before: entry.not_before.into(),
            not_after: entry.not_after.into(),
            attestation: entry.attestation.map(Digest),
        };
        Ok(Certification { issuance, roles, hosts })
    }

    /// Why the ledger would refuse the certificate, said before anything is
    /// spent on it.
    fn permit(&self, entry: &IssuanceEntry) -> Result<(), LedgerFault> {
        let Certification { issuance, roles, hosts } = self.entry(entry).map_err(refused)?;
        let reader = self.submitter.ledger().reader();
        let read = |error: MachineError| unavailable(&error);
        let state = reader.state().map_err(read)?;
        let owner = &issuance.owner;
        let refuse = |outcome: Outcome, reason: String| {
            Err(LedgerFault::Refused { code: outcome.code().to_owned(), reason })
        };
        if state.member_record(owner).map_err(read)?.is_none() {
            return refuse(Outcome::NotFound, format!("there is no member `{owner}`"));
        }
        let standing = reader.standings(state.height()).map_err(read)?.of(owner);
        if let Some(outcome) = standing.refusal() {
            return refuse(outcome, format!("member `{owner}` is {}", standing.as_str()));
        }
        for host in hosts.iter().filter(|host| !host.is_loopback()) {
            let reason = match state.owner_of(host).map_err(read)? {
                Some(found) if found == *owner => continue,
                Some(found) => format!("{host} belongs to member `{found}`, not to `{owner}`"),
                None => format!(
                    "{host} belongs to no member; propose it as `{owner}`'s with `hufu org change \
                     {owner} --name {host}`"
                ),
            };
            return refuse(Outcome::ForeignName, reason);
        }
        if issuance.kind == IdentityKind::Device {
            let device = &issuance.subject;
            if let Some(found) = state.device_owner(device).map_err(read)?
                && found != *owner
            {
                let reason = format!(
                    "the device identifier {device} is member `{found}`'s; that member hands it \
                     over with `hufu member hand-over --device {device} --to {owner}`, which a \
                     transfer in the device registry does not do"
                );
                return refuse(Outcome::ForeignDevice, reason);
            }
        }
        if *owner != self.authority {
            let key = issuance.key.identity();
            let approved = state.approved(owner, &key, now_ms()).map_err(read)?;
            let delegated = state.delegation(owner).map_err(read)?;
            let may_approve = |role: &Name| {
                delegated.as_ref().is_some_and(|one| {
                    one.roles.contains(role) && one.until_ms.is_none_or(|end| now_ms() <= end)
                })
            };
            let wanting: Vec<&str> = roles
                .iter()
                .filter(|role| !approved.has(role.as_str()) && !may_approve(role))
                .map(Name::as_str)
                .collect();
            if !wanting.is_empty() {
                let reason = format!(
                    "member `{owner}` has not approved this key for {}; on its node: `hufu member \
                     approve --csr FILE --role {}` with this request",
                    wanting.join(", "),
                    wanting.join(" --role ")
                );
                return refuse(Outcome::Unapproved, reason);
            }
        }
        Ok(())
    }

    fn record_of(&self, serial: &Serial) -> Result<Option<CertificateRecord>, LedgerFault> {
        let serial = ledger_serial(serial).map_err(refused)?;
        let certificate = || self.submitter.ledger().reader().state()?.certificate(&serial);
        certificate().map_err(|error| unavailable(&error))
    }

    async fn record_all(&self, entries: Vec<IssuanceEntry>) -> Result<Vec<Recorded>, LedgerFault> {
        // An entry that an earlier run recorded keeps its first record.
        let mut recorded: Vec<Option<Recorded>> = Vec::with_capacity(entries.len());
        let mut new = Vec::new();
        for entry in &entries {
            let before = match self.record_of(&entry.serial)? {
                Some(record) if record.tbs == Digest::of(&entry.tbs) => Some(record.transaction),
                Some(_) => {
                    return Err(LedgerFault::Refused {
                        code: Outcome::Conflict.code().to_owned(),
                        reason: format!(
                            "serial {} is on the ledger with another TBS",
                            entry.serial
                        ),
                    });
                }
                None => None,
            };
            let first = match before {
                Some(transaction) => self.submitter.ledger().entry(&transaction).map_err(fault)?,
                None => None,
            };
            if first.is_none() {
                new.push(self.entry(entry).map_err(refused)?);
            }
            recorded.push(first.map(|first| Recorded {
                serial: entry.serial.clone(),
                height: first.height.get(),
                transaction: first.transaction.0,
            }));
        }
        let submitted = if new.is_empty() {
            None
        } else {
            Some(self.submitter.submit(Payload::Certify(new)).await.map_err(fault)?)
        };
        entries
            .iter()
            .zip(recorded)
            .map(|(entry, before)| match (before, &submitted) {
                (Some(before), _) => Ok(before),
                (None, Some(entry_now)) => Ok(Recorded {
                    serial: entry.serial.clone(),
                    height: entry_now.height.get(),
                    transaction: entry_now.transaction.0,
                }),
                (None, None) => Err(LedgerFault::Unknown { reason: "no entry".to_owned() }),
            })
            .collect()
    }
}

impl IssuanceLedger for LedgerIssuance {
    fn permits(&self, entry: &IssuanceEntry) -> Result<(), LedgerFault> {
        self.permit(entry)
    }

    fn record(
        &self,
        entries: Vec<IssuanceEntry>,
    ) -> BoxFuture<'_, Result<Vec<Recorded>, LedgerFault>> {
        self.record_all(entries).boxed()
    }

    fn revoke(
        &self,
        serial: Serial,
        reason: RevocationReason,
        _at: UnixTime,
    ) -> BoxFuture<'_, Result<Recorded, LedgerFault>> {
        async move {
            let revocation = LedgerRevocation {
                serial: ledger_serial(&serial).map_err(refused)?,
                reason: reason.code(),
            };
            let entry = self.submitter.submit(Payload::Revoke(revocation)).await.map_err(fault)?;
            Ok(Recorded { serial, height: entry.height.get(), transaction: entry.transaction.0 })
        }
        .boxed()
    }

    fn status(&self, serial: Serial) -> BoxFuture<'_, Result<CertificateStatus, LedgerFault>> {
        let status = self.record_of(&serial).map(|record| match record {
            None => CertificateStatus::Unknown,
            Some(record) => match revocation(&record) {
                None => CertificateStatus::Good,
                Some((at, reason)) => CertificateStatus::Revoked { at, reason },
            },
        });
        std::future::ready(status).boxed()
    }

    fn device_owner(&self, device: String) -> BoxFuture<'_, Result<Option<String>, LedgerFault>> {
        let owner = owner_of_device(self.submitter.ledger(), &device);
        std::future::ready(owner.map_err(|error| unavailable(&error))).boxed()
    }

    fn revoked(&self) -> BoxFuture<'_, Result<Vec<Revocation>, LedgerFault>> {
        let revoked = || self.submitter.ledger().reader().state()?.revoked();
        let all = revoked().map_err(|error| unavailable(&error)).map(|all| {
            all.into_iter()
                .filter_map(|(serial, record)| {
                    let (at, reason) = revocation(&record)?;
                    let serial = Serial::from_bytes(serial.as_bytes()).ok()?;
                    let not_after = UnixTime::from(record.not_after);
                    Some(Revocation { serial, at, reason, not_after })
                })
                .collect()
        });
        std::future::ready(all).boxed()
    }
}

/// The owner that the device registry has for a device, or else the member that
/// its identifier was certified for or handed over to.
fn owner_of_device(ledger: &Ledger, device: &str) -> Result<Option<String>, MachineError> {
    let state = ledger.reader().state()?;
    let registered = belonging::of_registered(&state, device).and_then(|device| device.owner);
    state.check()?;
    let owner = match registered {
        Some(owner) => Some(owner),
        None => state.device_owner(device)?,
    };
    Ok(owner.map(|owner| owner.to_string()))
}

fn revocation(record: &CertificateRecord) -> Option<(UnixTime, RevocationReason)> {
    let (at_ms, reason) = match record.status {
        LedgerStatus::Good => return None,
        LedgerStatus::Held { at_ms } => (at_ms, RevocationReason::CertificateHold),
        LedgerStatus::Revoked { reason, at_ms } => {
            (at_ms, RevocationReason::from_code(reason).unwrap_or(RevocationReason::Unspecified))
        }
    };
    Some((UnixTime::from(at_ms), reason))
}

fn ledger_serial(serial: &Serial) -> anyhow::Result<hufu_proof::Serial> {
    Ok(hufu_proof::Serial::new(serial.as_bytes())?)
}

/// The serialNumber attribute of a device's name (IEEE 802.1AR §8.6).
fn device_identifier(tbs: &TbsCertificate) -> anyhow::Result<String> {
    let subject = Subject::from_name(tbs.subject())?;
    Ok(subject
        .value(Attribute::SerialNumber)
        .context("a device's subject needs a serialNumber")?
        .to_owned())
}

fn refused(error: anyhow::Error) -> LedgerFault {
    LedgerFault::Refused { code: "malformed".to_owned(), reason: format!("{error:#}") }
}

fn unavailable(error: &MachineError) -> LedgerFault {
    LedgerFault::Unavailable { reason: error.to_string(), retry_after: Duration::from_secs(5) }
}

/// What a refusal means for a certificate.
fn sentence(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Conflict => {
            "another entry stands in its way: the serial number or key is recorded for another \
             subject, owner or kind, or the revocation already stands"
        }
        Outcome::NotFound => "it names a member or serial number that the ledger does not have",
        Outcome::Forbidden => "this node's key is not the certification authority's",
        Outcome::Oversized => "it is larger than the ledger takes",
        Outcome::Malformed => "it is not of the form the ledger takes",
        Outcome::ForeignName => "it names a host that is not its member's",
        Outcome::Unapproved => {
            "its member has not approved the key for its roles: on that member's node, `hufu member \
             approve`"
        }
        Outcome::ForeignDevice => "the device identifier is another member's",
        Outcome::MemberSuspended => "its member is suspended",
        Outcome::MemberDismissed => "its member was dismissed",
        _ => "its rules do not allow it",
    }
}

fn fault(error: hufu_node::Error) -> LedgerFault {
    match error {
        hufu_node::Error::Refused(outcome) => LedgerFault::Refused {
            code: outcome.code().to_owned(),
            reason: sentence(outcome).to_owned(),
        },
        hufu_node::Error::Busy { retry_after } => {
            LedgerFault::Unavailable { reason: "too much waits".to_owned(), retry_after }
        }
        hufu_node::Error::Pending => {
            LedgerFault::Unknown { reason: "not final in the time allowed".to_owned() }
        }
        other => LedgerFault::Unavailable {
            reason: other.to_string(),
            retry_after: Duration::from_secs(5),
        },
    }
}
