{{/*
The namespaces that get the settings, as a JSON list: the deployment's, for `fedvsr check` and for people, and KFP's, for the
pipeline's steps.
*/}}
{{- define "fedvsr.settingsNamespaces" -}}
{{- $namespaces := list .Release.Namespace }}
{{- if .Values.kfp.enabled }}{{ $namespaces = append $namespaces .Values.kfp.namespace | uniq }}{{ end }}
{{- toJson $namespaces -}}
{{- end }}

{{/* The settings' name in a namespace: in KFP's it is the deployment's namespace, since deployments may share a KFP. */}}
{{- define "fedvsr.settingsName" -}}
{{- ternary "fedvsr" .root.Release.Namespace (eq .namespace .root.Release.Namespace) -}}
{{- end }}
