//! What is wrong with a backup or a share.

/// Why a backup or a share is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// It is not a backup at all, or cut off.
    #[error("not a backup: {0}")]
    Form(&'static str),
    /// A field of the head is not what it must be.
    #[error("the backup's head, field `{field}`: {problem}")]
    Head {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The manifest is not what it must be.
    #[error("the backup's manifest, field `{field}`: {problem}")]
    Manifest {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A recipient cannot be encrypted to.
    #[error(
        "recipient `{recipient}`: {problem}; give what `age-keygen` or a hardware key's plugin \
         prints (age1..., age1tag1..., age1tagpq1...)"
    )]
    Recipient {
        /// What was given.
        recipient: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The threshold is not one.
    #[error("threshold: of {operators} operators, 1 to {operators} can be needed, not {threshold}")]
    Threshold {
        /// What was given.
        threshold: u8,
        /// How many operators there are.
        operators: usize,
    },
    /// There are too many operators, or none, or one twice.
    #[error("recipients: {0}")]
    Recipients(&'static str),
    /// A share is no share.
    #[error("the share is not of the form it must have ({0}); `hufu backup open-share` prints it")]
    ShareForm(&'static str),
    /// A share belongs to another backup.
    #[error("the share is of another backup ({found}, and this is {id})")]
    OtherBackup {
        /// The share's.
        found: String,
        /// This backup's.
        id: String,
    },
    /// A share was altered.
    #[error("share {index} is not the one that was made for this backup; open it again")]
    ShareWrong {
        /// Its number.
        index: u8,
    },
    /// There are too few shares.
    #[error("{given} of {needed} shares are there")]
    TooFew {
        /// How many there are.
        given: usize,
        /// How many it takes.
        needed: u8,
    },
    /// None of the identities is an operator's of this backup.
    #[error("none of the identities opens a share of this backup; its operators are {0}")]
    NoShare(String),
    /// The shares do not open it.
    #[error("the shares do not open this backup: it was altered, or is another one's")]
    Sealed,
    /// It was altered or ends early.
    #[error("the backup ends early or was altered, in `{place}`; get the file again")]
    Damaged {
        /// Where.
        place: String,
        /// What reading said.
        #[source]
        source: std::io::Error,
    },
    /// An entry's bytes are not those of the manifest.
    #[error("`{0}` changed while the backup was made; make it again")]
    Changed(String),
    /// An entry cannot be given on.
    #[error("cannot store `{path}`")]
    Sink {
        /// The entry.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the backup")]
    Write(#[source] std::io::Error),
}
