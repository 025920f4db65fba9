//! Every answer of a door names a height: whatever it says, it says of the record
//! as of that height or a later one. What is asked at several nodes of a member, of
//! which one may be behind, can be put in order with it.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::Response;
use hufu_node::Ledger;

/// The header of an answer that has the height.
pub const HEIGHT_HEADER: HeaderName = HeaderName::from_static("hufu-height");

/// Has every answer of `router` name the height at which the request came in.
pub fn named(router: Router, ledger: &Ledger) -> Router {
    router.layer(middleware::from_fn_with_state(ledger.clone(), name))
}

async fn name(State(ledger): State<Ledger>, request: Request, next: Next) -> Response {
    let height = ledger.committed().height.get();
    let mut response = next.run(request).await;
    response.headers_mut().insert(HEIGHT_HEADER, HeaderValue::from(height));
    response
}
