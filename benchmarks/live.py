"""From a metric posted to the frame with it received, on one open page and on many."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import suppress
from typing import Any

import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.typing import Origin

from benchmarks.http import Connection
from benchmarks.ingest import point_values
from benchmarks.processes import Call, Ready, Together
from benchmarks.product import Product, free_port
from benchmarks.report import Figure, Floor, percentiles
from benchmarks.sizes import Sizes

ACK_SECONDS = 2.0
LAST_FRAME_SECONDS = 10.0
LISTENING_SECONDS = 10.0
FIRST_FRAME_SECONDS = 30.0
# Between two posts; uneven, so that they fall everywhere between the looks that the server takes each second.
PAUSES = (0.04, 0.08)

Received = list[tuple[int, float]]  # step, and when it came by the monotonic clock, which all processes share


def measure(product: Product, sizes: Sizes) -> list[Figure]:
    cookie = product.session_cookie()
    hop = Floor("Redis publish to subscriber", percentiles(_redis_round_trips(product, sizes.tasks)))
    figures = []
    for sockets in sorted({1, sizes.most_sockets}):
        milliseconds, size = _post_and_receive(product, cookie, sockets, sizes.live_posts)
        floor = hop if sockets == 1 else _bare(sockets, sizes.live_posts, size)
        figures.append(
            Figure(
                f"live_{sockets}",
                f"metric posted to frame received, {sockets} socket{'s' * (sockets > 1)}, p50 / p99",
                "ms",
                percentiles(milliseconds),
                floor,
                {"posts": sizes.live_posts, "frames": len(milliseconds), "frame_bytes": size},
            )
        )
    return figures


def _post_and_receive(product: Product, cookie: str, sockets: int, posts: int) -> tuple[list[float], int]:
    """Milliseconds for each post and socket, and the mean size of a frame."""
    (job,) = product.fed_jobs(1)
    program = Connection(product.port, Authorization=f"Bearer {job['token']}")
    path = f"/api/training/jobs/{job['id']}/metrics"
    sent = {}
    # Step 0 is not measured: pages that open wait for a first frame, and a program's connection is warm.
    program.expect(200, "POST", path, json.dumps({"step": 0, **point_values(0)}).encode())
    listener = (listen, (f"ws://127.0.0.1:{product.port}/ws/", product.stack.url, cookie, job["id"], sockets, posts))
    with Together([listener]) as together:
        for step in range(1, posts + 1):
            time.sleep(random.uniform(*PAUSES))
            body = json.dumps({"step": step, **point_values(step)}).encode()
            sent[step] = time.monotonic()
            program.expect(200, "POST", path, body)
        ((received, size),) = together.results(LAST_FRAME_SECONDS + 30)
    return _latencies(sent, received, sockets), size


def _latencies(sent: dict[int, float], received: Received, sockets: int) -> list[float]:
    if len(received) != len(sent) * sockets:
        raise RuntimeError(f"{len(sent) * sockets} points were due on the sockets, {len(received)} came.")
    return [(at - sent[step]) * 1000 for step, at in received]


def listen(
    ready: Ready, address: str, origin: str, cookie: str, job_id: str, sockets: int, last_step: int
) -> tuple[Received, int]:
    """Follow a job on many sockets until each has got `last_step`. Return what came, and the mean size of a frame."""
    return asyncio.run(_listen(ready, address, origin, cookie, job_id, sockets, last_step))


async def _listen(
    ready: Ready, address: str, origin: str, cookie: str, job_id: str, sockets: int, last_step: int
) -> tuple[Received, int]:
    received: Received = []
    sizes: list[int] = []
    first_frames = [asyncio.Event() for _ in range(sockets)]
    followers = []
    for first_frame in first_frames:
        socket = await _connected(address, origin, cookie)
        follower = _follow(socket, job_id, last_step, received, sizes, first_frame)
        followers.append(asyncio.create_task(follower))
    for first_frame in first_frames:
        await asyncio.wait_for(first_frame.wait(), FIRST_FRAME_SECONDS)
    await asyncio.to_thread(ready)
    await asyncio.gather(*followers)
    return received, round(sum(sizes) / len(sizes))


async def _connected(address: str, origin: str, cookie: str) -> ClientConnection:
    """A socket. A server that is started together with the clients may need a moment until it listens."""
    deadline = time.monotonic() + LISTENING_SECONDS
    while True:
        try:
            # Uncompressed and without pings: here the client must not be what is measured.
            return await connect(
                address,
                origin=Origin(origin),
                additional_headers={"Cookie": cookie},
                compression=None,
                ping_interval=None,
                proxy=None,
            )
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.02)


async def _follow(
    socket: ClientConnection,
    job_id: str,
    last_step: int,
    received: Received,
    sizes: list[int],
    first_frame: asyncio.Event,
) -> None:
    await socket.send(json.dumps({"subscribe": "job", "id": job_id, "after": 0}))
    newest = {"seq": 0}
    acks = asyncio.create_task(_acknowledge(socket, job_id, newest))
    try:
        async for text in socket:
            at = time.monotonic()
            frame = json.loads(text)
            if frame["t"] == "error":
                raise RuntimeError(f"The socket was told: {frame['message']}")
            if frame["t"] != "job":
                continue
            newest["seq"] = frame["seq"]
            steps = [step for step in frame["metrics"]["step"] if step]
            received += [(step, at) for step in steps]
            if steps:
                sizes.append(len(text))
            first_frame.set()
            if steps and steps[-1] >= last_step:
                break
    finally:
        acks.cancel()
        await socket.close()


async def _acknowledge(socket: ClientConnection, job_id: str, newest: dict[str, int]) -> None:
    while True:
        await asyncio.sleep(ACK_SECONDS)
        await socket.send(json.dumps({"ack": {job_id: newest["seq"]}}))


def _redis_round_trips(product: Product, count: int) -> list[float]:
    client = redis.Redis.from_url(product.redis_url)
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe("benchmark")
        while pubsub.get_message(timeout=0.1) is not None:
            pass
        found = []
        for _ in range(count + 1):
            began = time.perf_counter()
            client.publish("benchmark", "job:00000000-0000-0000-0000-000000000000")
            while pubsub.get_message(timeout=1) is None:
                pass
            found.append((time.perf_counter() - began) * 1000)
    client.close()
    return found[1:]  # the first one connects


def _bare(sockets: int, posts: int, size: int) -> Floor:
    """The same listener on a server that sends frames of the same size and does nothing else."""
    port = free_port()
    calls: list[Call] = [
        (send, (port, sockets, posts, size)),
        (listen, (f"ws://127.0.0.1:{port}/", f"http://127.0.0.1:{port}", "", "bare", sockets, posts)),
    ]
    with Together(calls) as together:
        sent, (received, _) = together.results(posts + LAST_FRAME_SECONDS + 30)
    return Floor(f"a bare websocket server to the same {sockets}", percentiles(_latencies(sent, received, sockets)))


def send(ready: Ready, port: int, sockets: int, posts: int, size: int) -> dict[int, float]:
    return asyncio.run(_send(ready, port, sockets, posts, size))


async def _send(ready: Ready, port: int, sockets: int, posts: int, size: int) -> dict[int, float]:
    followers: list[ServerConnection] = []
    filling = ""

    def frame(step: int) -> str:
        body: dict[str, Any] = {"t": "job", "seq": step, "metrics": {"step": [step]}, "filling": filling}
        return json.dumps(body)

    filling = "x" * max(size - len(frame(posts)), 0)

    async def serve_one(socket: ServerConnection) -> None:
        await socket.recv()
        followers.append(socket)
        await socket.send(frame(0))
        await socket.wait_closed()

    sent = {}
    async with serve(serve_one, "127.0.0.1", port, compression=None, ping_interval=None):
        await asyncio.to_thread(ready)
        for step in range(1, posts + 1):
            await asyncio.sleep(random.uniform(*PAUSES))
            text = frame(step)
            sent[step] = time.monotonic()
            broadcast(followers, text)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_FRAME_SECONDS):
                await asyncio.gather(*(socket.wait_closed() for socket in followers))
    return sent
