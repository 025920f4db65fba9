//! Operations on one token: find it, make it, log in, find and make keys.
//!
//! Everything here runs inside the module and on sessions that the caller
//! owns; nothing here retries.

use std::path::Path;

use cryptoki::{
    error::{Error as TokenError, RvError},
    mechanism::{
        Mechanism,
        eddsa::{EddsaParams, EddsaSignatureScheme},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, SessionState, UserType},
    slot::{Slot, TokenInfo},
};

use crate::{
    algorithm::KeyAlgorithm,
    config::check_token_label,
    description::{FoundKey, KeyDescription, TokenDescription, unpadded},
    encoding::{self, PublicPoint},
    error::{Error, Result},
    module::{self, Inside, Module, ModuleUse, TokenId},
    pin::Pin,
};

/// Longest key label, in bytes. Tokens take more; transcripts do not.
pub const MAX_KEY_LABEL_LEN: usize = 128;

/// Finds the token of that label.
pub(crate) fn locate(inside: &Inside<'_>, module: &Path, label: &str) -> Result<(Slot, TokenInfo)> {
    let pkcs11 = inside.pkcs11();
    let mut found = Vec::new();
    for slot in pkcs11.get_slots_with_token().map_err(Error::token)? {
        // One broken reader must not hide the others.
        match pkcs11.get_token_info(slot) {
            Ok(info) if info.token_initialized() && unpadded(info.label()) == label => {
                found.push((slot, info));
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%slot, %error, "slot does not answer"),
        }
    }
    if found.len() > 1 {
        return Err(Error::AmbiguousToken { label: label.to_owned(), count: found.len() });
    }
    found
        .pop()
        .ok_or_else(|| Error::NoSuchToken { module: module.to_owned(), label: label.to_owned() })
}

/// Makes a token in a free slot: label, security officer's PIN, user's PIN.
///
/// For the key ceremony on soft tokens; hardware tokens are initialised with
/// the vendor's tool.
///
/// # Errors
/// [`Error::TokenExists`] if any token has that label (nothing is ever
/// overwritten), [`Error::NoFreeSlot`], [`Error::Config`] for a label that is
/// no token label, [`Error::Module`], or [`Error::Token`] with the cause. If
/// setting the user's PIN fails after the token was made, the token stays and
/// must be removed with the vendor's tool.
pub fn initialise_token(
    module: &Path,
    label: &str,
    so_pin: &Pin,
    user_pin: &Pin,
) -> Result<TokenDescription> {
    check_token_label(label)?;
    let module = ModuleUse::acquire(module)?;
    let inside = module.enter().map_err(Error::token)?;
    let pkcs11 = inside.pkcs11();
    let mut free = None;
    for slot in pkcs11.get_slots_with_token().map_err(Error::token)? {
        let Ok(info) = pkcs11.get_token_info(slot) else {
            continue;
        };
        if !info.token_initialized() {
            free = free.or(Some(slot));
        } else if unpadded(info.label()) == label {
            return Err(Error::TokenExists(label.to_owned()));
        }
    }
    let slot = free.ok_or_else(|| Error::NoFreeSlot(module.path().to_owned()))?;
    pkcs11.init_token(slot, &so_pin.as_auth(), label).map_err(Error::token)?;
    let session = OpenSession::open(&inside, slot, true).map_err(Error::token)?;
    let outcome = (|| {
        let session = &session.session;
        session.login(UserType::So, Some(&so_pin.as_auth()))?;
        let set = session.init_pin(&user_pin.as_auth());
        // Log out in any case, or the token stays the security officer's.
        session.logout()?;
        set
    })();
    session.close(&inside);
    outcome.map_err(Error::token)?;
    let info = pkcs11.get_token_info(slot).map_err(Error::token)?;
    module::forget_refusals(module.path(), label);
    Ok(TokenDescription::of(&info))
}

/// A session that knows to which epoch of the module it belongs.
pub(crate) struct OpenSession {
    session: Session,
    epoch: u64,
}

