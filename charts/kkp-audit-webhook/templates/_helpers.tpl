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

{{/* The Certificate whose Secret has the CA that kube-apiserver is to believe, as cert-manager's CA injector wants it: namespace/name. */}}
{{- define "kkp-audit-webhook.caCertificate" -}}
{{ .Release.Namespace }}/{{ include "kkp-audit-webhook.fullname" . }}-{{ ternary "tls" "root" (not (empty .Values.tls.certManager.issuerRef)) }}
{{- end }}

{{/* Seconds of a duration such as "1h30m"; the schema has seen to its form. */}}
{{- define "kkp-audit-webhook.seconds" -}}
{{- $units := dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 1e-3 "us" 1e-6 "ns" 1e-9 }}
{{- $seconds := 0.0 }}
{{- range regexFindAll "[0-9.]+[a-z]+" . -1 }}
{{- $seconds = addf $seconds (mulf (regexFind "[0-9.]+" . | float64) (get $units (regexFind "[a-z]+" .))) }}
{{- end }}
{{- $seconds }}
{{- end }}

{{/* Fails where cert-manager would refuse the life time, or where an alert would never be quiet. */}}
{{- define "kkp-audit-webhook.checkLifeTime" -}}
{{- $duration := include "kkp-audit-webhook.seconds" .Values.tls.certManager.duration | float64 }}
{{- $renewBefore := include "kkp-audit-webhook.seconds" .Values.tls.certManager.renewBefore | float64 }}
{{- if ge $renewBefore $duration }}
{{- fail (printf "tls.certManager.renewBefore (%s) must be shorter than tls.certManager.duration (%s)" .Values.tls.certManager.renewBefore .Values.tls.certManager.duration) }}
{{- end }}
{{- if lt $duration 3600.0 }}{{ fail "tls.certManager.duration must be 1h at least, which cert-manager asks for" }}{{ end }}
{{- if lt $renewBefore 300.0 }}{{ fail "tls.certManager.renewBefore must be 5m at least, which cert-manager asks for" }}{{ end }}
{{- if and .Values.prometheusRule.enabled (le $renewBefore 604800.0) }}
{{- fail (printf "tls.certManager.renewBefore (%s) must be longer than 168h where prometheusRule.enabled is true: KkpAuditWebhookCertificateExpiring fires for a certificate that has a week left" .Values.tls.certManager.renewBefore) }}
{{- end }}
{{- end }}

{{/* The host of webhooks.url: a name, or an address without brackets. */}}
{{- define "kkp-audit-webhook.urlHost" -}}
{{ regexReplaceAll ":[0-9]+$" (urlParse (.Values.webhooks.url | default "")).host "" | trimPrefix "[" | trimSuffix "]" }}
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
