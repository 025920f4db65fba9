//! Contract packages: parse, check, evaluate.

pub mod contract;
pub mod problem;
pub mod sources;
pub mod world;

pub use contract::{Contract, check};
pub use problem::Problem;
pub use sources::Sources;
pub use world::{
    Asset, Context, Effects, Event, Member, Principal, StreamEffects, World, Write,
};
