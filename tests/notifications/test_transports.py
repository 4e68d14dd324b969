"""Each way a message travels, against real servers on localhost, and where none of them goes."""

from __future__ import annotations

import base64
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifications import addresses, destinations, outbox, telling
from notifications.models import Destination
from notifications.transports import apprise, posting, transport, webhook
from notifications.transports.base import Address, BadAddress, NotDelivered
from pipeline.services.errors import InvalidInput
from tests.fakes.receiver import FakeReceiver, verify
from tests.fakes.smtp import FakeMailServer
from tests.notifications.conftest import add, the

pytestmark = pytest.mark.django_db


@pytest.fixture
def mail(settings: Any) -> Iterator[FakeMailServer]:
    with FakeMailServer() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", server.port, False
        settings.DEFAULT_FROM_EMAIL = "stoker@example.org"
        yield server


def send() -> int:
    return outbox.send_due(threads=1)


class TestEmail:
    @pytest.fixture
    def inbox(self, owner: Any, mail: FakeMailServer) -> Destination:
        return destinations.add(owner.user, kind="email", name="Inbox", address="ada@example.org")[0]

    def test_a_message_in_text_and_html_with_a_link(self, inbox, notify, mail):
        notification = notify(title="Bot <3 is done\nnow", message="Loss 2 → 1 & falling.", action_url="/jobs/1/")
        assert send() == 1
        (message,) = mail.messages
        assert mail.recipients == ["ada@example.org"]
        assert (message["Subject"], message["From"]) == ("Bot <3 is done now", "stoker@example.org")
        assert notification.pk.hex in message["Message-ID"]
        assert message["Auto-Submitted"] == "auto-generated"
        text, html = (message.get_body((kind,)).get_content() for kind in ("plain", "html"))
        assert "Loss 2 → 1 & falling." in text
        assert "http://127.0.0.1:8000/jobs/1/" in text
        assert "/settings/notifications/" in text
        assert "Bot &lt;3 is done" in html
        assert "Loss 2 → 1 &amp; falling." in html

    @pytest.mark.parametrize(("refusal", "state"), [("550 no such user", "dead"), ("451 greylisted", "failed")])
    def test_a_refused_recipient_is_final_or_not(self, inbox, notify, mail, refusal, state):
        mail.refuse = refusal
        delivery = the(notify())
        send()
        delivery.refresh_from_db()
        assert delivery.state == state
        assert refusal[:3] in delivery.last_error

    def test_a_server_that_is_down_is_tried_again(self, inbox, notify, settings):
        settings.EMAIL_PORT = 1
        delivery = the(notify())
        send()
        delivery.refresh_from_db()
        assert (delivery.state, delivery.last_error) == ("failed", "The mail server could not be reached.")

    @pytest.mark.parametrize("address", ["", "ada", "ada@", "a@example.org\nBcc: b@example.org", "a@b.c, d@e.f"])
    def test_what_is_no_address_is_refused(self, owner, mail, address):
        with pytest.raises(InvalidInput, match="not an e-mail address"):
            destinations.add(owner.user, kind="email", name="x", address=address)

    def test_without_a_mail_server_nobody_can_choose_it(self, owner, settings):
        settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
        with pytest.raises(InvalidInput, match="EMAIL_HOST"):
            destinations.add(owner.user, kind="email", name="x", address="ada@example.org")


class TestWebhook:
    def test_the_body_and_a_signature_that_others_can_check(self, owner, receiver, notify):
        _, secret = destinations.add(owner.user, kind="webhook", name="x", address=f"{receiver.url}/in?k=v")
        notification = notify(title="Fertig ✓", priority="high", action_url="/jobs/1/", metadata={"loss": 0.5})
        send()
        (taken,) = receiver.taken
        assert taken.path == "/in?k=v"
        assert taken.json == {
            "type": "job_completed",
            "timestamp": notification.created_at.isoformat().replace("+00:00", "Z"),
            "data": {
                "id": str(notification.pk), "title": "Fertig ✓", "message": "Loss fell.", "priority": "high",
                "url": "http://127.0.0.1:8000/jobs/1/", "job": None, "metadata": {"loss": 0.5},
            },
        }  # fmt: skip
        assert re.fullmatch(r"whsec_[A-Za-z0-9+/=]{44}", secret)
        assert verify(taken, secret, time.time())
        assert not verify(taken, secret, time.time() + 301)
        assert not verify(taken, webhook.new_secret(), time.time())
        assert not verify(type(taken)(taken.path, taken.headers, taken.body + b" "), secret, time.time())

    def test_the_example_of_the_specification(self):
        secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        body = b'{"test": 2432232314}'
        made = webhook.headers(body, "msg_p5jXN8AQM9LWM0D4loKWxJek", (secret,), 1614265330)
        assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

    def test_while_a_secret_is_changed_both_sign(self, owner, receiver, notify):
        destination, old = destinations.add(owner.user, kind="webhook", name="x", address=receiver.url)
        new = destinations.change_secret(destination)
        notify()
        send()
        assert [verify(receiver.taken[-1], key, time.time()) for key in (old, new)] == [True, True]
        Destination.objects.update(old_secret_until="2020-01-01T00:00Z")
        notify()
        send()
        assert [verify(receiver.taken[-1], key, time.time()) for key in (old, new)] == [False, True]
        newest = destinations.change_secret(Destination.objects.get())
        assert addresses.opened(Destination.objects.get()).secrets == (newest, new)


