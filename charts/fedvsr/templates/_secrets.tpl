{{/*
A value that is given, or the one that the cluster has kept, or a new one. It is remembered while the
chart is rendered, for the templates that ask again.
*/}}
{{- define "fedvsr.kept" -}}
{{- $memory := get .root.Values "_kept" | default dict -}}
{{- $id := printf "%s/%s" .secret .key -}}
{{- if not (hasKey $memory $id) -}}
{{- $found := (lookup "v1" "Secret" .root.Release.Namespace .secret).data | default dict -}}
{{- $value := .given | default (get $found .key | b64dec) | default (randAlphaNum 40) -}}
{{- $memory = set $memory $id $value -}}
{{- $_ := set .root.Values "_kept" $memory -}}
{{- end -}}
{{- get $memory $id -}}
{{- end }}

{{/*
The secret key of an S3 user: derived from one seed, so that after uninstalling and installing again every
user has the key that the S3 server knows, and no other Secret needs to be kept.
*/}}
{{- define "fedvsr.s3SecretKey" -}}
{{- $seed := include "fedvsr.kept" (dict "root" .root "secret" "fedvsr-s3-users" "key" "seed" "given" .root.Values.s3.userSeed) -}}
{{- printf "%s/%s" $seed .user | sha256sum | trunc 40 -}}
{{- end }}

{{- define "fedvsr.s3Keys" -}}
AWS_ACCESS_KEY_ID: {{ .user }}
AWS_SECRET_ACCESS_KEY: {{ include "fedvsr.s3SecretKey" . }}
{{- end }}

{{- define "fedvsr.s3RootSecret" -}}
{{- .Values.s3.existingSecret | default "fedvsr-s3" -}}
{{- end }}

{{- define "fedvsr.postgresSecret" -}}
{{- .Values.postgres.existingSecret | default "fedvsr-postgres" -}}
{{- end }}
