//! What a PKCS#11 return code means for the pool.
//!
//! The specification has about a hundred codes and vendors use them freely;
//! what matters is what helps. Each code falls into one class, and a class has
//! one remedy.

use cryptoki::error::{Error as TokenError, RvError};

/// Classes of failure, by remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureClass {
    /// This session is gone or in an odd state: open another.
    Session,
    /// The cached handle no longer names the key: look it up again.
    Handle,
    /// The login is gone: log in again, once.
    Login,
    /// No more sessions for now: carry on with those there are.
    SessionLimit,
    /// The token is not there: look for it again, with pauses.
    TokenGone,
    /// Device, driver or host trouble: a fresh session, then a fresh login,
    /// then a fresh start of the module.
    Device,
    /// The PIN was refused: stop, a person must act.
    Pin,
    /// The request itself cannot be met: tell the caller, no retry.
    Request,
}

impl FailureClass {
    /// Every class, in the order of [`Counters::failures`](crate::Counters).
    pub const ALL: [Self; 8] = [
        Self::Session,
        Self::Handle,
        Self::Login,
        Self::SessionLimit,
        Self::TokenGone,
        Self::Device,
        Self::Pin,
        Self::Request,
    ];

    /// Stable name for metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Handle => "handle",
            Self::Login => "login",
            Self::SessionLimit => "session_limit",
            Self::TokenGone => "token_gone",
            Self::Device => "device",
            Self::Pin => "pin",
            Self::Request => "request",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The class of an error from the token.
    pub(crate) fn of(error: &TokenError) -> Self {
        let TokenError::Pkcs11(code, _) = error else {
            // Conversions, missing functions: nothing a retry would change.
            return Self::Request;
        };
        match code {
            RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::OperationActive
            | RvError::OperationNotInitialized
            | RvError::SessionReadOnly
            | RvError::FunctionCanceled
            | RvError::Cancel => Self::Session,
            RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid => Self::Handle,
            RvError::UserNotLoggedIn => Self::Login,
            RvError::SessionCount => Self::SessionLimit,
            RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::DeviceRemoved
            | RvError::SlotIdInvalid => Self::TokenGone,
            RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
            | RvError::UserPinNotInitialized => Self::Pin,
            RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::KeyTypeInconsistent
            | RvError::KeyFunctionNotPermitted
            | RvError::KeySizeRange
            | RvError::DataInvalid
            | RvError::DataLenRange
            | RvError::CurveNotSupported
            | RvError::DomainParamsInvalid
            | RvError::FunctionNotSupported
            | RvError::TemplateIncomplete
            | RvError::TemplateInconsistent
            | RvError::AttributeReadOnly
            | RvError::AttributeTypeInvalid
            | RvError::AttributeValueInvalid
            | RvError::ActionProhibited
            | RvError::FunctionRejected
            | RvError::TokenWriteProtected => Self::Request,
            // General, device, memory, not initialised, vendor's own.
            _ => Self::Device,
        }
    }
}

impl std::fmt::Display for FailureClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    #[test]
    fn index_is_position() {
        for (position, class) in FailureClass::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), position);
        }
    }

    #[test]
    fn a_refused_pin_is_never_retried() {
        for code in [
            RvError::PinIncorrect,
            RvError::PinLocked,
            RvError::PinExpired,
            RvError::PinInvalid,
            RvError::PinLenRange,
        ] {
            let error = TokenError::Pkcs11(code, Function::Login);
            assert_eq!(FailureClass::of(&error), FailureClass::Pin);
        }
    }
}
