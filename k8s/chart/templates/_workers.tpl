{{/* One group of workers. Takes {root, group}. */}}
{{- define "stageline.workers" -}}
{{- $ := .root -}}
{{- with .group -}}
groupName: {{ .name }}
{{- if hasKey . "priority" }}
priority: {{ .priority }}
{{- end }}
replicas: {{ .min }}
minReplicas: {{ .min }}
maxReplicas: {{ .max }}
rayStartParams:
  num-cpus: {{ .cpus | quote }}
  object-store-memory: "268435456"
template:
  metadata:
    labels:
      app.kubernetes.io/name: stageline
      app.kubernetes.io/component: worker
  spec:
    serviceAccountName: {{ include "stageline.name" $ }}
    automountServiceAccountToken: false
    enableServiceLinks: false
    terminationGracePeriodSeconds: {{ $.Values.workers.graceSeconds }}
    securityContext: {{- include "stageline.pod.security" $ | nindent 6 }}
    {{- with .nodeSelector }}
    nodeSelector: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .tolerations }}
    tolerations: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .runtimeClassName }}
    runtimeClassName: {{ . }}
    {{- end }}
    {{- if $.Values.workers.onePerNode }}
    affinity:
      podAntiAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          - topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                app.kubernetes.io/name: stageline
                app.kubernetes.io/component: worker
            matchLabelKeys: [ray.io/cluster]
    {{- end }}
    {{- with $.Values.workers.spread }}
    topologySpreadConstraints:
      {{- range . }}
      - maxSkew: 1
        topologyKey: {{ .topologyKey }}
        whenUnsatisfiable: {{ .whenUnsatisfiable }}
        labelSelector:
          matchLabels:
            app.kubernetes.io/name: stageline
            app.kubernetes.io/component: worker
        matchLabelKeys: [ray.io/cluster]
      {{- end }}
    {{- end }}
    {{- include "stageline.init" $ | nindent 4 }}
    containers:
      - name: ray-worker
        image: {{ include "stageline.image" $ }}
        imagePullPolicy: {{ $.Values.image.pullPolicy }}
        ports:
          - {name: serve, containerPort: 8000}
          - {name: metrics, containerPort: 8080}
        env:
          - {name: RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S, value: {{ $.Values.workers.drainSeconds | quote }}}
          {{- include "stageline.env" $ | nindent 10 }}
          {{- if $.Values.tls.enabled }}
          {{- include "stageline.env.tls" $ | nindent 10 }}
          {{- end }}
        envFrom: {{- include "stageline.env.downloads" $ | nindent 10 }}
        resources:
          {{- $resources := dict "cpu" (toString .cpus) "memory" .memory }}
          {{- with .gpus }}{{ $_ := set $resources "nvidia.com/gpu" (toString .) }}{{ end }}
          requests: {{- toYaml $resources | nindent 12 }}
          limits: {{- toYaml $resources | nindent 12 }}
        securityContext: {{- include "stageline.container.security" $ | nindent 10 }}
        {{- include "stageline.probes" "/api/local_raylet_healthz" | nindent 8 }}
        readinessProbe:
          httpGet: {path: /-/healthz, port: serve}
          periodSeconds: 5
          timeoutSeconds: 5
          failureThreshold: 2
        volumeMounts: {{- include "stageline.mounts" $ | nindent 10 }}
    volumes:
      {{- include "stageline.volumes" (dict "shm" (.shm | default "512Mi")) | nindent 6 }}
      {{- include "stageline.volumes.more" $ | nindent 6 }}
{{- end }}
{{- end }}
