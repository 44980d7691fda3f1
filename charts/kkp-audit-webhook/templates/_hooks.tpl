{{/*
The hooks. Each entry says which requests kube-apiserver asks this server about; what it matches is as narrow as CEL can make it, so that a
write that leaves everything audit-relevant as it was never waits for this server.

Names: kube-apiserver calls mutating configurations in the order of their names, and "audit.kubermatic.k8c.io" comes before KKP's own
"kubermatic-clusters". The names do not depend on the release, because a seed can have this software only once.
*/}}
{{- define "kkp-audit-webhook.hooks.name" -}}audit.kubermatic.k8c.io{{- end }}
{{- define "kkp-audit-webhook.hooks.enforcedName" -}}enforced.audit.kubermatic.k8c.io{{- end }}
{{- define "kkp-audit-webhook.enforcedLabel" -}}audit.kubermatic.k8c.io/enforced{{- end }}

{{/*
One entry. Arguments: root, name, path, failurePolicy, rules (YAML), conditions (a list of [name, CEL]), and optionally objectSelector (YAML)
and reinvocationPolicy. An entry with failurePolicy Fail holds only for what carries the label of enforced clusters.
*/}}
{{- define "kkp-audit-webhook.hook" -}}
{{- $isFail := eq .failurePolicy "Fail" }}
- name: {{ if $isFail }}enforced-{{ end }}{{ .name }}.audit.kubermatic.k8c.io
  admissionReviewVersions: [v1]
  clientConfig:
    {{- if .root.Values.webhooks.url }}
    url: {{ printf "%s%s" (trimSuffix "/" .root.Values.webhooks.url) .path | quote }}
    {{- else }}
    service:
      name: {{ include "kkp-audit-webhook.fullname" .root | quote }}
      namespace: {{ .root.Release.Namespace | quote }}
      path: {{ .path }}
      port: {{ .root.Values.service.port }}
    {{- end }}
  failurePolicy: {{ .failurePolicy }}
  matchPolicy: Equivalent
  {{- /* Attempts are Events, which a dry run does not leave behind. */}}
  sideEffects: NoneOnDryRun
  timeoutSeconds: {{ .root.Values.webhooks.timeoutSeconds }}
  {{- with .reinvocationPolicy }}
  reinvocationPolicy: {{ . }}
  {{- end }}
  rules:
    {{- .rules | nindent 4 }}
  namespaceSelector:
    {{- if and $isFail (not .isClusterScoped) }}
    matchLabels:
      {{ include "kkp-audit-webhook.enforcedLabel" . }}: "true"
    {{- else }} {}
    {{- end }}
  objectSelector:
    {{- if and $isFail .isClusterScoped }}
    matchLabels:
      {{ include "kkp-audit-webhook.enforcedLabel" . }}: "true"
    {{- else if .objectSelector }}
    {{- .objectSelector | nindent 4 }}
    {{- else }} {}
    {{- end }}
  matchConditions:
    {{- range .conditions }}
    - name: {{ index . 0 }}
      expression: >-
        {{- index . 1 | nindent 8 }}
    {{- end }}
{{- end }}

{{/*
CEL: the object has one of some names. A request that deletes a collection asks about each object without naming it. Argument: CEL of the names.
*/}}
{{- define "kkp-audit-webhook.cel.isNamed" -}}
request.?name.orValue('') in [{{ . }}]
|| object != null && object.metadata.?name.orValue('') in [{{ . }}]
|| oldObject != null && oldObject.metadata.?name.orValue('') in [{{ . }}]
{{- end }}

{{/* CEL: the request is in the namespace of a user cluster. */}}
{{- define "kkp-audit-webhook.cel.inClusterNamespace" -}}
has(request.namespace) && request.namespace.startsWith('cluster-')
{{- end }}

{{/* CEL: whoever writes is one whose writes are never rejected: KKP, Kubernetes' own controllers, and this software. What JSON is, CEL reads alike. */}}
{{- define "kkp-audit-webhook.cel.isPlatform" -}}
request.userInfo.username in {{ append .Values.config.platform.users (include "kkp-audit-webhook.user" .) | uniq | toJson }}
|| request.userInfo.?groups.orValue([]).exists(g, g in {{ .Values.config.platform.groups | toJson }})
{{- end }}

{{/* CEL: this software's own writer; its empty patches are there to reach the hooks. */}}
{{- define "kkp-audit-webhook.cel.isSelf" -}}
request.userInfo.username == '{{ include "kkp-audit-webhook.user" . }}'
{{- end }}

