//! What the setup endpoint answers: its routes, each behind the one-time code.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use hufu_door::body::{Path as UrlPath, expect_type as media_type, read as body};
use hufu_door::{Code, Form, Problem, Route, Rule, json, route};
use hufu_proof::codec::MAX_GENESIS;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::{Zeroize as _, Zeroizing};

use crate::backup::{Restores, ShareRequest};
use crate::code::{Gate, Verdict};
use crate::extension::Extensions;
use crate::install::{Installer, Order, Told};
use crate::provision::{Ceremony, Progress, Provisioner};

/// Largest ceremony request, in bytes: a configuration in JSON.
const MAX_CEREMONY: usize = 512 * 1024;

/// Largest body of any request, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// Largest certificate chain, in bytes.
const MAX_CHAIN: usize = 256 * 1024;

/// Where a backup comes in.
const RESTORE: &str = "/v1/setup/restore";

/// Where an extension comes in, with its name behind it.
const EXTENSION: &str = "/v1/setup/extension/";

#[derive(Clone)]
struct Shared {
    machine: Arc<Provisioner>,
    restores: Arc<Restores>,
    gate: Arc<Gate>,
    installer: Installer,
    extensions: Arc<Extensions>,
}

/// Every route of the setup endpoint.
pub const ROUTES: &[Route] = &[
    Route::new("GET", "/v1/setup", Rule::OneTimeCode),
    Route::new("POST", "/v1/setup/ceremony", Rule::OneTimeCode),
    Route::new("POST", RESTORE, Rule::OneTimeCode),
    Route::new("POST", "/v1/setup/restore/shares", Rule::OneTimeCode),
    Route::new("POST", "/v1/setup/genesis", Rule::OneTimeCode),
    Route::new("POST", "/v1/setup/administrator", Rule::OneTimeCode),
    Route::new("POST", "/v1/setup/certificate", Rule::OneTimeCode),
    Route::new("POST", "/v1/setup/extension/{name}", Rule::OneTimeCode),
    Route::new("GET", "/v1/setup/installation", Rule::OneTimeCode),
    Route::new("POST", "/v1/setup/installation", Rule::OneTimeCode),
];

fn handler(route: &Route) -> MethodRouter<Shared> {
    match (route.method, route.path) {
        ("GET", "/v1/setup") => get(progress),
        ("POST", "/v1/setup/ceremony") => post(ceremony),
        ("POST", RESTORE) => post(restore),
        ("POST", "/v1/setup/restore/shares") => post(shares),
        ("POST", "/v1/setup/genesis") => post(genesis),
        ("POST", "/v1/setup/administrator") => post(administrator),
        ("POST", "/v1/setup/certificate") => post(certificate),
        ("POST", "/v1/setup/extension/{name}") => post(extension),
        ("GET", "/v1/setup/installation") => get(installation),
        ("POST", "/v1/setup/installation") => post(install),
        // Every test of this router meets every row.
        _ => MethodRouter::new(),
    }
}

/// The endpoint's router. Every path, those that are not there too, wants the
/// code.
pub fn router(machine: Arc<Provisioner>, gate: Arc<Gate>, installer: Installer) -> Router {
    let restores = Arc::new(Restores::new(machine.clone()));
    let extensions = Arc::new(Extensions::new(machine.site.clone()));
    let shared = Shared { machine, restores, gate, installer, extensions };
    route::router(ROUTES, None, Form::Json, handler)
        .layer(from_fn_with_state(shared.clone(), admit))
        .with_state(shared)
}

/// Lets in who has the code.
async fn admit(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let (parts, from) = request.into_parts();
    if let Err(problem) = judge(&shared, &parts.headers) {
        return problem.into_response();
    }
    let path = parts.uri.path();
    if path == RESTORE || path.starts_with(EXTENSION) {
        // They may be large, and are taken as they come in.
        return next.run(Request::from_parts(parts, from)).await;
    }
    match body(from, MAX_BODY).await {
        Ok(bytes) => next.run(Request::from_parts(parts, bytes.into())).await,
        Err(problem) => problem.into_response(),
    }
}

fn judge(shared: &Shared, headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(|code| Zeroizing::new(code.to_owned()));
    let Some(given) = given else {
        let detail = "send the code that the console shows as `Authorization: Bearer CODE`";
        return Err(Problem::new(Code::CodeMissing, detail));
    };
    match shared.gate.judge(&given) {
        Verdict::Right => Ok(()),
        Verdict::Wrong(left) => {
            tracing::warn!(left, "wrong one-time code");
            let detail = format!("read it from the console again; wrong codes left: {left}");
            Err(Problem::new(Code::CodeWrong, detail))
        }
        Verdict::Closed => {
            tracing::warn!("the setup endpoint is closed after wrong codes");
            shared.machine.done.notify_one();
            let detail = "too many wrong codes: somebody must press Enter at the console, which \
                          shows a new code";
            Err(Problem::new(Code::SetupClosed, detail))
        }
    }
}

