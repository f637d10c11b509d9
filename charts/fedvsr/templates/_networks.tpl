{{/* Egress rule: the cluster's DNS. */}}
{{- define "fedvsr.toDns" -}}
- to: {{- toYaml .Values.networkPolicy.dns.to | nindent 4 }}
  ports:
    - {protocol: UDP, port: {{ .Values.networkPolicy.dns.port }}}
    - {protocol: TCP, port: {{ .Values.networkPolicy.dns.port }}}
{{- end }}

{{/* Egress rule: a component's pods. Takes root, component and port. */}}
{{- define "fedvsr.toPod" -}}
- to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ .root.Release.Namespace }}}}
      podSelector:
        matchLabels: {{- include "fedvsr.selector" . | nindent 10 }}
  ports:
    - {protocol: TCP, port: {{ .port }}}
{{- end }}

{{/* Egress rule: address ranges. Takes cidrs and port. */}}
{{- define "fedvsr.toAddresses" -}}
- to:
    {{- range .cidrs }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  ports:
    - {protocol: TCP, port: {{ .port }}}
{{- end }}

{{/* Egress rule: the S3 server, of the chart or external. */}}
{{- define "fedvsr.toS3" -}}
{{- if include "fedvsr.hasS3" . -}}
{{- include "fedvsr.toPod" (dict "root" . "component" "s3" "port" 9000) }}
{{- else -}}
{{- include "fedvsr.toAddresses" (dict "cidrs" .Values.s3.external.cidrs "port" (include "fedvsr.s3Port" .)) }}
{{- end }}
{{- end }}

{{/* Egress rule: the database, of the chart or external. */}}
{{- define "fedvsr.toPostgres" -}}
{{- if include "fedvsr.hasPostgres" . -}}
{{- include "fedvsr.toPod" (dict "root" . "component" "postgres" "port" 5432) }}
{{- else -}}
{{- include "fedvsr.toAddresses" .Values.postgres.external }}
{{- end }}
{{- end }}

{{/* NetworkPolicy peer: every pod of the namespaces in a list. */}}
{{- define "fedvsr.fromNamespaces" -}}
- namespaceSelector:
    matchExpressions:
      - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson . }}}
{{- end }}

{{/* NetworkPolicy peers: a list of address ranges and of peers. */}}
{{- define "fedvsr.fromPeers" -}}
{{- $peers := list -}}
{{- range . -}}
{{- if kindIs "string" . }}{{ $peers = append $peers (dict "ipBlock" (dict "cidr" .)) }}{{ else }}{{ $peers = append $peers . }}{{ end -}}
{{- end -}}
{{- toYaml $peers -}}
{{- end }}
