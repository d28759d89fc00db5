"""Names of precisions; without torch, so that a study file is checked at once."""

AUTO = "auto"
PRECISIONS = ("float32", "bfloat16")
CHOICES = (AUTO, *PRECISIONS)
"""What a study file may say of the precision of the frozen weights."""
