//! Election: the lease is taken, renewed and given up on a thread of its own.
//!
//! It has its own runtime and its own connection to the API server as well. Whatever keeps the threads of the operator busy, however
//! long, does not keep the lease from being renewed.

use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};
use tokio::sync::oneshot;

use super::elector::{Elector, REQUEST_TIMEOUT};
use super::{Acquired, Leadership, LeaseError, Traces};
use crate::runtime::connection;

/// Name of the thread.
const THREAD: &str = "lease";

/// On what terms a replica takes part.
#[derive(Clone)]
pub struct Terms {
    /// The namespace of the Lease.
    pub namespace: String,
    /// This replica's name, unique among live processes.
    pub identity: String,
    /// How long a leader that does not renew keeps the lease.
    pub duration: Duration,
    /// What is told whether this process leads.
    pub leadership: Leadership,
    /// What leaders of before have left, as far as it is seen now.
    pub traces: Arc<dyn Fn() -> Traces + Send + Sync>,
}

/// This replica's part in the election. Dropped, it takes part no longer and lets the lease expire.
pub struct Election {
    acquired: oneshot::Receiver<Acquired>,
    lost: oneshot::Receiver<LeaseError>,
    release: oneshot::Sender<Released>,
}

type Released = oneshot::Sender<Result<(), LeaseError>>;

impl Election {
    /// Takes part on a thread of its own.
    pub fn start(config: Config, terms: Terms) -> Result<Self, LeaseError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (election, part) = Self::with(move || connection::client(config, REQUEST_TIMEOUT), terms);
        std::thread::Builder::new().name(THREAD.into()).spawn(move || runtime.block_on(part))?;
        Ok(election)
    }

    /// Takes part while the future that is returned is driven.
    pub fn with(
        client: impl FnOnce() -> kube::Result<Client> + Send + 'static,
        terms: Terms,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (acquired, is_acquired) = oneshot::channel();
        let (lost, is_lost) = oneshot::channel();
        let (release, to_release) = oneshot::channel();
        let part = take_part(client, terms, acquired, lost, to_release);
        (Self { acquired: is_acquired, lost: is_lost, release }, part)
    }

    /// Waits until this replica holds the lease.
    pub async fn acquired(&mut self) -> Result<Acquired, LeaseError> {
        match (&mut self.acquired).await {
            Ok(acquired) => Ok(acquired),
            Err(_) => Err(self.lost().await),
        }
    }

    /// Waits until the lease that was held is lost.
    pub async fn lost(&mut self) -> LeaseError {
        (&mut self.lost).await.unwrap_or_else(|_| LeaseError::Lost("its thread has ended".into()))
    }

    /// Gives the lease up, so that another replica need not wait for it to expire.
    pub async fn release(self) -> Result<(), LeaseError> {
        let (released, is_released) = oneshot::channel();
        // A thread that has ended holds nothing.
        let _ = self.release.send(released);
        is_released.await.unwrap_or(Ok(()))
    }
}

async fn take_part(
    client: impl FnOnce() -> kube::Result<Client> + Send,
    terms: Terms,
    acquired: oneshot::Sender<Acquired>,
    lost: oneshot::Sender<LeaseError>,
    mut to_release: oneshot::Receiver<Released>,
) {
    let mut elector = match client() {
        Ok(client) => Elector::new(client, terms),
        Err(error) => {
            let _ = lost.send(error.into());
            return;
        }
    };
    let won = tokio::select! {
        biased;
        won = elector.acquire() => won,
        _ = &mut to_release => return,
    };
    // Whoever does not listen any more has dropped all of it, which ends the next wait.
    let _ = acquired.send(won);
    tokio::select! {
        biased;
        error = elector.keep() => drop(lost.send(error)),
        asked = to_release => match asked {
            Ok(released) => drop(released.send(elector.release().await)),
            Err(_) => elector.let_expire(),
        },
    }
}
