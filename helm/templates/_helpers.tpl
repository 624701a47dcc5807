{{/* Labels of all objects that this chart itself creates. */}}
{{- define "af-kit.labels" -}}
app.kubernetes.io/name: af-kit
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* The users' image. */}}
{{- define "af-kit.image" -}}
{{- $image := dig "singleuser" "image" (dict "name" "af-kit" "tag" .Chart.AppVersion) (.Values.jupyterhub | default dict) -}}
{{ $image.name }}:{{ $image.tag }}
{{- end }}

{{/* Egress rule: the DNS servers of the cluster. */}}
{{- define "af-kit.dns" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}
