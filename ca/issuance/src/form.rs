//! What can be said of bytes, names and profiles alone: the faults of reading
//! and of rules, without ledger, token or store. Everything below
//! [`crate::Issuance`] fails with these; [`crate::CaError`] carries them up.

/// What was given breaks a rule of form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// An input that is not what it must be. The caller mends it.
    #[error("{what} is malformed: {detail}")]
    Malformed {
        /// Which input.
        what: &'static str,
        /// What and where.
        detail: String,
    },

    /// Larger than the limit of [`crate::limits`].
    #[error("{what} is larger than {limit} bytes; send one of at most that size")]
    TooLarge {
        /// Which input.
        what: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },

    /// The certification request is not signed by the key inside it.
    #[error(
        "the certification request's signature does not verify with the public key inside it; \
         sign the request with the private key of that public key"
    )]
    ProofOfPossession,

    /// A key or signature algorithm that is not taken.
    #[error("{what} {given} is not accepted; use one of {accepted}")]
    Algorithm {
        /// "public key algorithm", "signature algorithm", ...
        what: &'static str,
        /// What was given.
        given: String,
        /// What would be accepted.
        accepted: String,
    },

    /// The requested subject breaks a rule of the profile.
    #[error("subject field {field}: {detail}")]
    Subject {
        /// The attribute.
        field: String,
        /// The rule and the remedy.
        detail: String,
    },

    /// A requested extension or attribute that no requester may set.
    #[error("requested extension {extension}: {detail}")]
    Extension {
        /// Its name or object identifier.
        extension: String,
        /// The rule and the remedy.
        detail: String,
    },

    /// No profile of that name.
    #[error("there is no profile {name:?}; this authority has {known}")]
    ProfileUnknown {
        /// The label asked for.
        name: String,
        /// All names.
        known: String,
    },

    /// A profile's file does not say what it must.
    #[error("profile {name}: {detail}")]
    ProfileInvalid {
        /// The profile.
        name: String,
        /// Which key, and what it may be.
        detail: String,
    },

    /// What a certificate says is not what its issuer says.
    #[error("the certificate does not hold: {0}")]
    Certificate(String),

    /// A value of our own making does not encode: a defect.
    #[error("a value could not be encoded")]
    Encoding(#[source] der::Error),

    /// The system gave no random numbers.
    #[error("the system gave no random numbers")]
    Random,
}

impl FormError {
    /// The stable machine code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "request-malformed",
            Self::TooLarge { .. } => "request-too-large",
            Self::ProofOfPossession => "csr-signature-invalid",
            Self::Algorithm { .. } => "csr-algorithm-refused",
            Self::Subject { .. } => "csr-subject-invalid",
            Self::Extension { .. } => "csr-extension-refused",
            Self::ProfileUnknown { .. } => "profile-unknown",
            Self::ProfileInvalid { .. } => "profile-invalid",
            Self::Certificate(_) => "certificate-invalid",
            Self::Encoding(_) | Self::Random => "internal",
        }
    }

    /// A fault of an input.
    pub fn malformed(what: &'static str, detail: impl ToString) -> FormError {
        FormError::Malformed { what, detail: detail.to_string() }
    }

    /// A defect of ours.
    pub fn encoding(error: der::Error) -> FormError {
        FormError::Encoding(error)
    }
}
