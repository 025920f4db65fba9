//! One list of routes per door: routing, authorisation, description and tests
//! read the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use http_body_util::{BodyExt as _, Collected};
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Name, Role};

use crate::caller::Peer;
use crate::problem::{CODE_HEADER, Code, Problem};

/// Who may use a route. What a caller then gets is for the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Anyone, without a certificate too.
    Anyone,
    /// Whoever shows a certificate that counts.
    Caller,
    /// Who acts for a regulator.
    Regulator,
    /// An administrator of the member that this node is of.
    Administrator,
    /// Whoever shows a certificate that counts or has an enrolment token; the
    /// handler looks at both.
    Credential,
    /// Whoever signed what is asked with the statement key of a member, whose
    /// certificate may have ended; the handler looks at the signature.
    Statement,
    /// Whoever has the one-time code of the console; the handler looks at it.
    OneTimeCode,
    /// Whoever may open the socket.
    Socket,
}

impl Rule {
    /// Whether `peer` may, at a node of member `own`; one of no member yet has no
    /// administrators but at its sockets.
    ///
    /// # Errors
    /// The problem that it is told.
    pub fn admit(self, peer: &Peer, own: Option<&Name>) -> Result<(), Problem> {
        match self {
            Self::Anyone | Self::Credential | Self::Statement | Self::OneTimeCode => Ok(()),
            Self::Socket if *peer == Peer::Local => Ok(()),
            Self::Socket => Err(Problem::new(Code::NotPermitted, "ask at this machine's socket")),
            Self::Caller => peer.caller().map(drop),
            Self::Regulator => {
                let caller = peer.caller()?;
                if caller.is_regulator() {
                    return Ok(());
                }
                let detail = format!(
                    "ask with a client certificate of a regulator that has the role `regulator`, \
                     not as {} of member `{}`",
                    kind(caller.kind),
                    caller.member
                );
                Err(Problem::new(Code::NotARegulator, detail))
            }
            Self::Administrator if *peer == Peer::Local => Ok(()),
            Self::Administrator => {
                let caller = peer.caller()?;
                if Some(&caller.member) == own && caller.has(Role::Administrator) {
                    return Ok(());
                }
                let detail = format!(
                    "ask with a client certificate of member `{}` that has the role \
                     `administrator`",
                    own.map_or("", Name::as_str)
                );
                Err(Problem::new(Code::NotAnAdministrator, detail))
            }
        }
    }
}

fn kind(kind: IdentityKind) -> &'static str {
    match kind {
        IdentityKind::Member => "a member",
        IdentityKind::Device => "a device",
        IdentityKind::Client => "a client",
        IdentityKind::Server => "a server",
    }
}

/// Where a door describes itself, if it does.
const DESCRIPTION: &str = "/openapi.json";

/// A route: a row of its door's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// `GET` or `POST`; a route of `GET` answers `HEAD` as well. `*` takes any
    /// and passes it on.
    pub method: &'static str,
    /// The path, with `{name}` for what is left open.
    pub path: &'static str,
    /// Who may use it.
    pub rule: Rule,
}

impl Route {
    /// A row.
    pub const fn new(method: &'static str, path: &'static str, rule: Rule) -> Self {
        Self { method, path, rule }
    }
}

/// In which form a door tells its refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Problem documents.
    Json,
    /// Plain text, where the protocol wants it (EST, OCSP).
    Text,
}

impl Form {
    /// A refusal in this form.
    pub fn refuse(self, problem: Problem) -> Response {
        match self {
            Self::Json => problem.into_response(),
            Self::Text => problem.into_text(),
        }
    }
}

/// Some rows of a door's list, all in one form, with what answers each. Every row
/// is behind its own rule.
pub struct Part<S = ()> {
    form: Form,
    rows: Vec<(Route, MethodRouter<S>)>,
}

