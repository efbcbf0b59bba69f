# One image for every process: `docker run customers api`, `relay`, `projector` or `migrate`.
FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/builder && python -m venv --without-pip /opt/customers

# From what changes seldom to what changes often: a change of our code installs nothing again.
COPY requirements/ requirements/
RUN /opt/builder/bin/pip --python /opt/customers/bin/python \
      install --require-hashes --only-binary :all: -r requirements/runtime.txt
# setuptools makes our wheel and is not needed to run it, so it is locked beside the other tools.
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements/local.txt >setuptools.txt \
    && /opt/builder/bin/pip install --require-hashes -r setuptools.txt

COPY pyproject.toml ./
COPY command_side/ command_side/
COPY events/ events/
COPY projections/ projections/
COPY query_side/ query_side/
COPY runtime/ runtime/
RUN /opt/builder/bin/pip --python /opt/builder/bin/python \
      wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && /opt/builder/bin/pip --python /opt/customers/bin/python \
      install --no-deps --no-index wheels/customers-*.whl

FROM python:3.12-slim
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent customers
COPY --from=build /opt/customers /opt/customers
COPY deploy/heartbeat.py /opt/customers/heartbeat.py
# Outside of the container nobody reaches its loopback address.
ENV PATH=/opt/customers/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CUSTOMERS_HOST=0.0.0.0 \
    CUSTOMERS_METRICS_HOST=0.0.0.0 \
    CUSTOMERS_METRICS_PORT=9464
# By number, so that Kubernetes can see that it is not root.
USER 10001
# The second is for Prometheus: deploy/prometheus/prometheus.yaml.
EXPOSE 8080 9464
ENTRYPOINT ["customers"]
CMD ["--help"]
