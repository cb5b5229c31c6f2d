//! Resources: what the server serves: some kinds of Kubernetes' own, and those of the CRDs that it is given.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::builtin::Builtin;
use crate::schema::{Rules, Schema};

/// The name of a resource: its group and its plural.
pub type ResourceName = (String, String);

/// One resource.
pub struct Resource {
    /// The API group; empty: the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// The plural name.
    pub plural: String,
    /// Whether objects are in namespaces.
    pub is_namespaced: bool,
    /// Whether there is a subresource `status`.
    pub has_status: bool,
    /// The fields that can be selected by.
    pub selectable: Vec<String>,
    /// What it is.
    pub form: Form,
}

/// What a resource is.
pub enum Form {
    /// One of Kubernetes' own.
    Builtin(Builtin),
    /// One of a CRD.
    Custom(Box<Custom>),
}

/// What a CRD says of its objects.
pub struct Custom {
    /// The schema.
    pub schema: Schema,
    /// The rules in CEL.
    pub rules: Rules,
}

impl Resource {
    /// The plural with the group, as messages say it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The kind with the group, as messages say it.
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// The version as objects say it.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// What it is called in the table.
    pub fn name(&self) -> ResourceName {
        (self.group.clone(), self.plural.clone())
    }

    /// What the CRD says, if there is one.
    pub fn custom(&self) -> Option<&Custom> {
        match &self.form {
            Form::Custom(custom) => Some(custom),
            Form::Builtin(_) => None,
        }
    }

    /// Reads a CRD. The version that is stored is the one that is served.
    pub fn from_crd(crd: &Value) -> Result<Self, String> {
        let text = |pointer: &str| {
            crd.pointer(pointer).and_then(Value::as_str).map(str::to_owned).ok_or(format!("{pointer} is missing"))
        };
        let versions = crd.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
        let version = versions
            .into_iter()
            .find(|version| version.get("storage") == Some(&Value::Bool(true)))
            .ok_or("no version is stored")?;
        let schema = version.pointer("/schema/openAPIV3Schema").ok_or("there is no schema")?;
        let fields = version.get("selectableFields").and_then(Value::as_array).into_iter().flatten();
        let fields = fields.filter_map(|field| field.get("jsonPath")?.as_str());
        Ok(Self {
            group: text("/spec/group")?,
            version: version.get("name").and_then(Value::as_str).unwrap_or_default().into(),
            kind: text("/spec/names/kind")?,
            plural: text("/spec/names/plural")?,
            is_namespaced: text("/spec/scope")? == "Namespaced",
            has_status: version.pointer("/subresources/status").is_some(),
            selectable: fields.map(|path| path.trim_start_matches('.').to_owned()).collect(),
            form: Form::Custom(Box::new(Custom {
                schema: Schema::compile(schema)?.with_metadata(),
                rules: Rules::compile(schema),
            })),
        })
    }
}

/// All that is served.
pub type Resources = BTreeMap<ResourceName, std::sync::Arc<Resource>>;

/// Kubernetes' own kinds that are served.
pub fn builtin() -> Resources {
    use Builtin::{BatchJob, Plain, Pod};
    // Group, version, kind, plural, in namespaces, with a status, and what it is.
    let table = [
        ("", "v1", "Namespace", "namespaces", false, true, Plain),
        ("", "v1", "Pod", "pods", true, true, Pod),
        ("", "v1", "Event", "events", true, false, Plain),
        ("", "v1", "ConfigMap", "configmaps", true, false, Plain),
        ("events.k8s.io", "v1", "Event", "events", true, false, Plain),
        ("batch", "v1", "Job", "jobs", true, true, BatchJob),
        ("apps", "v1", "ControllerRevision", "controllerrevisions", true, false, Plain),
        ("coordination.k8s.io", "v1", "Lease", "leases", true, false, Plain),
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false, true, Plain),
    ];
    let rows = table.into_iter().map(|(group, version, kind, plural, is_namespaced, has_status, form)| Resource {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        plural: plural.into(),
        is_namespaced,
        has_status,
        selectable: form.selectable(),
        form: Form::Builtin(form),
    });
    rows.map(|resource| (resource.name(), std::sync::Arc::new(resource))).collect()
}