impl<S: Clone + Send + Sync + 'static> Part<S> {
    /// The rows of a list; `handler` gives what answers one.
    pub fn new(routes: &[Route], form: Form, handler: impl Fn(&Route) -> MethodRouter<S>) -> Self {
        let rows = routes.iter().map(|route| (*route, handler(route))).collect();
        Self { form, rows }
    }

    /// The same, with what its handlers share.
    pub fn with_state(self, state: S) -> Part {
        let given =
            |(route, handler): (Route, MethodRouter<S>)| (route, handler.with_state(state.clone()));
        Part { form: self.form, rows: self.rows.into_iter().map(given).collect() }
    }
}

/// The router of a door that has one list.
///
/// # Panics
/// As [`door`].
pub fn router<S: Clone + Send + Sync + 'static>(
    routes: &[Route],
    own: Option<&Name>,
    form: Form,
    handler: impl Fn(&Route) -> MethodRouter<S>,
) -> Router<S> {
    door(vec![Part::new(routes, form, handler)], own)
}

/// The router of a door at a node of member `own`. Everything that is refused, by
/// a handler, by a library or because it is not there, is told in its part's form
/// with a code and a sentence.
///
/// # Panics
/// When a row has no answer, or two rows are one: any test of the door's list
/// meets it.
pub fn door<S: Clone + Send + Sync + 'static>(
    parts: Vec<Part<S>>,
    own: Option<&Name>,
) -> Router<S> {
    let mut all: Vec<(Route, Form)> = Vec::new();
    let mut paths: BTreeMap<&str, (MethodRouter<S>, Form)> = BTreeMap::new();
    for Part { form, rows } in parts {
        for (route, handler) in rows {
            let guarded = handler
                .layer(from_fn_with_state((route.rule, own.cloned(), form), guard))
                .layer(from_fn(move |request: Request, next: Next| async move {
                    told(form, next.run(request).await).await
                }));
            let (methods, _) = paths.entry(route.path).or_insert((MethodRouter::new(), form));
            *methods = std::mem::take(methods).merge(guarded);
            all.push((route, form));
        }
    }
    let all: Arc<[(Route, Form)]> = all.into();
    let mut router = Router::new();
    for (path, (methods, form)) in paths {
        if all.iter().any(|(row, _)| row.path == path && row.method == "*") {
            router = router.route(path, methods);
            continue;
        }
        let (own, rows) = (own.cloned(), Arc::clone(&all));
        let other = move |request: Request| {
            let refused = barred(at(&rows, path), &request, own.as_ref());
            let problem = refused.unwrap_or_else(|| another_method(&rows, path));
            async move { form.refuse(problem) }
        };
        router = router.route(path, methods.fallback(other));
    }
    let own = own.cloned();
    router.fallback(move |request: Request| {
        let path = request.uri().path();
        let refused = barred(all.iter().map(|(row, _)| row), &request, own.as_ref());
        let problem = refused.unwrap_or_else(|| nowhere(&all, path));
        let form = nearest(&all, path);
        async move { form.refuse(problem) }
    })
}

/// The rows of a path.
fn at<'a>(rows: &'a [(Route, Form)], path: &'a str) -> impl Iterator<Item = &'a Route> {
    rows.iter().map(|(row, _)| row).filter(move |row| row.path == path)
}

/// The form of what begins as `path` does, or else of the first row.
fn nearest(rows: &[(Route, Form)], path: &str) -> Form {
    let first = |path: &str| path.split('/').nth(1).unwrap_or_default().to_owned();
    let near = rows.iter().find(|(row, _)| first(row.path) == first(path));
    near.or(rows.first()).map_or(Form::Json, |(_, form)| *form)
}

/// What is said of a method that a path does not take.
fn another_method(rows: &[(Route, Form)], path: &str) -> Problem {
    let methods: BTreeSet<&str> = at(rows, path).map(|row| row.method).collect();
    let offered = methods.into_iter().collect::<Vec<_>>().join(", ");
    let described = rows.iter().any(|(row, _)| row.path == DESCRIPTION);
    let hint = if described { format!("; see {DESCRIPTION}") } else { String::new() };
    Problem::new(Code::Method, format!("this path takes {offered}{hint}"))
}

