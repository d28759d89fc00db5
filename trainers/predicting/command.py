"""What `paradapt predict` and `python -m trainers` do."""

from pathlib import Path

from trainers.bundle import load
from trainers.predict import predict_file
from trainers.predicting.progress import RowProgress


def label_file(
    bundle: Path, source: Path, target: Path, text: str | None, form: str | None
) -> None:
    """Label the rows of a file and tell how it gets on.

    Arguments and errors as in trainers.predict.predict_file; `bundle` is its folder.
    """
    loaded = load(bundle)
    with RowProgress() as progress:
        n_rows = predict_file(
            loaded,
            source,
            target,
            text=text,
            form=form,
            told=progress.told,
            noticed=lambda sentence: progress.say(f"note: {sentence}"),
        )
    print(f"{n_rows} rows are in {target}.", flush=True)
