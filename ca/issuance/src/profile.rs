//! Certificate profiles: what may be certified, for whom, and what the
//! certificate then says. Data, not code: one TOML file each under
//! `profiles/`, unknown keys refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use x509_cert::ext::pkix::KeyUsages;

use hufu_proof::Role;

use crate::algorithm::KeyAlgorithm;
use crate::csr::CertificationRequest;
use crate::form::FormError;
use crate::limits;
use crate::member::{MEMBER_URN, member_urn};
use crate::names::AlternativeName;
use crate::subject::{Attribute, Subject};
use crate::time::UnixTime;

/// One profile.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name: the EST label, and what the ledger entry says. Lower-case
    /// letters, digits and hyphens, at most 32.
    pub name: String,
    /// What its certificates are for.
    pub purpose: Purpose,
    /// Key algorithms it certifies.
    pub keys: Vec<KeyAlgorithm>,
    /// Who may ask.
    pub requesters: Vec<Requesters>,
    /// What must be known about where the key lives.
    #[serde(default)]
    pub attestation: AttestationLevel,
    /// Whether the holder of a certificate may renew it (EST
    /// `/simplereenroll`).
    #[serde(default)]
    pub renewable: bool,
    /// How many certificates a member may have issued under it in a day, where
    /// the authority is not configured otherwise; no limit when absent.
    #[serde(default)]
    pub per_day: Option<u64>,
    /// From when until when.
    pub validity: Validity,
    /// Rules for the subject.
    pub subject: SubjectRules,
    /// What the certificate says beside.
    pub extensions: ExtensionRules,
}

/// What a profile's certificates are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The self-signed root.
    Root,
    /// An authority under the root.
    Issuing,
    /// TLS servers.
    Server,
    /// People and companies.
    Client,
    /// Devices (IEEE 802.1AR).
    Device,
}

impl Purpose {
    /// Whether it is an authority's certificate.
    pub const fn is_authority(self) -> bool {
        matches!(self, Self::Root | Self::Issuing)
    }
}

/// Who may ask under a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requesters {
    /// Only the appliance itself, in a ceremony or from its command line.
    Ceremony,
    /// A client certificate with the role registration-authority.
    RegistrationAuthority,
    /// A client certificate with the role operator, for its own member.
    Operator,
    /// A client certificate with the role regulator.
    Regulator,
    /// A device with a certificate of this authority, for itself.
    Device,
}

/// What must be known about where the key lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttestationLevel {
    /// Nothing but proof of possession.
    #[default]
    None,
    /// That it lives in a genuine TPM, fixed to it.
    Tpm,
}

/// Validity: exactly one of `days` and `never`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validity {
    /// Days of validity, 1 to 36,525.
    #[serde(default)]
    pub days: Option<u32>,
    /// Until 99991231235959Z (RFC 5280 section 4.1.2.5).
    #[serde(default)]
    pub never: bool,
    /// How far `notBefore` lies back, in seconds, for devices whose clock is
    /// late; at most a day.
    #[serde(default = "five_minutes")]
    pub backdate_seconds: u32,
}

const fn five_minutes() -> u32 {
    300
}

/// Rules for the subject.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectRules {
    /// Attributes that must be there.
    pub required: Vec<Attribute>,
    /// Attributes that may be there.
    pub allowed: Vec<Attribute>,
    /// What the organisation has to do with the member.
    #[serde(default)]
    pub member: MemberRule,
}

/// What the organisation (O) of a subject has to do with the member that the
/// certificate belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberRule {
    /// Nothing.
    #[default]
    Free,
    /// The authority sets it to the member's name.
    Set,
    /// Where it is there, it must be the member's name.
    IfPresent,
}

/// What the certificate says beside subject, key and validity.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionRules {
    /// keyUsage, critical.
    pub key_usage: Vec<Usage>,
    /// extKeyUsage; none for an IDevID, which must not be narrowed.
    #[serde(default)]
    pub extended_key_usage: Vec<ExtendedUsage>,
    /// Kinds of alternative names that it may hold.
    #[serde(default)]
    pub alternative_names: Vec<NameKind>,
    /// Whether at least one must be there.
    #[serde(default)]
    pub alternative_names_required: bool,
    /// pathLenConstraint of an authority.
    #[serde(default)]
    pub path_length: Option<u8>,
    /// Whether to say where CRL, OCSP and issuer are to be had (where the
    /// authority is configured with addresses).
    #[serde(default)]
    pub status: bool,
}