/// What somebody is told whom none of these rows admits: which methods and paths
/// there are besides is not for them either.
fn barred<'a>(
    rows: impl Iterator<Item = &'a Route>,
    request: &Request,
    own: Option<&Name>,
) -> Option<Problem> {
    let peer = Peer::of(request.extensions());
    let mut first = None;
    for row in rows {
        match row.rule.admit(&peer, own) {
            Ok(()) => return None,
            Err(problem) => first = first.or(Some(problem)),
        }
    }
    first
}

/// Lets in whom the row's rule admits.
async fn guard(
    State((rule, own, form)): State<(Rule, Option<Name>, Form)>,
    request: Request,
    next: Next,
) -> Response {
    let peer = Peer::of(request.extensions());
    match rule.admit(&peer, own.as_ref()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
            tracing::warn!(
                who = peer.describe(), method = %request.method(), path, code = %problem.code(),
                "not admitted"
            );
            form.refuse(problem)
        }
    }
}

/// What is said of a path that is not there.
fn nowhere(rows: &[(Route, Form)], path: &str) -> Problem {
    let tidy: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let tidy = format!("/{}", tidy.join("/"));
    let meant = tidy != path && rows.iter().any(|(row, _)| matches(row.path, &tidy));
    let shown: String = path.chars().take(200).collect();
    Problem::new(
        Code::NotFound,
        if meant {
            format!("there is no path `{shown}`; write `{tidy}`, without empty parts")
        } else {
            format!("there is no path `{shown}`{}", whole_list(rows))
        },
    )
}

/// Where all the paths of a door are to be read.
fn whole_list(rows: &[(Route, Form)]) -> String {
    if rows.iter().any(|(row, _)| row.path == DESCRIPTION) {
        return format!("; see {DESCRIPTION}");
    }
    let paths: BTreeSet<&str> = rows.iter().map(|(row, _)| row.path).collect();
    match paths.len() {
        0..=12 => format!("; there are {}", paths.into_iter().collect::<Vec<_>>().join(", ")),
        _ => String::new(),
    }
}

