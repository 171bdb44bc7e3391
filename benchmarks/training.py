"""Does removal help? A small classifier trained on what removal leaves, beside what chance leaves.

    .venv/bin/python -m benchmarks.training DATA [--model WEIGHTS] [--only 1 2 3 4] [--device cuda]

DATA: the folder with ucmerced/. WEIGHTS: an encoder trained on the choosing half alone
(benchmarks/encoders.py); without it one is trained here on the training tiles, 4 epochs,
`reconstruction+instance`, `normalise`. The rules were fixed before the first run:

Photographs. Those of the choosing half of benchmarks/truth.py are trained on (500, the first in its
order), those of the other half are tested on (1,000 at most). Training tiles: 64×64 at a stride of
32, 49 a photograph. Test tiles: the 16 that do not overlap. Encoder, whitening (256 axes) and every
T come from training photographs alone.

Removal. "ours": the greedy cover within each class in the order of the photographs' paths, within
one row by row, by the cosine of whitened latents; one T for all classes, the lowest of 20 halvings
that keeps at least the share (`keep_share_all`). "pixels": the same by the cosine of the plain
pixels, as they are, not centred. "random, our counts": as many of each class as ours, at random.
"random": as many in all. "all, weighted": every image, its loss weighted 1/group_size with ours'
groups, 1 on average. "fresh random": as many as ours, drawn anew for each epoch.

Classifier. 0.28 M parameters, batches of 128, Adam, a rate that rises and falls, flips and no
other augmentation; the same for all arms. The seed decides first weights, orders, flips and draws.
Equal epochs: 5 over the arm's own images. Equal steps: as many as 5 epochs over all images take, or
over the largest set in the second and third experiment. The rate falls to 0 in either.

Experiment 1. All arms at 50 % and 25 % of the tiles, at equal steps and at equal epochs.

Experiment 2. Tiles that do not overlap; of three classes, the first by a hash, each tile gets 5
copies of 5 families of change out of ten (no mirrors, no turns). Arms: clean; inflated; inflated
then pruned by ours; inflated then random with the same counts per class as that leaves. T by two
rules that know neither the classes nor the copies: `pair_rate:0.001` of each class; and the one T
at which 99 % of the clean set stay, as of an earlier delivery known to be free of copies. A copy's
id follows its original's.

Experiment 3. Training tiles dealt 4 to 1 into training and test side: tile by tile; by photograph;
tile by tile, and every training tile taken away that has Sim > T with a test tile of its class, T
by `pair_rate:0.001` and `pair_rate:0.01`; and, as a limit, every one that overlaps a test tile by
the known corners. Equal steps. Accuracy is measured on each one's own test side, and on the
photographs of the other half, which none saw: the difference is what the leak is worth.

Experiment 4. Added after the first had been run, its rules before its own first run: the default's
own removal, T = 0.85 in whitened latents, which takes near-copies alone. Arms: all; ours at that T;
random with our counts. At equal steps and at equal epochs.

Measures. Macro accuracy: the mean over classes of the share of test tiles told right. Worst class:
each seed's, on average. Train loss: of the arm's own images, at most 8,192 of them, unflipped. Gap:
test loss (macro) less train loss. Intervals: 95 %, by bootstrap over test photographs, within their
class, and over seeds; differences are paired by seed and photograph. Called a gain: the interval of
the difference lies above 0. No correction for the number of comparisons.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits

from benchmarks import subsets, truth
from benchmarks.arms import (
    EPOCHS,
    STEPS,
    Arms,
    Bench,
    Shown,
    Test,
    Tiles,
    fixed,
    repeated,
    tiles,
    told,
)
from benchmarks.changes import FAMILIES, TURNED
from benchmarks.outcomes import Arm, Estimate, apart, compared, markdown
from benchmarks.results import recorded
from benchmarks.subsets import Removal, Vectors
from jobs.settings.load import build
from udfs.acquisition.decode import SIDE
from udfs.autoencoder import inference
from udfs.autoencoder.contrastive import ContrastiveTerm
from udfs.autoencoder.device import fast_precision, select_device
from udfs.autoencoder.training import train
from udfs.autoencoder.weights import weights_bytes
from udfs.vectors.cosine import Matrix
from udfs.vectors.whitening import Moments, Whitening

Pixels = NDArray[np.uint8]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

SHARES = (0.5, 0.25)
STRIDE = 32
COPIES = 5
INFLATED = 3  # classes
RATE = 0.001
KNOWN_CLEAN = 0.99  # of a clean delivery stays at its T
LEAK_RATES = (0.001, 0.01)
DEFAULT = 0.85  # the T that is published when nothing is set
TESTED = 0.2  # of the tiles, or photographs, of experiment 3
ALL, OURS, ALIKE, RANDOM = "all", "ours", "random, our counts", "random"
PIXELS, WEIGHTED, FRESH = "pixels", "all, weighted", "fresh random"
CLEAN, MORE = "clean", "inflated"
BY_RATE, BY_CLEAN = f"pair_rate:{RATE}", "T of a clean delivery"
HELD, OWN = "held out", "own test side"
BY_TILE, BY_PHOTOGRAPH, WITHOUT = "tile by tile", "by photograph", "leaks removed"


class Clock:
    """Seconds of each part by its name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What runs within counts for that part."""
        begun = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun

    def table(self) -> None:
        """Print the minutes of each, and the memory."""
        rows = [[name, f"{each / 60:.1f}"] for name, each in self.seconds.items()]
        rows.append(["**all**", f"{sum(self.seconds.values()) / 60:.1f}"])
        markdown(["part", "minutes"], rows)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"Memory at its peak: {peak:.1f} GiB.")


def encoder(pixels: Pixels, epochs: int, device: str) -> bytes:
    """Weights trained on the training tiles."""
    flags = ["train.objective=reconstruction+instance", "train.normalise=true"]
    settings = build({}, flags).train
    training = train(
        pixels,
        epochs=epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        held_out=0.0,
        device=device,
        normalise=settings.normalise,
        precision=fast_precision(device),
        contrastive=ContrastiveTerm(settings.instance_weight, settings.temperature),
        on_epoch=lambda epoch: told(f"encoder, epoch {epoch.number}: {epoch.seconds:.0f} s"),
    )
    return weights_bytes(training.model)


def whitened(
    weights: bytes, pixels: Pixels, axes: int, device: str, threads: int
) -> tuple[Callable[[Pixels], Matrix], Matrix]:
    """What turns tiles into whitened latents, fitted on the tiles given; and theirs."""
    encode = inference.encoder(weights, device=device, batch=32, threads=threads)
    latents = encode(pixels)
    space = Whitening.fitted(Moments.of(latents), axes)
    return lambda others: space(encode(others)), space(latents)


def alike(kept: Flags, labels: Indices) -> Callable[[int], Shown]:
    """As many of each class as are kept of it, drawn with the seed."""

    def arm(seed: int) -> Shown:
        return Shown.fixed(subsets.drawn_alike(kept, labels, np.random.default_rng((seed, 1))))

    return arm


def arms_of(share: str, ours: Removal, pixels: Removal, labels: Indices) -> Arms:
    """The arms of experiment 1 at one share, their names led by it."""
    kept, every = np.flatnonzero(ours.kept), np.arange(len(labels))

    def at_random(seed: int) -> Shown:
        return Shown.fixed(subsets.drawn(every, len(kept), np.random.default_rng((seed, 2))))

    def fresh(seed: int) -> Shown:
        def epochs(number: int) -> Indices:
            return subsets.drawn(every, len(kept), np.random.default_rng((seed, 3, number)))

        return Shown(epochs, len(kept))

    arms: Arms = {
        OURS: fixed(kept),
        ALIKE: alike(ours.kept, labels),
        RANDOM: at_random,
        PIXELS: fixed(np.flatnonzero(pixels.kept)),
        WEIGHTED: lambda _: Shown.fixed(every, subsets.loss_weights(ours)),
        FRESH: fresh,
    }
    return {f"{share}: {name}": arm for name, arm in arms.items()}


def removals(bench: Bench, shares: Sequence[float]) -> dict[str, tuple[Removal, Removal]]:
    """Ours and that by pixels, at each share."""
    labels, pixels = bench.learnt.labels, bench.learnt.pixels
    ways: tuple[tuple[Vectors, float], ...] = (
        (bench.latents.__getitem__, -1.0),
        (lambda places: pixels[places].astype(np.float32), 0.0),
    )
    found = {}
    for share in shares:
        ours, plain = (subsets.at_share(way, labels, share, low) for way, low in ways)
        found[f"{share:.0%}"] = ours, plain
    return found


def first(bench: Bench, clock: Clock) -> None:
    """Experiment 1: what is left beside what chance leaves."""
    labels, tests = bench.learnt.labels, {HELD: bench.held_out()}
    with clock.part("removals of experiment 1"):
        removed = removals(bench, SHARES)
    arms: Arms = {ALL: fixed(np.arange(len(labels)))}
    for share, both in removed.items():
        arms |= arms_of(share, *both, labels)
    with clock.part("experiment 1"):
        found = repeated(arms, bench.placed(bench.learnt), len(labels), bench, tests)
    print(f"## Experiment 1: {len(labels):,} tiles, {bench.seeds} seeds\n")
    _spread(removed, labels, bench.classes)
    said = []
    for share in removed:
        for mode, outcomes in found.items():
            chosen = {
                name.removeprefix(f"{share}: "): Arm(each, HELD, tests[HELD].side)
                for name, each in outcomes.items()
                if name == ALL or name.startswith(f"{share}: ")
            }
            print(f"### {share} of the images, {mode}\n")
            compared(chosen, (ALIKE, RANDOM, ALL))
            said.append((f"{share}, {mode}", chosen))
    _conclude(said)


def _spread(
    removed: dict[str, tuple[Removal, Removal]], labels: Indices, classes: Sequence[str]
) -> None:
    """How unlike the shares are that one T leaves of the classes."""
    rows = []
    for share, both in removed.items():
        for name, removal in zip((OURS, PIXELS), both, strict=True):
            kept = {one: float(removal.kept[labels == one].mean()) for one in np.unique(labels)}
            ends = [min(kept, key=kept.__getitem__), max(kept, key=kept.__getitem__)]
            threshold = next(iter(removal.thresholds.values()))
            row = [share, name, f"{threshold:.4f}", f"{removal.kept.mean():.1%}"]
            rows.append(row + [f"{kept[one]:.1%} ({classes[one]})" for one in ends])
    markdown(["share", "by", "T", "kept", "least of a class", "most of a class"], rows)


def _conclude(said: Sequence[tuple[str, dict[str, Arm]]]) -> None:
    """What experiment 1 came to, in sentences."""
    gains: dict[str, list[str]] = {ALIKE: [], RANDOM: [], PIXELS: [], ALL: []}
    tighter, wider = [], []
    for where, arms in said:
        print(f"- {where}: ours is")
        for other, clear in gains.items():
            apart_by = arms[OURS].accuracy(arms[other])
            print(f"  - {apart_by.told(other)}")
            clear += [where] if apart_by.sign > 0 else []
        gap = arms[OURS].overfitting(arms[ALIKE])
        print(f"  - in the gap of the loss {gap.told(ALIKE)}")
        tighter += [where] if gap.sign < 0 else []
        wider += [where] if gap.sign > 0 else []
        time_left = arms[OURS].seconds / arms[ALL].seconds
        print(f"  - trained in {time_left:.0%} of the time that all images take")
    print()
    for other, clear in gains.items():
        print(f"A gain of ours over “{other}”: {_places(clear)}.")
    print(f"Less overfitting than “{ALIKE}”: {_places(tighter)}; more: {_places(wider)}.")
    saved = [
        f"{where} ({arms[OURS].seconds / arms[ALL].seconds:.0%} of the time)"
        for where, arms in said
        if arms[OURS].accuracy(arms[ALL]).sign >= 0 and where.endswith(EPOCHS)
    ]
    print(f"Time saved, and not clearly less accurate than all images: {_places(saved)}.\n")


def _places(found: Sequence[str]) -> str:
    return "; ".join(found) if found else "nowhere"


def inflate(clean: Tiles, chosen: Sequence[int]) -> tuple[Tiles, Indices]:
    """Each tile of some classes followed by its copies; and (n,) which copy each is, 0 for none."""
    families = [name for name in FAMILIES if name not in TURNED]
    places: list[int] = []
    copies: list[int] = []
    pixels: list[Pixels] = []
    ids: list[str] = []
    for place, name in enumerate(clean.ids):
        image = clean.pixels[place].reshape(SIDE, SIDE, 3)
        draw = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
        count = COPIES if clean.labels[place] in chosen else 0
        mine = draw.permutation(families)[:count].tolist()
        places += [place] * (1 + len(mine))
        copies += range(1 + len(mine))
        pixels += [image, *(truth.seen(FAMILIES[f](Image.fromarray(image), draw)) for f in mine)]
        ids += [name, *(f"{name} {family}" for family in mine)]
    more = clean.at(np.array(places))
    flat = np.stack(pixels).reshape(len(pixels), -1)
    return replace(more, pixels=flat, ids=ids), np.array(copies)


def inflated_classes(classes: Sequence[str]) -> list[int]:
    """The three that come first by a hash."""
    names = sorted(classes, key=lambda one: hashlib.sha256(f"inflated|{one}".encode()).digest())
    return sorted(classes.index(name) for name in names[:INFLATED])


def with_copies(bench: Bench, chosen: Sequence[int]) -> tuple[Tiles, Indices, Matrix]:
    """Tiles that do not overlap, inflated; which copy each is; whitened latents."""
    single = np.flatnonzero((bench.learnt.corners % SIDE == 0).all(axis=1))
    inflated, copies = inflate(bench.learnt.at(single), chosen)
    latents = bench.latents[np.repeat(single, np.diff(_starts(copies)))]
    latents[copies > 0] = bench.encode(inflated.pixels[copies > 0])
    return inflated, copies, latents


def prunings(inflated: Tiles, copies: Indices, latents: Matrix) -> dict[str, Removal]:
    """What each rule leaves of the inflated set."""
    labels, vectors = inflated.labels, latents.__getitem__
    at = subsets.at_rate(vectors, labels, inflated.ids, RATE)
    clean = np.flatnonzero(copies == 0)
    before = subsets.at_share(latents[clean].__getitem__, labels[clean], KNOWN_CLEAN, -1.0)
    return {
        BY_RATE: subsets.removed(vectors, labels, at),
        BY_CLEAN: subsets.removed(vectors, labels, before.thresholds),
    }


def arms_with_copies(labels: Indices, copies: Indices, pruned: dict[str, Removal]) -> Arms:
    """The arms of experiment 2."""
    arms: Arms = {CLEAN: fixed(np.flatnonzero(copies == 0)), MORE: fixed(np.arange(len(labels)))}
    for rule, removal in pruned.items():
        arms[f"pruned, {rule}"] = fixed(np.flatnonzero(removal.kept))
        arms[f"as many at random, {rule}"] = alike(removal.kept, labels)
    return arms


def second(bench: Bench, clock: Clock) -> None:
    """Experiment 2: three classes inflated by copies."""
    chosen, tests = inflated_classes(bench.classes), {HELD: bench.held_out()}
    with clock.part("copies and removals of experiment 2"):
        inflated, copies, latents = with_copies(bench, chosen)
        pruned = prunings(inflated, copies, latents)
    labels = inflated.labels
    arms = arms_with_copies(labels, copies, pruned)
    with clock.part("experiment 2"):
        found = repeated(arms, bench.placed(inflated), len(labels), bench, tests)
    names = ", ".join(bench.classes[one] for one in chosen)
    print(f"## Experiment 2: {len(labels):,} tiles, {names} inflated, {bench.seeds} seeds\n")
    _planted(pruned, labels, copies, chosen)
    others = [one for one in range(len(bench.classes)) if one not in chosen]
    groups = {"the inflated": chosen} | ({"the others": others} if others else {})
    said = []
    for mode, outcomes in found.items():
        beside = {name: Arm(each, HELD, tests[HELD].side) for name, each in outcomes.items()}
        print(f"### {mode}\n")
        compared(beside, (MORE, CLEAN), groups)
        said.append((mode, beside))
    for mode, beside in said:
        print(f"- {mode}: inflated is {beside[MORE].accuracy(beside[CLEAN]).told(CLEAN)}")
        for rule in pruned:
            arm = beside[f"pruned, {rule}"]
            for other in (MORE, f"as many at random, {rule}", CLEAN):
                print(f"  - pruned, {rule}, is {arm.accuracy(beside[other]).told(other)}")
    print()


def _starts(copies: Indices) -> Indices:
    """Where each original stands, and the end."""
    return np.append(np.flatnonzero(copies == 0), len(copies))


def _planted(
    pruned: dict[str, Removal], labels: Indices, copies: Indices, chosen: Sequence[int]
) -> None:
    """What the rules removed, where copies are and where none are."""
    rows = []
    where = np.isin(labels, chosen)
    for rule, removal in pruned.items():
        for name, some in (("the inflated", where), ("the others", ~where)):
            at = [removal.thresholds[one] for one in np.unique(labels[some]).tolist()]
            row = [rule, name, f"{min(at):.3f} … {max(at):.3f}" if at else "–"]
            for part in (some & (copies > 0), some & (copies == 0)):
                share = f"{(~removal.kept[part]).mean():.1%}" if part.any() else "–"
                row += [f"{part.sum():,}", share]
            rows.append(row)
    markdown(["rule", "classes", "T", "copies", "removed", "clean tiles", "removed"], rows)


def overlapping(tiles_: Tiles, learnt: Indices, tested: Indices) -> Flags:
    """Which of the places `learnt` share pixels with one of `tested`: (learnt,)."""
    found = np.zeros(len(learnt), np.bool_)
    for number in np.unique(tiles_.photographs[learnt]):
        mine = np.flatnonzero(tiles_.photographs[learnt] == number)
        theirs = tested[tiles_.photographs[tested] == number]
        far = tiles_.corners[learnt[mine]][:, None] - tiles_.corners[theirs][None]
        found[mine] = (np.abs(far) < SIDE).all(axis=2).any(axis=1)
    return found


def dealt(tiles_: Tiles, by_photograph: bool) -> tuple[Indices, Indices]:
    """Places to train on and to test on, 4 to 1; photographs are dealt within their class."""
    draw = np.random.default_rng(0)
    if not by_photograph:
        order = draw.permutation(len(tiles_.labels))
        tested = order[: round(TESTED * len(order))]
    else:
        chosen: list[int] = []
        for places in subsets.of_class(tiles_.labels).values():
            mine = draw.permutation(np.unique(tiles_.photographs[places]))
            chosen += mine[: max(1, round(TESTED * len(mine)))].tolist()
        tested = np.flatnonzero(np.isin(tiles_.photographs, chosen))
    return np.setdiff1d(np.arange(len(tiles_.labels)), tested), np.sort(tested)


def cleared(bench: Bench, learnt: Indices, tested: Indices) -> dict[str, Indices]:
    """What is trained on when tiles are dealt one by one: all; what leaks removed in three ways."""
    tiles_, vectors = bench.learnt, bench.latents.__getitem__
    found = {BY_TILE: learnt}
    for rate in LEAK_RATES:
        at = subsets.at_rate(vectors, tiles_.labels, tiles_.ids, rate)
        leaks = subsets.leaking(vectors, tiles_.labels, learnt, tested, at)
        found[f"{BY_TILE}, {WITHOUT} above pair_rate:{rate:g}"] = learnt[~leaks]
    found[f"{BY_TILE}, {WITHOUT} by the known overlap"] = learnt[
        ~overlapping(tiles_, learnt, tested)
    ]
    # A trial of few photographs may leave nothing to train on.
    return {name: places for name, places in found.items() if len(places)}


def third(bench: Bench, clock: Clock) -> None:
    """Experiment 3: what a leak is worth."""
    images, held = bench.placed(bench.learnt), bench.held_out()
    by_tile, by_photograph = (dealt(bench.learnt, way) for way in (False, True))
    with clock.part("leaks of experiment 3"):
        splits = [(places, by_tile[1], 1) for places in cleared(bench, *by_tile).items()]
    splits.append(((BY_PHOTOGRAPH, by_photograph[0]), by_photograph[1], 2))
    worth, rows = {}, []
    for (name, places), tested, draw in splits:
        own = Test.of(bench.learnt, images, tested, draw)
        with clock.part("experiment 3"):
            arms = {name: fixed(places)}
            tests = {OWN: own, HELD: held}
            found = repeated(arms, images, len(by_tile[0]), bench, tests, [STEPS])[STEPS][name]
        measured, true = Arm(found, OWN, own.side), Arm(found, HELD, held.side)
        worth[name] = apart(measured, true)
        over = overlapping(bench.learnt, places, tested).mean()
        row = [name, f"{len(places):,}", f"{over:.1%}", f"{found[0].steps:,}"]
        rows.append([*row, str(measured.accuracy()), str(true.accuracy()), str(worth[name])])
    print(f"## Experiment 3: {len(bench.learnt.labels):,} tiles, {bench.seeds} seeds\n")
    heads = ["split", "training tiles", "of them overlap a test tile", "steps"]
    markdown([*heads, "accuracy on its own test side", "on photographs none saw", "leak"], rows)
    _leaks_told(worth)


def _leaks_told(worth: dict[str, Estimate]) -> None:
    """What experiment 3 came to, in sentences."""
    for name, estimate in worth.items():
        print(f"- {name}: the measured accuracy is {estimate.told('the true one')}")
    leak = worth[BY_TILE]
    for name, estimate in worth.items():
        if leak.sign > 0 and WITHOUT in name:
            left = estimate.value / leak.value
            print(f"- {name}: {left:.0%} of what the leak was worth is left")
    print()


def fourth(bench: Bench, clock: Clock) -> None:
    """Experiment 4: what the default removes."""
    labels, tests = bench.learnt.labels, {HELD: bench.held_out()}
    every = dict.fromkeys(subsets.of_class(labels), DEFAULT)
    ours = subsets.removed(bench.latents.__getitem__, labels, every)
    arms: Arms = {
        ALL: fixed(np.arange(len(labels))),
        OURS: fixed(np.flatnonzero(ours.kept)),
        ALIKE: alike(ours.kept, labels),
    }
    with clock.part("experiment 4"):
        found = repeated(arms, bench.placed(bench.learnt), len(labels), bench, tests)
    print(f"## Experiment 4: T = {DEFAULT}, {ours.kept.mean():.1%} stay, {bench.seeds} seeds\n")
    for mode, outcomes in found.items():
        beside = {name: Arm(each, HELD, tests[HELD].side) for name, each in outcomes.items()}
        print(f"### {mode}\n")
        compared(beside, (ALIKE, ALL))
        for other in (ALIKE, ALL):
            print(f"- {mode}: ours is {beside[OURS].accuracy(beside[other]).told(other)}")
        print()


EXPERIMENTS = {1: first, 2: second, 3: third, 4: fourth}


def ready(given: argparse.Namespace, clock: Clock) -> Bench:
    """Tiles and whitened latents."""
    with clock.part("tiles"):
        known = truth.photographs(given.data, truth.TILES, truth.CHOOSE)[: given.photographs]
        classes = sorted({name.split("/")[0] for name, _ in known})
        learnt = tiles(given.data, truth.CHOOSE, given.photographs, STRIDE, classes)
        tests = tiles(given.data, truth.FIGURES, 2 * given.photographs, SIDE, classes)
    device = select_device(given.device)
    with clock.part("encoder"):
        if given.model:
            weights = given.model.read_bytes()
        else:
            weights = encoder(learnt.pixels, given.epochs, device)
    with clock.part("latents"):
        encode, latents = whitened(weights, learnt.pixels, given.axes, device, given.threads)
    return Bench(learnt, tests, classes, encode, latents, given.seeds, device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, help="weights trained on the choosing half alone")
    parser.add_argument("--epochs", type=int, default=4, help="of the encoder, without --model")
    parser.add_argument("--axes", type=int, default=256)
    parser.add_argument(
        "--photographs", type=int, default=500, help="for training; twice for tests"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--only", type=int, nargs="+", choices=tuple(EXPERIMENTS), default=[*EXPERIMENTS]
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    clock = Clock()
    torch.set_num_threads(given.threads)
    # Plain float32 on a GPU as well: its shorter products would be another classifier.
    torch.backends.cudnn.allow_tf32 = False
    with threadpool_limits(given.threads):
        bench = ready(given, clock)
        for number in given.only:
            EXPERIMENTS[number](bench, clock)
    clock.table()


if __name__ == "__main__":
    recorded(main)