{{/* CEL: nothing under deletion is held back. */}}
{{- define "kkp-audit-webhook.cel.isAlive" -}}
object == null || !has(object.metadata.deletionTimestamp)
{{- end }}

{{/*
CEL: a pod spec differs in what decides whether it audits. Resources, probes without a command and image tags of others, tolerations and the like do not.
Arguments: new, old (CEL of the two specs).
*/}}
{{- define "kkp-audit-webhook.cel.specChanged" -}}
{{- range list "volumes" "shareProcessNamespace" "hostPID" "securityContext" "ephemeralContainers" "terminationGracePeriodSeconds" }}
{{ $.new }}.?{{ . }} != {{ $.old }}.?{{ . }} ||
{{- end }}
{{ include "kkp-audit-webhook.cel.containers" .new }}
!= {{ include "kkp-audit-webhook.cel.containers" .old }}
{{- end }}

{{/* CEL: what counts of each container; the repository of its image without tag, of a probe the command, and of the sidecar everything. */}}
{{- define "kkp-audit-webhook.cel.containers" -}}
({{ . }}.?containers.orValue([]) + {{ . }}.?initContainers.orValue([])).map(c, [
  {{- range list "name" "command" "args" "env" "envFrom" "volumeMounts" "volumeDevices" "workingDir" "terminationMessagePath" "securityContext" "restartPolicy" "lifecycle" "livenessProbe.?exec" "readinessProbe.?exec" "startupProbe.?exec" }}c.?{{ . }}, {{ end -}}
  optional.of(dyn({{ include "kkp-audit-webhook.cel.repository" "c" }})), c.name == 'audit-logs' ? optional.of(dyn(c)) : optional.none()])
{{- end }}

{{/* CEL: the image of a container without tag and digest. Argument: the container. */}}
{{- define "kkp-audit-webhook.cel.repository" -}}
{{ . }}.?image.orValue('').split('@')[0].find('^(?:[^/]*/)*[^:/]*')
{{- end }}

{{- define "kkp-audit-webhook.cel.workloadChanged" -}}
oldObject == null
|| object.metadata.?annotations.orValue({}).exists(k, k.startsWith('audit.kubermatic.k8c.io/inject') && oldObject.metadata.?annotations[?k].orValue('') != object.metadata.annotations[k])
|| oldObject.metadata.?annotations.orValue({}).exists(k, k.startsWith('audit.kubermatic.k8c.io/inject') && !(k in object.metadata.?annotations.orValue({})))
|| {{ include "kkp-audit-webhook.cel.specChanged" (dict "new" "object.spec.template.spec" "old" "oldObject.spec.template.spec") | trim }}
{{- end }}

{{/*
CEL: a write of a pod that takes labels along and no containers: its status, and what binds it to its node. These are many, and nearly none
changes a label, so that nothing else is looked at.
*/}}
{{- define "kkp-audit-webhook.cel.isOfLabels" -}}
request.kind.kind == 'Binding' || request.?subResource.orValue('') == 'status'
{{- end }}

{{- define "kkp-audit-webhook.cel.writesApiserver" -}}
({{ include "kkp-audit-webhook.cel.isOfLabels" . }})
? object.metadata.?labels[?'app'].orValue('') == 'apiserver'
: ({{ include "kkp-audit-webhook.cel.isApiserver" "object" }})
{{- end }}

{{- define "kkp-audit-webhook.cel.podWritten" -}}
({{ include "kkp-audit-webhook.cel.isOfLabels" . }})
? oldObject == null || object.metadata.?labels[?'app'] != oldObject.metadata.?labels[?'app']
: ({{ include "kkp-audit-webhook.cel.podChanged" . }})
{{- end }}

{{- define "kkp-audit-webhook.cel.podChanged" -}}
oldObject == null
|| object.metadata.?labels[?'app'] != oldObject.metadata.?labels[?'app']
|| {{ include "kkp-audit-webhook.cel.specChanged" (dict "new" "object.spec" "old" "oldObject.spec") | trim }}
{{- end }}

{{/* CEL: a Cluster differs in its audit settings, or in what decides whether they count. */}}
{{- define "kkp-audit-webhook.cel.clusterChanged" -}}
oldObject == null
|| object.spec.?auditLogging != oldObject.spec.?auditLogging
|| object.spec.?cloud.?dc != oldObject.spec.?cloud.?dc
|| object.metadata.?labels[?'audit.kubermatic.k8c.io/enforced'] != oldObject.metadata.?labels[?'audit.kubermatic.k8c.io/enforced']
|| object.metadata.?annotations.orValue({}).exists(k, (k == 'kubermatic.k8c.io/skip-audit-logging-enforcement' || k.startsWith('audit.kubermatic.k8c.io/')) && oldObject.metadata.?annotations[?k].orValue('') != object.metadata.annotations[k])
|| oldObject.metadata.?annotations.orValue({}).exists(k, (k == 'kubermatic.k8c.io/skip-audit-logging-enforcement' || k.startsWith('audit.kubermatic.k8c.io/')) && !(k in object.metadata.?annotations.orValue({})))
{{- end }}

