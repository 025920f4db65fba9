//! Listeners: TLS, plain HTTP and sockets of this machine. Each stops accepting
//! when told, lets what it has begun end, and then gives up on the rest.
//!
//! Nothing is kept that says nothing: a connection has a time for the handshake,
//! for its first request, between requests, for a request's body and for the
//! reading of an answer; whichever protocol it speaks or does not speak.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{self, Poll};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tower_http::catch_panic::CatchPanicLayer;

use crate::budget::{Activity, Key, Limits, Place, Places, Working};
use crate::caller::Peer;
use crate::metrics::{AnswerLabels, DoorLabels, EndLabels, Metrics};
use crate::problem::Problem;
use crate::tls::{Chains, Shown};

/// How long a client may take to send a request's body.
const BODY: Duration = Duration::from_secs(20);
/// Bytes a second that a large body must come in at: about 2 Mbit/s.
const RATE: u64 = 256 * 1024;
/// Most bytes of a body that are read after it was refused, and how long.
const LINGER: usize = 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(5);
/// How long a connection that is to end may take for it.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a stop waits for requests that have begun.
const GRACE: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes.
const HEAD: usize = 64 * 1024;
/// How often a client with open streams is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);

/// Told to stop when it becomes true.
pub type Stop = watch::Receiver<bool>;

/// A body came in too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the body took more than {} s, and came in at less than {} KiB/s; send it faster, or less",
    BODY.as_secs(),
    RATE / 1024
)]
pub struct TooSlow;

