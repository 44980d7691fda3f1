{{/*
What CEL can say of a pod spec that should audit, as variables of a ValidatingAdmissionPolicy. It follows src/audit/effective.ts; a table in
test/chart drives both. CEL has no functions, so what is needed several times is a template here.
*/}}

{{/* The last value of a flag of kube-apiserver ("" where there is none). Arguments: prefix, flag (without dashes), absent (default: ""). */}}
{{- define "kkp-audit-webhook.cel.flag" -}}
[variables.{{ .prefix }}Tokens.filter(t, t.matches('^--{{ .flag | replace "-" "[-_]" }}[=\\n]')).map(t, t.find('[=\\n][^\\n]*').substring(1))].map(v, size(v) > 0 ? v[size(v) - 1] : '{{ .absent }}')[0]
{{- end }}

{{/*
Where a path leads (dyn, because CEL wants the values of a map to be of one type): a list of {volume, file, writable, inside (of what is mounted, not the mount itself)}; more than one only where mounts tie. Arguments: spec, container (a list of one), path.
A mountPath ends with "/" here, so that /etc/a does not contain /etc/ab.
*/}}
{{- define "kkp-audit-webhook.cel.locate" -}}
{{ .container }}.map(c, c.?volumeMounts.orValue([]).map(m, {'path': dyn((m.mountPath.startsWith('/') ? '' : '/') + m.mountPath + (m.mountPath.endsWith('/') ? '' : '/')), 'mount': dyn(m)}).filter(m, ({{ .path }} + '/').startsWith(m.path))).map(found, found.filter(m, found.all(o, size(o.path) <= size(m.path))).map(m, {
  'volume': dyn(m.mount.name),
  'file': dyn(m.mount.?subPathExpr.orValue('') != '' ? '?' : [string(m.mount.?subPath.orValue('')), size({{ .path }}) > size(m.path) ? {{ .path }}.substring(size(m.path)) : ''].filter(s, s != '').join('/')),
  'writable': dyn(!m.mount.?readOnly.orValue(false)),
  'inside': dyn(size({{ .path }}) > size(m.path))
})).map(found, {{ .path }}.startsWith('/') && !{{ .path }}.matches('{{ include "kkp-audit-webhook.cel.odd" . }}') ? found : [])
{{- end }}

{{/* Path segments that would have to be resolved first: nobody writes them, and they would hide a mount behind another spelling. */}}
{{- define "kkp-audit-webhook.cel.odd" -}}//|/\\.\\.?(/|$){{- end }}

{{/* Whether places (a list of lists of {volume, file}) are the key of an object. Arguments: prefix, places, kind, names (a CEL list), key. */}}
{{- define "kkp-audit-webhook.cel.isKey" -}}
{{ .places }}.all(found, size(found) > 0 && found.all(p, variables.{{ .prefix }}Volumes.exists_one(v, v.name == p.volume) && variables.{{ .prefix }}Volumes.filter(v, v.name == p.volume).all(v,
  [has(v.{{ .kind }}) ? [v.{{ .kind }}] : has(v.projected) && v.projected.?sources.orValue([]).all(s, has(s.{{ .kind }})) ? v.projected.?sources.orValue([]).map(s, s.{{ .kind }}) : []]
  .exists(sources, size(sources) > 0 && sources.all(s, (s.?secretName.orValue('') in {{ .names }} || s.?name.orValue('') in {{ .names }}) && s.?items.orValue([]).all(i, i.path != p.file || i.key == '{{ .key }}'))
  && sources.exists(s, size(s.?items.orValue([])) == 0 ? p.file == '{{ .key }}' : s.items.exists(i, i.path == p.file && i.key == '{{ .key }}'))))))
{{- end }}

