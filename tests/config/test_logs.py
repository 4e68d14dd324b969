import json
import logging
import sys

import pytest

from pipeline.config.logs import JsonLines, TextLines, redact
from pipeline.providers.base import Account
from pipeline.providers.secrecy import discreet

SECRET = "Zm9vYmFyYmF6cXV4"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}",
        f"headers={{'authorization': 'bearer {SECRET}'}}",
        f"Basic {SECRET}",
        f"token stk_u_{SECRET} was used",
        f"rpa_{SECRET}",
        f"hf_{SECRET}",
        f"rps_{SECRET}",
        f"Authorization: {SECRET}",
        f"{{'Authorization': '{SECRET}'}}",
        f'{{"x-api-key": "{SECRET}"}}',
        f"Proxy-Authorization: Basic {SECRET}",
        f"POST /graphql?api_key={SECRET} HTTP/1.1",
        f"https://gpu.example.org/x?access_token={SECRET}&page=2",
        f"https://gpu.example.org/x?page=2&key={SECRET}",
        f"https://s3.example/b/k?X-Amz-Signature={SECRET}&x=1",
        f"GET /files/lora-datasets/{SECRET}:1abc:sig HTTP/1.1",
        f"GET /files/artifacts/{SECRET}",
        f"GET /sign-in/once/{SECRET}/",
        f"redis://:{SECRET}@host:6379/0",
        f"postgresql://me:{SECRET}@host/stoker",
    ],
)
def test_credentials_are_blotted_out(text):
    assert SECRET not in redact(text)


def test_the_rest_of_a_line_stays():
    line = "job 4f8c of owner@example.org: step 12, loss 0.4321, see https://host/jobs/4f8c/?tab=logs"
    assert redact(line) == line


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()])
def test_the_key_a_provider_is_called_with_is_hidden_whatever_it_looks_like(formatter):
    class Talkative:
        name = "talkative"

        def __init__(self, account):
            self.account = account

        def offers(self):
            return formatter.format(logging.LogRecord("x", 10, "", 1, "key %s", (self.account.secret,), None))

    assert "plain-looking" not in discreet(Talkative)(Account("1", "plain-looking")).offers()
    assert redact("plain-looking") == "plain-looking"


def _record(**kwargs):
    return logging.LogRecord("stoker.test", logging.ERROR, __file__, 1, "said %s", (f"Bearer {SECRET}",), **kwargs)


def test_tracebacks_are_covered_too():
    try:
        raise ValueError(f"Bearer {SECRET}")
    except ValueError:
        record = _record(exc_info=sys.exc_info())
    text, line = TextLines().format(record), JsonLines().format(record)
    assert "ValueError" in text
    assert SECRET not in text + line


def test_a_json_line_has_a_fixed_set_of_fields():
    line = json.loads(JsonLines().format(_record(exc_info=None)))
    assert set(line) == {"at", "level", "logger", "message", "process"}
    assert line["message"] == "said Bearer [hidden]"
