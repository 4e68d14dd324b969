from __future__ import annotations

from channels.testing import WebsocketCommunicator

from pipeline.config.asgi import application


async def test_a_socket_at_an_unknown_address_is_refused_without_an_error() -> None:
    communicator = WebsocketCommunicator(application, "/ws/admin/", headers=[(b"origin", b"http://127.0.0.1:8000")])
    accepted, _ = await communicator.connect()
    assert not accepted
