"""What there is to choose from."""

from __future__ import annotations

import pytest

from pipeline.models import Preset
from pipeline.providers.base import Unavailable
from training import hyperparameters as table


def test_three_presets_with_one_default(owner):
    presets = owner.api.get("/api/presets/").json()
    assert [(p["name"], p["is_default"]) for p in presets] == [
        ("Quick test", False),
        ("Balanced", True),
        ("High quality", False),
    ]


def test_every_preset_is_one_that_a_run_takes(db):
    for preset in Preset.objects.all():
        preset.full_clean()
        assert set(preset.hyperparameters) <= set(table.BY_NAME)


def test_a_preset_shows_all_values_a_job_would_have(owner):
    preset = owner.api.get("/api/presets/high-quality/").json()
    assert preset["values"]["r"] == 64
    assert set(preset["values"]) == set(table.BY_NAME)


def test_hyperparameters_are_the_table(owner):
    rows = owner.api.get("/api/hyperparameters/").json()
    assert [row["name"] for row in rows] == [field.name for field in table.FIELDS]
    assert rows[0]["default"] == 2e-4


def test_models_on_this_machine_come_first(owner, settings, tmp_path):
    settings.STOKER_MODELS_DIR = tmp_path
    for name in ("acme/tiny", "HuggingFaceTB/SmolLM2-135M-Instruct"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    models = owner.api.get("/api/base-models/").json()
    here = [(m["id"], m["parameters"]) for m in models if m["on_this_machine"]]
    assert here == [("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008), ("acme/tiny", None)]
    assert [m["id"] for m in models[:2]] == [name for name, _ in here]
    assert len({m["id"] for m in models}) == len(models)


def test_a_missing_models_folder_is_fine(owner, settings, tmp_path):
    settings.STOKER_MODELS_DIR = tmp_path / "none"
    assert not any(m["on_this_machine"] for m in owner.api.get("/api/base-models/").json())


def test_providers_show_their_offers(owner):
    (provider,) = owner.api.get("/api/providers/").json()
    assert provider["available"] is True
    assert provider["offers"][0]["price_per_hour"] == 3.6


class Broken:
    name, label, simulated, needs_account = "broken", "Broken", False, False

    def __init__(self, account: object = None) -> None: ...

    def offers(self):
        raise Unavailable("The broken provider does not answer.")


def test_a_provider_that_does_not_answer_says_so_and_spoils_nothing(owner, settings):
    settings.STOKER_PROVIDERS = {"broken": f"{__name__}.Broken", **settings.STOKER_PROVIDERS}
    broken, scripted = owner.api.get("/api/providers/").json()
    assert (broken["available"], broken["problem"]) == (False, "The broken provider does not answer.")
    assert broken["offers"] == []
    assert scripted["available"] is True


@pytest.mark.parametrize("name", ["local", "simulated"])
def test_the_built_in_providers_can_be_shown(owner, settings, name):
    settings.STOKER_PROVIDERS = {
        "local": "pipeline.providers.local.LocalProvider",
        "simulated": "pipeline.providers.simulated.SimulatedProvider",
    }
    shown = {p["name"]: p for p in owner.api.get("/api/providers/").json()}
    assert shown[name]["offers"]
    assert shown[name]["simulated"] == (name == "simulated")


def test_a_provider_with_accounts_says_whether_you_have_one(owner, stranger, things):
    mine = {p["name"]: p for p in owner.api.get("/api/providers/").json()}["rented"]
    assert (mine["has_account"], mine["available"]) == (True, True)
    theirs = {p["name"]: p for p in stranger.api.get("/api/providers/").json()}["rented"]
    assert (theirs["needs_account"], theirs["has_account"], theirs["offers"]) == (True, False, [])
    assert "Add one under Settings" in theirs["problem"]
