from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.config.env import Env, Refused


def test_what_is_unset_or_empty_gets_the_default():
    env = Env({"PORT": "", "DEBUG": "  "})
    assert env.integer("PORT", 8000) == 8000
    assert env.flag("DEBUG") is False
    assert env.text("NAME", "x") == "x"
    assert env.decimal("PRICE", "0.5") == Decimal("0.5")
    assert env.names_list("HOSTS", ("a",)) == ["a"]


def test_values_are_read_as_their_type():
    env = Env({"A": "on", "B": "No", "C": " 12 ", "D": "0.79", "E": "a, b,,c ", "F": "~/x", "G": "rel"})
    assert env.flag("A") is True
    assert env.flag("B", True) is False
    assert env.integer("C", 0) == 12
    assert env.decimal("D", "0") == Decimal("0.79")
    assert env.names_list("E") == ["a", "b", "c"]
    assert env.path("F", Path("/")) == Path.home() / "x"
    assert env.path("G", Path("/")) == Path.cwd() / "rel"
    assert env.url("U", "https://host.example:8443/") == "https://host.example:8443"


@pytest.mark.parametrize(
    ("read", "value", "sentence"),
    [
        (lambda e: e.flag("X"), "maybe", "X is 'maybe', but it must be yes or no"),
        (lambda e: e.integer("X", 1), "1.5", "X is '1.5', but it must be a whole number"),
        (lambda e: e.integer("X", 1, least=1), "0", "X is 0, but it must be 1 or more"),
        (lambda e: e.integer("X", 1, most=65535), "70000", "X is 70000, but it must be 65535 or less"),
        (lambda e: e.decimal("X", "0"), "cheap", "X is 'cheap', but it must be a number such as 0.79"),
        (lambda e: e.decimal("X", "0"), "NaN", "X is 'NaN', but it must be a finite number"),
        (lambda e: e.decimal("X", "0", least=0), "-1", "X is -1, but it must be 0 or more"),
        (lambda e: e.url("X", ""), "ftp://host", "X is 'ftp://host', but it must begin with http:// or https://"),
        (lambda e: e.url("X", ""), "http://host:99999", "X is 'http://host:99999', which is not an address"),
        (lambda e: e.redis("X"), "http://host", "X is 'http://host', but it must begin with redis:// or rediss://"),
        (lambda e: e.redis("X"), "redis://host/3", "X asks for database 3, but the databases 0, 1 and 2"),
        (lambda e: e.choice("X", "a", ("a", "b")), "c", "X is 'c', but it must be one of: a, b"),
        (lambda e: e.database("X", ""), "sqlite:///x.db", "X begins with 'sqlite', but only PostgreSQL is supported"),
        (lambda e: e.database("X", ""), "postgresql://host", "X names no database"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(read, value, sentence):
    with pytest.raises(Refused) as refused:
        read(Env({"X": value}))
    assert sentence in str(refused.value)


def test_a_refusal_never_repeats_a_secret():
    with pytest.raises(Refused) as refused:
        Env({"KEY": "hunter2"}).secret("KEY", "", least_length=50)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(Refused) as refused:
        Env({"X": "amqp://me:hunter2@host"}).redis("X")
    assert "hunter2" not in str(refused.value)


KEY, OLDER = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "//////////////////////////////////////////8="


@pytest.mark.parametrize("value", [f"{KEY},{OLDER}", f" {KEY} , {OLDER} ", f"{KEY},{OLDER.replace('/', '_')}"])
def test_a_ring_of_keys_has_the_newest_first(value):
    assert Env({"X": value}).keys("X", "", size=32) == [bytes(32), b"\xff" * 32]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("hunter2!", "Key 1 of X is not base64"),
        (f"{KEY},hunter2!", "Key 2 of X is not base64"),
        (f"{KEY},", "Key 2 of X has 0 bytes, but it must have 32"),
        ("aHVudGVyMg==", "Key 1 of X has 7 bytes"),
        ("\u0661" * 44, "Key 1 of X is not base64"),
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(value, sentence):
    with pytest.raises(Refused) as refused:
        Env({"X": value}).keys("X", "", size=32)
    assert sentence in str(refused.value)
    assert "openssl rand -base64 32" in str(refused.value)
    assert not any(part in str(refused.value) for part in ("hunter2", "aHVudGVyMg", KEY))


def test_addresses_are_parted_by_commas():
    assert Env({"X": "http://10.0.0.5:8080, https://gpu.lan/"}).urls("X") == ["http://10.0.0.5:8080", "https://gpu.lan"]
    assert Env({}).urls("X") == []
    with pytest.raises(Refused, match=r"X is 'gpu\.lan', but it must begin with http"):
        Env({"X": "https://a.example,gpu.lan"}).urls("X")


def test_a_database_address_is_taken_apart():
    env = Env({"X": "postgresql://me:p%40ss@db.example:6432/stoker?sslmode=require"})
    settings = env.database("X", "")
    assert settings == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "stoker",
        "USER": "me",
        "PASSWORD": "p@ss",
        "HOST": "db.example",
        "PORT": "6432",
        "OPTIONS": {"sslmode": "require"},
    }


def test_a_database_may_be_behind_a_unix_socket():
    settings = Env({"X": "postgresql:///stoker?user=postgres&host=/run/a+b"}).database("X", "")
    assert (settings["HOST"], settings["USER"], settings["NAME"]) == ("/run/a+b", "postgres", "stoker")
    assert "OPTIONS" not in settings
