# The server alone, from the hashed lock, as a user who owns nothing. The run folder comes from outside, under the same path as where it was made:
#   docker build -t likeness .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL -v "$PWD/out:$PWD/out" -p 127.0.0.1:3000:3000 likeness --run "$PWD/out" --host 0.0.0.0
# Its user (10001) must be able to write into the run folder. Keys are asked for: python -m serving keys add NAME --scope score
FROM python:3.11-slim-bookworm
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/app HOME=/tmp OMP_NUM_THREADS=1
WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir --no-compile --no-deps --require-hashes -r requirements.lock \
 && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin likeness
COPY features features
COPY training training
COPY serving serving
USER 10001
EXPOSE 3000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/readyz', timeout=4)"]
ENTRYPOINT ["python", "-m", "serving", "serve"]
