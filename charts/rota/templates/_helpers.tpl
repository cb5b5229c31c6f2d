{{/* Name of the chart. */}}
{{- define "rota.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of the objects in the namespace of the release. */}}
{{- define "rota.fullname" -}}
{{- $name := include "rota.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/*
The namespaces that the operator works on, as JSON: {"list": [...]}; an empty list stands for all. watchNamespaces may be one name as a
string, and watchNamespace, which had one name, stands for a list of that.
*/}}
{{- define "rota.namespaces" -}}
{{- $list := .Values.watchNamespaces | default list -}}
{{- if kindIs "string" $list -}}
{{- $list = list $list -}}
{{- end -}}
{{- with .Values.watchNamespace -}}
{{- if $list -}}
{{- fail (printf "watchNamespace: %q is given beside watchNamespaces; list it there, and leave watchNamespace out" .) -}}
{{- end -}}
{{- $list = list . -}}
{{- end -}}
{{- $seen := dict -}}
{{- range $name := $list -}}
{{- if not (kindIs "string" $name) -}}
{{- fail (printf "watchNamespaces: %v is no text; write the names of namespaces, in quotes if they are numbers" $name) -}}
{{- else if not $name -}}
{{- fail "watchNamespaces: an entry is empty; write the names of namespaces, or leave the list empty for all" -}}
{{- else if or (gt (len $name) 63) (not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" $name)) -}}
{{- fail (printf "watchNamespaces: %q is no namespace; a namespace is named by at most 63 lower-case letters, digits and -, and begins and ends with a letter or a digit" $name) -}}
{{- else if hasKey $seen $name -}}
{{- fail (printf "watchNamespaces: %q is listed twice; list each namespace once" $name) -}}
{{- end -}}
{{- $_ := set $seen $name true -}}
{{- end -}}
{{- toJson (dict "list" $list) -}}
{{- end -}}

{{/* Name of the objects without a namespace: there may be several releases, each of which works on namespaces of its own. */}}
{{- define "rota.clusterName" -}}
{{- $namespaces := (include "rota.namespaces" . | fromJson).list -}}
{{- if eq (len $namespaces) 1 -}}
{{- printf "%s-%s" (include "rota.fullname" .) (first $namespaces) | trunc 63 | trimSuffix "-" -}}
{{- else if $namespaces -}}
{{- /* It stays as it is when the list changes. */ -}}
{{- printf "%s-from-%s" (include "rota.fullname" .) .Release.Namespace | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- include "rota.fullname" . -}}
{{- end -}}
{{- end -}}

{{- define "rota.chartLabel" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels by which Deployment, Service and budget find the pods; they never change. */}}
{{- define "rota.selectorLabels" -}}
app.kubernetes.io/name: {{ include "rota.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "rota.labels" -}}
{{ include "rota.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: rota
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ include "rota.chartLabel" . }}
{{- end -}}

{{- define "rota.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "rota.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "rota.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Not empty if the API listens where other pods reach it. */}}
{{- define "rota.apiIsOpen" -}}
{{- if and .Values.api.enabled (not (or (hasPrefix "127." .Values.api.listenAddress) (eq "[::1]" .Values.api.listenAddress))) -}}
true
{{- end -}}
{{- end -}}

{{/* The operator's subject in a binding. */}}
{{- define "rota.subjects" -}}
- kind: ServiceAccount
  name: {{ include "rota.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