/// Whether a path is one of the pattern's.
fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    for wanted in pattern.split('/') {
        if wanted.starts_with("{*") {
            return parts.next().is_some();
        }
        match parts.next() {
            Some(found) if wanted.starts_with('{') || wanted == found => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

/// Gives a refusal that a library made (plain text or nothing) the door's form.
async fn told(form: Form, response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let bare = kind.is_none_or(|kind| kind.starts_with(b"text/plain"));
    let error = status.is_client_error() || status.is_server_error();
    if !error || !bare || response.headers().contains_key(CODE_HEADER) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let said = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let said: String = String::from_utf8_lossy(&said).trim().chars().take(500).collect();
    let code = Code::of_status(status);
    let said = if said.is_empty() { code.title().to_lowercase() } else { said };
    let mut answer = form.refuse(Problem::new(code, said));
    for name in [header::ALLOW, header::RETRY_AFTER] {
        if let Some(value) = parts.headers.get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::{any, get, post};
    use hufu_proof::{Digest, IdentityId, Serial};
    use tower::ServiceExt as _;

    use super::*;
    use crate::body::{Json, Octets, Query};
    use crate::caller::{Caller, Jurisdictions};

    const ROUTES: &[Route] = &[
        Route::new("GET", "/open", Rule::Anyone),
        Route::new("GET", "/mine/{id}", Rule::Caller),
        Route::new("POST", "/mine/{id}", Rule::Administrator),
        Route::new("POST", "/query", Rule::Regulator),
        Route::new("*", "/machine/{*path}", Rule::Administrator),
        Route::new("GET", "/owner", Rule::Socket),
    ];

    fn door(form: Form) -> Router {
        let own = Name::new("maker").unwrap();
        router(ROUTES, Some(&own), form, |route| match (route.method, route.path) {
            ("GET", "/open") => get(async |_: Query<BTreeMap<String, String>>| "open"),
            ("GET", "/mine/{id}") => get(async || "mine"),
            ("POST", "/mine/{id}") => post(async |_: Octets| "changed"),
            ("POST", "/query") => post(async |Json(asked): Json<serde_json::Value>| Json(asked)),
            ("GET", "/owner") => get(async || "owner"),
            _ => any(async || "passed on"),
        })
    }

    fn caller(member: &str, kind: IdentityKind, kinds: &[&str], roles: &[Role]) -> Peer {
        Peer::Known(Arc::new(Caller {
            member: Name::new(member).unwrap(),
            kind,
            kinds: kinds.iter().map(|kind| Name::new(kind).unwrap()).collect(),
            roles: roles.iter().copied().collect(),
            jurisdictions: Jurisdictions::None,
            subject: "somebody".into(),
            identity: Some(IdentityId(Digest::default())),
            serial: Serial::new(&[1]).unwrap(),
            height: 1,
        }))
    }

    async fn ask(form: Form, peer: Peer, method: &str, path: &str) -> (u16, String, String) {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from("{}"))
            .unwrap();
        request.extensions_mut().insert(peer);
        let answer = door(form).oneshot(request).await.unwrap();
        let code = answer.headers().get(CODE_HEADER).map(|code| code.to_str().unwrap().to_owned());
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, code.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_row_is_behind_its_rule() {
        let kinds = [
            ("none", Peer::Anonymous),
            ("revoked", Peer::Refused(Problem::new(Code::CertificateRevoked, "ask for a new one"))),
            ("device", caller("maker", IdentityKind::Device, &[], &[])),
            ("company", caller("carrier", IdentityKind::Client, &[], &[Role::Operator])),
            (
                "other's administrator",
                caller("carrier", IdentityKind::Client, &[], &[Role::Administrator]),
            ),
            (
                "regulator",
                caller("state", IdentityKind::Client, &["regulator"], &[Role::Regulator]),
            ),
            ("administrator", caller("maker", IdentityKind::Client, &[], &[Role::Administrator])),
            ("local", Peer::Local),
        ];
        // For each row, one letter for each kind: admitted, or who is told what.
        // a anonymous, r revoked, n not an administrator, q not a regulator, p not permitted
        let expected = [
            ("GET", "/open", "++++++++"),
            ("GET", "/mine/1", "ar+++++a"),
            ("POST", "/mine/1", "arnnnn++"),
            ("POST", "/query", "arqqq+qa"),
            ("DELETE", "/machine/x/y", "arnnnn++"),
            ("GET", "/owner", "ppppppp+"),
        ];
        assert_eq!(expected.len(), ROUTES.len());
        for (method, path, row) in expected {
            for ((who, peer), letter) in kinds.iter().zip(row.chars()) {
                let (status, code, _) = ask(Form::Json, peer.clone(), method, path).await;
                let wanted = match letter {
                    '+' => (200, ""),
                    'a' => (401, "anonymous"),
                    'r' => (403, "certificate-revoked"),
                    'n' => (403, "not-an-administrator"),
                    'q' => (403, "not-a-regulator"),
                    _ => (403, "not-permitted"),
                };
                assert_eq!((status, &*code), wanted, "{method} {path} by {who}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_with_a_code_and_a_sentence() {
        for (method, path, status, code, words) in [
            ("GET", "/nothing", 404, "not-found", "`/nothing`"),
            ("GET", "/open/", 404, "not-found", "write `/open`"),
            ("GET", "//mine//1", 404, "not-found", "write `/mine/1`"),
            ("PUT", "/open", 405, "method", "takes GET"),
            ("DELETE", "/mine/1", 405, "method", "takes GET, POST"),
            ("GET", "/open?a=1&b=1", 200, "", "open"),
            ("GET", "/open?a=1&%61=2", 400, "request-malformed", "`a` stands twice"),
        ] {
            for form in [Form::Json, Form::Text] {
                let (found, told, body) = ask(form, Peer::Local, method, path).await;
                assert_eq!((found, &*told), (status, code), "{method} {path}: {body}");
                assert!(body.contains(words), "{method} {path}: {body}");
            }
        }
    }
}
