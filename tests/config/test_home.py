import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.config import home


def test_a_generated_file_is_made_once_and_for_its_owner_only(tmp_path):
    first = home.secret_key(tmp_path)
    assert home.secret_key(tmp_path) == first
    assert len(first) >= 50
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600


def test_processes_that_start_together_agree_on_it(tmp_path):
    with ThreadPoolExecutor(16) as threads:
        values = set(threads.map(lambda n: home.write_once(tmp_path / "x", f"value {n}"), range(64)))
    assert len(values) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_the_installation_is_eight_hex_digits(tmp_path):
    assert len(home.installation(tmp_path)) == 8
    int(home.installation(tmp_path), 16)


def test_a_long_path_moves_the_socket_to_a_short_one():
    short, long = Path("/srv/stoker"), Path("/srv") / ("deep/" * 30)
    assert home.valkey_socket(short) == Path("/srv/stoker/valkey/valkey.sock")
    assert len(str(home.valkey_socket(long))) < 104
    assert home.valkey_socket(long) == home.valkey_socket(long)
    assert home.valkey_socket(long) != home.valkey_socket(long / "other")


@pytest.mark.parametrize(
    ("url", "third", "broker"),
    [
        ("redis://host:6379", "redis://host:6379/2", "redis://host:6379/0"),
        ("redis://host:6379/0", "redis://host:6379/2", "redis://host:6379/0"),
        (
            "rediss://:pass@host?ssl_cert_reqs=required",
            "rediss://:pass@host/2?ssl_cert_reqs=required",
            "rediss://:pass@host/0?ssl_cert_reqs=required",
        ),
        ("unix:///run/v.sock", "unix:///run/v.sock?db=2", "redis+socket:///run/v.sock?virtual_host=0"),
    ],
)
def test_each_use_of_redis_has_a_numbered_database(url, third, broker):
    assert home.redis_database(url, 2) == third
    assert home.celery_url(url, 0) == broker
