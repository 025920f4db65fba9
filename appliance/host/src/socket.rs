//! What the node may ask of the machine, for an administrator who asks the node
//! (docs/decisions/0009). Only the node's user and root may open the socket.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use hufu_door::body::{Json, Octets, Text};
use hufu_door::{Form, Problem, Route, Rule, json, listen, route};
use serde_json::Value;
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::backup::Backups;
use crate::configuration::Settings;
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

/// Every route of the owner's socket.
pub const ROUTES: &[Route] = &[
    Route::new("GET", "/v1/state", Rule::Socket),
    Route::new("GET", "/v1/upgrade", Rule::Socket),
    Route::new("POST", "/v1/upgrade", Rule::Socket),
    Route::new("POST", "/v1/upgrade/check", Rule::Socket),
    Route::new("GET", "/v1/configuration", Rule::Socket),
    Route::new("POST", "/v1/configuration", Rule::Socket),
    Route::new("POST", "/v1/configuration/confirm", Rule::Socket),
    Route::new("POST", "/v1/backup", Rule::Socket),
    Route::new("POST", "/v1/reset", Rule::Socket),
];

/// The router.
pub fn router(
    report: watch::Receiver<Report>,
    upgrades: Upgrades,
    settings: Arc<Settings>,
    backups: Backups,
    resets: Arc<Resets>,
) -> Router {
    route::router(ROUTES, None, Form::Json, handler).with_state(Asked {
        report,
        upgrades: Arc::new(upgrades),
        settings,
        backups: Arc::new(backups),
        resets,
    })
}

fn handler(route: &Route) -> MethodRouter<Asked> {
    match (route.method, route.path) {
        ("GET", "/v1/state") => get(state),
        ("GET", "/v1/upgrade") => get(upgrade_status),
        ("POST", "/v1/upgrade") => post(upgrade),
        ("POST", "/v1/upgrade/check") => post(check_upgrade),
        ("GET", "/v1/configuration") => get(configuration),
        ("POST", "/v1/configuration") => post(configure),
        ("POST", "/v1/configuration/confirm") => post(confirm_configuration),
        ("POST", "/v1/backup") => post(backup),
        ("POST", "/v1/reset") => post(reset),
        // The test of this router meets every row.
        _ => MethodRouter::new(),
    }
}

async fn state(State(asked): State<Asked>) -> Json<Report> {
    Json(asked.report.borrow().clone())
}

async fn upgrade_status(State(asked): State<Asked>) -> Result<Json<Value>, Problem> {
    asked.upgrades.status().await.map(Json)
}

async fn check_upgrade(
    State(asked): State<Asked>,
    Octets(head): Octets,
) -> Result<Json<Value>, Problem> {
    asked.upgrades.check(&head).await.map(Json)
}

async fn upgrade(State(asked): State<Asked>, update: Body) -> Result<Json<Value>, Problem> {
    let state = asked.report.borrow().condition.state;
    asked.upgrades.apply(update, state).await.map(Json)
}

async fn configuration(State(asked): State<Asked>) -> Result<Json<Value>, Problem> {
    asked.settings.show().map(Json)
}

async fn configure(State(asked): State<Asked>, Text(text): Text) -> Result<Json<Value>, Problem> {
    asked.settings.change(&text).map(Json)
}

async fn confirm_configuration(State(asked): State<Asked>) -> Result<Json<Value>, Problem> {
    asked.settings.confirm().map(Json)
}

async fn backup(State(asked): State<Asked>, Octets(request): Octets) -> Result<Response, Problem> {
    asked.backups.make(json::from_slice(&request)?).await
}

async fn reset(
    State(asked): State<Asked>,
    Octets(request): Octets,
) -> Result<Json<Value>, Problem> {
    asked.resets.ask(&json::from_slice(&request)?).map(Json)
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
