"""Label the rows of a file with a bundle, where Paradapt's own command is not installed.

    python -m trainers BUNDLE --input rows.csv --output answers.csv

It does what `paradapt predict` does, and needs neither Optuna, MLflow nor click.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from space.errors import UserError

OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(words: Sequence[str] | None = None) -> int:
    """Label a file; return the exit status."""
    given = _parser().parse_args(words)
    # Before torch is loaded: its threads sleep while they wait, instead of taking a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        from trainers.predicting.command import label_file

        label_file(given.bundle, given.input, given.output, given.text, given.form)
    except UserError as error:
        for problem in error.problems:
            print(f"paradapt: {problem}", file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt:
        print("\nparadapt: interrupted; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        print(f"paradapt: {error}. Nothing was written.", file=sys.stderr)
        return FAILED
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainers", description="Label the rows of a file with a bundle."
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the exported folder")
    parser.add_argument(
        "--input",
        required=True,
        type=Path,
        metavar="FILE",
        help="CSV, TSV, JSONL, Parquet, CoNLL, or images",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="new file")
    parser.add_argument(
        "--format",
        dest="form",
        choices=["csv", "jsonl", "parquet"],
        help="default: by the suffix of the output, else csv",
    )
    parser.add_argument(
        "--text", metavar="COLUMN", help="of the texts, where it is not the study's"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