{{/*
The variables. Arguments: root (the chart's context), spec (CEL of the pod spec), prefix (of their names).
*/}}
{{- define "kkp-audit-webhook.cel.variables" -}}
{{- $p := .prefix }}
{{- $booleans := .root.Files.Lines "files/boolean-flags.txt" | join " " | trim | replace " " "|" | replace "-" "[-_]" }}
{{- $apiserver := printf "variables.%sApiservers" $p }}
{{- $sidecar := printf "variables.%sSidecars" $p }}
- name: {{ $p }}Volumes
  expression: >-
    {{ .spec }}.?volumes.orValue([])
- name: {{ $p }}Apiservers
  expression: >-
    {{ .spec }}.?containers.orValue([]).filter(c, c.name == 'apiserver')
- name: {{ $p }}Sidecars
  expression: >-
    size({{ .spec }}.?containers.orValue([]).filter(c, c.name == 'audit-logs')) > 0
    ? {{ .spec }}.containers.filter(c, c.name == 'audit-logs' && c.?restartPolicy.orValue('Always') == 'Always')
    : {{ .spec }}.?initContainers.orValue([]).filter(c, c.name == 'audit-logs' && c.?restartPolicy.orValue('') == 'Always')
# Each argument ends with a newline, which no argument keeps, so that expressions over the whole line can tell arguments apart.
- name: {{ $p }}Line
  expression: >-
    {{ $apiserver }}.map(c, (c.?command.orValue([]) + c.?args.orValue([])).map(a, a.replace('\n', ' ') + '\n').join('')).join('')
- name: {{ $p }}Program
  expression: >-
    {{ $apiserver }}.exists(c, size(c.?command.orValue([])) > 0)
    ? variables.{{ $p }}Line.find('^(?:[^\\n]*/)?(?:kube-apiserver\\n|hyperkube\\n(?:[^\\n]*/)?(?:kube-)?apiserver\\n)') : ''
- name: {{ $p }}IsApiserver
  expression: >-
    size({{ $apiserver }}) == 1 && {{ $apiserver }}.all(c, (size(c.?command.orValue([])) == 0 || variables.{{ $p }}Program != '') && {{ include "kkp-audit-webhook.cel.isProgramKnown" . }})
- name: {{ $p }}HasApiserverImage
  expression: >-
    {{ $apiserver }}.all(c, c.?image.orValue('').matches('^$|(^|/)(kube-apiserver|hyperkube)(-[a-z0-9]+)?(:[^:/@]*)?(@.*)?$'))
# Read as kube-apiserver reads them: what follows "--" is no flag, booleans stand alone, and every other flag takes the next argument.
- name: {{ $p }}Tokens
  expression: >-
    variables.{{ $p }}Line.substring(size(variables.{{ $p }}Program)).findAll('--\\n(?s:.*)|--(?:{{ $booleans }})\\n|--[^=\\n]+=[^\\n]*\\n|--[^=\\n]+\\n[^\\n]*\\n|-v\\n[^\\n]*\\n|[^\\n]*\\n')
# A variable of the environment may hold any flag.
- name: {{ $p }}IsReadable
  expression: >-
    !variables.{{ $p }}Tokens.exists(t, t.matches('^-{0,2}[^-=\\n][^=\\n]*[$][(]|^-{0,2}[$][(]'))
    && !({{ $apiserver }} + {{ $sidecar }}).exists(c, c.?volumeMounts.orValue([]).exists(m, m.mountPath.matches('{{ include "kkp-audit-webhook.cel.odd" . }}')))
- name: {{ $p }}PolicyPath
  expression: >-
    {{ include "kkp-audit-webhook.cel.flag" (dict "prefix" $p "flag" "audit-policy-file") }}
- name: {{ $p }}HasPolicy
  expression: >-
    variables.{{ $p }}PolicyPath != '' &&
    {{ include "kkp-audit-webhook.cel.isKey" (dict "prefix" $p "kind" "configMap" "names" "['audit-config']" "key" "policy.yaml" "places"
      (include "kkp-audit-webhook.cel.locate" (dict "container" $apiserver "path" (printf "variables.%sPolicyPath" $p)))) | nindent 4 }}