class TestSlackAndDiscord:
    def test_slack_gets_a_text_that_calls_nobody(self, owner, receiver, notify):
        add(owner.user, receiver, "slack")
        notify(title="<!channel> a & b", message="x" * 4000, priority="high", action_url="/jobs/1/")
        send()
        text = receiver.taken[0].json["text"]
        assert text.startswith(":warning: *&lt;!channel&gt; a &amp; b*\n")
        assert text.endswith("\n<http://127.0.0.1:8000/jobs/1/|Open in Stoker>")
        assert len(text) < 3200

    def test_discord_gets_a_card_that_calls_nobody(self, owner, receiver, notify):
        add(owner.user, receiver, "discord")
        notify(title="@everyone", message="Loss fell.", action_url="/jobs/1/")
        send()
        body = receiver.taken[0].json
        (card,) = body["embeds"]
        assert (card["title"], card["description"]) == ("@everyone", "Loss fell.")
        assert card["url"] == "http://127.0.0.1:8000/jobs/1/"
        assert body["allowed_mentions"] == {"parse": []}

    @pytest.mark.parametrize("kind", ["slack", "discord"])
    def test_a_webhook_that_was_removed_there_is_not_tried_again(self, owner, receiver, notify, kind):
        add(owner.user, receiver, kind)
        receiver.answers = [404]
        delivery = the(notify())
        send()
        delivery.refresh_from_db()
        assert (delivery.state, delivery.response_status) == ("dead", 404)


@pytest.mark.parametrize("kind", ["slack", "discord", "webhook"])
@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/hook", "https://127.0.0.1/hook", "https://169.254.169.254/latest", "https://[::1]/x",
        "https://[64:ff9b::a9fe:a9fe]/", "https://[2002:a9fe:a9fe::]/", "https://224.0.0.1/", "https://100.64.0.1/",
        "https://example.org:8443/", "https://u:p@example.org/", "file:///etc/passwd", "gopher://x", "x", "",
        "https://exa mple.org/", "https://localhost/", "https://2130706433/", "https://" + "a" * 1000,
    ],
)  # fmt: skip
def test_addresses_inside_the_network_are_refused(owner, kind, address):
    with pytest.raises(InvalidInput) as refused:
        destinations.add(owner.user, kind=kind, name="x", address=address)
    assert refused.value.errors[0].field == "address"


def test_a_name_that_leads_inside_later_is_caught_when_it_is_sent(owner, notify, monkeypatch):
    """Rebinding: the host was public when its address was saved."""
    monkeypatch.setattr(posting.outside, "check_url", lambda url: None)
    destinations.add(owner.user, kind="webhook", name="x", address="https://localhost/hook")
    delivery = the(notify())
    send()
    delivery.refresh_from_db()
    assert delivery.state == "dead"
    assert "this server itself" in delivery.last_error


@pytest.mark.parametrize("address", ["https://nowhere.invalid/secret-path"])
def test_no_sentence_repeats_the_address(address):
    with pytest.raises(NotDelivered) as failed:
        posting.post(address, {})
    assert str(failed.value) == "There is no host of that name now."
    assert failed.value.__cause__ is None


