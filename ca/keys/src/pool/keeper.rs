//! The thread that keeps the token logged in.
//!
//! It alone holds the anchor session and the PIN, so there is never more than
//! one login attempt at a time. It recovers the login when a worker asks,
//! touches the anchor when nothing happens, and answers requests whose time is
//! over.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    circuit::{Duty, describe, reload_may_help},
    shared::Shared,
};
use crate::{
    error::Result,
    pin::Pin,
    status::Meters,
    token::{self, Anchor},
};

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long a closing pool waits for calls into the token to come back.
pub(crate) const CLOSING_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Keeper {
    shared: Arc<Shared>,
    pin: Pin,
    anchor: Option<Anchor>,
    touched: Instant,
}

impl Keeper {
    pub fn new(shared: Arc<Shared>, pin: Pin, anchor: Anchor) -> Self {
        shared.module.retain_login(&anchor.token);
        Self { shared, pin, anchor: Some(anchor), touched: Instant::now() }
    }

    pub fn run(mut self) {
        loop {
            let duty = self.shared.circuit.duty(TICK);
            self.shared.expire(Instant::now());
            self.shared.observe();
            match duty {
                Duty::Close => break,
                Duty::Recover { reload } => self.recover(reload),
                Duty::Tick => {
                    if self.touched.elapsed() >= self.shared.config.keep_alive {
                        self.touch();
                    }
                }
            }
        }
        self.close();
    }

    /// Keep-alive: notices a lost session or login before a request does.
    fn touch(&mut self) {
        self.touched = Instant::now();
        if !self.shared.circuit.status().accepts_requests() {
            return;
        }
        if !self.anchored() {
            let seen = self.shared.circuit.login_epoch();
            self.shared.circuit.request_recovery(seen, "the anchor session is lost or logged out");
        }
    }

    fn anchored(&self) -> bool {
        let (Some(anchor), Ok(inside)) = (&self.anchor, self.shared.module.enter()) else {
            return false;
        };
        anchor.session.logged_in(&inside).unwrap_or(false)
    }

    fn recover(&mut self, reload: bool) {
        let shared = Arc::clone(&self.shared);
        self.touched = Instant::now();
        let mut outcome = if reload { self.reload() } else { Ok(false) };
        if outcome.is_ok() {
            outcome = self.reconnect().map(|()| true);
        }
        if let Err(error) = &outcome
            && reload_may_help(error)
        {
            tracing::warn!(token = %shared.config.label, error = %describe(error), "token is lost");
            outcome = match self.reload() {
                Ok(true) => self.reconnect().map(|()| true),
                Ok(false) => outcome,
                Err(error) => Err(error),
            };
        }
        match outcome {
            Ok(_) => {
                Meters::add(&shared.meters.recoveries, 1);
                tracing::info!(token = %shared.config.label, "token is logged in again");
            }
            Err(error) => {
                tracing::error!(token = %shared.config.label, error = %describe(&error), "token is out of reach");
                shared.circuit.failed(&error);
                shared.refuse_waiting();
            }
        }
    }

    fn reload(&self) -> Result<bool> {
        let fresh = self.shared.module.reload(self.shared.config.reload_interval)?;
        if fresh {
            Meters::add(&self.shared.meters.module_reloads, 1);
            tracing::warn!(token = %self.shared.config.label, "module was started afresh");
        }
        Ok(fresh)
    }

    fn reconnect(&mut self) -> Result<()> {
        let shared = &self.shared;
        let anchor = token::connect(&shared.module, &shared.config.label, &self.pin, || {
            Meters::add(&shared.meters.logins, 1);
        })?;
        // The new session holds the login, so the old one may go. If it does
        // not answer, its handle is void and may be another's: let it be.
        if let (Some(old), Ok(inside)) = (self.anchor.take(), shared.module.enter()) {
            if old.token != anchor.token {
                // Another token of the same label: the login moves with us.
                shared.module.release_login(&old.token);
                shared.module.retain_login(&anchor.token);
            }
            if old.session.logged_in(&inside).is_ok() {
                old.session.close(&inside);
            }
        }
        let slot = anchor.slot;
        self.anchor = Some(anchor);
        shared.circuit.recovered(slot);
        Ok(())
    }

    /// Logs out and closes, if no call into the token hangs.
    fn close(mut self) {
        let all_gone = self.shared.circuit.await_workers(CLOSING_PATIENCE);
        let Some(anchor) = self.anchor.take() else {
            return;
        };
        let last = self.shared.module.release_login(&anchor.token);
        if !all_gone {
            tracing::error!(
                token = %self.shared.config.label,
                sessions = self.shared.meters.sessions.load(Ordering::Relaxed),
                "a call into the token hangs; its sessions stay open"
            );
            return;
        }
        let Ok(inside) = self.shared.module.enter() else {
            return;
        };
        if last
            && let Some(session) = anchor.session.at(&inside)
            && let Err(error) = session.logout()
        {
            tracing::debug!(%error, "token does not log out");
        }
        anchor.session.close(&inside);
    }
}
