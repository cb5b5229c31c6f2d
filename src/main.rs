//! `rota`.
fn main() {
    for (name, crd) in rota::api::crds::all() {
        let json = serde_json::to_string(&crd).unwrap_or_default();
        eprintln!("{name} {}", json.len());
        let _ = std::fs::write(format!("/tmp/crds-{name}"), serde_saphyr::to_string(&crd).unwrap_or_default());
    }
}
