//! Custody on a token that fails: a fault layer between it and SoftHSM2, other
//! programs on the same token, files that vanish.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use hufu_keys::{
    Custody, Error, FailureClass, Key, KeyAlgorithm, Status, TokenConfig, initialise_token,
    testing::{ALWAYS, Faults, Knob, Meter, SO_PIN, Site, USER_PIN, isolated, pin},
};

const CKR_GENERAL_ERROR: u64 = 0x05;
const CKR_DATA_LEN_RANGE: u64 = 0x21;
const CKR_DEVICE_ERROR: u64 = 0x30;
const CKR_KEY_HANDLE_INVALID: u64 = 0x60;
const CKR_MECHANISM_INVALID: u64 = 0x70;
const CKR_OPERATION_ACTIVE: u64 = 0x90;
const CKR_PIN_INCORRECT: u64 = 0xA0;
const CKR_PIN_LOCKED: u64 = 0xA4;
const CKR_SESSION_CLOSED: u64 = 0xB0;
const CKR_SESSION_HANDLE_INVALID: u64 = 0xB3;
const CKR_TOKEN_NOT_PRESENT: u64 = 0xE0;
const CKR_DEVICE_REMOVED: u64 = 0x32;
const CKR_USER_NOT_LOGGED_IN: u64 = 0x101;
const CKR_CRYPTOKI_NOT_INITIALIZED: u64 = 0x190;
const CKR_VENDOR: u64 = 0x8000_0042;

/// A token behind the fault layer, with short pauses.
fn config(site: &Site, faults: &Faults) -> TokenConfig {
    site.create_token("member-a");
    TokenConfig {
        backoff_first: Duration::from_millis(20),
        backoff_longest: Duration::from_millis(100),
        reload_interval: Duration::from_millis(50),
        keep_alive: Duration::from_millis(200),
        ..TokenConfig::new(faults.module(), "member-a")
    }
}

fn open(site: &Site) -> (Faults, Custody, Key) {
    let faults = site.faults();
    let custody = Custody::open(config(site, &faults), site.pin()).unwrap();
    let key = custody.generate("vote", KeyAlgorithm::P256).unwrap();
    (faults, custody, key)
}

fn signs(key: &Key) {
    let signature = key.sign(b"message").unwrap();
    assert!(key.verify(b"message", &signature));
}

/// Tries until it signs; fails if it does not come back.
fn comes_back(key: &Key) {
    eventually("signs again", || key.sign(b"message").is_ok());
    signs(key);
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !check() {
        assert!(Instant::now() < until, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn failures(custody: &Custody, class: FailureClass) -> u64 {
    let counters = custody.counters();
    counters.failures.iter().find(|(of, _)| *of == class).unwrap().1
}

#[test]
fn closed_sessions_cost_no_request() {
    isolated(|site| {
        let (faults, custody, key) = open(site);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..100).for_each(|_| signs(&key)));
            }
            for _ in 0..5 {
                faults.set(Knob::CloseAll, 1);
                thread::sleep(Duration::from_millis(10));
            }
        });
        // At least the last one took effect, if only in this signature.
        signs(&key);
        assert!(custody.counters().recoveries >= 1);
        assert_eq!(faults.read(Meter::Logins), custody.counters().logins);
        assert_eq!(custody.status(), Status::Ready);
        assert_eq!(faults.read(Meter::Finalisations), 0, "no reload for this");
    });
}

#[test]
fn a_logout_by_another_session_costs_no_request() {
    isolated(|site| {
        let (faults, custody, key) = open(site);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..100).for_each(|_| signs(&key)));
            }
            for _ in 0..5 {
                faults.set(Knob::LogOut, 1);
                thread::sleep(Duration::from_millis(10));
            }
        });
        signs(&key);
        assert!(custody.counters().recoveries >= 1);
        // Workers, anchor, the session of the ceremony: nothing leaks.
        assert!(faults.read(Meter::Sessions) <= 3);
        assert_eq!(custody.status(), Status::Ready);
    });
}

