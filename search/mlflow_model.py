"""The format `mlflow`: a model folder that MLflow loads, serves and registers.

It holds our own code and the bundle as files. Nothing is pickled: the model is kept as code
(search/served_model.py).
"""

import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.mlflow_client import import_mlflow
from search.model_folder import ARTIFACTS, BUNDLE, EXAMPLE, MODEL_FILE
from trainers.answers import added_columns
from trainers.bundle import CARD, BundleConfig, LoadedBundle, write_bundle
from trainers.export.format import Answer, Options, Source, Written
from trainers.folder import write_sums
from trainers.offline import BACKBONE, write_backbone, write_code
from trainers.requirements import pinned
from trainers.serving import columns_of, example_rows

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

_SCRIPT = Path(__file__).with_name("served_model.py")


class MlflowModel:
    """A pyfunc model with signature, example, pinned requirements, code paths and the bundle."""

    name = "mlflow"
    options = frozenset({"offline", "register"})

    def refusal(self, source: Source, options: Options) -> str | None:
        """Return None: every structure can be written."""
        return None

    def write(self, source: Source, folder: Path, options: Options) -> Written:
        """Write the model; with `offline` its bundle has the backbone too."""
        bundle = source.bundle
        place = f"{ARTIFACTS}/{BUNDLE}"
        write_served(bundle, folder, place, offline=options.offline)
        own = folder / place
        own.mkdir(parents=True)
        write_bundle(own, bundle.config, bundle.model.trained_state(), source.metrics)
        if options.offline:
            write_backbone(own / BACKBONE, bundle.backbone)
        (own / CARD).write_text(source.card, encoding="utf-8")
        write_sums(own)
        return Written(use=_use(bundle.config, options))

    def opened(self, source: Source, folder: Path) -> Answer:
        """Return the model inside of what MLflow loads."""
        with _pyfunc() as pyfunc:
            loaded: Any = pyfunc.load_model(str(folder)).unwrap_python_model()
        model = loaded.model.bundle.model
        return lambda inputs: model(**inputs).detach()

    def tolerance(self, options: Options) -> float:
        """Return the rounding of float32."""
        return 1e-5


@contextmanager
def _pyfunc() -> Iterator[Any]:
    """Give mlflow.pyfunc; keep its warnings to itself, and undo what it does to the path.

    MLflow warns of type hints and uses of pandas of its own, and puts a model's folder of code
    before all others.
    """
    import_mlflow()
    before = list(sys.path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mlflow.pyfunc

            yield mlflow.pyfunc
    finally:
        sys.path[:] = before


def write_served(bundle: LoadedBundle, folder: Path, place: str, *, offline: bool) -> None:
    """Write an MLflow model that answers with a bundle, all but this bundle.

    Args:
        bundle: what answers.
        folder: exists, and is empty.
        place: of the bundle: where in the folder it will lie, or an absolute path.
        offline: whether its backbone lies in it.
    """
    config = bundle.config
    libraries = pinned(config.backbone, offline=offline)
    with tempfile.TemporaryDirectory(prefix="paradapt-mlflow-") as code, _pyfunc() as pyfunc:
        write_code(Path(code))
        pyfunc.save_model(
            folder,
            python_model=str(_SCRIPT),
            code_paths=[str(package) for package in sorted(Path(code).iterdir())],
            signature=_signature(bundle),
            input_example=example_rows(bundle),
            pip_requirements=[*libraries, f"mlflow=={version('mlflow')}"],
            metadata={"task": config.task, "structure": config.spec.describe()},
        )
    _point_to_bundle(folder, place)


def _point_to_bundle(folder: Path, place: str) -> None:
    """Name the bundle in MLmodel, so that it is not copied, and take the writer's own paths out."""
    from mlflow.models import Model

    model = Model.load(folder)
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = _SCRIPT.name
    flavor["artifacts"] = {BUNDLE: {"path": place, "uri": place}}
    model.model_size_bytes = None  # as reckoned without the bundle
    model.save(folder / MODEL_FILE)


def _signature(bundle: LoadedBundle) -> "ModelSignature":
    """Return which columns are read, and which are answered."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Schema

    texts = Array(DataType.string)
    read: dict[str, Array | str] = {"words": texts, "image": "binary"}
    answered: dict[str, Array | str] = {"number": "double", "count": "long", "tags": texts}
    inputs = columns_of(bundle.config).items()
    outputs = added_columns(bundle).items()
    return ModelSignature(
        inputs=Schema([ColSpec(read.get(name, "string"), column) for name, column in inputs]),
        outputs=Schema([ColSpec(answered.get(kind, "string"), name) for name, kind in outputs]),
    )


_READS = {
    "text": "a text",
    "text_pair": "a text",
    "words": "a list of texts",
    "image": "the bytes of an image file (in JSON as base64; paths are not opened)",
}


def _use(config: BundleConfig, options: Options) -> str:
    columns = columns_of(config)
    reads = "\n".join(f"- `{column}`: {_READS[name]}." for name, column in columns.items())
    needs = (
        "It needs no network and no hub: the backbone lies in it, and Paradapt's code."
        if options.offline
        else f"Paradapt's code lies in it; the backbone is {config.backbone!r}, which must be there"
        " too (`--offline` at the export puts it in)."
    )
    return f"""A model of MLflow {version("mlflow")}. {needs}
`pip install -r requirements.txt` brings the libraries. It reads the columns

{reads}

and answers with those of `paradapt predict`. Over HTTP, on this machine only:

    paradapt serve .
    curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' \\
        -d @{EXAMPLE}

Without Paradapt, the same from MLflow itself:

    mlflow models serve -m . --env-manager local --port 5001

In Python:

```python
import mlflow.pyfunc

model = mlflow.pyfunc.load_model(".")
print(model.predict(model.input_example))
```
"""
