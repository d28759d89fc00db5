"""Look into a bundle: routing, contributions, ablations, attributions, and the quality of answers.

Plain data comes out; pages are made of it elsewhere.
"""

from trainers.explain.explanation import Explanation, explain
from trainers.explain.rows import ExplainedRows, explained_rows

__all__ = ["ExplainedRows", "Explanation", "explain", "explained_rows"]
