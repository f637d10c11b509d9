{{/* Settings of every pod: no root user, no service links. Takes the root. */}}
{{- define "site.pod" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.user }}
  runAsGroup: {{ .Values.user }}
  fsGroup: {{ .Values.user }}
  fsGroupChangePolicy: OnRootMismatch
  {{- with .Values.videos.groups }}
  supplementalGroups: {{ toJson . }}
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The agent's node, for a pod beside it: only there may the volume of the state be mounted once more. */}}
{{- define "site.besideTheAgent" -}}
{{- if eq .Values.state.accessMode "ReadWriteOnce" -}}
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{- include "site.selector" (dict "root" . "component" "agent") | nindent 12 }}
{{- end -}}
{{- end }}

{{/* Settings of every container: image, a read-only root file system, no privileges. */}}
{{- define "site.container" -}}
image: {{ include "site.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The arguments that name the site's files. */}}
{{- define "site.arguments" -}}
[--folder, /site, --settings, /etc/fedvsr-site/site.yaml, --invitation, {{ include "site.invitation" . }}]
{{- end }}

{{/* The invitation's file in a container. */}}
{{- define "site.invitation" -}}
/etc/fedvsr-site/invitation/{{ .Values.invitation.key }}
{{- end }}

{{/* Environment variables of every container. */}}
{{- define "site.env" -}}
- {name: HOME, value: /tmp}
- {name: FEDVSR_CACHE, value: /tmp/fedvsr}
- {name: PYTHONUNBUFFERED, value: "1"}
# For `kubectl exec … -- fedvsr site status`, which needs no options then.
- {name: FEDVSR_SITE, value: /site}
- {name: FEDVSR_SITE_SETTINGS, value: /etc/fedvsr-site/site.yaml}
- {name: FEDVSR_SITE_INVITATION, value: {{ include "site.invitation" . }}}
{{- with .Values.proxy }}
{{- if .https }}
- {name: HTTPS_PROXY, value: {{ .https | quote }}}
- {name: NO_PROXY, value: {{ list .noProxy "$(KUBERNETES_SERVICE_HOST)" | compact | join "," | quote }}}
{{- end }}
{{- end }}
{{- range $name, $value := .Values.env }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}

{{/* The volume with the site's settings and invitation. Takes root and, for the agent, job. */}}
{{- define "site.settingsVolume" -}}
- name: settings
  projected:
    defaultMode: 0440
    sources:
      - configMap: {name: fedvsr-site}
      {{- if .job }}
      - configMap: {name: fedvsr-site-work}
      {{- end }}
      - secret:
          name: {{ .root.Values.invitation.existingSecret }}
          items:
            - {key: {{ .root.Values.invitation.key }}, path: invitation/{{ .root.Values.invitation.key }}}
{{- end }}

{{/* Where a container finds the site's folder, settings and invitation. */}}
{{- define "site.mounts" -}}
- {name: state, mountPath: /site}
- {name: settings, mountPath: /etc/fedvsr-site, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{/* Where a container that reads videos finds them. */}}
{{- define "site.videosMount" -}}
- {name: videos, mountPath: /videos, readOnly: true{{ with .Values.videos.subPath }}, subPath: {{ . | quote }}{{ end }}}
{{- end }}

{{- define "site.videosVolume" -}}
- name: videos
  persistentVolumeClaim: {claimName: {{ .Values.videos.existingClaim }}, readOnly: true}
{{- end }}
