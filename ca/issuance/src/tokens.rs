//! Enrolment tokens: what a registration authority hands to a production line
//! or a technician, so that a device without any certificate can enrol with
//! HTTP Basic (RFC 7030 section 3.2.3).
//!
//! A token is for one member, one profile, a number of keys and a time, and
//! where it says so for one device. Only its SHA-256 is stored. It is as strong as a key (192 random bits), so there
//! is nothing to slow down for those who guess.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::algorithm::sha256;
use crate::batch::blocking;
use crate::error::CaError;
use crate::requester::check_member;
use crate::store::Store;
use crate::time::{Clock, UnixTime};

/// Most keys that one token may enrol.
pub const MOST_KEYS: u32 = 100_000;

/// Longest life of a token.
pub const LONGEST_LIFE: Duration = Duration::from_secs(90 * 86_400);

/// Longest name of a device, in bytes (RFC 5280 appendix A.1, ub-serial-number).
const DEVICE: usize = 64;

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

/// A stored token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub(crate) digest: [u8; 32],
    /// The member it enrols for.
    pub member: String,
    /// The only profile it enrols under.
    pub profile: String,
    /// How many keys it may enrol.
    pub keys: u32,
    /// Until when.
    pub expires: UnixTime,
    /// The serialNumber that the subject must have; any when absent.
    pub device: Option<String>,
}

/// Makes and checks tokens.
#[derive(Clone)]
pub struct Tokens {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
}

impl Tokens {
    pub(crate) fn new(store: Arc<Store>, clock: Arc<dyn Clock>) -> Tokens {
        Tokens { store, clock }
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
        if device.is_some_and(|device| device.is_empty() || device.len() > DEVICE) {
            return Err(CaError::malformed("token", format!("device: 1 to {DEVICE} bytes")));
        }
        if keys == 0 || keys > MOST_KEYS {
            return Err(CaError::malformed("token", format!("keys: 1 to {MOST_KEYS}")));
        }
        if life.is_zero() || life > LONGEST_LIFE {
            return Err(CaError::malformed("token", "life: at most 90 days"));
        }
        let mut secret = [0u8; 24];
        SystemRandom::new()
            .fill(&mut secret)
            .map_err(|_| CaError::Internal("the system gave no random numbers"))?;
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
    pub(crate) fn authenticate(&self, authorization: &str) -> Result<Token, CaError> {
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

    /// Counts `key` as one of the token's, once.
    ///
    /// # Errors
    /// [`CaError::QuotaExhausted`] if it has no place left.
    pub(crate) async fn claim(&self, token: &Token, key: [u8; 32]) -> Result<(), CaError> {
        let (store, digest, most) = (self.store.clone(), token.digest, token.keys);
        if blocking(move || store.claim_token(&digest, &key, most)).await? {
            Ok(())
        } else {
            Err(CaError::QuotaExhausted {
                member: token.member.clone(),
                profile: token.profile.clone(),
                limit: u64::from(token.keys),
            })
        }
    }
}

fn digest(user: &str, password: &str) -> [u8; 32] {
    sha256(format!("hufu enrolment token v1\0{user}\0{password}").as_bytes())
}