impl OpenSession {
    pub fn open(inside: &Inside<'_>, slot: Slot, write: bool) -> Result<Self, TokenError> {
        // Never closed by drop: after a reload the handle may be another's.
        let session = if write {
            inside.pkcs11().open_rw_session_no_drop(slot)?
        } else {
            inside.pkcs11().open_ro_session_no_drop(slot)?
        };
        Ok(Self { session, epoch: inside.epoch })
    }

    /// The session, if it is of the module's present epoch.
    pub fn at(&self, inside: &Inside<'_>) -> Option<&Session> {
        (self.epoch == inside.epoch).then_some(&self.session)
    }

    /// Whether the normal user is logged in, as this session sees it.
    pub fn logged_in(&self, inside: &Inside<'_>) -> Result<bool, TokenError> {
        let Some(session) = self.at(inside) else {
            return Ok(false);
        };
        let state = session.get_session_info()?.session_state();
        Ok(matches!(state, SessionState::RoUser | SessionState::RwUser))
    }

    /// Closes the session if its handle still means anything.
    pub fn close(self, inside: &Inside<'_>) {
        if self.epoch == inside.epoch
            && let Err(error) = self.session.close()
        {
            tracing::debug!(%error, "session does not close");
        }
    }
}

/// A token found and logged in to, and the session that keeps it so.
pub(crate) struct Anchor {
    pub session: OpenSession,
    pub slot: Slot,
    pub token: TokenId,
    pub description: TokenDescription,
}