- name: {{ $p }}LogPath
  expression: >-
    {{ include "kkp-audit-webhook.cel.flag" (dict "prefix" $p "flag" "audit-log-path") }}
- name: {{ $p }}LogPlaces
  expression: >-
    {{ include "kkp-audit-webhook.cel.locate" (dict "container" $apiserver "path" (printf "variables.%sLogPath" $p)) | nindent 4 }}
- name: {{ $p }}HasLog
  expression: >-
    variables.{{ $p }}LogPath != '' && variables.{{ $p }}LogPath != '-'
    && {{ include "kkp-audit-webhook.cel.isWritable" (dict "prefix" $p "places" (printf "variables.%sLogPlaces" $p)) }}
    && variables.{{ $p }}LogPlaces.all(found, found.all(p, p.inside))
    && {{ include "kkp-audit-webhook.cel.flag" (dict "prefix" $p "flag" "audit-log-format" "absent" "json") }} == 'json'
    && {{ include "kkp-audit-webhook.cel.flag" (dict "prefix" $p "flag" "audit-log-version" "absent" "audit.k8s.io/v1") }} == 'audit.k8s.io/v1'
- name: {{ $p }}IsBatch
  expression: >-
    {{ include "kkp-audit-webhook.cel.flag" (dict "prefix" $p "flag" "audit-log-mode") }} == 'batch'
- name: {{ $p }}IsUnweakened
  expression: >-
    !({{ include "kkp-audit-webhook.cel.flag" (dict "prefix" $p "flag" "audit-log-truncate-enabled" "absent" "false") }} in ['', '1', 't', 'T', 'true', 'TRUE', 'True'])
    {{- $upTo10000 := "[1-9][0-9]{0,3}|10000" }}
    {{- $upTo36500 := "[1-9][0-9]{0,3}|[12][0-9]{4}|3[0-5][0-9]{3}|36[0-4][0-9]{2}|36500" }}
    {{- range $flag, $numbers := dict "audit-log-maxage" $upTo36500 "audit-log-maxbackup" $upTo10000 "audit-log-maxsize" $upTo10000 }}
    && {{ include "kkp-audit-webhook.cel.flag" (dict "prefix" $p "flag" $flag "absent" "1") }}.matches('^[+]?0*({{ $numbers }})$')
    {{- end }}
    && (!variables.{{ $p }}IsBatch ||
    !({{ include "kkp-audit-webhook.cel.flag" (dict "prefix" $p "flag" "audit-log-batch-throttle-enable" "absent" "false") }} in ['', '1', 't', 'T', 'true', 'TRUE', 'True'])
    && {{ include "kkp-audit-webhook.cel.flag" (dict "prefix" $p "flag" "audit-log-batch-buffer-size" "absent" "10000") }}.matches('^[+]?0*[1-9][0-9]{3,}$')
    && {{ include "kkp-audit-webhook.cel.flag" (dict "prefix" $p "flag" "audit-log-batch-max-size" "absent" "1") }}.matches('^[+]?0*([0-9]{1,3}|1000)$')
    && [{{ include "kkp-audit-webhook.cel.flag" (dict "prefix" $p "flag" "audit-log-batch-max-wait" "absent" "30s") }}].all(v, v.matches('^([0-9]+(ms|s|m|h))+$') && duration(v) <= duration('300s')))
