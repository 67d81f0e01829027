# The app on the CPU: indexing, search, the UI and the API. The model server is a container of its own (compose.yaml).
FROM python:3.11-slim

RUN useradd --create-home --uid 10001 ragstone && mkdir -m 700 /data && chown ragstone /data
WORKDIR /app

# Name PyTorch's index of CPU wheels here (--build-arg TORCH_ARGS="--index-url ...") for an image of a tenth the size.
ARG TORCH_ARGS=""
COPY constraints.txt pyproject.toml README.md ./
RUN pip install --no-cache-dir $TORCH_ARGS "$(grep '^torch==' constraints.txt)"
COPY core core
COPY ingest ingest
COPY retrieval retrieval
COPY llm llm
COPY prompts prompts
COPY app app
COPY config.toml ./
COPY examples examples
RUN pip install --no-cache-dir -c constraints.txt -e .

USER ragstone
# On 0.0.0.0 people log in: it does not start before `docker run -it -v ... IMAGE ragstone user add NAME --role admin`.
ENV RAGSTONE_DATA=/data RAGSTONE_APP__HOST=0.0.0.0 HF_HUB_OFFLINE=1
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/healthz')"]
CMD ["ragstone", "ui"]