/// keyUsage bits that profiles use (RFC 5280 section 4.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub enum Usage {
    #[serde(rename = "digitalSignature")]
    DigitalSignature,
    #[serde(rename = "nonRepudiation")]
    NonRepudiation,
    #[serde(rename = "keyAgreement")]
    KeyAgreement,
    #[serde(rename = "keyCertSign")]
    KeyCertSign,
    #[serde(rename = "cRLSign")]
    CrlSign,
}

impl Usage {
    pub(crate) const fn bit(self) -> KeyUsages {
        match self {
            Self::DigitalSignature => KeyUsages::DigitalSignature,
            Self::NonRepudiation => KeyUsages::NonRepudiation,
            Self::KeyAgreement => KeyUsages::KeyAgreement,
            Self::KeyCertSign => KeyUsages::KeyCertSign,
            Self::CrlSign => KeyUsages::CRLSign,
        }
    }
}

/// Key purposes that profiles use (RFC 5280 section 4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub enum ExtendedUsage {
    #[serde(rename = "serverAuth")]
    ServerAuth,
    #[serde(rename = "clientAuth")]
    ClientAuth,
}

impl ExtendedUsage {
    pub(crate) const fn oid(self) -> der::asn1::ObjectIdentifier {
        match self {
            Self::ServerAuth => crate::oid::SERVER_AUTH,
            Self::ClientAuth => crate::oid::CLIENT_AUTH,
        }
    }
}

/// Kinds of alternative names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameKind {
    /// `dNSName` as requested.
    Dns,
    /// `iPAddress` as requested.
    Ip,
    /// `hardwareModuleName` as requested.
    HardwareModule,
    /// `urn:hufu:member:NAME` and `urn:hufu:role:ROLE`, set by the authority.
    MemberRoles,
}

impl Profile {
    /// Parses and checks one profile file.
    ///
    /// # Errors
    /// [`FormError::ProfileInvalid`] with the key, the line (for TOML faults)
    /// and what would do.
    pub fn parse(file: &str, text: &str) -> Result<Profile, FormError> {
        if text.len() > limits::PROFILE_FILE {
            return Err(FormError::TooLarge { what: "profile file", limit: limits::PROFILE_FILE });
        }
        let profile: Profile = toml::from_str(text).map_err(|error| FormError::ProfileInvalid {
            name: file.to_owned(),
            detail: error.to_string(),
        })?;
        profile.check()?;
        Ok(profile)
    }

    fn check(&self) -> Result<(), FormError> {
        let invalid = |detail: &str| {
            Err(FormError::ProfileInvalid { name: self.name.clone(), detail: detail.to_owned() })
        };
        let character = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if self.name.is_empty() || self.name.len() > 32 || !self.name.bytes().all(character) {
            return invalid("name: use 1 to 32 lower-case letters, digits and hyphens");
        }
        if self.keys.is_empty() {
            return invalid("keys: name at least one of p256, p384, ed25519");
        }
        if self.requesters.is_empty() {
            return invalid("requesters: name at least one");
        }
        match (self.validity.days, self.validity.never) {
            (Some(1..=36_525), false) | (None, true) => {}
            _ => return invalid("validity: give either days (1 to 36525) or never = true"),
        }
        if self.validity.backdate_seconds > 86_400 {
            return invalid("validity.backdate_seconds: at most 86400");
        }
        if self.subject.required.iter().any(|field| !self.subject.allowed.contains(field)) {
            return invalid("subject.required: every attribute must also stand in subject.allowed");
        }
        if self.subject.member == MemberRule::Set && !self.subject.allowed.contains(&Attribute::O) {
            return invalid("subject.member = \"set\" needs O in subject.allowed");
        }
        let authority = self.purpose.is_authority();
        let signs = self.extensions.key_usage.contains(&Usage::KeyCertSign)
            || self.extensions.key_usage.contains(&Usage::CrlSign);
        if authority != signs {
            return invalid(
                "extensions.key_usage: keyCertSign and cRLSign belong to root and issuing, and only there",
            );
        }
        if self.extensions.key_usage.is_empty() {
            return invalid("extensions.key_usage: name at least one");
        }
        if authority && self.requesters != [Requesters::Ceremony] {
            return invalid("requesters: an authority's certificate is made in a ceremony only");
        }
        if !authority && self.extensions.path_length.is_some() {
            return invalid("extensions.path_length: only root and issuing have one");
        }
        if self.extensions.alternative_names_required
            && self.extensions.alternative_names.is_empty()
        {
            return invalid("extensions.alternative_names: name the kinds that are required");
        }
        let serves = self.extensions.extended_key_usage.contains(&ExtendedUsage::ServerAuth);
        if serves && !self.extensions.alternative_names.contains(&NameKind::MemberRoles) {
            return invalid(
                "extensions.alternative_names: add member-roles, because a server's certificate names its member",
            );
        }
        if self.attestation == AttestationLevel::Tpm && self.keys.contains(&KeyAlgorithm::Ed25519) {
            return invalid("keys: no TPM 2.0 holds ed25519; use p256 or p384");
        }
        Ok(())
    }

