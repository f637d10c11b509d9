{{/* NetworkPolicy peers: a list of address ranges and of peers. */}}
{{- define "site.peers" -}}
{{- $peers := list -}}
{{- range . -}}
{{- if kindIs "string" . }}{{ $peers = append $peers (dict "ipBlock" (dict "cidr" .)) }}{{ else }}{{ $peers = append $peers . }}{{ end -}}
{{- end -}}
{{- toYaml $peers -}}
{{- end }}