class TestApprise:
    @pytest.fixture
    def allowed(self, settings: Any) -> None:
        settings.STOKER_APPRISE_SCHEMES = ["json"]

    def there(self, receiver: FakeReceiver, rest: str = "") -> str:
        return receiver.url.replace("http://", "json://") + f"/secret-token{rest}"

    def test_a_service_that_the_operator_allows(self, owner, receiver, notify, allowed):
        destination, secret = destinations.add(owner.user, kind="apprise", name="x", address=self.there(receiver))
        assert (destination.hint, secret) == ("json://…", "")
        delivery = the(notify(priority="high", action_url="/jobs/1/"))
        send()
        body = receiver.taken[0].json
        assert (body["title"], body["type"]) == ("It is done", "warning")
        assert body["message"] == "Loss fell.\nhttp://127.0.0.1:8000/jobs/1/"
        delivery.refresh_from_db()
        assert delivery.state == "delivered"

    def test_a_failure_says_what_apprise_says_without_the_address(self, owner, receiver, notify, allowed):
        destinations.add(owner.user, kind="apprise", name="x", address=self.there(receiver))
        receiver.answers = [503]
        delivery = the(notify())
        send()
        delivery.refresh_from_db()
        assert delivery.state == "failed"
        assert "error=503" in delivery.last_error
        assert "secret-token" not in delivery.last_error

    def test_an_address_cannot_ask_for_redirects_or_unchecked_certificates(self, receiver, notify, allowed):
        service = apprise._service(self.there(receiver, "?verify=no&redirect=yes&rto=600&cto=600"))
        assert (service.verify_certificate, service.redirects) == (True, False)
        assert (service.socket_connect_timeout, service.socket_read_timeout) == (5, 5)
        with FakeReceiver() as inner:
            receiver.answers = [(302, {"Location": inner.url})]
            with pytest.raises(NotDelivered):
                transport("apprise").send(Address(self.there(receiver)), notify_message(notify))
            assert not inner.taken

    @pytest.mark.parametrize(
        "address",
        [
            "json://127.0.0.1/x", "xml://127.0.0.1", "form://127.0.0.1", "file:///etc/passwd", "syslog://", "ntfy://h/t",
            "mailto://u:p@h.org", "apprise://h/t", "dbus://", "windows://", "https://discord.com/api/webhooks/1/x", "x",
            "JSON://127.0.0.1/x", " json://127.0.0.1/x", "tgram://", "tgram://1:a/b\nc", "matrix://u:p@127.0.0.1",
        ],
    )  # fmt: skip
    def test_others_are_refused(self, address):
        with pytest.raises(BadAddress):
            transport("apprise").check(address)

    def test_what_an_operator_forbids_again_is_not_called(self, owner, receiver, notify, allowed, settings):
        destinations.add(owner.user, kind="apprise", name="x", address=self.there(receiver))
        settings.STOKER_APPRISE_SCHEMES = []
        delivery = the(notify())
        send()
        delivery.refresh_from_db()
        assert delivery.state == "dead"
        assert not receiver.taken

    def test_a_service_of_the_list_is_accepted(self):
        checked = transport("apprise").check("tgram://123456789:abcdefg_hijklmnopqrstuvwxyzabcdefgh/12315544/")
        assert checked.hint == "tgram://…"

    @pytest.mark.parametrize("scheme", sorted(apprise.FIXED))
    def test_no_address_of_the_list_names_a_host(self, scheme):
        """In the plugin's own text each address it calls begins with a host that is written out."""
        plugin = apprise._library().plugins.N_MGR[scheme]
        tokens = set(re.findall(r"\{(\w+)\}", " ".join(plugin.templates)))
        assert not tokens & {"host", "hostname", "domain", "homeserver", "port"}
        source = Path(str(sys.modules[plugin.__module__].__file__)).read_text()
        hosts = re.findall(r"""["']https?://([^/"'?\s]*)""", source)
        assert hosts
        assert [host for host in hosts if "{" in host or not host] == []

    def test_it_is_imported_only_when_used(self):
        code = (
            "import django, sys; django.setup(); import notifications.transports, notifications.tasks, "
            "pipeline.config.urls; print([name for name in sys.modules if name == 'apprise'])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"

    def test_other_threads_are_not_heard(self, caplog):
        with apprise._heard() as said:
            thread = threading.Thread(target=lambda: logging.getLogger("apprise").warning("theirs"))
            thread.start()
            thread.join()
            logging.getLogger("apprise").warning("ours")
        assert said == ["ours"]


def notify_message(notify: Any) -> Any:
    return telling.message_of(notify())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120), ("-5", 0), ("", None), ("soon", None), ("nan", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_retry_after(text, seconds):
    assert posting.retry_after(text) == seconds


def test_keys_of_the_specification_are_plain_base64():
    assert len(base64.b64decode(webhook.new_secret().removeprefix("whsec_"))) == 32


def test_the_documented_check_accepts_our_messages(owner, receiver, notify):
    text = Path("docs/notifications.md").read_text()
    names: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    _, secret = destinations.add(owner.user, kind="webhook", name="x", address=receiver.url)
    notify()
    send()
    (taken,) = receiver.taken
    assert names["is_ours"](secret, taken.headers, taken.body)
    assert not names["is_ours"](secret, taken.headers, taken.body + b" ")
    assert not names["is_ours"](webhook.new_secret(), taken.headers, taken.body)
    assert not names["is_ours"](secret, taken.headers | {"webhook-timestamp": "1"}, taken.body)
