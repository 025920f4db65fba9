//! Key custody: private keys that live in a PKCS#11 token and never leave it.
//!
//! ```no_run
//! use hufu_keys::{Custody, KeyAlgorithm, Pin, TokenConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pin = Pin::from_credential("token-pin")?;
//! let custody = Custody::open(TokenConfig::new(hufu_keys::SOFTHSM2_MODULE, "member-a"), pin)?;
//! let key = match custody.key("vote") {
//!     Err(hufu_keys::Error::NoSuchKey { .. }) => custody.generate("vote", KeyAlgorithm::P256)?,
//!     found => found?,
//! };
//! let signature = key.sign(b"message")?;
//! assert!(key.verify(b"message", &signature));
//! # Ok(())
//! # }
//! ```
//!
//! # What it is not
//!
//! There is no software key here and no way to import or export one; on a
//! machine without an HSM the token is SoftHSM2. It does not know what it
//! signs: guards against signing twice stand in front of it. It holds no
//! certificates.
//!
//! # Rules it keeps
//!
//! 1. One initialisation of a module per process, ended explicitly.
//! 2. One anchor session per token stays logged in; N workers own a session
//!    and cached key handles each; a signature costs no look-up and no login.
//! 3. A PIN that the token refused is never shown to it again by this process.
//! 4. A request is answered: with a signature, or with an error that says who
//!    can mend it and when to try again. Queues are bounded, waits have
//!    deadlines, a token that is out of reach is refused at once
//!    (circuit breaker).
//! 5. Sessions, logins and tokens that vanish come back without a restart of
//!    the process; which return code calls for what is [`FailureClass`].
//! 6. A key found (again) on the token is used only after it signed for the
//!    public key that we know.
//!
//! # Limits
//!
//! A call into a module that never returns cannot be taken back: its request
//! is answered `TimedOut`, its worker is lost until it returns, and when all
//! hang, requests are refused. Modules that reuse session handles at once
//! after closing them underneath us may mix two workers' sessions for one
//! call; handles that grow (SoftHSM2 and most others) do not.

mod algorithm;
mod config;
mod custody;
mod description;
mod destroy;
mod encoding;
mod error;
mod fault;
mod module;
mod pin;
mod pool;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
mod token;

pub use crate::{
    algorithm::KeyAlgorithm,
    config::{MAX_LABEL_LEN, SOFTHSM2_MODULE, TokenConfig},
    custody::{Custody, Key, MAX_MESSAGE_LEN},
    description::{KeyDescription, TokenDescription},
    destroy::destroy_keys,
    error::{AtFault, Error, Result},
    fault::FailureClass,
    pin::{MAX_PIN_LEN, Pin, take_descriptor},
    status::{Counters, Status},
    tls::{TlsKey, certified_key},
    token::{MAX_KEY_LABEL_LEN, initialise_token},
};
