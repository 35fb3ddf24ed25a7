{{/* Checks that no schema can make. */}}
{{- define "stageline.checks" -}}
{{- if gt (len .Release.Name) 47 }}{{ fail "The release's name is longer than 47 characters, and KubeRay refuses it." }}{{ end -}}
{{- if le (int .Values.workers.graceSeconds) (int .Values.workers.drainSeconds) }}{{ fail "workers.graceSeconds has to be more than workers.drainSeconds." }}{{ end -}}
{{- if le (int .Values.head.graceSeconds) (int .Values.head.drainSeconds) }}{{ fail "head.graceSeconds has to be more than head.drainSeconds." }}{{ end -}}
{{- if and (eq .Values.upgrade.type "NewClusterWithIncrementalUpgrade") (not .Values.autoscaler.enabled) }}{{ fail "upgrade.type NewClusterWithIncrementalUpgrade needs autoscaler.enabled." }}{{ end -}}
{{- if and .Values.weights.volume.enabled .Values.weights.image.enabled }}{{ fail "weights.volume and weights.image are both at /models: enable one." }}{{ end -}}
{{- end }}

{{- define "stageline.name" -}}
{{ .Release.Name }}
{{- end }}

{{/* A repository with its digest, or its tag. Takes {image, tag}. */}}
{{- define "stageline.reference" -}}
{{ .image.repository }}{{ if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .tag }}{{ end }}
{{- end }}

{{- define "stageline.image" -}}
{{ include "stageline.reference" (dict "image" .Values.image "tag" .Chart.AppVersion) }}
{{- end }}

{{- define "stageline.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  app.kubernetes.io/name: {{ .app | default "stageline" }}
{{- end }}

{{/* The Stageline configuration; with API keys, the file that they are in. */}}
{{- define "stageline.args" -}}
{{- $args := deepCopy .Values.stageline -}}
{{- if .Values.apiKeys.enabled -}}
{{- $_ := set $args "access" (dict "keys" "/etc/stageline/api-keys/keys.yaml") -}}
{{- $http := omit ($args.http | default dict) "without_keys" -}}
{{- $args = ternary (set $args "http" $http) (omit $args "http") (gt (len $http) 0) -}}
{{- end -}}
{{ toYaml $args }}
{{- end }}

{{/* Head and workers, and nothing else of this name. */}}
{{- define "stageline.ray" -}}
matchLabels:
  app.kubernetes.io/name: stageline
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: [head, worker]}
{{- end }}
