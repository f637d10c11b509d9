{{/* The address that sites reach, or empty if there is no front door. */}}
{{- define "fedvsr.siteAddress" -}}
{{- with .Values.s3.frontDoor -}}
{{- if .address -}}
{{- .address -}}
{{- else if .mode -}}
{{- $port := ternary (.direct.service.nodePort | default .direct.service.port | int) 443 (eq .mode "direct") -}}
{{- printf "https://%s%s" .host (ternary "" (printf ":%d" $port) (eq $port 443)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
The certificate authority that sites trust, as PEM text; empty for the public ones. Next to a Secret of your own it is that
Secret's ca.crt, which cert-manager writes for a private authority.
*/}}
{{- define "fedvsr.siteAuthority" -}}
{{- with .Values.s3.frontDoor -}}
{{- if .ca -}}
{{- .ca -}}
{{- else if and (eq .mode "direct") .direct.existingSecret -}}
{{- get ((lookup "v1" "Secret" $.Release.Namespace .direct.existingSecret).data | default dict) "ca.crt" | b64dec -}}
{{- else if eq .mode "direct" -}}
{{- get (include "fedvsr.s3Certificate" $ | fromJson) "ca.crt" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* "true" if the S3 server itself speaks TLS, otherwise empty. */}}
{{- define "fedvsr.s3HasTls" -}}{{ if eq .Values.s3.frontDoor.mode "direct" }}true{{ end }}{{- end }}

{{/* The names and IP addresses in the S3 server's own certificate, as a JSON list. `make ui` reaches it as localhost. */}}
{{- define "fedvsr.s3CertificateNames" -}}
{{- $service := printf "s3.%s" .Release.Namespace -}}
{{- $names := list "s3" $service (printf "%s.svc" $service) (printf "%s.svc.cluster.local" $service) "localhost" "127.0.0.1" -}}
{{- with .Values.s3.frontDoor -}}
{{- if not .direct.existingSecret }}{{ $names = append $names .host }}{{ end -}}
{{- toJson (concat $names .direct.names | uniq) -}}
{{- end -}}
{{- end }}

{{/*
The S3 server's own certificate: the one in the values, or else the stored one, or else a new one. Returns the data of its
Secret as a JSON object. If other names are asked for, the stored authority signs a new certificate, so that sites need no
new invitation. The result is remembered for later calls in the same rendering.
*/}}
{{- define "fedvsr.s3Certificate" -}}
{{- $memory := get .Values "_kept" | default dict -}}
{{- if not (hasKey $memory "certificate") -}}
{{- $names := include "fedvsr.s3CertificateNames" . -}}
{{- $stored := dict -}}
{{- range $key, $value := (lookup "v1" "Secret" .Release.Namespace "fedvsr-s3-tls").data -}}
{{- $_ := set $stored $key ($value | b64dec) -}}
{{- end -}}
{{- with .Values.s3.frontDoor.direct.certificate -}}
{{- if .certificate -}}
{{- $stored = dict "ca.crt" .ca "tls.crt" .certificate "tls.key" .key "names" $names -}}
{{- end -}}
{{- end -}}
{{- if ne (get $stored "names") $names -}}
{{- $addresses := list -}}
{{- $hosts := list -}}
{{- range fromJsonArray $names -}}
{{- if regexMatch "^[0-9.]+$|:" . }}{{ $addresses = append $addresses . }}{{ else }}{{ $hosts = append $hosts . }}{{ end -}}
{{- end -}}
{{- $authority := dict -}}
{{- if get $stored "ca.key" -}}
{{- $authority = buildCustomCert (get $stored "ca.crt" | b64enc) (get $stored "ca.key" | b64enc) -}}
{{- else -}}
{{- $authority = genCA (printf "fedvsr %s" .Release.Namespace) 3650 -}}
{{- end -}}
{{- $certificate := genSignedCert "s3" $addresses $hosts 3650 $authority -}}
{{- $stored = dict "ca.crt" $authority.Cert "ca.key" $authority.Key "tls.crt" $certificate.Cert "tls.key" $certificate.Key "names" $names -}}
{{- end -}}
{{- $memory = set $memory "certificate" $stored -}}
{{- $_ := set .Values "_kept" $memory -}}
{{- end -}}
{{- toJson (get $memory "certificate") -}}
{{- end }}

{{/* The authority that the cluster's own S3 clients trust besides the public ones, as PEM text; empty if there is none. */}}
{{- define "fedvsr.s3Authority" -}}
{{- if include "fedvsr.s3HasTls" . }}{{ get (include "fedvsr.s3Certificate" . | fromJson) "ca.crt" }}{{ end -}}
{{- end }}
