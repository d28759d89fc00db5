"""What is hidden in a text: every user name and password, and nothing else of use."""

import time

import pytest

from space.errors import UserError
from space.redaction import has_blank_in_userinfo, redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host:5000/x", "http://***@host:5000/x"),
        ("http://secret@host", "http://***@host"),
        ("at https://me:se@cret@host failed", "at https://***@host failed"),
        ("postgresql+psycopg://me:se/cr@et@db/a?b=1", "postgresql+psycopg://***@db/a?b=1"),
        ("postgresql://me:s%40cret@db/a?password=secret&b=1", "postgresql://***@db/a?password=***&b=1"),
        ("mysql://db/a?user=me;passwd=secret;b=1", "mysql://db/a?user=me;passwd=***;b=1"),
        ("x:///?odbc_connect=UID%3Dme%3BPWD%3Dse%40cret%3Bb", "x:///?odbc_connect=UID%3Dme%3BPWD%3D***%3Bb"),
        ("Driver=x;PWD={se;cret};UID=me", "Driver=x;PWD=***;UID=me"),
        ("host=db password='se cret' dbname=a", "host=db password=*** dbname=a"),
        ("https://host/x?sig=secret%3D&b=1", "https://host/x?sig=***&b=1"),
        ("HF_TOKEN=secret MLFLOW_PASSWORD=secret", "HF_TOKEN=*** MLFLOW_PASSWORD=***"),
        ("me:secret@host", "***@host"),
        ("no file `/home/http:/me:secret@host/x.csv`", "no file `/home/http:/***@host/x.csv`"),
        ("sqlite+pysqlcipher://:secret@/x.db", "sqlite+pysqlcipher://***@/x.db"),
    ],
)  # fmt: skip
def test_a_secret_is_hidden_by_its_place(text, shown):
    assert redacted(text) == shown
    assert redacted(shown) == shown
    assert str(UserError(f"storage: {text}")) == f"storage: {shown}"


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:///mlflow.db",
        "sqlite:////home/me@work/x.db",
        "sqlite:////a/b.db, and me@work",
        "--set space.token_keep=0.5: must be a list",
        "data.max_length: 64 tokens=3",
        "bypass=3, config=4, design=5",
        "http://127.0.0.1:5000/#/experiments/1?workflowType=machine_learning",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redacted(text) == text


@pytest.mark.parametrize(
    "text", ["://", "password=", "password ", "password='", "a:/b@", "{token="]
)
def test_a_long_text_takes_no_time(text):
    began = time.process_time()
    redacted(text * 20_000)
    has_blank_in_userinfo(text * 20_000)
    assert time.process_time() - began < 2


def test_a_blank_in_a_password_is_seen_and_one_in_a_path_is_not():
    assert has_blank_in_userinfo("postgresql://me:se cret@db/a")
    assert has_blank_in_userinfo("http://me:se\ncret@host")
    assert not has_blank_in_userinfo("sqlite:////home/my work@x/a.db")
    assert not has_blank_in_userinfo("postgresql://me:secret@db/a b")