    /// Start and end of a certificate made at `now` by an issuer that ends at
    /// `issuer_end`. A certificate without end outlives its issuer, as IEEE
    /// 802.1AR wants; any other ends with it at the latest.
    pub(crate) fn window(&self, now: UnixTime, issuer_end: UnixTime) -> (UnixTime, UnixTime) {
        let backdate = Duration::from_secs(u64::from(self.validity.backdate_seconds));
        let start = now.minus(backdate);
        let end = match self.validity.days {
            // Both ends are inclusive (RFC 5280 section 4.1.2.5).
            Some(days) => {
                start.plus(Duration::from_secs(u64::from(days) * 86_400 - 1)).min(issuer_end)
            }
            None => UnixTime::NEVER,
        };
        (start, end)
    }

    /// The subject and alternative names that a certificate for `request`
    /// gets, if the request keeps the rules.
    pub(crate) fn names(
        &self,
        request: &CertificationRequest,
        member: &str,
        roles: &[Role],
    ) -> Result<(Subject, Vec<AlternativeName>), FormError> {
        self.check_key(request.public_key().algorithm())?;
        let subject = self.subject(request.subject().clone(), member)?;
        let names = self.alternative_names(request.alternative_names(), member, roles)?;
        Ok((subject, names))
    }

    /// Whether it certifies keys of this algorithm.
    pub(crate) fn check_key(&self, algorithm: KeyAlgorithm) -> Result<(), FormError> {
        if self.keys.contains(&algorithm) {
            return Ok(());
        }
        Err(FormError::Algorithm {
            what: "public key algorithm",
            given: algorithm.to_string(),
            accepted: self.keys.iter().map(|key| key.name()).collect::<Vec<_>>().join(", "),
        })
    }

    pub(crate) fn subject(&self, requested: Subject, member: &str) -> Result<Subject, FormError> {
        for (attribute, value) in requested.attributes() {
            if !self.subject.allowed.contains(&attribute) {
                return Err(FormError::Subject {
                    field: attribute.name().to_owned(),
                    detail: format!("is not part of profile {}; leave it out", self.name),
                });
            }
            if attribute == Attribute::O
                && self.subject.member != MemberRule::Free
                && value != member
            {
                return Err(FormError::Subject {
                    field: "O".to_owned(),
                    detail: format!("must be the member's name, {member:?}, or be left out"),
                });
            }
        }
        let subject = match self.subject.member {
            MemberRule::Set => requested.with(Attribute::O, member)?,
            MemberRule::Free | MemberRule::IfPresent => requested,
        };
        for attribute in &self.subject.required {
            if subject.value(*attribute).is_none() {
                return Err(FormError::Subject {
                    field: attribute.name().to_owned(),
                    detail: format!("is missing; profile {} requires it", self.name),
                });
            }
        }
        Ok(subject)
    }

    fn alternative_names(
        &self,
        requested: &[AlternativeName],
        member: &str,
        roles: &[Role],
    ) -> Result<Vec<AlternativeName>, FormError> {
        let refused = |detail: String| FormError::Extension {
            extension: "subjectAltName".to_owned(),
            detail,
        };
        let allowed = &self.extensions.alternative_names;
        let set_here = allowed.contains(&NameKind::MemberRoles);
        let mut names = Vec::new();
        for name in requested {
            let kind = match name {
                AlternativeName::Dns(_) => NameKind::Dns,
                AlternativeName::Ip(_) => NameKind::Ip,
                AlternativeName::HardwareModule { .. } => NameKind::HardwareModule,
                AlternativeName::Uri(_) => NameKind::MemberRoles,
            };
            if !allowed.contains(&kind) {
                return Err(refused(format!(
                    "{name} is of a kind that profile {} does not certify; leave it out",
                    self.name
                )));
            }
            // Member and roles come from who asks; the request may name no
            // others, or it would get less than it says.
            match name {
                AlternativeName::Uri(uri) => check_urn(uri, member, roles).map_err(refused)?,
                _ => names.push(name.clone()),
            }
        }
        if set_here {
            names.push(AlternativeName::urn(&member_urn(member)?)?);
            for role in roles {
                names.push(AlternativeName::urn(role.urn())?);
            }
        }
        if self.extensions.alternative_names_required && names.is_empty() {
            return Err(refused(format!("is missing; profile {} requires one", self.name)));
        }
        Ok(names)
    }
}