- name: {{ $p }}SidecarLine
  expression: >-
    {{ $sidecar }}.map(c, ((size(c.?command.orValue([])) > 0 ? c.command : ['fluent-bit']) + c.?args.orValue([])).map(a, a.replace('\n', ' ') + '\n').join('')).join('')
{{- $flush := "(?:[1-9](?:[.][0-9]+)?|[1-5][0-9](?:[.][0-9]+)?|60|0?[.][0-9]*[1-9][0-9]*)" }}
{{- $parsers := "/fluent-bit/etc/parsers[.]conf" }}
{{- $harmless := printf "(?:-vv?\\\\n|-q\\\\n|--quiet\\\\n|(?:-f\\\\n|--flush[=\\\\n])%s\\\\n|(?:-R\\\\n|--parser[=\\\\n])%s\\\\n)*" $flush $parsers }}
# Without a configuration file, as KKP rendered it up to 2.20.
- name: {{ $p }}IsLegacySidecar
  expression: >-
    variables.{{ $p }}SidecarLine.matches('^(?:[^\\n]*/)?fluent-bit\\n-i\\ntail\\n-p\\npath=[^\\n]*\\n-p\\ndb=[^\\n]*\\n-o\\nstdout\\n$')
- name: {{ $p }}SidecarConfig
  expression: >-
    variables.{{ $p }}SidecarLine.matches('^(?:[^\\n]*/)?fluent-bit\\n{{ $harmless }}(?:-c\\n|--config[=\\n])[^\\n]+\\n{{ $harmless }}$')
    ? variables.{{ $p }}SidecarLine.find('\\n(?:-c\\n|--config[=\\n])[^\\n]+').find('/[^\\n]*$') : ''
- name: {{ $p }}TailPath
  expression: >-
    variables.{{ $p }}IsLegacySidecar ? variables.{{ $p }}SidecarLine.find('\\npath=[^\\n]*').substring(6) : '/var/log/kubernetes/audit/audit.log'
- name: {{ $p }}TailPlaces
  expression: >-
    {{ include "kkp-audit-webhook.cel.locate" (dict "container" $sidecar "path" (printf "variables.%sTailPath" $p)) | nindent 4 }}
- name: {{ $p }}HasSidecarImage
  expression: >-
    {{ $sidecar }}.all(c, c.?image.orValue('').matches('^(?:(?:{{ include "kkp-audit-webhook.cel.registries" .root }})/)?{{ include "kkp-audit-webhook.cel.images" .root }}$')
    || {{ $apiserver }}.exists(a, a.?image.orValue('').matches('^(?:localhost|[^/]*[.:][^/]*)/')
    && c.?image.orValue('').startsWith(a.image.split('/')[0] + '/')
    && c.image.substring(size(a.image.split('/')[0]) + 1).matches('^{{ include "kkp-audit-webhook.cel.images" .root }}$')))
- name: {{ $p }}HasSidecarResources
  expression: >-
    {{ $sidecar }}.all(c, quantity(string(c.?resources.?limits.?memory.orValue('1Gi'))).compareTo(quantity('20Mi')) >= 0
    && quantity(string(c.?resources.?limits.?cpu.orValue('1'))).compareTo(quantity('5m')) >= 0
    && quantity(string(c.?resources.?limits[?'ephemeral-storage'].orValue('1Gi'))).compareTo(quantity('50Mi')) >= 0)
- name: {{ $p }}HasSidecar
  expression: >-
    size({{ $sidecar }}) == 1 && variables.{{ $p }}HasSidecarImage && variables.{{ $p }}HasSidecarResources
    && {{ $sidecar }}.all(c, {{ include "kkp-audit-webhook.cel.isProgramKnown" . }})
    && (variables.{{ $p }}IsLegacySidecar || variables.{{ $p }}SidecarConfig != '' &&
    {{ include "kkp-audit-webhook.cel.isKey" (dict "prefix" $p "kind" "secret" "names" "['audit-logs-fluentbit', 'audit-logs-fluentbit-tuned']" "key" "fluent-bit.conf" "places"
      (include "kkp-audit-webhook.cel.locate" (dict "container" $sidecar "path" (printf "variables.%sSidecarConfig" $p)))) | nindent 4 }})
    && {{ include "kkp-audit-webhook.cel.isWritable" (dict "prefix" $p "places" (printf "variables.%sTailPlaces" $p)) }}
    && variables.{{ $p }}TailPlaces.all(found, found.all(p, p.inside && variables.{{ $p }}LogPlaces.all(others, others.all(o, o.volume == p.volume && o.file == p.file))))
{{- $log := printf "variables.%sLogPlaces" $p }}
# What stands around the apiserver and the sidecar, and would get between them (src/audit/tampering.ts).
- name: {{ $p }}Others
  expression: >-
    ({{ .spec }}.?containers.orValue([]) + {{ .spec }}.?initContainers.orValue([]) + {{ .spec }}.?ephemeralContainers.orValue([])).filter(c, !(c.name in ['apiserver', 'audit-logs']))
