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
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower_http::catch_panic::CatchPanicLayer;

use crate::budget::{Key, Limits, Place, Places};
use crate::caller::Peer;
use crate::connection::Greeted;
use crate::metrics::{Counting, Metrics};
use crate::problem::Problem;
use crate::tls::{Chains, Shown};

/// How long a stop waits for requests that have begun.
const GRACE: Duration = Duration::from_secs(10);

/// Told to stop when it becomes true.
pub type Stop = watch::Receiver<bool>;

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
    pub(crate) name: &'static str,
    pub(crate) router: Router,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
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