struct Answer(Progress);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (StatusCode::OK, axum::Json(self.0)).into_response()
    }
}

type Answered = Result<Answer, Problem>;

async fn progress(State(shared): State<Shared>) -> Answered {
    shared.machine.progress().map(Answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CeremonyRequest {
    config: String,
    witnesses: Vec<String>,
    pin: Option<String>,
}

async fn ceremony(State(shared): State<Shared>, headers: HeaderMap, from: Body) -> Answered {
    media_type(&headers, "application/json")?;
    let CeremonyRequest { config, witnesses, pin } = secret_json(from, MAX_CEREMONY).await?;
    let pin = pin.map(Zeroizing::new);
    shared.machine.ceremony(Ceremony { config, witnesses, pin }).await.map(Answer)
}

async fn genesis(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    from: Body,
) -> Answered {
    media_type(&headers, "application/json")?;
    let admitted = match query.as_deref() {
        None => false,
        Some("admitted") => true,
        Some(other) => {
            return Err(Problem::malformed(format!(
                "the query is `admitted` or none, not `{other}`"
            )));
        }
    };
    let bytes = body(from, MAX_GENESIS).await?;
    shared.machine.genesis(&bytes, admitted).await.map(Answer)
}

async fn administrator(
    State(shared): State<Shared>,
    headers: HeaderMap,
    from: Body,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    media_type(&headers, "application/pem-certificate-request")?;
    let csr = text(from).await?;
    let chain = shared.machine.administrator(&csr).await?;
    Ok(axum::Json(serde_json::json!({ "chain": chain })))
}

async fn certificate(State(shared): State<Shared>, headers: HeaderMap, from: Body) -> Answered {
    media_type(&headers, "application/pem-certificate-chain")?;
    let chain = text(from).await?;
    shared.machine.certificate(&chain).await.map(Answer)
}

async fn installation(State(shared): State<Shared>) -> Result<axum::Json<Told>, Problem> {
    shared.installer.look().map(axum::Json)
}

async fn install(
    State(shared): State<Shared>,
    headers: HeaderMap,
    from: Body,
) -> Result<axum::Json<Told>, Problem> {
    media_type(&headers, "application/json")?;
    let bytes = body(from, MAX_BODY).await?;
    let order: Order = json::from_slice(&bytes)?;
    must_be_new(&shared)?;
    shared.installer.begin(&order).map(axum::Json)
}

async fn extension(
    State(shared): State<Shared>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
    from: Body,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    media_type(&headers, "application/octet-stream")?;
    must_be_new(&shared)?;
    shared.extensions.add(&name, from).await.map(axum::Json)
}

/// What changes the machine under the node comes before there is one.
fn must_be_new(shared: &Shared) -> Result<(), Problem> {
    if shared.machine.is_new()? {
        return Ok(());
    }
    let detail = "this machine has held its ceremony; do this with one that is new";
    Err(Problem::new(Code::CeremonyHeld, detail))
}

async fn shares(
    State(shared): State<Shared>,
    headers: HeaderMap,
    from: Body,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    media_type(&headers, "application/json")?;
    let request: ShareRequest = secret_json(from, MAX_BODY).await?;
    shared.restores.shares(request).await.map(axum::Json)
}

async fn restore(State(shared): State<Shared>, headers: HeaderMap, from: Body) -> Answered {
    media_type(&headers, "application/octet-stream")?;
    shared.restores.backup(from).await.map(Answer)
}

/// A body of JSON that may hold a PIN or a share: its bytes do not stay.
async fn secret_json<T: DeserializeOwned>(from: Body, limit: usize) -> Result<T, Problem> {
    let bytes = body(from, limit).await?;
    let parsed = json::from_slice(&bytes);
    if let Ok(mut bytes) = bytes.try_into_mut() {
        bytes.zeroize();
    }
    Ok(parsed?)
}

/// A body of PEM.
async fn text(from: Body) -> Result<String, Problem> {
    let bytes = body(from, MAX_CHAIN).await?;
    String::from_utf8(bytes.to_vec())
        .map_err(|_| Problem::malformed("the body is not PEM: it is not text"))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;
    use tower::ServiceExt as _;

    use std::fs;

    use super::*;
    use crate::site::Site;
    use crate::vault::{Seal, Vault};

    struct World {
        root: tempfile::TempDir,
        gate: Arc<Gate>,
        router: Router,
    }

    fn world() -> World {
        let root = tempfile::tempdir().unwrap();
        let site = Site::new(root.path(), None);
        site.prepare().unwrap();
        let vault = Vault::new(Seal::Null, site.credentials());
        let installer = Installer::new(site.clone());
        let machine = Arc::new(Provisioner::new(site, vault).unwrap());
        let gate = Arc::new(Gate::new().unwrap());
        World { root, router: router(machine, gate.clone(), installer), gate }
    }

    impl World {
        async fn ask(
            &self,
            method: Method,
            path: &str,
            code: Option<&str>,
            kind: &str,
            content: impl Into<Body>,
        ) -> (u16, serde_json::Value) {
            let mut request =
                Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
            if let Some(code) = code {
                request = request.header(header::AUTHORIZATION, format!("Bearer {code}"));
            }
            let request = request.body(content.into()).unwrap();
            let answer = self.router.clone().oneshot(request).await.unwrap();
            let status = answer.status().as_u16();
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            (status, serde_json::from_slice(&bytes).unwrap())
        }
    }

    #[tokio::test]
    async fn every_path_wants_the_code_and_three_wrong_ones_close() {
        let world = world();
        let right = world.gate.shown();
        for path in ["/v1/setup", "/", "/v1/setup/ceremony"] {
            let (status, problem) = world.ask(Method::GET, path, None, "", "").await;
            assert_eq!((status, &problem["code"]), (401, &"code-missing".into()), "{path}");
        }
        let (status, progress) = world.ask(Method::GET, "/v1/setup", Some(&right), "", "").await;
        assert_eq!((status, &progress["missing"][0]), (200, &"ceremony".into()));
        for (wrong, code) in [("A", "code-wrong"), ("B", "code-wrong"), ("C", "setup-closed")] {
            let (_, problem) = world.ask(Method::GET, "/", Some(wrong), "", "").await;
            assert_eq!(problem["code"], code);
        }
        let (status, problem) = world.ask(Method::GET, "/v1/setup", Some(&right), "", "").await;
        assert_eq!((status, &problem["code"]), (403, &"setup-closed".into()));
    }

    #[tokio::test]
    async fn no_route_answers_without_the_code() {
        for route in ROUTES {
            assert_eq!(route.rule, Rule::OneTimeCode, "{}", route.path);
            let path = route.path.replace("{name}", "x");
            for (code, wanted) in [(None, "code-missing"), (Some("A"), "code-wrong")] {
                let world = world();
                let method = Method::from_bytes(route.method.as_bytes()).unwrap();
                let (status, problem) = world.ask(method, &path, code, "", "").await;
                assert_eq!((status, &problem["code"]), (401, &wanted.into()), "{path}");
            }
        }
    }

    #[tokio::test]
    async fn a_backup_is_taken_from_enough_operators_on_a_new_machine_or_not_at_all() {
        const JSON: &str = "application/json";
        const OCTETS: &str = "application/octet-stream";
        let world = world();
        let right = world.gate.shown();
        let site = Site::new(world.root.path(), None);
        // The one of the first version: 2 of 3, with a configuration and no more.
        let file = include_bytes!("../../backup/tests/fixtures/v1.backup");
        let keys = include_str!("../../backup/tests/fixtures/v1.identities");
        let (lines, head) = hufu_backup::read_head(&mut &file[..]).unwrap();
        let lines = String::from_utf8(lines).unwrap();
        let shares: Vec<String> = keys
            .lines()
            .map(|key| hufu_backup::identities(key.as_bytes()).unwrap())
            .map(|key| hufu_backup::open_share(&head, &key).unwrap().text().to_owned())
            .collect();
        let give = async |head: &str, shares: &[&String]| {
            let body = serde_json::json!({ "head": head, "shares": shares }).to_string();
            world.ask(Method::POST, "/v1/setup/restore/shares", Some(&right), JSON, body).await
        };
        let send = async |file: &[u8]| {
            let file = file.to_vec();
            world.ask(Method::POST, "/v1/setup/restore", Some(&right), OCTETS, file).await
        };
        let code = |(status, problem): (u16, serde_json::Value)| {
            (status, problem["code"].as_str().unwrap_or_default().to_owned())
        };
        let refused = |status, code: &str| (status, code.to_owned());
        assert_eq!(code(send(file).await), refused(409, "shares-missing"));
        assert_eq!(code(give("x", &[]).await), refused(422, "restore-refused"));
        let bad = "hufu-share-1:x:1:00".to_owned();
        assert_eq!(code(give(&lines, &[&shares[0], &bad]).await), refused(422, "share-refused"));
        let (status, said) = give(&lines, &[&shares[0]]).await;
        assert_eq!((status, &said["shares"], &said["missing"]), (200, &1.into(), &1.into()));
        // The same again is no other one.
        let (_, said) = give(&lines, &[&shares[0]]).await;
        assert_eq!((&said["shares"], &said["member"]), (&1.into(), &"maker".into()));
        assert_eq!(code(send(file).await), refused(409, "shares-missing"));
        let (_, said) = give(&lines, &[&shares[2]]).await;
        assert_eq!(said["missing"], 0);
        for (what, file) in [("cut", &file[..file.len() - 9]), ("without genesis file", &file[..])]
        {
            let (status, problem) = send(file).await;
            assert_eq!((status, &problem["code"]), (422, &"restore-refused".into()), "{what}");
            assert!(!site.restoring().exists() && !site.restored().exists(), "{what}");
            assert_eq!(fs::read_dir(site.tokens()).unwrap().count(), 0, "{what}");
        }
        fs::write(site.config(), "").unwrap();
        assert_eq!(code(send(file).await), refused(409, "machine-not-new"));
        assert_eq!(code(give(&lines, &[]).await), refused(409, "machine-not-new"));
    }

    #[tokio::test]
    async fn bad_bodies_are_told_what_is_wrong_with_them() {
        const JSON: &str = "application/json";
        let world = world();
        let right = world.gate.shown();
        let large = " ".repeat(MAX_CEREMONY + 1);
        for (method, path, kind, content, status, code, words) in [
            (Method::POST, "ceremony", "text/plain", "{}", 415, "media-type", JSON),
            (Method::POST, "ceremony", JSON, "", 400, "request-malformed", "line 1"),
            (Method::POST, "ceremony", JSON, "{}", 400, "request-malformed", "`config`"),
            (
                Method::POST,
                "ceremony",
                JSON,
                "{\"config\":\"\",\"witness\":[]}",
                400,
                "request-malformed",
                "`witness`",
            ),
            (
                Method::POST,
                "ceremony",
                JSON,
                "{\"config\":\"x = \",\"witnesses\":[]}",
                422,
                "configuration-refused",
                "line 1",
            ),
            (Method::POST, "ceremony", JSON, &large, 413, "request-too-large", "524288"),
            (Method::POST, "genesis", JSON, "{}", 409, "too-early", "ceremony"),
            (
                Method::POST,
                "certificate",
                "application/pem-certificate-chain",
                "x",
                409,
                "too-early",
                "genesis",
            ),
            (
                Method::POST,
                "administrator",
                "application/pem-certificate-request",
                "x",
                409,
                "too-early",
                "genesis",
            ),
            (Method::POST, "installation", JSON, "{}", 400, "request-malformed", "`disk`"),
            (
                Method::POST,
                "installation",
                JSON,
                "{\"disk\":\"sda\"}",
                422,
                "disk-refused",
                "image",
            ),
            (Method::GET, "genesis", "", "", 405, "method", "POST"),
            (Method::POST, "nothing", "", "", 404, "not-found", "/v1/setup/nothing"),
        ] {
            let path = format!("/v1/setup/{path}");
            let (found, problem) =
                world.ask(method, &path, Some(&right), kind, content.to_owned()).await;
            assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_body_is_refused_in_the_endpoints_own_form(
            body in proptest::collection::vec(any::<u8>(), 0..400),
            // Something that is nearly a request.
            near in "[{]\"(config|witnesses|pin|x)\":(\"[^\"\\\\]{0,20}\"|\\[\\]|[0-9]{1,3})[}]",
            path in prop_oneof![Just("ceremony"), Just("genesis"), Just("certificate"), Just("administrator"), Just("installation"), Just("extension/x"), Just("restore"), Just("restore/shares")],
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let world = world();
            let right = world.gate.shown();
            let kind = match path {
                "certificate" => "application/pem-certificate-chain",
                "administrator" => "application/pem-certificate-request",
                _ => "application/json",
            };
            for content in [body, near.into_bytes()] {
                let path = format!("/v1/setup/{path}");
                let asked = world.ask(Method::POST, &path, Some(&right), kind, content);
                let (status, problem) = runtime.block_on(asked);
                prop_assert!((400..500).contains(&status), "{} {}", status, problem);
                prop_assert_eq!(&problem["status"], status);
                prop_assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
            }
        }
    }
}
