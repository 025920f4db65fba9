//! Finding the endorsement key that belongs to the EK certificate in the TPM.

use der::{Reader as _, SliceReader};
use tss_esapi::Context;
use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, DefaultKey, ek};
use tss_esapi::constants::CapabilityType;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, KeyHandle, PersistentTpmHandle, SessionHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{CapabilityData, SymmetricDefinition};
use tss_esapi::traits::Marshall;

use super::error::{DeviceError, tpm};
use crate::attest::{Attributes, Public, certificate_is_for};
use crate::keyfile::EkKind;

const NV_INDICES: u32 = 0x01c0_0000;
/// Persistent objects of the endorsement hierarchy (TCG "Registry of Reserved
/// TPM 2.0 Handles and Localities").
const PERSISTENT_ENDORSEMENT: std::ops::Range<u32> = 0x8101_0000..0x8102_0000;
const TRANSIENT: u32 = 0x8000_0000;
const LOADED_SESSIONS: u32 = 0x0200_0000;
/// No TPM lists more handles at once.
const MAX_HANDLES: u32 = 254;

/// An EK and its certificate.
#[derive(Debug)]
pub(super) struct EndorsementKey {
    pub(super) kind: EkKind,
    pub(super) certificate: Vec<u8>,
    pub(super) public: Public,
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Persistent(PersistentTpmHandle),
    Template,
}

impl EndorsementKey {
    /// Finds the first of `kinds` whose certificate is in the TPM.
    pub(super) fn find(context: &mut Context, kinds: &[EkKind]) -> Result<Self, DeviceError> {
        let present = handles(context, NV_INDICES)?;
        let kind = kinds.iter().copied().find(|kind| present.contains(&nv_index(*kind))).ok_or(
            DeviceError::NoEkCertificate {
                wanted: "0x01c00002 (RSA-2048), 0x01c00016 (P-384), 0x01c0000a (P-256)",
            },
        )?;
        let certificate = ek::retrieve_ek_pubcert(context, selection(kind))
            .map_err(tpm("read the EK certificate"))?;
        let certificate = trim(certificate);

        let persistent = handles(context, PERSISTENT_ENDORSEMENT.start)?;
        for handle in persistent {
            if !PERSISTENT_ENDORSEMENT.contains(&handle) {
                continue;
            }
            let Ok(handle) = PersistentTpmHandle::new(handle) else {
                continue;
            };
            let mut object = context
                .tr_from_tpm_public(TpmHandle::Persistent(handle))
                .map_err(tpm("look up a persistent key"))?;
            let public = public_of(context, object.into());
            context.tr_close(&mut object).map_err(tpm("close a handle"))?;
            // Whatever else is kept there is not for us to judge.
            if let Ok(public) = public
                && certificate_is_for(&certificate, &public).is_ok()
            {
                return Ok(Self { kind, certificate, public, source: Source::Persistent(handle) });
            }
        }
        let handle = create(context, kind)?;
        let public = public_of(context, handle);
        flush(context, handle)?;
        let public = public?;
        match certificate_is_for(&certificate, &public) {
            Ok(()) => Ok(Self { kind, certificate, public, source: Source::Template }),
            Err(error) => Err(DeviceError::EkMismatch(error)),
        }
    }

    /// Does something with the EK loaded, and with a session that authorizes
    /// its use.
    pub(super) fn with<T>(
        &self,
        context: &mut Context,
        action: impl FnOnce(&mut Context, KeyHandle, AuthSession) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let handle: KeyHandle = match self.source {
            Source::Persistent(handle) => context
                .tr_from_tpm_public(TpmHandle::Persistent(handle))
                .map_err(tpm("look up the EK"))?
                .into(),
            Source::Template => create(context, self.kind)?,
        };
        let result = self.authorized(context, handle, action);
        match self.source {
            Source::Persistent(_) => {
                context.tr_close(&mut handle.into()).map_err(tpm("close a handle"))?
            }
            Source::Template => flush(context, handle)?,
        }
        result
    }

