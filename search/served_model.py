"""The code of an MLflow model: MLflow copies this file into the model's folder, and runs it there.

It is kept as code, so that nothing is pickled, and imports nothing of the search: beside it in the
folder are `space` and `trainers` alone.
"""

import threading
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from space.errors import UserError
from trainers.answers import Deployed, deployed
from trainers.bundle import load
from trainers.serving import Rows, answers_to


class ServedModel(PythonModel):
    """A bundle, loaded once, that answers for data frames."""

    model: Deployed

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle, which lies in the folder too."""
        self.model = deployed(load(context.artifacts["bundle"]))
        # A model keeps the mask of the rows that run through it: those of two must not meet.
        self._one_at_a_time = threading.Lock()

    def predict(
        self, context: PythonModelContext, model_input: Rows, params: dict[str, Any] | None = None
    ) -> Rows:
        """Return the columns that `paradapt predict` adds.

        Raises:
            MlflowException: the rows cannot be read; a server answers with status 400.
        """
        try:
            with self._one_at_a_time:
                return answers_to(self.model, model_input)
        except UserError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from error


set_model(ServedModel())
