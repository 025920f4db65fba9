//! HTTP/1.1 as a client: to a node's services over TLS, to its own node over
//! the admin socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::{Stream, TryStreamExt as _};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hufu_configuration::{no, unavailable};
use hufu_proof::json;
use hyper::body::{Body, Bytes, Frame};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::tls;

/// Largest answer that is read, in bytes: a report with all its evidence.
const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where requests go.
enum Target {
    /// A TLS service.
    Tls { host: String, port: u16, config: Arc<rustls::ClientConfig> },
    /// The node's admin socket.
    Socket(PathBuf),
}

/// One kept-alive connection; a broken one is made anew.
pub struct Client {
    target: Target,
    /// Before every path.
    prefix: &'static str,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Client {
    /// A client of an `https://HOST[:PORT]` service.
    ///
    /// # Errors
    /// A sentence when the URL is not of that form.
    pub fn tls(url: &str, config: Arc<rustls::ClientConfig>) -> anyhow::Result<Self> {
        let uri: http::Uri = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
        anyhow::ensure!(
            uri.scheme_str() == Some("https") && uri.path().trim_end_matches('/').is_empty(),
            "`{url}`: give https://HOST:PORT without a path"
        );
        let host = uri.host().with_context(|| format!("`{url}` names no host"))?.to_owned();
        let port = uri.port_u16().unwrap_or(443);
        Ok(Self {
            target: Target::Tls { host, port, config },
            prefix: "",
            connection: Mutex::new(None),
        })
    }

    /// A client of the node that keeps its data where `socket` is.
    pub fn admin(socket: &Path) -> Self {
        Self { target: Target::Socket(socket.to_owned()), prefix: "", connection: Mutex::new(None) }
    }

    /// The same, for paths under `prefix`.
    #[must_use]
    pub fn under(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }

    /// Sends one request. A request that fails on a kept-alive connection
    /// before an answer is sent once more on a new one: the services here give
    /// the first answer again to a repeated request.
    ///
    /// # Errors
    /// [`hufu_configuration::Exit::Unavailable`] when there is no answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(header::HeaderName, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Answer> {
        let body = body.into();
        let uri = format!("{}{path}", self.prefix);
        let mut connection = self.connection.lock().await;
        let exchange = async {
            let reused = connection.as_ref().is_some_and(|one| one.is_ready());
            if !reused {
                *connection = Some(self.connect().await?);
            }
            loop {
                let mut sender = match connection.take() {
                    Some(sender) => sender,
                    None => self.connect().await?,
                };
                let mut request = Request::builder()
                    .method(method.clone())
                    .uri(&uri)
                    .header(header::HOST, self.host());
                for (name, value) in headers {
                    request = request.header(name, *value);
                }
                let request = request.body(Full::new(body.clone()))?;
                match sender.send_request(request).await {
                    Ok(answer) => {
                        let answer = read(answer).await?;
                        *connection = Some(sender);
                        return Ok(answer);
                    }
                    Err(error) if reused && (error.is_closed() || error.is_canceled()) => {}
                    Err(error) => {
                        return Err(unavailable(format!("{} broke off: {error}", self.name())));
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .unwrap_or_else(|_| Err(unavailable(format!("{} did not answer in time", self.name()))))
    }

    /// GET, JSON answer.
    ///
    /// # Errors
    /// As [`Client::send`], and the problem document of a refusal.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.send(Method::GET, path, &[], Bytes::new()).await?.json()
    }

    /// POST of JSON, JSON answer.
    ///
    /// # Errors
    /// As [`Client::send`], and the problem document of a refusal.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = serde_json::to_vec(body)?;
        self.send(Method::POST, path, &[(header::CONTENT_TYPE, "application/json")], body)
            .await?
            .json()
    }

    /// Sends what `pieces` gives as the body of a POST, however long it takes, on
    /// a connection of its own.
    ///
    /// # Errors
    /// As [`Client::send`], and what `pieces` meets.
    pub async fn upload(
        &self,
        path: &str,
        pieces: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> anyhow::Result<Answer> {
        self.upload_with(path, &[], pieces).await
    }

    /// The same, with more headers.
    ///
    /// # Errors
    /// As [`Client::upload`].
    pub async fn upload_with(
        &self,
        path: &str,
        headers: &[(header::HeaderName, &str)],
        pieces: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> anyhow::Result<Answer> {
        let mut sender = self.connect().await?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.prefix))
            .header(header::HOST, self.host())
            .header(header::CONTENT_TYPE, "application/octet-stream");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(StreamBody::new(Box::pin(pieces.map_ok(Frame::data))))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| unavailable(format!("{}: {error}", self.name())))?;
        read(answer).await
    }

