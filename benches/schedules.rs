//! Rota beside the in-tree CronJob controller, on one control plane, in one run: from the instant that many schedules are
//! due to the batch Jobs that the API server accepted, and the writes that a completed run costs.
//!
//! All times are the API server's own, from its audit log. The controller manager runs with its client limits lifted,
//! which is the better case for CronJob; Rota needs no flag. Run it with `make bench`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

const LIFTED: [&str; 5] = [
    "--kube-api-qps=5000",
    "--kube-api-burst=5000",
    "--concurrent-cron-job-syncs=50",
    "--concurrent-job-syncs=50",
    "--concurrent-gc-syncs=50",
];
const PORT: u16 = 18_431;
const PATIENCE: Duration = Duration::from_secs(240);
/// How long before they are due the last schedules are created, in seconds.
const LEAD_SECONDS: i64 = 15;

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM, so that a cluster cleans up behind itself.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

struct Bench {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    audit_log: PathBuf,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn main() {
    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    let (cluster, bench) = start_cluster(&folder);
    bench.apply(&root().join("crds").to_string_lossy(), None);
    let (operator, ready_ms) = bench.start_operator(&folder);
    let mut rows = Vec::new();
    for count in counts() {
        let rota = bench.rota(count);
        let cron = bench.cron(count);
        rows.push(json!({ "schedules": count, "rota_ms": rota, "cronjob_ms": cron }));
    }
    let writes = bench.writes_per_run();
    let memory = std::fs::read_to_string(format!("/proc/{}/status", operator.0.id())).unwrap_or_default();
    let resident = memory.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default().to_owned();
    let bytes = std::fs::metadata(binary()).unwrap().len();
    drop(operator);
    drop(cluster);
    print_table(&rows, &writes, ready_ms, bytes, &resident);
    let all =
        json!({ "rows": rows, "writes": writes, "ready_ms": ready_ms, "binary_bytes": bytes, "memory": resident });
    std::fs::write(folder.join("schedules.json"), serde_json::to_string_pretty(&all).unwrap()).unwrap();
}

/// How many schedules are due at one instant; ROTA_BENCH_COUNTS overrides it.
fn counts() -> Vec<usize> {
    let said = std::env::var("ROTA_BENCH_COUNTS").unwrap_or_else(|_| "1,300,1000".into());
    said.split(',').map(|count| count.trim().parse().expect("ROTA_BENCH_COUNTS is a list of numbers")).collect()
}

fn binary() -> PathBuf {
    PathBuf::from(std::env::var("ROTA_BENCH_BINARY").expect("run this with `make bench`"))
}

fn start_cluster(folder: &std::path::Path) -> (Running, Bench) {
    let audit_log = folder.join("audit.log");
    let _ = std::fs::remove_file(&audit_log);
    let mut command = Command::new(root().join("target/debug/rota-cluster"));
    command.args(["up", "--node", "none", "--fsync", "--audit-log"]).arg(&audit_log);
    for limit in LIFTED {
        command.arg(format!("--controller-manager-arg={limit}"));
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let kubeconfig = PathBuf::from(lines.next().expect("the cluster starts").unwrap().trim());
    let programs = Command::new(root().join("target/debug/rota-cluster")).arg("build").output().unwrap();
    let folder = String::from_utf8_lossy(&programs.stdout).trim().lines().last().unwrap_or_default().to_owned();
    let kubectl = [PathBuf::from(&folder).join("kubectl"), PathBuf::from(&folder).join("bin/kubectl")];
    let kubectl = kubectl.into_iter().find(|path| path.exists()).unwrap_or_else(|| "kubectl".into());
    (Running(child), Bench { kubeconfig, kubectl, audit_log })
}

impl Bench {
    fn kubectl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.kubectl);
        let output = command.env("KUBECONFIG", &self.kubeconfig).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn apply(&self, file: &str, namespace: Option<&str>) {
        let mut arguments = vec!["apply", "--server-side", "-f", file];
        arguments.extend(namespace.iter().flat_map(|name| ["--namespace", *name]));
        self.kubectl(&arguments);
    }

    fn start_operator(&self, folder: &std::path::Path) -> (Running, u128) {
        self.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
        let log = std::fs::File::create(folder.join("operator.log")).unwrap();
        let begun = Instant::now();
        let child = Command::new(binary())
            .args(["operator", "--lease-namespace=default", "--identity=bench", "--log-format=plain"])
            .arg(format!("--http-address=127.0.0.1:{PORT}"))
            .env("KUBECONFIG", &self.kubeconfig)
            .stderr(log)
            .spawn()
            .unwrap();
        let operator = Running(child);
        wait_for("the operator is ready", Duration::from_millis(5), || {
            use std::io::{Read, Write};
            let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", PORT)) else { return false };
            let asked = stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n");
            let mut answer = String::new();
            asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.contains(" 200 ")
        });
        (operator, begun.elapsed().as_millis())
    }

    fn create_all(&self, namespace: &str, objects: Vec<Value>) {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let file = root().join(format!("target/bench/{namespace}.json"));
        std::fs::write(&file, list.to_string()).unwrap();
        self.kubectl(&["create", "--namespace", namespace, "-f", &file.to_string_lossy()]);
    }

    fn rota(&self, count: usize) -> Vec<f64> {
        let namespace = format!("rota-{count}");
        self.kubectl(&["create", "namespace", &namespace]);
        let due = due(count, false);
        let mut objects = vec![json!({
            "apiVersion": "rota.dev/v1alpha1", "kind": "JobTemplate", "metadata": { "name": "bench" },
            "spec": { "jobType": "bench", "ttlSecondsAfterFinished": 0, "jobTemplate": job_template() },
        })];
        objects.extend((0..count).map(|index| {
            json!({
                "apiVersion": "rota.dev/v1alpha1", "kind": "Schedule", "metadata": { "name": format!("s{index}") },
                "spec": { "templateRef": { "name": "bench" }, "at": due.to_string() },
            })
        }));
        self.create_all(&namespace, objects);
        self.accepted(&namespace, due, count)
    }

    fn cron(&self, count: usize) -> Vec<f64> {
        let namespace = format!("cron-{count}");
        self.kubectl(&["create", "namespace", &namespace]);
        let due = due(count, true);
        let at = due.to_zoned(jiff::tz::TimeZone::UTC);
        let schedule = format!("{} {} {} {} *", at.minute(), at.hour(), at.day(), at.month());
        let objects = (0..count).map(|index| {
            json!({
                "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": format!("c{index}") },
                "spec": { "schedule": schedule, "timeZone": "Etc/UTC", "jobTemplate": job_template() },
            })
        });
        self.create_all(&namespace, objects.collect());
        self.accepted(&namespace, due, count)
    }

