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
        // The test below meets every row.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::{Request, header};
    use http_body_util::BodyExt as _;
    use hufu_door::Peer;
    use tower::ServiceExt as _;

    use super::*;
    use crate::state::{Condition, State as Stands};
    use crate::vault::{Seal, Vault};

    fn owner(site: &Site) -> Router {
        let vault = Vault::new(Seal::Null, site.credentials());
        let condition = Condition::because(Stands::Unprovisioned, "", "");
        let report = Report::new("test".into(), condition, hufu_proof::UnixMillis(0));
        router(
            watch::Sender::new(report).subscribe(),
            Upgrades::new(site.clone()),
            Arc::new(Settings::new(site.clone(), Duration::from_secs(1), Arc::default())),
            Backups::new(site.clone(), vault.clone()).unwrap(),
            Arc::new(Resets::new(site.clone(), vault, Arc::default()).unwrap()),
        )
    }

    /// What an asker is told first: `not-permitted`, or what the handler has to
    /// say to a machine that is not set up and a request that says nothing.
    #[tokio::test]
    async fn every_route_answers_at_the_socket_and_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let site = Site::new(root.path(), None);
        site.prepare().unwrap();
        for (peer, permitted) in [(Peer::Local, true), (Peer::Anonymous, false)] {
            for route in ROUTES {
                let request = Request::builder().method(route.method).uri(route.path);
                let request = request.header(header::CONTENT_TYPE, "application/octet-stream");
                let mut request = request.body(Body::from("[]")).unwrap();
                request.extensions_mut().insert(peer.clone());
                let answer = owner(&site).oneshot(request).await.unwrap();
                let status = answer.status().as_u16();
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap();
                let what = format!("{} {}: {status} {body}", route.method, route.path);
                assert_eq!(body["code"] != "not-permitted", permitted, "{what}");
                assert!(permitted || status == 403, "{what}");
                assert!(body["code"] != "not-found" && body["code"] != "method", "{what}");
            }
        }
    }
}
