# elmlff with all its backends, for machines without a GPU:
#
#     docker build -t elmlff .
#     docker run --rm -v "$PWD:/work" elmlff stack --models dp1,painn,nep
#
# With a GPU, give the index of the CUDA build of PyTorch, and run with --gpus all:
#
#     docker build -t elmlff --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# A C++ compiler: torch.compile needs it in long trainings, and packages without a wheel for this machine.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
# The torch that DeePMD-kit pins; first, so that pip does not take another build of it.
RUN pip install --no-cache-dir "torch==2.11.*" --index-url "$TORCH_INDEX"

COPY pyproject.toml setup.py README.md LICENSE /source/
COPY elmlff_core /source/elmlff_core
COPY elmlff_plugins /source/elmlff_plugins
RUN pip install --no-cache-dir "/source[all]" && rm -r /source

# Files that a run writes into /work belong to the user of the host with: docker run --user "$(id -u):$(id -g)"
ENV HOME=/tmp
WORKDIR /work
ENTRYPOINT ["elmlff"]
CMD ["--help"]
