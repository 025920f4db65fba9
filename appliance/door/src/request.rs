//! One request, from its first byte to the last of its answer: in time, counted,
//! and read to its end where that lets its sender hear why it was refused.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::budget::{Place, Working};
use crate::connection::Greeted;
use crate::listen::Door;
use crate::metrics::{AnswerLabels, Counting};

/// How long a client may take to send a request's body.
const BODY: Duration = Duration::from_secs(20);
/// Bytes a second that a large body must come in at: about 2 Mbit/s.
const RATE: u64 = 256 * 1024;
/// Most bytes of a body that are read after it was refused, and how long.
const LINGER: usize = 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(5);

/// A body came in too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the body took more than {} s, and came in at less than {} KiB/s; send it faster, or less",
    BODY.as_secs(),
    RATE / 1024
)]
pub struct TooSlow;

impl Door {
    /// Answers one request.
    pub(crate) async fn answer(
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
