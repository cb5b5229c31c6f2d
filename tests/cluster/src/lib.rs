//! Throw-away Kubernetes clusters for Rota's tests and benchmarks, without a container engine or a prepared machine.
//!
//! The programs are built from Go modules into the user's cache once; then a cluster with one real node starts in
//! seconds. Each cluster lives in namespaces of its own and leaves nothing behind, however it ends. See the README
//! beside this crate for the program `rota-cluster`, which does all of this from a command line.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod archive;
mod certificates;
pub mod cleanup;
mod cluster;
mod command;
mod component;
mod control_plane;
mod error;
mod events;
pub mod guard;
mod images;
mod kubeconfig;
mod kueue;
pub mod namespaces;
mod network;
mod node;
mod options;
mod packages;
mod programs;
mod state;
pub mod supervisor;
pub mod users;

pub use archive::{Content, Entry};
pub use cluster::Cluster;
pub use error::{Error, Result};
pub use images::{BUSYBOX, Image, import as import_image};
pub use kueue::{ClientLimits, Kueue};
pub use options::{NodeKind, Options};
pub use programs::{ensure as build_programs, ensure_health as build_health, ensure_kueue as build_kueue};
