{{- define "stageline.head" -}}
serviceType: ClusterIP
rayStartParams:
  num-cpus: "0"
  object-store-memory: "268435456"
template:
  metadata:
    labels:
      app.kubernetes.io/name: stageline
      app.kubernetes.io/component: head
  spec:
    serviceAccountName: {{ include "stageline.name" . }}-head
    automountServiceAccountToken: false
    enableServiceLinks: false
    terminationGracePeriodSeconds: {{ .Values.head.graceSeconds }}
    securityContext: {{- include "stageline.pod.security" . | nindent 6 }}
    {{- include "stageline.init" . | nindent 4 }}
    containers:
      - name: ray-head
        image: {{ include "stageline.image" . }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        ports:
          - {name: gcs, containerPort: 6379}
          - {name: dashboard, containerPort: 8265}
          - {name: client, containerPort: 10001}
          - {name: metrics, containerPort: 8080}
          - {name: serve, containerPort: 8000}
        env:
          - {name: RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S, value: {{ .Values.head.drainSeconds | quote }}}
          {{- include "stageline.env" . | nindent 10 }}
          - {name: RAY_health_check_initial_delay_ms, value: "5000"}
          - {name: RAY_health_check_period_ms, value: "2000"}
          - {name: RAY_health_check_timeout_ms, value: "2000"}
          - {name: RAY_health_check_failure_threshold, value: "4"}
          {{- if .Values.tls.enabled }}
          {{- include "stageline.env.tls" . | nindent 10 }}
          {{- end }}
        envFrom: {{- include "stageline.env.downloads" . | nindent 10 }}
        resources: {{- toYaml .Values.head.resources | nindent 10 }}
        securityContext: {{- include "stageline.container.security" . | nindent 10 }}
        {{- include "stageline.probes" "/api/healthz" | nindent 8 }}
        readinessProbe:
          httpGet: {path: /api/gcs_healthz, port: dashboard}
          periodSeconds: 5
          timeoutSeconds: 5
          failureThreshold: 6
        volumeMounts: {{- include "stageline.mounts" . | nindent 10 }}
    volumes:
      {{- include "stageline.volumes" (dict "shm" "512Mi") | nindent 6 }}
      {{- if .Values.autoscaler.enabled }}
      - name: autoscaler-token
        projected:
          sources:
            - serviceAccountToken: {path: token, expirationSeconds: 3600}
            - configMap:
                name: kube-root-ca.crt
                items:
                  - {key: ca.crt, path: ca.crt}
            - downwardAPI:
                items:
                  - path: namespace
                    fieldRef: {fieldPath: metadata.namespace}
      {{- end }}
      {{- include "stageline.volumes.more" . | nindent 6 }}
{{- end }}