#[test]
fn an_idle_custody_notices_and_mends_a_logout() {
    isolated(|site| {
        let (faults, custody, key) = open(site);
        let other = Custody::open(custody.config().clone(), site.pin()).unwrap();
        let theirs = other.key("vote").unwrap();
        faults.set(Knob::LogOut, 1);
        signs(&theirs);
        eventually("keep-alive finds the login", || {
            custody.counters().recoveries + other.counters().recoveries >= 1
        });
        signs(&key);
        signs(&theirs);
    });
}

#[test]
fn each_code_has_its_remedy() {
    isolated(|site| {
        let (faults, custody, key) = open(site);
        for (code, class) in [
            (CKR_SESSION_HANDLE_INVALID, FailureClass::Session),
            (CKR_SESSION_CLOSED, FailureClass::Session),
            (CKR_OPERATION_ACTIVE, FailureClass::Session),
            (CKR_KEY_HANDLE_INVALID, FailureClass::Handle),
            (CKR_USER_NOT_LOGGED_IN, FailureClass::Login),
            (CKR_TOKEN_NOT_PRESENT, FailureClass::TokenGone),
            (CKR_DEVICE_REMOVED, FailureClass::TokenGone),
            (CKR_DEVICE_ERROR, FailureClass::Device),
            (CKR_GENERAL_ERROR, FailureClass::Device),
            (CKR_CRYPTOKI_NOT_INITIALIZED, FailureClass::Device),
            (CKR_VENDOR, FailureClass::Device),
        ] {
            let before = failures(&custody, class);
            faults.set(Knob::SignCode, code);
            faults.set(Knob::SignTimes, 1);
            signs(&key);
            assert_eq!(failures(&custody, class), before + 1, "{code:#x}");
        }
        for code in [CKR_MECHANISM_INVALID, CKR_DATA_LEN_RANGE] {
            let before = faults.read(Meter::Signatures);
            faults.set(Knob::SignCode, code);
            faults.set(Knob::SignTimes, 1);
            let error = key.sign(b"x").unwrap_err();
            assert!(
                matches!(error, Error::Token { class: FailureClass::Request, .. }),
                "{error:?}"
            );
            assert_eq!(faults.read(Meter::Signatures), before + 1, "no retry");
            assert_eq!(custody.status(), Status::Ready);
        }
        assert_eq!(faults.read(Meter::Logins), 1, "none of this needed the PIN");
    });
}

#[test]
fn a_dead_device_opens_the_circuit_until_it_lives() {
    isolated(|site| {
        let (faults, custody, key) = open(site);
        faults.set(Knob::SignCode, CKR_DEVICE_ERROR);
        faults.set(Knob::SignTimes, ALWAYS);
        let mut refused = None;
        eventually("the circuit opens", || {
            match key.sign(b"x") {
                Err(error @ Error::Unavailable { .. }) => refused = Some(error),
                Err(Error::Token { .. }) => {}
                other => panic!("{other:?}"),
            }
            refused.is_some()
        });
        let retry_after = refused.unwrap().retry_after().unwrap();
        assert!(retry_after <= custody.config().backoff_longest);
        // All the rest was tried: sessions, login, a fresh module.
        eventually("the module is started afresh", || {
            let _ = key.sign(b"x");
            custody.counters().module_reloads >= 1
        });
        assert!(custody.counters().refused_unavailable >= 1);

        faults.set(Knob::SignTimes, 0);
        comes_back(&key);
        eventually("ready", || custody.status() == Status::Ready);
        assert_eq!(faults.read(Meter::DoubleInitialisations), 0);
    });
}

