{{- define "kkp-audit-webhook.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "kkp-audit-webhook.fullname" -}}
{{- $name := include "kkp-audit-webhook.name" . -}}
{{- .Values.fullnameOverride | default (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "kkp-audit-webhook.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (include "kkp-audit-webhook.fullname" .) }}
{{- end }}

{{/* The user name by which kube-apiserver knows the server. */}}
{{- define "kkp-audit-webhook.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "kkp-audit-webhook.serviceAccountName" . }}
{{- end }}

{{- define "kkp-audit-webhook.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kkp-audit-webhook.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "kkp-audit-webhook.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "kkp-audit-webhook.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "kkp-audit-webhook.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Secret with tls.crt, tls.key and ca.crt that is mounted; "" where the server looks after its certificates itself. */}}
{{- define "kkp-audit-webhook.tlsSecret" -}}
{{- if eq .Values.tls.mode "cert-manager" }}{{ include "kkp-audit-webhook.fullname" . }}-tls
{{- else if eq .Values.tls.mode "secret" }}{{ required "tls.secretName must name the Secret with tls.crt, tls.key and ca.crt when tls.mode is secret" .Values.tls.secretName }}{{ end }}
{{- end }}

{{/*
The server's configuration: what the values say, and its own service account among the platform's writers, because the controller's writes are
completed, never rejected.
*/}}
{{- define "kkp-audit-webhook.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $_ := set $config.platform "users" (append $config.platform.users (include "kkp-audit-webhook.user" .) | uniq) }}
{{- toYaml $config }}
{{- end }}

{{- define "kkp-audit-webhook.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "kkp-audit-webhook.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
