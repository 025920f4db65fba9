//! What the node may ask of the machine, for an administrator who asks the node
//! (docs/decisions/0009). Only the node's user and root may open the socket.

use std::os::unix::fs::{PermissionsExt as _, chown};

use anyhow::Context as _;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::appliance::site::Site;
use crate::appliance::state::Report;
use crate::service::listen;

/// The routes.
pub fn router(report: watch::Receiver<Report>) -> Router {
    Router::new().route("/v1/state", get(state)).with_state(report)
}

async fn state(State(report): State<watch::Receiver<Report>>) -> Json<Report> {
    Json(report.borrow().clone())
}

/// Binds the socket.
///
/// # Errors
/// A sentence with the path.
pub fn bind(site: &Site) -> anyhow::Result<UnixListener> {
    let path = site.socket();
    let listener = listen::bind_socket(&path)?;
    if let Some(account) = site.account {
        let what = || format!("cannot give {} to the node's user", path.display());
        chown(&path, None, Some(account.group)).with_context(what)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))
            .with_context(what)?;
    }
    Ok(listener)
}
