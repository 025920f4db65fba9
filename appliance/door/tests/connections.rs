//! What a door gives to those who say nothing, over real sockets.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use bytes::Bytes;
use hufu_door::{Door, Limits, Metrics};
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use support::{Authority, SECOND, Wish, provider};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsConnector;

const LIMITS: Limits = Limits {
    connections: 64,
    connections_per_caller: 32,
    requests: 8,
    requests_per_caller: 4,
    streams: 4,
    handshake: SECOND,
    first: SECOND,
    idle: Duration::from_secs(2),
    stall: Duration::from_secs(2),
};

/// What a busy machine may add to a time.
const SLACK: Duration = Duration::from_secs(8);

/// The preface of HTTP/2 and an empty SETTINGS frame (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What each silent client says before it falls silent.
const SILENCES: [(&str, &[u8]); 6] = [
    ("nothing", b""),
    ("a byte", b"P"),
    ("the preface of HTTP/2", PREFACE),
    ("half a head", b"GET / HTTP/1.1\r\nHost: local"),
    ("an empty line", b"\r\n"),
    ("half a preface", b"PRI * HTTP/2.0\r\n"),
];

fn router() -> Router {
    // Lets nobody through until somebody opens it.
    let gate = Arc::new(Semaphore::new(0));
    let (waiting, opening) = (gate.clone(), gate);
    Router::new()
        .route("/", get(async || "here"))
        .route("/echo", post(async |body: Bytes| body.len().to_string()))
        .route(
            "/wait",
            get(move || async move {
                let _through = waiting.acquire().await;
                "through"
            }),
        )
        .route(
            "/open",
            get(move || async move {
                opening.add_permits(1000);
                "open"
            }),
        )
        .route(
            "/large",
            get(async || {
                let piece = Bytes::from(vec![b'x'; 64 * 1024]);
                let pieces = (0..4096).map(move |_| Ok::<_, std::io::Error>(piece.clone()));
                Body::from_stream(futures::stream::iter(pieces))
            }),
        )
        .route(
            "/slow",
            get(async || {
                let pieces = futures::stream::unfold(0, |piece| async move {
                    tokio::time::sleep(LIMITS.stall + SECOND).await;
                    (piece < 2).then_some((Ok::<_, std::io::Error>("piece"), piece + 1))
                });
                Body::from_stream(pieces)
            }),
        )
        .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
}

struct Serving {
    address: SocketAddr,
    metrics: Metrics,
    _stop: watch::Sender<bool>,
}

async fn plain(limits: Limits) -> Serving {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    let metrics = Metrics::default();
    let door = Door::new("test", router(), metrics.clone()).limits(limits);
    tokio::spawn(door.plain(listener, stopping));
    Serving { address, metrics, _stop: stop }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

async fn tls(authority: &Authority, limits: Limits) -> Serving {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    let chains = authority.chains();
    let config = chains.server(Arc::new(Always(authority.server())), false).unwrap();
    let metrics = Metrics::default();
    let door = Door::new("test", router(), metrics.clone()).limits(limits);
    tokio::spawn(door.tls(listener, config, Some(chains), stopping));
    Serving { address, metrics, _stop: stop }
}

/// A client over TLS, with a certificate or without.
async fn secured(
    authority: &Authority,
    address: SocketAddr,
    client: Option<Arc<CertifiedKey>>,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.root_der()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        Some(key) => {
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)))
        }
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// How long it takes until the other side ends the connection.
async fn until_closed(mut stream: impl AsyncRead + Unpin) -> Duration {
    let since = Instant::now();
    let mut buffer = [0; 4096];
    while let Ok(read) = stream.read(&mut buffer).await {
        if read == 0 {
            break;
        }
    }
    since.elapsed()
}

/// One answer's head and body, as far as they are read at once.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    answer(stream).await
}

