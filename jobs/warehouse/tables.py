"""The tables of the warehouse, each declared once: columns and types, checked on every write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import types as T

from jobs.errors import SchemaError
from jobs.warehouse.arrow_frames import arrow_schema, struct


def rows(name: str, content: Iterable[Sequence[Any] | Mapping[str, Any]]) -> pa.Table:
    """Return rows of the driver as an Arrow table; a row has its values in order or by name."""
    schema = arrow_schema(TABLES[name].schema)
    named = [
        row if isinstance(row, Mapping) else dict(zip(schema.names, row, strict=True))
        for row in content
    ]
    return pa.Table.from_pylist(named, schema)


RETENTION_DAYS = 30  # that old versions can be read
KEPT_FILES = "delta.deletedFileRetentionDuration"
PROPERTIES = {
    "delta.logRetentionDuration": f"interval {RETENTION_DAYS} days",
    KEPT_FILES: f"interval {RETENTION_DAYS} days",
    "delta.enableDeletionVectors": "false",  # whoever writes next: every reader must cope
}


@dataclass(frozen=True)
class Table:
    """One table's columns as DDL: scalars first, large columns last."""

    name: str
    stages: tuple[str, ...]  # that write it, in the order of the pipeline; `runs` is the run's own
    ddl: str
    more: bool = False  # callers' own columns are allowed, between the scalar and the large ones
    partition: tuple[str, ...] = ()  # columns that are folders: rows of one are replaced as a whole

    @property
    def schema(self) -> T.StructType:
        """The declared columns as Spark's schema."""
        return struct(self.ddl)

    @property
    def order(self) -> tuple[str, ...]:
        """The columns by which its rows are sorted where files are merged."""
        return tuple(name for name in ("label", "image_id") if name in self.schema.names)

    @property
    def scalars(self) -> int:
        """The number of leading columns that statistics are kept of."""
        large = (T.ArrayType, T.MapType, T.BinaryType)
        kinds = [isinstance(column.dataType, large) for column in self.schema]
        return kinds.index(True) if any(kinds) else len(kinds)


