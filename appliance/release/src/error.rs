//! What is wrong with a release.

/// Why a release is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// It is not a release at all, or cut off.
    #[error("not a release: {0}")]
    Form(&'static str),
    /// Its manifest is larger than is read.
    #[error("the manifest is over {max} bytes", max = crate::MAX_HEAD)]
    TooLarge,
    /// The signature does not verify.
    #[error(
        "the signature is not by the release key of this appliance, or the manifest was altered; \
         get the release again from its maker"
    )]
    Signature,
    /// The release key itself cannot be used.
    #[error("the release key cannot be used: {0}")]
    Key(String),
    /// A field of the manifest is not what it must be.
    #[error("manifest, field `{field}`: {problem}")]
    Manifest {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A part's bytes are not those that were signed.
    #[error("part `{0}` was altered or damaged on its way; get the release again")]
    Part(&'static str),
    /// The update ended before its last part did.
    #[error("the update ends early, in `{0}`; get it again")]
    Truncated(&'static str),
    /// Something follows the last part.
    #[error("the update goes on after its last part")]
    Trailing,
    /// A part could not be given on.
    #[error("cannot store part `{part}`")]
    Sink {
        /// The part.
        part: &'static str,
        /// Why.
        source: std::io::Error,
    },
}