#[test]
fn an_unplugged_token_is_refused_at_once_and_comes_back() {
    isolated(|site| {
        let (faults, custody, key) = open(site);
        let waiting: Vec<_> = {
            faults.set(Knob::SignDelayMicros, 20_000);
            let waiting = (0..20).map(|_| key.sign_async(b"x")).collect();
            faults.set(Knob::Unplugged, 1);
            waiting
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut refused = 0;
        for signing in waiting {
            match runtime.block_on(signing) {
                Ok(_) => {}
                Err(error) => {
                    assert!(error.retry_after().is_some(), "{error:?}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0, "every request is answered, and some could not be met");
        eventually("unavailable", || matches!(custody.status(), Status::Unavailable { .. }));
        assert!(!custody.status().accepts_requests());
        // Nobody is logged in to what is not there.
        let logins = faults.read(Meter::Logins);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(faults.read(Meter::Logins), logins);

        faults.set(Knob::SignDelayMicros, 0);
        faults.set(Knob::Unplugged, 0);
        comes_back(&key);
        eventually("ready", || custody.status() == Status::Ready);
    });
}

fn token_directory(site: &Site) -> PathBuf {
    let mut entries = fs::read_dir(site.tokens()).unwrap();
    let only = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none());
    only
}

#[test]
fn a_token_whose_files_vanish_comes_back_with_them() {
    isolated(|site| {
        let (_faults, custody, key) = open(site);
        signs(&key);
        let home = token_directory(site);
        let away = site.directory().join("away");
        fs::rename(&home, &away).unwrap();
        eventually("notices", || match key.sign(b"x") {
            Err(error) => {
                assert!(
                    error.retry_after().is_some() || matches!(error, Error::NoSuchKey { .. }),
                    "{error:?}"
                );
                matches!(error, Error::Unavailable { .. })
            }
            Ok(_) => false,
        });
        assert!(matches!(custody.status(), Status::Unavailable { .. }));
        fs::rename(&away, &home).unwrap();
        comes_back(&key);
        eventually("ready", || custody.status() == Status::Ready);
    });
}

#[test]
fn another_token_in_its_place_is_not_believed() {
    isolated(|site| {
        let (faults, custody, key) = open(site);
        let home = token_directory(site);
        let away = site.directory().join("away");
        let imposter = site.directory().join("imposter");
        let config = custody.config().clone();
        drop((custody, key));

        // The same label, PIN and key label; another key.
        fs::rename(&home, &away).unwrap();
        site.create_token("member-a");
        let other = Custody::open(config.clone(), site.pin()).unwrap();
        other.generate("vote", KeyAlgorithm::P256).unwrap();
        drop(other);
        let theirs = token_directory(site);
        fs::rename(&theirs, &imposter).unwrap();
        fs::rename(&away, &home).unwrap();

        let custody = Custody::open(config, site.pin()).unwrap();
        let key = custody.key("vote").unwrap();
        signs(&key);
        fs::rename(&home, &away).unwrap();
        fs::rename(&imposter, &theirs).unwrap();
        // Whatever sees the new files must not sign with the new key.
        faults.set(Knob::Unplugged, 1);
        eventually("unavailable", || {
            let _ = key.sign(b"x");
            matches!(custody.status(), Status::Unavailable { .. })
        });
        faults.set(Knob::Unplugged, 0);
        eventually("mismatch", || match key.sign(b"x") {
            Err(Error::KeyMismatch(_)) => true,
            Err(_) => false,
            Ok(signature) => {
                assert!(key.verify(b"x", &signature), "signed with another key");
                false
            }
        });
    });
}

#[test]
fn a_wrong_pin_is_shown_once() {
    isolated(|site| {
        let faults = site.faults();
        let config = config(site, &faults);
        for _ in 0..5 {
            let outcome = Custody::open(config.clone(), pin("not it"));
            assert!(matches!(outcome, Err(Error::WrongPin { .. })), "{outcome:?}");
        }
        assert_eq!(faults.read(Meter::Logins), 1);
        // The right one still opens it.
        let custody = Custody::open(config, site.pin()).unwrap();
        signs(&custody.generate("vote", KeyAlgorithm::P256).unwrap());
        assert_eq!(faults.read(Meter::Logins), 2);
    });
}

#[test]
fn a_pin_refused_while_recovering_stops_everything_at_once() {
    isolated(|site| {
        let (faults, custody, key) = open(site);
        let logins = faults.read(Meter::Logins);
        // The PIN was changed meanwhile, says the token.
        faults.set(Knob::LoginCode, CKR_PIN_INCORRECT);
        faults.set(Knob::LoginTimes, ALWAYS);
        faults.set(Knob::LogOut, 1);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(matches!(key.sign(b"x"), Err(Error::WrongPin { .. }))));
            }
        });
        assert!(matches!(custody.status(), Status::PinRefused { .. }));
        // Longer than keep-alive and all pauses.
        thread::sleep(custody.config().keep_alive * 3);
        assert!(matches!(key.sign(b"x"), Err(Error::WrongPin { .. })));
        assert!(matches!(
            Custody::open(custody.config().clone(), site.pin()),
            Err(Error::WrongPin { .. })
        ));
        assert_eq!(faults.read(Meter::Logins), logins + 1);
        assert_eq!(custody.counters().logins, 2);
    });
}

