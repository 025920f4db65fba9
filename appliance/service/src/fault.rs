//! Whose fault an error is that a door answers with: the caller's, or this
//! node's, which the caller can only wait for.

use axum::http::StatusCode;
use hufu_issuance::CaError;
use hufu_keys::AtFault;
use hufu_machine::MachineError;
use hufu_protocols::CODES;
use hufu_readmodel::ReadModelError;
use hufu_store::StoreError;

use crate::supervision::Behind;

/// The status of the answer. The first of the causes that says whose fault it is
/// decides; an error that none says it of is about what was asked.
pub fn status(error: &anyhow::Error) -> StatusCode {
    error.chain().find_map(status_of).unwrap_or(StatusCode::BAD_REQUEST)
}

fn status_of(cause: &(dyn std::error::Error + 'static)) -> Option<StatusCode> {
    if let Some(error) = cause.downcast_ref::<CaError>() {
        let known = CODES.iter().find(|(code, _, _)| *code == error.code());
        return known.and_then(|(_, status, _)| StatusCode::from_u16(*status).ok());
    }
    let ours = if let Some(error) = cause.downcast_ref::<hufu_node::Error>() {
        !matches!(error, hufu_node::Error::Refused(_) | hufu_node::Error::Expired)
    } else if let Some(error) = cause.downcast_ref::<hufu_keys::Error>() {
        error.at_fault() == AtFault::Token
    } else {
        cause.is::<Behind>()
            || cause.is::<MachineError>()
            || cause.is::<StoreError>()
            || cause.is::<hufu_issuance::StoreError>()
            || cause.is::<ReadModelError>()
            || cause.is::<std::io::Error>()
            || cause.is::<tokio::task::JoinError>()
    };
    ours.then_some(StatusCode::SERVICE_UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::Context as _;
    use hufu_issuance::LedgerFault;
    use hufu_proof::Outcome;

    use super::*;

    #[test]
    fn a_fault_of_this_node_is_not_the_callers() {
        let token = hufu_node::Error::Token("CKR_DEVICE_REMOVED".into());
        let ledger = LedgerFault::Unavailable {
            reason: "too much waits".into(),
            retry_after: Duration::from_secs(5),
        };
        let store = StoreError::Fenced { held: 1, current: 2 };
        for error in [
            anyhow::Error::from(token),
            hufu_node::Error::Pending.into(),
            hufu_node::Error::Machine(MachineError::Store(store)).into(),
            MachineError::NotNext { height: 2, expected: 1 }.into(),
            CaError::Ledger(ledger).into(),
            ReadModelError::Poisoned.into(),
            Behind { at: 1, asked: 2, why: "it is catching up".into() }.into(),
            hufu_keys::Error::Busy { retry_after: Duration::from_secs(1) }.into(),
            std::io::Error::other("the disk").into(),
        ] {
            let said = format!("{error:#}");
            // However much is said around it.
            let error = Err::<(), _>(error).context("a receipt").context("asked").unwrap_err();
            assert_eq!(status(&error), StatusCode::SERVICE_UNAVAILABLE, "{said}");
        }
    }

    #[test]
    fn what_the_caller_asked_wrongly_is() {
        let refused = LedgerFault::Refused { code: "conflict".into(), reason: "x".into() };
        for (error, expected) in [
            (anyhow::anyhow!("action `x` has no parameter `y`"), 400),
            (hufu_node::Error::Refused(Outcome::Duplicate).into(), 400),
            (CaError::NotFound("a certificate".into()).into(), 404),
            (CaError::Ledger(refused).into(), 403),
            ("x".parse::<u8>().unwrap_err().into(), 400),
        ] {
            assert_eq!(status(&error).as_u16(), expected, "{error:#}");
        }
    }
}