- name: {{ $p }}LogVolumes
  expression: >-
    variables.{{ $p }}Volumes.filter(v, {{ $log }}.exists(found, found.exists(p, p.volume == v.name)))
# The log's volume, and others of the same storage.
- name: {{ $p }}SharedVolumes
  expression: >-
    variables.{{ $p }}Volumes.filter(v, variables.{{ $p }}LogVolumes.exists(l, l.name == v.name
    || l.?persistentVolumeClaim.hasValue() && l.?persistentVolumeClaim.?claimName == v.?persistentVolumeClaim.?claimName
    || l.?hostPath.hasValue() && v.?hostPath.hasValue() && {{ include "kkp-audit-webhook.cel.overlaps" (dict "left" "l.hostPath.path" "right" "v.hostPath.path") }}
    || l.?nfs.hasValue() && l.?nfs.?server == v.?nfs.?server && {{ include "kkp-audit-webhook.cel.overlaps" (dict "left" "l.nfs.path" "right" "v.nfs.path") }})).map(v, v.name)
- name: {{ $p }}IsAlone
  expression: >-
    !variables.{{ $p }}Others.exists(c, {{ include "kkp-audit-webhook.cel.startsApiserver" . | nindent 4 }})
    && !variables.{{ $p }}Others.exists(c, c.?volumeMounts.orValue([]).exists(m, m.name in variables.{{ $p }}SharedVolumes && !m.?readOnly.orValue(false)))
    && !{{ .spec }}.?shareProcessNamespace.orValue(false) && !{{ .spec }}.?hostPID.orValue(false)
- name: {{ $p }}IsUncovered
  expression: >-
    {{ $apiserver }}.all(c, {{ include "kkp-audit-webhook.cel.isUncovered" (dict "usual" "/usr/local/bin/kube-apiserver" "programs" "[]" "directories" "[]"
      "files" (printf "['/etc/kubernetes/audit/policy.yaml', '/var/log/kubernetes/audit/audit.log', variables.%sPolicyPath, variables.%sLogPath, %s]" $p $p
      (include "kkp-audit-webhook.cel.flag" (dict "prefix" $p "flag" "audit-webhook-config-file")))) | nindent 4 }})
    && {{ $sidecar }}.all(c, {{ include "kkp-audit-webhook.cel.isUncovered" (dict "usual" "/fluent-bit/bin/fluent-bit" "programs" "['/fluent-bit/bin/fluent-bit', '/fluent-bit/etc/parsers.conf']"
      "directories" "['/etc/ld.so.preload/', '/etc/ld.so.cache/', '/usr/lib/', '/usr/lib64/']"
      "files" (printf "['/var/log/kubernetes/audit/audit.log', '/etc/fluent-bit/fluent-bit.conf', variables.%sSidecarConfig, variables.%sTailPath]" $p $p)) | nindent 4 }})
# Volumes in which somebody else may have put a link, which the runtime would follow with a mount inside of it.
- name: {{ $p }}ForeignVolumes
  expression: >-
    variables.{{ $p }}Volumes.filter(v, !has(v.configMap) && !has(v.secret) && !has(v.projected) && !has(v.downwardAPI)
    && (!has(v.emptyDir) || variables.{{ $p }}Others.exists(c, c.?volumeMounts.orValue([]).exists(m, m.name == v.name && !m.?readOnly.orValue(false))))).map(v, v.name)
