# syntax=docker/dockerfile:1
# Two images. `docker build --target cpu .` has pop with all extras on CPUs. `--target cuda` has pop and, in an environment of its
# own, vLLM: the two want different versions of the same packages. Neither runs as root.

FROM python:3.11-slim-bookworm AS base
ENV PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HOME=/data/huggingface
RUN useradd --create-home --uid 1000 pop && mkdir /data && chown pop:pop /data
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src src

FROM base AS cpu
# Where torch for CPUs is; empty: pip's own index, whose builds for CUDA are gigabytes larger. What torch needs comes with the rest.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --constraint constraints.txt ${TORCH_INDEX:+--no-deps --index-url "$TORCH_INDEX"} torch \
    && pip install --constraint constraints.txt ".[all]"
USER 1000
WORKDIR /data
VOLUME /data
ENTRYPOINT ["pop"]
CMD ["--help"]

FROM base AS cuda
ARG VLLM_VERSION=""
# Triton compiles its launchers when vLLM starts.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc=4:* libc6-dev=2.* && rm -rf /var/lib/apt/lists/*
RUN pip install --constraint constraints.txt ".[all]" \
    && python -m venv /opt/vllm \
    && /opt/vllm/bin/pip install "vllm${VLLM_VERSION:+==$VLLM_VERSION}"
# `model: {type: vllm, executable: /opt/vllm/bin/vllm, …}`, or `vllm` alone.
RUN ln -s /opt/vllm/bin/vllm /usr/local/bin/vllm
USER 1000
WORKDIR /data
VOLUME /data
ENTRYPOINT ["pop"]
CMD ["--help"]
