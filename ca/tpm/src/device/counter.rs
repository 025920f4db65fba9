//! A counter in the TPM that goes up and never down.
//!
//! It is an NV index of type counter (TPM 2.0 Part 1 §37.2.5). Where it begins is
//! for the TPM to say: a new counter begins above every counter that the TPM
//! ever had, so that removing and making it again does not turn it back. Its
//! distance from the first value is what means something.

use tss_esapi::Context;
use tss_esapi::attributes::NvIndexAttributes;
use tss_esapi::constants::NvIndexType;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::NvPublic;

use super::connect;
use super::endorsement::handles;
use super::error::{DeviceError, tpm};
use crate::attest::wire::WireError;

/// Where it is: among the indices that are the owner's.
const INDEX: u32 = 0x0180_4855;

/// Size of a counter, in bytes.
const SIZE: usize = 8;

/// The counter of this machine.
pub struct Counter {
    context: Context,
    handle: NvIndexHandle,
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Counter").finish_non_exhaustive()
    }
}

impl Counter {
    /// Opens the counter of the TPM at `tcti`; `None` when it has none.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn find(tcti: &str) -> Result<Option<Self>, DeviceError> {
        let mut context = connect(tcti)?;
        if !handles(&mut context, INDEX)?.contains(&INDEX) {
            return Ok(None);
        }
        let index = index("find the counter")?;
        let handle = context
            .tr_from_tpm_public(TpmHandle::NvIndex(index))
            .map_err(tpm("find the counter"))?;
        Ok(Some(Self { context, handle: handle.into() }))
    }

    /// Opens the counter, and makes it where there is none. The owner must have
    /// no authorization value.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn open(tcti: &str) -> Result<Self, DeviceError> {
        if let Some(counter) = Self::find(tcti)? {
            return Ok(counter);
        }
        let operation = "make the counter";
        let attributes = NvIndexAttributes::builder()
            .with_nv_index_type(NvIndexType::Counter)
            .with_owner_write(true)
            .with_owner_read(true)
            .with_no_da(true)
            .build()
            .map_err(tpm(operation))?;
        let public = NvPublic::builder()
            .with_nv_index(index(operation)?)
            .with_index_name_algorithm(HashingAlgorithm::Sha256)
            .with_index_attributes(attributes)
            .with_data_area_size(SIZE)
            .build()
            .map_err(tpm(operation))?;
        let mut context = connect(tcti)?;
        let handle = context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.nv_define_space(Provision::Owner, None, public)
            })
            .map_err(tpm(operation))?;
        let mut counter = Self { context, handle };
        // It has no value before.
        counter.increment()?;
        Ok(counter)
    }

    /// What it stands at.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn value(&mut self) -> Result<u64, DeviceError> {
        let operation = "read the counter";
        let handle = self.handle;
        let value = self
            .context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.nv_read(NvAuth::Owner, handle, SIZE as u16, 0)
            })
            .map_err(tpm(operation))?;
        let size = value.value().len();
        let bytes: [u8; SIZE] = value.value().try_into().map_err(|_| DeviceError::Malformed {
            operation,
            source: WireError::Size {
                field: "counter",
                position: 0,
                size,
                least: SIZE,
                most: SIZE,
            },
        })?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// Goes up by one. Durable when it returns.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn increment(&mut self) -> Result<(), DeviceError> {
        let handle = self.handle;
        self.context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.nv_increment(NvAuth::Owner, handle)
            })
            .map_err(tpm("count up"))
    }

    /// Takes the counter away. One that is made later begins above it.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn remove(mut self) -> Result<(), DeviceError> {
        let handle = self.handle;
        self.context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.nv_undefine_space(Provision::Owner, handle)
            })
            .map_err(tpm("take the counter away"))
    }
}

fn index(operation: &'static str) -> Result<NvIndexTpmHandle, DeviceError> {
    NvIndexTpmHandle::new(INDEX).map_err(tpm(operation))
}
