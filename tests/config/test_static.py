import asyncio

import pytest

from pipeline.config.static import StaticFiles


@pytest.fixture
def application(tmp_path):
    (tmp_path / "js").mkdir()
    (tmp_path / "js" / "page.js").write_text("export const page = 1;\n" * 50)
    (tmp_path / "js" / "page.js.gz").write_bytes(b"\x1f\x8bsmall")

    async def pages(scope, receive, send):
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    return StaticFiles(pages, folder=tmp_path, prefix="/static/abc/")


def get(application, path, method="GET", **headers):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request"}

    scope = {
        "type": "http",
        "path": path,
        "method": method,
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(application(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}, body


def test_a_file_may_be_kept_for_ever(application):
    status, headers, body = get(application, "/static/abc/js/page.js")
    assert (status, int(headers["content-length"])) == (200, len(body))
    assert headers["content-type"].startswith("text/javascript")
    assert "immutable" in headers["cache-control"]
    assert headers["x-content-type-options"] == "nosniff"


def test_a_browser_that_can_unpack_gets_the_small_one(application):
    _, headers, body = get(application, "/static/abc/js/page.js", accept_encoding="gzip, br")
    assert (headers["content-encoding"], body) == ("gzip", b"\x1f\x8bsmall")


def test_head_and_conditional_requests_send_no_body(application):
    status, headers, body = get(application, "/static/abc/js/page.js", method="HEAD")
    assert (status, body) == (200, b"")
    again = get(application, "/static/abc/js/page.js", if_modified_since=headers["last-modified"])
    assert (again[0], again[2]) == (304, b"")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/static/abc/js/none.js", "GET", 404),
        ("/static/abc/../settings.py", "GET", 404),
        ("/static/abc/js/page.js", "POST", 405),
        ("/static/old/js/page.js", "GET", 299),
        ("/jobs/", "GET", 299),
    ],
)
def test_everything_else_is_refused_or_left_to_the_pages(application, path, method, status):
    assert get(application, path, method)[0] == status
