from __future__ import annotations

import pytest

from training import parallel
from training.failures import RunError
from training.hyperparameters import BY_NAME
from training.parallel import Parallelism, arguments, chosen, deepspeed_config


def test_choices_of_the_form_are_those_of_the_program() -> None:
    assert BY_NAME["parallelism"].choices == tuple(Parallelism)


@pytest.mark.parametrize("kind", list(Parallelism))
def test_one_process_shares_nothing(kind: Parallelism) -> None:
    assert chosen(kind, 1) is Parallelism.DDP
    assert chosen(kind, 2) is kind


def test_fsdp_saves_whole_files_and_recomputes_by_itself() -> None:
    found = arguments(Parallelism.FSDP, checkpointing=True)
    assert found["fsdp"] is True
    assert found["fsdp_config"]["state_dict_type"] == "FULL_STATE_DICT"
    assert (found["activation_checkpointing"], found["fsdp_config"]["activation_checkpointing"]) == (False, True)


def test_deepspeed_takes_sizes_and_formats_from_the_training_arguments() -> None:
    """DeepSpeed is not part of the test environment: the arguments are checked here, no DeepSpeed run is."""
    two, three = deepspeed_config(Parallelism.ZERO2), deepspeed_config(Parallelism.ZERO3)
    assert {value for key, value in two.items() if key.startswith(("train_", "gradient_"))} == {"auto"}
    assert two["bf16"] == two["fp16"] == {"enabled": "auto"}
    assert (two["zero_optimization"]["stage"], three["zero_optimization"]["stage"]) == (2, 3)
    # Without it only shares of the adapter could be saved.
    assert three["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert not any(key.startswith("stage3_") for key in two["zero_optimization"])


def test_zero3_computes_activations_again_in_the_way_it_can() -> None:
    assert arguments(Parallelism.ZERO3, checkpointing=True)["activation_checkpointing_kwargs"] == {
        "use_reentrant": True
    }
    assert "activation_checkpointing_kwargs" not in arguments(Parallelism.ZERO2, checkpointing=True)
    assert "activation_checkpointing_kwargs" not in arguments(Parallelism.ZERO3, checkpointing=False)


def test_missing_deepspeed_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel.importlib.util, "find_spec", lambda name: None)
    for kind in (Parallelism.ZERO2, Parallelism.ZERO3):
        with pytest.raises(RunError, match=f"{kind} needs DeepSpeed.*pip install deepspeed=="):
            parallel.require(kind)
    parallel.require(Parallelism.DDP)
    parallel.require(Parallelism.FSDP)