{{/* CEL: a Seed differs in who enforces what. A new datacenter frees nobody. */}}
{{- define "kkp-audit-webhook.cel.seedChanged" -}}
object == null
|| object.spec.?auditLogging != oldObject.spec.?auditLogging
|| oldObject.spec.?datacenters.orValue({}).exists(k, oldObject.spec.datacenters[k].?spec.?enforceAuditLogging != object.spec.?datacenters[?k].?spec.?enforceAuditLogging
  || oldObject.spec.datacenters[k].?spec.?enforcedAuditWebhookSettings != object.spec.?datacenters[?k].?spec.?enforcedAuditWebhookSettings)
{{- end }}

{{/* CEL: a pod is an apiserver: by its label, by what it starts, or by the Secrets that only an apiserver has. Argument: object. */}}
{{- define "kkp-audit-webhook.cel.isApiserver" -}}
{{ . }}.metadata.?labels[?'app'].orValue('') == 'apiserver'
|| ({{ . }}.spec.?containers.orValue([]) + {{ . }}.spec.?initContainers.orValue([])).exists(c, {{ include "kkp-audit-webhook.cel.startsApiserver" . }})
|| ['apiserver-tls', 'apiserver-etcd-client-certificate'].all(s, {{ . }}.spec.?volumes.orValue([]).exists(v, v.?secret.?secretName.orValue('') == s || v.?projected.?sources.orValue([]).exists(p, p.?secret.?name.orValue('') == s)))
{{- end }}

{{/* CEL: a container c starts kube-apiserver, itself, by a script or by a handler; a variable that an argument names may hold any word. */}}
{{- define "kkp-audit-webhook.cel.startsApiserver" -}}
c.?image.orValue('').matches('(^|/)kube-apiserver(-[a-z0-9]+)?(:[^:/@]*)?(@.*)?$')
  || ([c.?command.orValue([]) + c.?args.orValue([])].map(argv, argv + (argv.exists(a, a.contains('$(')) ? c.?env.orValue([]).map(e, e.?value.orValue('')) : []))
  + [{{ include "kkp-audit-webhook.cel.handlers" . }}].map(handler, handler.?exec.?command.orValue([]))).exists(argv,
  argv.exists(a, a.matches('\\s') ? a.matches('(^|[\\s\'"`;&|(/])kube-apiserver($|[\\s\'"`;&|)])') : a.endsWith('/kube-apiserver'))
  || argv.map(a, a.replace('\n', ' ') + '\n').join('').matches('(^|(^|\\n)([^-\\n][^\\n]*)?\\n)kube-apiserver\\n'))
  || size(c.?command.orValue([])) > 1 && c.command[0].matches('(^|/)hyperkube$') && c.command[1].matches('(^|/)apiserver$')
{{- end }}

{{- define "kkp-audit-webhook.rule" -}}
- apiGroups: [{{ .group | quote }}]
  apiVersions: [v1]
  resources: [{{ .resource }}]
  operations: {{ .operations | toJson }}
  scope: {{ .scope | default "Namespaced" }}
{{- end }}

{{/* Writes by which a pod comes to be, or its containers or labels change. */}}
{{- define "kkp-audit-webhook.podRules" -}}
{{ include "kkp-audit-webhook.rule" (dict "group" "" "resource" "pods" "operations" (list "CREATE" "UPDATE")) }}
{{ include "kkp-audit-webhook.rule" (dict "group" "" "resource" "pods/ephemeralcontainers" "operations" (list "UPDATE")) }}
{{ include "kkp-audit-webhook.rule" (dict "group" "" "resource" "pods/resize" "operations" (list "UPDATE")) }}
{{ include "kkp-audit-webhook.rule" (dict "group" "" "resource" "pods/status" "operations" (list "UPDATE")) }}
{{ include "kkp-audit-webhook.rule" (dict "group" "" "resource" "pods/binding" "operations" (list "CREATE")) }}
{{ include "kkp-audit-webhook.rule" (dict "group" "" "resource" "bindings" "operations" (list "CREATE")) }}
{{- end }}

