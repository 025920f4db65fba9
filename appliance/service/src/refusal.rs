//! Errors of the node's parts as refusals of its doors: whose fault it is, told
//! once.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use hufu_door::problem::sentence;
use hufu_door::{Code, Problem};
use hufu_gateway::ApiProblem;
use hufu_machine::MachineError;

use crate::supervision::Behind;

/// What the administration answers.
pub type Answer<T> = Result<T, Refusal>;

/// A refusal of the administration.
#[derive(Debug)]
pub struct Refusal(pub Problem);

impl<E: Into<anyhow::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(problem(error.into()))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

/// The problem of an error. What is not known to be ours is the caller's.
fn problem(error: anyhow::Error) -> Problem {
    let error = match error.downcast::<Problem>() {
        Ok(problem) => return problem,
        Err(error) => error,
    };
    let said = sentence(error.as_ref());
    let later =
        |code, seconds| Problem::new(code, said.clone()).retry_after(Duration::from_secs(seconds));
    for cause in error.chain() {
        if let Some(cause) = cause.downcast_ref::<hufu_node::Error>() {
            return node(cause, &said);
        }
        if let Some(cause) = cause.downcast_ref::<hufu_issuance::CaError>() {
            return hufu_protocols::problem(cause);
        }
        if let Some(cause) = cause.downcast_ref::<hufu_readmodel::Problem>() {
            return ApiProblem::of_query(cause, said).0;
        }
        if let Some(MachineError::Pruned { height, kept_from }) = cause.downcast_ref() {
            return Problem::new(Code::NotKept, said)
                .with("height", height.get())
                .with("kept_from", kept_from.get());
        }
        if cause.is::<Behind>() || cause.is::<MachineError>() {
            return later(Code::Unavailable, 5);
        }
        if let Some(cause) = cause.downcast_ref::<hufu_keys::Error>() {
            return match cause.at_fault() {
                hufu_keys::AtFault::Caller => Problem::malformed(said),
                // Somebody gave a certificate for another key.
                _ if matches!(cause, hufu_keys::Error::KeyMismatch(_)) => Problem::malformed(said),
                _ => later(Code::TokenUnavailable, 5),
            };
        }
        if cause.is::<std::io::Error>() || cause.is::<tokio::task::JoinError>() {
            tracing::error!(error = said, "a fault of this node");
            return Problem::new(Code::Internal, said);
        }
    }
    Problem::malformed(said)
}

fn node(error: &hufu_node::Error, said: &str) -> Problem {
    use hufu_node::Error;
    let after = |code, wait| Problem::new(code, said).retry_after(wait);
    match error {
        Error::Refused(outcome) => {
            Problem::new(Code::TransactionRefused, outcome.code()).with("outcome", outcome.code())
        }
        Error::Expired => Problem::new(Code::TransactionRefused, said),
        Error::OverBudget(spent) => {
            after(Code::OverBudget, spent.retry_after).with("ends_ms", spent.ends_ms.get())
        }
        Error::Busy { retry_after } => after(Code::Busy, *retry_after),
        Error::FrontEnd => Problem::new(Code::FrontEnd, said),
        Error::Token(_) => after(Code::TokenUnavailable, Duration::from_secs(5)),
        _ => after(Code::Unavailable, Duration::from_secs(5)),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use hufu_proof::{Height, Outcome};

    use super::*;

    fn of(error: impl Into<anyhow::Error>) -> Problem {
        Refusal::from(error).0
    }

    #[test]
    fn our_own_faults_are_ours_and_pass_or_are_logged() {
        let token = of(hufu_node::Error::Token("gone".into()));
        assert_eq!((token.code(), token.is_temporary()), (Code::TokenUnavailable, true));
        let behind = of(Behind { at: 1, asked: 2, why: String::new() });
        assert_eq!(behind.status().as_u16(), 503);
        let disk = std::io::Error::other("no space");
        let disk = Err::<(), _>(disk).context("the chain").unwrap_err();
        assert_eq!(of(disk).status().as_u16(), 500);
        assert_eq!(of(hufu_node::Error::Stopped).status().as_u16(), 503);
        let past = MachineError::Pruned { height: Height(1), kept_from: Height(2) };
        assert_eq!((of(past).code(), Code::NotKept.status().as_u16()), (Code::NotKept, 410));
        // Behind a context too.
        let context = Err::<(), _>(hufu_node::Error::Pending).context("the proposal").unwrap_err();
        assert_eq!(of(context).status().as_u16(), 503);
    }

    #[test]
    fn a_refusal_is_told_once() {
        let refused = of(hufu_node::Error::Refused(Outcome::Conflict));
        assert_eq!((refused.code(), refused.detail()), (Code::TransactionRefused, "conflict"));
        let outer = anyhow::anyhow!("the key is taken").context("line 3: the key is taken");
        assert_eq!(of(outer).detail(), "line 3: the key is taken");
        let own = of(Problem::new(Code::NotFound, "no member `x`"));
        assert_eq!(own.code(), Code::NotFound);
        assert_eq!(of(anyhow::anyhow!("give a number")).code(), Code::RequestMalformed);
    }
}
