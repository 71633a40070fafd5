# elmlff with all its backends:
#
#     docker build -t elmlff .
#     docker run --rm -v "$PWD:/work" elmlff stack --models dp1,painn,nep        # with a GPU, add --gpus all
#
# The image is several GB smaller with the CPU build of PyTorch: pass the address of its wheels, which
# https://pytorch.org/get-started/locally/ gives, as --build-arg TORCH_INDEX=ADDRESS.
FROM python:3.12-slim

ARG TORCH_INDEX
# A C++ compiler: torch.compile needs it in long trainings, and packages without a wheel for this machine.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
# The torch that DeePMD-kit pins; first, so that pip does not take another build of it.
RUN pip install --no-cache-dir "torch==2.11.*" ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}

COPY pyproject.toml setup.py README.md LICENSE /source/
COPY elmlff_core /source/elmlff_core
COPY elmlff_plugins /source/elmlff_plugins
RUN pip install --no-cache-dir "/source[all]" && rm -r /source

# Files that a run writes into /work belong to the user of the host with: docker run --user "$(id -u):$(id -g)"
ENV HOME=/tmp
WORKDIR /work
ENTRYPOINT ["elmlff"]
CMD ["--help"]
