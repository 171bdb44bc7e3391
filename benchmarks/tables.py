"""The paper's tables 2 and 3 for a warehouse, as Markdown: images left, and the lines of kurtosis.

.venv/bin/python -m benchmarks.tables WAREHOUSE
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from deltalake import DeltaTable


def rows(warehouse: str, table: str, columns: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        DeltaTable(f"{warehouse}/{table}").to_pyarrow_table(columns=columns).to_pylist()
    )
    return found


def images_left(warehouse: str) -> None:
    """Table 2, and the same for each class."""
    selection = rows(warehouse, "selection", ["label", "threshold", "kept"])
    thresholds = sorted({row["threshold"] for row in selection}, reverse=True)
    every = Counter(
        (row["label"], row["threshold"]) for row in selection if row["threshold"] == thresholds[0]
    )
    kept = Counter((row["label"], row["threshold"]) for row in selection if row["kept"])
    heads = " | ".join(f"T = {threshold:g} | share" for threshold in thresholds)
    print(f"| class | no removal | {heads} |\n| --- {'| --- ' * (1 + 2 * len(thresholds))}|")
    labels = sorted(label for label, _ in every)
    total = sum(every.values())
    sums = [sum(kept[label, threshold] for label in labels) for threshold in thresholds]
    _line("**all**", total, sums)
    for label in labels:
        counts = [kept[label, threshold] for threshold in thresholds]
        _line(label, every[label, thresholds[0]], counts)


def _line(name: str, total: int, counts: list[int]) -> None:
    cells = " | ".join(f"{count:,} | {count / total:.1%}" for count in counts)
    print(f"| {name} | {total:,} | {cells} |")


def kurtosis_lines(warehouse: str) -> None:
    """Table 3 with the interval of the slope."""
    names = ["threshold", "component", "slope", "intercept", "slope_low", "slope_high", "classes"]
    print("\n| T | component | y = slope · x + intercept | 95 % interval of the slope | classes |")
    print("| --- | --- | --- | --- | --- |")
    lines = rows(warehouse, "regression", names)
    for row in sorted(lines, key=lambda row: (-row["threshold"], row["component"])):
        if row["slope"] is None:
            equation, interval = "–", "–"
        else:
            sign = "+" if row["intercept"] >= 0 else "−"
            equation = f"y = {row['slope']:.2f}x {sign} {abs(row['intercept']):.2f}"
            interval = f"{row['slope_low']:.2f} … {row['slope_high']:.2f}"
        cells = (f"{row['threshold']:g}", row["component"], equation, interval, row["classes"])
        print(f"| {' | '.join(str(cell) for cell in cells)} |")


def entropies(warehouse: str) -> None:
    """Entropy of the spline model, averaged over the classes; the share where it rose."""
    names = ["threshold", "component", "entropy_before", "entropy_after"]
    names += ["scale_free_before", "scale_free_after"]
    effect = rows(warehouse, "effect", names)
    print("\n| T | component | entropy | rose in | scale-free entropy | rose in |")
    print("| --- | --- | --- | --- | --- | --- |")
    for threshold, component in sorted(
        {(row["threshold"], row["component"]) for row in effect}, key=lambda key: (-key[0], key[1])
    ):
        chosen = [
            row for row in effect if (row["threshold"], row["component"]) == (threshold, component)
        ]
        cells = []
        for name in ("entropy", "scale_free"):
            before = [row[f"{name}_before"] for row in chosen]
            after = [row[f"{name}_after"] for row in chosen]
            rose = sum(y > x for x, y in zip(before, after, strict=True)) / len(chosen)
            cells.append(f"{sum(before) / len(before):.3f} → {sum(after) / len(after):.3f}")
            cells.append(f"{rose:.0%} of {len(chosen)}")
        print(f"| {threshold:g} | {component} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse")
    given = parser.parse_args()
    images_left(given.warehouse)
    kurtosis_lines(given.warehouse)
    entropies(given.warehouse)


if __name__ == "__main__":
    main()
