"""Finds the packages that the jobs need, with the exact versions that are installed here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


def runtime_distributions(leave_out: Sequence[str] = ()) -> dict[str, metadata.Distribution]:
    """Return what requirements.txt names and all that it depends on here, by canonical name.

    leave_out: packages that are left out, with what only they need. Raises PackageNotFoundError if
    one is not installed.
    """
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    texts = (line.partition("#")[0].strip() for line in lines)
    pending = [Requirement(text) for text in texts if text]
    excluded = {canonicalize_name(name) for name in leave_out}
    distributions: dict[str, metadata.Distribution] = {}
    done: set[tuple[str, frozenset[str]]] = set()
    while pending:
        requirement = pending.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name in excluded or (name, extras) in done:
            continue
        done.add((name, extras))
        distribution = metadata.distribution(name)
        distributions[name] = distribution
        needed = map(Requirement, distribution.requires or ())
        pending += [each for each in needed if _applies(each, extras)]
    return dict(sorted(distributions.items()))


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Return whether a dependency is needed on this machine, with these extras of its package."""
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in extras or ("",))


def pinned(distributions: dict[str, metadata.Distribution]) -> str:
    """Return a requirements file with exact versions.

    A version's local part, such as +cpu, names a build that the usual index does not have.
    """
    pins = (f"{name}=={each.version.partition('+')[0]}\n" for name, each in distributions.items())
    return (
        "# What the jobs need at run time, as it was installed where this was packaged.\n"
        + "".join(pins)
    )