#[test]
fn a_locked_token_says_who_can_help() {
    isolated(|site| {
        let (faults, custody, key) = open(site);
        faults.set(Knob::LoginCode, CKR_PIN_LOCKED);
        faults.set(Knob::LoginTimes, ALWAYS);
        faults.set(Knob::LogOut, 1);
        let error = key.sign(b"x").unwrap_err();
        assert!(matches!(error, Error::PinLocked { state: "locked", .. }), "{error:?}");
        assert!(error.to_string().contains("security officer"));
        assert_eq!(error.retry_after(), None);
        thread::sleep(custody.config().keep_alive * 3);
        assert_eq!(faults.read(Meter::Logins), 2);
    });
}

#[test]
fn a_full_queue_is_refused_with_a_time() {
    isolated(|site| {
        let faults = site.faults();
        let config = TokenConfig { workers: 1, queue_depth: 4, ..config(site, &faults) };
        let custody = Custody::open(config, site.pin()).unwrap();
        let key = custody.generate("vote", KeyAlgorithm::P256).unwrap();
        faults.set(Knob::SignDelayMicros, 20_000);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..32).map(|_| scope.spawn(|| key.sign(b"x"))).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let mut busy = 0;
        for outcome in &outcomes {
            match outcome {
                Ok(signature) => assert!(key.verify(b"x", signature)),
                Err(Error::Busy { retry_after }) => {
                    assert!(*retry_after >= Duration::from_millis(10));
                    busy += 1;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        assert!(busy > 0 && busy < outcomes.len(), "{busy}");
        assert_eq!(custody.counters().refused_busy, busy as u64);
        signs(&key);
        assert_eq!(custody.status(), Status::Ready);
    });
}

#[test]
fn a_session_limit_leaves_a_smaller_pool() {
    isolated(|site| {
        let faults = site.faults();
        let config = TokenConfig { workers: 4, ..config(site, &faults) };
        // The anchor and at least two workers; how many of the four get a session
        // while others back off is a race.
        faults.set(Knob::SessionLimit, 4);
        let custody = Custody::open(config, site.pin()).unwrap();
        eventually("nearly full", || faults.read(Meter::Sessions) >= 3);
        faults.set(Knob::SessionLimit, 5);
        let mut made = None;
        eventually("a session to make a key", || {
            made = custody.generate("vote", KeyAlgorithm::P256).ok();
            made.is_some()
        });
        let key = made.unwrap();
        faults.set(Knob::SessionLimit, 4);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| (0..20).for_each(|_| signs(&key)));
            }
        });
        assert!(faults.read(Meter::MostSessions) <= 5);
    });
}

#[test]
fn a_hanging_token_answers_in_time_and_is_refused() {
    isolated(|site| {
        // Making a key writes files and has the usual time.
        let (faults, patient, _) = open(site);
        let config =
            TokenConfig { request_timeout: Duration::from_secs(1), ..patient.config().clone() };
        drop(patient);
        let custody = Custody::open(config, site.pin()).unwrap();
        let key = custody.key("vote").unwrap();
        faults.set(Knob::Hang, 1);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let flying: Vec<_> = (0..6).map(|_| key.sign_async(b"x")).collect();
        for signing in flying {
            let error = runtime.block_on(signing).unwrap_err();
            assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
        }
        assert_eq!(custody.counters().timed_out, 6);
        assert!(matches!(key.sign(b"x"), Err(Error::Unavailable { .. })));
        assert!(
            matches!(custody.status(), Status::Degraded { reason, .. } if reason.contains("hang"))
        );
        faults.set(Knob::Hang, 0);
        comes_back(&key);
        eventually("ready", || custody.status() == Status::Ready);
    });
}

