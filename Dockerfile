# The app on the CPU: indexing, search, the UI, the API and workers. Model servers are containers of their own
# (docs/deploying.md). No CUDA: PyTorch is the build for CPUs, unless TORCH_INDEX names another one.
ARG BASE=docker.io/library/python:3.11-slim
FROM ${BASE} AS build

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python3 -m venv /opt/ragstone
COPY constraints.txt pyproject.toml setup.py MANIFEST.in README.md LICENSE config.toml /src/
WORKDIR /src
RUN /opt/ragstone/bin/pip install --no-cache-dir --no-compile ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    -c constraints.txt "$(grep '^torch==' constraints.txt)"
COPY core core
COPY ingest ingest
COPY retrieval retrieval
COPY llm llm
COPY prompts prompts
COPY app app
RUN /opt/ragstone/bin/pip install --no-cache-dir --no-compile -c constraints.txt ".[dask,postgresql,s3]"
# What is never read here: headers and tests, symbols for debuggers, AWS's services other than S3, Gradio's server of Node.
RUN apt-get update && apt-get install --yes --no-install-recommends binutils \
    && /opt/ragstone/bin/pip uninstall --yes pip hf-xet \
    && cd /opt/ragstone/lib/python3*/site-packages \
    && rm -rf torch/include torch/share torch/test gradio/templates/node \
    && find torch/bin -type f ! -name torch_shm_manager -delete \
    && find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name 's3' ! -name 'sts' ! -name 'sso*' ! -name 'signin' \
       -exec rm -rf {} + \
    && find pandas scipy sklearn sympy networkx faiss numpy -type d -name tests -prune -exec rm -rf {} + \
    && find torch/lib zstandard uvloop tantivy -name '*.so*' -type f -exec strip --strip-unneeded {} + \
    && strip --strip-unneeded _brotli*.so

FROM ${BASE}
# tini is process 1: it hands signals on and reaps what converters leave behind.
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --no-create-home --home-dir /cache --uid 10001 ragstone && mkdir -m 700 /data /cache && chown ragstone /data /cache
COPY --from=build /opt/ragstone /opt/ragstone
COPY examples/handbook /usr/share/ragstone/handbook
ENV PATH=/opt/ragstone/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    RAGSTONE_DATA=/data RAGSTONE_CACHE=/cache RAGSTONE_APP__HOST=0.0.0.0 HF_HUB_OFFLINE=1
USER 10001
WORKDIR /data
# All else may be read-only: `docker run --read-only --tmpfs /tmp`.
VOLUME ["/data", "/cache"]
EXPOSE 7860
HEALTHCHECK --interval=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/healthz')"]
# On 0.0.0.0 people log in: it does not start before `docker run -it -v ... IMAGE ragstone user add NAME --role admin`.
ENTRYPOINT ["tini", "--"]
CMD ["ragstone", "ui"]
