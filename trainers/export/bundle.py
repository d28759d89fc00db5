"""The format `bundle`: our own, which holds every structure."""

from pathlib import Path

from trainers.bundle import load_files, write_bundle
from trainers.export.format import Answer, Options, Source, Written


class Bundle:
    """Structure and trained weights, without the backbone's unless asked for."""

    name = "bundle"
    options = frozenset({"offline"})

    def refusal(self, source: Source, options: Options) -> str | None:
        """Return None: every structure can be written."""
        return None

    def write(self, source: Source, folder: Path, options: Options) -> Written:
        """Write config.yaml, adapter.safetensors and metrics.json."""
        bundle = source.bundle
        write_bundle(folder, bundle.config, bundle.model.trained_state(), source.metrics)
        inputs = ", ".join(f"{name}=[...]" for name in bundle.config.what.inputs)
        return Written(
            use=f"""    paradapt predict . --input rows.csv --output predictions.csv

or in Python: `bundle = trainers.bundle.load(folder)` and
`trainers.predict.predict(bundle, {inputs})`.
The files are checked against SHA256SUMS, and the backbone against its fingerprint."""
        )

    def opened(self, source: Source, folder: Path) -> Answer:
        """Return the model that was read back from the folder."""
        model = load_files(folder).model
        return lambda inputs: model(**inputs).detach()

    def tolerance(self, options: Options) -> float:
        """Return the rounding of float32."""
        return 1e-5