#[test]
fn closing_does_not_wait_for_a_hanging_call_for_ever() {
    isolated(|site| {
        let (faults, custody, key) = open(site);
        faults.set(Knob::Hang, 1);
        let flying = key.sign_async(b"x");
        eventually("inside", || custody.counters().queue_length == 0);
        drop(key);
        custody.close();
        assert_eq!(custody.status(), Status::Closed);
        drop((custody, flying));
        // The module is finalised when the call has come back, not before.
        assert_eq!(faults.read(Meter::Finalisations), 0);
        faults.set(Knob::Hang, 0);
        eventually("finalised", || faults.read(Meter::Finalisations) == 1);
    });
}

#[test]
fn spoilt_signatures_are_never_given_out() {
    isolated(|site| {
        let (faults, _custody, key) = open(site);
        for spoil in [1, 2, 3] {
            faults.set(Knob::Spoil, spoil);
            let error = key.sign(b"x").unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::Malformed(_) | Error::Unavailable { .. } | Error::KeyMismatch(_)
                ),
                "{error:?}"
            );
            faults.set(Knob::Spoil, 0);
            comes_back(&key);
        }
    });
}

#[test]
fn a_label_that_is_filled_up_with_nul_is_found() {
    isolated(|site| {
        let faults = site.faults();
        faults.set(Knob::NulLabels, 1);
        let custody = Custody::open(config(site, &faults), site.pin()).unwrap();
        let key = custody.generate("vote", KeyAlgorithm::P256).unwrap();
        signs(&key);
        assert!(!custody.token().label.contains('\0'));
    });
}

#[test]
fn a_token_that_signs_in_der_is_named() {
    isolated(|site| {
        let (faults, custody, _key) = open(site);
        faults.set(Knob::Spoil, 3);
        let error = custody.generate("other", KeyAlgorithm::P256).unwrap_err();
        assert!(error.to_string().contains("in DER"), "{error:?}");
        faults.set(Knob::Spoil, 0);
    });
}

#[test]
fn a_token_that_makes_extractable_keys_is_refused() {
    isolated(|site| {
        let (faults, custody, _key) = open(site);
        faults.set(Knob::Weaken, 1);
        let outcome = custody.generate("weak", KeyAlgorithm::P256);
        assert!(
            matches!(&outcome, Err(Error::NotHonoured { attribute: "CKA_EXTRACTABLE", .. })),
            "{outcome:?}"
        );
        faults.set(Knob::Weaken, 0);
        assert!(matches!(custody.key("weak"), Err(Error::NoSuchKey { .. })));
        // Nothing is left behind that would stand in the way.
        custody.generate("weak", KeyAlgorithm::P256).unwrap();
    });
}

#[test]
fn one_token_in_trouble_does_not_take_another_along() {
    isolated(|site| {
        let (faults, sick, sick_key) = open(site);
        // Through the layer: SoftHSM2 is initialised by it in this process.
        let (officer, user) = (pin(SO_PIN), pin(USER_PIN));
        initialise_token(faults.module(), "member-b", &officer, &user).unwrap();
        let config = TokenConfig { label: "member-b".to_owned(), ..sick.config().clone() };
        let well = Custody::open(config, site.pin()).unwrap();
        let key = well.generate("vote", KeyAlgorithm::P256).unwrap();
        let directory = fs::read_dir(site.tokens())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| {
                let object = fs::read(path.join("token.object")).unwrap();
                object.windows(8).any(|window| window == b"member-a")
            })
            .unwrap();
        let away = site.directory().join("away");
        fs::rename(&directory, &away).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..200).for_each(|_| signs(&key)));
            }
            eventually("reloads", || {
                let _ = sick_key.sign(b"x");
                sick.counters().module_reloads >= 2
            });
        });
        signs(&key);
        fs::rename(&away, &directory).unwrap();
        comes_back(&sick_key);
        assert_eq!(faults.read(Meter::DoubleInitialisations), 0);
    });
}
