//! The certification authority of a running node.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hufu_configuration::Config;
use hufu_configuration::bundle;
use hufu_configuration::keyring::{self, label};
use hufu_door::Part;
use hufu_issuance::{
    AttestationLevel, CaError, Certificate, CertificateStatus, CertificationRequest, Issuance,
    Issuer, LedgerFault, OnBehalf, Parts, Profile, Profiles, Quota, Quotas, Requester, Requesters,
    RevocationReason, Role, Serial, StatusAddresses, Store, SystemClock, TokenSigner, armour,
};
use hufu_keys::Custody;
use hufu_machine::record::MemberRecord;
use hufu_node::Ledger;
use hufu_proof::{Genesis, Name, Outcome};
use hufu_protocols::CrlPublisher;
use hufu_protocols::ocsp::Responder;
use hufu_tpm::attest::ManufacturerRoots;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::hierarchy::{status_base, status_of_root};
use crate::issuance::LedgerIssuance;
use crate::issuing;
use crate::root_list::RootLists;
use crate::serving::Serving;
use crate::submit::Submitter;

/// How long a revocation list says that it is good; a new one is made at half
/// of that and after every revocation.
const CRL_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long the next blocks are waited for.
const CATCH_UP: Duration = Duration::from_secs(3);
/// How long an OCSP response says that it is good.
const OCSP_LIFE: Duration = Duration::from_secs(3600);

/// The profile of members' nodes.
const NODE_PROFILE: &str = "member-node";

/// What the ceremony's command line asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueRequest {
    profile: Name,
    member: Name,
    roles: Vec<Name>,
    /// The request: PEM, or DER in base64.
    csr: String,
    /// Whether a new certificate is wished for where the same request has one
    /// that would do.
    #[serde(default)]
    renew: bool,
}

/// A new revocation list of the root.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootListRequest {
    /// Puts the issuing certificate on it, for a reason of RFC 5280 §5.3.1.
    #[serde(default)]
    revoke_issuing: Option<u8>,
}

/// What an operator wants an enrolment token for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    profile: Name,
    member: Name,
    device_id: Option<String>,
    keys: u32,
    seconds: u64,
}

/// The running authority.
pub struct Authority {
    issuance: Issuance,
    ledger: Ledger,
    founded: hufu_proof::genesis::Authority,
    root_lists: Arc<RootLists>,
    manufacturers: ManufacturerRoots,
    crl: Arc<CrlPublisher>,
    ocsp: Arc<Responder>,
}

/// The profile of a device that names none over EST.
const DEFAULT_PROFILE: &str = "idevid";

impl Authority {
    /// Starts the authority; a front-end uses of it what says how certificates are.
    ///
    /// # Errors
    /// When its keys are not those of the genesis file, its store cannot be
    /// opened, or a manufacturer's root cannot be read.
    pub async fn start(
        config: &Config,
        genesis: &Genesis,
        custody: &Custody,
        submitter: Submitter,
        part: Serving,
    ) -> anyhow::Result<Self> {
        let founded = genesis.authority.clone();
        let issuing = Certificate::from_der(&founded.issuing_certificate)?;
        let root = Certificate::from_der(&genesis.authority.root_certificate)?;
        let signer = Arc::new(TokenSigner::new(keyring::key(custody, label::ISSUING)?)?);
        let issuer = Arc::new(
            Issuer::new(issuing, root, signer)
                .context("the genesis file's issuing certificate and this token")?,
        );
        let profiles = Profiles::shipped()?;
        let quotas = Arc::new(Quotas::new());
        for profile in profiles.iter() {
            let per_day = config.ca.quota_per_day.or(profile.per_day);
            quotas.set_default(&profile.name, Quota { total: config.ca.quota, per_day });
        }
        let base = status_base(config);
        let addresses =
            base.as_deref().map(StatusAddresses::under).transpose()?.unwrap_or_default();
        let root_lists = RootLists::open(config, custody, issuer.root().clone(), part)?;
        root_lists.keep_current();
        let members = submitter.ledger().clone();
        let ledger = LedgerIssuance::new(submitter, profiles.clone());
        let store = Arc::new(Store::open(&config.data("ca.sqlite"))?);
        let issuance = Issuance::start(Parts {
            issuer,
            ledger,
            store,
            profiles,
            quotas,
            addresses,
            clock: Arc::new(SystemClock),
        })?;
        let mut roots = String::new();
        for path in &config.tpm.manufacturer_roots {
            roots += &std::fs::read_to_string(path)
                .with_context(|| format!("tpm.manufacturer_roots: {}", path.display()))?;
            roots.push('\n');
        }
        let manufacturers =
            ManufacturerRoots::from_pem(&roots).context("tpm.manufacturer_roots")?;
        let crl = CrlPublisher::new(issuance.clone(), CRL_LIFE);
        crl.keep_current();
        let ocsp = Responder::new(issuance.clone(), OCSP_LIFE);
        Ok(Self { issuance, ledger: members, founded, root_lists, manufacturers, crl, ocsp })
    }

