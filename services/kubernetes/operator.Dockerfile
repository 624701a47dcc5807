# Dask's operator, from the kit's image: the command that its chart expects, and nothing else.
#   docker build -f services/kubernetes/operator.Dockerfile -t af-kit-operator services/kubernetes
ARG IMAGE=af-kit
FROM ${IMAGE}
ENTRYPOINT ["kopf", "run", "-m", "dask_kubernetes.operator.controller"]
