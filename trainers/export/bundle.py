"""The format `bundle`: our own, which holds every structure."""

from pathlib import Path

from trainers.bundle import load_files, write_bundle
from trainers.export.format import Answer, Options, Source, Written
from trainers.offline import write_kit
from trainers.requirements import write_requirements

_AT_HOME = """    paradapt predict . --input rows.csv --output predictions.csv
"""
_OFFLINE = """This folder needs no network, no hub and no Paradapt: `backbone/` is the frozen model,
`code/` is what answers. Where the libraries of `requirements.txt` are installed
(`pip install -r requirements.txt`), run in this folder

    PYTHONPATH=code python -m trainers . --input rows.csv --output predictions.csv
"""
_IN_PYTHON = """or in Python: `bundle = trainers.bundle.load(folder)` and
`trainers.predict.predict(bundle, {inputs})`.
The files are checked against SHA256SUMS, and the backbone against its fingerprint."""


class Bundle:
    """Structure and trained weights, without the backbone's unless asked for."""

    name = "bundle"
    options = frozenset({"offline"})

    def refusal(self, source: Source, options: Options) -> str | None:
        """Return None: every structure can be written."""
        return None

    def write(self, source: Source, folder: Path, options: Options) -> Written:
        """Write config.yaml, adapter.safetensors, metrics.json, requirements.txt, and the kit."""
        bundle = source.bundle
        write_bundle(folder, bundle.config, bundle.model.trained_state(), source.metrics)
        write_requirements(folder, bundle.config.backbone, offline=options.offline)
        if options.offline:
            write_kit(folder, bundle.backbone)
        inputs = ", ".join(f"{name}=[...]" for name in bundle.config.what.inputs)
        use = _OFFLINE if options.offline else _AT_HOME
        return Written(use=f"{use}\n{_IN_PYTHON.format(inputs=inputs)}")

    def opened(self, source: Source, folder: Path) -> Answer:
        """Return the model that was read back from the folder."""
        model = load_files(folder).model
        return lambda inputs: model(**inputs).detach()

    def tolerance(self, options: Options) -> float:
        """Return the rounding of float32."""
        return 1e-5
