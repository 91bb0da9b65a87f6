# One image, two commands: `serve` (API and worker) and `worker`. CPU by default; for an NVIDIA GPU build with
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .

FROM python:3.11-slim-bookworm AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/descent
WORKDIR /src
COPY constraints.txt ./
# By itself, for it is the large one and changes seldom. A build for one device (2.13.0+cpu) sorts above plain 2.13.0.
RUN /opt/descent/bin/pip install --extra-index-url "$TORCH_INDEX" --constraint constraints.txt torch==2.13.0 numpy
# For the compiled sweep; the compiler stays in this stage.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml README.md ./
COPY alembic alembic
COPY service service
RUN /opt/descent/bin/pip install --constraint constraints.txt '.[onnx,postgres]'

FROM python:3.11-slim-bookworm
RUN useradd --system --create-home descent && install --directory --owner descent --group descent /data
COPY --from=build /opt/descent /opt/descent
ENV PATH=/opt/descent/bin:$PATH PYTHONUNBUFFERED=1 DESCENT_DATA_DIR=/data DESCENT_HOST=0.0.0.0 DESCENT_PORT=8000
# A container is reached from outside of it only; without keys (DESCENT_API_KEYS, or `descent keys create` inside of it)
# who reaches the published port is for `docker run -p` to say.
ENV DESCENT_ALLOW_REMOTE=true
USER descent
WORKDIR /home/descent
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open(f'http://127.0.0.1:{os.environ[\"DESCENT_PORT\"]}/readyz', timeout=4)"]
ENTRYPOINT ["descent"]
CMD ["serve"]
