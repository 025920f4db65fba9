//! A device's TPM 2.0, through tss2's ESAPI.
//!
//! Two keys are made, both P-256:
//!
//! * the *attestation key* (AK), restricted, a child of the endorsement key:
//!   it speaks for the TPM;
//! * the *device key*, unrestricted, a child of the storage root key: it signs
//!   what the device says. When the owner clears the TPM, it is gone.
//!
//! Their wrapped private parts live in a [key file](crate::keyfile), so that no
//! persistent handle of the TPM is taken up. Neither has an authorization
//! value: who may read the file and open the TPM may sign.
//!
//! A [`DeviceTpm`] holds the connection and the loaded device key. A software
//! TPM serves one connection at a time; others wait. All calls block: TPMs take
//! milliseconds to signature, some hundred.

mod counter;
mod endorsement;
mod error;
mod templates;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use aws_lc_rs::digest;
use tss_esapi::Context;
use tss_esapi::constants::{StartupType, Tss2ResponseCodeKind};
use tss_esapi::handles::{KeyHandle, ObjectHandle};
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    CreateKeyResult, Data, Digest, EncryptedSecret, HashcheckTicket, IdObject, Private, Signature,
    SignatureScheme,
};
use tss_esapi::tcti_ldr::TctiNameConf;
use tss_esapi::traits::{Marshall, UnMarshall};
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;
use zeroize::Zeroizing;

pub use self::counter::Counter;
use self::endorsement::{EndorsementKey, flush, flush_stale, parse};
use self::error::tpm;
pub use self::error::{DeviceCsrError, DeviceError};
use crate::attest::limits::{MAX_CERTIFICATE, MAX_PUBLIC, NONCE};
use crate::attest::wire::unwrap_sized;
use crate::attest::{ChallengeId, EcdsaSignature, Public, limits, qualifying_data};
use crate::csr::{self, Subject};
use crate::exchange::{
    Base64, ChallengeRequest, ChallengeResponse, CompletionRequest, SecretBytes,
};
pub use crate::keyfile::EkKind;
use crate::keyfile::{FILE_NAME, KeyFile, MAX_FILE, WrappedKey};

/// `TPM2_ST_HASHCHECK` and `TPM2_RH_NULL`: the ticket that says "no ticket".
const HASHCHECK: u16 = 0x8024;
const NULL_HIERARCHY: u32 = 0x4000_0007;

/// A device's TPM with its two keys.
pub struct DeviceTpm {
    context: Context,
    endorsement: EndorsementKey,
    keys: KeyFile,
    key: KeyHandle,
    compressed: [u8; 33],
    spki: Vec<u8>,
    path: PathBuf,
}

