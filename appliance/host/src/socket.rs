//! What the node may ask of the machine, for an administrator who asks the node
//! (docs/decisions/0009). Only the node's user and root may open the socket.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::sync::Arc;

use anyhow::Context as _;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use hufu_service::admin::Refusal;
use hufu_service::listen;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::backup::Backups;
use crate::configuration::Settings;
use crate::problem::Problem;
use crate::reset::Resets;
use crate::site::Site;
use crate::state::Report;
use crate::upgrade::Upgrades;

/// What the routes are about.
#[derive(Clone)]
struct Asked {
    report: watch::Receiver<Report>,
    upgrades: Arc<Upgrades>,
    settings: Arc<Settings>,
    backups: Arc<Backups>,
    resets: Arc<Resets>,
}

/// The routes.
pub fn router(
    report: watch::Receiver<Report>,
    upgrades: Upgrades,
    settings: Arc<Settings>,
    backups: Backups,
    resets: Arc<Resets>,
) -> Router {
    Router::new()
        .route("/v1/state", get(state))
        .route("/v1/upgrade", get(upgrade_status).post(upgrade))
        .route("/v1/upgrade/check", post(check_upgrade))
        .route("/v1/configuration", get(configuration).post(configure))
        .route("/v1/configuration/confirm", post(confirm_configuration))
        .route("/v1/backup", post(backup))
        .route("/v1/reset", post(reset))
        .with_state(Asked {
            report,
            upgrades: Arc::new(upgrades),
            settings,
            backups: Arc::new(backups),
            resets,
        })
}

async fn state(State(asked): State<Asked>) -> Json<Report> {
    Json(asked.report.borrow().clone())
}

async fn upgrade_status(State(asked): State<Asked>) -> Result<Json<Value>, Refusal> {
    asked.upgrades.status().await.map(Json)
}

async fn check_upgrade(State(asked): State<Asked>, head: Bytes) -> Result<Json<Value>, Refusal> {
    asked.upgrades.check(&head).await.map(Json)
}

async fn upgrade(State(asked): State<Asked>, update: Body) -> Result<Json<Value>, Refusal> {
    let state = asked.report.borrow().condition.state;
    asked.upgrades.apply(update, state).await.map(Json)
}

async fn configuration(State(asked): State<Asked>) -> Result<Json<Value>, Problem> {
    asked.settings.show().map(Json)
}

async fn configure(State(asked): State<Asked>, text: String) -> Result<Json<Value>, Problem> {
    asked.settings.change(&text).map(Json)
}

async fn confirm_configuration(State(asked): State<Asked>) -> Result<Json<Value>, Problem> {
    asked.settings.confirm().map(Json)
}

async fn backup(State(asked): State<Asked>, request: Bytes) -> Result<Response, Problem> {
    asked.backups.make(parse(&request)?).await
}

async fn reset(State(asked): State<Asked>, request: Bytes) -> Result<Json<Value>, Problem> {
    asked.resets.ask(&parse(&request)?).map(Json)
}

fn parse<T: DeserializeOwned>(request: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(request)
        .map_err(|error| Problem::new("request-malformed", format!("the body: {error}")))
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
