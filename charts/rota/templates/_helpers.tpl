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

{{/* Name of the objects without a namespace: there may be one release for each namespace that is watched. */}}
{{- define "rota.clusterName" -}}
{{- if .Values.watchNamespace -}}
{{- printf "%s-%s" (include "rota.fullname" .) .Values.watchNamespace | trunc 63 | trimSuffix "-" -}}
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