- name: {{ $p }}IsLedStraight
  expression: >-
    ({{ $apiserver }} + {{ $sidecar }}).all(c, [c.?volumeMounts.orValue([]).map(m, [string(m.name), {{ include "kkp-audit-webhook.cel.slashed" "m.mountPath" }}]).map(m, [m[0], {{ include "kkp-audit-webhook.cel.real" "m[1]" }}])].all(mounts,
    !mounts.filter(outer, outer[0] in variables.{{ $p }}ForeignVolumes).exists(outer, mounts.exists(inner, inner[1] != outer[1] && inner[1].startsWith(outer[1])))))
# Kubelet starts containers in their order, each when the postStart before it has ended; a preStop holds up the end of one alone.
- name: {{ $p }}IsUndelayed
  expression: >-
    !{{ $apiserver }}.exists(c, [{{ include "kkp-audit-webhook.cel.handlers" . }}].exists(handler, handler.?exec.hasValue()))
    && [{{ .spec }}.?containers.orValue([]).map(c, c.name)].all(names, !('audit-logs' in names)
    || !{{ .spec }}.?containers.orValue([]).exists(c, c.?lifecycle.?postStart.hasValue() && names.indexOf(c.name) >= names.indexOf('apiserver') && names.indexOf(c.name) < names.indexOf('audit-logs'))
    && {{ $apiserver }}.all(c, !c.?lifecycle.?preStop.hasValue()
    || (c.lifecycle.preStop.?sleep.hasValue() ? c.lifecycle.preStop.?sleep.?seconds.orValue(0) : {{ .spec }}.?terminationGracePeriodSeconds.orValue(30)) <= 300))
- name: {{ $p }}HasLogVolume
  expression: >-
    {{ $log }}.all(found, found.all(p, variables.{{ $p }}Volumes.filter(v, v.name == p.volume).all(v,
    [string(v.?emptyDir.?sizeLimit.orValue('0'))].all(size, quantity(size).compareTo(quantity('0')) <= 0 || quantity(size).compareTo(quantity('100Mi')) >= 0)
    && !(v.?hostPath.?path.orValue('') + '/' + p.file).matches('^/+(dev|proc|sys)(/|$)|/\\.\\.?(/|$)'))))
- name: {{ $p }}IsSidecarLeftAlone
  expression: >-
    {{ $sidecar }}.all(c, !c.?env.orValue([]).exists(e, e.name.matches('^(LD_|GCONV_PATH$|LOCPATH$|LUA_INIT)'))
    && !c.?envFrom.orValue([]).exists(e, e.?prefix.orValue('').matches('^(L|LD|LD_.*|G|GC|GCO|GCON|GCONV.*|LO|LOC.*|LU|LUA.*)?$'))
    && ![{{ include "kkp-audit-webhook.cel.handlers" . }}].exists(handler, handler.?exec.hasValue())
    && [c.?securityContext.?runAsUser.or({{ .spec }}.?securityContext.?runAsUser).orValue(0)].all(user, {{ $apiserver }}.all(a, a.?securityContext.?runAsUser.or({{ .spec }}.?securityContext.?runAsUser).orValue(0) == user)
    || user == 0 && (c.?securityContext.?privileged.orValue(false)
    || [c.?securityContext.?capabilities.?drop.orValue([]).map(n, n.upperAscii())].all(drop, !('DAC_OVERRIDE' in drop)
    && (!('ALL' in drop) || c.?securityContext.?capabilities.?add.orValue([]).exists(n, n.upperAscii() == 'DAC_OVERRIDE'))))))
- name: {{ $p }}IsUntampered
  expression: >-
    variables.{{ $p }}IsAlone && variables.{{ $p }}IsUncovered && variables.{{ $p }}IsLedStraight && variables.{{ $p }}IsUndelayed && variables.{{ $p }}HasLogVolume && variables.{{ $p }}IsSidecarLeftAlone