    /// EST and attestation, for the TLS listener.
    ///
    /// # Errors
    /// When the default profile is not among the shipped ones.
    pub fn enrolment(&self) -> anyhow::Result<[Part; 2]> {
        let (issuance, roots) = (self.issuance.clone(), self.manufacturers.clone());
        Ok([
            hufu_protocols::est::part(issuance.clone(), DEFAULT_PROFILE)?,
            hufu_protocols::attestation::part(issuance, roots),
        ])
    }

    /// CRL, OCSP and CA certificates, for the plain listener.
    pub fn status(&self) -> Part {
        let (crl, ocsp) = (self.crl.clone(), self.ocsp.clone());
        hufu_protocols::status::part(self.issuance.clone(), crl, self.root_lists.served(), ocsp)
    }

    /// What the ledger has of a member.
    fn member(&self, name: &Name) -> anyhow::Result<MemberRecord> {
        let record = self.ledger.reader().state()?.member_record(name)?;
        record.with_context(|| format!("there is no member `{name}`"))
    }

    /// Issues for a member on the operator's word: the serial number, and the
    /// certificate with its issuer in PEM.
    ///
    /// # Errors
    /// What the request, the profile or the ledger does not allow.
    pub async fn issue(&self, request: IssueRequest) -> anyhow::Result<(Serial, String)> {
        let csr = CertificationRequest::from_der(&armour::decode_request(request.csr.as_bytes())?)?;
        let member = self.member(&request.member)?;
        // A member's node has the roles that go with what the member is.
        let asked = match request.roles.is_empty() && request.profile.as_str() == NODE_PROFILE {
            true => member.kinds.iter().filter_map(role_of_kind).collect(),
            false => request.roles,
        };
        let roles = asked
            .iter()
            .map(|role| {
                Role::named(role.as_str()).with_context(|| {
                    let known = Role::ALL.map(Role::name).join(", ");
                    format!("there is no role `{role}`; there are {known}")
                })
            })
            .collect::<anyhow::Result<Vec<Role>>>()?;
        let on_behalf =
            OnBehalf { member: request.member.as_str(), roles: &roles, renew: request.renew };
        let enrol = || {
            let ceremony = &Requester::Ceremony;
            self.issuance.enrol(&csr, request.profile.as_str(), ceremony, Some(on_behalf))
        };
        let issued = match enrol().await {
            // What the member approved an instant ago may be final at its node
            // and not yet here.
            Err(CaError::Ledger(LedgerFault::Refused { code, .. }))
                if code == Outcome::Unapproved.code() =>
            {
                self.catch_up().await;
                enrol().await?
            }
            issued => issued?,
        };
        let certificate = issued.certificate.as_deref().context("it is not signed yet")?;
        Ok((issued.serial.clone(), self.chain(certificate)?))
    }

    /// Renews the certificate `serial` of a member's node, which may have ended, for
    /// the key in `csr`: the new one with its issuer in PEM. Who asks is the caller's
    /// to check.
    ///
    /// # Errors
    /// When there is no such certificate of this member's node, it is revoked, or
    /// what [`Issuance::renew`] says.
    pub async fn renew(
        &self,
        member: &Name,
        serial: &hufu_proof::Serial,
        csr: &CertificationRequest,
    ) -> anyhow::Result<String> {
        let number = Serial::from_bytes(serial.as_bytes())?;
        let row = self.issuance.store().by_serial(&number)?;
        let old = row
            .filter(|row| row.owner == member.as_str() && row.profile == NODE_PROFILE)
            .and_then(|row| row.certificate)
            .with_context(|| {
                format!("certificate {serial} was not issued here to the node of `{member}`")
            })?;
        let status = self.issuance.ledger().status(number).await.map_err(CaError::Ledger)?;
        anyhow::ensure!(
            status == CertificateStatus::Good,
            "certificate {serial} is revoked; the authority's operator certifies the node anew"
        );
        let old = Certificate::from_der(&old)?;
        let issued = self.issuance.renew(csr, &old, Some(NODE_PROFILE)).await?;
        let certificate = issued.certificate.as_deref().context("it is not signed yet")?;
        self.chain(certificate)
    }

    /// A certificate and its issuer, PEM.
    fn chain(&self, certificate: &[u8]) -> anyhow::Result<String> {
        let issuing = self.issuance.issuer().certificate();
        Ok(bundle::pem("CERTIFICATE", certificate)? + &bundle::pem("CERTIFICATE", issuing.der())?)
    }

    /// Waits for what the other members may have and this node has not: for the
    /// next blocks, and not for long.
    async fn catch_up(&self) {
        let mut applied = self.ledger.applied();
        applied.mark_unchanged();
        let some = async {
            for _ in 0..3 {
                // A node that stops says so to whoever asks it next.
                let _ = applied.changed().await;
            }
        };
        let _ = tokio::time::timeout(CATCH_UP, some).await;
    }