/// A listener could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address is taken or not this machine's.
    #[error("{setting}: cannot listen on {address}")]
    Address {
        /// The setting that has it.
        setting: String,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The socket's path cannot be used.
    #[error("cannot listen on {path}")]
    Socket {
        /// The path.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// Binds a TCP address.
///
/// # Errors
/// A sentence that names the setting.
pub async fn bind(setting: &str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    let setting = setting.to_owned();
    TcpListener::bind(address).await.map_err(|cause| ListenError::Address {
        setting,
        address,
        cause,
    })
}

/// Binds a socket that only this user may open. A socket left by a process that
/// died is replaced.
///
/// # Errors
/// A sentence with the path.
pub fn bind_socket(path: &Path) -> Result<UnixListener, ListenError> {
    let bound = || -> io::Result<UnixListener> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    bound().map_err(|cause| ListenError::Socket { path: path.display().to_string(), cause })
}

/// A router behind limits.
#[derive(Clone)]
pub struct Door {
    name: &'static str,
    router: Router,
    limits: Limits,
    metrics: Metrics,
}

impl Door {
    /// A door with this name in logs and metrics.
    pub fn new(name: &'static str, router: Router, metrics: Metrics) -> Self {
        let panicked = |_: Box<dyn std::any::Any + Send>| -> Response {
            Problem::internal("the request failed", &"its handler panicked").into_response()
        };
        let router = router.layer(CatchPanicLayer::custom(panicked));
        Self { name, router, limits: Limits::default(), metrics }
    }

    /// Other limits than [`Limits::default`].
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Serves over TLS until told to stop. What clients show is judged by
    /// `chains`, if they are asked for anything; each request carries the
    /// verdict ([`Shown`]).
    pub async fn tls(
        self,
        listener: TcpListener,
        config: Arc<rustls::ServerConfig>,
        chains: Option<Arc<Chains>>,
        stop: Stop,
    ) {
        let acceptor = TlsAcceptor::from(config);
        let limit = self.limits.handshake;
        let greet = move |stream: TcpStream| {
            let (acceptor, chains) = (acceptor.clone(), chains.clone());
            async move {
                let _ = stream.set_nodelay(true);
                match tokio::time::timeout(limit, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let shown = stream.get_ref().1.peer_certificates();
                        let shown = match (chains, shown) {
                            (Some(chains), Some(shown)) => chains.judge(shown),
                            _ => Shown::Nothing,
                        };
                        Some((stream, Greeted { shown, peer: Peer::Anonymous }))
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
        self.serve(listener, greet, stop).await;
    }

    /// Serves over plain HTTP until told to stop.
    pub async fn plain(self, listener: TcpListener, stop: Stop) {
        let greet = |stream: TcpStream| async move {
            let _ = stream.set_nodelay(true);
            Some((stream, Greeted { shown: Shown::Nothing, peer: Peer::Anonymous }))
        };
        self.serve(listener, greet, stop).await;
    }

    /// Serves on a socket of this machine until told to stop.
    pub async fn socket(self, listener: UnixListener, stop: Stop) {
        let greet = |stream: UnixStream| async move {
            Some((stream, Greeted { shown: Shown::Nothing, peer: Peer::Local }))
        };
        self.serve(listener, greet, stop).await;
    }

    /// Accepts, greets each client in a task of its own (which is where a slow
    /// TLS handshake waits), and serves it.
    async fn serve<L: Accept, T, Greeting>(
        self,
        listener: L,
        greet: impl Fn(L::Stream) -> Greeting,
        mut stop: Stop,
    ) where
        Greeting: Future<Output = Option<(T, Greeted)>> + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let places = Places::new(self.limits);
        let mut clients = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.next() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            while clients.try_join_next().is_some() {}
            let Ok((stream, key)) = accepted else {
                // Out of descriptors: let some close.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let place = loop {
                let freed = places.freed();
                if let Some(place) = places.enter(key) {
                    break Some(place);
                }
                tokio::select! {
                    () = freed => {}
                    // In case it rang between the two.
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                    _ = stop.wait_for(|stop| *stop) => break None,
                }
            };
            let Some(place) = place else { break };
            let (greeting, door, stop) = (greet(stream), self.clone(), stop.clone());
            clients.spawn(async move { door.meet(greeting, place, stop).await });
        }
        let ended = async { while clients.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            let left = clients.len();
            tracing::warn!(left, "some clients were still connected when the grace period ended");
            clients.shutdown().await;
        }
    }

    async fn meet<T>(
        self,
        greeting: impl Future<Output = Option<(T, Greeted)>>,
        mut place: Place,
        stop: Stop,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _open = Counting::new(&self.metrics.connections, self.name);
        let greeted = tokio::select! {
            greeted = greeting => greeted,
            () = place.evicted() => return self.count_end("evicted"),
        };
        let Some((stream, greeted)) = greeted else { return self.count_end("handshake") };
        if let Shown::Certificate(presented) = &greeted.shown {
            place.identify(Key::Certificate(presented.digest()));
        }
        self.converse(stream, greeted, Arc::new(place), stop).await;
    }

    fn count_end(&self, why: &'static str) {
        self.metrics.ended.get_or_create(&EndLabels { door: self.name, why }).inc();
    }

    /// Serves one connection to its end.
    async fn converse<T>(&self, stream: T, greeted: Greeted, place: Arc<Place>, mut stop: Stop)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let written = Arc::new(AtomicU64::new(0));
        let stream = Counted { stream, written: Arc::clone(&written) };
        let (door, seat) = (self.clone(), Arc::clone(&place));
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let (door, place, greeted) = (door.clone(), Arc::clone(&seat), greeted.clone());
            async move { Ok::<_, std::convert::Infallible>(door.answer(request, &place, greeted).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .max_buf_size(HEAD)
            .header_read_timeout(self.limits.idle + self.limits.first);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .max_header_list_size(HEAD as u32)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::pin!(connection);
        let mut activity = place.activity();
        let mut clock = Clock::new(self.limits);
        loop {
            let now = *activity.borrow_and_update();
            let until = clock.until(now, written.load(Ordering::Relaxed));
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection ended");
                    }
                    return;
                }
                () = place.evicted() => return self.count_end("evicted"),
                // The sender is in `place`.
                _ = activity.changed() => {}
                _ = stop.wait_for(|stop| *stop), if !clock.leaving => {
                    clock.leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = tokio::time::sleep_until(until) => {
                    let Some(why) = clock.over(now, written.load(Ordering::Relaxed)) else {
                        continue;
                    };
                    if clock.farewell.is_some() || why == "stalled" {
                        return self.count_end(why);
                    }
                    // Between requests a client hears of it; over HTTP/2 it may
                    // have another one under way.
                    clock.farewell = Some(Instant::now() + FAREWELL);
                    clock.leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    /// Answers one request.
    async fn answer(
        &self,
        mut request: hyper::Request<Incoming>,
        place: &Arc<Place>,
        greeted: Greeted,
    ) -> Response {
        let since = Instant::now();
        let mut working = match place.begin() {
            Ok(working) => working,
            Err(problem) => {
                self.count_answer(problem.status().as_u16());
                return problem.into_response();
            }
        };
        let in_work = Counting::new(&self.metrics.working, self.name);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        request.extensions_mut().insert(greeted.shown);
        request.extensions_mut().insert(greeted.peer);
        let (parts, body) = request.into_parts();
        let answer = if body.is_end_stream() {
            let request = hyper::Request::from_parts(parts, axum::body::Body::empty());
            self.router.clone().oneshot(request).await
        } else {
            let (body, mut left) = Timely::new(body);
            let request = hyper::Request::from_parts(parts, axum::body::Body::new(body));
            let answer = self.router.clone().oneshot(request).await;
            // Whoever still sends when the connection closes does not read why.
            if let Ok(rest) = left.try_recv() {
                drain(rest).await;
            }
            answer
        };
        let Ok(answer) = answer;
        drop(in_work);
        working.answered();
        let (status, took) = (answer.status().as_u16(), since.elapsed().as_millis());
        self.count_answer(status);
        tracing::debug!(door = self.name, %method, path, status, took, "answered");
        answer.map(|body| axum::body::Body::new(Answering { body, working }))
    }

    fn count_answer(&self, status: u16) {
        self.metrics.answers.get_or_create(&AnswerLabels { door: self.name, status }).inc();
    }
}

/// One more in a gauge, as long as this lives.
struct Counting(Gauge);

impl Counting {
    fn new(gauges: &Family<DoorLabels, Gauge>, door: &'static str) -> Self {
        let gauge = gauges.get_or_create_owned(&DoorLabels { door });
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What is known of a client before its first request.
#[derive(Clone)]
struct Greeted {
    shown: Shown,
    peer: Peer,
}

/// What clients come in by.
trait Accept: Send + Sync {
    /// A client's connection.
    type Stream: Send;

    /// The next client, and whom it is charged to.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Key)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Key)> {
        let (stream, address) = self.accept().await?;
        Ok((stream, Key::address(address.ip())))
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Key)> {
        Ok((self.accept().await?.0, Key::Local))
    }
}

/// When a connection has said nothing for too long.
struct Clock {
    limits: Limits,
    /// Since it is at what it is at.
    since: Instant,
    before: (Activity, u64),
    /// It was asked to end, and must have by then.
    farewell: Option<Instant>,
    leaving: bool,
}

impl Clock {
    fn new(limits: Limits) -> Self {
        let before = (Activity::default(), 0);
        Self { limits, since: Instant::now(), before, farewell: None, leaving: false }
    }

    /// When to look again.
    fn until(&mut self, now: Activity, written: u64) -> Instant {
        // While an answer goes out, what is written counts; what is read never
        // does, or a byte now and then would keep a connection.
        let seen = (now, if now.answering > 0 { written } else { 0 });
        if seen != self.before {
            (self.before, self.since) = (seen, Instant::now());
            self.farewell = None;
        }
        match self.farewell {
            // A handler has its own time; this only looks again.
            _ if now.working + now.producing > 0 => Instant::now() + self.limits.stall,
            Some(farewell) => farewell,
            None if now.answering > 0 => self.since + self.limits.stall,
            None if now.asked > 0 => self.since + self.limits.idle,
            None => self.since + self.limits.first,
        }
    }

    /// Why it must end now, if it must.
    fn over(&mut self, now: Activity, written: u64) -> Option<&'static str> {
        if now.working + now.producing > 0 || Instant::now() < self.until(now, written) {
            return None;
        }
        Some(match now {
            _ if now.answering > 0 => "stalled",
            _ if now.asked > 0 => "idle",
            _ => "silent",
        })
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

/// An answer's body, which counts as in work until it is out of our hands.
struct Answering {
    body: axum::body::Body,
    working: Working,
}

impl Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        self.working.producing(frame.is_pending());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request's body that has to arrive in time, so that slow clients do not hold
/// all places. What is large may take as long as it comes in at [`RATE`]. What is
/// not read of it is given back.
struct Timely {
    body: Option<Incoming>,
    left: Option<oneshot::Sender<Incoming>>,
    since: Instant,
    received: u64,
    until: Pin<Box<tokio::time::Sleep>>,
}

impl Timely {
    fn new(body: Incoming) -> (Self, oneshot::Receiver<Incoming>) {
        let until = Box::pin(tokio::time::sleep(BODY));
        let (left, given_back) = oneshot::channel();
        let (since, received) = (Instant::now(), 0);
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
            return Poll::Ready(Some(Err(TooSlow.into())));
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

/// A stream that counts what it takes for the client.
struct Counted<T> {
    stream: T,
    written: Arc<AtomicU64>,
}

impl<T> Counted<T> {
    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(written)) = written {
            self.written.fetch_add(*written as u64, Ordering::Relaxed);
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(&written);
        written
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.count(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
