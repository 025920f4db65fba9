//! What may be known of a backup without keys.

use std::collections::BTreeSet;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::BackupError;
use crate::share::{self, MAX_OPERATORS};

/// The first line, without its line feed.
pub const DOMAIN: &str = "hufu backup v1";

/// Largest head, in bytes: both lines.
pub const MAX_HEAD: usize = 256 * 1024;

/// Largest sealed share, in bytes.
const MAX_SEALED: usize = 8 * 1024;

/// Longest text of any field, in bytes.
const MAX_TEXT: usize = 4096;

/// Whether the token's keys are in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenPart {
    /// They are.
    Included,
    /// The token does not give them away.
    NotExportable,
}

/// What a backup is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whose it is.
    pub member: String,
    /// Digest of the member's genesis file.
    pub genesis: String,
    /// When it is made, milliseconds since 1970.
    pub created_ms: u64,
    /// What makes it.
    pub software: String,
    /// Whether the token is in it.
    pub token: TokenPart,
    /// How many operators it takes.
    pub threshold: u8,
    /// The operators' recipients.
    pub recipients: Vec<String>,
}

/// The head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Version of the format.
    pub format: u8,
    /// Names the backup, in shares.
    pub id: String,
    /// Whose it is.
    pub member: String,
    /// Digest of the member's genesis file.
    pub genesis: String,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// What made it.
    pub software: String,
    /// Whether the token is in it.
    pub token: TokenPart,
    /// How many operators it takes.
    pub threshold: u8,
    /// The operators, in the order of their shares' numbers, which begin at 1.
    pub operators: Vec<Operator>,
}

/// One who can open a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The age recipient.
    pub recipient: String,
    /// SHA-256 of the share's text, hexadecimal.
    pub share_sha256: String,
    /// The share's text as an age file to the recipient, in base64.
    pub sealed: String,
}

impl Operator {
    /// The age file with the share.
    ///
    /// # Errors
    /// When it is none.
    pub fn sealed(&self) -> Result<Vec<u8>, BackupError> {
        let problem = || BackupError::Head {
            field: "operators.sealed",
            problem: "is not base64 of an age file".to_owned(),
        };
        STANDARD.decode(&self.sealed).map_err(|_| problem())
    }
}

impl Head {
    /// The two lines.
    pub(crate) fn lines(&self) -> Result<Vec<u8>, BackupError> {
        let json = serde_json::to_string(self)
            .map_err(|error| BackupError::Head { field: "head", problem: error.to_string() })?;
        Ok(format!("{DOMAIN}\n{json}\n").into_bytes())
    }

    /// Reads the two lines.
    ///
    /// # Errors
    /// [`BackupError`] with the field.
    pub fn parse(lines: &[u8]) -> Result<Self, BackupError> {
        if lines.len() > MAX_HEAD {
            return Err(BackupError::Form("its head is over 256 KiB"));
        }
        let rest = lines
            .strip_prefix(DOMAIN.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"\n"))
            .ok_or(BackupError::Form("it does not begin with `hufu backup v1`"))?;
        let json = rest
            .strip_suffix(b"\n")
            .filter(|json| !json.contains(&b'\n'))
            .ok_or(BackupError::Form("its head is not two lines"))?;
        let head: Self = serde_json::from_slice(json)
            .map_err(|error| BackupError::Head { field: "head", problem: error.to_string() })?;
        head.check()?;
        Ok(head)
    }

    fn check(&self) -> Result<(), BackupError> {
        let refuse =
            |field, problem: &str| Err(BackupError::Head { field, problem: problem.to_owned() });
        if self.format != 1 {
            return refuse("format", "this program reads format 1; take a newer one");
        }
        for (field, text) in [
            ("id", &self.id),
            ("member", &self.member),
            ("genesis", &self.genesis),
            ("software", &self.software),
        ] {
            if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
                return refuse(field, "is empty, too long or not plain text");
            }
        }
        let operators = self.operators.len();
        if operators == 0 || operators > MAX_OPERATORS {
            return refuse("operators", "there are 1 to 16");
        }
        if self.threshold == 0 || usize::from(self.threshold) > operators {
            return refuse("threshold", "is not between 1 and the number of operators");
        }
        let mut recipients = BTreeSet::new();
        for operator in &self.operators {
            share::check_recipient(&operator.recipient)?;
            if !recipients.insert(&operator.recipient) {
                return refuse("operators.recipient", "is there twice");
            }
            if operator.sealed.len() > MAX_SEALED {
                return refuse("operators.sealed", "is too long");
            }
            operator.sealed()?;
            if operator.share_sha256.len() != 64 || hex::decode(&operator.share_sha256).is_err() {
                return refuse("operators.share_sha256", "is no SHA-256");
            }
        }
        Ok(())
    }
}

/// SHA-256 of the head's two lines, hexadecimal.
pub(crate) fn digest(lines: &[u8]) -> String {
    hex::encode(Sha256::digest(lines))
}

/// Reads the head in front of a backup: its two lines, and what they say. What
/// follows is left in `input`, so that it had better be buffered.
///
/// # Errors
/// [`BackupError`] when it is none.
pub fn read_head(input: &mut impl Read) -> Result<(Vec<u8>, Head), BackupError> {
    let mut lines = Vec::new();
    let mut ends = 0;
    while ends < 2 {
        let mut byte = [0];
        input
            .read_exact(&mut byte)
            .map_err(|source| BackupError::Damaged { place: "head".to_owned(), source })?;
        // Whatever it is, it is none: it need not be read further.
        if ends == 0 && DOMAIN.as_bytes().get(lines.len()).unwrap_or(&b'\n') != &byte[0] {
            return Err(BackupError::Form("it does not begin with `hufu backup v1`"));
        }
        if lines.len() == MAX_HEAD {
            return Err(BackupError::Form("its head is over 256 KiB"));
        }
        ends += usize::from(byte[0] == b'\n');
        lines.push(byte[0]);
    }
    let head = Head::parse(&lines)?;
    Ok((lines, head))
}
