"""A training that goes on from a checkpoint ends as an undisturbed one, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import Any

import pytest
import torch
from safetensors.torch import load

from tests.support.autoencoders import train
from udfs.autoencoder.checkpoint import (
    Checkpoint,
    Epoch,
    Position,
    checkpoint_bytes,
    environment,
    load_checkpoint,
)
from udfs.autoencoder.contrastive import ContrastiveTerm
from udfs.autoencoder.device import BFLOAT16
from udfs.autoencoder.training import Training
from udfs.autoencoder.weights import weights_bytes

OBJECTIVES: dict[str, dict[str, Any]] = {
    "reconstruction": {},
    "both": {"contrastive": ContrastiveTerm(0.1, 0.1), "normalise": True},
    "both in bfloat16": {"contrastive": ContrastiveTerm(0.1, 0.1), "precision": BFLOAT16},
}


class KilledError(Exception):
    """Stands for the end of the process."""


def stopped(epochs_ended: int, batches: int, **settings: Any) -> Checkpoint:
    """Train until so many epochs have ended, and then batches; return the state by way of bytes."""
    states: list[bytes] = []

    def on_state(ended: bool, state: Callable[[], Checkpoint]) -> None:
        now = state()
        at = len(now.position.finished), now.position.batches
        if at == (epochs_ended, batches):
            states.append(checkpoint_bytes(now))
            raise KilledError

    with pytest.raises(KilledError):
        train(on_state=on_state, **settings)
    return load_checkpoint(states[0])


def losses(training: Training) -> list[dict[str, Any]]:
    return [asdict(epoch) | {"seconds": 0} for epoch in training.epochs]


@cache
def undisturbed(objective: str) -> tuple[bytes, list[dict[str, Any]]]:
    whole = train(**OBJECTIVES[objective], epochs=3)
    return weights_bytes(whole.model), losses(whole)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("ended", "batches"), [(0, 1), (1, 0), (1, 2), (2, 3)])
def test_what_goes_on_equals_what_was_never_stopped(
    objective: str, ended: int, batches: int
) -> None:
    """After a batch, at the end of an epoch, within one, and after all batches of the last."""
    settings = OBJECTIVES[objective] | {"epochs": 3}
    start = stopped(ended, batches, **settings)
    torch.manual_seed(99)
    calls: list[tuple[int, int]] = []
    rest = train(start=start, on_batch=lambda e, b, n, loss: calls.append((e, b)), **settings)
    assert (weights_bytes(rest.model), losses(rest)) == undisturbed(objective)
    every = [(epoch, batch) for epoch in (1, 2, 3) for batch in (1, 2, 3)]
    assert calls == every[3 * ended + batches :]


def test_the_time_before_the_stop_counts() -> None:
    start = stopped(1, 2, epochs=2)
    long = Checkpoint(
        Position(start.position.finished, 2, start.position.sums, 1000.0), start.tensors
    )
    assert train(epochs=2, start=long).epochs[-1].seconds > 1000


def test_a_state_is_not_changed_by_the_steps_that_follow() -> None:
    states: list[Checkpoint] = []
    train(on_state=lambda ended, state: states.append(state()))
    assert len(states) == 7  # of 3 batches each epoch, and the end of the first epoch
    assert [state.position.batches for state in states] == [1, 2, 3, 0, 1, 2, 3]
    name = "objective.model.encoder.0.weight"
    assert not torch.equal(states[0].tensors[name], states[1].tensors[name])
    assert torch.equal(states[2].tensors[name], states[3].tensors[name])


def test_bytes_hold_the_whole_state_and_what_the_caller_adds() -> None:
    epoch = Epoch(1, 0.1, None, 2.5, 0.3)
    tensors = {"adam.step.a": torch.tensor(3.0), "a": torch.arange(6.0).reshape(2, 3)}
    position = Position([epoch], 2, (1 / 3, 0.1), 7.25)
    data = checkpoint_bytes(Checkpoint(position, tensors, {"sample": "abc"}))
    found = load_checkpoint(data)
    assert (found.position, found.about) == (position, {"sample": "abc"})
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(found.tensors[name], value) for name, value in tensors.items())
    assert load(data).keys() == tensors.keys()  # other programs can read it


def test_damage_is_noticed_wherever_it_is() -> None:
    data = checkpoint_bytes(Checkpoint(Position(batches=7), {"a": torch.arange(100.0)}))
    for at in (0, 20, data.index(b"batches") + 11, data.index(b"F32"), len(data) - 1):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(ValueError, match=r"no file of a checkpoint|sha256 differs"):
            load_checkpoint(bytes(changed))
    for short in (b"", data[:100], data[:-1]):
        with pytest.raises(ValueError, match="no file of a checkpoint"):
            load_checkpoint(short)
    with pytest.raises(ValueError, match="no file of a checkpoint"):
        load_checkpoint(weights_bytes(train(epochs=1).model))


def test_the_environment_names_what_changes_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment("cpu", "float32")
    assert before == environment("cpu", "float32")
    assert before != environment("cpu", BFLOAT16)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert environment("cpu", "float32")["device"] == "cpu AVX2"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert environment("cpu", "float32")["threads"] == 77
