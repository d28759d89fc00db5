"""TF-IDF with logistic regression, against scikit-learn called directly."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss

from tests.end_to_end.tiny_study import rows
from trainers.data import Split
from trainers.tasks import TASKS, task_of
from trainers.tfidf import serves, train_tfidf

TASK = TASKS["text-classification"]
LABELS = ("food", "space", "sport", "weather")


def split_of(n_rows, seed, n_noisy=0):
    content = rows(n_rows, seed)
    labels = np.array([LABELS.index(row["label"]) for row in content], np.int64)
    labels[:n_noisy] = (labels[:n_noisy] + 1) % 3
    return Split(inputs={"text": tuple(row["text"] for row in content)}, labels=labels)


def test_it_scores_as_scikit_learn_does():
    train, test = split_of(60, 0, n_noisy=20), split_of(45, 1)
    scores = train_tfidf(train, test, TASK, LABELS)

    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
    classifier = LogisticRegression(C=10.0, max_iter=1000)
    classifier.fit(vectorizer.fit_transform(train.inputs["text"]), train.labels)
    features = vectorizer.transform(test.inputs["text"])
    answers = classifier.predict(features)
    assert (scores.outcomes["answer"] == answers).all()
    assert (scores.outcomes["label"] == test.labels).all()
    told = scores.metrics
    assert told["accuracy"] == pytest.approx(accuracy_score(test.labels, answers), abs=1e-6)
    assert told["accuracy"] < 1
    macro = f1_score(test.labels, answers, average="macro")
    assert told["macro_f1"] == pytest.approx(macro, abs=1e-6)
    loss = log_loss(test.labels, classifier.predict_proba(features), labels=[0, 1, 2])
    assert told["test_loss"] == pytest.approx(loss, rel=1e-3)
    assert told["trainable_params"] == classifier.coef_.size + 3
    assert told["latency_ms"] > 0 and told["throughput"] > 0 and told["train_s"] > 0


def test_a_label_that_no_training_row_has_is_never_answered():
    train, test = split_of(60, 0), split_of(30, 1)
    test.labels[:5] = 3
    scores = train_tfidf(train, test, TASK, LABELS)
    assert scores.metrics["accuracy"] == pytest.approx(25 / 30, abs=1e-6)
    assert np.isfinite(scores.metrics["test_loss"])


def test_it_serves_texts_with_one_label_each():
    assert serves(TASK)
    others = [task for task in TASKS.values() if task is not TASK]
    assert not any(serves(task) for task in [*others, task_of(TASK.name, label_separator="|")])
