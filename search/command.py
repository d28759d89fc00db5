"""What all commands share: how they end, and the study file with its overrides."""

import errno
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

import search
import space
import trainers
from space.errors import UserError
from space.redaction import redacted

OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

STUDY = click.argument("study_file", metavar="STUDY.yaml", type=click.Path(path_type=Path))
SET = click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a key of the file."
)


def command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Turn what a command returns or raises into an exit status and a message for people."""

    @wraps(function)
    def wrapped(**arguments: Any) -> None:
        try:
            _check_one_place()
            _quiet()
            _share_cores()
            sys.exit(function(**arguments) or OK)
        except UserError as error:
            for problem in error.problems:
                click.echo(f"paradapt: {problem}", err=True)
            sys.exit(WRONG_INPUT)
        except KeyboardInterrupt:
            click.echo("\nparadapt: interrupted.", err=True)
            sys.exit(INTERRUPTED)
        except OSError as error:
            # A full disk, a lost permission: the state is kept, and a traceback helps nobody.
            click.echo(f"paradapt: {redacted(_in_words(error))}", err=True)
            sys.exit(FAILED)
        except Exception:
            # A fault of ours is told whole, for a report of it, but without passwords.
            click.echo(redacted(traceback.format_exc()), err=True)
            sys.exit(FAILED)

    return wrapped


def _in_words(error: OSError) -> str:
    """Return what the machine refused, which path it was about, and what is left to do."""
    what = error.strerror or str(error)
    if error.filename is not None:
        what = f"{error.filename}: {what}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = (
                f"the disk that holds {error.filename} is full; when there is room, the same"
                " command goes on"
            )
    return f"{what}. What was done so far is kept."


def checked_study(study_file: Path, overrides: Sequence[str]) -> Any:
    """Return the checked study file; UserError tells what is wrong with it."""
    from search.study_file import load_study_file

    return load_study_file(study_file, overrides)


def _check_one_place() -> None:
    """Refuse to run where a user's own folder `space`, `search` or `trainers` hides ours."""
    places = {
        package.__name__: Path(package.__file__ or "").resolve().parent.parent
        for package in (search, space, trainers)
    }
    if len(set(places.values())) > 1:
        found = ", ".join(f"{name} in {place}" for name, place in places.items())
        raise UserError(
            f"The packages search, space and trainers come from different places ({found}): a"
            " folder of yours has the name of one of them. Run the command from another folder."
        )


def _share_cores() -> None:
    """Let torch's threads sleep while they wait for each other, before torch is loaded.

    By default they spin. Where another process wants a core too, a training step then takes three
    to four times as long (measured on two cores, one of them busy: 14 to 27 samples/s, and 54 to
    77 asleep).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _quiet() -> None:
    """Keep the libraries' own chatter off the user's terminal; our messages say what matters."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for name in ("optuna", "lightning.pytorch", "lightning.fabric", "alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
