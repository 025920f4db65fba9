//! Members as certificates name them.

use crate::form::FormError;
use crate::limits;

/// What the URI that names a member begins with.
pub(crate) const MEMBER_URN: &str = "urn:hufu:member:";

/// The URI that names a member in a certificate. A member's name has 1 to 64
/// characters of `a-z A-Z 0-9 - . _`.
pub fn member_urn(member: &str) -> Result<String, FormError> {
    check_member(member)?;
    Ok(format!("{MEMBER_URN}{member}"))
}

/// Checks a member's name.
pub fn check_member(member: &str) -> Result<(), FormError> {
    let fine = !member.is_empty()
        && member.len() <= limits::MEMBER_NAME
        && member.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if fine {
        Ok(())
    } else {
        Err(FormError::malformed(
            "member name",
            "use 1 to 64 letters, digits, hyphens, dots and underscores",
        ))
    }
}