{{/* Writes by which the labels of a namespace change. */}}
{{- define "kkp-audit-webhook.namespaceRules" -}}
{{- range $i, $resource := list "namespaces" "namespaces/status" "namespaces/finalize" }}
{{- if $i }}{{ "\n" }}{{ end }}
{{- include "kkp-audit-webhook.rule" (dict "group" "" "resource" $resource "operations" (list "UPDATE") "scope" "Cluster") }}
{{- end }}
{{- end }}

{{/* Mutating entries. Arguments: root, failurePolicy. */}}
{{- define "kkp-audit-webhook.hooks.mutating" -}}
{{- $root := .root }}
{{- $write := list "CREATE" "UPDATE" }}
{{- if eq .failurePolicy "Ignore" }}
{{ include "kkp-audit-webhook.hook" (dict "root" $root "name" "mutate-clusters" "path" "/mutate/clusters" "failurePolicy" .failurePolicy "reinvocationPolicy" "IfNeeded" "isClusterScoped" true
  "rules" (include "kkp-audit-webhook.rule" (dict "group" "kubermatic.k8c.io" "resource" "clusters" "operations" $write "scope" "Cluster"))
  "conditions" (list
    (list "not-being-deleted" (include "kkp-audit-webhook.cel.isAlive" $root))
    (list "audit-relevant-change" (printf "%s || %s" (include "kkp-audit-webhook.cel.isSelf" $root) (include "kkp-audit-webhook.cel.clusterChanged" $root))))) }}
{{ include "kkp-audit-webhook.hook" (dict "root" $root "name" "mutate-deployments" "path" "/mutate/deployments" "failurePolicy" .failurePolicy "reinvocationPolicy" "IfNeeded"
  "rules" (include "kkp-audit-webhook.rule" (dict "group" "apps" "resource" "deployments" "operations" $write))
  "conditions" (list
    (list "in-a-cluster-namespace" (include "kkp-audit-webhook.cel.inClusterNamespace" $root))
    (list "is-the-apiserver" "object.metadata.?name.orValue('') == 'apiserver'")
    (list "not-being-deleted" (include "kkp-audit-webhook.cel.isAlive" $root))
    (list "audit-relevant-change" (printf "%s || %s" (include "kkp-audit-webhook.cel.isSelf" $root) (include "kkp-audit-webhook.cel.workloadChanged" $root))))) }}
{{- end }}
{{- if include "kkp-audit-webhook.hooks.asksAboutPods" . }}
{{ include "kkp-audit-webhook.hook" (dict "root" $root "name" "mutate-pods" "path" "/mutate/pods" "failurePolicy" .failurePolicy "reinvocationPolicy" "IfNeeded"
  "objectSelector" "matchLabels:\n  app: apiserver"
  "rules" (include "kkp-audit-webhook.rule" (dict "group" "" "resource" "pods" "operations" (list "CREATE")))
  "conditions" (list (list "in-a-cluster-namespace" (include "kkp-audit-webhook.cel.inClusterNamespace" $root)))) }}
{{- end }}
{{- end }}

{{/*
Pods never wait for this server where the backstop judges them inside kube-apiserver: a pod that audits must start although no replica runs.
*/}}
{{- define "kkp-audit-webhook.hooks.asksAboutPods" -}}
{{- $b := .root.Values.backstop }}
{{- if or (eq .failurePolicy "Ignore") (not $b.enabled) (not (has "Deny" $b.actions)) }}yes{{ end }}
{{- end }}

