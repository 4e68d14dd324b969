"""Held-out prompts, answered with the adapter off and on, so that a person sees what the training changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from training import parallel
from training.contract import Sample
from training.families import as_text

BATCH = 8  # prompts answered at once
MAX_SHOWN = 8_000  # characters of one text that is reported
MAX_TURNS = 12  # of a prompt, the last ones


def json_value(text: str | None) -> Any:
    """The object or list that the text is, or None. A bare number or word is an ordinary answer, not JSON."""
    try:
        value = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def judge(answer: str | None, expected: str) -> tuple[bool | None, bool | None]:
    """Return (valid, exact). Valid is None when the expected answer is not JSON; both are when there is no answer."""
    if answer is None:
        return None, None
    wanted = json_value(expected)
    if wanted is None:
        return None, answer.strip() == expected.strip()
    got = json_value(answer)
    return got is not None, got == wanted


def as_sample(index: int, asked: dict[str, Any], before: str | None, after: str | None) -> Sample:
    prompt = asked["prompt"]
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    valid_before, exact_before = judge(before, asked["expected"])
    valid_after, exact_after = judge(after, asked["expected"])
    return Sample(
        index=index,
        prompt=[{"role": t["role"], "content": str(t.get("content") or "")[:MAX_SHOWN]} for t in turns[-MAX_TURNS:]],
        expected=asked["expected"][:MAX_SHOWN],
        before=before,
        after=after,
        valid_before=valid_before,
        valid_after=valid_after,
        exact_before=exact_before,
        exact_after=exact_after,
    )


def answers(
    model: Any,
    tokenizer: Any,
    asked: list[dict[str, Any]],
    max_new_tokens: int,
    max_length: int,
    give_up: Callable[[], bool],
    together: bool = False,
) -> list[str]:
    """Greedy answers, in the order of the prompts. Fewer than asked when `give_up()` turned true meanwhile.

    With `together` all processes must call this: each holds a part of the model and needs the others for every token.
    No autocast: it would convert all weights anew for each token, which doubled the time on a CPU.
    """
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class GiveUp(StoppingCriteria):  # type: ignore[misc,unused-ignore]
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            return torch.full((input_ids.shape[0],), give_up(), dtype=torch.bool, device=input_ids.device)

    encodes = bool(model.config.is_encoder_decoder)
    texts = [as_text(row["prompt"]) if encodes else _prompt_text(tokenizer, row) for row in asked]
    was_training, side = model.training, tokenizer.padding_side
    room = max(max_length - max_new_tokens, 16)
    found: list[str] = []
    model.eval()
    tokenizer.padding_side = tokenizer.truncation_side = "left"  # the end of a prompt is what is answered
    try:
        for start in range(0, len(texts), BATCH):
            batch = tokenizer(
                texts[start : start + BATCH],
                return_tensors="pt",
                padding=True,
                truncation=True,
                max_length=room,
                add_special_tokens=encodes or isinstance(asked[0]["prompt"], str),  # else the template has put them in
            ).to(model.device)
            # Weights gathered in inference mode could not be used outside of it again.
            with torch.no_grad() if together else torch.inference_mode():
                output = model.generate(
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    temperature=None,
                    top_p=None,
                    top_k=None,
                    use_cache=True,
                    pad_token_id=tokenizer.pad_token_id,
                    stopping_criteria=StoppingCriteriaList([GiveUp()]),
                    synced_gpus=together,
                )
            if parallel.agree(give_up()) if together else give_up():
                break
            new = output if encodes else output[:, batch["input_ids"].shape[1] :]
            found += [text.strip()[:MAX_SHOWN] for text in tokenizer.batch_decode(new, skip_special_tokens=True)]
    finally:
        tokenizer.padding_side = side
        tokenizer.truncation_side = "right"
        model.train(was_training)
    return found


def _prompt_text(tokenizer: Any, row: dict[str, Any]) -> str:
    if isinstance(row["prompt"], str):
        return str(row["prompt"])
    text = tokenizer.apply_chat_template(
        row["prompt"], tools=row.get("tools"), add_generation_prompt=True, tokenize=False
    )
    return str(text)