    /// POST of JSON; what is answered goes to `out` as it comes in, however long
    /// it takes, on a connection of its own.
    ///
    /// # Errors
    /// As [`Client::send`], the problem document of a refusal, an answer that
    /// broke off, and what `out` meets.
    pub async fn download(
        &self,
        path: &str,
        body: &impl Serialize,
        out: &mut impl std::io::Write,
    ) -> anyhow::Result<()> {
        let mut sender = self.connect().await?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.prefix))
            .header(header::HOST, self.host())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(serde_json::to_vec(body)?)))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| unavailable(format!("{}: {error}", self.name())))?;
        if !answer.status().is_success() {
            return read(answer).await?.success().map(drop);
        }
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| unavailable(format!("answer broke off: {error}")))?;
            if let Some(piece) = frame.data_ref() {
                out.write_all(piece)?;
            }
        }
        Ok(())
    }

    async fn connect<B>(&self) -> anyhow::Result<SendRequest<B>>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match &self.target {
            Target::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| {
                    unavailable(format!(
                        "the node does not answer at {} ({error}); start it with `hufu serve`",
                        path.display()
                    ))
                })?;
                handshake(stream).await
            }
            Target::Tls { host, port, config } => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let stream = TcpStream::connect((bare, *port)).await.map_err(|error| {
                    unavailable(format!("{} does not answer: {error}", self.name()))
                })?;
                stream.set_nodelay(true)?;
                let name = ServerName::try_from(bare.to_owned())
                    .with_context(|| format!("`{host}` is not a host name"))?;
                let stream = TlsConnector::from(config.clone())
                    .connect(name, stream)
                    .await
                    .map_err(|error| match tls::other_member(&error) {
                        Some(other) => no(format!("{}: {other}", self.name())),
                        None => unavailable(format!(
                            "{}: the TLS handshake failed: {error}; the root given must be the one \
                             of this consortium, and the host a name in the certificate there",
                            self.name()
                        )),
                    })?;
                handshake(stream).await
            }
        }
    }

    fn host(&self) -> String {
        match &self.target {
            Target::Tls { host, port, .. } => format!("{host}:{port}"),
            Target::Socket(_) => "localhost".to_owned(),
        }
    }

    fn name(&self) -> String {
        match &self.target {
            Target::Tls { host, port, .. } => format!("https://{host}:{port}"),
            Target::Socket(path) => path.display().to_string(),
        }
    }
}

impl Answer {
    /// The body, unless the service refused.
    ///
    /// # Errors
    /// The service's own words: [`hufu_configuration::Exit::Unavailable`] for 429
    /// and 5xx, [`hufu_configuration::Exit::No`] for other refusals.
    pub fn success(self) -> anyhow::Result<Bytes> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let said = problem(self.status, &self.body).unwrap_or_else(|| {
            String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]).trim().to_owned()
        });
        let message = format!("{}: {said}", self.status);
        if self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS {
            Err(unavailable(message))
        } else {
            Err(no(message))
        }
    }

    /// The body as JSON, unless the service refused.
    ///
    /// # Errors
    /// As [`Answer::success`].
    pub fn json<T: DeserializeOwned>(self) -> anyhow::Result<T> {
        let body = self.success()?;
        json::from_slice(&body).context("the answer is not what this version expects")
    }
}

/// The words of an RFC 9457 problem document that came with `status`.
fn problem(status: StatusCode, body: &[u8]) -> Option<String> {
    let document: serde_json::Value = json::from_slice(body).ok()?;
    let title = document.get("title")?.as_str()?;
    Some(match document.get("detail").and_then(serde_json::Value::as_str) {
        // A problem without a type of its own has the status for a title.
        Some(detail) if status.canonical_reason() == Some(title) => detail.to_owned(),
        // Nor is one said twice.
        Some(detail) if detail.starts_with(title) => detail.to_owned(),
        Some(detail) if title.ends_with(detail) => title.to_owned(),
        Some(detail) => format!("{title}: {detail}"),
        None => title.to_owned(),
    })
}

async fn read(answer: http::Response<hyper::body::Incoming>) -> anyhow::Result<Answer> {
    let (parts, answer) = answer.into_parts();
    let body = Limited::new(answer, MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| unavailable(format!("answer broke off: {error}")))?
        .to_bytes();
    Ok(Answer { status: parts.status, body })
}

async fn handshake<S, B>(stream: S) -> anyhow::Result<SendRequest<B>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unavailable(format!("HTTP: {error}")))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended");
        }
    });
    Ok(sender)
}
