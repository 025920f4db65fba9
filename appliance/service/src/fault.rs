//! Whose fault an error is: the caller's, who is told what to change, or this
//! node's, which may be well again later.

use axum::http::StatusCode;

use crate::supervision::Behind;

/// The status of an answer to a request that failed with this error: 503 when
/// the request was right and something of this node's is not, wherever in the
/// chain of causes that stands; 429 when the day's budget is used up; 400 when
/// the request was wrong.
pub fn status(error: &anyhow::Error) -> StatusCode {
    error.chain().find_map(of).unwrap_or(StatusCode::BAD_REQUEST)
}

fn of(cause: &(dyn std::error::Error + 'static)) -> Option<StatusCode> {
    if let Some(error) = cause.downcast_ref::<hufu_node::Error>() {
        return match error {
            hufu_node::Error::OverBudget(_) => Some(StatusCode::TOO_MANY_REQUESTS),
            hufu_node::Error::Refused(_) | hufu_node::Error::Expired => None,
            // Full, closed, stopping, without token, store or quorum.
            _ => Some(StatusCode::SERVICE_UNAVAILABLE),
        };
    }
    if let Some(error) = cause.downcast_ref::<hufu_readmodel::Problem>() {
        let ours = matches!(error, hufu_readmodel::Problem::Fault(_));
        return ours.then_some(StatusCode::SERVICE_UNAVAILABLE);
    }
    let ours = cause.is::<Behind>()
        || cause.is::<hufu_machine::MachineError>()
        || cause.is::<hufu_store::StoreError>()
        || cause.is::<hufu_keys::Error>()
        || cause.is::<hufu_proof::SignerFault>()
        || cause.is::<tokio::task::JoinError>()
        // What the operating system said; decoders use the type for their own.
        || cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.raw_os_error().is_some());
    ours.then_some(StatusCode::SERVICE_UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use hufu_proof::{Outcome, SignerFault};

    #[test]
    fn our_own_faults_are_not_the_callers() {
        let io = || Err::<(), _>(std::io::Error::from_raw_os_error(28));
        let cases: [(anyhow::Error, u16); 8] = [
            (anyhow::anyhow!("there is no role `x`"), 400),
            (hufu_node::Error::Refused(Outcome::Policy).into(), 400),
            (hufu_node::Error::Pending.into(), 503),
            (hufu_node::Error::Token("gone".into()).into(), 503),
            (hufu_machine::MachineError::Poisoned.into(), 503),
            (SignerFault("gone".into()).into(), 503),
            (io().context("the ceremony's record").unwrap_err(), 503),
            (anyhow::Error::from(hufu_node::Error::Closed).context("what was asked"), 503),
        ];
        for (error, expected) in cases {
            assert_eq!(status(&error).as_u16(), expected, "{error:#}");
        }
    }
}
