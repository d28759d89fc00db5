"""Part rows into training, validation and the sealed test split, and sample those of training."""

import numpy
import pandas

from space.errors import UserError
from trainers.data.labelling import Labelling, one_stratum, single_notices
from trainers.data.stratify import can_split, sample_rows, split_rows


def parted(
    labelling: Labelling,
    frame: pandas.DataFrame,
    share: float,
    seed: int,
    where: str,
    notices: list[str],
    key: str = "data.validation_share",
) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Part rows into those of training and those held out; `key` names the share for messages."""
    file = key.removesuffix("_share")
    if len(frame) == 1:
        raise UserError(
            f"{where}: has 1 row, of which none can be kept for {file.removeprefix('data.')}. Add"
            f" rows, or name a file in {file}."
        )
    notices.extend(single_notices(labelling, frame, where))
    strata = labelling.strata(frame)
    if not labelling.each_side and not can_split(strata, share):
        strata = one_stratum(frame)
    kept, held_out = split_rows(strata, share, seed, where, key)
    return frame.iloc[kept], frame.iloc[held_out]


def sealed_off(
    labelling: Labelling,
    frame: pandas.DataFrame,
    test_share: float,
    n_rows: int,
    seed: int,
    where: str,
) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Part rows into those of training and those of the sealed test split.

    Args:
        labelling: how the labels are treated.
        frame: the rows that are not validated on.
        test_share: a share of `n_rows`, so that validation rows are the same with it and without.
        n_rows: all rows of the file.
        seed: of the choice.
        where: what the user wrote the rows under.

    Raises:
        UserError: too few rows for it.
    """
    share = test_share * n_rows / len(frame)
    if not 0 < share < 1:
        raise UserError(
            f"data.test_share: {test_share:g} of the {n_rows} rows in {where} leaves none of the"
            f" {len(frame)} that are not validated on to train on."
        )
    return parted(labelling, frame, share, seed, where, [], key="data.test_share")


def sampled(
    labelling: Labelling,
    frame: pandas.DataFrame,
    rows: int | None,
    seed: int,
    where: str,
    notices: list[str],
) -> pandas.DataFrame:
    """Return a stratified sample of so many training rows; None: all of them.

    Raises:
        UserError: too few for one row of each label.
    """
    if rows is None:
        return frame
    if rows > len(frame):
        notices.append(f"data.rows: {where} has {len(frame)} training rows, not {rows}; all used.")
        return frame
    strata = labelling.strata(frame)
    n_strata = len(numpy.unique(strata))
    if rows < n_strata and labelling.each_side:
        raise UserError(
            f"data.rows: {rows} rows cannot hold one of each of the {n_strata} labels in {where}; "
            f"at least {n_strata} are needed."
        )
    if rows < n_strata:
        strata = one_stratum(frame)
    return frame.iloc[sample_rows(strata, rows, seed)]
