//! Enrolment tokens: what a registration authority hands to a production line
//! or a technician, so that a device without any certificate can enrol with
//! HTTP Basic (RFC 7030 section 3.2.3).
//!
//! A token is for one member, one profile, a number of keys and a time, and
//! where it says so for one device. Only its SHA-256 is stored. It is as strong as
//! a key (192 random bits), so there is nothing to slow down for those who guess.
//!
//! A key counts when its certificate does: it is held while the request is at
//! work, and stored in the transaction that stores the pending row, to be
//! freed with it if the ledger refuses.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::algorithm::sha256;
use crate::error::CaError;
use crate::form::FormError;
use crate::member::check_member;
use crate::record::Token;
use crate::store::{Store, blocking};
use crate::subject::Attribute;
use crate::time::{Clock, UnixTime};

/// Most keys that one token may enrol.
pub const MOST_KEYS: u32 = 100_000;

/// Longest life of a token.
pub const LONGEST_LIFE: Duration = Duration::from_secs(90 * 86_400);

/// Largest `Authorization` header looked at, in bytes.
const HEADER: usize = 512;

/// A new token. Shown once; the store has only its digest.
pub struct NewToken {
    /// User name for HTTP Basic: the member.
    pub user: String,
    /// Password for HTTP Basic.
    pub password: String,
    /// Until when it may be used.
    pub expires: UnixTime,
}

/// Keys that requests at work would enrol with a token, by the token's digest.
type Held = Mutex<HashMap<[u8; 32], HashSet<[u8; 32]>>>;

/// Makes and checks tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    held: Arc<Held>,
}

impl Tokens {
    pub(crate) fn new(store: Arc<Store>, clock: Arc<dyn Clock>) -> Tokens {
        Tokens { store, clock, held: Arc::default() }
    }

    /// Makes a token for `keys` keys, of the device called `device` where that
    /// is given, that lives for `life`.
    ///
    /// # Errors
    /// Out of the bounds above, or the store failed.
    pub async fn create(
        &self,
        member: &str,
        profile: &str,
        keys: u32,
        life: Duration,
        device: Option<&str>,
    ) -> Result<NewToken, CaError> {
        check_member(member)?;
        // No request can name a device that a certificate cannot.
        if let Some(device) = device {
            Attribute::SerialNumber.check(device)?;
        }
        if keys == 0 || keys > MOST_KEYS {
            let keys = format!("keys: 1 to {MOST_KEYS}");
            return Err(FormError::malformed("enrolment token", keys).into());
        }
        if life.is_zero() || life > LONGEST_LIFE {
            return Err(FormError::malformed("enrolment token", "life: at most 90 days").into());
        }
        let mut secret = [0u8; 24];
        SystemRandom::new().fill(&mut secret).map_err(|_| FormError::Random)?;
        let password = URL_SAFE_NO_PAD.encode(secret);
        let expires = self.clock.now().plus(life);
        let token = Token {
            digest: digest(member, &password),
            member: member.to_owned(),
            profile: profile.to_owned(),
            keys,
            expires,
            device: device.map(str::to_owned),
        };
        let store = self.store.clone();
        blocking(move || store.add_token(&token)).await?;
        Ok(NewToken { user: member.to_owned(), password, expires })
    }

    /// The token in an `Authorization` header, if it is one of ours and still
    /// in time.
    ///
    /// # Errors
    /// [`CaError::Unauthenticated`] (401) if it is not, whatever the
    /// reason.
    pub fn authenticate(&self, authorization: &str) -> Result<Token, CaError> {
        let refused = || CaError::Unauthenticated;
        if authorization.len() > HEADER {
            return Err(refused());
        }
        let (scheme, encoded) = authorization.split_once(' ').ok_or_else(refused)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(refused());
        }
        let decoded = STANDARD.decode(encoded.trim()).map_err(|_| refused())?;
        let decoded = String::from_utf8(decoded).map_err(|_| refused())?;
        let (user, password) = decoded.split_once(':').ok_or_else(refused)?;
        let token = self.store.token(&digest(user, password))?.ok_or_else(refused)?;
        if self.clock.now() > token.expires {
            return Err(refused());
        }
        Ok(token)
    }

    /// Holds a place of the token for `key`.
    ///
    /// # Errors
    /// [`CaError::TokenSpent`] if it has no place left.
    pub(crate) fn hold(&self, token: &Token, key: [u8; 32]) -> Result<TokenPlace, CaError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = held.entry(token.digest).or_default();
        let spent = self.spent(token, keys, &key);
        if !matches!(spent, Ok(false)) {
            if keys.is_empty() {
                held.remove(&token.digest);
            }
            spent?;
            return Err(CaError::TokenSpent { keys: token.keys });
        }
        // A key that is held already stays the other request's to free.
        let ours = keys.insert(key);
        Ok(TokenPlace { held: ours.then(|| self.held.clone()), digest: token.digest, key })
    }

    /// Whether all places are taken by other keys.
    fn spent(
        &self,
        token: &Token,
        held: &HashSet<[u8; 32]>,
        key: &[u8; 32],
    ) -> Result<bool, CaError> {
        if held.contains(key) || self.store.token_has(&token.digest, key)? {
            return Ok(false);
        }
        let most = u64::from(token.keys);
        let stored = self.store.token_keys(&token.digest)?;
        if stored + (held.len() as u64) < most {
            return Ok(false);
        }
        // A held key may be stored by now, and must not count twice.
        let mut taken = stored;
        for other in held {
            taken += u64::from(!self.store.token_has(&token.digest, other)?);
        }
        Ok(taken >= most)
    }
}

/// A place of a token, held while a request is at work.
#[derive(Debug)]
pub(crate) struct TokenPlace {
    /// None where another request holds the same key.
    held: Option<Arc<Held>>,
    digest: [u8; 32],
    key: [u8; 32],
}

impl TokenPlace {
    /// Digest of the token, for the row.
    pub(crate) fn token(&self) -> [u8; 32] {
        self.digest
    }
}

impl Drop for TokenPlace {
    /// Whether it is spent is by then for the store to say.
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = held.get_mut(&self.digest) {
            keys.remove(&self.key);
            if keys.is_empty() {
                held.remove(&self.digest);
            }
        }
    }
}

fn digest(user: &str, password: &str) -> [u8; 32] {
    sha256(format!("hufu enrolment token v1\0{user}\0{password}").as_bytes())
}
