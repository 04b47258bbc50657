# docker build -f configs/cluster/cpu.Dockerfile -t rrvf:cpu . ; docker run --security-opt seccomp=unconfined rrvf:cpu
FROM python:3.11-slim-bookworm
ENV DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap chromium-headless-shell make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/rrvf
COPY . .
RUN python -m venv .venv && .venv/bin/python -m pip install -e '.[cpu]'
ENV PATH=/opt/rrvf/.venv/bin:$PATH
CMD ["python", "-m", "training.train", "configs/tiny_chart.yaml"]