/// Finds the token, opens a session and logs in unless that was done.
///
/// Shows the PIN to the token at most once, and calls `shown` if it does.
pub(crate) fn connect(
    module: &Module,
    label: &str,
    pin: &Pin,
    shown: impl FnOnce(),
) -> Result<Anchor> {
    let inside = module.enter().map_err(Error::token)?;
    let (slot, info) = locate(&inside, module.path(), label)?;
    let description = TokenDescription::of(&info);
    let token = TokenId {
        module: module.path().to_owned(),
        label: label.to_owned(),
        serial: description.serial.clone(),
    };
    let session = OpenSession::open(&inside, slot, false).map_err(Error::token)?;
    let outcome = module.login(&token, pin.fingerprint(), || {
        if session.logged_in(&inside).map_err(Error::token)? {
            return Ok(());
        }
        shown();
        match session.session.login(UserType::User, Some(&pin.as_auth())) {
            Ok(()) | Err(TokenError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => Err(login_error(label, error)),
        }
    });
    if let Err(error) = outcome {
        session.close(&inside);
        return Err(error);
    }
    Ok(Anchor { session, slot, token, description })
}

pub(crate) fn login_error(label: &str, error: TokenError) -> Error {
    let label = label.to_owned();
    let locked = |state| Error::PinLocked { label: label.clone(), state };
    match &error {
        TokenError::Pkcs11(code, _) => match code {
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => {
                Error::WrongPin { label }
            }
            RvError::PinLocked => locked("locked"),
            RvError::PinExpired => locked("expired"),
            RvError::UserPinNotInitialized => locked("not set"),
            _ => Error::token(error),
        },
        _ => Error::token(error),
    }
}

/// Whether any private or public key object has this label.
fn label_taken(session: &Session, label: &str) -> Result<bool, TokenError> {
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        if !objects(session, class, &[Attribute::Label(label.into())])?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn objects(
    session: &Session,
    class: ObjectClass,
    more: &[Attribute],
) -> Result<Vec<ObjectHandle>, TokenError> {
    let mut template = vec![Attribute::Token(true), Attribute::Class(class)];
    template.extend_from_slice(more);
    session.find_objects(&template)
}

/// The handle of the private key of that label, if there is one.
pub(crate) fn find_handle(session: &Session, label: &str) -> Result<Option<ObjectHandle>> {
    let found = objects(session, ObjectClass::PRIVATE_KEY, &[Attribute::Label(label.into())])
        .map_err(Error::token)?;
    match found.as_slice() {
        [] => Ok(None),
        [handle] => Ok(Some(*handle)),
        several => Err(Error::AmbiguousKey { label: label.to_owned(), count: several.len() }),
    }
}

/// Finds a key, reads what the token says about it, and checks that private
/// and public part belong together by a signature.
pub(crate) fn find_key(session: &Session, label: &str) -> Result<Option<FoundKey>> {
    let Some(handle) = find_handle(session, label)? else {
        return Ok(None);
    };
    let (description, id) = describe(session, handle, label)?;
    let point = public_point(session, handle, label, &id, description.algorithm)?;
    check_pair(session, handle, label, description.algorithm, &point)?;
    Ok(Some(FoundKey { handle, point, description }))
}

fn describe(
    session: &Session,
    handle: ObjectHandle,
    label: &str,
) -> Result<(KeyDescription, Vec<u8>)> {
    let attributes = session
        .get_attributes(
            handle,
            &[
                AttributeType::KeyType,
                AttributeType::EcParams,
                AttributeType::Id,
                AttributeType::Token,
                AttributeType::Private,
                AttributeType::Sensitive,
                AttributeType::AlwaysSensitive,
                AttributeType::Extractable,
                AttributeType::NeverExtractable,
                AttributeType::Local,
            ],
        )
        .map_err(Error::token)?;
    let mut algorithm = None;
    let mut id = Vec::new();
    // What the token does not say counts against the key.
    let mut description = KeyDescription {
        label: label.to_owned(),
        id: String::new(),
        algorithm: KeyAlgorithm::P256,
        token: false,
        private: false,
        sensitive: false,
        always_sensitive: false,
        extractable: true,
        never_extractable: false,
        local: false,
    };
    for attribute in attributes {
        match attribute {
            Attribute::KeyType(kind) if kind != KeyType::EC && kind != KeyType::EC_EDWARDS => {
                return Err(Error::Unsupported(format!(
                    "key {label:?} is of type {kind}; custody uses P-256, P-384 and Ed25519"
                )));
            }
            Attribute::EcParams(params) => algorithm = KeyAlgorithm::from_ec_params(&params),
            Attribute::Id(value) => id = value,
            Attribute::Token(value) => description.token = value,
            Attribute::Private(value) => description.private = value,
            Attribute::Sensitive(value) => description.sensitive = value,
            Attribute::AlwaysSensitive(value) => description.always_sensitive = value,
            Attribute::Extractable(value) => description.extractable = value,
            Attribute::NeverExtractable(value) => description.never_extractable = value,
            Attribute::Local(value) => description.local = value,
            _ => {}
        }
    }
    description.algorithm = algorithm.ok_or_else(|| {
        Error::Unsupported(format!(
            "key {label:?} is on a curve other than P-256, P-384 and Ed25519"
        ))
    })?;
    description.id = id.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((description, id))
}

/// The public key: from its object of the same label, or the same CKA_ID, or
/// from the private key object itself.
fn public_point(
    session: &Session,
    private: ObjectHandle,
    label: &str,
    id: &[u8],
    algorithm: KeyAlgorithm,
) -> Result<PublicPoint> {
    let mut candidates =
        objects(session, ObjectClass::PUBLIC_KEY, &[Attribute::Label(label.into())])
            .map_err(Error::token)?;
    if candidates.is_empty() && !id.is_empty() {
        candidates = objects(session, ObjectClass::PUBLIC_KEY, &[Attribute::Id(id.to_vec())])
            .map_err(Error::token)?;
    }
    if candidates.len() > 1 {
        return Err(Error::AmbiguousKey { label: label.to_owned(), count: candidates.len() });
    }
    let object = candidates.pop().unwrap_or(private);
    let attributes =
        session.get_attributes(object, &[AttributeType::EcPoint]).map_err(Error::token)?;
    let Some(Attribute::EcPoint(point)) = attributes.first() else {
        return Err(Error::Unsupported(format!(
            "the token shows no public key for {label:?}; import the public key object"
        )));
    };
    encoding::parse_ec_point(algorithm, point)
}

/// Signs something and verifies it with the public key, so that a foreign
/// public key object under our label is not believed.
pub(crate) fn check_pair(
    session: &Session,
    handle: ObjectHandle,
    label: &str,
    algorithm: KeyAlgorithm,
    point: &PublicPoint,
) -> Result<()> {
    let challenge = format!("hufu-keys: does {label:?} belong to its public key?");
    let signature = sign(session, handle, algorithm, challenge.as_bytes())?;
    if algorithm.verify(&point.full, challenge.as_bytes(), &signature) {
        Ok(())
    } else {
        Err(Error::KeyMismatch(label.to_owned()))
    }
}

/// Hashes where the algorithm wants it, and signs.
pub(crate) fn sign(
    session: &Session,
    handle: ObjectHandle,
    algorithm: KeyAlgorithm,
    message: &[u8],
) -> Result<Vec<u8>> {
    match algorithm.digest(message) {
        Some(digest) => sign_input(session, handle, algorithm, &digest),
        None => sign_input(session, handle, algorithm, message),
    }
}

/// Signs what the token takes: a digest for ECDSA, the message for Ed25519.
pub(crate) fn sign_input(
    session: &Session,
    handle: ObjectHandle,
    algorithm: KeyAlgorithm,
    input: &[u8],
) -> Result<Vec<u8>> {
    // Built here, in the thread that uses it: `Mechanism` is not `Send`.
    let mechanism = match algorithm {
        KeyAlgorithm::P256 | KeyAlgorithm::P384 => Mechanism::Ecdsa,
        KeyAlgorithm::Ed25519 => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)),
    };
    let raw = session.sign(&mechanism, handle, input).map_err(Error::token)?;
    encoding::canonical_signature(algorithm, raw)
}

