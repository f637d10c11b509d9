{{/* The clients as a JSON list, each with its own settings and the defaults for the rest. */}}
{{- define "fedvsr.clients" -}}
{{- $clients := list -}}
{{- range .Values.clients -}}
{{- $client := deepCopy $.Values.clientDefaults -}}
{{- range $key, $value := . -}}
{{- $_ := set $client $key $value -}}
{{- end -}}
{{- $_ := set $client "user" (printf "client-%s" .name) -}}
{{- $_ := set $client "bucket" (printf "%s%s" (include "fedvsr.clientBucketPrefix" $) .name) -}}
{{- $_ := set $client "namespace" (.namespace | default (printf "%s-client-%s" $.Release.Namespace .name)) -}}
{{- $_ := set $client "image" ($client.image | default (include "fedvsr.image" (dict "root" $ "name" $.Values.images.trainer))) -}}
{{- $_ := set $client "imagePullPolicy" ($client.imagePullPolicy | default $.Values.images.pullPolicy) -}}
{{- $clients = append $clients $client -}}
{{- end -}}
{{- toJson $clients -}}
{{- end }}

{{/* The clients' settings for the pipeline, by name. The keys are the fields of fedvsr.cluster.settings.ClientSettings. */}}
{{- define "fedvsr.clientsForThePipeline" -}}
{{- $clients := dict -}}
{{- range include "fedvsr.clients" . | fromJsonArray -}}
{{- $_ := set $clients .name (pick . "namespace" "image" "imagePullPolicy" "gpuResource" "resources" "nodeSelector" "tolerations" "runtimeClassName" "cacheSize") -}}
{{- end -}}
{{- toJson $clients -}}
{{- end }}
