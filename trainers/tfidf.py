"""TF-IDF and logistic regression: what the words of a text alone tell, without any backbone.

A line to read results against: where it is not beaten, no adapter is needed.
"""

import statistics
import time
from collections.abc import Sequence

import numpy
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from trainers.data import Split
from trainers.memory import peak_memory_mib, reset_peak_memory
from trainers.scoring import Scorer, Scores
from trainers.tasks import Task

MAX_ITERATIONS = 1000
N_TIMED = 15
BATCH_ROWS = 32
_LEAST = 1e-12


def serves(task: Task) -> bool:
    """Return whether a task is one of texts with one label each."""
    return task.inputs == ("text",) and task.labels == "class"


def make_tfidf() -> Pipeline:
    """Return the classifier: words and pairs of words, by their frequency's logarithm."""
    return Pipeline(
        [
            ("words", TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))),
            ("classifier", LogisticRegression(C=10.0, max_iter=MAX_ITERATIONS)),
        ]
    )


def train_tfidf(train: Split, test: Split, task: Task, labels: Sequence[str]) -> Scores:
    """Train on some rows and score on others; metrics as `score` gives them, and what it took.

    Args:
        train: texts with classes.
        test: the same.
        task: one that it serves.
        labels: names of the labels.
    """
    reset_peak_memory()
    started = time.perf_counter()
    model = make_tfidf().fit(list(train.inputs["text"]), train.labels)
    train_s = time.perf_counter() - started
    texts = list(test.inputs["text"])
    shares = numpy.full((len(texts), len(labels)), _LEAST)
    shares[:, model.classes_] = numpy.maximum(model.predict_proba(texts), _LEAST)
    scorer = Scorer(task, labels, scale=None)
    rows = numpy.arange(len(texts))
    scorer.update(rows, torch.from_numpy(numpy.log(shares)), torch.from_numpy(test.labels))
    scores = scorer.scores()
    classifier = model.named_steps["classifier"]
    scores.metrics.update(
        {
            "train_s": train_s,
            "peak_memory_mib": peak_memory_mib(),
            "latency_ms": 1e3 * _median_s(model, texts[:N_TIMED], 1),
            "throughput": BATCH_ROWS / _median_s(model, texts, BATCH_ROWS),
            "trainable_params": float(classifier.coef_.size + classifier.intercept_.size),
        }
    )
    return scores


def _median_s(model: Pipeline, texts: Sequence[str], n_rows: int) -> float:
    """Return the median time of one call on so many rows."""
    times = []
    for turn in range(N_TIMED):
        own = [texts[(turn * n_rows + i) % len(texts)] for i in range(n_rows)]
        started = time.perf_counter()
        model.predict_proba(own)
        times.append(time.perf_counter() - started)
    return statistics.median(times)