impl std::fmt::Debug for DeviceTpm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DeviceTpm")
            .field("ek", &self.endorsement.kind)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl DeviceTpm {
    /// Opens the TPM at `tcti` (`device:/dev/tpmrm0`,
    /// `swtpm:host=127.0.0.1,port=2321`) with the keys in `state_directory`,
    /// which are made if there are none. The EK is the first that has a
    /// certificate in the TPM of RSA-2048, P-384, P-256.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn open(tcti: &str, state_directory: &Path) -> Result<Self, DeviceError> {
        let kinds = [EkKind::Rsa2048, EkKind::EccP384, EkKind::EccP256];
        Self::open_with(tcti, state_directory, &kinds)
    }

    /// As [`open`](Self::open), with the kinds of EK to look for. Keys that
    /// exist keep the kind they were made with.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn open_with(
        tcti: &str,
        state_directory: &Path,
        kinds: &[EkKind],
    ) -> Result<Self, DeviceError> {
        let mut context = connect(tcti)?;
        flush_stale(&mut context)?;
        let path = state_directory.join(FILE_NAME);
        let (endorsement, keys) = match read_keys(&path)? {
            Some(keys) => (EndorsementKey::find(&mut context, &[keys.ek])?, keys),
            None => {
                let endorsement = EndorsementKey::find(&mut context, kinds)?;
                let keys = make_keys(&mut context, &endorsement)?;
                write_keys(&path, &keys)?;
                (endorsement, keys)
            }
        };
        let public = &keys.device_key.public;
        let (Some(compressed), Some(spki)) = (public.p256_compressed(), public.p256_spki_der())
        else {
            return Err(DeviceError::NotP256 { path });
        };
        let key = load_device_key(&mut context, &keys.device_key, &path)?;
        Ok(Self { context, endorsement, keys, key, compressed, spki, path })
    }

    /// The EK certificate in DER, as the TPM holds it.
    #[must_use]
    pub fn ek_certificate(&self) -> &[u8] {
        &self.endorsement.certificate
    }

    /// The EK's public area.
    #[must_use]
    pub fn ek_public(&self) -> &Public {
        &self.endorsement.public
    }

    /// Which EK is used.
    #[must_use]
    pub fn ek_kind(&self) -> EkKind {
        self.endorsement.kind
    }

    /// The AK's public area.
    #[must_use]
    pub fn ak_public(&self) -> &Public {
        &self.keys.attestation_key.public
    }

    /// The device key's public area.
    #[must_use]
    pub fn key_public(&self) -> &Public {
        &self.keys.device_key.public
    }

    /// Where the wrapped keys lie.
    #[must_use]
    pub fn key_file(&self) -> &Path {
        &self.path
    }

    /// The device key as SEC1 compressed point.
    #[must_use]
    pub fn public_key(&self) -> [u8; 33] {
        self.compressed
    }

    /// The device key's `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Signs the SHA-256 of `message` with the device key: `r ‖ s`, 32 bytes
    /// each, `s` in the lower half.
    ///
    /// # Errors
    /// [`DeviceError::Tpm`], [`DeviceError::Malformed`].
    pub fn sign(&mut self, message: &[u8]) -> Result<[u8; 64], DeviceError> {
        let operation = "sign";
        let hash = digest::digest(&digest::SHA256, message);
        let hash = Digest::try_from(hash.as_ref()).map_err(tpm(operation))?;
        let ticket = HashcheckTicket::try_from(TPMT_TK_HASHCHECK {
            tag: HASHCHECK,
            hierarchy: NULL_HIERARCHY,
            digest: Default::default(),
        })
        .map_err(tpm(operation))?;
        let key = self.key;
        let signature = self
            .context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.sign(key, hash, SignatureScheme::Null, ticket)
            })
            .map_err(tpm(operation))?;
        Ok(parse_signature(&signature, operation)?.low_s())
    }

    /// Writes a PKCS#10 request for the device key, signed by it, in DER.
    ///
    /// # Errors
    /// [`DeviceCsrError`].
    pub fn csr(&mut self, subject: &Subject) -> Result<Vec<u8>, DeviceCsrError> {
        let spki = self.spki.clone();
        csr::build(subject, &spki, |message| self.sign(message))
    }

    /// Recovers the secret of a credential made for this TPM's EK and AK.
    /// `credential_blob` is a `TPM2B_ID_OBJECT`, `encrypted_secret` a
    /// `TPM2B_ENCRYPTED_SECRET`.
    ///
    /// # Errors
    /// [`DeviceError::Challenge`] when a structure is malformed,
    /// [`DeviceError::Tpm`] when the credential is not for this TPM and AK.
    pub fn activate(
        &mut self,
        credential_blob: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, DeviceError> {
        let malformed = |reason| move |_| DeviceError::Challenge { reason };
        let (blob, secret) = (
            unwrap_sized(credential_blob, "", 1, limits::MAX_CREDENTIAL_BLOB)
                .map_err(malformed("credential_blob is not a TPM2B_ID_OBJECT"))?,
            unwrap_sized(encrypted_secret, "", 1, limits::MAX_ENCRYPTED_SECRET)
                .map_err(malformed("encrypted_secret is not a TPM2B_ENCRYPTED_SECRET"))?,
        );
        let operation = "activate the credential";
        let blob = IdObject::try_from(blob).map_err(tpm(operation))?;
        let secret = EncryptedSecret::try_from(secret).map_err(tpm(operation))?;
        let Self { context, endorsement, keys, path, .. } = self;
        let ak = load_attestation_key(context, endorsement, &keys.attestation_key, path)?;
        let activated = endorsement.with(context, |context, ek, session| {
            context
                .execute_with_sessions(
                    (Some(AuthSession::Password), Some(session), None),
                    |context| context.activate_credential(ak, ek, blob, secret),
                )
                .map_err(tpm(operation))
        });
        flush(context, ak)?;
        Ok(Zeroizing::new(activated?.value().to_vec()))
    }

    /// Has the AK certify the device key: `TPMS_ATTEST` and `TPMT_SIGNATURE`.
    ///
    /// # Errors
    /// [`DeviceError::Tpm`].
    pub fn certify(&mut self, qualifying: &[u8]) -> Result<(Vec<u8>, Vec<u8>), DeviceError> {
        let operation = "certify the device key";
        let qualifying = Data::try_from(qualifying).map_err(tpm(operation))?;
        let key = ObjectHandle::from(self.key);
        let Self { context, endorsement, keys, path, .. } = self;
        let ak = load_attestation_key(context, endorsement, &keys.attestation_key, path)?;
        let certified = context
            .execute_with_sessions(
                (Some(AuthSession::Password), Some(AuthSession::Password), None),
                |context| context.certify(key, ak, qualifying, SignatureScheme::Null),
            )
            .map_err(tpm(operation));
        flush(context, ak)?;
        let (attest, signature) = certified?;
        let attest = attest.marshall().map_err(tpm(operation))?;
        let signature = parse_signature(&signature, operation)?.to_bytes();
        Ok((attest, signature))
    }

    /// What to send first. `intermediates` (DER) lead from the EK certificate
    /// to the manufacturer's root, if the authority does not know them.
    #[must_use]
    pub fn challenge_request(&self, intermediates: &[Vec<u8>]) -> ChallengeRequest {
        let ek = std::iter::once(self.endorsement.certificate.clone());
        ChallengeRequest {
            ek_certificates: ek
                .chain(intermediates.iter().cloned())
                .map(Base64::<MAX_CERTIFICATE>)
                .collect(),
            ek_public: Base64::<MAX_PUBLIC>(self.ek_public().to_tpm2b()),
            ak_public: Base64::<MAX_PUBLIC>(self.ak_public().to_tpm2b()),
        }
    }

    /// Answers a challenge: activates the credential, certifies the device
    /// key.
    ///
    /// # Errors
    /// [`DeviceError::Challenge`] when the challenge is malformed,
    /// [`DeviceError::Tpm`] when it is not for this TPM.
    pub fn answer(
        &mut self,
        challenge: &ChallengeResponse,
    ) -> Result<CompletionRequest, DeviceError> {
        let id: ChallengeId = challenge
            .id
            .parse()
            .map_err(|_| DeviceError::Challenge { reason: "id is not 32 hexadecimal digits" })?;
        let nonce: &[u8; NONCE] = challenge
            .nonce
            .0
            .as_slice()
            .try_into()
            .map_err(|_| DeviceError::Challenge { reason: "nonce has not 32 bytes" })?;
        let secret = self.activate(&challenge.credential_blob.0, &challenge.encrypted_secret.0)?;
        let (attest, signature) = self.certify(&qualifying_data(&id, nonce))?;
        Ok(CompletionRequest {
            secret: SecretBytes(secret),
            key_public: Base64(self.key_public().to_tpm2b()),
            attest: Base64(attest),
            signature: Base64(signature),
        })
    }
}

