"""What confirmed points are read against beside the study's own baselines.

Neither is a trial: full fine-tuning is no adapter structure, and TF-IDF needs no backbone.
"""

FULL = "full_fine_tuning"
TFIDF = "tfidf"

REFERENCES = {
    FULL: "full fine-tuning",
    TFIDF: "TF-IDF and logistic regression",
}
"""Titles for people by name."""
