# Written by bindings-python/stubs.py; do not edit.
"""The options of a generation as a dictionary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex, TypedDict

if TYPE_CHECKING:
    from numpy import integer
    from numpy.typing import NDArray


class GenerateOptions(TypedDict, total=False):
    """Options of a generation, to be kept and handed over: `model.generate(prompt, **options)`.

    What each is, and what holds where it is left out, `Model.generate` says.
    """

    max_tokens: SupportsIndex | None
    temperature: SupportsFloat | SupportsIndex | None
    top_k: SupportsIndex | None
    top_p: SupportsFloat | SupportsIndex | None
    min_p: SupportsFloat | SupportsIndex | None
    repetition_penalty: SupportsFloat | SupportsIndex | None
    frequency_penalty: SupportsFloat | SupportsIndex | None
    presence_penalty: SupportsFloat | SupportsIndex | None
    penalty_window: SupportsIndex | None
    seed: SupportsIndex | None
    stop: str | Iterable[str] | None
    stop_ids: Sequence[int] | NDArray[integer[Any]] | None
    logprobs: SupportsIndex | None
    prefill_chunk: SupportsIndex | None
    ignore_eos: bool | None
    min_tokens: SupportsIndex | None
    no_repeat_ngram: SupportsIndex | None
    bad_words: Iterable[Sequence[int] | NDArray[integer[Any]]] | None
    suppress: Sequence[int] | NDArray[integer[Any]] | None
    first_token: SupportsIndex | None
