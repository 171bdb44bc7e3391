"""The paper's layers, repeatable training, and latents that depend on nothing but the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import nn

from tests.support.pictures import picture
from udfs.autoencoder import (
    augmentation,
    device,
    inference,
)
from udfs.autoencoder import (
    model as autoencoder,
)
from udfs.autoencoder import (
    training as training_loop,
)
from udfs.autoencoder import (
    weights as weight_files,
)
from udfs.autoencoder.contrastive import Instance

TABLE = [
    ("Conv2d", (32, 32, 32), 896),
    ("ReLU", (32, 32, 32), 0),
    ("Conv2d", (64, 16, 16), 18_496),
    ("ReLU", (64, 16, 16), 0),
    ("Conv2d", (128, 8, 8), 73_856),
    ("ReLU", (128, 8, 8), 0),
    ("Conv2d", (256, 4, 4), 295_168),
    ("ReLU", (256, 4, 4), 0),
    ("Conv2d", (256, 2, 2), 590_080),
    ("ReLU", (256, 2, 2), 0),
    ("ConvTranspose2d", (256, 4, 4), 590_080),
    ("ReLU", (256, 4, 4), 0),
    ("ConvTranspose2d", (128, 8, 8), 295_040),
    ("ReLU", (128, 8, 8), 0),
    ("ConvTranspose2d", (64, 16, 16), 73_792),
    ("ReLU", (64, 16, 16), 0),
    ("ConvTranspose2d", (32, 32, 32), 18_464),
    ("ReLU", (32, 32, 32), 0),
    ("ConvTranspose2d", (3, 64, 64), 867),
    ("Tanh", (3, 64, 64), 0),
]


def pictures(n: int, first: int = 0) -> NDArray[np.uint8]:
    return np.stack([picture(first + i, 64).reshape(-1) for i in range(n)])


def train(**changes: object) -> training_loop.Training:
    given: dict[str, object] = {
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "seed": 0,
        "held_out": 0.1,
        "device": "cpu",
    }
    pixels = changes.pop("pixels", None)
    return training_loop.train(pictures(40) if pixels is None else pixels, **given | changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def weights() -> bytes:
    return weight_files.weights_bytes(train().model)


TOLD = Instance(weight=0.1, temperature=0.1)


@pytest.fixture(scope="module")
def normalised() -> bytes:
    return weight_files.weights_bytes(train(normalise=True).model)


def test_layers_are_the_papers_table_1() -> None:
    model = autoencoder.Autoencoder()
    rows = []
    value = torch.zeros(1, 3, 64, 64)
    for layer in [*model.encoder, *model.decoder]:
        assert isinstance(layer, nn.Module)
        value = layer(value)
        count = sum(parameter.numel() for parameter in layer.parameters())
        rows.append((type(layer).__name__, tuple(value.shape[1:]), count))
    assert rows == TABLE
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_956_739


def test_a_latent_is_the_last_layer_flattened(weights: bytes) -> None:
    encode = inference.encoder(weights, device="cpu", batch=32)
    pixels = pictures(3)
    latents = encode(pixels)
    assert latents.shape == (3, 1024)
    assert latents.dtype == np.float32
    assert (latents >= 0).all()
    assert latents.max() > 0
    levels = torch.from_numpy(pixels.reshape(-1, 64, 64, 3).copy()).permute(0, 3, 1, 2)
    with torch.inference_mode():
        layers = weight_files.load(weights).encoder(levels / 127.5 - 1)
    assert np.allclose(latents, layers.reshape(3, 1024).numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["weights", "normalised"])
def test_latents_do_not_depend_on_what_comes_along(
    kind: str, request: pytest.FixtureRequest
) -> None:
    weights = request.getfixturevalue(kind)
    pixels = pictures(70)
    encode = inference.encoder(weights, device="cpu", batch=32)
    whole = encode(pixels)
    order = np.random.default_rng(0).permutation(len(pixels))
    assert np.array_equal(encode(pixels[order]), whole[order])
    for n in (0, 1, 31, 32, 33):
        assert np.array_equal(encode(pixels[:n]), whole[:n])
    for batch, threads in ((32, 2), (64, 1), (128, 2)):
        other = inference.encoder(weights, device="cpu", batch=batch, threads=threads)
        assert np.array_equal(other(pixels), whole), (batch, threads)
    torch.set_num_threads(1)


def test_a_picture_is_the_decoders_output_in_levels(weights: bytes) -> None:
    latents = inference.encoder(weights, device="cpu", batch=32)(pictures(3))
    pixels = inference.decoder(weights, device="cpu", batch=32)(latents)
    assert pixels.shape == (3, 64 * 64 * 3)
    assert pixels.dtype == np.uint8
    with torch.inference_mode():
        images = weight_files.load(weights).decode(torch.from_numpy(latents))
    levels = (images.permute(0, 2, 3, 1).reshape(3, -1).numpy() + 1) * 127.5
    assert np.abs(pixels - levels).max() <= 0.5 + 1e-3
    assert pixels.min() < pixels.max()


def test_levels_by_hand() -> None:
    """All weights 0, the last bias atanh of what each channel is to be: −1, 0 and 0.6."""
    state = autoencoder.Autoencoder().state_dict()
    zeros = {name: torch.zeros_like(value) for name, value in state.items()}
    zeros["decoder.8.bias"] = torch.atanh(torch.tensor([-1 + 1e-6, 0.0, 0.6]))
    decode = inference.decoder(save(zeros), device="cpu", batch=4)
    found = decode(np.ones((5, 1024), np.float32)).reshape(-1, 3)
    assert np.array_equal(np.unique(found, axis=0), [[0, 128, 204]])  # 127.5 to the even one
    with pytest.raises(ValueError, match=r"latents: is float64 \(5, 1024\), must be float32"):
        decode(np.ones((5, 1024)))  # type: ignore[arg-type]


def test_pictures_do_not_depend_on_what_comes_along(weights: bytes) -> None:
    draw = np.random.default_rng(0)
    latents = np.maximum(draw.normal(size=(40, 1024)), 0).astype(np.float32)
    whole = inference.decoder(weights, device="cpu", batch=32)(latents)
    before = torch.get_num_threads()
    for batch, n in ((32, 0), (32, 1), (32, 33), (16, 40)):
        decode = inference.decoder(weights, device="cpu", batch=batch)
        assert np.array_equal(decode(latents[:n]), whole[:n]), (batch, n)
    assert torch.get_num_threads() == before


def test_same_seed_same_weights(weights: bytes) -> None:
    torch.manual_seed(99)  # training's outcome does not hang on the global generator
    assert weight_files.weights_bytes(train().model) == weights
    assert weight_files.weights_bytes(train(seed=1).model) != weights


@pytest.mark.parametrize("normalise", [False, True])
def test_the_second_term_is_repeatable_too_and_another_model(
    weights: bytes, normalise: bool
) -> None:
    found = train(instance=TOLD, normalise=normalise)
    one = weight_files.weights_bytes(found.model)
    torch.manual_seed(99)
    again = train(instance=TOLD, normalise=normalise)
    assert weight_files.weights_bytes(again.model) == one
    assert [vars(epoch) | {"seconds": 0} for epoch in again.epochs] == [
        vars(epoch) | {"seconds": 0} for epoch in found.epochs
    ]
    others = ({"seed": 1}, {"instance": Instance(0.2, 0.1)}, {"instance": Instance(0.1, 0.2)})
    for other in others:
        model = train(**{"instance": TOLD, "normalise": normalise} | other).model
        assert weight_files.weights_bytes(model) != one
    assert set(load(one)) == set(load(weights))  # the head is gone


def test_images_learn_to_be_recognised() -> None:
    """Views are told apart better after training by the second term, and images still rebuilt."""
    epochs = train(instance=Instance(1.0, 0.1), epochs=15).epochs
    assert epochs[0].instance_loss is not None
    assert epochs[-1].instance_loss is not None
    assert epochs[-1].instance_loss < 0.8 * epochs[0].instance_loss  # 0.66 to 0.72, by processor
    assert epochs[-1].loss < epochs[0].loss
    assert train().epochs[0].instance_loss is None


def test_a_weights_file_says_whether_images_are_standardised(
    weights: bytes, normalised: bytes
) -> None:
    assert not weight_files.normalises(weights)
    assert weight_files.normalises(normalised)
    loaded = weight_files.load(normalised)
    assert loaded.normalise
    assert weight_files.weights_bytes(loaded) == normalised
    loaded.normalise = False
    plain = weight_files.weights_bytes(loaded)
    assert weight_files.model_id(plain) != weight_files.model_id(normalised)
    latents = inference.encoder(plain, device="cpu", batch=8)(pictures(3))
    assert not np.allclose(
        latents, inference.encoder(normalised, device="cpu", batch=8)(pictures(3)), atol=1e-2
    )


def test_brightness_and_tint_are_nothing_to_a_normalised_model(
    weights: bytes, normalised: bytes
) -> None:
    """Gains and offsets in levels that nothing is cut off or rounded by."""
    coarse = pictures(4).reshape(-1, 3) // 8 * 4  # 0, 4, …, 124
    tinted = (coarse * np.array([2, 1, 1]) + np.array([0, 100, 3])).astype(np.uint8)
    for data, alike in ((normalised, True), (weights, False)):
        encode = inference.encoder(data, device="cpu", batch=8)
        one, other = (encode(part.reshape(4, -1)) for part in (coarse, tinted))
        assert np.allclose(one, other, atol=1e-4) is alike


def test_a_normalised_model_is_to_rebuild_the_standardised_image() -> None:
    """Mean 127.5 and spread 42.5 in every channel, cut off at 3 spreads; the loss is to that."""
    training = train(pixels=pictures(8), normalise=True, held_out=0.5)
    levels = pictures(8).reshape(8, -1, 3).astype(float)
    spread = levels.std(axis=1, keepdims=True)
    wanted = 42.5 * (levels - levels.mean(axis=1, keepdims=True)) / spread
    target = np.clip(wanted, -127.5, 127.5).reshape(8, 64, 64, 3) / 127.5
    aside = np.random.default_rng(0).permutation(8)[:4]
    images = torch.from_numpy(levels.reshape(8, 64, 64, 3)).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        found = training.model(images / 127.5 - 1).permute(0, 2, 3, 1).numpy()
    error = np.square(found - target)[aside].mean()
    assert training.epochs[-1].held_out_loss == pytest.approx(error, rel=1e-4)
    assert 0.05 < np.square(target).mean() < 0.12  # 1/9, less what is cut off


@pytest.mark.parametrize("kind", ["weights", "normalised"])
def test_an_image_turned_or_mirrored_has_the_same_latent(
    kind: str, request: pytest.FixtureRequest
) -> None:
    data = request.getfixturevalue(kind)
    encode = inference.encoder(data, device="cpu", batch=16, orientations=8)
    plain = inference.encoder(data, device="cpu", batch=16)
    squares = pictures(5).reshape(5, 64, 64, 3)
    whole = encode(squares.reshape(5, -1))
    every = [np.rot90(part, k, (1, 2)) for part in (squares, squares[:, ::-1]) for k in range(4)]
    mean = np.mean([plain(np.ascontiguousarray(part).reshape(5, -1)) for part in every], axis=0)
    assert np.allclose(whole, mean, atol=1e-5)
    for part in every:
        found = encode(np.ascontiguousarray(part).reshape(5, -1))
        assert np.allclose(found, whole, atol=1e-6)
        # Standardising sums the pixels in another order; without it all is the same to the bit.
        assert np.array_equal(found, whole) or kind == "normalised"
    assert not np.allclose(plain(squares[:, ::-1].copy().reshape(5, -1)), plain(pictures(5)))
    assert np.array_equal(encode(pictures(5)[3:]), whole[3:])


def test_other_numbers_of_orientations_are_refused(weights: bytes) -> None:
    with pytest.raises(ValueError, match=r"is 4, must be one of \(1, 8\)"):
        inference.encoder(weights, device="cpu", batch=8, orientations=4)


def test_training_lowers_the_loss_and_counts_its_images() -> None:
    seen: list[tuple[int, int, int]] = []
    training = train(epochs=40, on_batch=lambda e, b, n, loss: seen.append((e, b, n)))
    assert training.epochs[-1].loss < 0.5 * training.epochs[0].loss
    assert (training.images, training.held_out) == (36, 4)
    assert seen[:4] == [(1, 1, 3), (1, 2, 3), (1, 3, 3), (2, 1, 3)]
    assert all(epoch.held_out_loss for epoch in training.epochs)


def test_one_image_and_no_held_out() -> None:
    assert train(pixels=pictures(1)).held_out == 0
    assert train(held_out=0.0).epochs[0].held_out_loss is None


def test_bad_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="no image to train on"):
        train(pixels=pictures(1)[:0])
    with pytest.raises(ValueError, match=r"must be uint8 \(n, 12288\)"):
        train(pixels=pictures(2).astype(np.float32))
    with pytest.raises(ValueError, match=r"lower train.learning_rate"):
        train(learning_rate=1e8, epochs=30)


def test_foreign_weights_are_refused(weights: bytes) -> None:
    with pytest.raises(ValueError, match="no safetensors file"):
        weight_files.load(b"something else")
    state = load(weights)
    name = "encoder.0.weight"
    with pytest.raises(ValueError, match=f"{name}: missing"):
        weight_files.load(save({key: value for key, value in state.items() if key != name}))
    with pytest.raises(ValueError, match=f"{name}: shape"):
        weight_files.load(save(state | {name: torch.zeros(2)}))
    with pytest.raises(ValueError, match="more: not of this architecture"):
        weight_files.load(save(state | {"more": torch.zeros(2)}))
    with pytest.raises(ValueError, match=f"{name}: holds NaN"):
        weight_files.load(save(state | {name: state[name] * torch.nan}))


def test_weights_survive_a_file(weights: bytes) -> None:
    assert weight_files.weights_bytes(weight_files.load(weights)) == weights
    assert len(weight_files.model_id(weights)) == 64


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.device("auto", "0") == "cpu"
    with pytest.raises(ValueError, match="torch sees no GPU"):
        device.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.device("auto", "3") == "cuda:3"
    assert device.device("auto") == "cuda:0"
    assert device.device("cpu", "3") == "cpu"


def test_encoded_on_names_the_instruction_set() -> None:
    assert device.encoded_on("cpu") == f"cpu {torch.backends.cpu.get_cpu_capability()}"
    assert device.encoded_on("cpu", "AVX2") == "cpu AVX2"


def test_views_are_made_in_float32_whatever_is_learnt_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 the places that pixels are taken from would be off by parts of a pixel."""
    seen = []

    def changed(images: torch.Tensor, *given: Any) -> torch.Tensor:
        seen.append((torch.is_autocast_enabled("cpu"), augmentation.changed(images, *given).dtype))
        return images

    monkeypatch.setattr(autoencoder, "changed", changed)
    training_loop.train(
        pictures(8),
        epochs=1,
        batch_size=8,
        learning_rate=1e-3,
        seed=0,
        held_out=0.0,
        device="cpu",
        instance=Instance(1.0, 0.1),
        precision=device.BFLOAT16,
    )
    assert seen == [(False, torch.float32)]
