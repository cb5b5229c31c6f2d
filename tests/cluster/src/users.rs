//! A cluster of the user's own, in place of a throw-away one.

use std::io::{IsTerminal, stdin};
use std::path::PathBuf;
use std::process::Command;

use crate::command::{find, output};

/// The variable with which a user agrees beforehand to the use of the cluster in `KUBECONFIG`.
const AGREED: &str = "ROTA_USE_KUBECONFIG";

/// The kubeconfig of the user's own cluster, if there is one and the user wants it to be used.
///
/// Nobody's cluster is touched without a yes: on the terminal, or by the variable `ROTA_USE_KUBECONFIG=1`. What is
/// decided, and why, is told on standard error.
pub fn kubeconfig() -> Option<PathBuf> {
    let path = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty())?;
    let cluster = describe();
    if std::env::var_os(AGREED).is_some_and(|value| value == "1") {
        eprintln!("rota-cluster: using the cluster in KUBECONFIG, {cluster}");
        return Some(path.into());
    }
    if !stdin().is_terminal() {
        eprintln!(
            "rota-cluster: KUBECONFIG is set, but nobody can be asked whether {cluster} may be used. Starting a \
             throw-away cluster instead. Set {AGREED}=1 to use the one in KUBECONFIG."
        );
        return None;
    }
    eprint!("KUBECONFIG is set. Use its cluster, {cluster}, for this run? Objects are made and deleted in it. [y/N] ");
    let mut answer = String::new();
    // Without an answer, the answer is no.
    let _ = stdin().read_line(&mut answer);
    if is_yes(&answer) {
        return Some(path.into());
    }
    eprintln!("rota-cluster: starting a throw-away cluster instead");
    None
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// The name of the current context and its server, as far as they can be found out.
fn describe() -> String {
    let ask = |template: &str| {
        let kubectl = find("kubectl")?;
        let words = ["config", "view", "--minify", "--output", template];
        output(Command::new(kubectl).args(words)).ok().filter(|text| !text.is_empty())
    };
    let context = ask("jsonpath={.current-context}").unwrap_or_else(|| "unknown".to_owned());
    let server = ask("jsonpath={.clusters[0].cluster.server}").unwrap_or_else(|| "an unknown server".to_owned());
    format!("context {context} at {server}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(is_yes("y\n") && is_yes(" YES "));
        assert!(!is_yes("") && !is_yes("n\n") && !is_yes("yesterday"));
    }
}
