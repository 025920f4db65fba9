//! A node in service, `hufu serve`: the wiring of ledger, certification
//! authority, regulator and the doors to them.
//!
//! What is in: what starts in which order and stops, what each door asks of
//! whom, how the node is. What is not: rules; whether a certificate may be
//! issued is `ca`'s to say, whether a transaction takes effect `ledger`'s, what
//! a report says `regulator`'s. Begin at [`serve`].

pub mod admin;
pub mod administrator;
pub mod archive;
mod archived;
pub mod authority;
pub mod clock;
pub mod cluster;
pub mod confined;
pub mod copying;
mod dates;
mod declarations;
pub mod disk;
pub mod doors;
pub mod front_end;
pub mod gateway;
mod governance;
pub mod growth;
pub mod health;
pub mod height;
pub mod hierarchy;
pub mod intake;
pub mod issuance;
pub mod issuing;
pub mod machine;
pub mod monitor;
pub mod node;
pub mod recertification;
pub mod records;
pub mod refusal;
pub mod renewal;
pub mod review;
pub mod root_list;
pub mod serve;
mod serving;
pub mod store;
pub mod submit;
pub mod supervision;
pub mod yielding;

pub use self::serve::run;
pub use self::serving::Serving;
