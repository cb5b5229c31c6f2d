//! The operator as a process of its own, with the rights that the chart grants.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::config::Kubeconfig;
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::{Scope, kubeconfig, kubectl};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Looks again and again until there is something.
pub async fn until<T, Looking: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> Looking) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Sends an HTTP request to a port of this machine, and returns all of the answer.
pub async fn exchange(port: u16, request: String) -> String {
    let exchange = move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    tokio::task::spawn_blocking(exchange).await.unwrap()
}

/// What the chart grants the operator of one namespace, and a kubeconfig with that.
pub struct Rights {
    manifest: String,
    kubeconfig: PathBuf,
}

impl Rights {
    /// Grants it; `api` says whether the values of the chart enable the API.
    pub fn of_the_chart(scope: &Scope, api: bool) -> Self {
        Self::of_the_chart_but(scope, api, |manifest| manifest)
    }

    /// The same, changed.
    pub fn of_the_chart_but(scope: &Scope, api: bool, change: impl Fn(String) -> String) -> Self {
        Self::in_namespaces(scope, &[scope], api, change)
    }

    /// Grants what the chart grants an operator in the first namespace that works on these, changed.
    pub fn in_namespaces(scope: &Scope, worked_on: &[&Scope], api: bool, change: impl Fn(String) -> String) -> Self {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/rota");
        let names: Vec<&str> = worked_on.iter().map(|it| it.namespace.as_str()).collect();
        let values = format!("watchNamespaces={{{}}},api.enabled={api}", names.join(","));
        let mut command = Command::new("helm");
        command.args(["template", "rota", chart, "--namespace", &scope.namespace, "--set", &values]);
        command.args(["--show-only", "templates/rbac.yaml", "--show-only", "templates/serviceaccount.yaml"]);
        let output = command.output().expect("helm is in the PATH that rota-cluster gives");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let manifest = String::from_utf8(output.stdout).unwrap();
        kubectl(&["apply", "-f", "-"], &change(manifest.clone())).expect_success();
        let token = scope.kubectl(&["create", "token", "rota"]).expect_success();
        let admin = Kubeconfig::read_from(kubeconfig()).unwrap();
        let cluster = serde_json::to_value(admin.clusters.first().unwrap()).unwrap();
        let own = json!({
            "apiVersion": "v1", "kind": "Config", "clusters": [cluster], "current-context": "test",
            "users": [{ "name": "operator", "user": { "token": token.trim() } }],
            "contexts": [{ "name": "test", "context": { "cluster": cluster["name"], "user": "operator" } }],
        });
        let path = kubeconfig_of(scope);
        std::fs::write(&path, own.to_string()).unwrap();
        Self { manifest, kubeconfig: path }
    }

    /// The kubeconfig with that.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What the chart grants, unchanged, as a manifest.
    pub fn manifest(&self) -> &str {
        &self.manifest
    }

    /// Takes it away: parts of it are in no namespace.
    pub fn remove(self, scope: &Scope) {
        kubectl(&["delete", "--ignore-not-found", "-f", "-"], &self.manifest).expect_success();
        std::fs::remove_file(kubeconfig_of(scope)).unwrap();
    }
}

fn kubeconfig_of(scope: &Scope) -> PathBuf {
    temporary(&format!("{}.kubeconfig", scope.namespace))
}

fn temporary(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// An operator that works on one namespace, which is also its own.
pub struct Operator {
    child: Child,
    log: PathBuf,
}

impl Operator {
    /// Starts one of that name.
    pub fn start(scope: &Scope, rights: &Rights, name: &str) -> Self {
        Self::start_with(scope, rights.kubeconfig(), name, &[])
    }

    /// Starts one that finds its cluster by that kubeconfig, such as one that leads through a proxy, with more arguments.
    pub fn start_with(scope: &Scope, kubeconfig: &Path, name: &str, more: &[&str]) -> Self {
        let path = temporary(&format!("{}-{name}.log", scope.namespace));
        let log = File::create(&path).unwrap();
        let of_this_build = || env!("CARGO_BIN_EXE_rota").into();
        let mut command = Command::new(std::env::var_os("ROTA_TEST_BINARY").unwrap_or_else(of_this_build));
        command.args([
            "operator",
            "--http-address",
            "127.0.0.1:0",
            "--api-address",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ]);
        command.args(["--log-filter", "rota=debug,info", "--identity", name]);
        command.args(["--namespace", &scope.namespace]).args(more);
        command.env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { child, log: path }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it leads.
    pub async fn leads(&self) {
        until("it leads", || async { self.has_led().then_some(()) }).await;
    }

    /// Whether it leads, or has.
    pub fn has_led(&self) -> bool {
        self.log().contains("\"leading\"")
    }

    /// Waits until it waits for the lease.
    pub async fn waits(&self) {
        until("its caches are filled", || async { self.log().contains("caches are filled").then_some(()) }).await;
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it in its tracks, as a suspended machine does.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "the operator has ended by itself");
    }

    /// Waits until it has ended by itself. Returns whether all was well.
    pub async fn ends(self) -> bool {
        let child = std::sync::Mutex::new(self);
        let status = || async { child.lock().unwrap().child.try_wait().unwrap() };
        until("it ends", status).await.success()
    }

    /// What one of its endpoints says: the code, and the text.
    pub async fn endpoint(&self, path: &str) -> (u16, String) {
        let port = self.port_that("the endpoints listen").await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: rota\r\nConnection: close\r\n\r\n");
        let text = exchange(port, request).await;
        let code = text.split(' ').nth(1).unwrap().parse().unwrap();
        (code, text.split_once("\r\n\r\n").unwrap_or_default().1.to_owned())
    }

    /// Where its API listens, once its caches are filled.
    pub async fn port(&self) -> u16 {
        self.waits().await;
        self.port_at_once().await
    }

    /// Where its API listens, whatever it sees.
    pub async fn port_at_once(&self) -> u16 {
        self.port_that("the API listens").await
    }

    async fn port_that(&self, listens: &str) -> u16 {
        until("it listens", || async {
            let log = self.log();
            let line = log.lines().find(|line| line.contains(listens))?;
            let said: serde_json::Value = serde_json::from_str(line).unwrap();
            Some(u16::try_from(said["port"].as_u64().unwrap()).unwrap())
        })
        .await
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            println!("--- {}", self.log.display());
            lines.iter().skip(lines.len().saturating_sub(30)).for_each(|line| println!("{line:.600}"));
        }
    }
}
