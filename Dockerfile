# An image with the program and its models, to be run without network by any user. docs/containers.md tells how.
ARG BASE=debian:bookworm-slim
FROM ${BASE}

# For NVIDIA GPUs: --build-arg TORCH_INDEX=https://pypi.org/simple
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY . /source
RUN python3 -m venv /opt/attention-unet \
 && /opt/attention-unet/bin/pip install --no-cache-dir --extra-index-url "${TORCH_INDEX}" \
    --constraint /source/constraints.txt "/source[dicom]" \
 && rm -rf /source

# Any user may run it, also one without an entry in /etc/passwd: programs then take the name from USER. Any user may write to /tmp.
ENV HOME=/tmp USER=anybody PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["/opt/attention-unet/bin/attention-unet"]
CMD ["--help"]
