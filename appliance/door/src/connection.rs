//! One connection, from the greeting to its end: what is said on it, and when it
//! has said nothing for too long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{self, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::budget::{Activity, Limits, Place};
use crate::caller::Peer;
use crate::listen::{Door, Stop};
use crate::metrics::EndLabels;
use crate::tls::Shown;

/// How long a connection that is to end may take for it.
const FAREWELL: Duration = Duration::from_secs(2);
/// Largest head of a request, in bytes.
const HEAD: usize = 64 * 1024;
/// How often a client with open streams is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);

/// What is known of a client before its first request.
#[derive(Clone)]
pub(crate) struct Greeted {
    pub(crate) shown: Shown,
    pub(crate) peer: Peer,
}

impl Door {
    /// Counts a connection that was ended, and why.
    pub(crate) fn count_end(&self, why: &'static str) {
        self.metrics.ended.get_or_create(&EndLabels { door: self.name, why }).inc();
    }

    /// Serves one connection to its end.
    pub(crate) async fn converse<T>(
        &self,
        stream: T,
        greeted: Greeted,
        place: Arc<Place>,
        mut stop: Stop,
    ) where
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
