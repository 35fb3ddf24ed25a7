{{/* What the pods have in common; k8s/base says why each is there. */}}
{{- define "stageline.pod.security" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "stageline.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Serve's switches are those of deployments/serving.py. */}}
{{- define "stageline.env" -}}
- {name: RAY_SERVE_THROUGHPUT_OPTIMIZED, value: "1"}
- {name: RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH, value: "deployments.serve_headers:middlewares"}
- {name: RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS, value: "1"}
- {name: RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE, value: "1"}
- {name: RAY_SERVE_ENABLE_HA_PROXY, value: "1"}
- {name: RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S, value: "3600"}
- {name: RAY_SERVE_HAPROXY_RETRY_ON, value: "conn-failure empty-response\n    timeout http-request 15s"}
- {name: RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S, value: "120"}
- {name: RAY_SERVE_HAPROXY_MAXCONN, value: "20000"}
- {name: RAY_SERVE_HAPROXY_NBTHREAD, value: "2"}
- {name: RAY_worker_niceness, value: "0"}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
- {name: RAY_ROTATION_MAX_BYTES, value: "33554432"}
- {name: RAY_ROTATION_BACKUP_COUNT, value: "2"}
- {name: HOME, value: /home/stageline}
- {name: STAGELINE_CACHE, value: /var/cache/stageline}
{{- end }}

{{- define "stageline.env.downloads" -}}
- secretRef: {name: {{ .Values.downloads.secretName }}, optional: true}
{{- end }}

{{- define "stageline.env.tls" -}}
- {name: RAY_USE_TLS, value: "1"}
- {name: RAY_TLS_SERVER_CERT, value: /etc/ray/tls/tls.crt}
- {name: RAY_TLS_SERVER_KEY, value: /etc/ray/tls/tls.key}
- {name: RAY_TLS_CA_CERT, value: /etc/ray/tls/ca.crt}
{{- end }}

{{/* Takes what the liveness probe asks. */}}
{{- define "stageline.probes" -}}
startupProbe:
  httpGet: {path: /api/local_raylet_healthz, port: 52365}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: {{ . }}, port: 52365}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 12
{{- end }}

{{- define "stageline.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: ray-logs, mountPath: /tmp/ray}
- {name: shm, mountPath: /dev/shm}
- {name: home, mountPath: /home/stageline}
- {name: cache, mountPath: /var/cache/stageline}
{{- if .Values.apiKeys.enabled }}
- {name: api-keys, mountPath: /etc/stageline/api-keys, readOnly: true}
{{- end }}
{{- if .Values.tls.enabled }}
- {name: tls, mountPath: /etc/ray/tls, readOnly: true}
{{- end }}
{{- if or .Values.weights.volume.enabled .Values.weights.image.enabled }}
- {name: models, mountPath: /models, readOnly: true}
{{- end }}
{{- end }}

{{- define "stageline.volumes" -}}
- {name: tmp, emptyDir: {sizeLimit: 4Gi}}
- {name: ray-logs, emptyDir: {sizeLimit: 4Gi}}
- {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ .shm }}}}
- {name: home, emptyDir: {sizeLimit: 1Gi}}
- {name: cache, emptyDir: {sizeLimit: 20Gi}}
{{- end }}

{{/* Volumes that components add, after the others. */}}
{{- define "stageline.volumes.more" -}}
{{- if .Values.apiKeys.enabled }}
- {name: api-keys, secret: {secretName: {{ .Values.apiKeys.secretName }}, defaultMode: 0440}}
{{- end }}
{{- if .Values.tls.enabled }}
- {name: tls, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: tls-ca, secret: {secretName: {{ .Values.tls.secretName }}, defaultMode: 0440}}
- {name: tls-script, configMap: {name: {{ include "stageline.name" . }}-tls}}
{{- end }}
{{- with .Values.weights }}
{{- if .volume.enabled }}
- {name: models-wanted, configMap: {name: {{ include "stageline.name" $ }}-models}}
- {name: models, persistentVolumeClaim: {claimName: {{ include "stageline.name" $ }}-models, readOnly: true}}
{{- else if .image.enabled }}
- {name: models, image: {reference: {{ .image.reference | quote }}, pullPolicy: {{ .image.pullPolicy }}}}
{{- end }}
{{- end }}
{{- end }}

{{/* What runs before Ray, on head and workers alike. */}}
{{- define "stageline.init" -}}
{{- if or .Values.tls.enabled .Values.weights.volume.enabled -}}
initContainers:
  {{- if .Values.tls.enabled }}
  {{- include "stageline.init.certificate" . | nindent 2 }}
  {{- end }}
  {{- if .Values.weights.volume.enabled }}
  {{- include "stageline.init.models" . | nindent 2 }}
  {{- end }}
{{- else -}}
initContainers: []
{{- end }}
{{- end }}

{{/* The pod's own certificate, for its own address. */}}
{{- define "stageline.init.certificate" -}}
- name: certificate
  image: {{ include "stageline.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [sh, /etc/stageline-tls/certificate.sh]
  env:
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: HOME, value: /etc/ray/tls}
  resources:
    requests: {cpu: 200m, memory: 128Mi}
    limits: {cpu: 200m, memory: 128Mi}
  securityContext: {{- include "stageline.container.security" . | nindent 4 }}
  volumeMounts:
    - {name: tls, mountPath: /etc/ray/tls}
    - {name: tls-ca, mountPath: /etc/ca, readOnly: true}
    - {name: tls-script, mountPath: /etc/stageline-tls, readOnly: true}
{{- end }}

{{/* Waits until the Job has fetched what the ConfigMap names. */}}
{{- define "stageline.init.models" -}}
{{- $name := include "stageline.name" . -}}
- name: models
  image: {{ include "stageline.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [sh, -euc]
  args:
    - |
      trap 'exit 1' TERM
      until cmp -s /etc/stageline/models.yaml /models/.fetched; do
        echo "Waiting for the Job {{ $name }}-fetch to fetch what the ConfigMap {{ $name }}-models names."
        sleep 10
      done
  resources:
    requests: {cpu: 100m, memory: 64Mi}
    limits: {cpu: 100m, memory: 64Mi}
  securityContext: {{- include "stageline.container.security" . | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models, readOnly: true}
    - {name: models-wanted, mountPath: /etc/stageline, readOnly: true}
{{- end }}