/// Makes a key pair that cannot leave the token, and checks that the token
/// did what it was asked.
///
/// `session` must be a read-write session of the logged-in user.
pub(crate) fn generate(
    session: &Session,
    label: &str,
    algorithm: KeyAlgorithm,
) -> Result<FoundKey> {
    check_key_label(label)?;
    if label_taken(session, label).map_err(Error::token)? {
        return Err(Error::KeyExists(label.to_owned()));
    }
    let id = session.generate_random_vec(16).map_err(Error::token)?;
    let mechanism = match algorithm {
        KeyAlgorithm::P256 | KeyAlgorithm::P384 => Mechanism::EccKeyPairGen,
        KeyAlgorithm::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
    };
    let private_template = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Derive(false),
        Attribute::Label(label.into()),
        Attribute::Id(id.clone()),
    ];
    let mut outcome = Err(Error::Unsupported(format!("no parameters for {algorithm}")));
    for params in algorithm.ec_params() {
        let public_template = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::Label(label.into()),
            Attribute::Id(id.clone()),
            Attribute::EcParams(params.to_vec()),
        ];
        outcome = session
            .generate_key_pair(&mechanism, &public_template, &private_template)
            .map_err(|error| generation_error(algorithm, error));
        // Only a curve name in the wrong form is worth the other form.
        if !matches!(outcome, Err(Error::Unsupported(_))) {
            break;
        }
    }
    let (public, private) = outcome?;
    let checked = (|| {
        let (description, id) = describe(session, private, label)?;
        if let Some(attribute) = description.weakness() {
            return Err(Error::NotHonoured { label: label.to_owned(), attribute });
        }
        let point = public_point(session, private, label, &id, algorithm)?;
        check_pair(session, private, label, algorithm, &point)?;
        Ok(FoundKey { handle: private, point, description })
    })();
    if checked.is_err() {
        // A key that is not what was asked for must not be found later.
        for object in [private, public] {
            if let Err(error) = session.destroy_object(object) {
                tracing::warn!(label, %error, "unfit key stays on the token; remove it by hand");
            }
        }
    }
    checked
}

fn generation_error(algorithm: KeyAlgorithm, error: TokenError) -> Error {
    match &error {
        TokenError::Pkcs11(
            RvError::MechanismInvalid
            | RvError::CurveNotSupported
            | RvError::DomainParamsInvalid
            | RvError::AttributeValueInvalid
            | RvError::FunctionNotSupported,
            _,
        ) => Error::Unsupported(format!("the token makes no {algorithm} keys ({error})")),
        _ => Error::token(error),
    }
}

pub(crate) fn check_key_label(label: &str) -> Result<()> {
    if label.is_empty() || label.len() > MAX_KEY_LABEL_LEN || label.chars().any(char::is_control) {
        return Err(Error::Config {
            field: "key label",
            reason: "must be 1 to 128 bytes long, without control characters".to_owned(),
        });
    }
    Ok(())
}
