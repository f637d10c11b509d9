{{/* Labels of every object. Takes root and component. */}}
{{- define "site.labels" -}}
{{ include "site.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* Labels that select a component's pods. Takes root and component. */}}
{{- define "site.selector" -}}
app.kubernetes.io/name: fedvsr
app.kubernetes.io/component: {{ .component }}
{{ include "site.allPods" .root }}
{{- end }}

{{/* Labels that select all pods of the release: the agent, the Jobs and the check. */}}
{{- define "site.allPods" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: fedvsr-site
{{- end }}

{{- define "site.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end -}}
{{- end }}

{{- define "site.stateClaim" -}}
{{- .Values.state.existingClaim | default "fedvsr-site" -}}
{{- end }}