/// Whether a URI that a request names is of what the certificate will say.
fn check_urn(uri: &str, member: &str, roles: &[Role]) -> Result<(), String> {
    if let Some(named) = uri.strip_prefix(MEMBER_URN) {
        return match named == member {
            true => Ok(()),
            false => Err(format!(
                "URI:{uri} names another member than the one that asks, {member}; leave it out"
            )),
        };
    }
    if roles.iter().any(|role| role.urn() == uri) {
        return Ok(());
    }
    if Role::ALL.iter().any(|role| role.urn() == uri) {
        let given: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        return Err(format!(
            "URI:{uri} names a role that is not given here (given: {}); leave it out or have it given",
            if given.is_empty() { "none".to_owned() } else { given.join(", ") }
        ));
    }
    let known: Vec<&str> = Role::ALL.iter().map(|role| role.urn()).collect();
    Err(format!("URI:{uri} is neither a member nor a role; roles are {}", known.join(", ")))
}

/// The profiles of one authority, by name.
#[derive(Clone, Debug)]
pub struct Profiles(BTreeMap<String, Arc<Profile>>);

/// The files that ship with this crate.
const SHIPPED: [(&str, &str); 8] = [
    ("root.toml", include_str!("../profiles/root.toml")),
    ("issuing.toml", include_str!("../profiles/issuing.toml")),
    ("tls-server.toml", include_str!("../profiles/tls-server.toml")),
    ("operator-client.toml", include_str!("../profiles/operator-client.toml")),
    ("member-node.toml", include_str!("../profiles/member-node.toml")),
    ("idevid.toml", include_str!("../profiles/idevid.toml")),
    ("idevid-tpm.toml", include_str!("../profiles/idevid-tpm.toml")),
    ("ldevid.toml", include_str!("../profiles/ldevid.toml")),
];

impl Profiles {
    /// The profiles that ship with this crate.
    pub fn shipped() -> Result<Profiles, FormError> {
        let mut profiles = Profiles(BTreeMap::new());
        for (file, text) in SHIPPED {
            profiles.add(Profile::parse(file, text)?);
        }
        Ok(profiles)
    }

    /// Adds a profile, or replaces the one of its name.
    pub fn add(&mut self, profile: Profile) {
        self.0.insert(profile.name.clone(), Arc::new(profile));
    }

    /// The profile of that name.
    pub fn named(&self, name: &str) -> Result<Arc<Profile>, FormError> {
        self.0.get(name).cloned().ok_or_else(|| FormError::ProfileUnknown {
            name: name.chars().take(32).collect(),
            known: self.0.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_profiles_parse() {
        let profiles = Profiles::shipped().unwrap();
        assert_eq!(profiles.iter().count(), 8);
        assert!(profiles.named("idevid").unwrap().validity.never);
        let message = profiles.named("nonsense").unwrap_err().to_string();
        assert!(message.contains("idevid-tpm"), "{message}");
    }

    #[test]
    fn unknown_keys_and_contradictions_are_refused_with_the_key() {
        let base = include_str!("../profiles/idevid.toml");
        let message = |text: &str| Profile::parse("test.toml", text).unwrap_err().to_string();
        assert!(message(&format!("colour = 3\n{base}")).contains("colour"));
        assert!(
            message(&base.replace("never = true", "never = true\ndays = 3")).contains("validity")
        );
        assert!(
            message(&base.replace("[\"digitalSignature\"]", "[\"keyCertSign\"]"))
                .contains("key_usage")
        );
        assert!(
            message(&base.replace("[\"digitalSignature\"]", "[\"everything\"]"))
                .contains("everything")
        );
        assert!(
            message(&base.replace("renewable = true", "renewable = true\nattestation = \"tpm\""))
                .contains("ed25519")
        );
        assert!(message(&" ".repeat(limits::PROFILE_FILE + 1)).contains("larger"));
    }

    #[test]
    fn validity_ends_with_the_issuer_but_for_devices_without_end() {
        let profiles = Profiles::shipped().unwrap();
        let now = UnixTime::from_seconds(1_800_000_000);
        let soon = now.plus(Duration::from_secs(3600));
        assert_eq!(profiles.named("ldevid").unwrap().window(now, soon).1, soon);
        assert_eq!(profiles.named("idevid").unwrap().window(now, soon).1, UnixTime::NEVER);
        let (start, end) = profiles.named("tls-server").unwrap().window(now, UnixTime::NEVER);
        assert_eq!(start.until(end), Duration::from_secs(397 * 86_400 - 1));
    }
}
