"""Exports: a trained structure written in the forms that other tools load, each with its proof."""