    /// The issuing certificate in use.
    pub fn issuing(&self) -> Arc<Certificate> {
        self.issuance.issuer().certificate()
    }

    /// A certificate that may follow on the one in use, signed by the root's key;
    /// `None` where the token does not hold that.
    ///
    /// # Errors
    /// The one in use is revoked, or the token does not sign.
    pub async fn next_issuing(&self, config: &Config) -> anyhow::Result<Option<Certificate>> {
        let Some(root) = self.root_lists.signer() else { return Ok(None) };
        let issuer = self.issuance.issuer();
        anyhow::ensure!(
            !self.root_lists.has(&issuer.certificate()),
            "the issuing certificate is revoked, and its key with it"
        );
        let profile = self.issuance.profiles().named("issuing")?;
        let now = self.issuance.clock().now();
        let addresses = status_of_root(config)?;
        Ok(Some(hufu_issuance::renew_issuing(issuer, root, &profile, &addresses, now).await?))
    }

    /// Issues under this certificate from now on.
    ///
    /// # Errors
    /// It is not one of this authority.
    pub fn go_on_with(&self, issuing: &Certificate) -> anyhow::Result<()> {
        self.issuance.issuer().renew(issuing.clone()).context("the declared issuing certificate")
    }

    /// Makes an enrolment token: user and password for HTTP Basic over EST. The
    /// password is in this answer and nowhere else.
    ///
    /// # Errors
    /// When the profile is not one to enrol under with a token, there is no such
    /// member, or a bound of [`hufu_issuance::Tokens`] is passed.
    pub async fn enrolment_token(&self, request: TokenRequest) -> anyhow::Result<Value> {
        let TokenRequest { profile, member, device_id, keys, seconds } = request;
        // It stands for a registration authority, and shows no TPM.
        let takes = |profile: &Profile| {
            profile.requesters.contains(&Requesters::RegistrationAuthority)
                && profile.attestation == AttestationLevel::None
        };
        let profiles = self.issuance.profiles();
        if !takes(&*profiles.named(profile.as_str())?) {
            let others: Vec<&str> =
                profiles.iter().filter(|one| takes(one)).map(|one| one.name.as_str()).collect();
            anyhow::bail!(
                "profile `{profile}` is not for enrolment with a password; those that are: {}",
                others.join(", ")
            );
        }
        self.member(&member)?;
        let life = Duration::from_secs(seconds);
        let tokens = self.issuance.tokens();
        let token = tokens
            .create(member.as_str(), profile.as_str(), keys, life, device_id.as_deref())
            .await?;
        tracing::info!(%member, %profile, device = device_id, keys, "enrolment token made");
        Ok(json!({
            "user": token.user, "password": token.password, "profile": profile,
            "device_id": device_id, "keys": keys, "expires": token.expires.to_string(),
        }))
    }

    /// Revokes a certificate; the height at which it took effect.
    ///
    /// # Errors
    /// When there is no such reason or certificate, or the ledger refuses.
    pub async fn revoke(&self, serial: &hufu_proof::Serial, reason: u8) -> anyhow::Result<u64> {
        let serial = Serial::from_bytes(serial.as_bytes())?;
        Ok(self.issuance.revoke(&serial, self::reason(reason)?).await?)
    }

    /// Makes a new revocation list of the root: its number, dates and length.
    ///
    /// # Errors
    /// When there is no such reason, or the token does not hold the root's key.
    pub async fn root_list(&self, request: &RootListRequest) -> anyhow::Result<Value> {
        let revoke = match request.revoke_issuing {
            Some(code) => Some((reason(code)?, issuing::all(&self.ledger, &self.founded)?)),
            None => None,
        };
        let list = self.root_lists.make(revoke).await?;
        Ok(json!({
            "number": list.number, "this_update": list.this_update.to_string(),
            "next_update": list.next_update.to_string(), "revoked": list.len(),
        }))
    }

    /// A certificate that was issued here, DER.
    ///
    /// # Errors
    /// When there is none.
    pub fn certificate(&self, serial: &hufu_proof::Serial) -> anyhow::Result<Vec<u8>> {
        self.issuance
            .store()
            .by_serial(&Serial::from_bytes(serial.as_bytes())?)?
            .and_then(|issued| issued.certificate)
            .with_context(|| format!("no certificate {serial} was issued here"))
    }

    /// Ends what has begun.
    pub async fn stop(&self) {
        self.issuance.stop().await;
    }
}

fn reason(code: u8) -> anyhow::Result<RevocationReason> {
    RevocationReason::from_code(code)
        .with_context(|| format!("{code} is not a reason of RFC 5280 §5.3.1"))
}

/// The role that a member's node has for what the member is.
fn role_of_kind(kind: &Name) -> Option<Name> {
    let role = match kind.as_str() {
        "maker" => Role::RegistrationAuthority,
        "regulator" => Role::Regulator,
        "operator" => Role::Operator,
        _ => return None,
    };
    Name::new(role.name()).ok()
}
