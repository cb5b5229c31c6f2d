{{/*
What the operator may do to the objects it works on. Each rule says what for, so that a reader can tell when it may go.
There is no `*`, nothing about Secrets, and no create for pods: work runs as batch Jobs, so that the Job controller
makes the pods and every quota and admission policy applies.
*/}}
{{- define "rota.rules" -}}
# To know what is wanted: the kinds that users write. All five are watched.
- apiGroups: [rota.dev]
  resources: [jobtemplates, schedules, queues, jobs, jobgroups]
  verbs: [get, list, watch]
# To say what was found out. The specifications are the users', and
# the operator does not change them, but for spec.cancel of a Job that a later time of its Schedule replaces.
- apiGroups: [rota.dev]
  resources: [jobtemplates/status, schedules/status, queues/status, jobs/status, jobgroups/status]
  verbs: [patch]
# To make the Jobs of schedules and groups, to put on and take off the finalizer that keeps a Job until its outcome is
# recorded (patch), and to remove finished Jobs after their time.
- apiGroups: [rota.dev]
  resources: [jobs]
  verbs: [create, patch, delete]
# To create the queue `default` of a namespace where a Job first needs it.
- apiGroups: [rota.dev]
  resources: [queues]
  verbs: [create]
# To write the record of each attempt, to look whether it is there already, and to look (list) for those of an earlier Job
# with the same dedupKey or the same content, once for a Job that asks for it. Records are never watched, changed or
# deleted.
- apiGroups: [rota.dev]
  resources: [jobruns]
  verbs: [create, get, list]
# To name an owner that must not vanish before what it owns (blockOwnerDeletion): API servers with the admission plugin
# OwnerReferencesPermissionEnforcement, such as OpenShift's, ask for update on the finalizers of the owner.
- apiGroups: [rota.dev]
  resources: [jobtemplates/finalizers, schedules/finalizers, jobs/finalizers, jobgroups/finalizers]
  verbs: [update]
# To launch an attempt as a batch Job and see how it goes (create also asks, as a dry run, whether a template would be
# accepted), to let Kubernetes end one (patch of activeDeadlineSeconds), to adopt one again that was disowned, and to remove
# it after its time or where nothing else ends it.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# To read exit codes, container times and termination messages, to kill the pods of a Job whose cancel says force, and to end
# those of which no batch Job is left.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
# To keep the revisions of templates that queued and running Jobs use, with a finalizer (patch) while they do.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
# To tell people what happened: one event for each transition; patch counts repetitions.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# To find out why no pod could be created (a quota, an admission policy, no ServiceAccount), or why one does not start (a volume
# that is missing): events of the batch Job or the pod alone say so.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end -}}

{{/*
What the API that says why a Job waits needs besides (api.enabled). Reviews have no namespace: this goes into the ClusterRole
also where the operator works on some namespaces only. Without it the API answers 503, and says so.
*/}}
{{- define "rota.reviewRules" -}}
# To ask whose token it is that somebody shows.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
# To ask whether that somebody may look at the Jobs, queues and records that an answer tells of.
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end -}}
