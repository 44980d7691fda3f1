{{/*
The backstop: what CEL can judge inside kube-apiserver holds while no replica of this software runs. It knows no settings, so it goes by the
label that the controller puts on what is enforced, and it never stands in the way of a write that keeps auditing.
*/}}

{{/* A policy and its binding. Arguments: root, name, selector (which of the two labels counts), rules, conditions, variables, validations. */}}
{{- define "kkp-audit-webhook.policy" }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ .name }}.{{ include "kkp-audit-webhook.hooks.name" .root }}
  labels:
    {{- include "kkp-audit-webhook.labels" .root | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    matchPolicy: Equivalent
    {{- range list "namespaceSelector" "objectSelector" }}
    {{- if eq . $.selector }}
    {{ . }}:
      matchLabels:
        {{ include "kkp-audit-webhook.enforcedLabel" $.root }}: "true"
    {{- else }}
    {{ . }}: {}
    {{- end }}
    {{- end }}
    resourceRules:
      {{- .rules | nindent 6 }}
  matchConditions:
    {{- range .conditions }}
    - name: {{ index . 0 }}
      expression: >-
        {{- index . 1 | nindent 8 }}
    {{- end }}
  variables:
    {{- .variables | trim | nindent 4 }}
  validations:
    {{- .validations | trim | nindent 4 }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}.{{ include "kkp-audit-webhook.hooks.name" .root }}
  labels:
    {{- include "kkp-audit-webhook.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}.{{ include "kkp-audit-webhook.hooks.name" .root }}
  validationActions: {{ .root.Values.backstop.actions | toJson }}
{{ end }}

{{/* Whether some datacenter injects into pods alone: then a Deployment is right to lack what its pods will get. */}}
{{- define "kkp-audit-webhook.injectsPodsOnly" -}}
{{- range include "kkp-audit-webhook.datacenterOptions" . | fromYamlArray }}{{ if eq (.injection | default "auto") "pod" }}true{{ end }}{{ end }}
{{- end }}

{{/* The variable mayDisable: the writer holds the operators' right. Argument: CEL of the Cluster's name. */}}
{{- define "kkp-audit-webhook.cel.mayDisable" }}
- name: mayDisable
  expression: authorizer.group('kubermatic.k8c.io').resource('clusters').name({{ . }}).check('disable-audit-logging').allowed()
{{- end }}

{{- define "kkp-audit-webhook.backstop.why" -}}
audit logging of this cluster is enforced; only those who may disable-audit-logging on clusters.kubermatic.k8c.io can change that
{{- end }}

{{- define "kkp-audit-webhook.backstop.workload" -}}
{{- $why := include "kkp-audit-webhook.backstop.why" . }}
- expression: variables.newIsApiserver || @EXEMPT@
  message: 'exactly one container named "apiserver" must run kube-apiserver [APISERVER_COMMAND_UNKNOWN]: {{ $why }}'
  reason: Forbidden
- expression: variables.newHasApiserverImage || @EXEMPT@
  message: 'the image of the container apiserver is not called kube-apiserver [APISERVER_IMAGE_UNKNOWN]: {{ $why }}'
  reason: Forbidden
- expression: variables.newIsReadable || @EXEMPT@
  message: 'an argument comes from the environment, or a mountPath is not plain, so that any flag may hide in it [ARGUMENTS_UNREADABLE]: {{ $why }}'
  reason: Forbidden
- expression: variables.newHasPolicy || @EXEMPT@
  message: 'kube-apiserver must get policy.yaml of ConfigMap audit-config by --audit-policy-file [POLICY_FLAG_MISSING, POLICY_FILE_ELSEWHERE]: {{ $why }}'
  reason: Forbidden
- expression: variables.newHasLog || @EXEMPT@
  message: 'kube-apiserver must write JSON events by --audit-log-path into a volume that the sidecar shares [LOG_PATH_MISSING, LOG_PATH_STDOUT, LOG_PATH_UNWRITABLE, LOG_FORMAT]: {{ $why }}'
  reason: Forbidden
- expression: variables.newIsUnweakened || @EXEMPT@
  message: 'a flag of kube-apiserver loses audit events [LOG_WEAKENED]: {{ $why }}'
  reason: Forbidden
- expression: variables.newHasSidecar || @EXEMPT@
  message: 'the sidecar audit-logs must run fluent-bit on Secret audit-logs-fluentbit and read the audit log [SIDECAR_MISSING, SIDECAR_NOT_RUNNING, SIDECAR_IMAGE, SIDECAR_COMMAND, SIDECAR_CONFIG_ELSEWHERE, SIDECAR_LOG_UNREADABLE, SIDECAR_STARVED]: {{ $why }}'
  reason: Forbidden
- expression: variables.newIsUntampered || @EXEMPT@
  message: 'something gets between kube-apiserver and the sidecar [APISERVER_REPEATED, APISERVER_HANDLERS, SIDECAR_KEPT_WAITING, FILE_COVERED, LOG_SHARED, LOG_VOLUME_TOO_SMALL, LOG_VOLUME_DEVICE, PROCESSES_SHARED, SIDECAR_ENVIRONMENT, SIDECAR_HANDLERS, SIDECAR_UNPRIVILEGED]: {{ $why }}'
  reason: Forbidden
{{- end }}

{{/* kube-apiserver's image comes from where it came from. Argument: the path of the pod spec in an object. */}}
{{- define "kkp-audit-webhook.backstop.image" }}
- expression: >-
    oldObject == null || variables.newApiservers.all(c, oldObject.{{ . }}.?containers.orValue([]).all(o, o.name != c.name || {{ include "kkp-audit-webhook.cel.repository" "o" }} == {{ include "kkp-audit-webhook.cel.repository" "c" }}))
    || variables.mayDisable
  message: 'the image of the apiserver comes from another registry or repository [APISERVER_IMAGE_REPLACED]: {{ include "kkp-audit-webhook.backstop.why" . }}'
  reason: Forbidden
{{- end }}

{{/* A pod's containers are judged when it comes to be; what changes in a running one is judged here. */}}
{{- define "kkp-audit-webhook.backstop.pods" -}}
{{- $why := include "kkp-audit-webhook.backstop.why" . }}
{{ include "kkp-audit-webhook.backstop.workload" . | replace "@EXEMPT@" "(oldObject != null && oldObject.metadata.?labels[?'app'] == object.metadata.?labels[?'app'])" }}
{{ include "kkp-audit-webhook.backstop.image" "spec" | trim }}
- expression: >-
    oldObject == null || variables.newSidecars.all(c, (oldObject.spec.?containers.orValue([]) + oldObject.spec.?initContainers.orValue([])).exists(o, o.name == c.name && o.?image == c.?image)) || variables.newHasSidecarImage
  message: 'the image of the sidecar audit-logs is replaced by one that is not fluent-bit [SIDECAR_IMAGE]: {{ $why }}'
  reason: Forbidden
- expression: >-
    oldObject == null || variables.newSidecars.all(c, (oldObject.spec.?containers.orValue([]) + oldObject.spec.?initContainers.orValue([])).exists(o, o.name == c.name && o.?resources == c.?resources)) || variables.newHasSidecarResources
  message: 'the limits of the sidecar audit-logs are too small [SIDECAR_STARVED]: {{ $why }}'
  reason: Forbidden
- expression: >-
    !object.?spec.?ephemeralContainers.orValue([]).exists(c, oldObject == null || !oldObject.spec.?ephemeralContainers.orValue([]).exists(o, o.name == c.name))
    || variables.mayDisable
  message: 'a container is put into a running apiserver, whose files and processes it sees [EPHEMERAL_CONTAINER]: {{ $why }}'
  reason: Forbidden
{{- end }}

{{- define "kkp-audit-webhook.backstop.clusters" -}}
{{- $why := include "kkp-audit-webhook.backstop.why" . }}
- expression: >-
    oldObject.spec.?auditLogging.?enabled.orValue(false) != true || object.spec.?auditLogging.?enabled.orValue(false) == true || variables.mayDisable
  message: 'spec.auditLogging.enabled is turned off, or the block removed [CLUSTER_AUDIT_DISABLED, CLUSTER_AUDIT_REMOVED]: {{ $why }}'
  reason: Forbidden
- expression: >-
    object.metadata.?annotations[?'kubermatic.k8c.io/skip-audit-logging-enforcement'].orValue('') != 'true'
    || (oldObject.metadata.?annotations[?'kubermatic.k8c.io/skip-audit-logging-enforcement'].orValue('') == 'true'
    && oldObject.metadata.?annotations[?'audit.kubermatic.k8c.io/exempt-until'] == object.metadata.?annotations[?'audit.kubermatic.k8c.io/exempt-until'])
    || variables.mayDisable
  message: 'the annotation kubermatic.k8c.io/skip-audit-logging-enforcement takes the cluster out of the enforcement [CLUSTER_OPT_OUT]: {{ $why }}'
  reason: Forbidden
- expression: >-
    object.metadata.?labels[?'{{ include "kkp-audit-webhook.enforcedLabel" . }}'].orValue('') == 'true'
    || oldObject.metadata.?labels[?'{{ include "kkp-audit-webhook.enforcedLabel" . }}'].orValue('') != 'true'
    || variables.mayDisable
  message: 'the label {{ include "kkp-audit-webhook.enforcedLabel" . }} is taken away [CLUSTER_LABEL_REMOVED]: {{ $why }}'
  reason: Forbidden
{{- end }}

{{- define "kkp-audit-webhook.backstop.namespaces" -}}
- expression: >-
    object.metadata.?labels[?'{{ include "kkp-audit-webhook.enforcedLabel" . }}'].orValue('') == 'true'
    || oldObject.metadata.?labels[?'{{ include "kkp-audit-webhook.enforcedLabel" . }}'].orValue('') != 'true'
    || variables.mayDisable
  message: 'the label {{ include "kkp-audit-webhook.enforcedLabel" . }} is taken away [NAMESPACE_LABEL_REMOVED]: {{ include "kkp-audit-webhook.backstop.why" . }}'
  reason: Forbidden
{{- end }}

{{/* An object must stay, and its key hold something; what it holds is the webhook's to judge. Arguments: what, key, code. */}}
{{- define "kkp-audit-webhook.backstop.keyed" -}}
- expression: object != null || namespaceObject.?status.?phase.orValue('') == 'Terminating' || variables.mayDisable
  message: '{{ .what }} is deleted [{{ .code }}_DELETED]: {{ include "kkp-audit-webhook.backstop.why" . }}'
  reason: Forbidden
- expression: >-
    object == null || object.?data[?'{{ .key }}'].orValue('').trim() != '' || object.?binaryData[?'{{ .key }}'].orValue('') != ''
    || (oldObject != null && oldObject.?data[?'{{ .key }}'].orValue('').trim() == '') || variables.mayDisable
  message: 'key {{ .key }} of {{ .what }} is empty [{{ .code }}_KEY_MISSING]: {{ include "kkp-audit-webhook.backstop.why" . }}'
  reason: Forbidden
{{- end }}