    /// Milliseconds from the due instant to each accepted batch Job, in order.
    fn accepted(&self, namespace: &str, due: Timestamp, count: usize) -> Vec<f64> {
        let creates = || {
            let mine = |event: &Value| {
                event["verb"] == json!("create")
                    && event["objectRef"]["resource"] == json!("jobs")
                    && event["objectRef"]["apiGroup"] == json!("batch")
                    && event["objectRef"]["namespace"] == json!(namespace)
                    && event["responseStatus"]["code"] == json!(201)
                    && !event["requestURI"].as_str().unwrap_or_default().contains("dryRun")
            };
            self.audit().into_iter().filter(mine).collect::<Vec<_>>()
        };
        wait_for(&format!("{count} batch Jobs in {namespace}"), Duration::from_secs(1), || {
            due < now() && creates().len() >= count
        });
        let since = |event: &Value| {
            let at: Timestamp = event["stageTimestamp"].as_str().unwrap().parse().unwrap();
            at.duration_since(due).as_secs_f64() * 1_000.0
        };
        let mut times: Vec<f64> = creates().iter().map(since).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.audit_log).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Completes what was launched for the largest count and counts each side's writes, from first to last.
    fn writes_per_run(&self) -> Value {
        let count = counts().into_iter().max().unwrap_or(1);
        let mut found = json!({});
        for (side, agent) in [("rota", "rota/"), ("cron", "cronjob-controller")] {
            let namespace = format!("{side}-{count}");
            let names = self.kubectl(&["get", "jobs.batch", "--namespace", &namespace, "-o", "name"]);
            let done = completed().to_string();
            let names: Vec<&str> = names.split_whitespace().collect();
            for chunk in names.chunks(100) {
                let mut arguments =
                    vec!["patch", "--namespace", &namespace, "--subresource=status", "--type=merge", "-p", &done];
                arguments.extend(chunk);
                self.kubectl(&arguments);
            }
            if side == "rota" {
                wait_for("every Job is recorded and gone", Duration::from_secs(1), || {
                    self.kubectl(&["get", "jobs.rota.dev", "--namespace", &namespace, "-o", "name"]).trim().is_empty()
                });
            }
            found[side] = self.count_requests(&namespace, agent, count);
        }
        found
    }

