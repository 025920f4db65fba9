//! What an administrator asks of the machine goes to the process that owns it,
//! as it is (docs/decisions/0009).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use hufu_door::problem::sentence;
use hufu_door::{Code, Problem};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::node::Node;
use crate::refusal::Refusal;

/// Passes a request for `/machine/PATH` on as `/PATH`, and the answer back.
///
/// # Errors
/// 404 where the node is not on an appliance, 503 when its owner does not
/// answer.
pub async fn forward(State(node): State<Arc<Node>>, request: Request) -> Result<Response, Refusal> {
    if !node.machine.exists() {
        let detail = "this node runs by itself; nothing owns its machine";
        return Err(Refusal(Problem::new(Code::NoAppliance, detail)));
    }
    pass(&node.machine, request).await.map(IntoResponse::into_response).map_err(|error| {
        let error = sentence(error.as_ref());
        let detail = format!("`hufu appliance run` does not answer: {error}");
        Refusal(Problem::new(Code::Unavailable, detail).retry_after(Duration::from_secs(5)))
    })
}

async fn pass(socket: &Path, request: Request) -> anyhow::Result<Response> {
    let (mut parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map(|target| target.as_str()).unwrap_or_default();
    let target = target
        .split_once("/machine")
        .map(|(_, rest)| rest)
        .filter(|rest| rest.starts_with('/'))
        .context("no path under /machine")?;
    parts.uri = target.parse::<Uri>()?;
    parts.version = http::Version::HTTP_11;
    parts.headers.remove(header::CONNECTION);
    parts.headers.remove(header::AUTHORIZATION);
    parts.headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the machine's owner ended");
        }
    });
    let answer = sender.send_request(http::Request::from_parts(parts, body)).await?;
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(header::CONNECTION);
    parts.headers.remove(header::TRANSFER_ENCODING);
    Ok(Response::from_parts(parts, Body::new(body)))
}
