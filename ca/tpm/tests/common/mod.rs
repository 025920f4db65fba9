//! A manufacturer, a software TPM of its making, and a device that does what
//! ours never would.

#![allow(dead_code, reason = "each test binary uses its own share")]

use std::path::PathBuf;
use std::str::FromStr as _;

use hufu_tpm::attest::{ManufacturerRoots, Public};
use hufu_tpm::device::{DeviceTpm, EkKind};
use hufu_tpm::keyfile::KeyFile;
use hufu_tpm::swtpm::{Manufacturer, Swtpm};
use tempfile::TempDir;
use tss_esapi::Context;
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, KeyHandle, PersistentTpmHandle, SessionHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Data, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, Private, PublicBuilder,
    PublicEccParameters, SignatureScheme, SymmetricDefinition, SymmetricDefinitionObject,
};
use tss_esapi::tcti_ldr::TctiNameConf;
use tss_esapi::traits::{Marshall as _, UnMarshall as _};

pub struct World {
    pub directory: TempDir,
    pub manufacturer: Manufacturer,
    pub tpm: Swtpm,
}

impl World {
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let manufacturer = Manufacturer::open(&directory.path().join("manufacturer")).unwrap();
        let state = directory.path().join("tpm");
        manufacturer.make(&state).unwrap();
        let tpm = Swtpm::start(&state).unwrap();
        Self { directory, manufacturer, tpm }
    }

    pub fn roots(&self) -> ManufacturerRoots {
        ManufacturerRoots::from_pem(&self.manufacturer.roots_pem().unwrap()).unwrap()
    }

    pub fn device_state(&self) -> PathBuf {
        self.directory.path().join("device")
    }

    pub fn device(&self) -> DeviceTpm {
        DeviceTpm::open(&self.tpm.tcti(), &self.device_state()).unwrap()
    }

    pub fn device_with(&self, kind: EkKind) -> DeviceTpm {
        DeviceTpm::open_with(&self.tpm.tcti(), &self.device_state(), &[kind]).unwrap()
    }

    /// Opens the TPM beneath our code. No [`DeviceTpm`] may be open meanwhile.
    pub fn rogue(&self) -> Rogue {
        let keys = std::fs::read(self.device_state().join("device.tpmkeys")).unwrap();
        let configuration = TctiNameConf::from_str(&self.tpm.tcti()).unwrap();
        Rogue {
            context: Context::new(configuration).unwrap(),
            keys: KeyFile::from_bytes(&keys).unwrap(),
        }
    }
}

/// A device that makes keys as it pleases, beside an honest AK.
pub struct Rogue {
    context: Context,
    keys: KeyFile,
}

/// What a key is to be.
#[derive(Clone, Copy)]
pub struct Wish {
    pub fixed_tpm: bool,
    pub fixed_parent: bool,
    pub restricted: bool,
}

impl Rogue {
    /// Makes a signing key under a storage key of the owner's and has the
    /// honest AK certify it.
    pub fn certified_key(&mut self, wish: Wish, qualifying: &[u8]) -> (Public, Vec<u8>, Vec<u8>) {
        let (key, public) = self.make_key(wish);
        let ak = self.honest_ak();
        let (attest, signature) = self
            .context
            .execute_with_sessions(
                (Some(AuthSession::Password), Some(AuthSession::Password), None),
                |context| {
                    context.certify(
                        key.into(),
                        ak,
                        Data::try_from(qualifying).unwrap(),
                        SignatureScheme::Null,
                    )
                },
            )
            .unwrap();
        self.flush(ak);
        self.flush(key);
        (public, attest.marshall().unwrap(), signature.marshall().unwrap())
    }

    /// Makes and loads a signing key.
    pub fn make_key(&mut self, wish: Wish) -> (KeyHandle, Public) {
        let root = tss_esapi::utils::create_restricted_decryption_rsa_public(
            SymmetricDefinitionObject::AES_128_CFB,
            tss_esapi::interface_types::key_bits::RsaKeyBits::Rsa2048,
            tss_esapi::structures::RsaExponent::default(),
        )
        .unwrap();
        let attributes = ObjectAttributesBuilder::new()
            .with_fixed_tpm(wish.fixed_tpm)
            .with_fixed_parent(wish.fixed_parent)
            .with_sensitive_data_origin(true)
            .with_user_with_auth(true)
            .with_restricted(wish.restricted)
            .with_sign_encrypt(true)
            .build()
            .unwrap();
        let template = PublicBuilder::new()
            .with_public_algorithm(PublicAlgorithm::Ecc)
            .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
            .with_object_attributes(attributes)
            .with_ecc_parameters(PublicEccParameters::new(
                SymmetricDefinitionObject::Null,
                EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256)),
                EccCurve::NistP256,
                KeyDerivationFunctionScheme::Null,
            ))
            .with_ecc_unique_identifier(EccPoint::default())
            .build()
            .unwrap();
        let (key, root, public) =
            self.context.execute_with_session(Some(AuthSession::Password), |context| {
                let root = context
                    .create_primary(Hierarchy::Owner, root, None, None, None, None)
                    .unwrap()
                    .key_handle;
                let made = context.create(root, template, None, None, None, None).unwrap();
                let key = context.load(root, made.out_private, made.out_public.clone()).unwrap();
                (key, root, made.out_public)
            });
        self.flush(root);
        let public = Public::from_tpmt(&public.marshall().unwrap()).unwrap();
        (key, public)
    }

    /// Loads the AK of the device's key file under the RSA EK.
    fn honest_ak(&mut self) -> KeyHandle {
        let context = &mut self.context;
        let handle = PersistentTpmHandle::new(0x8101_0001).unwrap();
        let ek: KeyHandle =
            context.tr_from_tpm_public(TpmHandle::Persistent(handle)).unwrap().into();
        let session = context
            .start_auth_session(
                None,
                None,
                None,
                SessionType::Policy,
                SymmetricDefinition::AES_128_CFB,
                HashingAlgorithm::Sha256,
            )
            .unwrap()
            .unwrap();
        context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.policy_secret(
                    PolicySession::try_from(session).unwrap(),
                    AuthHandle::Endorsement,
                    Default::default(),
                    Default::default(),
                    Default::default(),
                    None,
                )
            })
            .unwrap();
        let key = &self.keys.attestation_key;
        let public = tss_esapi::structures::Public::unmarshall(&key.public.to_tpmt()).unwrap();
        let private = Private::try_from(key.private.as_slice()).unwrap();
        let ak = context
            .execute_with_session(Some(session), |context| context.load(ek, private, public))
            .unwrap();
        context.flush_context(SessionHandle::from(session).into()).unwrap();
        context.tr_close(&mut ek.into()).unwrap();
        ak
    }

    pub fn flush(&mut self, key: KeyHandle) {
        self.context.flush_context(key.into()).unwrap();
    }
}
