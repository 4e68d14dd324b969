from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import hyperparameters
from training.hyperparameters import BY_NAME, FIELDS, FieldType, defaults, validate


def test_every_default_is_valid_and_comes_back_unchanged() -> None:
    assert validate(defaults()) == (defaults(), [])
    assert validate({}) == (defaults(), [])


def test_table_is_fit_for_a_form() -> None:
    assert len(BY_NAME) == len(FIELDS)
    for field in FIELDS:
        assert field.label, field.name
        assert field.help.endswith("."), field.name
        if field.type in (FieldType.INT, FieldType.FLOAT):
            assert field.minimum is not None, field.name
            assert field.maximum is not None, field.name
        assert bool(field.choices) == (field.type is FieldType.CHOICE), field.name
    json.dumps([field.to_json() for field in FIELDS], allow_nan=False)


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("learning_rate", math.nan, "finite"),
        ("learning_rate", math.inf, "finite"),
        ("learning_rate", "2e-4", "a number, not a text"),
        ("learning_rate", 2, "between 1e-08 and 1"),
        ("r", True, "whole number"),
        ("r", 8.5, "whole number"),
        ("r", 0, "between 1 and 1,024"),
        ("r", None, "not empty"),
        pytest.param("r", 10**5000, "very large", id="huge"),
        ("max_steps", 0, "-1"),
        ("packing", 1, "true or false"),
        ("optim", "adam", "one of adamw_torch"),
        ("quantization", ["4bit"], "not a list"),
        ("target_modules", "q_proj,(", "regular expression"),
        ("target_modules", ["q_proj", "lm_head"], "lm_head"),
        ("target_modules", [], "between 1 and 200"),
        ("target_modules", [3], "q_proj"),
        ("lerning_rate", 1, "Did you mean learning_rate?"),
        ("max_seq_length", 1, "Did you mean max_length?"),
        ("zzz", 1, "not a known hyperparameter"),
    ],
)
def test_refusals_are_sentences(name: str, value: Any, part: str) -> None:
    clean, problems = validate({name: value})
    assert [field for field, _ in problems] == [name]
    sentence = problems[0][1]
    assert part in sentence
    assert sentence.endswith((".", "?"))
    assert clean == defaults()


@pytest.mark.parametrize(
    ("given_value", "kept"),
    [
        ("all-linear", "all-linear"),
        (" q_proj, v_proj ", ["q_proj", "v_proj"]),
        ("q_proj", ["q_proj"]),
        (["q_proj"], ["q_proj"]),
        (r".*\.(q|v)_proj", r".*\.(q|v)_proj"),
    ],
)
def test_target_modules(given_value: Any, kept: Any) -> None:
    assert validate({"target_modules": given_value})[0]["target_modules"] == kept


def test_values_are_brought_to_one_type() -> None:
    clean, problems = validate({"r": 8.0, "learning_rate": 1, "bf16": True}, complete=False)
    assert problems == []
    assert clean == {"r": 8, "learning_rate": 1.0, "bf16": "true"}
    assert type(clean["r"]) is int
    assert type(clean["learning_rate"]) is float


def test_values_that_do_not_go_together() -> None:
    assert validate({"max_steps": 10, "warmup_steps": 20})[1][0][0] == "warmup_steps"
    assert validate({"warmup_steps": 1.5})[1][0][0] == "warmup_steps"
    assert validate({"max_length": 64, "sample_max_new_tokens": 96})[1][0][0] == "sample_max_new_tokens"
    assert validate({"parallelism": "fsdp", "quantization": "4bit"})[1][0][0] == "parallelism"
    assert validate({"parallelism": "zero3", "quantization": "8bit"})[1][0][0] == "parallelism"
    assert validate({"parallelism": "zero2", "optim": "paged_adamw_8bit"})[1][0][0] == "optim"
    assert validate({"parallelism": "ddp", "quantization": "4bit", "optim": "adamw_8bit"})[1] == []


@given(st.dictionaries(st.sampled_from(sorted(BY_NAME)) | st.text(max_size=12), st.from_type(object), max_size=6))
def test_anything_is_either_clean_or_refused(values: dict[str, Any]) -> None:
    clean, problems = validate(values)
    assert set(clean) == set(BY_NAME)
    again, _ = validate(clean)
    assert again == clean
    assert all(sentence for _, sentence in problems)


def test_trainer_versions_are_pinned() -> None:
    lines = (Path(hyperparameters.__file__).parent / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert wanted[0].startswith("torch==")
    assert all("==" in line for line in wanted)
