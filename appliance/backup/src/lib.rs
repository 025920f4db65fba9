//! The one file that a backup of a member is, which m of n operators open.
//!
//! ```text
//! hufu backup v1
//! {"format":1,...}
//! an age file
//! ```
//!
//! The first two lines are ended by a line feed and are the [`Head`]: what may
//! be known without keys, and a share for each operator, as an age file to the
//! recipient that the operator gave. The age file behind it (binary, X25519) is
//! to an identity that was made for this backup and is nowhere else; shares are
//! of the text of that identity (`AGE-SECRET-KEY-1...`), byte for byte, by Shamir
//! over GF(256) with the polynomial 0x11d and the secret at 0: `age` and any such
//! Shamir open a backup without this program.
//!
//! What the age file holds is again a line of JSON, the [`Manifest`], with the
//! bytes of its entries behind it, in its order and with nothing between. The
//! manifest names the SHA-256 of the head, so that the two belong together.
//!
//! What it is not: a signature. Whoever knows the operators' recipients can
//! make a file that they open; that it is this member's shows in the token, whose
//! keys must be those of the genesis file (docs/decisions/0012).
//!
//! Nothing here reads or writes files or looks at a clock.

mod archive;
mod error;
mod head;
mod share;

pub use archive::{Entry, MAX_ENTRIES, Manifest, Sealer, Sink, unseal};
pub use error::BackupError;
pub use head::{DOMAIN, Head, MAX_HEAD, Operator, Plan, TokenPart, read_head};
pub use share::{MAX_OPERATORS, MAX_SHARE, Share, check_recipient, identities, open_share};
