//! The one error type of this crate.
//!
//! Each variant says who is at fault and what to do about it; [`Error::code`]
//! is stable for logs and problem documents, [`Error::retry_after`] tells a
//! server what to put into `Retry-After`. No message holds a PIN or key bytes.

use std::{path::PathBuf, time::Duration};

use crate::fault::FailureClass;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who can mend an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtFault {
    /// The code or request that asked.
    Caller,
    /// Whoever configured and runs the machine.
    Operator,
    /// The token or its driver; it may pass.
    Token,
}

/// Why custody could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of [`TokenConfig`](crate::TokenConfig) is out of range.
    #[error("token configuration: {field} {reason}")]
    Config {
        /// Name of the field as written in the configuration.
        field: &'static str,
        /// What it must be.
        reason: String,
    },
    /// What was read is not a PIN, or not safely kept.
    #[error("PIN from {origin}: {reason}")]
    Pin {
        /// Where it was read.
        origin: String,
        /// What is wrong and how to mend it.
        reason: &'static str,
    },
    /// The place of the PIN cannot be read.
    #[error("cannot read the PIN from {origin}")]
    PinSource {
        /// Where it was to be read.
        origin: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The module cannot be loaded or initialised.
    #[error("cannot start the PKCS#11 module {}; check the path and the module's own configuration", path.display())]
    Module {
        /// Path of the module.
        path: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No initialised token has this label.
    #[error("no token labelled {label:?} behind {}; list tokens with `pkcs11-tool --module … -L`", module.display())]
    NoSuchToken {
        /// Path of the module.
        module: PathBuf,
        /// Label asked for.
        label: String,
    },
    /// Several tokens have this label.
    #[error(
        "{count} tokens are labelled {label:?}; labels must be unique, rename or remove the others"
    )]
    AmbiguousToken {
        /// Label asked for.
        label: String,
        /// How many there are.
        count: usize,
    },
    /// A token of this label exists already and is not overwritten.
    #[error("a token labelled {0:?} exists already; choose another label or open that token")]
    TokenExists(String),
    /// No uninitialised token to make ours.
    #[error("no free slot behind {}; initialise a token with the vendor's tool", .0.display())]
    NoFreeSlot(PathBuf),
    /// The token refused the PIN, or the PIN differs from the one that this
    /// process logged in with. It was tried at most once, and this process
    /// does not try it again.
    #[error(
        "token {label:?} refused the PIN; it is not tried again, so start again with the right PIN before the token locks"
    )]
    WrongPin {
        /// Label of the token.
        label: String,
    },
    /// The token is locked after too many wrong PINs, or wants a new PIN.
    #[error("the PIN of token {label:?} is {state}; the security officer must set a new PIN")]
    PinLocked {
        /// Label of the token.
        label: String,
        /// `locked`, `expired` or `not set`.
        state: &'static str,
    },
    /// The token has no such key.
    #[error("token {token:?} has no key labelled {label:?}")]
    NoSuchKey {
        /// Label of the token.
        token: String,
        /// Label of the key.
        label: String,
    },
    /// A key or public key of this label exists already.
    #[error("a key labelled {0:?} exists already; it is never overwritten")]
    KeyExists(String),
    /// Several keys have this label.
    #[error("{count} keys are labelled {label:?}; labels must be unique")]
    AmbiguousKey {
        /// Label of the key.
        label: String,
        /// How many there are.
        count: usize,
    },
    /// The token made a key with other attributes than were asked for. The
    /// key was destroyed again.
    #[error("the token did not honour {attribute} for key {label:?}; it is not fit for custody")]
    NotHonoured {
        /// Label of the key.
        label: String,
        /// Name of the attribute.
        attribute: &'static str,
    },
    /// The public key stored under the label does not verify what the private
    /// key signs.
    #[error(
        "public and private key labelled {0:?} do not belong together; look for a foreign public key object on the token"
    )]
    KeyMismatch(String),
    /// The token or this crate cannot do this.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The queue is full.
    #[error("the token is busy; try again in {} ms", retry_after.as_millis())]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The token is out of reach and custody is waiting before it tries again.
    #[error("the token is out of reach ({reason}); try again in {} ms", retry_after.as_millis())]
    Unavailable {
        /// When the next attempt is due.
        retry_after: Duration,
        /// What went wrong last.
        reason: String,
    },
    /// The request was not answered within the time it had.
    #[error("the token did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// Custody was closed.
    #[error("key custody is closed")]
    Closed,
    /// The token failed in a way that recovery did not mend.
    #[error("the token failed ({class})")]
    Token {
        /// Class of the failure.
        class: FailureClass,
        /// The cause.
        source: cryptoki::error::Error,
    },
    /// The token's answer is not what the specification says.
    #[error("the token answered out of specification: {0}")]
    Malformed(&'static str),
    /// The operating system refused a thread.
    #[error("cannot start a thread for the token")]
    Thread(#[source] std::io::Error),
}

impl Error {
    /// Stable code for logs, metrics and problem documents.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config { .. } => "token_config",
            Self::Pin { .. } => "pin_unusable",
            Self::PinSource { .. } => "pin_unreadable",
            Self::Module { .. } => "token_module",
            Self::NoSuchToken { .. } => "no_such_token",
            Self::AmbiguousToken { .. } => "ambiguous_token",
            Self::TokenExists(_) => "token_exists",
            Self::NoFreeSlot(_) => "no_free_slot",
            Self::WrongPin { .. } => "wrong_pin",
            Self::PinLocked { .. } => "pin_locked",
            Self::NoSuchKey { .. } => "no_such_key",
            Self::KeyExists(_) => "key_exists",
            Self::AmbiguousKey { .. } => "ambiguous_key",
            Self::NotHonoured { .. } => "attribute_not_honoured",
            Self::KeyMismatch(_) => "key_mismatch",
            Self::Unsupported(_) => "unsupported",
            Self::Busy { .. } => "token_busy",
            Self::Unavailable { .. } => "token_unavailable",
            Self::TimedOut(_) => "token_timeout",
            Self::Closed => "custody_closed",
            Self::Token { .. } => "token_failed",
            Self::Malformed(_) => "token_malformed",
            Self::Thread(_) => "no_thread",
        }
    }

    /// Who can mend it.
    #[must_use]
    pub fn at_fault(&self) -> AtFault {
        match self {
            Self::Unsupported(_) | Self::Closed | Self::KeyExists(_) | Self::TokenExists(_) => {
                AtFault::Caller
            }
            Self::Token { class, .. } if *class == FailureClass::Request => AtFault::Caller,
            Self::NotHonoured { .. }
            | Self::Busy { .. }
            | Self::Unavailable { .. }
            | Self::TimedOut(_)
            | Self::Token { .. }
            | Self::Malformed(_) => AtFault::Token,
            _ => AtFault::Operator,
        }
    }

    /// When the same request may succeed without anyone's doing; `None` if
    /// waiting does not help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after } | Self::Unavailable { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::TimedOut(_) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    pub(crate) fn token(source: cryptoki::error::Error) -> Self {
        Self::Token { class: FailureClass::of(&source), source }
    }
}
