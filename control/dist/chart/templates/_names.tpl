{{/* The image, by digest where there is one. */}}
{{- define "eyesplice.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "eyesplice.labels" -}}
app.kubernetes.io/name: eyesplice
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* What all pods have; `where` has the nodes that they run on. */}}
{{- define "eyesplice.pod" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with .where.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .where.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
enableServiceLinks: false
securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}
{{- end -}}

{{/* What all containers may do. */}}
{{- define "eyesplice.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