/// Connects, and starts a TPM that nobody has started (a machine's firmware
/// does; a bare software TPM may wait for it).
fn connect(tcti: &str) -> Result<Context, DeviceError> {
    let unreachable = |source| DeviceError::Tcti { tcti: tcti.to_owned(), source };
    let configuration = TctiNameConf::from_str(tcti).map_err(unreachable)?;
    let mut context = Context::new(configuration).map_err(unreachable)?;
    match context.get_random(1) {
        Ok(_) => Ok(context),
        Err(tss_esapi::Error::Tss2Error(code))
            if code.kind() == Some(Tss2ResponseCodeKind::Initialize) =>
        {
            context.startup(StartupType::Clear).map_err(tpm("start up"))?;
            Ok(context)
        }
        Err(error) => Err(unreachable(error)),
    }
}

fn make_keys(context: &mut Context, endorsement: &EndorsementKey) -> Result<KeyFile, DeviceError> {
    let operation = "create the attestation key";
    let template = templates::attestation_key().map_err(tpm(operation))?;
    let ak = endorsement.with(context, |context, ek, session| {
        context
            .execute_with_session(Some(session), |context| {
                context.create(ek, template, None, None, None, None)
            })
            .map_err(tpm(operation))
    })?;
    let operation = "create the device key";
    let template = templates::device_key().map_err(tpm(operation))?;
    let key = with_storage_root(context, |context, root| {
        context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.create(root, template, None, None, None, None)
            })
            .map_err(tpm(operation))
    })?;
    Ok(KeyFile { ek: endorsement.kind, attestation_key: wrapped(&ak)?, device_key: wrapped(&key)? })
}

