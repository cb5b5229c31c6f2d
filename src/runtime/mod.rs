//! What the controllers stand on: caches, work queues, the lease, the clock, and what operators look at.

pub mod clock;
pub mod connection;
pub mod events;
pub mod feed;
pub mod http;
pub mod lease;
pub mod metrics;
pub mod store;
pub mod stores;
pub mod telemetry;
pub mod visibility;
pub mod work;
