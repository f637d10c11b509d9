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
The password of the database, which keeps the one that it was made with, whatever its Secret says later.
*/}}
{{- define "fedvsr.postgresPassword" -}}
{{- $kept := get ((lookup "v1" "Secret" .Release.Namespace "fedvsr-postgres").data | default dict) "password" | b64dec -}}
{{- if and $kept .Values.postgres.password (ne $kept .Values.postgres.password) -}}
{{- fail "postgres.password: another than the one in Secret fedvsr-postgres, which the database was made with and still has; leave postgres.password empty to keep it, or change it in the database (ALTER ROLE mlflow PASSWORD …) and in the Secret's key password first (README.md, Secrets)" -}}
{{- end -}}
{{- include "fedvsr.kept" (dict "root" . "secret" "fedvsr-postgres" "key" "password" "given" .Values.postgres.password) -}}
{{- end }}

{{/*
The secret key of an S3 user: derived from one seed, so that after uninstalling and installing again every
user has the key that the S3 server knows, and no other Secret needs to be kept.
*/}}
{{- define "fedvsr.s3SecretKey" -}}
{{- printf "%s/%s" (include "fedvsr.seed" .root) .user | sha256sum | trunc 40 -}}
{{- end }}

{{- define "fedvsr.seed" -}}
{{- include "fedvsr.kept" (dict "root" . "secret" "fedvsr-s3-users" "key" "seed" "given" .Values.s3.userSeed) -}}
{{- end }}

{{/*
What changes with a pod's Secrets, so that it starts anew with them. The seed is in it so that nobody who
may read pods can try passwords on it.
*/}}
{{- define "fedvsr.fingerprint" -}}
{{- printf "%s/%s" (include "fedvsr.seed" .root) .of | sha256sum | trunc 12 -}}
{{- end }}

{{- define "fedvsr.s3Keys" -}}
AWS_ACCESS_KEY_ID: {{ .user | quote }}
AWS_SECRET_ACCESS_KEY: {{ include "fedvsr.s3SecretKey" . | quote }}
{{- end }}

{{- define "fedvsr.s3RootPassword" -}}
{{- include "fedvsr.kept" (dict "root" . "secret" "fedvsr-s3" "key" "rootPassword" "given" .Values.s3.rootPassword) -}}
{{- end }}

{{- define "fedvsr.s3RootSecret" -}}
{{- .Values.s3.existingSecret | default "fedvsr-s3" -}}
{{- end }}

{{- define "fedvsr.postgresSecret" -}}
{{- .Values.postgres.existingSecret | default "fedvsr-postgres" -}}
{{- end }}
