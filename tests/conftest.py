"""The fixtures and the order of all tests; what they are made of lies in tests/support."""

import pytest

# Fails with the values that were compared, as in a test's own file.
pytest.register_assert_rewrite("tests.support")

pytest_plugins = [
    "tests.support.browser",
    "tests.support.cluster_runs",
    "tests.support.commands",
    "tests.support.every_stage",
    "tests.support.faults",
    "tests.support.folders",
    "tests.support.given_latents",
    "tests.support.hadoop",
    "tests.support.order",
    "tests.support.pages",
    "tests.support.pictures",
    "tests.support.remote",
    "tests.support.s3",
    "tests.support.session",
    "tests.support.standalone",
]
