{{/* Labels of every object. Takes root and component. */}}
{{- define "fedvsr.labels" -}}
app.kubernetes.io/name: fedvsr
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: fedvsr
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* Labels that select a component's pods. Takes root and component. */}}
{{- define "fedvsr.selector" -}}
app.kubernetes.io/name: fedvsr
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Full name of one of fedvsr's images. Takes root and name. */}}
{{- define "fedvsr.image" -}}
{{- printf "%s/%s:%s" .root.Values.images.registry .name (.root.Values.images.tag | default .root.Chart.AppVersion) -}}
{{- end }}

{{- define "fedvsr.federationBucket" -}}
{{- .Values.s3.buckets.federation | default .Release.Namespace -}}
{{- end }}

{{- define "fedvsr.clientBucketPrefix" -}}
{{- .Values.s3.buckets.clientPrefix | default (printf "%s-client-" .Release.Namespace) -}}
{{- end }}

{{- define "fedvsr.s3Endpoint" -}}
{{- .Values.s3.external.endpoint | default (printf "%s://s3.%s.svc.cluster.local:9000" (ternary "https" "http" (eq (include "fedvsr.s3HasTls" .) "true")) .Release.Namespace) -}}
{{- end }}

{{- define "fedvsr.s3Port" -}}
{{- $url := urlParse (include "fedvsr.s3Endpoint" .) -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end }}

{{/* "true" if the chart starts an S3 server, otherwise empty. */}}
{{- define "fedvsr.hasS3" -}}{{ if not .Values.s3.external.endpoint }}true{{ end }}{{- end }}

{{/* "true" if the chart creates the buckets and users of the S3 server, otherwise empty. */}}
{{- define "fedvsr.managesS3" -}}{{ if or (include "fedvsr.hasS3" .) .Values.s3.external.manage }}true{{ end }}{{- end }}

{{/* "true" if the chart starts a database, otherwise empty. */}}
{{- define "fedvsr.hasPostgres" -}}{{ if not .Values.postgres.external.enabled }}true{{ end }}{{- end }}