fn wrapped(created: &CreateKeyResult) -> Result<WrappedKey, DeviceError> {
    Ok(WrappedKey {
        public: parse(&created.out_public)?,
        private: created.out_private.value().to_vec(),
    })
}

fn with_storage_root<T>(
    context: &mut Context,
    action: impl FnOnce(&mut Context, KeyHandle) -> Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    let operation = "create the storage root key with an empty owner password";
    let template = templates::storage_root_key().map_err(tpm(operation))?;
    let root = context
        .execute_with_session(Some(AuthSession::Password), |context| {
            context.create_primary(Hierarchy::Owner, template, None, None, None, None)
        })
        .map_err(tpm(operation))?
        .key_handle;
    let result = action(context, root);
    flush(context, root)?;
    result
}

fn load_device_key(
    context: &mut Context,
    key: &WrappedKey,
    path: &Path,
) -> Result<KeyHandle, DeviceError> {
    with_storage_root(context, |context, root| {
        load(context, root, AuthSession::Password, key, path)
    })
}

fn load_attestation_key(
    context: &mut Context,
    endorsement: &EndorsementKey,
    key: &WrappedKey,
    path: &Path,
) -> Result<KeyHandle, DeviceError> {
    endorsement.with(context, |context, ek, session| load(context, ek, session, key, path))
}

fn load(
    context: &mut Context,
    parent: KeyHandle,
    session: AuthSession,
    key: &WrappedKey,
    path: &Path,
) -> Result<KeyHandle, DeviceError> {
    let operation = "load a key";
    let public =
        tss_esapi::structures::Public::unmarshall(&key.public.to_tpmt()).map_err(tpm(operation))?;
    let private = Private::try_from(key.private.as_slice()).map_err(tpm(operation))?;
    context
        .execute_with_session(Some(session), |context| context.load(parent, private, public))
        .map_err(|source| match source {
            // The integrity check of the wrapped key: another parent made it.
            tss_esapi::Error::Tss2Error(code)
                if code.kind() == Some(Tss2ResponseCodeKind::Integrity) =>
            {
                DeviceError::ForeignKeys { path: path.to_path_buf(), source }
            }
            _ => DeviceError::Tpm { operation, source },
        })
}

fn parse_signature(
    signature: &Signature,
    operation: &'static str,
) -> Result<EcdsaSignature, DeviceError> {
    let bytes = signature.marshall().map_err(tpm(operation))?;
    EcdsaSignature::from_bytes(&bytes)
        .map_err(|source| DeviceError::Malformed { operation, source })
}

fn read_keys(path: &Path) -> Result<Option<KeyFile>, DeviceError> {
    let failed = |source| DeviceError::KeyFile { path: path.to_path_buf(), source };
    let bytes = match fs::File::open(path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            // One byte more than is allowed, so that the parser sees it.
            let most = MAX_FILE as u64 + 1;
            io::Read::read_to_end(&mut io::Read::take(file, most), &mut bytes).map_err(failed)?;
            bytes
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    KeyFile::from_bytes(&bytes)
        .map(Some)
        .map_err(|source| DeviceError::KeyFileMalformed { path: path.to_path_buf(), source })
}

/// Durable before visible: written beside, synced, renamed, directory synced.
fn write_keys(path: &Path, keys: &KeyFile) -> Result<(), DeviceError> {
    let failed = |source| DeviceError::KeyFile { path: path.to_path_buf(), source };
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(failed)?;
    let temporary = path.with_extension("tpmkeys.new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary).map_err(failed)?;
    file.write_all(&keys.to_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)?;
    fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
}
