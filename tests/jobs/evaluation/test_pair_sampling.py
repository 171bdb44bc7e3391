"""How many pairs are drawn of each class and stratum."""

from __future__ import annotations

from jobs.evaluation.pair_sampling import SamplingPlan


def test_a_stratum_with_too_few_pairs_gives_all_of_them() -> None:
    class Row:
        label, n, sampled, population = "a", 5, 5, (4, 0, 6)

    plan = SamplingPlan.of([Row()], [0.1, 0.5, 0.9, 1.0], 200, 0)  # type: ignore[list-item]
    assert plan.pairs == {"a": [4, 0, 6]}
    assert plan.weight["a"][0] == plan.weight["a"][2] == 1.0
    assert plan.population == [4.0, 0.0, 6.0]