_IMAGE = (
    "image_id string, label string, split string, path string, sha256 string, "
    "width int, height int, size_bytes bigint, modified_at timestamp"
)
_RULE = "rule string, space string"
# How the removed image is laid over the one that stays, and how well they agree; null where no
# registration proved the removal.
EVIDENCE = (
    "registration double, agreement double, overlap double, scale double, rotation double, "
    "shift_x double, shift_y double, shift_x_source double, shift_y_source double, "
    "orientation int"
)
# The same where the larger of both overlaps counts.
EVIDENCE_BOTH_WAYS = EVIDENCE.replace("overlap double", "overlap double, overlap_other double")

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "images",
            ("ingest",),
            f"{_IMAGE}, pixels_sha256 string, levels int, "
            "range_low double, range_high double, pixels binary",
            more=True,
        ),
        Table(
            "rejects",
            ("ingest", "encode"),
            "path string, image_id string, size_bytes bigint, modified_at timestamp, "
            "stage string, error_code string, error_message string",
        ),
        Table(
            "latents",
            ("encode",),
            "image_id string, label string, split string, sha256 string, model_id string, "
            "encoded_on string, latent array<float>",
        ),
        Table(
            "spaces",
            ("whiten", "describe"),
            "space string, model_id string, fit_id string, images bigint, mean array<double>, "
            "deviations array<double>, axes array<double>",
        ),
        Table(
            "vectors",
            ("whiten",),
            "image_id string, label string, split string, sha256 string, model_id string, "
            "encoded_on string, space string, fit_id string, vector array<float>",
        ),
        Table(
            "gradients",
            ("describe",),
            "image_id string, label string, split string, sha256 string, model_id string, "
            "encoded_on string, space string, fit_id string, vector array<float>",
        ),
        Table(
            "thresholds",
            ("prune",),
            f"label string, {_RULE}, threshold double, asked double, candidates double, "
            "reached double",
        ),
        Table(
            "selection",
            ("prune",),
            f"image_id string, label string, {_RULE}, threshold double, kept boolean, "
            f"kept_id string, similarity double, {EVIDENCE}",
        ),
        Table(
            "alignments",
            ("prune",),
            "image_id string, other_id string, image_content string, other_content string, "
            "space string, similarity double, registration double, agreement double, blocks int, "
            "overlap double, overlap_other double, overlap_half double, scale double, "
            "rotation double, shift_x double, shift_y double, shift_x_source double, "
            "shift_y_source double, orientation int, flat boolean",
        ),
        Table(
            "audit",
            ("prune",),
            f"{_RULE}, threshold double, kept_checked bigint, pairs_checked bigint, "
            "removed_checked bigint, too_similar bigint, unjustified bigint, out_of_tries bigint",
        ),
        Table(
            "placed",
            ("prune",),
            "group string, rank bigint, image_id string, label string, standing bigint, "
            "undecided bigint, place bigint, content string, width int, height int, "
            "latent binary, grey binary",
        ),
        Table(
            "rounds",
            ("prune",),
            "group string, round int, last_rank bigint, rule string, rank bigint, kept boolean, "
            f"kept_rank bigint, similarity double, {EVIDENCE}, exhausted boolean",
        ),
        Table(
            "leaks",
            ("leaks",),
            f"image_id string, label string, split string, {_RULE}, threshold double, "
            "reference_id string, reference_label string, reference_split string, "
            f"reference_warehouse string, similarity double, {EVIDENCE_BOTH_WAYS}",
        ),
        Table(
            "conflicts",
            ("conflicts",),
            "image_id string, label string, other_id string, other_label string, space string, "
            f"threshold double, similarity double, {EVIDENCE_BOTH_WAYS}",
        ),
        Table(
            "anomalies",
            ("anomalies",),
            "image_id string, label string, log_density double, cut double, rank int",
        ),
        Table(
            "generated",
            ("generate",),
            "label string, number int, path string, log_density double, nearest_id string, "
            "similarity double, components array<double>",
        ),
        Table(
            "curated",
            ("publish",),
            f"{_IMAGE}, {_RULE}, group_size bigint, weight double",
            more=True,
        ),
        Table(
            "splits",
            ("publish",),
            f"image_id string, label string, group_id string, split string, {_RULE}, kept boolean",
        ),
        Table(
            "changes",
            ("publish",),
            "image_id string, label string, change string, reason string, kept_id string, "
            "from_version bigint, to_version bigint",
        ),
        Table(
            "axes",
            ("project",),
            f"label string, basis string, {_RULE}, component int, eigenvalue double, "
            "mean array<double>, axis array<double>",
        ),
        Table(
            "projections",
            ("project",),
            f"image_id string, label string, basis string, {_RULE}, log_density double, "
            "components array<double>",
        ),
        Table(
            "density",
            ("project", "estimate"),
            f"label string, {_RULE}, component int, origin double, step double, n bigint, "
            "entropy double, skewness double, kurtosis double, counts array<bigint>",
        ),
        Table(
            "modes",
            ("modes",),
            "label string, component int, modes int, stable_modes int, p_value double, "
            "heterogeneous boolean, positions array<double>",
        ),
        Table("sublabels", ("modes",), "image_id string, label string, sublabel string"),
        Table(
            "effect",
            ("estimate",),
            f"label string, {_RULE}, threshold double, component int, n_before bigint, "
            "n_after bigint, kurtosis_before double, kurtosis_after double, "
            "entropy_before double, entropy_after double, "
            "scale_free_before double, scale_free_after double, "
            "kurtosis_low double, kurtosis_high double, entropy_low double, entropy_high double, "
            "scale_free_low double, scale_free_high double",
        ),
        Table(
            "regression",
            ("estimate",),
            f"{_RULE}, threshold double, component int, slope double, intercept double, "
            "slope_low double, slope_high double, control_low double, control_high double, "
            "classes int",
        ),
        Table("dependence", ("estimate",), "label string, n bigint, divergence double"),
        Table(
            "similarities",
            ("similarities",),
            "label string, space string, n bigint, sampled bigint, origin double, step double, "
            "counts array<bigint>, heat_ids array<string>, heat binary",
        ),
        Table(
            "pairs",
            ("similarities",),
            "pair_id string, label string, space string, image_id string, other_id string, "
            "similarity double, registration double, agreement double, overlap double, "
            "proved boolean, low double, high double, population double, drawn int, "
            "weight double",
        ),
        Table(
            "calibration",
            ("calibrate",),
            f"{_RULE}, threshold double, precision double, precision_low double, "
            "precision_high double, pairs int, found double",
        ),
        Table(
            "runs",
            (),
            "run_id string, stage string, state string, started timestamp, finished timestamp, "
            "settings string, depends string, code_version string, model_id string, "
            "message string, "
            "versions_read map<string,bigint>, versions_written map<string,bigint>, "
            "row_counts map<string,bigint>, commits string",
            partition=("run_id",),
        ),
    )
}

# Names that callers' columns may not have: each is a column of ours.
RESERVED = tuple(
    dict.fromkeys(
        name.lower() for table in ("images", "curated") for name in TABLES[table].schema.names
    )
)


def properties(name: str) -> dict[str, str]:
    """Return the Delta properties of a new table."""
    return PROPERTIES | {"delta.dataSkippingNumIndexedCols": str(TABLES[name].scalars)}


def differences(name: str, columns: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the declared columns that a stored table lacks, and those that are not declared."""
    table, stored = TABLES[name], list(columns)
    declared = table.schema.names
    unknown = [] if table.more else [column for column in stored if column not in declared]
    return [column for column in declared if column not in stored], unknown


def check(name: str, schema: T.StructType) -> None:
    """Compare a frame's schema with the table's; raise SchemaError with all differences."""
    table = TABLES[name]
    declared = {column.name: column.dataType.simpleString() for column in table.schema}
    actual = {column.name: column.dataType.simpleString() for column in schema}
    wrong = [
        f"{column}: missing ({declared[column]})" for column in declared if column not in actual
    ]
    wrong += [
        f"{column}: is {actual[column]}, declared {declared[column]}"
        for column in declared
        if column in actual and actual[column] != declared[column]
    ]
    if not table.more:
        wrong += [
            f"{column}: not declared ({actual[column]})" for column in actual.keys() - declared
        ]
    if wrong:
        raise SchemaError(f"table {name} cannot be written:\n  " + "\n  ".join(wrong))
