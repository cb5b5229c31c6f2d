//! What a caller may choose about a cluster.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Which kind of node runs the pods of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A kubelet with containerd and runc: pods really run. Needs Linux and root.
    Real,
    /// KWOK plays the nodes: pods only change their status, and the pods of Jobs succeed at once.
    Kwok,
    /// No node: pods stay pending.
    None,
}

impl fmt::Display for NodeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Real => "real",
            Self::Kwok => "kwok",
            Self::None => "none",
        })
    }
}

impl FromStr for NodeKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "real" => Ok(Self::Real),
            "kwok" => Ok(Self::Kwok),
            "none" => Ok(Self::None),
            other => Err(Error::new(format!("\"{other}\" is no kind of node: use real, kwok or none"))),
        }
    }
}

/// How to start one cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// Which kind of node runs the pods.
    pub node: NodeKind,
    /// Number of nodes which KWOK plays. Read for [`NodeKind::Kwok`] only.
    pub kwok_nodes: u32,
    /// Whether etcd waits for the disk as it does in production. Tests are faster without.
    pub fsync: bool,
    /// File in which the API server records the metadata of each finished request, one JSON object a line.
    pub audit_log: Option<PathBuf>,
    /// Further command-line arguments of the kube-apiserver. They win over this crate's own.
    pub api_server_arguments: Vec<String>,
    /// Further command-line arguments of the kube-controller-manager. They win over this crate's own.
    pub controller_manager_arguments: Vec<String>,
    /// Where the cluster keeps its files while it runs: a path which does not exist yet, or an empty directory.
    /// It is removed when the cluster stops. By default a new directory under `target/clusters`.
    pub directory: Option<PathBuf>,
}

impl Options {
    /// The options for one cluster with this kind of node and no other wishes.
    pub fn new(node: NodeKind) -> Self {
        Self {
            node,
            kwok_nodes: 1,
            fsync: false,
            audit_log: None,
            api_server_arguments: Vec::new(),
            controller_manager_arguments: Vec::new(),
            directory: None,
        }
    }
}
