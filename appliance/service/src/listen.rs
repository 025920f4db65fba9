//! Listeners: TLS, plain HTTP and the admin socket. Each stops accepting when
//! told, lets what it has begun end, and then gives up on the rest.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use http_body_util::BodyExt as _;
use hufu_configuration::files;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

/// Connections served at a time by one listener; more wait to be accepted.
const MAX_CONNECTIONS: usize = 2048;
/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's head.
const HEAD: Duration = Duration::from_secs(20);
/// How long a client may take to send a request's body.
const BODY: Duration = Duration::from_secs(20);
/// Bytes a second that a large body must come in at: about 2 Mbit/s.
const RATE: u64 = 256 * 1024;
/// Most bytes of a body that are read after it was refused, and how long.
const LINGER: usize = 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(5);
/// How long a stop waits for requests that have begun.
const GRACE: Duration = Duration::from_secs(10);

/// The certificate a TLS client showed (DER); `None` when it showed none. It
/// has been verified to chain to the consortium's root, and no more.
#[derive(Clone, Debug)]
pub struct ShownCertificate(pub Option<Vec<u8>>);

/// Told to stop when it becomes true.
pub type Stop = watch::Receiver<bool>;

/// Binds a TCP address.
///
/// # Errors
/// A sentence that names the setting.
pub async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{setting}: cannot listen on {address}"))
}

/// Serves `router` over TLS until told to stop. Each request carries
/// [`ShownCertificate`].
pub async fn tls(
    listener: TcpListener,
    config: Arc<rustls::ServerConfig>,
    router: Router,
    stop: Stop,
) {
    let acceptor = TlsAcceptor::from(config);
    let greet = move |stream: TcpStream| {
        let acceptor = acceptor.clone();
        async move {
            let _ = stream.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let chain = stream.get_ref().1.peer_certificates();
                    let leaf = chain.and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
                    Some((stream, ShownCertificate(leaf)))
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "TLS handshake failed");
                    None
                }
                Err(_) => {
                    tracing::debug!("TLS handshake took too long");
                    None
                }
            }
        }
    };
    serve(listener, greet, router, stop).await;
}

/// Serves `router` over plain HTTP until told to stop.
pub async fn plain(listener: TcpListener, router: Router, stop: Stop) {
    let greet = |stream: TcpStream| async move {
        let _ = stream.set_nodelay(true);
        Some((stream, ShownCertificate(None)))
    };
    serve(listener, greet, router, stop).await;
}

/// Binds the admin socket, which only this user may open. A socket left by a
/// process that died is replaced.
///
/// # Errors
/// A sentence with the path.
pub fn bind_socket(path: &Path) -> anyhow::Result<UnixListener> {
    files::remove(path)?;
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot protect {}", path.display()))?;
    Ok(listener)
}

/// Serves `router` on the admin socket until told to stop.
pub async fn socket(listener: UnixListener, router: Router, stop: Stop) {
    let greet = |stream: UnixStream| async move { Some((stream, ShownCertificate(None))) };
    serve(listener, greet, router, stop).await;
}

/// What clients come in by.
trait Accept: Send + Sync {
    /// A client's connection.
    type Stream: Send;

    /// The next client.
    fn next(&self) -> impl Future<Output = std::io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> std::io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> std::io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Accepts, greets each client in a task of its own (which is where a slow TLS
/// handshake waits), and serves it.
async fn serve<L: Accept, T, Greeting>(
    listener: L,
    greet: impl Fn(L::Stream) -> Greeting,
    router: Router,
    mut stop: Stop,
) where
    Greeting: Future<Output = Option<(T, ShownCertificate)>> + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await.ok()?;
            Some((listener.next().await, place))
        };
        let (stream, place) = tokio::select! {
            Some(accepted) = accepted => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Ok(stream) = stream else {
            // Out of descriptors: let some close.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (greeting, router, watcher) = (greet(stream), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            if let Some((stream, shown)) = greeting.await {
                converse(stream, shown, router, watcher).await;
            }
            drop(place);
        });
    }
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some clients were still connected when the grace period ended");
    }
}

/// Serves one connection to its end.
async fn converse<T>(stream: T, shown: ShownCertificate, router: Router, watcher: Watcher)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(shown.clone());
        let router = router.clone();
        async move {
            let (parts, body) = request.into_parts();
            if body.is_end_stream() {
                let request = hyper::Request::from_parts(parts, axum::body::Body::empty());
                return router.oneshot(request).await;
            }
            let (body, mut left) = Timely::new(body);
            let request = hyper::Request::from_parts(parts, axum::body::Body::new(body));
            let answer = router.oneshot(request).await;
            // Whoever still sends when the connection closes does not read why.
            if let Ok(rest) = left.try_recv() {
                drain(rest).await;
            }
            answer
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256);
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "connection ended");
    }
}

/// Reads what nobody wanted of a body and throws it away, as far as that is
/// reasonable.
async fn drain(mut body: Incoming) {
    let mut left = LINGER;
    let reading = async {
        while left > 0
            && let Some(Ok(frame)) = body.frame().await
        {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        }
    };
    // Who is slower than that has been answered all the same.
    let _ = tokio::time::timeout(LINGER_TIME, reading).await;
}

/// A request's body that has to arrive in time, so that slow clients do not hold
/// all places. What is large may take as long as it comes in at [`RATE`]. What is
/// not read of it is given back.
struct Timely {
    body: Option<Incoming>,
    left: Option<oneshot::Sender<Incoming>>,
    since: tokio::time::Instant,
    received: u64,
    until: Pin<Box<tokio::time::Sleep>>,
}

impl Timely {
    fn new(body: Incoming) -> (Self, oneshot::Receiver<Incoming>) {
        let until = Box::pin(tokio::time::sleep(BODY));
        let (left, given_back) = oneshot::channel();
        let (since, received) = (tokio::time::Instant::now(), 0);
        (Self { body: Some(body), left: Some(left), since, received, until }, given_back)
    }
}

impl Drop for Timely {
    fn drop(&mut self) {
        if let (Some(body), Some(left)) = (self.body.take(), self.left.take())
            && !body.is_end_stream()
        {
            // Nobody waits for it when the connection is gone.
            let _ = left.send(body);
        }
    }
}

impl Body for Timely {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.until.as_mut().poll(context).is_ready() {
            let late = format!(
                "the request's body took more than {} s, and came in at less than {} KiB/s",
                BODY.as_secs(),
                RATE / 1024
            );
            return Poll::Ready(Some(Err(late.into())));
        }
        // It is taken only when this is dropped.
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.received += data.len() as u64;
            let until = self.since + BODY + Duration::from_millis(self.received * 1000 / RATE);
            self.until.as_mut().reset(until);
        }
        frame.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}
