"""No credential is left in a text, wherever it stands; other texts stay as they are."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.settings import redaction
from jobs.settings.redaction import HIDDEN, hide, hide_named, redacted

# The letters make a secret that cannot be part of the words around it.
LETTERS = "QXZJqxzj0123456789"
SECRETS = st.text(LETTERS + "+/=~@:!$-_.", min_size=8, max_size=40).map(lambda s: f"Qx{s}zJ")
PLAIN = st.text(LETTERS + "+~!$-_.", min_size=8, max_size=40).map(lambda s: f"Qx{s}zJ")
AROUND = st.text(st.characters(codec="utf-8", exclude_characters="?&=:@'\"\\"), max_size=20)
NAMES = st.sampled_from(
    [
        "password",
        "spark.hadoop.fs.s3a.secret.key",
        "spark.hadoop.fs.s3a.access.key",
        "fs.azure.account.key.name.dfs.core.windows.net",
        "fs.azure.sas.container.account",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "s3.api_key",
        "sig",
    ]
)


@pytest.fixture(autouse=True)
def _nothing_else_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_values", set())


@given(AROUND, st.sampled_from(["s3a", "https", "jdbc:postgresql", "abfss"]), SECRETS, AROUND)
def test_the_password_of_a_uri_is_hidden(before: str, scheme: str, secret: str, after: str) -> None:
    text = f"{before} {scheme}://someone:{secret}@bucket.host/folder {after}"
    assert secret not in redacted(text)
    assert "bucket.host/folder" in redacted(text)


@given(PLAIN, st.sampled_from(["sig", "X-Amz-Signature", "sv", "token"]), PLAIN)
def test_the_query_of_a_uri_is_hidden(secret: str, name: str, other: str) -> None:
    uri = f"https://host/a/b.parquet?{name}={{}}&se={{}}"
    text = f"cannot read {uri.format(quote(secret), quote(other))} (403)"
    assert redacted(text) == f"cannot read {uri.format(HIDDEN, HIDDEN)} (403)"


@given(NAMES, PLAIN, st.sampled_from(["{}={}", '{} = "{}"', "{}: {}", '"{}": "{}"', "'{}': '{}'"]))
def test_what_stands_beside_the_name_of_a_secret_is_hidden(
    name: str, secret: str, form: str
) -> None:
    text = f"--conf {form.format(name, secret)}, and more"
    assert secret not in redacted(text)
    assert name in redacted(text)
    assert redacted(text).endswith("and more")
    assert secret not in redacted(json.dumps({"text": text}))


@given(SECRETS, AROUND, AROUND)
def test_a_known_value_is_hidden_anywhere(secret: str, before: str, after: str) -> None:
    hide_named([("spark.hadoop.fs.s3a.secret.key", secret), ("spark.app.name", "pipeline")])
    text = f"{before}{secret}{after} pipeline {quote(secret, safe='')}"
    assert secret not in redacted(text)
    assert quote(secret, safe="") not in redacted(text)
    assert "pipeline" in redacted(text)


@given(NAMES, PLAIN, st.recursive(st.integers() | AROUND, lambda part: st.lists(part)))
def test_a_nested_value_keeps_its_form(name: str, secret: str, other: object) -> None:
    value = {"a": [{name: secret}, (f"s3a://k:{secret}@b/c", 7)], "b": other, "c": None}
    hidden = redacted(value)
    assert hidden == {"a": [{name: HIDDEN}, (f"s3a://{HIDDEN}@b/c", 7)], "b": other, "c": None}
    assert secret in str(value)  # the value itself is not changed


@given(st.text() | AROUND)
def test_what_is_hidden_once_stays_as_it_is(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ingest       102,545 images, 3 rejects                                   32.0 s",
        "hdfs://namenode:9000/data/a@b/c=1/part-0.parquet",
        "http://[::1]:8080/a@b",
        "abfss://container@account.dfs.core.windows.net/images",
        "/data/class=001/a b@c.jpg",
        "prune.thresholds = [0.9], was [0.97]; prune.order = ['-size_bytes']",
        "conf fs.s3a.aws.credentials.provider=org.apache.hadoop.Provider",
        "see https://spark.apache.org/docs/latest/",
    ],
)
def test_what_holds_no_credential_is_not_changed(text: str) -> None:
    assert redacted(text) == text


def test_words_and_numbers_are_not_hidden() -> None:
    hide(["true", "86400000", ""])
    assert redacted("true 86400000") == "true 86400000"
