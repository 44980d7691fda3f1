{{- define "kkp-audit-webhook.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "kkp-audit-webhook.fullname" -}}
{{- $name := include "kkp-audit-webhook.name" . -}}
{{- $fullname := .Values.fullnameOverride | default (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) | trunc 52 | trimSuffix "-" -}}
{{- /* Helm takes "1.audit" for a release, Kubernetes not for a Service. */}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $fullname) }}
{{- fail (printf "no Service can be called %q: set fullnameOverride to a name of small letters, digits and \"-\" that begins with a letter" $fullname) }}
{{- end }}
{{- $fullname }}
{{- end }}

{{- define "kkp-audit-webhook.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (include "kkp-audit-webhook.fullname" .) }}
{{- end }}

{{/* The user name by which kube-apiserver knows the server. */}}
{{- define "kkp-audit-webhook.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "kkp-audit-webhook.serviceAccountName" . }}
{{- end }}

{{- define "kkp-audit-webhook.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kkp-audit-webhook.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "kkp-audit-webhook.labels" -}}
{{ include "kkp-audit-webhook.labelsWith" (dict "root" . "more" dict) }}
{{- end }}

{{/* The labels of an object that has more of them, which count instead of commonLabels. Arguments: root, more. */}}
{{- define "kkp-audit-webhook.labelsWith" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "kkp-audit-webhook.selectorLabels" .root }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with merge dict (.more | default dict) (.root.Values.commonLabels | default dict) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "kkp-audit-webhook.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Secret with tls.crt, tls.key and ca.crt that is mounted; "" where the server looks after its certificates itself. */}}
{{- define "kkp-audit-webhook.tlsSecret" -}}
{{- if eq .Values.tls.mode "cert-manager" }}{{ include "kkp-audit-webhook.fullname" . }}-tls
{{- else if eq .Values.tls.mode "secret" }}{{ required "tls.secretName must name the Secret with tls.crt, tls.key and ca.crt when tls.mode is secret" .Values.tls.secretName }}
{{- end }}
{{- if and .Values.tls.secretName (ne .Values.tls.mode "secret") }}{{ fail (printf "tls.secretName is for tls.mode secret, and tls.mode is %s" .Values.tls.mode) }}{{ end }}
{{- end }}

{{/* The host of webhooks.url: a name, or an address without brackets. */}}
{{- define "kkp-audit-webhook.urlHost" -}}
{{ regexReplaceAll ":[0-9]+$" (urlParse .Values.webhooks.url).host "" | trimPrefix "[" | trimSuffix "]" }}
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
