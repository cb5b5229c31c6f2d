//! What the proxy of these tests is told becomes of requests, also of a watch that is open already.

use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{PostParams, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::WatchEvent;
use kube::{Api, Client, Config};
use serde_json::json;

use crate::cluster::{in_namespace, kubeconfig};
use crate::proxy::{Fate, Instead, Proxy};

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap()
}

async fn through(proxy: &Proxy) -> Client {
    let file = Kubeconfig::read_from(proxy.kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// Waits until a watch tells that something was created.
async fn tells_of(watch: &mut (impl Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin), name: &str) {
    loop {
        match watch.next().await.expect("the watch goes on").unwrap() {
            WatchEvent::Added(object) if object.metadata.name.as_deref() == Some(name) => return,
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_proxy_does_with_a_request_what_it_was_told() {
    in_namespace(|scope| async move {
        let proxy = Proxy::start(kubeconfig()).await;
        let api: Api<ConfigMap> = Api::namespaced(through(&proxy).await, &scope.namespace);
        let plain: Api<ConfigMap> = Api::namespaced(scope.client.clone(), &scope.namespace);
        let create = |name: &str| {
            let (api, name) = (api.clone(), name.to_owned());
            async move { api.create(&PostParams::default(), &config_map(&name)).await }
        };
        create("passed").await.unwrap();
        proxy.order_times(1, |it| it.method == "POST" && it.text().contains("done"), Fate::DoneBut(Instead::Code(502)));
        let failed = create("done").await.unwrap_err();
        assert!(matches!(&failed, kube::Error::Api(status) if status.code == 502), "{failed:?}");
        assert!(plain.get_opt("done").await.unwrap().is_some(), "it was done");
        proxy.order_times(1, |it| it.method == "POST", Fate::DoneBut(Instead::Reset));
        let failed = create("reset").await.unwrap_err();
        assert!(!matches!(&failed, kube::Error::Api(_)), "{failed:?}");
        assert!(plain.get_opt("reset").await.unwrap().is_some(), "it was done");
        proxy.order_times(1, |it| it.method == "POST", Fate::Refuse(403));
        let failed = create("refused").await.unwrap_err();
        assert!(matches!(&failed, kube::Error::Api(status) if status.code == 403), "{failed:?}");
        assert!(plain.get_opt("refused").await.unwrap().is_none(), "it was not done");
        create("after").await.unwrap();
        assert_eq!(proxy.asked(|it| it.method == "POST" && it.text().contains("done")).len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_watch_that_is_open_goes_silent_and_stays_so_and_another_one_can_be_cut() {
    in_namespace(|scope| async move {
        let proxy = Proxy::start(kubeconfig()).await;
        let client = through(&proxy).await;
        let plain: Api<ConfigMap> = Api::namespaced(scope.client.clone(), &scope.namespace);
        let create = async |name: &str| plain.create(&PostParams::default(), &config_map(name)).await.unwrap();
        let api: Api<ConfigMap> = Api::namespaced(client, &scope.namespace);
        let mut silent = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
        create("seen").await;
        tells_of(&mut silent, "seen").await;
        proxy.order(|it| it.is_watch_of("configmaps"), Fate::Swallow);
        proxy.clear();
        let mut cut = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
        create("unseen").await;
        tells_of(&mut cut, "unseen").await;
        // The other one would have been told by now, too: it comes from the same cache.
        let nothing = tokio::time::timeout(Duration::from_millis(200), silent.next()).await;
        assert!(nothing.is_err(), "{nothing:?}");
        proxy.cut(|it| it.is_watch_of("configmaps"));
        // What was told before the cut is still read: Kubernetes puts a ConfigMap of its own into each namespace.
        let ended = async { while let Some(Ok(_)) = cut.next().await {} };
        tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the watch goes on after it was cut");
    })
    .await;
}
