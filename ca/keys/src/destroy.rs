//! The end of keys: a machine goes back to its factory state.

use std::path::Path;

use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;

use crate::error::{Error, Result};
use crate::module::ModuleUse;
use crate::pin::Pin;
use crate::token::{OpenSession, locate};

/// Destroys every key object with one of `labels` in the token called `token`;
/// the labels of which there was one. None of them is there afterwards.
///
/// Everything else in the token stays: it may be others'.
///
/// # Errors
/// [`Error`] when the token is not there, its PIN does not open it, or an object
/// is still there. What was destroyed until then stays destroyed; it can be
/// asked again.
pub fn destroy_keys(module: &Path, token: &str, pin: &Pin, labels: &[&str]) -> Result<Vec<String>> {
    let module = ModuleUse::acquire(module)?;
    let inside = module.enter().map_err(Error::token)?;
    let (slot, _) = locate(&inside, module.path(), token)?;
    let session = OpenSession::open(&inside, slot, true).map_err(Error::token)?;
    let outcome = (|| {
        let found = session.at(&inside).ok_or(Error::Closed)?;
        found
            .login(UserType::User, Some(&pin.as_auth()))
            .map_err(|error| crate::token::login_error(token, error))?;
        let mut destroyed = Vec::new();
        for label in labels {
            let mut any = false;
            for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
                let template = [
                    Attribute::Token(true),
                    Attribute::Class(class),
                    Attribute::Label((*label).into()),
                ];
                for object in found.find_objects(&template).map_err(Error::token)? {
                    found.destroy_object(object).map_err(Error::token)?;
                    any = true;
                }
                if !found.find_objects(&template).map_err(Error::token)?.is_empty() {
                    return Err(Error::Malformed("a key that was destroyed is still there"));
                }
            }
            if any {
                destroyed.push((*label).to_owned());
            }
        }
        Ok(destroyed)
    })();
    session.close(&inside);
    outcome
}
