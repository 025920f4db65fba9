//! Why a device's TPM does not do what is asked.

use std::io;
use std::path::PathBuf;

use crate::attest::AttestationError;
use crate::attest::wire::WireError;
use crate::csr::CsrError;
use crate::keyfile::KeyFileError;

/// Why a device's TPM does not do what is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The TCTI cannot be used.
    #[error(
        "cannot reach the TPM at {tcti:?}; it is written device:/dev/tpmrm0 or \
         swtpm:host=127.0.0.1,port=2321"
    )]
    Tcti {
        /// As configured.
        tcti: String,
        /// Why.
        #[source]
        source: tss_esapi::Error,
    },
    /// A TPM command failed.
    #[error("the TPM refused to {operation}")]
    Tpm {
        /// What it was to do.
        operation: &'static str,
        /// Why.
        #[source]
        source: tss_esapi::Error,
    },
    /// The TPM holds no EK certificate.
    #[error(
        "the TPM holds no EK certificate at {wanted}; some manufacturers publish it instead, \
         and such TPMs are not supported yet"
    )]
    NoEkCertificate {
        /// The NV indices looked at.
        wanted: &'static str,
    },
    /// The EK certificate in the TPM is not that of any EK found.
    #[error("no EK of the TPM belongs to its EK certificate")]
    EkMismatch(#[source] AttestationError),
    /// The TPM answered with something we do not understand.
    #[error("the TPM's answer to {operation} is malformed")]
    Malformed {
        /// What it was to do.
        operation: &'static str,
        /// What is wrong.
        #[source]
        source: WireError,
    },
    /// The authority's challenge is malformed.
    #[error("the challenge is malformed: {reason}")]
    Challenge {
        /// What is wrong.
        reason: &'static str,
    },
    /// The key file cannot be read or written.
    #[error("cannot use the key file {path}")]
    KeyFile {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key file is malformed.
    #[error("the key file {path} is malformed")]
    KeyFileMalformed {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyFileError,
    },
    /// The file holds a device key of another kind than we make.
    #[error("the device key in {path} is not on P-256; move the file away to make new keys")]
    NotP256 {
        /// Which one.
        path: PathBuf,
    },
    /// The keys in the file belong to another TPM, or this one was cleared.
    #[error(
        "the keys in {path} are not of this TPM, or it was cleared since; move the file away to \
         make new keys, and enrol again"
    )]
    ForeignKeys {
        /// Which one.
        path: PathBuf,
        /// What the TPM said.
        #[source]
        source: tss_esapi::Error,
    },
}

/// Why a device cannot write a certificate request.
pub type DeviceCsrError = CsrError<DeviceError>;

/// Names the operation in a failed TPM command.
pub(super) fn tpm(operation: &'static str) -> impl FnOnce(tss_esapi::Error) -> DeviceError {
    move |source| DeviceError::Tpm { operation, source }
}