- name: {{ $p }}IsEffective
  expression: >-
    variables.{{ $p }}IsApiserver && variables.{{ $p }}HasApiserverImage && variables.{{ $p }}IsReadable && variables.{{ $p }}HasPolicy && variables.{{ $p }}HasLog
    && variables.{{ $p }}IsUnweakened && variables.{{ $p }}HasSidecar && variables.{{ $p }}IsUntampered
{{- end }}

{{/*
Whether it can be told which file a container c starts: a whole path that is no link of the kernel, or a name that is looked for where the image says
(src/audit/programs.ts).
*/}}
{{- define "kkp-audit-webhook.cel.isProgramKnown" -}}
[c.?command[?0].orValue('')].all(program, !program.contains('$') && (program.startsWith('/')
    ? !program.matches('{{ include "kkp-audit-webhook.cel.odd" . }}') && !program.matches('^/(proc|sys|dev|run|var/run)(/|$)')
    : !program.contains('/') && size(c.?envFrom.orValue([])) == 0 && !c.?env.orValue([]).exists(e, e.name == 'PATH')))
{{- end }}

{{/* A path as the links of nearly every image have it. Argument: CEL of a path with "/" at both ends, used several times. */}}
{{- define "kkp-audit-webhook.cel.real" -}}
({{ . }}.matches('^/(bin|sbin|lib(32|64|x32)?)/') ? '/usr' + {{ . }} : {{ . }}.startsWith('/var/run/') ? {{ . }}.substring(4) : {{ . }})
{{- end }}

{{/* A path with "/" at both ends. Argument: CEL of it, used thrice. */}}
{{- define "kkp-audit-webhook.cel.slashed" -}}
({{ . }}.startsWith('/') ? '' : '/') + {{ . }} + ({{ . }}.endsWith('/') ? '' : '/')
{{- end }}

{{/* Whether one of two directories is at or below the other; what would have to be resolved first may be. Arguments: left, right (CEL). */}}
{{- define "kkp-audit-webhook.cel.overlaps" -}}
[[{{ .left }}, {{ .right }}].map(d, {{ include "kkp-audit-webhook.cel.slashed" "d" }})].exists(d, d[0].startsWith(d[1]) || d[1].startsWith(d[0]) || (d[0] + '\n' + d[1]).matches('//|/\\.\\.?/'))
{{- end }}

{{/* What kubelet does for a container c besides running it. */}}
{{- define "kkp-audit-webhook.cel.handlers" -}}
c.?lifecycle.?postStart, c.?lifecycle.?preStop, c.?livenessProbe, c.?readinessProbe, c.?startupProbe
{{- end }}

{{/*
Whether nothing lies over the files of a container c. Arguments: usual (where its image has the program), programs, directories, files (CEL lists; the
directories with "/" at the end, as their links lead).
*/}}
{{- define "kkp-audit-webhook.cel.isUncovered" -}}
[({{ .programs }} + (c.?command[?0].orValue('').startsWith('/') ? [c.command[0]] : ['{{ .usual }}'] + ['/usr/local/sbin/', '/usr/local/bin/', '/usr/sbin/', '/usr/bin/'].map(d, d + c.?command[?0].orValue('{{ base .usual }}')))).map(path, path + '/').map(path, {{ include "kkp-audit-webhook.cel.real" "path" }})].all(programs,
    c.?volumeMounts.orValue([]).map(m, {{ include "kkp-audit-webhook.cel.slashed" "m.mountPath" }}).map(at, {{ include "kkp-audit-webhook.cel.real" "at" }}).all(at,
      !programs.exists(path, path.startsWith(at)) && !{{ .directories }}.exists(path, path.startsWith(at) || at.startsWith(path)))
    && ([c.?terminationMessagePath.orValue('')] + c.?volumeDevices.orValue([]).map(d, d.devicePath)).filter(t, t != '').all(t, !t.matches('{{ include "kkp-audit-webhook.cel.odd" . }}')
    && [{{ include "kkp-audit-webhook.cel.slashed" "t" }}].map(at, {{ include "kkp-audit-webhook.cel.real" "at" }}).all(at,
      !(programs + {{ .files }}.map(path, path + '/').map(path, {{ include "kkp-audit-webhook.cel.real" "path" }})).exists(path, path.startsWith(at))
      && !{{ .directories }}.exists(path, path.startsWith(at) || at.startsWith(path)))))
{{- end }}

