# Build the wheel, install it with exactly the locked versions, and keep nothing but the result.
FROM python:3.13-slim AS build
WORKDIR /build
RUN python -m venv /opt/reflock
COPY requirements-runtime.lock ./
RUN /opt/reflock/bin/pip install --no-cache-dir --require-hashes -r requirements-runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY bot bot
COPY handlers handlers
COPY storage storage
RUN pip wheel --no-cache-dir --no-deps -w dist . \
 && /opt/reflock/bin/pip install --no-cache-dir --no-deps dist/*.whl

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin reflock \
 && install -d -o reflock -g reflock -m 0700 /data
COPY --from=build /opt/reflock /opt/reflock
# PYTHONSAFEPATH: nothing that lies in the working directory is ever imported.
ENV PATH=/opt/reflock/bin:$PATH PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1
USER reflock
# config.toml, .env and (with SQLite) the database.
VOLUME /data
WORKDIR /data
EXPOSE 8080
# The port is that of [web] in config.toml; where it is changed, change it here too: --health-cmd.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["reflock"]
CMD ["run"]
