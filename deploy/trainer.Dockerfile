# The image that rented machines start with: the libraries of the training, and the few files that fetch the rest.
# The training program itself comes from the server, so a new version of Stoker needs no new image.
#
#   docker build -f deploy/trainer.Dockerfile -t <registry>/stoker-trainer:<version> training
#
# The build was not run on a GPU; docs/runpod.md says what to try first.

FROM nvidia/cuda:12.8.1-base-ubuntu24.04

# Triton, which some kernels of torch use, compiles small pieces of C where it runs.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates gcc libc6-dev python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

# Where torch is taken from. It brings its own CUDA libraries, whose version must fit the drivers of the hosts:
# RUNPOD_MIN_CUDA_VERSION lets only such hosts be rented.
ARG TORCH_INDEX_URL=
WORKDIR /opt/stoker
COPY requirements.txt .
RUN python3 -m venv venv \
    && venv/bin/pip install --no-cache-dir ${TORCH_INDEX_URL:+--index-url ${TORCH_INDEX_URL}} \
        "$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)" \
    && venv/bin/pip install --no-cache-dir -r requirements.txt

COPY *.py training/

# Nothing here needs root. The disk of the container holds the base model, the checkpoints and the adapter.
RUN useradd --create-home --uid 10001 trainer && install -d -o trainer -g trainer /work
USER trainer
ENV STOKER_WORK_DIR=/work \
    HF_HOME=/work/hub \
    PYTHONUNBUFFERED=1
WORKDIR /work

# Fixed: nothing that a person typed is ever part of a command.
ENTRYPOINT ["/opt/stoker/venv/bin/python", "/opt/stoker/training/pod.py"]
