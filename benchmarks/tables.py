"""The paper's tables 2 and 3 for a warehouse, as Markdown: images left, and the lines of kurtosis.

Then the entropies; the changes stand beside what random removals of as many images do.

.venv/bin/python -m benchmarks.tables WAREHOUSE [--space SPACE]
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import pyarrow.dataset as ds
from deltalake import DeltaTable

from benchmarks.latents import published
from benchmarks.results import recorded
from jobs.settings.duplicates import Rule

Rows = list[dict[str, Any]]


def rows(warehouse: str, table: str, space: str, columns: list[str]) -> Rows:
    data = DeltaTable(f"{warehouse}/{table}").to_pyarrow_dataset()
    found: Rows = data.to_table(columns=columns, filter=ds.field("space") == space).to_pylist()
    return found


def in_turn(found: Rows) -> list[Rule]:
    """The rules of a table, in the order of the report."""
    rules = [Rule.of(name) for name in {row["rule"] for row in found}]
    return sorted(rules, key=lambda rule: rule.sort_key)


def images_left(warehouse: str, space: str) -> None:
    """Table 2, and the same for each class; of a T that differs by class, which it is."""
    selection = rows(warehouse, "selection", space, ["label", "rule", "kept"])
    named = rows(warehouse, "thresholds", space, ["label", "rule", "threshold"])
    found = {(row["label"], row["rule"]): row["threshold"] for row in named}
    rules = in_turn(selection)
    every = Counter(row["label"] for row in selection if row["rule"] == rules[0].name)
    kept = Counter((row["label"], row["rule"]) for row in selection if row["kept"])
    heads = []
    for rule in rules:
        heads += [*(["T"] if rule.is_searched else []), rule.title, "share"]
    print(f"| class | no removal | {' | '.join(heads)} |\n| --- {'| --- ' * (1 + len(heads))}|")
    for label in [None, *sorted(every)]:
        total = sum(every.values()) if label is None else every[label]
        cells = ["**all**" if label is None else label, f"{total:,}"]
        for rule in rules:
            of = [label] if label is not None else list(every)
            count = sum(kept[one, rule.name] for one in of)
            if rule.is_searched:
                cells.append("" if label is None else f"{found[label, rule.name]:.4f}")
            cells += [f"{count:,}", f"{count / total:.1%}"]
        print(f"| {' | '.join(cells)} |")


def kurtosis_lines(warehouse: str, space: str) -> None:
    """Table 3 with the interval of the slope, and the slopes of random removals."""
    names = ["rule", "component", "slope", "intercept", "slope_low", "slope_high"]
    names += ["control_low", "control_high", "classes"]
    print("\n| rule | component | y = slope · x + intercept | 95 % interval of the slope", end="")
    print(" | slope of random removals | classes |\n" + "| --- " * 6 + "|")
    lines = rows(warehouse, "regression", space, names)
    for rule in in_turn(lines):
        of_rule = [row for row in lines if row["rule"] == rule.name]
        for row in sorted(of_rule, key=lambda row: row["component"]):
            equation = "–"
            if row["slope"] is not None:
                sign = "+" if row["intercept"] >= 0 else "−"
                equation = f"y = {row['slope']:.2f}x {sign} {abs(row['intercept']):.2f}"
            cells = [rule.title, row["component"], equation]
            cells += [_band(row["slope_low"], row["slope_high"])]
            cells += [_band(row["control_low"], row["control_high"]), row["classes"]]
            print(f"| {' | '.join(str(cell) for cell in cells)} |")


def _band(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.2f} … {high:.2f}"


def changes(warehouse: str, space: str) -> None:
    """Means over the classes before and after; where the change leaves the band of the control."""
    measures = ("kurtosis", "entropy", "scale_free")
    names = ["rule", "component"]
    names += [f"{name}_{end}" for name in measures for end in ("before", "after", "low", "high")]
    effect = rows(warehouse, "effect", space, names)
    heads = " | ".join(
        f"{name.replace('_', '-')} | rose | above random | below" for name in measures
    )
    print(f"\n| rule | component | {heads} |\n" + "| --- " * (2 + 4 * len(measures)) + "|")
    components = sorted({row["component"] for row in effect})
    for rule, component in ((rule, k) for rule in in_turn(effect) for k in components):
        chosen = [
            row for row in effect if (row["rule"], row["component"]) == (rule.name, component)
        ]
        cells = [rule.title, str(component)]
        for name in measures:
            known = [row for row in chosen if row[f"{name}_low"] is not None]
            known = [row for row in known if row[f"{name}_after"] is not None]
            n = max(1, len(known))
            before, after = (
                sum(r[f"{name}_{at}"] for r in known) / n for at in ("before", "after")
            )
            cells.append(f"{before:.3f} → {after:.3f}")
            cells.append(str(sum(r[f"{name}_after"] > r[f"{name}_before"] for r in known)))
            cells.append(str(sum(r[f"{name}_after"] > r[f"{name}_high"] for r in known)))
            cells.append(str(sum(r[f"{name}_after"] < r[f"{name}_low"] for r in known)))
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse")
    parser.add_argument("--space", help="raw or whitened; else that of the table curated")
    given = parser.parse_args()
    space = given.space or published(given.warehouse)[1]
    images_left(given.warehouse, space)
    kurtosis_lines(given.warehouse, space)
    changes(given.warehouse, space)


if __name__ == "__main__":
    recorded(main)