{{/* Validating entries. Arguments: root, failurePolicy. The platform is never rejected, except for a pod, so it does not wait here either. */}}
{{- define "kkp-audit-webhook.hooks.validating" -}}
{{- $root := .root }}
{{- $policy := .failurePolicy }}
{{- $write := list "CREATE" "UPDATE" }}
{{- $isAlive := list "not-being-deleted" (include "kkp-audit-webhook.cel.isAlive" $root) }}
{{- $notPlatform := list "not-by-the-platform" (printf "!(%s)" (include "kkp-audit-webhook.cel.isPlatform" $root)) }}
{{- $inCluster := list "in-a-cluster-namespace" (include "kkp-audit-webhook.cel.inClusterNamespace" $root) }}
{{ include "kkp-audit-webhook.hook" (dict "root" $root "name" "validate-clusters" "path" "/validate" "failurePolicy" $policy "isClusterScoped" true
  "rules" (include "kkp-audit-webhook.rule" (dict "group" "kubermatic.k8c.io" "resource" "clusters" "operations" $write "scope" "Cluster"))
  "conditions" (list $notPlatform $isAlive (list "audit-relevant-change" (include "kkp-audit-webhook.cel.clusterChanged" $root)))) }}
{{ include "kkp-audit-webhook.hook" (dict "root" $root "name" "validate-cluster-status" "path" "/validate" "failurePolicy" $policy "isClusterScoped" true
  "rules" (include "kkp-audit-webhook.rule" (dict "group" "kubermatic.k8c.io" "resource" "clusters/status" "operations" (list "UPDATE") "scope" "Cluster"))
  "conditions" (list $notPlatform $isAlive
    (list "audit-relevant-change" "oldObject.?status.?namespaceName.orValue('') != '' && object.?status.?namespaceName.orValue('') != oldObject.status.namespaceName"))) }}
{{ include "kkp-audit-webhook.hook" (dict "root" $root "name" "validate-deployments" "path" "/validate" "failurePolicy" $policy
  "rules" (include "kkp-audit-webhook.rule" (dict "group" "apps" "resource" "deployments" "operations" $write))
  "conditions" (list $inCluster (list "is-the-apiserver" "object.metadata.?name.orValue('') == 'apiserver'") $notPlatform $isAlive (list "audit-relevant-change" (include "kkp-audit-webhook.cel.workloadChanged" $root)))) }}
{{- if include "kkp-audit-webhook.hooks.asksAboutPods" . }}
{{ include "kkp-audit-webhook.hook" (dict "root" $root "name" "validate-pods" "path" "/validate" "failurePolicy" $policy
  "rules" (include "kkp-audit-webhook.podRules" $root)
  "conditions" (list $inCluster $isAlive (list "is-an-apiserver" (include "kkp-audit-webhook.cel.writesApiserver" $root))
    (list "audit-relevant-change" (include "kkp-audit-webhook.cel.podWritten" $root)))) }}
{{- end }}
{{ include "kkp-audit-webhook.hook" (dict "root" $root "name" "validate-configmaps" "path" "/validate" "failurePolicy" $policy
  "rules" (include "kkp-audit-webhook.rule" (dict "group" "" "resource" "configmaps" "operations" (list "CREATE" "UPDATE" "DELETE")))
  "conditions" (list $inCluster
    (list "is-the-audit-policy" (include "kkp-audit-webhook.cel.isNamed" "'audit-config'"))
    (list "not-by-the-platform-unless-it-probes" (printf "!(%s)\n|| request.?dryRun.orValue(false) && object != null && object.metadata.?labels[?'audit.kubermatic.k8c.io/probe'].hasValue()" (include "kkp-audit-webhook.cel.isPlatform" $root)))
    (list "audit-relevant-change" "object == null || oldObject == null || object.?data != oldObject.?data || object.?binaryData != oldObject.?binaryData || object.?immutable != oldObject.?immutable"))) }}
{{ include "kkp-audit-webhook.hook" (dict "root" $root "name" "validate-secrets" "path" "/validate" "failurePolicy" $policy
  "rules" (include "kkp-audit-webhook.rule" (dict "group" "" "resource" "secrets" "operations" (list "CREATE" "UPDATE" "DELETE")))
  "conditions" (list $inCluster
    (list "is-the-sidecars-configuration" (include "kkp-audit-webhook.cel.isNamed" "'audit-logs-fluentbit', 'audit-logs-fluentbit-tuned'"))
    $notPlatform
    (list "audit-relevant-change" "object == null || oldObject == null || object.?data != oldObject.?data || object.?immutable != oldObject.?immutable"))) }}
{{ include "kkp-audit-webhook.hook" (dict "root" $root "name" "validate-namespaces" "path" "/validate" "failurePolicy" $policy "isClusterScoped" true
  "rules" (include "kkp-audit-webhook.namespaceRules" $root)
  "conditions" (list
    (list "is-a-cluster-namespace" "object.metadata.name.startsWith('cluster-')")
    $notPlatform $isAlive
    (list "audit-relevant-change" "object.metadata.?labels[?'audit.kubermatic.k8c.io/enforced'] != oldObject.metadata.?labels[?'audit.kubermatic.k8c.io/enforced']"))) }}
{{- if eq $policy "Ignore" }}
{{ include "kkp-audit-webhook.hook" (dict "root" $root "name" "validate-seeds" "path" "/validate" "failurePolicy" $policy
  "rules" (include "kkp-audit-webhook.rule" (dict "group" "kubermatic.k8c.io" "resource" "seeds" "operations" (list "UPDATE" "DELETE")))
  "conditions" (list (list "audit-relevant-change" (include "kkp-audit-webhook.cel.seedChanged" $root)))) }}
{{- end }}
{{- end }}