    /// The low-range templates ask for `PolicySecret(endorsement)`; the
    /// high-range ones may be used with their empty authorization value as
    /// well, which spares the disjunction of policies.
    fn authorized<T>(
        &self,
        context: &mut Context,
        handle: KeyHandle,
        action: impl FnOnce(&mut Context, KeyHandle, AuthSession) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        if self.public.attributes.contains(Attributes::USER_WITH_AUTH) {
            return action(context, handle, AuthSession::Password);
        }
        let session = context
            .execute_without_session(|context| {
                context.start_auth_session(
                    None,
                    None,
                    None,
                    SessionType::Policy,
                    SymmetricDefinition::AES_128_CFB,
                    HashingAlgorithm::Sha256,
                )
            })
            .map_err(tpm("start a policy session"))?
            .ok_or(DeviceError::Tpm {
                operation: "start a policy session",
                source: tss_esapi::Error::WrapperError(
                    tss_esapi::WrapperErrorKind::WrongValueFromTpm,
                ),
            })?;
        let result =
            policy_secret(context, session).and_then(|()| action(context, handle, session));
        let flushed = context.flush_context(SessionHandle::from(session).into());
        let result = result?;
        flushed.map_err(tpm("end a policy session"))?;
        Ok(result)
    }
}

fn policy_secret(context: &mut Context, session: AuthSession) -> Result<(), DeviceError> {
    let policy = PolicySession::try_from(session).map_err(tpm("use a policy session"))?;
    context
        .execute_with_session(Some(AuthSession::Password), |context| {
            context.policy_secret(
                policy,
                AuthHandle::Endorsement,
                Default::default(),
                Default::default(),
                Default::default(),
                None,
            )
        })
        .map_err(tpm("authorize the endorsement hierarchy with an empty password"))?;
    Ok(())
}

/// Flushes what an earlier user of a TPM without a resource manager left
/// behind: its slots are few. Behind a resource manager there is nothing to
/// see.
pub(super) fn flush_stale(context: &mut Context) -> Result<(), DeviceError> {
    for range in [TRANSIENT, LOADED_SESSIONS] {
        for handle in handles(context, range)? {
            let Ok(handle) = TpmHandle::try_from(handle) else {
                continue;
            };
            if let Ok(object) = context.tr_from_tpm_public(handle) {
                context.flush_context(object).map_err(tpm("flush a stale object"))?;
                tracing::debug!(?handle, "flushed a stale object");
            }
        }
    }
    Ok(())
}

/// Lists handles in use from `first` on, within its range (TPM 2.0 Part 3
/// §30.2).
pub(super) fn handles(context: &mut Context, first: u32) -> Result<Vec<u32>, DeviceError> {
    let (data, _more) = context
        .execute_without_session(|context| {
            context.get_capability(CapabilityType::Handles, first, MAX_HANDLES)
        })
        .map_err(tpm("list handles"))?;
    match data {
        CapabilityData::Handles(list) => Ok(list.iter().map(|handle| (*handle).into()).collect()),
        _ => Ok(Vec::new()),
    }
}

fn create(context: &mut Context, kind: EkKind) -> Result<KeyHandle, DeviceError> {
    ek::create_ek_object_2(context, selection(kind), DefaultKey).map_err(tpm("create the EK"))
}

pub(super) fn flush(context: &mut Context, handle: KeyHandle) -> Result<(), DeviceError> {
    context.flush_context(handle.into()).map_err(tpm("flush a key"))
}

fn public_of(context: &mut Context, handle: KeyHandle) -> Result<Public, DeviceError> {
    let (public, _, _) = context
        .execute_without_session(|context| context.read_public(handle))
        .map_err(tpm("read a public area"))?;
    parse(&public)
}

/// Turns the C library's public area into ours.
pub(super) fn parse(public: &tss_esapi::structures::Public) -> Result<Public, DeviceError> {
    let bytes = public.marshall().map_err(tpm("marshal a public area"))?;
    Public::from_tpmt(&bytes)
        .map_err(|source| DeviceError::Malformed { operation: "reading a public area", source })
}

fn nv_index(kind: EkKind) -> u32 {
    match kind {
        EkKind::Rsa2048 => 0x01c0_0002,
        EkKind::EccP256 => 0x01c0_000a,
        EkKind::EccP384 => 0x01c0_0016,
    }
}

fn selection(kind: EkKind) -> AsymmetricAlgorithmSelection {
    match kind {
        EkKind::Rsa2048 => AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048),
        EkKind::EccP256 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256),
        EkKind::EccP384 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP384),
    }
}

/// Cuts the padding that some manufacturers leave behind a certificate in NV.
fn trim(certificate: Vec<u8>) -> Vec<u8> {
    let length = SliceReader::new(&certificate)
        .and_then(|mut reader| reader.tlv_bytes().map(<[u8]>::len))
        .unwrap_or(certificate.len());
    let mut certificate = certificate;
    certificate.truncate(length);
    certificate
}
