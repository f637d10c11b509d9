{{/*
A password: the value from the values, or else the key of the existing Secret, or else a new random one. The result is
remembered for later calls in the same rendering. Takes root, secret, key and value.
*/}}
{{- define "fedvsr.kept" -}}
{{- $memory := get .root.Values "_kept" | default dict -}}
{{- $id := printf "%s/%s" .secret .key -}}
{{- if not (hasKey $memory $id) -}}
{{- $data := (lookup "v1" "Secret" .root.Release.Namespace .secret).data | default dict -}}
{{- $value := .value | default (get $data .key | b64dec) | default (randAlphaNum 40) -}}
{{- $memory = set $memory $id $value -}}
{{- $_ := set .root.Values "_kept" $memory -}}
{{- end -}}
{{- get $memory $id -}}
{{- end }}

{{/*
The database's password. PostgreSQL keeps the password that it was created with, whatever the Secret holds later.
*/}}
{{- define "fedvsr.postgresPassword" -}}
{{- $kept := get ((lookup "v1" "Secret" .Release.Namespace "fedvsr-postgres").data | default dict) "password" | b64dec -}}
{{- if and $kept .Values.postgres.password (ne $kept .Values.postgres.password) -}}
{{- fail "postgres.password: it differs from the password in Secret fedvsr-postgres, which the database was created with and still has; leave postgres.password empty to keep it, or first change it in the database (ALTER ROLE mlflow PASSWORD …) and in the Secret's key password (README.md, Secrets)" -}}
{{- end -}}
{{- include "fedvsr.kept" (dict "root" . "secret" "fedvsr-postgres" "key" "password" "value" .Values.postgres.password) -}}
{{- end }}

{{/*
The secret key of an S3 user. It is derived from one seed: after reinstalling, every user has the key that the S3 server
knows, and only the seed must be kept. Takes root and user.
*/}}
{{- define "fedvsr.s3SecretKey" -}}
{{- printf "%s/%s" (include "fedvsr.seed" .root) .user | sha256sum | trunc 40 -}}
{{- end }}

{{/* The seed of the S3 users' secret keys. */}}
{{- define "fedvsr.seed" -}}
{{- include "fedvsr.kept" (dict "root" . "secret" "fedvsr-s3-users" "key" "seed" "value" .Values.s3.userSeed) -}}
{{- end }}

{{/*
An annotation that changes with a pod's Secrets, so that the pod restarts. It includes the seed: otherwise whoever may read
pods could test guessed passwords against it. Takes root and of.
*/}}
{{- define "fedvsr.fingerprint" -}}
{{- printf "%s/%s" (include "fedvsr.seed" .root) .of | sha256sum | trunc 12 -}}
{{- end }}

{{/* The keys of an S3 user as environment variables. Takes root and user. */}}
{{- define "fedvsr.s3Keys" -}}
AWS_ACCESS_KEY_ID: {{ .user | quote }}
AWS_SECRET_ACCESS_KEY: {{ include "fedvsr.s3SecretKey" . | quote }}
{{- end }}

{{/* The password of the S3 server's root user. */}}
{{- define "fedvsr.s3RootPassword" -}}
{{- include "fedvsr.kept" (dict "root" . "secret" "fedvsr-s3" "key" "rootPassword" "value" .Values.s3.rootPassword) -}}
{{- end }}

{{/* The Secret with the S3 server's root user. */}}
{{- define "fedvsr.s3RootSecret" -}}
{{- .Values.s3.existingSecret | default "fedvsr-s3" -}}
{{- end }}

{{/* The Secret with the database's address and password. */}}
{{- define "fedvsr.postgresSecret" -}}
{{- .Values.postgres.existingSecret | default "fedvsr-postgres" -}}
{{- end }}
