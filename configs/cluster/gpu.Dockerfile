# docker build -f configs/cluster/gpu.Dockerfile -t rrvf:gpu .        (training and judging on NVIDIA GPUs)
FROM nvidia/cuda:12.9.1-devel-ubuntu24.04
ENV DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1 PLAYWRIGHT_BROWSERS_PATH=/opt/browsers
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-dev python3-venv bubblewrap git wget build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/rrvf
COPY . .
RUN python3 -m venv /opt/venv && /opt/venv/bin/python -m pip install -e '.[gpu]' \
    && /opt/venv/bin/python -m playwright install --with-deps chromium-headless-shell
ENV PATH=/opt/venv/bin:$PATH
CMD ["python", "-m", "training.train", "--help"]
