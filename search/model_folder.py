"""Names in the folder of an MLflow model; a server that only looks into it loads no torch."""

MODEL_FILE = "MLmodel"
ARTIFACTS, CODE, BUNDLE = "artifacts", "code", "bundle"
EXAMPLE = "serving_input_example.json"
"""What is posted to a server to try it."""
