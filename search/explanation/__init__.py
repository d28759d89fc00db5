"""The page that explains a bundle: plain data of trainers/explain in, one HTML file out."""

from search.explanation.page import explanation_html

__all__ = ["explanation_html"]
