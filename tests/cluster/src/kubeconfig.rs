//! Kubeconfig files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// What a client needs to reach an API server as one user.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    /// The API server, such as `https://10.250.0.2:6443`.
    pub server: &'a str,
    /// Certificate of the authority which signed the API server's certificate, as PEM.
    pub authority: &'a str,
    /// The user's certificate, as PEM.
    pub certificate: &'a str,
    /// The user's private key, as PEM.
    pub key: &'a str,
}

/// The text of a kubeconfig file whose only context is named `rota`.
///
/// It is JSON, which is YAML too, and needs no other file.
pub fn render(access: &Access<'_>) -> String {
    let encode = |pem: &str| STANDARD.encode(pem);
    let config: Value = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "rota",
        "clusters": [{
            "name": "rota",
            "cluster": {
                "server": access.server,
                "certificate-authority-data": encode(access.authority),
            },
        }],
        "users": [{
            "name": "rota",
            "user": {
                "client-certificate-data": encode(access.certificate),
                "client-key-data": encode(access.key),
            },
        }],
        "contexts": [{ "name": "rota", "context": { "cluster": "rota", "user": "rota" } }],
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_holds_the_server_and_the_encoded_certificates() {
        let text = render(&Access {
            server: "https://10.250.0.2:6443",
            authority: "authority",
            certificate: "certificate",
            key: "key",
        });
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["current-context"], "rota");
        assert_eq!(config["contexts"][0]["context"]["cluster"], config["clusters"][0]["name"]);
        assert_eq!(config["contexts"][0]["context"]["user"], config["users"][0]["name"]);
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://10.250.0.2:6443");
        assert_eq!(config["clusters"][0]["cluster"]["certificate-authority-data"], "YXV0aG9yaXR5");
        assert_eq!(config["users"][0]["user"]["client-key-data"], "a2V5");
    }
}
