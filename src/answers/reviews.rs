//! Reviews: who asks, and what that somebody may do, as the API server says.
//!
//! Its answers are kept for a short time, under a hash of the token: neither the token nor anything made from it is logged.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::memory::Memory;
use super::question::Refusal;
use crate::api::GROUP;

/// The audience of tokens that are good for this API only, so that whoever sees one can do nothing else with it.
pub const AUDIENCE: &str = "rota.dev";
/// How long an answer counts: so long somebody whose rights were taken away may go on.
const KEPT: Duration = Duration::from_secs(10);
/// How many tokens are remembered, and how many questions about them.
const REMEMBERED_MAX: usize = 4_096;
/// How many questions are put to the API server at once.
const AT_ONCE: usize = 4;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What stands for a token.
type TokenHash = [u8; 32];

/// Somebody whom the API server knows.
#[derive(Clone)]
pub struct Caller {
    hash: TokenHash,
    user: Arc<UserInfo>,
}

/// Something that one may be allowed to do in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Right {
    /// What is done.
    pub verb: &'static str,
    /// To the objects of which kind, in the plural.
    pub resource: &'static str,
    /// In which namespace.
    pub namespace: String,
    /// To which object; empty: any.
    pub name: String,
}

/// Asks the API server, and remembers for a while what it said.
pub struct Reviews {
    client: Client,
    callers: Memory<TokenHash, Option<Caller>>,
    rights: Memory<(TokenHash, Right), bool>,
    places: Semaphore,
}

impl Reviews {
    /// With nothing remembered.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            callers: Memory::new(KEPT, REMEMBERED_MAX),
            rights: Memory::new(KEPT, REMEMBERED_MAX),
            places: Semaphore::new(AT_ONCE),
        }
    }

    /// Who has that token; absent: nobody.
    pub async fn caller(&self, token: &str) -> Result<Option<Caller>, Refusal> {
        let hash: TokenHash = Sha256::digest(token.as_bytes()).into();
        let review = async |hash: &TokenHash| {
            let mut user = self.review(token, Some(vec![AUDIENCE.to_owned()])).await?;
            if user.is_none() {
                user = self.review(token, None).await?;
            }
            Ok(user.map(|user| Caller { hash: *hash, user: Arc::new(user) }))
        };
        self.answer(&self.callers, hash, review).await
    }

    async fn review(&self, token: &str, audiences: Option<Vec<String>>) -> Result<Option<UserInfo>, Refusal> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences };
        let answer = self.ask(&TokenReview { spec, ..TokenReview::default() }).await?;
        let status = answer.status.filter(|status| status.authenticated == Some(true));
        Ok(status.and_then(|status| status.user))
    }

    /// Whether somebody may do something.
    pub async fn may(&self, caller: &Caller, right: Right) -> Result<bool, Refusal> {
        let user = caller.user.as_ref().clone();
        let review = async |(_, right): &(TokenHash, Right)| {
            let attributes = ResourceAttributes {
                group: Some(GROUP.into()),
                resource: Some(right.resource.into()),
                verb: Some(right.verb.into()),
                namespace: Some(right.namespace.clone()),
                name: Some(right.name.clone()).filter(|name| !name.is_empty()),
                ..ResourceAttributes::default()
            };
            let spec = SubjectAccessReviewSpec {
                user: user.username,
                uid: user.uid,
                groups: user.groups,
                extra: user.extra,
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            };
            let answer = self.ask(&SubjectAccessReview { spec, ..SubjectAccessReview::default() }).await?;
            Ok(answer.status.is_some_and(|status| status.allowed))
        };
        self.answer(&self.rights, (caller.hash, right), review).await
    }

    /// What is remembered, or else what the API server says. Requests with one question at one time ask it a few times, not
    /// once each: those that had to wait for their turn find the answer of the first.
    async fn answer<Q: Eq + Hash, A: Clone>(
        &self,
        memory: &Memory<Q, A>,
        question: Q,
        review: impl AsyncFnOnce(&Q) -> Result<A, Refusal>,
    ) -> Result<A, Refusal> {
        if let Some(known) = memory.get(&question, Instant::now()) {
            return Ok(known);
        }
        let late = |_| Refusal::new(503, "the Kubernetes API did not say in time who you are and what you may do");
        let answered = async {
            // It is never closed.
            let _place = self.places.acquire().await;
            if let Some(known) = memory.get(&question, Instant::now()) {
                return Ok(known);
            }
            let answer = review(&question).await?;
            memory.put(question, answer.clone(), Instant::now());
            Ok(answer)
        };
        tokio::time::timeout(TIMEOUT, answered).await.map_err(late)?
    }

    async fn ask<K>(&self, review: &K) -> Result<K, Refusal>
    where
        K: kube::Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
    {
        match Api::<K>::all(self.client.clone()).create(&PostParams::default(), review).await {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(status)) if status.code == 403 => Err(Refusal::new(
                503,
                format!(
                    "the operator may not ask who you are and what you may do: it needs the right to create {}.{}, in the \
                     whole cluster (the chart grants it with api.enabled)",
                    K::plural(&()),
                    K::group(&())
                ),
            )),
            Err(error) => {
                let error = crate::runtime::lease::chain(&error);
                tracing::warn!(kind = %K::kind(&()), error, "a review failed");
                Err(Refusal::new(503, "the Kubernetes API did not say who you are and what you may do"))
            }
        }
    }
}
