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

{{/*
What each namespace of clients needs, as a JSON list: the hosted clients, and the virtual clients together. `store` is the
address of a client's store, with {client} in place of its name.
*/}}
{{- define "fedvsr.clientNamespaces" -}}
{{- $all := list -}}
{{- range include "fedvsr.clients" . | fromJsonArray -}}
{{- $_ := set . "store" (printf "s3://%s{client}" (include "fedvsr.clientBucketPrefix" $)) -}}
{{- $all = append $all . -}}
{{- end -}}
{{- with include "fedvsr.virtualClients" . -}}
{{- $all = append $all (fromJson .) -}}
{{- end -}}
{{- toJson $all -}}
{{- end }}

{{/* The settings of the virtual clients with the clients' defaults for the rest, as a JSON object; empty if there are none. */}}
{{- define "fedvsr.virtualClients" -}}
{{- if .Values.virtualClients.enabled -}}
{{- $virtual := deepCopy .Values.clientDefaults -}}
{{- range $key, $value := .Values.virtualClients -}}
{{- $_ := set $virtual $key $value -}}
{{- end -}}
{{- $_ := set $virtual "name" "virtual" -}}
{{- $_ := set $virtual "user" "virtual-clients" -}}
{{- $_ := set $virtual "bucket" (.Values.s3.buckets.virtual | default (printf "%s-virtual" .Release.Namespace)) -}}
{{- $_ := set $virtual "store" (printf "s3://%s/clients/{client}" $virtual.bucket) -}}
{{- $_ := set $virtual "namespace" ($virtual.namespace | default (printf "%s-virtual" .Release.Namespace)) -}}
{{- $_ := set $virtual "image" ($virtual.image | default (include "fedvsr.image" (dict "root" $ "name" .Values.images.trainer))) -}}
{{- $_ := set $virtual "imagePullPolicy" ($virtual.imagePullPolicy | default .Values.images.pullPolicy) -}}
{{- toJson $virtual -}}
{{- end -}}
{{- end }}

{{/* The virtual clients' settings for the pipeline; empty if there are none. The keys are the fields of VirtualSettings. */}}
{{- define "fedvsr.virtualClientsForThePipeline" -}}
{{- with include "fedvsr.virtualClients" . -}}
{{- pick (fromJson .) "namespace" "image" "imagePullPolicy" "gpuResource" "resources" "nodeSelector" "tolerations" "runtimeClassName" "cacheSize" "parallelism" | toJson -}}
{{- end -}}
{{- end }}

{{/* The clients' settings for the pipeline, by name. The keys are the fields of fedvsr.cluster.settings.ClientSettings. */}}
{{- define "fedvsr.clientsForThePipeline" -}}
{{- $clients := dict -}}
{{- range include "fedvsr.clients" . | fromJsonArray -}}
{{- $_ := set $clients .name (pick . "namespace" "image" "imagePullPolicy" "gpuResource" "resources" "nodeSelector" "tolerations" "runtimeClassName" "cacheSize") -}}
{{- end -}}
{{- toJson $clients -}}
{{- end }}
