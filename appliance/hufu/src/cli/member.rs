//! `hufu member` on the command line.

use std::path::PathBuf;

use clap::Subcommand;
use hufu_proof::{Endpoint, IdentityId, Name, UnixMillis};

use super::examples;

/// `hufu member`: what this member declares, signed by its statement key.
#[derive(Debug, Subcommand)]
pub enum Member {
    /// Approve a key: certificates for it may have these roles in this member's
    /// name, and none without. Replaces what was approved of the key before.
    #[command(after_help = examples::MEMBER_APPROVE)]
    Approve {
        /// The request of the key's holder (PKCS#10, PEM).
        #[arg(long, value_name = "FILE", required_unless_present = "key")]
        csr: Option<PathBuf>,
        /// The key by its digest, as `hufu member list` and refusals show it.
        #[arg(long, conflicts_with = "csr")]
        key: Option<IdentityId>,
        /// A role: operator, registration-authority, regulator, administrator;
        /// may be repeated.
        #[arg(long = "role", required = true)]
        roles: Vec<Name>,
        /// Until when, for instance 2030-01-31T00:00:00Z. Default: until it is
        /// withdrawn.
        #[arg(long, value_name = "TIME", value_parser = super::moment)]
        until: Option<UnixMillis>,
    },
    /// Withdraw what was approved of a key: its certificates count for nothing
    /// from then on.
    #[command(after_help = examples::MEMBER_WITHDRAW)]
    Withdraw {
        /// The key, by its digest.
        key: IdentityId,
    },
    /// Let the authority approve keys in this member's name. Replaces what was
    /// delegated before; without a role it ends, and all that rests on it.
    #[command(after_help = examples::MEMBER_DELEGATE)]
    Delegate {
        /// A role; may be repeated.
        #[arg(long = "role")]
        roles: Vec<Name>,
        /// Until when, for instance 2030-01-31T00:00:00Z. Default: until it is
        /// ended.
        #[arg(long, value_name = "TIME", value_parser = super::moment)]
        until: Option<UnixMillis>,
    },
    /// Hand a device over: its identifier is certified for another member from
    /// now on. A device that was sold needs its transfer in the device registry
    /// as well: the registry says whose it is, this for whom it is certified.
    #[command(after_help = examples::MEMBER_HAND_OVER)]
    HandOver {
        /// The device's identifier.
        #[arg(long, value_name = "ID")]
        device: String,
        /// The member that it goes to.
        #[arg(long, value_name = "MEMBER")]
        to: Name,
    },
    /// Say on the ledger where this member's node is reached by the other validators,
    /// after it has moved: they take it for what their configurations say. Run it on the
    /// node at its new place, from where it finds the others.
    #[command(after_help = examples::MEMBER_ANNOUNCE)]
    Announce {
        /// HOST:PORT, as `network.listen` is reached from outside. Not at a host of
        /// another member's.
        #[arg(value_name = "HOST:PORT", required_unless_present = "withdraw")]
        at: Option<Endpoint>,
        /// Take back what was said: the configurations count again.
        #[arg(long, conflicts_with = "at")]
        withdraw: bool,
    },
    /// What this member approved and delegated.
    #[command(after_help = examples::MEMBER_LIST)]
    List,
}
