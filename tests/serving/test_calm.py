"""Too much, too long, too slow: a plain refusal in bounded time, and everybody else is served (F15 to F18)."""

import asyncio
import socket
import threading

import pytest
import uvicorn

from serving import api, door, patience
from serving.api import State, create_app
from serving.pool import Pool

BODY = b'{"customers": [{"customer_id": "1010"}]}'


async def ask(app, body=BODY, receive=None, path="/score"):
    """(status, headers, body) of one request, straight to the application."""
    sent = []
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def give():
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def take(message):
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    await app({"type": "http", "method": "POST", "path": path, "root_path": "", "query_string": b"", "headers": headers}, receive or give, take)
    return sent[0]["status"], {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}, sent[1].get("body", b"")


@pytest.fixture
def latch(monkeypatch):
    """Work on threads waits until it is opened; everything is work for threads."""
    opened, plain = threading.Event(), api._decoded

    def wait(*given):
        opened.wait(20)
        return plain(*given)

    monkeypatch.setattr(api, "_decoded", wait)
    monkeypatch.setattr(api, "_ROWS_AT_ONCE", 0)
    yield opened
    opened.set()


async def until(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come")


def test_f15_where_all_places_are_taken_the_answer_is_503_at_once_and_who_was_let_in_is_served(base, latch):
    async def story():
        pool = Pool(threads=1, waiting=2, seconds=20)
        app = create_app(State(base, pool=pool))
        let_in = [asyncio.create_task(ask(app)) for _ in range(3)]
        await until(lambda: pool.taken == 3)
        for _ in range(5):
            status, headers, raw = await asyncio.wait_for(ask(app), 1)
            assert status == 503 and headers["retry-after"] == "1" and headers["content-type"] == "application/problem+json" and b"request_id" in raw
        latch.set()
        assert [status for status, _, _ in await asyncio.gather(*let_in)] == [200] * 3
        await until(lambda: pool.taken == 0)
        assert (await ask(app))[0] == 200

    asyncio.run(story())


def test_f16_over_the_deadline_the_answer_is_504_and_the_place_is_held_until_the_work_ends(base, latch):
    async def story():
        pool = Pool(threads=1, waiting=1, seconds=0.2)
        app = create_app(State(base, pool=pool))
        first, second = await asyncio.gather(ask(app), ask(app))
        assert first[0] == second[0] == 504 and b"longer than 0.2 seconds" in first[2]
        # The one at work holds its place, the one that had not begun never will.
        await until(lambda: pool.taken == 1)
        latch.set()
        await until(lambda: pool.taken == 0)
        assert (await ask(app))[0] == 200

    asyncio.run(story())


@pytest.mark.parametrize("path", ["/score", "/audience"])
def test_f17_a_body_that_does_not_come_is_408_and_others_are_served_meanwhile(base, monkeypatch, path):
    monkeypatch.setattr(door, "BODY_SECONDS", 0.3)

    async def story():
        app = create_app(State(base))

        async def half():
            await asyncio.sleep(0 if half.fresh else 60)
            half.fresh = False
            return {"type": "http.request", "body": b'{"custo', "more_body": True}

        half.fresh = True
        slow = [asyncio.create_task(ask(app, receive=half, path=path)) for _ in range(50)]
        await asyncio.sleep(0.05)
        assert [(await ask(app))[0] for _ in range(5)] == [200] * 5
        cut = await asyncio.wait_for(asyncio.gather(*slow), 5)
        assert {status for status, _, _ in cut} == {408} and cut[0][1]["connection"] == "close" and b"within 0.3 seconds" in cut[0][2]

    asyncio.run(story())


def test_f17_headers_that_do_not_end_end_the_connection_and_slow_bodies_do_not(base, monkeypatch):
    monkeypatch.setattr(patience, "HEADER_SECONDS", 0.3)
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", uvicorn.config.HTTP_PROTOCOLS["auto"])
    patience.install()
    app = create_app(State(base))

    async def under_v1(scope, receive, send):
        await app({**scope, "root_path": "/v1"}, receive, send)

    async def story():
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            server = uvicorn.Server(uvicorn.Config(under_v1, log_config=None, lifespan="off"))
            serving = asyncio.create_task(server.serve([listening]))
            await until(lambda: server.started)

            async def talk(*parts, pause=0.0):
                reader, writer = await asyncio.open_connection(*listening.getsockname())
                try:
                    for part in parts:
                        writer.write(part)
                        await asyncio.sleep(pause)
                    return await asyncio.wait_for(reader.read(100), 5)
                except ConnectionError:
                    return b""
                finally:
                    writer.close()

            head = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(BODY)
            cut = asyncio.gather(talk(), talk(head), talk(*[head[i:i + 5] for i in range(0, 30, 5)], pause=0.1))
            slow = asyncio.create_task(talk(head + b"\r\n", BODY[:10], BODY[10:], pause=0.4))
            assert (await talk(head + b"\r\n" + BODY)).startswith(b"HTTP/1.1 200")
            assert await cut == [b"", b"", b""]
            assert (await slow).startswith(b"HTTP/1.1 200")
            server.should_exit = True
            await serving

    asyncio.run(story())


def test_f15_so_many_requests_are_held_at_once(base, monkeypatch):
    monkeypatch.setattr(door, "MOST_AT_ONCE", 3)

    async def story():
        app, gate = create_app(State(base)), asyncio.Event()

        async def waiting():
            await gate.wait()
            return {"type": "http.request", "body": BODY, "more_body": False}

        held = [asyncio.create_task(ask(app, receive=waiting)) for _ in range(3)]
        await until(lambda: app.inside == 3)
        status, headers, _ = await ask(app)
        assert status == 503 and headers["retry-after"]
        gate.set()
        assert [status for status, _, _ in await asyncio.gather(*held)] == [200] * 3
        assert (await ask(app))[0] == 200 and app.inside == 0

    asyncio.run(story())


def test_f18_what_comes_in_parts_without_a_length_is_cut_at_the_limit(base):
    held = 0

    async def story():
        async def parts():
            nonlocal held
            held += 1
            return {"type": "http.request", "body": b" " * 2**20, "more_body": True}

        status, _, raw = await ask(create_app(State(base)), receive=parts)
        assert status == 413 and held == door.MAX_BODY_BYTES // 2**20 + 1 and b"must not be larger" in raw

    asyncio.run(story())


def test_f38_a_fork_scores_by_itself(base):
    import multiprocessing

    row = base.tasks["churn"].x[:3]
    expected = base.tasks["churn"].model.log_odds(row).tolist()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=lambda: theirs.send([base.tasks["churn"].model.log_odds(row[:1]).tolist(), base.tasks["churn"].model.log_odds(row).tolist()]))
    child.start()
    try:
        assert ours.poll(10), "it hangs"
        assert ours.recv() == [expected[:1], expected]
    finally:
        child.join(5)
        child.kill()
