"""The floor of everything that a worker does: a Celery task without content, on a worker like the product's.

A Celery application of its own on the product's broker, under another prefix: `celery --app benchmarks.noop worker`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import redis
from celery import Celery

from benchmarks.product import Product
from pipeline.config import home
from pipeline.config.supervisor import ROOT

BROKER = "STOKER_BENCHMARK_BROKER"
DELAYS = "STOKER_BENCHMARK_DELAYS"
LIST = "benchmark:delays"
FIRST_SECONDS = 60

app = Celery("benchmark", broker=os.environ.get(BROKER))
# As in the product's settings, as far as it bears on a task's way.
app.conf.update(
    broker_transport_options={"global_keyprefix": "benchmark:"},
    result_backend=None,
    task_ignore_result=True,
    worker_concurrency=2,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
)


@app.task
def note(sent_at: float) -> None:
    delay = time.time() - sent_at
    redis.Redis.from_url(os.environ[DELAYS]).rpush(LIST, delay)


def measure(product: Product, tasks: int) -> list[float]:
    """Milliseconds from `delay()` to the first line of the task, one at a time on an idle worker."""
    broker = home.celery_url(home.valkey_url(product.home), 0)
    app.conf.update(broker_url=broker)
    client = redis.Redis.from_url(product.redis_url, socket_timeout=FIRST_SECONDS + 5)
    environment = {**os.environ, BROKER: broker, DELAYS: product.redis_url}
    command = [sys.executable, "-m", "celery", "--quiet", "--app", "benchmarks.noop", "worker", "--loglevel", "ERROR",
               "--without-gossip", "--without-mingle"]  # fmt: skip
    with open(product.home / "logs" / "benchmark.log", "w") as log:
        worker = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        found = []
        for _ in range(tasks + 5):
            note.delay(time.time())
            answer = client.blpop([LIST], FIRST_SECONDS)
            if answer is None:
                raise RuntimeError("The worker for the floor did not do its task.")
            found.append(float(answer[1]) * 1000)
            time.sleep(0.02)
    finally:
        worker.terminate()
        worker.wait(20)
        client.close()
    return found[5:]  # the first ones wait for the worker, and for its two processes