async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        said.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&said);
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
            });
            length.is_some_and(|length| body.len() >= length.parse().unwrap())
        });
        if whole || read == 0 {
            return text.into_owned();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_over_plain_http_is_let_go() {
    let serving = plain(LIMITS).await;
    let clients = SILENCES.map(|(what, bytes)| {
        let address = serving.address;
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            (what, until_closed(stream).await)
        })
    });
    for client in clients {
        let (what, took) = client.await.unwrap();
        assert!(took < LIMITS.first + Duration::from_secs(3) + SLACK, "{what}: {took:?}");
        assert!(took > LIMITS.first / 2, "{what}: {took:?}");
    }
    assert!(serving.metrics.text().contains("why=\"silent\""), "{}", serving.metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_before_or_behind_tls_is_let_go() {
    let authority = Authority::new();
    let serving = tls(&authority, LIMITS).await;
    let took = until_closed(TcpStream::connect(serving.address).await.unwrap()).await;
    assert!(took < LIMITS.handshake + SLACK, "no hello: {took:?}");
    // With a certificate and without.
    for certified in [None, Some(authority.client(&Wish::default()).certified())] {
        for (what, bytes) in SILENCES {
            let mut stream = secured(&authority, serving.address, certified.clone()).await;
            stream.write_all(bytes).await.unwrap();
            let took = until_closed(stream).await;
            assert!(took < LIMITS.first + Duration::from_secs(3) + SLACK, "{what}: {took:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_open_a_socket_is_no_exception() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = hufu_door::listen::bind_socket(&path).unwrap();
    let (_stop, stopping) = watch::channel(false);
    let door = Door::new("socket", router(), Metrics::default()).limits(LIMITS);
    tokio::spawn(door.socket(listener, stopping));
    let mut honest = UnixStream::connect(&path).await.unwrap();
    assert!(ask(&mut honest, "/").await.ends_with("here"));
    let took = until_closed(UnixStream::connect(&path).await.unwrap()).await;
    assert!(took < LIMITS.first + Duration::from_secs(3) + SLACK, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_end_after_their_last_request() {
    let serving = plain(LIMITS).await;
    // HTTP/1.1, kept alive.
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    assert!(ask(&mut stream, "/").await.ends_with("here"));
    tokio::time::sleep(LIMITS.idle / 2).await;
    assert!(ask(&mut stream, "/").await.ends_with("here"), "still open");
    // A byte now and then is no request.
    let (mut read, mut write) = stream.into_split();
    let dripping = tokio::spawn(async move {
        for byte in
            b"GET / HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".iter().cycle()
        {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let took = until_closed(&mut read).await;
    assert!(took < LIMITS.idle + Duration::from_secs(3) + SLACK, "{took:?}");
    dripping.abort();
    // HTTP/2.
    let stream = TcpStream::connect(serving.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let ended = tokio::spawn(connection);
    let request = hyper::Request::get("http://localhost/").body(Body::empty()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    let since = Instant::now();
    let _ = tokio::time::timeout(LIMITS.idle + Duration::from_secs(3) + SLACK, ended)
        .await
        .expect("it is kept");
    assert!(since.elapsed() > LIMITS.idle / 2);
    drop(sender);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_read_is_given_up() {
    let serving = plain(LIMITS).await;
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let since = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if serving.metrics.text().contains("why=\"stalled\"") {
            break;
        }
        assert!(since.elapsed() < LIMITS.stall + SLACK, "it is kept");
    }
    // What is long in the making on our side is not given up.
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    stream
        .write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said.matches("piece").count(), 2, "{said}");
    // Who reads slowly, but reads, gets it.
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    stream
        .write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let (mut buffer, mut total) = (vec![0; 4 * 1024 * 1024], 0);
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        total += read;
        if read == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(total > 4096 * 64 * 1024, "{total}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_client_is_served_while_thousands_say_nothing() {
    // Both ends are in this process.
    let wanted = rustix::process::Rlimit { current: Some(16_384), maximum: None };
    let now = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: wanted.current.min(now.maximum.or(wanted.current)),
        maximum: now.maximum,
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let authority = Authority::new();
    let limits = Limits {
        connections: 256,
        handshake: Duration::from_secs(600),
        first: Duration::from_secs(600),
        ..LIMITS
    };
    let serving = tls(&authority, limits).await;
    let mut silent = Vec::new();
    let mut slowest = Duration::ZERO;
    for round in 0..12 {
        for _ in 0..256 {
            let mut stream = TcpStream::connect(serving.address).await.unwrap();
            if round % 2 == 0 {
                // A record's head, and then nothing.
                let _ = stream.write_all(&[22, 3, 1, 2, 0]).await;
            }
            silent.push(stream);
        }
        let since = Instant::now();
        let certified = Some(authority.client(&Wish::default()).certified());
        let mut honest = secured(&authority, serving.address, certified).await;
        assert!(ask(&mut honest, "/").await.ends_with("here"));
        slowest = slowest.max(since.elapsed());
    }
    assert!(slowest < SLACK, "{slowest:?}");
    let text = serving.metrics.text();
    assert!(text.contains("why=\"evicted\""), "{text}");
    println!("{} silent connections; the slowest honest request took {slowest:?}", silent.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_work_are_bounded_for_each_caller() {
    let authority = Authority::new();
    let serving = tls(&authority, LIMITS).await;
    let greedy = authority.client(&Wish::default()).certified();
    let mut held = Vec::new();
    for _ in 0..LIMITS.requests_per_caller {
        let mut stream = secured(&authority, serving.address, Some(greedy.clone())).await;
        stream.write_all(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        held.push(stream);
    }
    let since = Instant::now();
    let mut one_more = secured(&authority, serving.address, Some(greedy)).await;
    let said = loop {
        let said = ask(&mut one_more, "/").await;
        if said.contains(" 429 ") || since.elapsed() > SLACK {
            break said;
        }
    };
    assert!(said.contains(" 429 ") && said.to_lowercase().contains("retry-after: "), "{said}");
    assert!(said.contains("\"code\":\"too-many-requests\""), "{said}");
    // Another caller from the same address is served.
    let other = Some(authority.client(&Wish::default()).certified());
    let mut other = secured(&authority, serving.address, other).await;
    assert!(ask(&mut other, "/open").await.ends_with("open"));
    for mut stream in held {
        assert!(answer(&mut stream).await.ends_with("through"));
    }
    assert!(ask(&mut one_more, "/").await.ends_with("here"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_is_told_in_a_problem_document() {
    let serving = plain(LIMITS).await;
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    let said = ask(&mut stream, "/panic").await;
    assert!(said.contains(" 500 ") && said.contains("\"code\":\"internal\""), "{said}");
    assert!(ask(&mut stream, "/").await.ends_with("here"));
}