    fn count_requests(&self, namespace: &str, agent: &str, count: usize) -> Value {
        let (mut writes, mut events, mut reads) = (0u32, 0u32, 0u32);
        for event in self.audit() {
            let by_agent = event["userAgent"].as_str().is_some_and(|it| it.contains(agent));
            if !by_agent || event["objectRef"]["namespace"] != json!(namespace) {
                continue;
            }
            match (event["verb"].as_str().unwrap_or_default(), event["objectRef"]["resource"].as_str()) {
                ("create" | "update" | "patch" | "delete", Some("events")) => events += 1,
                ("create" | "update" | "patch" | "delete", _) => writes += 1,
                ("get" | "list", _) => reads += 1,
                _ => {}
            }
        }
        let per_run = |total: u32| f64::from(total) / count as f64;
        json!({ "writes": per_run(writes), "events": per_run(events), "reads": per_run(reads) })
    }
}

/// The body of every batch Job. The in-tree Job controller leaves it alone, so that only the two schedulers are at work.
fn job_template() -> Value {
    json!({ "spec": { "managedBy": "rota.dev/bench", "template": { "spec": {
        "restartPolicy": "Never",
        "containers": [{ "name": "main", "image": "busybox:1.36", "command": ["true"] }],
    }}}})
}

fn completed() -> Value {
    let at = now().round(jiff::Unit::Second).unwrap().to_string();
    let condition = |type_: &str| json!({ "type": type_, "status": "True", "reason": "CompletionsReached", "lastTransitionTime": at });
    json!({ "status": {
        "startTime": at, "completionTime": at, "succeeded": 1, "ready": 0, "terminating": 0,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
    }})
}

/// The instant at which all are due: long enough from now that all are created before.
fn due(count: usize, whole_minute: bool) -> Timestamp {
    let seconds = now().as_second() + LEAD_SECONDS + i64::try_from(count / 40).unwrap();
    Timestamp::from_second(if whole_minute { (seconds / 60 + 1) * 60 } else { seconds }).unwrap()
}

#[allow(clippy::disallowed_methods)] // A benchmark measures time.
fn now() -> Timestamp {
    Timestamp::now()
}

fn wait_for(what: &str, look_every: Duration, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(look_every);
    }
}

fn at(times: &Value, quantile: f64) -> f64 {
    let times = times.as_array().unwrap();
    times[((times.len() - 1) as f64 * quantile).round() as usize].as_f64().unwrap()
}

fn print_table(rows: &[Value], writes: &Value, ready_ms: u128, bytes: u64, resident: &str) {
    println!("\nDue → batch Job accepted, milliseconds, from the API server's audit log");
    println!("{:>9} {:>8} {:>12} {:>12} {:>8}", "schedules", "", "Rota", "CronJob", "ratio");
    for row in rows {
        for (name, quantile) in [("first", 0.0), ("median", 0.5), ("p99", 0.99), ("last", 1.0)] {
            let (rota, cron) = (at(&row["rota_ms"], quantile), at(&row["cronjob_ms"], quantile));
            println!("{:>9} {name:>8} {rota:>12.1} {cron:>12.1} {:>8.2}", row["schedules"].to_string(), rota / cron);
        }
    }
    println!("\nRequests per completed run (CronJob keeps neither a queue nor a record)");
    for side in ["rota", "cron"] {
        let it = &writes[side];
        println!(
            "{side:>9} writes {:.2} events {:.2} reads {:.2}",
            it["writes"].as_f64().unwrap(),
            it["events"].as_f64().unwrap(),
            it["reads"].as_f64().unwrap()
        );
    }
    println!("\nstart to ready {ready_ms} ms; binary {:.1} MB; {resident}", bytes as f64 / 1e6);
}
