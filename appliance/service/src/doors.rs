//! The doors of a node, and every route of each: what they route by, and what the
//! tests ask of every kind of caller.

use hufu_door::Route;
use hufu_protocols::{attestation, est, status};

use crate::{admin, monitor, recertification};

/// A door: its name in settings, logs and metrics, and lists of its routes with
/// what stands before their paths.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// Its name.
    pub name: &'static str,
    /// Its routes.
    pub parts: &'static [(&'static str, &'static [Route])],
}

/// What regulators, companies and devices use, and administrators from afar.
pub const GATEWAY: Listed = Listed {
    name: "gateway",
    parts: &[("", hufu_gateway::ROUTES), ("", hufu_intake::ROUTES), ("/admin", admin::ROUTES)],
};

/// Where certificates are had.
pub const EST: Listed = Listed {
    name: "est",
    parts: &[("", est::ROUTES), ("", attestation::ROUTES), ("", recertification::ROUTES)],
};

/// What everybody may know of certificates.
pub const STATUS: Listed = Listed { name: "status", parts: &[("", status::ROUTES)] };

/// How the node is.
pub const METRICS: Listed = Listed { name: "metrics", parts: &[("", monitor::ROUTES)] };

/// The administration at its socket.
pub const ADMINISTRATION: Listed = Listed { name: "admin", parts: &[("", admin::ROUTES)] };

/// All of them.
pub const ALL: [Listed; 5] = [GATEWAY, EST, STATUS, METRICS, ADMINISTRATION];
