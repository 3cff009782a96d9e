# syntax=docker/dockerfile:1
# The gateway, from what requirements.lock pins and nothing else.

FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# First what changes seldom, so that editing the gateway does not install everything again.
COPY requirements.lock deploy/locked.py /lock/
RUN mkdir /lock/deploy && mv /lock/locked.py /lock/deploy/ \
    && python /lock/deploy/locked.py build > /lock/build.txt \
    && python /lock/deploy/locked.py runtime > /lock/runtime.txt \
    && python -m venv /build \
    && /build/bin/pip install --require-hashes --requirement /lock/build.txt \
    && python -m venv /opt/fathom \
    && /opt/fathom/bin/pip install --require-hashes --requirement /lock/runtime.txt

COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY migrations migrations
RUN /build/bin/python -m hatchling build --target wheel --directory /wheel \
    && /opt/fathom/bin/pip install --no-deps --no-index /wheel/*.whl \
    && /opt/fathom/bin/pip check \
    && /opt/fathom/bin/python -m compileall -q /opt/fathom/lib

FROM python:3.12-slim-bookworm
# A number, so that an orchestrator can see that it is not root.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/fathom fathom \
    && install --directory --owner fathom --group fathom /var/lib/fathom
COPY --from=build /opt/fathom /opt/fathom
ENV PATH=/opt/fathom/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
# Where the embedded ledger lies when no FATHOM_DATABASE_URL is given.
WORKDIR /var/lib/fathom
VOLUME /var/lib/fathom
EXPOSE 8080
# Alive, not ready: a database that is away does not get better by restarting the gateway.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('FATHOM_PORT', '8080') + '/healthz', timeout=2)"]
ENTRYPOINT ["fathom"]
CMD ["serve", "--host", "0.0.0.0"]
