//! A Kubernetes API server in memory, for tests of controllers.
//!
//! It stores objects in one line of versions, and answers what a controller asks of a real API server: create, get, list in pages,
//! update, merge patch, JSON patch, server-side apply, delete with finalizers and preconditions, status subresources, and watches with
//! bookmarks. Of kinds of a CRD it prunes, defaults and validates by the CRD's schema and rules. The same requests at the same times get the same
//! answers: there is no clock and no chance but what it is given. See README.md for what it does not do.

mod builtin;
mod delete;
mod failure;
mod fields;
mod managed;
mod request;
mod resources;
mod schema;
mod selectors;
mod server;
pub mod service;
mod store;
mod watch;
mod write;

pub use delete::{FOREGROUND, ORPHAN};
pub use failure::{Cause, Failure};
pub use request::{Request, Target, parse};
pub use resources::{Resource, ResourceName};
pub use server::{Answer, ApiServer};
pub use store::{Change, Key, Store, key_of};
pub use watch::{Event, Watch};