{{/* Whether places (a list of lists) can be written to. Arguments: prefix, places. */}}
{{- define "kkp-audit-webhook.cel.isWritable" -}}
{{ .places }}.all(found, size(found) > 0 && found.all(p, p.writable && p.file != '?' && variables.{{ .prefix }}Volumes.exists(v, v.name == p.volume && !has(v.configMap) && !has(v.secret) && !has(v.projected) && !has(v.downwardAPI) && !has(v.image))))
{{- end }}

{{/* Registries, as alternatives of a regular expression, that the sidecar's image may come from besides that of the apiserver's image. */}}
{{- define "kkp-audit-webhook.cel.registries" -}}
{{- $registries := list "docker.io" "index.docker.io" }}
{{- range include "kkp-audit-webhook.datacenterOptions" . | fromYamlArray }}
{{- with .registry }}{{ $registries = append $registries . }}{{ end }}
{{- with (.sidecar | default dict).image }}
{{- if regexMatch "^(localhost|[^/]*[.:][^/]*)/" . }}{{ $registries = append $registries (splitList "/" . | first) }}{{ end }}
{{- end }}
{{- end }}
{{- range $i, $registry := $registries | uniq }}{{ if $i }}|{{ end }}{{ include "kkp-audit-webhook.cel.quoteMeta" $registry }}{{ end }}
{{- end }}

{{/* A regular expression of images without registry: the repositories that count as fluent-bit, with any tag or digest. */}}
{{- define "kkp-audit-webhook.cel.images" -}}
{{- $repositories := list "fluent/fluent-bit" }}
{{- range include "kkp-audit-webhook.datacenterOptions" . | fromYamlArray }}
{{- with (.sidecar | default dict).allowedImages }}{{ $repositories = concat $repositories . }}{{ end }}
{{- with (.sidecar | default dict).image }}
{{- $path := regexReplaceAll "(:[^:/@]*)?(@.*)?$" . "" }}
{{- if regexMatch "^(localhost|[^/]*[.:][^/]*)/" $path }}{{ $path = regexReplaceAll "^[^/]*/" $path "" }}
{{- else if not (contains "/" $path) }}{{ $path = printf "library/%s" $path }}{{ end }}
{{- $repositories = append $repositories $path }}
{{- end }}
{{- end -}}
(?:{{ range $i, $repository := $repositories | uniq }}{{ if $i }}|{{ end }}{{ include "kkp-audit-webhook.cel.quoteMeta" $repository }}{{ end }})(?::[^:/@]*)?(?:@.*)?
{{- end }}

{{/* A text as part of a regular expression in a CEL string. "^" and "\" mean more in a class, and "'" would end the string. */}}
{{- define "kkp-audit-webhook.cel.quoteMeta" -}}
{{ regexReplaceAll "[^A-Za-z0-9/_-]" . "[$0]" | replace "[^]" "\\\\^" | replace "[\\]" "\\\\\\\\" | replace "[']" "\\'" }}
{{- end }}

{{/* The options of the defaults and of every datacenter, as a list. */}}
{{- define "kkp-audit-webhook.datacenterOptions" -}}
{{- $all := list (.Values.config.defaults | default dict) }}
{{- range $name, $options := .Values.config.datacenters }}{{ $all = append $all ($options | default dict) }}{{ end }}
{{- toYaml $all }}
{{- end }}
